//! The text of a run. Pure.
//!
//! The pieces that clients get (a conversation as each side sees it, a message) stand in it as they are, and are read as
//! parts of its text, without a copy:
//!
//! ```json
//! {"isCut":false,"waiting":3,"items":[{"id":41,"kind":"message","conversation":5,"initiator":1,"expert":2,
//!  "queue":"waits","message":{"id":9,"at":1768473000123456,"json":{…}},
//!  "shows":{"at":1768473000123456,"opened":1768473000000000,"waiting":true,"initiator":{…},"expert":{…}}}]}
//! ```
//!
//! A reader passes over members that it does not know, so that a newer version may add some.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::feed::run::Decoded;

use super::event::{Change, Kind};
use super::item::{Entry, Piece, QueueChange, Rendered};

/// What a run says besides its changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// There was more without a number than it took: the next run goes on with that.
    pub is_cut: bool,
    /// How many conversations wait after it.
    pub waiting: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    is_cut: bool,
    waiting: u64,
    #[serde(borrow)]
    items: Vec<WireItem<'a>>,
}

#[derive(Serialize, Deserialize)]
struct WireItem<'a> {
    id: u64,
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    initiator: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expert: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    former: Option<u64>,
    /// Who claimed, gave back or resolved: nobody reads it, it is for whoever asks later what happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<&'a str>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    message: Option<WireMessage<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    shows: Option<WireShown<'a>>,
}

#[derive(Serialize, Deserialize)]
struct WireMessage<'a> {
    id: u64,
    at: i64,
    #[serde(borrow)]
    json: &'a RawValue,
}

#[derive(Serialize, Deserialize)]
struct WireShown<'a> {
    at: i64,
    opened: i64,
    waiting: bool,
    #[serde(borrow)]
    initiator: &'a RawValue,
    #[serde(borrow)]
    expert: &'a RawValue,
}

/// The text of these entries, which were made of these changes.
pub fn encode(header: Header, changes: &[Change], entries: &[Entry]) -> Vec<u8> {
    let items = changes.iter().zip(entries).map(|(change, entry)| wire_item(change, entry));
    let wire = Wire { is_cut: header.is_cut, waiting: header.waiting, items: items.collect() };
    // Writing to memory does not fail.
    serde_json::to_vec(&wire).unwrap_or_default()
}

fn wire_item<'a>(change: &Change, entry: &'a Entry) -> WireItem<'a> {
    let some = |id: u64| Some(id).filter(|&id| id != 0);
    // What we wrote as JSON is JSON.
    let raw = |json| serde_json::from_slice(json).unwrap_or(RawValue::NULL);
    WireItem {
        id: change.id,
        kind: entry.kind.into(),
        conversation: some(entry.conversation_id),
        initiator: some(entry.initiator_id),
        expert: entry.expert_id,
        former: entry.former_expert_id,
        by: change.expert_id,
        queue: (entry.queue != QueueChange::None).then(|| entry.queue.into()),
        message: entry.message.as_ref().map(|message| WireMessage {
            id: message.id,
            at: message.stamp.micros(),
            json: raw(&message.json),
        }),
        shows: entry.conversation.as_ref().map(|shown| WireShown {
            at: shown.stamp.micros(),
            opened: shown.opened_at.micros(),
            waiting: shown.waiting,
            initiator: raw(&shown.for_initiator),
            expert: raw(&shown.for_expert),
        }),
    }
}

/// Reads such a text.
///
/// # Errors
/// For one of another kind, or damaged.
pub fn decode(body: &Bytes) -> Result<Decoded<Entry>, serde_json::Error> {
    let Wire { is_cut, items, .. } = serde_json::from_slice(body)?;
    let items = items.into_iter().map(|item| (item.id, entry(body, item)));
    Ok(Decoded { is_cut, items: items.collect() })
}

fn entry(body: &Bytes, item: WireItem<'_>) -> Entry {
    let piece = |raw: &RawValue| body.slice_ref(raw.get().as_bytes());
    let conversation = item.shows.map(|shown| {
        Arc::new(Rendered {
            stamp: Timestamp::from_micros(shown.at),
            opened_at: Timestamp::from_micros(shown.opened),
            waiting: shown.waiting,
            for_initiator: piece(shown.initiator),
            for_expert: piece(shown.expert),
        })
    });
    let message = item.message.map(|message| Piece {
        id: message.id,
        stamp: Timestamp::from_micros(message.at),
        json: piece(message.json),
    });
    Entry {
        // What a newer version records reads as a change of its conversation.
        kind: item.kind.parse().unwrap_or(Kind::Resolved),
        conversation_id: item.conversation.unwrap_or(0),
        initiator_id: item.initiator.unwrap_or(0),
        expert_id: item.expert,
        former_expert_id: item.former,
        conversation,
        message,
        queue: item.queue.and_then(|queue| queue.parse().ok()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Instances of two versions read each other's runs: the text never changes but by members that are added.
    #[test]
    fn the_text_is_that_of_other_versions() {
        let shown = Rendered {
            stamp: Timestamp::from_micros(1_768_473_000_123_456),
            opened_at: Timestamp::from_micros(1_768_473_000_000_000),
            waiting: true,
            for_initiator: Bytes::from_static(b"{\"a\":1}"),
            for_expert: Bytes::from_static(b"{\"b\": 2}"),
        };
        let message = Piece {
            id: 9,
            stamp: Timestamp::from_micros(7),
            json: Bytes::from_static(b"{\"c\":\"\\u0001\"}"),
        };
        let entry = |kind, queue, conversation, message| Entry {
            kind,
            conversation_id: 5,
            initiator_id: 1,
            expert_id: Some(2),
            former_expert_id: (kind == Kind::Unclaimed).then_some(3),
            conversation,
            message,
            queue,
        };
        let entries = [
            entry(Kind::Message, QueueChange::Waits, Some(Arc::new(shown)), Some(message)),
            entry(Kind::Unclaimed, QueueChange::Left, None, None),
        ];
        let changes = [(41, None), (42, Some(4))].map(|(id, expert_id)| Change {
            id,
            kind: None,
            conversation_id: None,
            expert_id,
            message: None,
        });
        let text = encode(Header { is_cut: false, waiting: 3 }, &changes, &entries);
        let expected = concat!(
            r#"{"isCut":false,"waiting":3,"items":[{"id":41,"kind":"message","conversation":5,"initiator":1,"#,
            r#""expert":2,"queue":"waits","message":{"id":9,"at":7,"json":{"c":"\u0001"}},"#,
            r#""shows":{"at":1768473000123456,"opened":1768473000000000,"waiting":true,"initiator":{"a":1},"#,
            r#""expert":{"b": 2}}},{"id":42,"kind":"unclaimed","conversation":5,"initiator":1,"expert":2,"#,
            r#""former":3,"by":4,"queue":"left"}]}"#
        );
        assert_eq!(String::from_utf8(text.clone()).unwrap(), expected);
        let later = expected.replace(r#""queue":"left""#, r#""queue":"later","new":[{}]"#).into();
        let read = decode(&later).unwrap();
        assert_eq!(read.items.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [41, 42]);
        assert_eq!(
            (&read.items[0].1.queue, &read.items[1].1.queue),
            (&QueueChange::Waits, &QueueChange::None)
        );
        assert!(decode(&Bytes::from(text).slice(1..)).is_err());
    }
}
