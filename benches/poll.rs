//! The parts of a poll, one by one: `cargo bench --bench poll`. Under `cargo test --benches` each runs once.

#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::Method;
use hyperdesk::auth::Auth;
use hyperdesk::auth::registrations::Registrations;
use hyperdesk::auth::session::Revocations;
use hyperdesk::auth::token::cache::Cache;
use hyperdesk::auth::token::{Claims, Keys, SessionId};
use hyperdesk::clock::Timestamp;
use hyperdesk::feed::Cursor;
use hyperdesk::feed::item::Item;
use hyperdesk::feed::window::{Position, Retention};
use hyperdesk::helpdesk::changes::event::Kind;
use hyperdesk::helpdesk::changes::item::{Class, Entry, Piece, QueueChange, Rendered};
use hyperdesk::helpdesk::changes::news::{Window, after};
use hyperdesk::helpdesk::changes::places::{Places, Waiting};
use hyperdesk::helpdesk::changes::shown::{Shown, Tells};
use hyperdesk::helpdesk::resource::{Conversation, Message};
use hyperdesk::helpdesk::routes;

/// People with conversations in the window.
const USERS: u64 = 10_000;
/// Microseconds between two changes.
const STEP: i64 = 1_000;
const BEGIN: i64 = 1_768_473_000_000_000;

fn at(seq: u64) -> Timestamp {
    Timestamp::from_micros(BEGIN + STEP * seq as i64)
}

fn message(seq: u64) -> Message {
    Message {
        id: seq,
        conversation_id: seq % USERS,
        sender_id: USERS + 1,
        sender_username: "eve".to_owned(),
        sender_role: "expert".to_owned(),
        content: "Have you tried \"turning it off and on again\"? It helps more often than one thinks."
            .to_owned(),
        created_at: at(seq),
        is_read: false,
    }
}

fn conversation(seq: u64) -> Conversation {
    Conversation {
        id: seq % USERS,
        title: "The printer on the second floor".to_owned(),
        status: "active".to_owned(),
        initiator_id: 1 + seq % USERS,
        initiator_username: "ann".to_owned(),
        expert_id: Some(USERS + 1 + seq % 100),
        expert_username: Some("eve".to_owned()),
        created_at: at(seq),
        updated_at: at(seq),
        last_message_at: Some(at(seq)),
        unread: 1,
        unread_from_initiator: 0,
        unread_from_expert: 1,
        message_count: 1,
    }
}

/// The message with this number: from an expert, to the user after it.
fn change(seq: u64) -> [Arc<Item<Entry>>; 1] {
    let (conversation, message) = (conversation(seq), message(seq));
    let json = message.json();
    let payload = Entry {
        kind: Kind::Message,
        conversation_id: conversation.id + 1,
        initiator_id: conversation.initiator_id,
        expert_id: conversation.expert_id,
        former_expert_id: None,
        conversation: Some(Arc::new(Rendered::new(&conversation))),
        message: Some(Piece { id: seq, stamp: at(seq), json: Bytes::from(json) }),
        queue: QueueChange::None,
    };
    [Arc::new(Item { seq, id: seq, at: at(seq), group: seq, payload })]
}

/// A full window: each new change drives the oldest out.
fn window() -> Window {
    let retention = Retention { events_max: USERS as usize * 2, bytes_max: usize::MAX };
    let mut window = Window::new(Position { seq: 0, at: at(0) }, retention, Places::default());
    (1..=USERS * 3).for_each(|seq| window.apply(&change(seq)));
    window
}

fn tokens(criterion: &mut Criterion) {
    let keys = Keys::new(b"a secret of more than thirty-two bytes, as it should be", None).unwrap();
    let now = Timestamp::now();
    let issued_at = now.unix_seconds();
    let session = SessionId::from_bytes([7; 16]);
    let token = keys.sign(&Claims {
        user_id: 42,
        session,
        expires_at: issued_at + 3_600,
        issued_at: Some(issued_at),
        user_created_at: None,
    });
    let mut cache = Cache::default();
    let auth = Auth {
        keys,
        revocations: Revocations::new(),
        registrations: Registrations::new(),
        token_ttl_seconds: 3_600,
        production: false,
    };
    criterion.bench_function("token, first", |bench| {
        bench.iter(|| auth.keys.verify(black_box(token.as_bytes()), now));
    });
    let came = Instant::now();
    criterion.bench_function("token, again", |bench| {
        bench.iter(|| cache.verify(&auth, black_box(token.as_bytes()), now, came));
    });
}

