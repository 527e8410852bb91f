//! A list as JSON that stays within the bytes of one answer: rows alone do not bound it, as one row may be large.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;

use super::ANSWER_BYTES_MAX;

/// Bytes reserved for each item before it is written.
const ITEM_BYTES: usize = 512;

/// A JSON array of `items`, each appended by `write`, as far as they fit into [`ANSWER_BYTES_MAX`]: the last are left out.
pub fn array<T>(items: impl IntoIterator<Item = T>, write: impl Fn(T, &mut Vec<u8>)) -> Vec<u8> {
    let items = items.into_iter();
    let mut json = Vec::with_capacity(2 + ITEM_BYTES * items.size_hint().0);
    json.push(b'[');
    for item in items {
        let before = json.len();
        if before > 1 {
            json.push(b',');
        }
        write(item, &mut json);
        if json.len() >= ANSWER_BYTES_MAX {
            json.truncate(before);
            break;
        }
    }
    json.push(b']');
    json
}

/// A JSON array of items that serde can write, as far as they fit.
pub fn json<T: Serialize>(items: &[T]) -> Vec<u8> {
    array(items, |one, json| json.append(&mut item(one)))
}

/// One item as JSON.
pub fn item(item: &impl Serialize) -> Vec<u8> {
    // Writing to memory does not fail, and nothing of ours is no JSON.
    serde_json::to_vec(item).unwrap_or_else(|_| b"null".to_vec())
}

/// A list that grows at either end, and tells when it is full.
#[derive(Debug)]
pub struct List {
    items: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Default for List {
    fn default() -> Self {
        // The brackets.
        Self { items: VecDeque::new(), bytes: 2 }
    }
}

impl List {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes of the array.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds one at the end; false when it does not fit and was left out.
    pub fn push_back(&mut self, item: Vec<u8>) -> bool {
        let fits = self.count(&item);
        if fits {
            self.items.push_back(item);
        }
        fits
    }

    /// Adds one at the front likewise.
    pub fn push_front(&mut self, item: Vec<u8>) -> bool {
        let fits = self.count(&item);
        if fits {
            self.items.push_front(item);
        }
        fits
    }

    fn count(&mut self, item: &[u8]) -> bool {
        let fits = self.bytes + item.len() < ANSWER_BYTES_MAX;
        if fits {
            // One more for the comma.
            self.bytes += item.len() + 1;
        }
        fits
    }

    /// Leaves out the first ones until no more than `bytes` are left; how many went.
    pub fn shrink_front(&mut self, bytes: usize) -> usize {
        let before = self.len();
        while self.bytes > bytes
            && let Some(item) = self.items.pop_front()
        {
            self.bytes -= item.len() + 1;
        }
        before - self.len()
    }

    /// Leaves out all after the first `count`.
    pub fn truncate(&mut self, count: usize) {
        while self.len() > count
            && let Some(item) = self.items.pop_back()
        {
            self.bytes -= item.len() + 1;
        }
    }

    /// The array.
    #[must_use]
    pub fn json(&self) -> Vec<u8> {
        array(&self.items, |item, json| json.extend_from_slice(item))
    }

    /// The array from its end.
    #[must_use]
    pub fn json_reversed(&self) -> Vec<u8> {
        array(self.items.iter().rev(), |item, json| json.extend_from_slice(item))
    }
}

/// The array of items that are JSON already.
#[must_use]
pub fn joined(items: &[Bytes]) -> Bytes {
    let mut json = BytesMut::with_capacity(joined_bytes_max(items));
    join(items, &mut json);
    json.freeze()
}

/// What that takes at most.
#[must_use]
pub fn joined_bytes_max(items: &[Bytes]) -> usize {
    2 + items.iter().map(|item| item.len() + 1).sum::<usize>()
}

/// Appends the array.
pub fn join(items: impl IntoIterator<Item: AsRef<[u8]>>, json: &mut impl BufMut) {
    json.put_u8(b'[');
    for (place, item) in items.into_iter().enumerate() {
        if place > 0 {
            json.put_u8(b',');
        }
        json.put_slice(item.as_ref());
    }
    json.put_u8(b']');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: usize) -> Vec<u8> {
        vec![b'1'; bytes]
    }

    #[test]
    fn texts_are_joined() {
        let texts = ["{\"a\":1}", "[2]"].map(|text| Bytes::from_static(text.as_bytes()));
        assert_eq!(joined(&[]), "[]");
        assert_eq!(joined(&texts), "[{\"a\":1},[2]]");
        assert!(joined_bytes_max(&texts) >= joined(&texts).len());
    }

    #[test]
    fn an_array_ends_with_the_last_that_fits() {
        let write = |size: &usize, json: &mut Vec<u8>| json.extend(text(*size));
        assert_eq!(array(&[1, 1], write), b"[1,1]");
        assert_eq!(array(&[] as &[usize], write), b"[]");
        let half = ANSWER_BYTES_MAX / 2;
        let whole = array(&[half, half - 4], write);
        assert_eq!(whole.len(), ANSWER_BYTES_MAX - 1, "with its brackets and the comma");
        let cut = array(&[half, half, 1], write);
        assert_eq!(cut.len(), half + 2, "and nothing after what did not fit");
        assert!(
            array(&[1; 100], |_: &u8, json: &mut Vec<u8>| json.extend(text(400_000))).len() > 20 * 393_216
        );
    }

    #[test]
    fn a_list_is_full_at_either_end_and_counts_its_bytes() {
        let mut list = List::default();
        assert_eq!(list.json(), b"[]");
        assert!(
            list.push_back(b"2".to_vec()) && list.push_back(b"3".to_vec()) && list.push_front(b"1".to_vec())
        );
        assert_eq!((list.json(), list.json_reversed()), (b"[1,2,3]".to_vec(), b"[3,2,1]".to_vec()));
        assert!(!list.push_back(text(ANSWER_BYTES_MAX)) && !list.push_front(text(ANSWER_BYTES_MAX)));
        assert!(list.push_back(text(ANSWER_BYTES_MAX - 100)));
        assert_eq!(list.shrink_front(ANSWER_BYTES_MAX - 93), 1);
        list.truncate(2);
        assert_eq!(list.json(), b"[2,3]");
        assert_eq!((list.bytes(), list.len()), (6, 2), "a comma for each");
        assert_eq!(list.shrink_front(0), 2);
        assert_eq!((list.bytes(), list.is_empty()), (2, true));
    }

    #[test]
    fn a_list_is_the_json_of_its_items() {
        assert_eq!(json(&["a", "b\""]), br#"["a","b\""]"#);
        assert_eq!(json::<u64>(&[]), b"[]");
        assert_eq!(item(&[1, 2]), b"[1,2]");
    }
}
