//! State plus events equals a fresh state: random histories, read by clients of every kind.

mod queue;
mod since;
mod times;

use std::collections::{BTreeMap, HashMap};

use std::sync::Arc;

use bytes::Bytes;

use super::super::resource::{Conversation, Message};
use super::event::{Change, Kind};
use super::item::{Class, Entry, Piece, QueueChange};
use super::news::{Window, after, is_unchanged};
use super::places::Places;
use super::render::render;
use super::shown::{Shown, Tells};
use super::wire::{decode, encode};
use crate::clock::Timestamp;
use crate::feed::Position;
use crate::feed::domain::After;
use crate::feed::item::{Item, Payload as _};
use crate::feed::run::{Run, group};
use crate::feed::window::{NEWS_BYTES_MAX, NEWS_MAX, REACH_MICROS, Retention, Since};
use since::{SinceClient, reader};
use times::posted;

const USERS: std::ops::RangeInclusive<u64> = 1..=4;
const TELLS: Tells = Tells { shown: Shown::ALL, queue: true, places: true };
const RETENTION: Retention = Retention { events_max: 10_000, bytes_max: usize::MAX };

/// The database, and what was committed but not numbered yet.
struct Model {
    random: fastrand::Rng,
    now: i64,
    last_at: i64,
    seq: u64,
    conversations: BTreeMap<u64, Conversation>,
    messages: BTreeMap<u64, Message>,
    /// For each message the expert who was assigned when it was posted, and the claim that they had.
    claims: HashMap<u64, u64>,
    posted_under: HashMap<u64, u64>,
    pending: Vec<Change>,
    group: Option<u64>,
    window: Window,
}

