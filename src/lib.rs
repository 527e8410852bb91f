//! hyperdesk takes the place of a Rails help-desk backend and holds a hundred times as many polling users per
//! core: every open browser asks every five seconds what is new, and nearly every answer is "nothing", given
//! from memory without SQL. Four smaller services stand on the same chassis.
//!
//! # The life of a request
//!
//! ```text
//!  client ──► chassis/accept     one listener; each connection belongs to one event loop (a thread)
//!               │                 chassis/connection: idle, head and write limits, kept by one sweep per loop
//!               ▼
//!             chassis/pipeline   find ─► admit (framing, caller) ─► body ─► call ─► finish (id, CORS, log, count)
//!               │ find, call
//!               ▼
//!             services           which services this process serves
//!               │
//!               ▼
//!             helpdesk/…         routes (pure match) ─► handler by noun ─► store (SQL)
//!               │
//!               ├─ Answer::Reused    from memory, on the event loop, in the request's header map: idle polls
//!               ├─ Answer::Now       from memory, on the event loop
//!               ├─ Answer::Held      from memory, when something happens: held polls, streams
//!               └─ Answer::Detached  work on the background runtime, never cancelled by a hang-up
//!                     ▼
//!                  db             pooled connection, transaction!, statement or packet from sql/
//! ```
//!
//! # The life of a write, and of a poll
//!
//! ```text
//!  POST /messages ─► transaction!: … , helpdesk/changes (one row of `outbox`, with the COMMIT)
//!       │ 201 after the COMMIT; Feed::wrote wakes the tail, here
//!       ▼
//!  feed/sequencer    the leader: numbers what `outbox` has; helpdesk/changes makes its JSON; stored as one row of `runs`
//!  feed/tail         every instance: reads `runs` after its last by primary key; gapless, of one history
//!       ▼
//!  feed/window       of each event loop: the recent items, and each recipient's and topic's newest number
//!       ▼
//!  feed/poll ◄─── GET /api/…/updates: token, look one number up, compare ─► `[]`, or the JSON that is there
//!       │                             held polls and streams are woken by the window
//!       └─ older than the window: helpdesk/updates asks the database
//! ```
//!
//! - A change is numbered after its commit and after what caused it; numbers have no gap, times grow with them.
//! - A window holds every change from its floor to its end, of one history, or it is loaded anew: nothing is passed over.
//! - A `since` poll is answered from a tail read that began at most 100 ms before it came, or waits for one, or gets a 503.
//!   Nobody is told "nothing new" from what is older than 5 s. A cursor never moves over what was not delivered.
//! - A writer's next poll on the same instance shows what they wrote.
//! - An idle poll allocates nothing and runs no SQL: that grows with instances and changes, not with who asks.
//!
//! # Where things are
//!
//! | place | what it is | names |
//! |---|---|---|
//! | `main.rs` | boot, exit codes, signals | everything |
//! | [`services`] | the composition: one line per service | services |
//! | [`helpdesk`] | the help desk; the pattern of every service: `mod`, `routes`, handlers by noun, `model`, `store` | chassis, feed, db |
//! | [`stock`] | one hot number: buyers who arrive together are one UPDATE; OAuth2 clients | chassis, db |
//! | [`bookstore`] | reads from the reader, and one's own writes at once all the same | chassis, users, db |
//! | [`board`] | pictures in a bucket or a folder, and no post without one | chassis, db |
//! | [`datetime`] | no database, a write, a read | chassis, db |
//! | [`import`] | the Rails original's database, brought over: `hyperdesk import` | auth's names and passwords, db |
//! | [`service`] | what a service is (a trait), and what it is made from | chassis, users, feed |
//! | [`chassis`] | HTTP for every service, knowing none | auth, db's errors |
//! | [`auth`] | tokens, passwords, sessions; no HTTP, no SQL | clock |
//! | [`users`] | who there is and who was signed out, as every instance's memory has it | auth, db |
//! | [`feed`] | a log of items with recipients and topics, in every instance's memory; no HTTP, and no word of a service | db |
//! | [`db`] | pools, statements, transactions, migrations | metrics, config |
//! | [`tasks`], [`log`] | background tasks, supervised; lines that neither block nor panic | metrics, config |
//! | [`fair`], [`metrics`], [`clock`], [`config`] | each address's part of what all share; what is counted; time; every environment variable | |
//! | `sql/` | `schema/NNN_name.sql` and `<service>/<noun>_<verb>.sql`, one statement a file | |
//!
//! Imports point down this table only (`tests/tidy.rs`): `mysql_async` is in [`db`] and `store.rs`, `hyper` in [`chassis`].
//!
//! # Invariants
//!
//! - **No answer crosses.** A pooled connection goes back only when the whole answer to all it was asked has
//!   been read and no transaction is open ([`db::Connection`]).
//! - **Nothing acknowledged is lost.** A handler answers after its COMMIT; work for the database runs apart from
//!   the client's connection, so a hang-up cannot cut it in half.
//! - **An event loop never waits** for a database, a hash or a lock under which work is done: what waits runs on the
//!   background runtime, and a lock that both take is held to look and to swap.
//! - **Logging neither blocks nor panics**: what cannot be written is dropped and counted ([`log`]).
//! - **No task is missing in silence**: one that panics is counted and started anew, and meanwhile the process is not
//!   ready; an event loop that ends takes the process with it ([`tasks`]).
//! - **A route cannot forget its rules.** `find` is one `match`, `spec` a second one without a wildcard.
//! - **Everything is bounded**: connections, bodies, answers, requests under way, pools, waits, hashes, logs. Each limit
//!   has a name, and beyond it there is a 503 (or 413, 429, 431) and not growth. One address leaves others as much ([`fair`]).
//! - **5xx bodies are constant**; the cause is logged once, with the request's id.
//! - **SQL is never built**: every statement is a file, prepared; a few packets of several have numbers put in, no text.
//!
//! # Adding a service
//!
//! One folder, one line, its SQL; nothing in the chassis, and no list of routes, metrics or limits elsewhere:
//! - `src/<name>/`: `mod.rs` with its `impl` of [`service::Service`], `routes.rs` with `find` and `spec`, `store.rs`
//!   with its `statements!`, `openapi.json`, `page/` where people use it, and handlers by noun;
//! - `sql/<name>/*.sql`, and its tables in `sql/schema/NNN_<name>.sql`, listed in [`db::migrations`];
//! - its line in [`services`]' `services!` (and `pub mod` here, and its section of the README, which a test asks for).
//! - and no more: routing, access, limits, metrics, page, OpenAPI document, `SERVICES`, tests over all routes follow.

#![forbid(unsafe_code)]

pub mod auth;
pub mod board;
pub mod bookstore;
pub mod chassis;
pub mod clock;
pub mod config;
pub mod datetime;
pub mod db;
pub mod fair;
pub mod feed;
pub mod helpdesk;
pub mod import;
pub mod log;
pub mod metrics;
pub mod service;
pub mod services;
pub mod stock;
pub mod tasks;
pub mod users;
