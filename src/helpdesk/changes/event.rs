//! A change as its writer records it, and as the leader reads it. Pure.

use super::super::resource::Message;

/// What happened: in lower case, as the column `kind` has it. A kind that only another version knows is not parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
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

/// A change about to be committed: see [`super::record_and_commit`]. Who takes part is read with it, from the
/// conversation's row.
#[derive(Clone, Copy, Debug)]
pub struct NewEvent {
    /// What happened.
    pub kind: Kind,
    /// To which conversation.
    pub conversation: u64,
    /// The message that was posted or read.
    pub message: Option<u64>,
    /// Who claimed it, gave it back or resolved it.
    pub expert: Option<u64>,
}

#[allow(missing_docs)] // Each is named as its kind.
impl NewEvent {
    const fn of(kind: Kind, conversation: u64, message: Option<u64>, expert: Option<u64>) -> Self {
        Self { kind, conversation, message, expert }
    }

    pub const fn opened(conversation: u64) -> Self {
        Self::of(Kind::Opened, conversation, None, None)
    }

    pub const fn message(conversation: u64, message: u64) -> Self {
        Self::of(Kind::Message, conversation, Some(message), None)
    }

    pub const fn read(conversation: u64, message: u64) -> Self {
        Self::of(Kind::Read, conversation, Some(message), None)
    }

    pub const fn claimed(conversation: u64, expert: u64) -> Self {
        Self::of(Kind::Claimed, conversation, None, Some(expert))
    }

    pub const fn unclaimed(conversation: u64, expert: u64) -> Self {
        Self::of(Kind::Unclaimed, conversation, None, Some(expert))
    }

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
