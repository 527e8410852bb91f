//! What the feed is made of: a change as its writer records it, as whoever numbers it reads it, and as the window
//! keeps it.

use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Timestamp;

use super::resource::{Conversation, Message};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A conversation was opened; it waits.
    Opened,
    /// A message was posted.
    Message,
    /// A message was marked as read. The `since` polls never showed these: no `updatedAt` moves.
    Read,
    /// An expert took a conversation.
    Claimed,
    /// They gave it back; it waits again.
    Unclaimed,
    /// It is done.
    Resolved,
}

const KINDS: [(Kind, &str); 6] = [
    (Kind::Opened, "opened"),
    (Kind::Message, "message"),
    (Kind::Read, "read"),
    (Kind::Claimed, "claimed"),
    (Kind::Unclaimed, "unclaimed"),
    (Kind::Resolved, "resolved"),
];

impl Kind {
    /// As the column `kind` has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        KINDS.iter().find(|(kind, _)| *kind == self).map_or("", |(_, text)| text)
    }

    /// `None` for a kind that only another version knows.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        KINDS.iter().find(|(_, known)| *known == text).map(|(kind, _)| *kind)
    }
}

/// A change about to be committed: see [`super::store::record_and_commit`]. Who takes part is read with it, from the
/// conversation's row.
#[derive(Clone, Copy, Debug)]
pub struct NewEvent {
    /// What happened.
    pub(super) kind: Kind,
    /// To which conversation.
    pub(super) conversation: u64,
    /// The message that was posted or read.
    pub(super) message: Option<u64>,
    /// Who claimed it, gave it back or resolved it.
    pub(super) expert: Option<u64>,
}

impl NewEvent {
    const fn of(kind: Kind, conversation: u64, message: Option<u64>, expert: Option<u64>) -> Self {
        Self { kind, conversation, message, expert }
    }

    /// A conversation was opened.
    #[must_use]
    pub const fn opened(conversation: u64) -> Self {
        Self::of(Kind::Opened, conversation, None, None)
    }

    /// `message` was posted.
    #[must_use]
    pub const fn message(conversation: u64, message: u64) -> Self {
        Self::of(Kind::Message, conversation, Some(message), None)
    }

    /// `message` was marked as read.
    #[must_use]
    pub const fn read(conversation: u64, message: u64) -> Self {
        Self::of(Kind::Read, conversation, Some(message), None)
    }

    /// `expert` took it.
    #[must_use]
    pub const fn claimed(conversation: u64, expert: u64) -> Self {
        Self::of(Kind::Claimed, conversation, None, Some(expert))
    }

    /// `expert` gave it back.
    #[must_use]
    pub const fn unclaimed(conversation: u64, expert: u64) -> Self {
        Self::of(Kind::Unclaimed, conversation, None, Some(expert))
    }

    /// `expert` resolved it.
    #[must_use]
    pub const fn resolved(conversation: u64, expert: u64) -> Self {
        Self::of(Kind::Resolved, conversation, None, Some(expert))
    }
}

/// A committed change without a number, with its message as it is now.
#[derive(Clone, Debug)]
pub struct Change {
    /// The outbox row's id.
    pub id: u64,
    /// What happened; `None` for a kind that this version does not know.
    pub kind: Option<Kind>,
    /// The conversation concerned.
    pub conversation_id: Option<u64>,
    /// Who claimed it, gave it back or resolved it.
    pub expert_id: Option<u64>,
    /// The message concerned.
    pub message: Option<Message>,
}

/// A conversation's JSON, written once for all who get it.
#[derive(Debug)]
pub struct Rendered {
    /// Its `updatedAt`.
    pub stamp: Timestamp,
    /// When it was opened: its place in the queue.
    pub opened_at: Timestamp,
    /// Whether it waits for an expert.
    pub waiting: bool,
    /// As its initiator sees it.
    pub for_initiator: Bytes,
    /// As its expert sees it, or while it waits everyone but the initiator.
    pub for_expert: Bytes,
}

impl Rendered {
    /// Writes both views.
    #[must_use]
    pub fn new(conversation: &Conversation) -> Self {
        let write = |unread| {
            let mut json = Vec::with_capacity(384);
            conversation.write_json(unread, &mut json);
            Bytes::from(json)
        };
        Self {
            stamp: conversation.updated_at,
            opened_at: conversation.created_at,
            waiting: conversation.is_waiting(),
            for_initiator: write(conversation.unread_count(conversation.initiator_id)),
            for_expert: write(conversation.unread_by_others()),
        }
    }
}

/// A message's JSON.
#[derive(Debug)]
pub struct Piece {
    /// The message's id.
    pub id: u64,
    /// Its `timestamp`.
    pub stamp: Timestamp,
    /// Its text.
    pub json: Bytes,
}

/// A numbered change as the window keeps it, shared by all event loops.
#[derive(Debug)]
pub struct Entry {
    /// Its place in the feed.
    pub seq: u64,
    /// The outbox row's id.
    pub id: u64,
    /// The feed's time.
    pub at: Timestamp,
    /// The place of the first change that was numbered in the same go: [`super::assembly::Assembly::group`]. Of changes in
    /// different conversations that were, a snapshot of the database may hold a later and lack an earlier one.
    pub group: u64,
    /// What happened.
    pub kind: Kind,
    /// The conversation concerned; 0 for none.
    pub conversation_id: u64,
    /// Who asked; 0 for none.
    pub initiator_id: u64,
    /// The expert who may see this: assigned after the change and, when it was numbered, still.
    pub expert_id: Option<u64>,
    /// The expert who lost the conversation by this.
    pub former_expert_id: Option<u64>,
    /// The conversation, in the newest change that concerns it of those numbered together.
    pub conversation: Option<Arc<Rendered>>,
    /// The message that was posted or read.
    pub message: Option<Piece>,
    /// What the change means to the waiting queue.
    pub queue: QueueChange,
}

/// What a change means to the waiting queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueChange {
    /// Nothing.
    #[default]
    None,
    /// The conversation waits, newly or changed.
    Waits,
    /// It no longer waits.
    Left,
}

/// What an entry takes besides its texts: itself, and its places in the shards' lists.
const ENTRY_BYTES: usize = 400;

impl Entry {
    /// About what it takes in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let conversation = self.conversation.as_ref();
        ENTRY_BYTES
            + conversation.map_or(0, |rendered| rendered.for_initiator.len() + rendered.for_expert.len())
            + self.message.as_ref().map_or(0, |message| message.json.len())
    }

    /// The conversation's JSON as `user` sees it.
    #[must_use]
    pub fn conversation_for(&self, user: u64) -> Option<&Bytes> {
        let rendered = self.conversation.as_ref()?;
        Some(if user == self.initiator_id { &rendered.for_initiator } else { &rendered.for_expert })
    }
}

/// The changes of one run.
#[derive(Debug, Default)]
pub struct Batch {
    /// In order.
    pub entries: Vec<Arc<Entry>>,
    /// How many conversations wait after them.
    pub waiting: u64,
}
