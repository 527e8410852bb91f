//! What must hold at the end.

use crate::support::schema::CHANGES;
use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use super::book::{Book, id_of};
use super::writers::{Ledger, Outcome, Write};
use super::{World, archive};

struct Conversation {
    title: String,
    status: String,
    initiator: u64,
    expert: Option<u64>,
    updated_at: String,
    created_at: String,
}

struct Message {
    conversation: u64,
    sender: u64,
    content: String,
    is_read: bool,
    timestamp: String,
}

struct Event {
    seq: u64,
    kind: String,
    conversation: u64,
    message: Option<u64>,
    expert: Option<u64>,
}

/// All of the database.
pub struct Truth {
    conversations: BTreeMap<u64, Conversation>,
    messages: BTreeMap<u64, Message>,
    events: Vec<Event>,
    /// Where each message is in the feed.
    posted: HashMap<u64, u64>,
    /// By conversation and expert.
    tenures: HashMap<(u64, u64), (u64, u64)>,
    /// When a backup was restored, where one was.
    restored_at: Option<String>,
}

/// From where to where in the feed each expert had a conversation, the last time.
fn tenures(events: &[Event]) -> HashMap<(u64, u64), (u64, u64)> {
    let mut all = HashMap::new();
    for event in events {
        match (&*event.kind, event.expert) {
            ("claimed", Some(expert)) => {
                all.insert((event.conversation, expert), (event.seq, u64::MAX));
            }
            ("unclaimed", Some(expert)) => {
                all.entry((event.conversation, expert)).and_modify(|turn| turn.1 = event.seq);
            }
            _ => {}
        }
    }
    all
}

type ConversationRow = (u64, String, String, u64, Option<u64>, String, String);
type EventRow = (u64, String, Option<u64>, Option<u64>, Option<u64>);

impl Truth {
    pub async fn read(world: &World) -> Truth {
        let rows: Vec<ConversationRow> = world
            .schema
            .query(
                "SELECT id, title, status, initiator_id, assigned_expert_id,
                     DATE_FORMAT(updated_at, '%Y-%m-%dT%H:%i:%s.%fZ'),
                     DATE_FORMAT(created_at, '%Y-%m-%dT%H:%i:%s.%fZ') FROM conversations",
            )
            .await;
        let conversations = rows.into_iter().map(|row| {
            let (id, title, status, initiator, expert, updated_at, created_at) = row;
            (id, Conversation { title, status, initiator, expert, updated_at, created_at })
        });
        let rows: Vec<(u64, u64, u64, String, bool, String)> = world
            .schema
            .query(
                "SELECT id, conversation_id, sender_id, content, is_read,
                     DATE_FORMAT(created_at, '%Y-%m-%dT%H:%i:%s.%fZ') FROM messages",
            )
            .await;
        let messages = rows.into_iter().map(|(id, conversation, sender, content, is_read, timestamp)| {
            (id, Message { conversation, sender, content, is_read, timestamp })
        });
        let rows: Vec<EventRow> = world
            .schema
            .query(format!(
                "SELECT seq, kind, conversation_id, message_id, expert_id FROM {CHANGES} ORDER BY seq"
            ))
            .await;
        let events: Vec<Event> = rows
            .into_iter()
            .map(|(seq, kind, conversation, message, expert)| Event {
                seq,
                kind,
                conversation: conversation.unwrap_or(0),
                message,
                expert,
            })
            .collect();
        let posts = events.iter().filter(|event| event.kind == "message");
        let posted = posts.map(|event| (event.message.unwrap_or(0), event.seq)).collect();
        let tenures = tenures(&events);
        Truth {
            conversations: conversations.collect(),
            messages: messages.collect(),
            events,
            posted,
            tenures,
            restored_at: world.restored_at.lock().unwrap().clone(),
        }
    }

    pub fn summary(&self, ledgers: &[Ledger]) -> String {
        let count = |wanted: fn(&Outcome) -> bool| {
            ledgers.iter().flat_map(|ledger| &ledger.writes).filter(|(_, outcome)| wanted(outcome)).count()
        };
        let acknowledged = count(|outcome| matches!(outcome, Outcome::Done(_)));
        let (refused, unknown) =
            (count(|o| matches!(o, Outcome::Refused)), count(|o| matches!(o, Outcome::Unknown)));
        let (conversations, messages) = (self.conversations.len(), self.messages.len());
        format!(
            "{acknowledged} writes acknowledged, {refused} refused, {unknown} unknown; {conversations} \
             conversations, {messages} messages, {} events, {} claims ended",
            self.events.len(),
            self.events.iter().filter(|event| event.kind == "unclaimed").count()
        )
    }