impl Model {
    fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            now: 1_000_000_000,
            last_at: 0,
            seq: 0,
            conversations: BTreeMap::new(),
            messages: BTreeMap::new(),
            claims: HashMap::new(),
            posted_under: HashMap::new(),
            pending: Vec::new(),
            group: None,
            window: Window::new(Position::default(), RETENTION, Places::default()),
        }
    }

    fn event(&mut self, kind: Kind, conversation: u64, expert: Option<u64>, message: Option<u64>) {
        self.pending.push(Change {
            id: 0,
            kind: Some(kind),
            conversation_id: Some(conversation),
            expert_id: expert,
            message: message.map(|id| self.messages[&id].clone()),
        });
    }

    fn unread(&mut self, conversation: u64) {
        let row = self.conversations.get_mut(&conversation).unwrap();
        let unread = |sender: Option<u64>| {
            let of = self.messages.values().filter(|message| message.conversation_id == conversation);
            of.filter(|message| !message.is_read && sender.is_none_or(|id| id == message.sender_id)).count()
                as u64
        };
        row.unread = unread(None);
        row.unread_from_initiator = unread(Some(row.initiator_id));
        row.unread_from_expert = row.expert_id.map_or(0, |expert| unread(Some(expert)));
    }

    fn open(&mut self, id: u64, user: u64, now: Timestamp) {
        let row = Conversation {
            id,
            title: String::new(),
            status: "waiting".to_owned(),
            initiator_id: user,
            initiator_username: String::new(),
            expert_id: None,
            expert_username: None,
            created_at: now,
            updated_at: now,
            last_message_at: None,
            unread: 0,
            unread_from_initiator: 0,
            unread_from_expert: 0,
            message_count: 0,
        };
        self.conversations.insert(id, row);
        self.event(Kind::Opened, id, None, None);
    }

    /// One random change, committed.
    fn act(&mut self) {
        self.now += self.random.i64(1..200_000);
        let now = Timestamp::from_micros(self.now);
        let user = self.random.u64(USERS);
        let count = self.conversations.len() as u64;
        if count == 0 || self.random.u8(..) < 30 {
            return self.open(count + 1, user, now);
        }
        let id = self.random.u64(1..=count);
        let row = self.conversations.get_mut(&id).unwrap();
        match (self.random.u8(0..5), row.expert_id) {
            (0, None) => {
                (row.expert_id, row.status, row.updated_at) = (Some(user), "active".to_owned(), now);
                *self.claims.entry(id).or_default() += 1;
                self.unread(id);
                self.event(Kind::Claimed, id, Some(user), None);
            }
            (0, Some(expert)) if row.status == "active" => {
                (row.expert_id, row.status, row.updated_at) = (None, "waiting".to_owned(), now);
                self.unread(id);
                self.event(Kind::Unclaimed, id, Some(expert), None);
            }
            (1, Some(_)) if self.random.bool() => {
                (row.status, row.updated_at) = ("resolved".to_owned(), now);
                self.event(Kind::Resolved, id, None, None);
            }
            (2, _) => {
                let read = self
                    .messages
                    .values_mut()
                    .find(|message| message.conversation_id == id && !message.is_read);
                let Some(message) = read else { return };
                message.is_read = true;
                let message = message.id;
                self.unread(id);
                self.event(Kind::Read, id, None, Some(message));
            }
            (_, expert) => {
                (row.updated_at, row.last_message_at) = (now, Some(now));
                row.message_count += 1;
                let sender_id = expert.filter(|_| self.random.bool()).unwrap_or(row.initiator_id);
                let message = self.messages.len() as u64 + 1;
                self.messages.insert(
                    message,
                    Message {
                        id: message,
                        conversation_id: id,
                        sender_id,
                        sender_username: String::new(),
                        sender_role: String::new(),
                        content: String::new(),
                        created_at: now,
                        is_read: false,
                    },
                );
                self.posted_under.insert(message, self.claims.get(&id).copied().unwrap_or(0));
                self.unread(id);
                self.event(Kind::Message, id, None, Some(message));
            }
        }
    }

    /// Numbers some of what is committed, in an order in which transactions of different conversations may have
    /// got their ids, and applies it; conversations are as they are by now.
    fn tail(&mut self, all: bool) {
        let count = if all { self.pending.len() } else { self.random.usize(0..=self.pending.len()) };
        let mut changes: Vec<Change> = self.pending.drain(..count).collect();
        for _ in 0..changes.len() {
            let at = self.random.usize(..changes.len());
            if at + 1 < changes.len() && changes[at].conversation_id != changes[at + 1].conversation_id {
                changes.swap(at, at + 1);
            }
        }
        if changes.is_empty() {
            return;
        }
        let (count, first, before) = (changes.len() as i64, self.seq + 1, self.last_at);
        self.now += 1_000;
        self.last_at = self.now.max(self.last_at) + count;
        self.now = self.last_at + 1_000;
        for change in &mut changes {
            self.seq += 1;
            change.id = self.seq;
            if let Some(message) = &mut change.message {
                *message = self.messages[&message.id].clone();
            }
        }
        let rows: HashMap<u64, Conversation> =
            self.conversations.iter().map(|(&id, row)| (id, row.clone())).collect();
        let places = self.window.projection();
        let (header, entries) = render(places, &changes, &self.pending, &rows);
        let run = Run {
            last: Position { seq: self.seq, at: Timestamp::from_micros(self.last_at) },
            first,
            after_at: Timestamp::from_micros(before),
            bytes: 0,
            body: encode(header, &changes, &entries).into(),
        };
        let decoded = decode(&run.body).unwrap();
        assert_eq!(decoded.is_cut, header.is_cut);
        let group = group(&mut self.group, first, header.is_cut);
        self.window.apply(&run.items(decoded.items, group).unwrap());
        assert_eq!(self.window.projection().count(), header.waiting);
    }

    fn is_party(&self, user: u64, conversation: u64) -> bool {
        let row = &self.conversations[&conversation];
        row.initiator_id == user || row.expert_id == Some(user)
    }

    /// The same, as far as the feed can know: an unclaim that has no number yet is nobody's knowledge.
    fn may_see(&self, user: u64, conversation: u64) -> bool {
        let loses = |change: &Change| {
            let unclaims = change.kind == Some(Kind::Unclaimed) && change.expert_id == Some(user);
            unclaims && change.conversation_id == Some(conversation)
        };
        self.is_party(user, conversation) || self.pending.iter().any(loses)
    }

    /// What `user` must have in the end, by the field that a class shows.
    fn due_conversations(&self, user: u64) -> BTreeMap<u64, Timestamp> {
        let own = self.conversations.values().filter(|row| self.is_party(user, row.id));
        own.map(|row| (row.id, row.updated_at)).collect()
    }

    fn due_messages(&self, user: u64) -> Vec<u64> {
        let due = self.messages.values().filter(|message| {
            let row = &self.conversations[&message.conversation_id];
            let claim = self.claims.get(&row.id).copied().unwrap_or(0);
            // An expert gets what was posted since they claimed it, the rest by GET.
            row.initiator_id == user || row.expert_id == Some(user) && self.posted_under[&message.id] == claim
        });
        due.map(|message| message.id).collect()
    }
}