fn routing(criterion: &mut Criterion) {
    for (name, path) in [
        ("route, a poll", "/api/conversations/updates"),
        ("route, the last with an id", "/expert/conversations/4711/resolve"),
        ("route, none", "/wp-login.php"),
    ] {
        criterion.bench_function(name, |bench| bench.iter(|| routes::find(&Method::GET, black_box(path))));
    }
}

/// A change of the queue, of the conversation that waits for longest.
fn at_the_head(seq: u64, kind: Kind, queue: QueueChange) -> [Arc<Item<Entry>>; 1] {
    let mut waits = conversation(1);
    (waits.id, waits.initiator_id, waits.created_at) = (1, 1, at(1));
    let payload = Entry {
        kind,
        conversation_id: 1,
        initiator_id: 1,
        expert_id: None,
        former_expert_id: None,
        conversation: Some(Arc::new(Rendered::new(&waits))),
        message: None,
        queue,
    };
    [Arc::new(Item { seq, id: seq, at: at(seq), group: seq, payload })]
}

/// What a claim at the head of the queue costs, which moves everybody's place, and what the last one's polls do.
fn places(criterion: &mut Criterion, count: u64) {
    let retention = Retention { events_max: 50_000, bytes_max: usize::MAX };
    let all = (1..=count).map(|id| Waiting { conversation: id, opened_at: at(id), initiator: id });
    let all: Vec<Waiting> = all.collect();
    let mut window = Window::new(Position::default(), retention, Places::new(&all));
    let mut seq = 0;
    criterion.bench_function(&format!("places, {count} wait, a claim at the head and its return"), |bench| {
        bench.iter(|| {
            seq += 2;
            window.apply(&at_the_head(seq - 1, Kind::Claimed, QueueChange::Left));
            window.apply(&at_the_head(seq, Kind::Unclaimed, QueueChange::Waits));
        });
    });
    let tells = Tells { shown: Shown { queue: false, ..Shown::ALL }, queue: false, places: true };
    criterion.bench_function(&format!("places, {count} wait, the last one's idle poll"), |bench| {
        bench.iter(|| after(&window, black_box(count), seq, tells));
    });
    criterion.bench_function(&format!("places, {count} wait, the last one's poll after a claim"), |bench| {
        bench.iter(|| after(&window, black_box(count), seq - 1, tells));
    });
}

fn polls(criterion: &mut Criterion) {
    let window = window();
    let newest = USERS * 3;
    let user = 1 + newest % USERS;
    let idle = at(newest + 1_000);
    let tells = Tells { shown: Shown::ALL, queue: true, places: true };
    criterion.bench_function("window, idle poll", |bench| {
        bench.iter(|| window.since(black_box(user), Class::Messages, idle));
    });
    criterion.bench_function("window, idle poll of the queue", |bench| {
        bench.iter(|| window.since(black_box(user), Class::Queue, idle));
    });
    criterion.bench_function("window, idle cursor poll", |bench| {
        bench.iter(|| after(&window, black_box(user), newest, tells));
    });
    for waiting in [1_000, 10_000, 100_000] {
        places(criterion, waiting);
    }
    // Echoes the time of the change before the newest one.
    criterion.bench_function("window, poll with one new message", |bench| {
        bench.iter(|| window.since(black_box(user), Class::Messages, at(newest - USERS)));
    });
    criterion.bench_function("window, cursor poll with one new message", |bench| {
        bench.iter(|| after(&window, black_box(user), newest - 1, tells));
    });
    let position = Position { at: hyperdesk::clock::Timestamp::from_micros(7), seq: newest };
    let cursor = Cursor::new(position, user);
    criterion.bench_function("cursor, written", |bench| bench.iter(|| black_box(cursor).text()));
    let text = cursor.text();
    criterion.bench_function("cursor, read", |bench| bench.iter(|| Cursor::parse(black_box(text))));
}

fn json(criterion: &mut Criterion) {
    let (message, conversation) = (message(1), conversation(1));
    let mut text = Vec::with_capacity(1_024);
    criterion.bench_function("JSON of a message", |bench| bench.iter(|| black_box(&message).json()));
    criterion.bench_function("JSON of a conversation", |bench| {
        bench.iter(|| {
            text.clear();
            black_box(&conversation).write_json(1, &mut text);
        });
    });
}

fn insert(criterion: &mut Criterion) {
    let mut window = window();
    let mut seq = window.position().seq;
    criterion.bench_function("window, insert and evict", |bench| {
        let next = || {
            seq += 1;
            change(seq)
        };
        bench.iter_batched(next, |batch| window.apply(&batch), BatchSize::SmallInput);
    });
}

criterion_group! {
    name = all;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = tokens, routing, polls, json, insert
}
criterion_main!(all);
