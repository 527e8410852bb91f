//! What the feed keeps of a change: whose it is, what it shows, what it means to the queue. Pure.

use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::feed::item::{CLASSES_MAX, Payload, PollClass, Shows};

use super::super::resource::Conversation;
use super::event::Kind;

/// The feed's one topic: the waiting queue, the same for every expert.
pub const QUEUE: usize = 0;

/// What a `since` poll asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Conversations that changed.
    Conversations,
    /// Messages that were posted.
    Messages,
    /// The waiting queue and the caller's assigned conversations: told whole.
    Queue,
}

const _: () = assert!(<Class as PollClass>::ALL.len() <= CLASSES_MAX);

impl PollClass for Class {
    const ALL: &'static [Self] = &[Self::Conversations, Self::Messages, Self::Queue];

    fn index(self) -> usize {
        self as usize
    }

    fn topic(self) -> Option<usize> {
        (self == Self::Queue).then_some(QUEUE)
    }

    fn replaces(self) -> bool {
        self != Self::Messages
    }
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
    pub fn new(conversation: &Conversation) -> Self {
        let write = |unread| Bytes::from(conversation.json(unread));
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

/// A change as the window keeps it.
#[derive(Debug)]
pub struct Entry {
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum QueueChange {
    /// It leaves the queue as it is.
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
    /// The conversation's JSON as `user` sees it, if it is theirs.
    pub fn conversation_for(&self, user: u64) -> Option<&Bytes> {
        let rendered = self.conversation.as_ref()?;
        if user == self.initiator_id {
            return Some(&rendered.for_initiator);
        }
        (self.expert_id == Some(user)).then_some(&rendered.for_expert)
    }

    /// Whether `user` was the expert and lost the conversation by this, who sees nothing of it any more.
    pub fn is_taken_from(&self, user: u64) -> bool {
        self.former_expert_id == Some(user) && self.recipients().all(|recipient| recipient != user)
    }
}

impl Payload for Entry {
    type Class = Class;

    fn recipients(&self) -> impl Iterator<Item = u64> {
        let initiator = Some(self.initiator_id).filter(|&user| user != 0);
        initiator.into_iter().chain(self.expert_id.filter(|&expert| Some(expert) != initiator))
    }

    fn withdrawn_from(&self) -> Option<u64> {
        self.former_expert_id
    }

    fn subject(&self) -> u64 {
        self.conversation_id
    }

    fn topic(&self) -> Option<usize> {
        (self.queue != QueueChange::None).then_some(QUEUE)
    }

    /// All but read marks, which move no time.
    fn is_told(&self) -> bool {
        self.kind != Kind::Read
    }

    fn shows(&self, class: Class, user: u64) -> Option<Shows<'_>> {
        if self.is_taken_from(user) {
            return None;
        }
        if class == Class::Messages {
            let Piece { id, stamp, json } = self.message.as_ref()?;
            return Some(Shows { thing: *id, text: json, stamp: *stamp });
        }
        // The queue holds what the user is the expert of.
        if class == Class::Queue && self.expert_id != Some(user) {
            return None;
        }
        let text = self.conversation_for(user)?;
        Some(Shows { thing: self.conversation_id, text, stamp: self.topic_stamp()? })
    }

    fn topic_stamp(&self) -> Option<Timestamp> {
        self.conversation.as_ref().map(|rendered| rendered.stamp)
    }

    fn bytes(&self) -> usize {
        let conversation = self.conversation.as_ref();
        ENTRY_BYTES
            + conversation.map_or(0, |rendered| rendered.for_initiator.len() + rendered.for_expert.len())
            + self.message.as_ref().map_or(0, |message| message.json.len())
    }
}