fn json(piece: &Bytes) -> serde_json::Value {
    serde_json::from_slice(piece).unwrap()
}

fn id(value: &serde_json::Value) -> u64 {
    value["id"].as_str().unwrap().parse().unwrap()
}

#[derive(Default)]
struct CursorClient {
    seq: u64,
    conversations: BTreeMap<u64, serde_json::Value>,
    messages: BTreeMap<u64, serde_json::Value>,
    waiting: BTreeMap<u64, serde_json::Value>,
    total: u64,
    positions: BTreeMap<u64, u64>,
}

impl CursorClient {
    fn poll(&mut self, model: &Model, user: u64) {
        match after(&model.window, user, self.seq, TELLS) {
            After::HeldBack => panic!("all is told"),
            After::Unchanged(position) => self.seq = position.seq,
            After::TooOld => panic!("the window is large enough"),
            After::News(news, position) => {
                for conversation in &news.unassigned {
                    self.conversations.remove(conversation);
                    let id = conversation.to_string();
                    self.messages.retain(|_, message| message["conversationId"] != *id);
                }
                for piece in &news.conversations {
                    let value = json(piece);
                    assert!(model.may_see(user, id(&value)), "user {user} is no party of {value}");
                    self.conversations.insert(id(&value), value);
                }
                for piece in &news.messages {
                    let value = json(piece);
                    let conversation = value["conversationId"].as_str().unwrap().parse().unwrap();
                    assert!(model.may_see(user, conversation), "user {user} is no party of {value}");
                    self.messages.insert(id(&value), value);
                }
                for left in &news.left {
                    self.waiting.remove(left);
                }
                for piece in &news.waiting {
                    self.waiting.insert(id(&json(piece)), json(piece));
                }
                (self.seq, self.total) = (position.seq, news.total);
                if !news.positions.is_empty() {
                    let told = news.positions.iter().map(|place| (place.conversation, place.position));
                    self.positions = told.collect();
                }
            }
        }
    }

    fn check(&self, model: &Model, user: u64) {
        for row in model.conversations.values() {
            let write = |unread| json(&row.json(unread).into());
            if model.is_party(user, row.id) {
                let held = self.conversations.get(&row.id);
                assert_eq!(held, Some(&write(row.unread_count(user))), "user {user}");
                // By the count alone, as a front end can, an asker knows that they have every message.
                let own = row.id.to_string();
                let held = self.messages.values().filter(|message| message["conversationId"] == *own);
                assert!(row.initiator_id != user || held.count() as u64 == row.message_count, "user {user}");
            } else {
                assert_eq!(self.conversations.get(&row.id), None, "user {user} has no more of it");
            }
            let waits = row.is_waiting().then(|| write(row.unread_by_others()));
            assert_eq!(self.waiting.get(&row.id), waits.as_ref(), "user {user}");
        }
        self.check_positions(model, user);
        let waiting = model.conversations.values().filter(|row| row.is_waiting()).count();
        assert!(self.waiting.is_empty() && self.total == 0 || self.total == waiting as u64);
        for message in model.due_messages(user) {
            let sent = json(&model.messages[&message].json().into());
            assert_eq!(self.messages.get(&message), Some(&sent), "user {user}");
        }
    }
}

impl CursorClient {
    /// Each of a user's that waits is told its place, which is that by counting.
    fn check_positions(&self, model: &Model, user: u64) {
        let waiting = model.conversations.values().filter(|row| row.is_waiting());
        let mut order: Vec<_> = waiting.map(|row| (row.created_at, row.id, row.initiator_id)).collect();
        order.sort_unstable();
        let own = (1_u64..).zip(&order).filter(|(_, (.., initiator))| *initiator == user);
        let expected: BTreeMap<u64, u64> = own.map(|(place, (_, id, _))| (*id, place)).collect();
        let held = |id: &u64| self.positions.get(id).copied();
        for (id, place) in &expected {
            assert_eq!(held(id), Some(*place), "user {user}, conversation {id}");
        }
        assert_eq!(model.window.projection().has(user), !expected.is_empty());
    }
}

