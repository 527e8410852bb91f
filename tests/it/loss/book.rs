//! What a client has been given, and what was wrong with how it was given.

use std::collections::{BTreeMap, HashMap};

use hyperdesk::clock::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::clients::{CUT_AT, Kind};

/// One client's screen.
pub struct Book {
    pub user: u64,
    pub kind: Kind,
    pub conversations: BTreeMap<u64, Value>,
    pub messages: BTreeMap<u64, Value>,
    /// The waiting queue as cursor polls keep it.
    pub waiting: BTreeMap<u64, Value>,
    /// The places that cursor polls were told.
    pub positions: BTreeMap<u64, u64>,
    /// The queue as the `since` poll gives it.
    pub queue: Option<Value>,
    /// Messages in the order in which they first came.
    pub arrived: Vec<u64>,
    newest_in: HashMap<u64, u64>,
    /// The first message of the last full state that was cut. Of those before it nobody tells a client that had to take the
    /// state anew what was marked in between.
    pub state_begins: u64,
    pub wrong: Vec<String>,
    /// When it had all.
    pub settled: Option<Instant>,
    /// Messages that came after a later one of their conversation.
    pub late: Vec<(u64, u64)>,
}

pub fn id_of(value: &Value, name: &str) -> u64 {
    value[name].as_str().and_then(|id| id.parse().ok()).unwrap_or(0)
}

pub fn time_of(value: &Value, name: &str) -> Option<Timestamp> {
    Timestamp::parse_lenient(value[name].as_str()?)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

impl Book {
    pub fn new(user: u64, kind: Kind) -> Book {
        Book {
            user,
            kind,
            conversations: BTreeMap::new(),
            messages: BTreeMap::new(),
            waiting: BTreeMap::new(),
            positions: BTreeMap::new(),
            queue: None,
            arrived: Vec::new(),
            newest_in: HashMap::new(),
            state_begins: 0,
            wrong: Vec::new(),
            settled: None,
            late: Vec::new(),
        }
    }

    /// Its client was told that all of this may be of the past. What was wrong stays.
    pub fn clear(&mut self) {
        let wrong = std::mem::take(&mut self.wrong);
        *self = Book { wrong, ..Book::new(self.user, self.kind) };
    }

    /// Takes in what `/api/updates` or a stream said; whether anything is different now.
    pub fn take(&mut self, news: &Value, is_state: bool) -> bool {
        let mut changed = false;
        if is_state {
            changed |= !self.waiting.is_empty();
            self.waiting.clear();
            self.positions.clear();
            if list(&news["messages"]).count() >= CUT_AT {
                let first = list(&news["messages"]).map(|message| id_of(message, "id")).min();
                self.state_begins = first.unwrap_or(0);
            }
        }
        if news["positions"].is_array() {
            let told = list(&news["positions"]);
            let told = told.map(|one| (id_of(one, "conversationId"), one["position"].as_u64().unwrap_or(0)));
            let told: BTreeMap<u64, u64> = told.collect();
            changed |= self.positions != told;
            self.positions = told;
        }
        for conversation in list(&news["conversations"]) {
            changed |= self.take_conversation(conversation);
        }
        changed |= self.take_messages(&news["messages"], true);
        for left in list(&news["queue"]["left"]) {
            let id = left.as_str().and_then(|id| id.parse().ok()).unwrap_or(0);
            changed |= self.waiting.remove(&id).is_some();
        }
        for waiting in list(&news["queue"]["waiting"]) {
            let old = self.waiting.insert(id_of(waiting, "id"), waiting.clone());
            changed |= old.as_ref() != Some(waiting);
        }
        changed
    }

    fn take_conversation(&mut self, conversation: &Value) -> bool {
        let old = self.conversations.insert(id_of(conversation, "id"), conversation.clone());
        if let Some(old) = &old
            && time_of(old, "updatedAt") > time_of(conversation, "updatedAt")
        {
            // Another instance may be some ms behind; only what stays is checked, at the end.
            self.conversations.insert(id_of(old, "id"), old.clone());
            return false;
        }
        old.as_ref() != Some(conversation)
    }

    /// The array of `GET /api/conversations/updates`; whether anything is different now.
    pub fn take_conversations(&mut self, news: &Value) -> bool {
        list(news).fold(false, |changed, conversation| self.take_conversation(conversation) | changed)
    }

    /// The array of `GET /api/messages/updates`.
    pub fn take_messages(&mut self, news: &Value, with_conversations: bool) -> bool {
        let mut changed = false;
        for message in list(news) {
            let (id, conversation) = (id_of(message, "id"), id_of(message, "conversationId"));
            let old = self.messages.insert(id, message.clone());
            changed |= old.as_ref() != Some(message);
            if old.is_some() {
                continue;
            }
            self.arrived.push(id);
            if with_conversations && !self.conversations.contains_key(&conversation) {
                self.wrong.push(format!("{self}: message {id} came before its conversation {conversation}"));
            }
            // A mark on a message from before a claim brings that message, whenever it was posted.
            let before = self.newest_in.entry(conversation).or_default();
            if id < *before && message["isRead"] == false {
                self.late.push((id, conversation));
            } else {
                *before = id.max(*before);
            }
        }
        changed
    }

    /// The array of `GET /api/expert-queue/updates`.
    pub fn take_queue(&mut self, news: &Value) -> bool {
        let Some(queue) = list(news).next() else { return false };
        let changed = self.queue.as_ref() != Some(queue);
        self.queue = Some(queue.clone());
        changed
    }
}

impl std::fmt::Display for Book {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} client of user {}", self.kind, self.user)
    }
}