    /// Each acknowledged write is stored and recorded exactly once, a refused one not at all, any other at
    /// most once.
    pub fn check_ledgers(&self, ledgers: &[Ledger]) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut rows: HashMap<&str, Vec<u64>> = HashMap::new();
        for (id, row) in &self.conversations {
            rows.entry(&row.title).or_default().push(*id);
        }
        for (id, row) in &self.messages {
            rows.entry(&row.content).or_default().push(*id);
        }
        let mut changes: HashMap<(&str, u64, u64), (usize, usize)> = HashMap::new();
        for (write, outcome) in ledgers.iter().flat_map(|ledger| &ledger.writes) {
            match write {
                Write::Open { title: text } | Write::Post { content: text, .. } => {
                    let stored = rows.get(text.as_str()).map_or(&[][..], Vec::as_slice);
                    let right = match outcome {
                        Outcome::Done(id) => stored == [*id],
                        Outcome::Refused => stored.is_empty(),
                        Outcome::Unknown => stored.len() <= 1,
                    };
                    if !right {
                        wrong.push(format!("{write:?} ended as {outcome:?} and is stored as {stored:?}"));
                    }
                }
                Write::Change { kind, conversation, by } => {
                    let counted = changes.entry((*kind, *conversation, *by)).or_default();
                    counted.0 += usize::from(matches!(outcome, Outcome::Done(_)));
                    counted.1 += usize::from(*outcome == Outcome::Unknown);
                }
                Write::Read { message } => {
                    let is_read = self.messages.get(message).is_some_and(|row| row.is_read);
                    if matches!(outcome, Outcome::Done(_)) && !is_read {
                        wrong.push(format!("message {message} was marked and is unread"));
                    }
                }
            }
        }
        wrong.extend(self.check_changes(&changes));
        wrong.extend(self.check_events());
        wrong
    }

    fn check_changes(&self, changes: &HashMap<(&str, u64, u64), (usize, usize)>) -> Vec<String> {
        let mut wrong = Vec::new();
        for (&(kind, conversation, by), &(done, unknown)) in changes {
            let of = |event: &&Event| {
                event.kind == kind && event.conversation == conversation && event.expert == Some(by)
            };
            let stored = self.events.iter().filter(of).count();
            // Who resolves twice is told twice that it is done.
            let least = if kind == "resolved" { done.min(1) } else { done };
            // What lapses is given back by nobody.
            if stored < least || (kind != "unclaimed" && stored > done + unknown) {
                let counts = format!("{done} times, {unknown} unknown, stored {stored} times");
                wrong.push(format!("user {by} {kind} conversation {conversation}: {counts}"));
            }
        }
        wrong
    }

    /// One event for each new row, numbers without a gap.
    fn check_events(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (place, event) in self.events.iter().enumerate() {
            if event.seq != place as u64 + 1 {
                wrong.push(format!("number {} stands at place {}", event.seq, place + 1));
                break;
            }
        }
        let mut seen = HashSet::new();
        for event in &self.events {
            let row = event.message.unwrap_or(event.conversation);
            let once = matches!(&*event.kind, "opened" | "message" | "read" | "resolved");
            if once && !seen.insert((event.kind.clone(), row)) {
                wrong.push(format!("{} {row} was recorded twice", event.kind));
            }
        }
        let conversations = self.conversations.iter().filter(|(_, row)| !archive::is_of(&row.title));
        let messages = self.messages.iter().filter(|(_, row)| !archive::is_of(&row.content));
        for (kind, rows) in [
            ("opened", conversations.map(|(id, _)| *id).collect::<Vec<_>>()),
            ("message", messages.map(|(id, _)| *id).collect()),
        ] {
            for row in rows {
                if !seen.contains(&(kind.to_owned(), row)) {
                    wrong.push(format!("{kind} {row} was not recorded"));
                }
            }
        }
        wrong
    }

    /// What is wrong with one client's book.
    pub fn check(&self, book: &Book, ledgers: &[Ledger]) -> Vec<String> {
        let mut wrong = book.wrong.clone();
        let by_cursor = book.kind.is_by_cursor();
        self.check_conversations(book, by_cursor, &mut wrong);
        self.check_messages(book, by_cursor, &mut wrong);
        if by_cursor {
            self.check_waiting(&book.waiting.values().collect::<Vec<_>>(), book, &mut wrong);
            self.check_positions(book, &mut wrong);
        } else {
            self.check_queue(book, &mut wrong);
        }
        // After a restore an id may be another's, of whom it was before.
        if !self.keeps_the_lost(book) {
            self.check_order(book, ledgers, &mut wrong);
            self.check_late(book, &mut wrong);
        }
        wrong
    }

    /// Nobody can tell a client that asks by time of what is gone: it has that still.
    fn keeps_the_lost(&self, book: &Book) -> bool {
        self.restored_at.is_some() && !book.kind.is_by_cursor()
    }

    fn check_conversations(&self, book: &Book, by_cursor: bool, wrong: &mut Vec<String>) {
        let user = book.user;
        for (id, row) in &self.conversations {
            if row.initiator != user && row.expert != Some(user) {
                continue;
            }
            // Nor of what became again what it was.
            if self.keeps_the_lost(book) && self.restored_at.as_ref().is_some_and(|at| row.updated_at < *at) {
                continue;
            }
            let Some(held) = book.conversations.get(id) else {
                wrong.push(format!("{book}: lacks conversation {id}"));
                continue;
            };
            if let Some(what) = row.differs(held) {
                wrong.push(format!("{book}: conversation {id}: {what}: {held}"));
            }
            let unread = self
                .messages
                .values()
                .filter(|message| message.conversation == *id && !message.is_read && message.sender != user);
            let unread = unread.count();
            self.check_drift(*id, held, book, wrong);
            if by_cursor && held["unreadCount"] != unread {
                wrong.push(format!("{book}: conversation {id}: {unread} are unread: {held}"));
            }
        }
        if self.keeps_the_lost(book) {
            return;
        }
        for id in book.conversations.keys() {
            let may = |row: &Conversation| row.initiator == user || self.tenure(*id, user).is_some();
            if !self.conversations.get(id).is_some_and(may) {
                wrong.push(format!("{book}: conversation {id} is none of theirs"));
            }
        }
    }

    /// By the count that a client was shown it knows whether it has every message: an asker always has, an expert has
    /// what was posted since the claim and reads the rest.
    fn check_drift(&self, id: u64, held: &Value, book: &Book, wrong: &mut Vec<String>) {
        let posted = self.messages.values().filter(|row| row.conversation == id).count();
        if held["messageCount"] != posted {
            wrong.push(format!("{book}: conversation {id} has {posted} messages: {held}"));
        }
        let known = book.messages.values().filter(|one| id_of(one, "conversationId") == id).count();
        // Who asks by times keeps what a restore took back.
        let has_all = known == posted || (known > posted && self.keeps_the_lost(book));
        if self.conversations[&id].initiator == book.user && !has_all {
            wrong.push(format!("{book}: has {known} of {posted} messages of conversation {id}"));
        }
    }

    /// Who waits was told their place.
    fn check_positions(&self, book: &Book, wrong: &mut Vec<String>) {
        let waiting = self.conversations.iter().filter(|(_, row)| row.status == "waiting");
        let mut order: Vec<_> = waiting.map(|(id, row)| (&row.created_at, *id, row.initiator)).collect();
        order.sort_unstable();
        for (place, (_, id, initiator)) in (1..).zip(order) {
            let told = book.positions.get(&id);
            if initiator == book.user && told != Some(&place) {
                wrong.push(format!("{book}: conversation {id} stands at {place}, was told {told:?}"));
            }
        }
    }

    fn check_messages(&self, book: &Book, by_cursor: bool, wrong: &mut Vec<String>) {
        let user = book.user;
        for (id, row) in &self.messages {
            let conversation = &self.conversations[&row.conversation];
            let posted = self.posted.get(id).copied().unwrap_or(0);
            // An expert gets what was posted since they claimed it, the rest by GET.
            let due = conversation.initiator == user
                || conversation.expert == Some(user)
                    && self.tenure(row.conversation, user).is_some_and(|(claimed, _)| posted > claimed);
            // In what was lost somebody else may have had the conversation, and times tell nobody that it is theirs again.
            let is_theirs_again = self.keeps_the_lost(book)
                && conversation.initiator != user
                && self.restored_at.as_ref().is_some_and(|at| row.timestamp < *at);
            let Some(held) = book.messages.get(id) else {
                if due && !is_theirs_again {
                    wrong.push(format!("{book}: lacks message {id} (change {posted})"));
                }
                continue;
            };
            let same = id_of(held, "conversationId") == row.conversation
                && id_of(held, "senderId") == row.sender
                && held["content"] == *row.content
                && held["timestamp"] == *row.timestamp
                && (!due || !by_cursor || *id < book.state_begins || held["isRead"] == row.is_read);
            let keeps_the_lost = self.keeps_the_lost(book);
            // Its id may be another's now, whose it never was.
            if !same && (due || !keeps_the_lost) {
                wrong.push(format!("{book}: message {id} differs: {held}"));
            }
            if keeps_the_lost {
                continue;
            }
            let may = conversation.initiator == user
                || self.tenure(row.conversation, user).is_some_and(|(_, ended)| posted < ended);
            if !may {
                wrong.push(format!("{book}: message {id} is none of theirs"));
            }
        }
        if self.keeps_the_lost(book) {
            return;
        }
        for id in book.messages.keys().filter(|id| !self.messages.contains_key(id)) {
            wrong.push(format!("{book}: there is no message {id}"));
        }
    }

    /// From where to where in the feed a user had a conversation as its expert, the last time.
    fn tenure(&self, conversation: u64, user: u64) -> Option<(u64, u64)> {
        self.tenures.get(&(conversation, user)).copied()
    }

    fn check_waiting(&self, held: &[&Value], book: &Book, wrong: &mut Vec<String>) {
        let held: BTreeMap<u64, &Value> = held.iter().map(|value| (id_of(value, "id"), *value)).collect();
        for (id, row) in self.conversations.iter().filter(|(_, row)| row.status == "waiting") {
            match held.get(id) {
                None => wrong.push(format!("{book}: {id} waits and is not in their queue")),
                Some(value) => {
                    if let Some(what) = row.differs(value) {
                        wrong.push(format!("{book}: {id} in their queue: {what}: {value}"));
                    }
                }
            }
        }
        for id in held.keys() {
            if self.conversations.get(id).is_none_or(|row| row.status != "waiting") {
                wrong.push(format!("{book}: {id} is in their queue and does not wait"));
            }
        }
    }

    fn check_queue(&self, book: &Book, wrong: &mut Vec<String>) {
        let Some(queue) = &book.queue else {
            wrong.push(format!("{book}: never got a queue"));
            return;
        };
        let list = |name: &str| queue[name].as_array().cloned().unwrap_or_default();
        self.check_waiting(&list("waitingConversations").iter().collect::<Vec<_>>(), book, wrong);
        let held: BTreeMap<u64, Value> =
            list("assignedConversations").into_iter().map(|value| (id_of(&value, "id"), value)).collect();
        let assigned = |row: &Conversation| row.status == "active" && row.expert == Some(book.user);
        for (id, row) in self.conversations.iter().filter(|(_, row)| assigned(row)) {
            match held.get(id).map(|value| row.differs(value)) {
                None => wrong.push(format!("{book}: {id} is assigned and not in their list")),
                Some(Some(what)) => wrong.push(format!("{book}: {id} in their list: {what}")),
                Some(None) => {}
            }
        }
        for id in held.keys() {
            if !self.conversations.get(id).is_some_and(assigned) {
                wrong.push(format!("{book}: {id} is in their list and not assigned"));
            }
        }
    }

    /// Nothing comes after a later message of its conversation, but what was posted before the reader claimed it:
    /// that is theirs to GET, and the database, asked by an instance that does not reach back, gives it too.
    fn check_late(&self, book: &Book, wrong: &mut Vec<String>) {
        for (id, conversation) in &book.late {
            let claimed = self.tenure(*conversation, book.user).map_or(0, |(claimed, _)| claimed);
            let is_initiator =
                self.conversations.get(conversation).is_some_and(|row| row.initiator == book.user);
            if is_initiator || self.posted.get(id).is_some_and(|posted| *posted > claimed) {
                wrong.push(format!(
                    "{book}: message {id} came after a later one of conversation {conversation}"
                ));
            }
        }
    }

    /// What a writer posted after having been told that something else was done comes after that.
    fn check_order(&self, book: &Book, ledgers: &[Ledger], wrong: &mut Vec<String>) {
        let came: HashMap<u64, usize> =
            book.arrived.iter().enumerate().map(|(place, id)| (*id, place)).collect();
        for ledger in ledgers {
            let mut before = None;
            for (write, outcome) in &ledger.writes {
                let (Write::Post { conversation, .. }, Outcome::Done(id)) = (write, outcome) else {
                    continue;
                };
                if self.conversations.get(conversation).is_none_or(|row| row.initiator != book.user) {
                    continue;
                }
                let Some(&place) = came.get(id) else { continue };
                if let Some((earlier, at)) = before
                    && at > place
                {
                    wrong.push(format!("{book}: message {id} came before its cause, message {earlier}"));
                }
                before = Some((*id, place));
            }
        }
    }
}

impl Conversation {
    /// In what an answer differs from this.
    fn differs(&self, shown: &Value) -> Option<&'static str> {
        let expert = shown["assignedExpertId"].as_str().and_then(|id| id.parse().ok());
        if shown["title"] != *self.title {
            Some("another title")
        } else if shown["status"] != *self.status {
            Some("another status")
        } else if expert != self.expert {
            Some("another expert")
        } else if shown["updatedAt"] != *self.updated_at {
            Some("another time")
        } else {
            None
        }
    }
}
