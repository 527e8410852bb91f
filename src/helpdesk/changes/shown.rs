//! What a client shows of the updates: the rest is neither told to it nor wakes it. Pure.

use crate::feed;
use crate::feed::domain;

use super::item::QUEUE;

/// The parts of `GET /api/updates` that a client shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its user's conversations, and the places of those that wait.
    pub conversations: bool,
    /// The messages in them.
    pub messages: bool,
    /// The waiting queue, which is the same for everyone.
    pub queue: bool,
}

impl Shown {
    /// All of them.
    pub const ALL: Self = Self { conversations: true, messages: true, queue: true };
    const NONE: Self = Self { conversations: false, messages: false, queue: false };

    /// Those named in a list with commas; `None` where it holds another word.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut shown = Self::NONE;
        for word in text.split(|&byte| byte == b',') {
            match word.trim_ascii() {
                b"conversations" => shown.conversations = true,
                b"messages" => shown.messages = true,
                b"queue" => shown.queue = true,
                _ => return None,
            }
        }
        Some(shown)
    }

    /// What an answer may hold of them, where its user may be told of the queue or may not.
    pub fn told(self, may_see_queue: bool) -> Tells {
        Tells { shown: self, queue: self.queue && may_see_queue, places: true }
    }
}

/// What an answer to a cursor may hold.
#[derive(Clone, Copy, Debug)]
pub struct Tells {
    /// What the client shows.
    pub shown: Shown,
    /// Whether its user may be told of the queue, and shows it.
    pub queue: bool,
    /// Whether a change of place alone is told.
    pub places: bool,
}

impl domain::Ask for Tells {
    fn topic(self) -> Option<usize> {
        self.queue.then_some(QUEUE)
    }

    fn is_denied(self) -> bool {
        self.shown.queue && !self.queue
    }

    fn minor(self) -> bool {
        self.places
    }

    fn with_minor(self, places: bool) -> Self {
        Self { places, ..self }
    }
}

/// A position, and what may be told of what came after it.
pub type CursorAsk = feed::CursorAsk<Tells>;

impl CursorAsk {
    /// The same where it asks again as soon as it was told: a change of a place alone can wait.
    #[must_use]
    pub fn patient(self) -> Self {
        Self { ask: Tells { places: false, ..self.ask }, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_parts_is_read_and_another_word_is_none() {
        assert_eq!(Shown::parse(b"queue,messages,conversations"), Some(Shown::ALL));
        assert_eq!(Shown::parse(b"messages, messages"), Some(Shown { messages: true, ..Shown::NONE }));
        for wrong in ["", ",", "messages,", "Messages", "queue;messages", "all"] {
            assert_eq!(Shown::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
