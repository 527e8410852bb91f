//! The help desk: people ask, experts claim and answer, and every open browser asks what is new.
//!
//! | URLs | module |
//! |---|---|
//! | `/auth/…` | `accounts`; [`crate::auth::attempts`] limits guessing |
//! | `/conversations…` | `conversations` |
//! | `/messages…`, `/conversations/:id/messages` | `messages` |
//! | `/expert/…` | `experts` |
//! | `/api/…` | `updates`, and `stream` for server-sent events; `catch_up` for what memory cannot answer |
//!
//! [`changes`] says to the [`crate::feed`] what a change means: who sees it, what it shows, what it does to the queue.
//! `timeline` reads messages across conversations, in the order of time; [`merge`] is how. `lease` takes back what an
//! expert who is gone has claimed, `counts` sees to it that `messageCount` is right, `profiles` knows who is an expert.
//!
//! Invariants:
//! - A change that a client can see and its event are one transaction, the event last; the feed is told after the
//!   commit, the client after that.
//! - What is somebody else's is answered as what is not there.
//! - A write is a user's: a token of nobody, however well signed, changes nothing. The statements that a write
//!   begins with find nothing for a caller who has no row.
//! - Posting first locks the conversation's row, so posts to one conversation come one after the other and posts
//!   to others do not wait; two claims are decided by the same lock.
//! - GETs read the database, polls the feed's memory.

mod accounts;
mod catch_up;
pub mod changes;
mod conversations;
mod counts;
mod experts;
mod idempotency;
mod lease;
pub mod merge;
mod messages;
pub mod model;
mod profiles;
pub mod resource;
pub mod routes;
mod seed;
pub mod store;
mod stream;
mod timeline;
mod updates;
mod usernames;

use std::sync::Arc;
use std::time::Instant;

use http::Method;
use prometheus::IntCounter;

use crate::auth::Auth;
use crate::auth::attempts::Attempts;
use crate::auth::password::Hasher;
use crate::chassis::pages::Page;
use crate::chassis::route::Miss;
use crate::chassis::{Answer, Background, Error, Request, Response, response};
use crate::config::Usernames;
use crate::db::{Connection, Db, Packet, Statement};
use crate::feed::Room;
use crate::metrics;
use crate::page;
use crate::service::{Context, Service};
use crate::tasks::Kind;
use crate::users;

use catch_up::Cuts;
use changes::{Class, Feed};
use idempotency::Once;
use lease::{Lease, Presence};
use model::{Credentials, ProfileChange, Reply};
use profiles::Profiles;
use routes::Route;
use usernames::Names;

pub use seed::{SeedError, seed};

/// The help desk service.
pub struct Helpdesk {
    db: Arc<Db>,
    feed: Arc<Feed>,
    auth: Arc<Auth>,
    background: Arc<Background>,
    hasher: Hasher,
    attempts: Attempts,
    cuts: Cuts,
    profiles: Profiles,
    /// None where claims have no lease.
    lease: Option<Arc<Lease>>,
    names: Names,
    rehash: bool,
    metrics: Metrics,
}

crate::metrics! {
    /// What only the help desk counts.
    struct Metrics {
        sign_ins_failed: IntCounter = "auth_sign_ins_failed_total", "Sign-ins refused for name or password.";
        replies_refused: IntCounter = "helpdesk_replies_refused_total", "Replies refused because somebody else had posted since what their sender had seen.";
        claims_lapsed: IntCounter = "helpdesk_claims_lapsed_total", "Claims taken back by this instance because their expert was gone.";
    }
}

impl Service for Helpdesk {
    type Route = Route;

    const NAME: &'static str = "helpdesk";
    const OPENAPI: &'static str = include_str!("openapi.json");
    const STATEMENTS: &'static [Statement] = store::STATEMENTS;
    const PACKETS: &'static [Packet] = store::PACKETS;
    const PAGE: Option<Page> = Some(page!(
        "helpdesk",
        "Help desk",
        "Ask a question and see it answered, or answer those of others.",
        [
            "helpdesk.html",
            "helpdesk.css",
            "desk.js",
            "state.js",
            "feed.js",
            "outbox.js",
            "list.js",
            "views.js"
        ]
    ));

    fn new(context: &Context) -> Result<Arc<Self>, String> {
        let text = |error: prometheus::Error| error.to_string();
        let hasher = Hasher::new(context.config.hash_concurrency).map_err(|error| error.to_string())?;
        let metrics = Metrics::new(&context.registry).map_err(text)?;
        register_hasher(&hasher, &context.registry).map_err(text)?;
        let attempts = Attempts::new(context.config.address_attempts_max, &context.registry).map_err(text)?;
        let feed = changes::start(context.of_feed(), &context.registry).map_err(text)?;
        context.adopt(&feed);
        context.let_users_in();
        let (db, tasks) = (Arc::downgrade(&context.db), &context.tasks);
        let counted = db.clone();
        if context.config.usernames == Usernames::CaseInsensitive {
            let db = db.clone();
            tasks.spawn("username_keys", Kind::Housekeeping, move || usernames::give_keys(db.clone()));
        }
        tasks.spawn("idempotency_forget", Kind::Housekeeping, move || idempotency::forget(db.clone()));
        tasks.spawn("message_counts", Kind::Housekeeping, move || counts::run(counted.clone()));
        let lease = Lease::start(context, &feed, metrics.claims_lapsed.clone());
        Ok(Arc::new(Self {
            db: context.db.clone(),
            feed,
            auth: context.auth.clone(),
            background: context.background.clone(),
            hasher,
            attempts,
            cuts: Cuts::default(),
            profiles: Profiles::new(),
            lease,
            names: Names(context.config.usernames),
            rehash: context.config.rehash,
            metrics,
        }))
    }