#[test]
#[allow(clippy::print_stdout, reason = "a failure names its seed")]
fn state_plus_events_is_a_fresh_state() {
    let seeds = std::env::var("TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = seeds.map_or(0..100, |seed| seed..seed + 1);
    for seed in seeds {
        println!("TEST_SEED={seed}");
        let mut model = Model::new(seed);
        let mut cursors: HashMap<u64, CursorClient> = USERS.map(|user| (user, <_>::default())).collect();
        let mut since: Vec<(u64, SinceClient)> = USERS
            .flat_map(|user| [(user, SinceClient::new(true)), (user, SinceClient::new(false))])
            .collect();
        for step in 0..80 {
            model.act();
            if model.random.bool() {
                let all = model.random.bool();
                model.tail(all);
            }
            let user = model.random.u64(USERS);
            cursors.get_mut(&user).unwrap().poll(&model, user);
            for (user, client) in &mut since {
                if model.random.u8(0..4) == 0 {
                    client.poll(&model, *user);
                }
            }
            if step == 40 {
                since.extend(USERS.map(|user| (user, reader(&model, user))));
            }
        }
        model.tail(true);
        for (user, client) in &mut cursors {
            client.poll(&model, *user);
            client.check(&model, *user);
            assert!(is_unchanged(&model.window, *user, client.seq, TELLS));
        }
        for (user, client) in &mut since {
            client.poll(&model, *user);
            client.check(&model, *user);
        }
    }
}

#[test]
fn a_quiet_user_is_forgotten_and_nothing_is_claimed_of_them() {
    let mut model = Model::new(1);
    model.window.recipients_max = 2;
    for _ in 0..200 {
        model.act();
        model.tail(true);
    }
    let old = Timestamp::from_micros(1_000_001);
    for user in USERS {
        let answer = model.window.since(user, Class::Messages, old);
        assert!(matches!(answer, Since::Unknown | Since::News(..)), "{answer:?}");
        let now = Timestamp::from_micros(model.now + REACH_MICROS);
        assert_eq!(model.window.since(user, Class::Messages, now), Since::Unchanged);
    }
    assert!(USERS.map(|user| model.window.own_seq(user)).any(|seq| seq > 0), "who was not quiet is known");
    assert_eq!(model.window.since(99, Class::Messages, old), Since::Unknown);
    model.window.verify(99, Class::Messages, old, model.window.position().seq);
    assert_eq!(model.window.since(99, Class::Messages, old), Since::Unchanged);
}

#[test]
fn what_was_evicted_is_never_passed_over() {
    let mut model = Model::new(2);
    model.window.retention.events_max = 10;
    for _ in 0..200 {
        model.act();
        model.tail(true);
        assert!(model.window.size().0 <= 10);
    }
    for user in USERS {
        assert_eq!(after(&model.window, user, 0, TELLS), After::TooOld);
        let since = model.window.since(user, Class::Conversations, Timestamp::from_micros(2_000_000));
        assert_eq!(since, Since::Unknown);
    }
    let end = model.window.position();
    assert_eq!(after(&model.window, 1, end.seq, TELLS), After::Unchanged(end));
}

#[test]
fn an_answer_is_bounded_in_bytes_and_the_next_one_goes_on() {
    let mut window = Window::new(Position::default(), RETENTION, Places::default());
    for seq in 1..=60 {
        let at = 1_000_000 * seq as i64;
        window.apply(&[posted(seq, at, at, 393_216 + seq as usize)]);
    }
    let (mut since, mut told) = (Timestamp::from_micros(500_000), 0);
    while let Since::News(pieces, seq) = window.since(1, Class::Messages, since) {
        assert!(pieces.iter().map(Bytes::len).sum::<usize>() <= NEWS_BYTES_MAX);
        told += pieces.len() as u64;
        assert_eq!(told, seq.seq, "none is left out and none comes twice");
        since = seq.at;
    }
    assert_eq!(told, 60);
    let mut seq = 0;
    while let After::News(news, position) = after(&window, 1, seq, TELLS) {
        assert!(news.messages.iter().map(Bytes::len).sum::<usize>() <= NEWS_BYTES_MAX);
        seq += news.messages.len() as u64;
        assert_eq!(seq, position.seq);
    }
    assert_eq!(seq, 60);
}
