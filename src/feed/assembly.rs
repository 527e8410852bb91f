//! Makes entries of what the tail read: whose they are, what they show, what they mean to the queue. Pure.
//!
//! # A conversation that is ahead
//! Changes are read with their conversations, which may show what a change in the outbox did: one that is committed
//! and has no number yet. Clients echo the time that it gave the conversation, and to an instance that has read
//! that change it stands for everything before it in the feed, so also for changes of other conversations that
//! were numbered between the two and were never shown. So one that is ahead is not shown to `since` polls: the
//! change that made its time is about to come and shows it. Cursor polls get it at once, as its messages may
//! come with it, with the newest time that its changes read so far account for. Read marks do not count: they
//! move no time, and `since` polls do not see them.

//! # Who was assigned
//! A change goes to the expert who was assigned after it and still is. The snapshot shows who is; going back from
//! there through what it shows, each claim and each unclaim tells who was before it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Timestamp;

use super::event::{Batch, Change, Entry, Event, Kind, Piece, QueueChange, Rendered};
use super::resource::Conversation;
use super::store::OUTBOX_ROWS_MAX;

/// What must be known of the changes before.
#[derive(Default)]
pub(super) struct Assembly {
    /// The conversations that wait.
    waiting: HashSet<u64>,
    group: Group,
}

/// Tells which changes were numbered in the same go: their times are one microsecond apart.
#[derive(Default)]
struct Group {
    first: u64,
    length: u64,
    last_at: i64,
}

impl Group {
    fn of(&mut self, seq: u64, at: Timestamp) -> u64 {
        let goes_on = at.micros() == self.last_at + 1;
        // A full run leaves behind what the next one numbers.
        let cut = self.length >= OUTBOX_ROWS_MAX as u64 && self.length.is_multiple_of(OUTBOX_ROWS_MAX as u64);
        if !goes_on && !cut {
            (self.first, self.length) = (seq, 0);
        }
        self.last_at = at.micros();
        self.length += 1;
        self.first
    }
}

impl Assembly {
    /// How many wait.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting.len() as u64
    }

    /// Before the first change; `waiting` may be from a later moment.
    pub(super) fn new(waiting: Vec<u64>) -> Self {
        Self { waiting: waiting.into_iter().collect(), group: Group::default() }
    }

    /// Makes one batch of changes read together. `conversations` are those that they concern, of one snapshot with
    /// `outbox`, what lacks a number: each is rendered once, in its newest change, and again in its newest that a
    /// `since` poll sees.
    pub(super) fn batch(
        &mut self,
        events: &[Event],
        conversations: &HashMap<u64, Conversation>,
        outbox: &[Change],
    ) -> Batch {
        let mut all: HashMap<u64, Seen> = HashMap::new();
        for Event { seq, change, .. } in events {
            let Some(conversation) = change.conversation_id else { continue };
            let seen = all.entry(conversation).or_default();
            seen.newest = *seq;
            if change.kind != Some(Kind::Read) {
                seen.newest_shown = *seq;
                seen.may_leave |= matches!(change.kind, Some(Kind::Claimed | Kind::Opened));
            }
        }
        let moved = outbox.iter().filter(|change| change.kind != Some(Kind::Read));
        let ahead: HashSet<u64> = moved.filter_map(|change| change.conversation_id).collect();
        for (id, seen) in &mut all {
            let Some(conversation) = conversations.get(id) else { continue };
            let rendered = if ahead.contains(id) {
                Rendered::new(&accounted_for(conversation, events), true)
            } else {
                Rendered::new(conversation, false)
            };
            seen.rendered = Some(Arc::new(rendered));
        }
        for (&conversation, seen) in &mut all {
            let waits = seen.rendered.as_ref().is_some_and(|rendered| rendered.waiting);
            seen.queue = if waits {
                self.waiting.insert(conversation);
                QueueChange::Waits
            } else if self.waiting.remove(&conversation) || seen.may_leave {
                QueueChange::Left
            } else {
                QueueChange::None
            };
        }
        let assigned = assigned_after(events, conversations, outbox);
        let entries = events.iter().zip(assigned).map(|(event, expert_id)| {
            let group = self.group.of(event.seq, event.at);
            let conversation = event.change.conversation_id;
            let initiator_id = conversation.and_then(|id| conversations.get(&id)).map(|row| row.initiator_id);
            let seen = conversation.and_then(|id| all.get(&id));
            Arc::new(entry(event, group, (initiator_id, expert_id), seen))
        });
        let entries = entries.collect();
        Batch { entries, waiting: self.waiting() }
    }
}

/// For each of `events` the expert who was assigned after it and is now.
fn assigned_after(
    events: &[Event],
    conversations: &HashMap<u64, Conversation>,
    outbox: &[Change],
) -> Vec<Option<u64>> {
    let now = |id: u64| conversations.get(&id).and_then(|conversation| conversation.expert_id);
    let mut after: HashMap<u64, Option<u64>> = HashMap::new();
    let mut go_back = |change: &Change| {
        let id = change.conversation_id?;
        let expert = after.entry(id).or_insert_with(|| now(id));
        let was = match change.kind {
            Some(Kind::Claimed) => None,
            Some(Kind::Unclaimed) => change.expert_id,
            _ => *expert,
        };
        std::mem::replace(expert, was).filter(|&expert| Some(expert) == now(id))
    };
    for change in outbox.iter().rev() {
        go_back(change);
    }
    let mut assigned: Vec<_> = events.iter().rev().map(|event| go_back(&event.change)).collect();
    assigned.reverse();
    assigned
}

/// The same with the newest time that `events` account for: a message has the time that it gave its
/// conversation.
fn accounted_for(conversation: &Conversation, events: &[Event]) -> Conversation {
    let own = events.iter().map(|event| &event.change);
    let own = own.filter(|change| change.conversation_id == Some(conversation.id));
    let posted = own.filter(|change| change.kind == Some(Kind::Message));
    let times = posted.filter_map(|change| change.message.as_ref()).map(|message| message.created_at);
    Conversation { updated_at: times.fold(conversation.created_at, Timestamp::max), ..conversation.clone() }
}

/// What a batch says of one conversation.
#[derive(Default)]
struct Seen {
    newest: u64,
    /// The same without read marks, which `since` polls do not see.
    newest_shown: u64,
    may_leave: bool,
    rendered: Option<Arc<Rendered>>,
    queue: QueueChange,
}

fn entry(
    Event { seq, at, change }: &Event,
    group: u64,
    (initiator_id, expert_id): (Option<u64>, Option<u64>),
    seen: Option<&Seen>,
) -> Entry {
    let shows = seen.filter(|seen| *seq == seen.newest || *seq == seen.newest_shown);
    let message = change.message.as_ref().map(|message| {
        let mut json = Vec::with_capacity(192 + message.content.len());
        message.write_json(&mut json);
        Piece { id: message.id, stamp: message.created_at, json: Bytes::from(json) }
    });
    Entry {
        seq: *seq,
        id: change.id,
        at: *at,
        group,
        // What a newer version records reads as a change of its conversation.
        kind: change.kind.unwrap_or(Kind::Resolved),
        conversation_id: change.conversation_id.unwrap_or(0),
        initiator_id: initiator_id.unwrap_or(0),
        expert_id,
        former_expert_id: change.expert_id.filter(|_| change.kind == Some(Kind::Unclaimed)),
        conversation: shows.and_then(|seen| seen.rendered.clone()),
        message,
        queue: shows.map_or(QueueChange::None, |seen| seen.queue),
    }
}