    fn find(method: &Method, path: &str) -> Result<Route, Miss> {
        routes::find(method, path)
    }

    fn call(self: &Arc<Self>, route: Route, request: &mut Request) -> Answer {
        self.work(route, request).unwrap_or_else(|error| Answer::now(Err(error)))
    }
}

impl Helpdesk {
    /// Tells the feed of a change that `user` made and that is committed, so that they see it in their next poll. It has
    /// this room there.
    fn wrote(&self, user: u64, event: Option<u64>, room: Room) {
        if let Some(event) = event {
            self.feed.wrote(user, event, room);
        }
    }

    /// The same, and the answer to that change.
    fn done(&self, user: u64, event: Option<u64>) -> Response {
        self.wrote(user, event, Room::default());
        response::json_text(http::StatusCode::OK, r#"{"success":true}"#)
    }

    /// Notes that a caller asks for updates.
    fn asks(&self, event_loop: usize, user: u64, received_at: Instant) {
        if let Some(lease) = &self.lease {
            lease.note(event_loop, user, received_at);
        }
    }

    /// The same for as long as they are held or listen: until what this returns is dropped.
    fn holds(&self, event_loop: usize, user: u64) -> Option<Presence> {
        self.lease.as_ref().map(|lease| lease.hold(event_loop, user))
    }

    /// Reads what a request says, and hands it to its handler.
    fn work(self: &Arc<Self>, route: Route, request: &mut Request) -> Result<Answer, Error> {
        // Shared with the other loops: not counted where it is not kept.
        let desk = || self.clone();
        let user = request.caller.map(|caller| caller.user_id);
        // A route that lets only users in always has one.
        let caller = || user.ok_or(Error::unauthenticated());
        Ok(match route {
            Route::ConversationUpdates => updates::since(self, request, Class::Conversations, "userId")?,
            Route::MessageUpdates => updates::since(self, request, Class::Messages, "userId")?,
            Route::QueueUpdates => updates::since(self, request, Class::Queue, "expertId")?,
            Route::Updates => updates::poll(self, request)?,
            Route::UpdateStream => stream::open(self, request)?,
            Route::Register => {
                let credentials = Credentials::of(&request.fields("user")?);
                Answer::detached(accounts::register(desk(), credentials, request.client))
            }
            Route::Login => {
                let credentials = Credentials::of(&request.fields("user")?);
                Answer::detached(accounts::login(desk(), credentials, request.client))
            }
            Route::Logout => Answer::detached(accounts::logout(desk(), request.caller)),
            Route::Refresh => Answer::detached(accounts::refresh(desk(), request.caller()?)),
            Route::Me => Answer::detached(accounts::me(desk(), request.caller()?)),
            Route::ConversationList => Answer::detached(conversations::list(desk(), caller()?)),
            Route::Conversation { id } => Answer::detached(conversations::show(desk(), caller()?, id)),
            Route::ConversationOpen => {
                let title = model::title(&request.fields("conversation")?).map_err(Error::invalid)?;
                let once = Once::of("/conversations", caller()?, &request.headers, &request.body)?;
                Answer::detached(conversations::open(desk(), caller()?, title, once))
            }
            Route::MessageList { conversation } => {
                Answer::detached(messages::list(desk(), caller()?, conversation))
            }
            Route::MessagePost => {
                let fields = request.fields("message")?;
                let once = Once::of("/messages", caller()?, &request.headers, &request.body)?;
                Answer::detached(messages::post(desk(), caller()?, Reply::of(&fields), once))
            }
            Route::MessageRead { id } => Answer::detached(messages::read(desk(), caller()?, id)),
            Route::Queue => Answer::detached(experts::queue(desk(), request.event_loop, caller()?)),
            Route::Claim { conversation } => {
                Answer::detached(experts::claim(desk(), caller()?, conversation))
            }
            Route::Unclaim { conversation } => {
                Answer::detached(experts::unclaim(desk(), caller()?, conversation))
            }
            Route::Resolve { conversation } => {
                Answer::detached(experts::resolve(desk(), caller()?, conversation))
            }
            Route::Profile => Answer::detached(experts::profile(desk(), caller()?)),
            Route::ProfileUpdate => {
                let change = ProfileChange::of(&request.fields("expert_profile")?).map_err(Error::invalid)?;
                Answer::detached(experts::update_profile(desk(), caller()?, change))
            }
            Route::AssignmentHistory => Answer::detached(experts::history(desk(), caller()?)),
        })
    }
}

/// The queue of passwords, as Prometheus sees it.
fn register_hasher(hasher: &Hasher, registry: &prometheus::Registry) -> Result<(), prometheus::Error> {
    let (queued, running) = (hasher.clone(), hasher.clone());
    let about = "Passwords waiting to be hashed or checked.";
    metrics::gauge(registry, "auth_hash_queue_length", about, move || queued.queued() as f64)?;
    let about = "Passwords being hashed or checked.";
    metrics::gauge(registry, "auth_hash_running", about, move || running.running() as f64)?;
    metrics::registered(registry, hasher.rejected().clone()).map(drop)
}

/// The answer to a write that found nothing of the caller's. Whether there is such a caller is looked at only then:
/// an instance need not know which ids below the newest user's are nobody's.
async fn refusal(db: &mut Connection, caller: u64, otherwise: Error) -> Error {
    match users::exists(db, caller).await {
        Ok(true) => otherwise,
        Ok(false) => Error::unauthenticated(),
        Err(error) => error.into(),
    }
}
