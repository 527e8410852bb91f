//! Makes entries of changes that are about to be numbered: whose they are, what they show, what they mean to the queue.
//! Pure.
//!
//! # What a conversation shows
//! Changes are read with their conversations, all of one snapshot, so a conversation shows everything that the snapshot
//! does. Not all of that need fit into one run. Clients echo the time that a conversation shows, which stands for
//! everything before it in the feed; so a conversation is shown only in the run that has its last change. Read marks do
//! not count: they move no time, and `since` polls do not see them.
//!
//! # Who was assigned
//! A change goes to the expert who was assigned after it and still is. The snapshot shows who is; going back from
//! there through what comes later, each claim and each unclaim tells who was before it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::event::{Batch, Change, Entry, Kind, Piece, QueueChange, Rendered};
use super::resource::Conversation;
use super::run::{Header, RUN_BYTES_MAX};

/// What must be known of the changes before.
#[derive(Default)]
pub(super) struct Assembly {
    /// The conversations that wait.
    waiting: HashSet<u64>,
    /// Of the run before.
    before: Header,
}

/// Changes to be numbered, and what came of them.
pub(super) struct RenderedRun {
    /// How the run begins.
    pub(super) header: Header,
    /// The changes, numbered, without their times.
    pub(super) entries: Vec<Arc<Entry>>,
}

impl Assembly {
    /// Before the first change; `waiting` may be from a later moment.
    pub(super) fn new(waiting: Vec<u64>) -> Self {
        Self { waiting: waiting.into_iter().collect(), before: Header::default() }
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting.len() as u64
    }

    /// Takes in a run that was numbered, by whomever.
    pub(super) fn apply(&mut self, header: Header, batch: &Batch) {
        self.before = header;
        for entry in &batch.entries {
            match entry.queue {
                QueueChange::Waits => {
                    self.waiting.insert(entry.conversation_id);
                }
                QueueChange::Left => {
                    self.waiting.remove(&entry.conversation_id);
                }
                QueueChange::None => {}
            }
        }
    }

    /// Makes the entries of `changes`, which get the numbers from `first` on. `later` is what follows on them in the same
    /// snapshot, and `conversations` are those that they concern: each is rendered once, in its newest change, and again
    /// in its newest that a `since` poll sees.
    pub(super) fn render(
        &self,
        first: u64,
        changes: &[Change],
        later: &[Change],
        conversations: &HashMap<u64, Conversation>,
    ) -> RenderedRun {
        let group = if self.before.is_cut { self.before.group } else { first };
        let mut all = self.seen(first, changes, later, conversations);
        let assigned = assigned_after(changes, conversations, later);
        let mut waiting = self.waiting.len() as u64;
        for (id, seen) in &mut all {
            match (seen.queue, self.waiting.contains(id)) {
                (QueueChange::Waits, false) => waiting += 1,
                (QueueChange::Left, true) => waiting -= 1,
                _ => {}
            }
        }
        let entries = (first..).zip(changes.iter().zip(assigned)).map(|(seq, (change, expert_id))| {
            let conversation = change.conversation_id;
            let initiator_id = conversation.and_then(|id| conversations.get(&id)).map(|row| row.initiator_id);
            let seen = conversation.and_then(|id| all.get(&id));
            Arc::new(entry((seq, group), change, (initiator_id, expert_id), seen))
        });
        let header = Header { group, is_cut: !later.is_empty(), waiting };
        RenderedRun { header, entries: entries.collect() }
    }

    /// What the run says of each conversation.
    fn seen(
        &self,
        first: u64,
        changes: &[Change],
        later: &[Change],
        conversations: &HashMap<u64, Conversation>,
    ) -> HashMap<u64, Seen> {
        let mut all: HashMap<u64, Seen> = HashMap::new();
        for (seq, change) in (first..).zip(changes) {
            let Some(conversation) = change.conversation_id else { continue };
            let seen = all.entry(conversation).or_default();
            seen.newest = seq;
            if change.kind != Some(Kind::Read) {
                seen.newest_shown = seq;
                seen.may_leave |= matches!(change.kind, Some(Kind::Claimed | Kind::Opened));
            }
        }
        let moved = later.iter().filter(|change| change.kind != Some(Kind::Read));
        for id in moved.filter_map(|change| change.conversation_id) {
            all.entry(id).and_modify(|seen| seen.is_hidden = true);
        }
        for (id, seen) in all.iter_mut().filter(|(_, seen)| !seen.is_hidden) {
            seen.rendered = conversations.get(id).map(|row| Arc::new(Rendered::new(row)));
            let waits = seen.rendered.as_ref().is_some_and(|rendered| rendered.waiting);
            seen.queue = if waits {
                QueueChange::Waits
            } else if self.waiting.contains(id) || seen.may_leave {
                QueueChange::Left
            } else {
                QueueChange::None
            };
        }
        all
    }
}

/// So many of the first of `changes` fit into one run, at least one.
pub(super) fn fitting(changes: &[Change], conversations: &HashMap<u64, Conversation>) -> usize {
    /// What an item has besides its texts, and a conversation besides its title and names.
    const FIXED_BYTES: usize = 512;
    /// JSON writes a byte of a text as six at most.
    const ESCAPED: usize = 6;
    let mut bytes = FIXED_BYTES;
    let fits = |change: &&Change| {
        let message = change.message.as_ref().map_or(0, |message| message.content.len() + 255);
        let conversation = change.conversation_id.and_then(|id| conversations.get(&id));
        let shown = conversation.map_or(0, |row| {
            let expert = row.expert_username.as_ref().map_or(0, String::len);
            2 * (row.title.len() + row.initiator_username.len() + expert)
        });
        bytes += ESCAPED * (message + shown) + 3 * FIXED_BYTES;
        bytes <= RUN_BYTES_MAX
    };
    changes.iter().take_while(fits).count().max(1)
}

/// For each of `changes` the expert who was assigned after it and is now.
fn assigned_after(
    changes: &[Change],
    conversations: &HashMap<u64, Conversation>,
    later: &[Change],
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
    for change in later.iter().rev() {
        go_back(change);
    }
    let mut assigned: Vec<_> = changes.iter().rev().map(&mut go_back).collect();
    assigned.reverse();
    assigned
}

/// What a run says of one conversation.
#[derive(Default)]
struct Seen {
    newest: u64,
    /// The same without read marks, which `since` polls do not see.
    newest_shown: u64,
    may_leave: bool,
    /// It shows a change that is not in this run.
    is_hidden: bool,
    rendered: Option<Arc<Rendered>>,
    queue: QueueChange,
}

fn entry(
    (seq, group): (u64, u64),
    change: &Change,
    (initiator_id, expert_id): (Option<u64>, Option<u64>),
    seen: Option<&Seen>,
) -> Entry {
    let shows = seen.filter(|seen| seq == seen.newest || seq == seen.newest_shown);
    let message = change.message.as_ref().map(|message| {
        let mut json = Vec::with_capacity(192 + message.content.len());
        message.write_json(&mut json);
        Piece { id: message.id, stamp: message.created_at, json: Bytes::from(json) }
    });
    Entry {
        seq,
        id: change.id,
        at: crate::clock::Timestamp::default(),
        group,
        // What another version records reads as a change of its conversation.
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
