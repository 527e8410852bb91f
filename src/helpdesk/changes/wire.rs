//! A run: changes that were numbered in one go, as text. Pure.
//!
//! Whoever numbers writes it, once, and everybody reads it, so that all instances have the same bytes of the same moment.
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

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::feed::item::Payload as _;
use crate::feed::run::Decoded;

use super::event::Kind;
use super::item::{Entry, Piece, QueueChange, Rendered};

/// What a run says besides its changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// There was more without a number than it took: the next run goes on with that.
    pub is_cut: bool,
    /// How many conversations wait after it.
    pub waiting: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    is_cut: bool,
    #[serde(borrow)]
    items: Vec<WireItem<'a>>,
}

#[derive(Deserialize)]
struct WireItem<'a> {
    id: u64,
    kind: &'a str,
    conversation: Option<u64>,
    initiator: Option<u64>,
    expert: Option<u64>,
    former: Option<u64>,
    queue: Option<&'a str>,
    #[serde(borrow)]
    message: Option<WireMessage<'a>>,
    #[serde(borrow)]
    shows: Option<WireShown<'a>>,
}

#[derive(Deserialize)]
struct WireMessage<'a> {
    id: u64,
    at: i64,
    #[serde(borrow)]
    json: &'a RawValue,
}

#[derive(Deserialize)]
struct WireShown<'a> {
    at: i64,
    opened: i64,
    waiting: bool,
    #[serde(borrow)]
    initiator: &'a RawValue,
    #[serde(borrow)]
    expert: &'a RawValue,
}

/// The text of `entries`, by the ids of their outbox rows; `actors` are the experts who claimed, gave back or resolved, by change: nobody reads them, they
/// are for whoever asks later what happened.
pub fn encode(header: Header, entries: &[(u64, Entry)], actors: &HashMap<u64, u64>) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + entries.iter().map(|(_, entry)| entry.bytes()).sum::<usize>());
    boolean(&mut out, b"{\"isCut\":", header.is_cut);
    number(&mut out, b",\"waiting\":", header.waiting);
    out.extend_from_slice(b",\"items\":[");
    for (place, (id, entry)) in entries.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        encode_entry(*id, entry, actors.get(id).copied(), &mut out);
    }
    out.extend_from_slice(b"]}");
    out
}

fn encode_entry(id: u64, entry: &Entry, actor: Option<u64>, out: &mut Vec<u8>) {
    number(out, b"{\"id\":", id);
    out.extend_from_slice(b",\"kind\":\"");
    out.extend_from_slice(entry.kind.as_str().as_bytes());
    out.push(b'"');
    let some = |id: u64| Some(id).filter(|&id| id != 0);
    let numbers = [
        (&b",\"conversation\":"[..], some(entry.conversation_id)),
        (b",\"initiator\":", some(entry.initiator_id)),
        (b",\"expert\":", entry.expert_id),
        (b",\"former\":", entry.former_expert_id),
        (b",\"by\":", actor),
    ];
    for (name, id) in numbers.into_iter().filter_map(|(name, id)| Some((name, id?))) {
        number(out, name, id);
    }
    match entry.queue {
        QueueChange::None => {}
        QueueChange::Waits => out.extend_from_slice(b",\"queue\":\"waits\""),
        QueueChange::Left => out.extend_from_slice(b",\"queue\":\"left\""),
    }
    if let Some(Piece { id, stamp, json }) = &entry.message {
        number(out, b",\"message\":{\"id\":", *id);
        number(out, b",\"at\":", stamp.micros());
        out.extend_from_slice(b",\"json\":");
        out.extend_from_slice(json);
        out.push(b'}');
    }
    if let Some(shown) = &entry.conversation {
        number(out, b",\"shows\":{\"at\":", shown.stamp.micros());
        number(out, b",\"opened\":", shown.opened_at.micros());
        boolean(out, b",\"waiting\":", shown.waiting);
        out.extend_from_slice(b",\"initiator\":");
        out.extend_from_slice(&shown.for_initiator);
        out.extend_from_slice(b",\"expert\":");
        out.extend_from_slice(&shown.for_expert);
        out.push(b'}');
    }
    out.push(b'}');
}

fn number(out: &mut Vec<u8>, before: &[u8], number: impl itoa::Integer) {
    out.extend_from_slice(before);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn boolean(out: &mut Vec<u8>, before: &[u8], is_so: bool) {
    out.extend_from_slice(before);
    out.extend_from_slice(if is_so { b"true" } else { b"false" });
}

/// Reads such a text.
///
/// # Errors
/// For one of another kind, or damaged.
pub fn decode(body: &Bytes) -> Result<Decoded<Entry>, serde_json::Error> {
    let Wire { is_cut, items } = serde_json::from_slice(body)?;
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
        kind: Kind::parse(item.kind).unwrap_or(Kind::Resolved),
        conversation_id: item.conversation.unwrap_or(0),
        initiator_id: item.initiator.unwrap_or(0),
        expert_id: item.expert,
        former_expert_id: item.former,
        conversation,
        message,
        queue: match item.queue {
            Some("waits") => QueueChange::Waits,
            Some("left") => QueueChange::Left,
            _ => QueueChange::None,
        },
    }
}
