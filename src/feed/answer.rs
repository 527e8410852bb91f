//! The texts of answers: a JSON array of what is new, and the object of `GET /api/updates`. Pure.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

use super::cursor::{Cursor, TEXT_BYTES};

/// These items as one array.
pub(super) fn array(pieces: &[Bytes]) -> Bytes {
    let list = List::Pieces(pieces);
    let mut json = BytesMut::with_capacity(list.bytes());
    list.put(&mut json);
    json.freeze()
}

/// A JSON array, whole or in pieces.
#[derive(Clone, Copy, Debug)]
pub enum List<'a> {
    /// Its text.
    Array(&'a [u8]),
    /// The texts of its items.
    Pieces(&'a [Bytes]),
}

impl List<'_> {
    fn bytes(self) -> usize {
        match self {
            Self::Array(text) => text.len(),
            Self::Pieces(pieces) => 2 + pieces.iter().map(|piece| piece.len() + 1).sum::<usize>(),
        }
    }

    fn put(self, json: &mut BytesMut) {
        let pieces = match self {
            Self::Array(text) => return json.extend_from_slice(text),
            Self::Pieces(pieces) => pieces,
        };
        json.put_u8(b'[');
        for (place, piece) in pieces.iter().enumerate() {
            if place > 0 {
                json.put_u8(b',');
            }
            json.extend_from_slice(piece);
        }
        json.put_u8(b']');
    }
}

/// What `GET /api/updates` answers, news or the full state.
#[derive(Clone, Copy, Debug)]
pub struct Updates<'a> {
    /// The position after it.
    pub cursor: Cursor,
    /// The caller's.
    pub conversations: List<'a>,
    /// The caller's.
    pub messages: List<'a>,
    /// Conversations that wait.
    pub waiting: List<'a>,
    /// Ids of those that do no longer.
    pub left: &'a [u64],
    /// How many wait.
    pub total: u64,
    /// When to come again, in milliseconds.
    pub next_poll_ms: u64,
}

impl Updates<'_> {
    const BEGIN: &'static [u8] = b"{\"cursor\":\"";
    /// Where the cursor stands in the JSON.
    pub(super) const CURSOR: Range<usize> = Self::BEGIN.len()..Self::BEGIN.len() + TEXT_BYTES;

    /// What the JSON takes at most.
    pub(super) fn bytes_max(&self) -> usize {
        let lists = [self.conversations, self.messages, self.waiting];
        256 + lists.iter().map(|list| list.bytes()).sum::<usize>() + 24 * self.left.len()
    }

    /// The JSON object.
    #[must_use]
    pub fn json(&self) -> Bytes {
        let mut json = BytesMut::with_capacity(self.bytes_max());
        self.put(&mut json);
        json.freeze()
    }

    pub(super) fn put(&self, json: &mut BytesMut) {
        json.extend_from_slice(Self::BEGIN);
        json.extend_from_slice(&self.cursor.text());
        json.extend_from_slice(b"\",\"conversations\":");
        self.conversations.put(json);
        json.extend_from_slice(b",\"messages\":");
        self.messages.put(json);
        json.extend_from_slice(b",\"queue\":{\"waiting\":");
        self.waiting.put(json);
        json.extend_from_slice(b",\"left\":[");
        let mut digits = itoa::Buffer::new();
        for (place, id) in self.left.iter().enumerate() {
            json.extend_from_slice(if place > 0 { b",\"" } else { b"\"" });
            json.extend_from_slice(digits.format(*id).as_bytes());
            json.put_u8(b'"');
        }
        json.extend_from_slice(b"],\"total\":");
        json.extend_from_slice(digits.format(self.total).as_bytes());
        json.extend_from_slice(b"},\"nextPollMs\":");
        json.extend_from_slice(digits.format(self.next_poll_ms).as_bytes());
        json.put_u8(b'}');
    }
}

/// The answer to a cursor poll that finds nothing, and its cursor's text.
#[derive(Debug)]
pub struct Nothing {
    /// The JSON object.
    pub json: Bytes,
    /// For the header.
    pub cursor: Bytes,
}
