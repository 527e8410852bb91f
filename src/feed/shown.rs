//! What a client shows of the updates: the rest is neither told to it nor wakes it.

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
    #[must_use]
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
