//! The text of `GET /api/updates`. Pure.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

use crate::chassis::list::{join, joined_bytes_max};
use crate::feed::Cursor;
use crate::feed::cursor::TEXT_BYTES;

use super::shown::Shown;

/// A JSON array, whole or in pieces.
#[derive(Clone, Copy, Debug)]
pub enum List<'a> {
    Array(&'a [u8]),
    Pieces(&'a [Bytes]),
}

impl List<'_> {
    fn bytes(self) -> usize {
        match self {
            Self::Array(text) => text.len(),
            Self::Pieces(pieces) => joined_bytes_max(pieces),
        }
    }

    fn put(self, json: &mut BytesMut) {
        match self {
            Self::Array(text) => json.extend_from_slice(text),
            Self::Pieces(pieces) => join(pieces, json),
        }
    }
}

/// Where a conversation stands in the waiting queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueuePosition {
    /// The conversation's id.
    pub conversation: u64,
    /// 1 for the longest waiting one.
    pub position: u64,
    /// How long its asker may have to wait; `None` while too few claims are known.
    pub expected_wait_seconds: Option<u64>,
}

/// What `GET /api/updates` answers, news or the full state. What the client does not show is left out.
#[derive(Clone, Copy, Debug)]
pub struct Updates<'a> {
    pub cursor: Cursor,
    pub shown: Shown,
    pub conversations: List<'a>,
    /// Ids of conversations that the user was the expert of; left out where there are none.
    pub unassigned: &'a [u64],
    pub messages: List<'a>,
    /// Conversations that wait, the ids of those that do no longer, and how many wait.
    pub waiting: List<'a>,
    pub left: &'a [u64],
    pub total: u64,
    /// Left out where there are none to be told of.
    pub positions: &'a [QueuePosition],
    pub next_poll_ms: u64,
}

impl Updates<'_> {
    pub const fn empty(cursor: Cursor, shown: Shown, next_poll_ms: u64) -> Self {
        let none = List::Array(b"[]");
        let (unassigned, left, positions) = (&[], &[], &[]);
        Self {
            cursor,
            shown,
            conversations: none,
            unassigned,
            messages: none,
            waiting: none,
            left,
            total: 0,
            positions,
            next_poll_ms,
        }
    }

    const BEGIN: &'static [u8] = b"{\"cursor\":\"";
    /// Where the cursor stands in the JSON.
    pub const CURSOR: Range<usize> = Self::BEGIN.len()..Self::BEGIN.len() + TEXT_BYTES;

    /// What the JSON takes at most.
    pub fn bytes_max(&self) -> usize {
        let lists = [self.conversations, self.messages, self.waiting];
        let ids = 24 * (self.unassigned.len() + self.left.len()) + 128 * self.positions.len();
        256 + lists.iter().map(|list| list.bytes()).sum::<usize>() + ids
    }

    pub fn json(&self) -> Bytes {
        let mut json = BytesMut::with_capacity(self.bytes_max());
        self.put(&mut json);
        json.freeze()
    }

    pub fn put(&self, json: &mut BytesMut) {
        json.extend_from_slice(Self::BEGIN);
        json.extend_from_slice(&self.cursor.text());
        json.put_u8(b'"');
        if self.shown.conversations {
            json.extend_from_slice(b",\"conversations\":");
            self.conversations.put(json);
            if !self.unassigned.is_empty() {
                json.extend_from_slice(b",\"unassigned\":");
                put_ids(self.unassigned, json);
            }
        }
        if self.shown.messages {
            json.extend_from_slice(b",\"messages\":");
            self.messages.put(json);
        }
        if self.shown.queue {
            self.put_queue(json);
        }
        if !self.positions.is_empty() {
            self.put_positions(json);
        }
        json.extend_from_slice(b",\"nextPollMs\":");
        json.extend_from_slice(itoa::Buffer::new().format(self.next_poll_ms).as_bytes());
        json.put_u8(b'}');
    }

    fn put_queue(&self, json: &mut BytesMut) {
        json.extend_from_slice(b",\"queue\":{\"waiting\":");
        self.waiting.put(json);
        json.extend_from_slice(b",\"left\":");
        put_ids(self.left, json);
        json.extend_from_slice(b",\"total\":");
        json.extend_from_slice(itoa::Buffer::new().format(self.total).as_bytes());
        json.put_u8(b'}');
    }

    fn put_positions(&self, json: &mut BytesMut) {
        let mut digits = itoa::Buffer::new();
        json.extend_from_slice(b",\"positions\":[");
        for (at, place) in self.positions.iter().enumerate() {
            let begin: &[u8] = if at > 0 { b",{\"conversationId\":\"" } else { b"{\"conversationId\":\"" };
            json.extend_from_slice(begin);
            json.extend_from_slice(digits.format(place.conversation).as_bytes());
            json.extend_from_slice(b"\",\"position\":");
            json.extend_from_slice(digits.format(place.position).as_bytes());
            json.extend_from_slice(b",\"expectedWaitSeconds\":");
            match place.expected_wait_seconds {
                Some(seconds) => json.extend_from_slice(digits.format(seconds).as_bytes()),
                None => json.extend_from_slice(b"null"),
            }
            json.put_u8(b'}');
        }
        json.put_u8(b']');
    }
}

/// An array of ids.
fn put_ids(ids: &[u64], json: &mut BytesMut) {
    json.put_u8(b'[');
    for (place, id) in ids.iter().enumerate() {
        json.extend_from_slice(if place > 0 { b",\"" } else { b"\"" });
        json.extend_from_slice(itoa::Buffer::new().format(*id).as_bytes());
        json.put_u8(b'"');
    }
    json.put_u8(b']');
}

/// The text of [`put_nothing`] up to its first number, with zeros for the cursor.
const NOTHING: &[u8; 124] = b"{\"cursor\":\"00000000000000000000000000000000000000\",\"conversations\":[],\
    \"messages\":[],\"queue\":{\"waiting\":[],\"left\":[],\"total\":";
/// What it takes at most.
pub const NOTHING_BYTES_MAX: usize = 256;

/// What [`Updates`] writes where all is shown and nothing new: nearly every cursor poll gets it, so in few pieces.
pub fn put_nothing(json: &mut BytesMut, cursor: Cursor, total: u64, next_poll_ms: u64) {
    let mut text = *NOTHING;
    text[Updates::CURSOR].copy_from_slice(&cursor.text());
    json.extend_from_slice(&text);
    let mut digits = itoa::Buffer::new();
    json.extend_from_slice(digits.format(total).as_bytes());
    json.extend_from_slice(b"},\"nextPollMs\":");
    json.extend_from_slice(digits.format(next_poll_ms).as_bytes());
    json.put_u8(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::feed::Position;

    #[test]
    fn the_answer_without_news_is_the_one_with_empty_lists() {
        for (seq, number) in [(0, 0), (38, 7), (u64::MAX, u64::MAX)] {
            let cursor = Cursor::new(Position { seq, at: Timestamp::from_micros(1) }, 7);
            let none = List::Pieces(&[]);
            let updates = Updates {
                cursor,
                shown: Shown::ALL,
                conversations: none,
                unassigned: &[],
                messages: none,
                waiting: none,
                left: &[],
                total: number,
                positions: &[],
                next_poll_ms: number,
            };
            let mut json = BytesMut::new();
            put_nothing(&mut json, cursor, number, number);
            assert_eq!(json, updates.json());
            assert!(json.len() <= NOTHING_BYTES_MAX);
        }
    }

    #[test]
    fn an_answer_is_one_object_and_never_longer_than_said() {
        let pieces = |texts: &[&'static str]| {
            texts.iter().map(|text| Bytes::from_static(text.as_bytes())).collect::<Vec<_>>()
        };
        let (none, one, two) = (pieces(&[]), pieces(&["{}"]), pieces(&["{\"a\":1}", "[2]"]));
        let cursor = Cursor::new(Position { seq: u64::MAX, at: Timestamp::from_micros(1) }, 7);
        let updates = Updates {
            cursor,
            shown: Shown::ALL,
            conversations: List::Pieces(&two),
            unassigned: &[4, 5],
            messages: List::Array(b"[\"m\"]"),
            waiting: List::Pieces(&none),
            left: &[u64::MAX, 8],
            total: 3,
            positions: &[],
            next_poll_ms: 5_000,
        };
        let text = String::from_utf8(cursor.text().to_vec()).unwrap();
        let json = format!(
            r#"{{"cursor":"{text}","conversations":[{{"a":1}},[2]],"unassigned":["4","5"],"messages":["m"],"queue":{{"waiting":[],"left":["{}","8"],"total":3}},"nextPollMs":5000}}"#,
            u64::MAX
        );
        assert_eq!(updates.json(), json);
        // Memory is asked for once: the bound holds for the largest numbers too, and for each list by itself.
        let (wide, ids) = (vec![one[0].clone(); 1_000], vec![u64::MAX; 1_000]);
        let numbers = Updates { total: u64::MAX, next_poll_ms: u64::MAX, left: &[], ..updates };
        for large in [
            Updates { left: &ids, ..numbers },
            Updates { unassigned: &ids, ..numbers },
            Updates { waiting: List::Pieces(&wide), ..numbers },
            Updates { messages: List::Array(&json.as_bytes()[..100]), ..numbers },
            numbers,
        ] {
            let bytes = large.json().len();
            let spare = 256 + large.left.len() + large.unassigned.len();
            assert!(bytes <= large.bytes_max() && large.bytes_max() <= bytes + spare, "{bytes}");
        }
    }
}
