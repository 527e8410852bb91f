//! Messages: reading, posting, marking as read.
//!
//! # The reply guard
//! A reply that says what its sender had seen last (`lastSeenMessageId`) is refused where somebody else has posted since.
//! That is decided once the conversation's row is locked, by a statement that begins after that: whoever posted before
//! has committed, and nobody posts until this reply is in or refused. An `Idempotency-Key` is looked at first: a repeat of
//! a reply that was posted gets its answer, whatever came since; what was refused used no key up.

use std::sync::Arc;

use http::StatusCode;

use crate::chassis::list::List;
use crate::chassis::{Error, Response, response};
use crate::clock::Timestamp;
use crate::db::Connection;
use crate::transaction;

use super::changes::{self, NewEvent};
use super::conversations::NOT_FOUND;
use super::idempotency::{self, Once};
use super::merge::Key;
use super::model::{LAST_SEEN_UNKNOWN, Reply};
use super::resource::Message;
use super::timeline::Texts;
use super::{Helpdesk, refusal, store, timeline};

/// Messages in the answer to a reply that was refused. The next one that has seen these is refused for the rest.
const NEWER_MAX: usize = 100;
/// Their bytes: some of the largest.
const NEWER_BYTES_MAX: usize = 1024 * 1024;

/// The newest messages of one conversation, oldest first.
pub async fn list(desk: Arc<Helpdesk>, caller: u64, conversation: u64) -> Result<Response, Error> {
    let mut db = desk.db.heavy().await?;
    // Of one moment: who may read it while it waits gets nothing of what follows its claim.
    db.begin_snapshot().await?;
    let is_readable = store::conversation_is_readable(&mut db, conversation, caller).await?;
    let keys = if is_readable { timeline::newest_of(&mut db, conversation).await? } else { Vec::new() };
    let list = timeline::list(&mut db, &keys, |_| true).await?;
    db.end_snapshot().await?;
    if !is_readable {
        return Err(NOT_FOUND);
    }
    Ok(response::json_text(StatusCode::OK, list.json()))
}

/// The newest messages of all the caller's conversations, oldest first.
pub(super) async fn newest(desk: &Helpdesk, caller: u64) -> Result<Response, Error> {
    let mut db = desk.db.heavy().await?;
    db.begin_snapshot().await?;
    let keys = timeline::newest(&mut db, caller).await?;
    let list = timeline::list(&mut db, &keys, |_| true).await?;
    db.end_snapshot().await?;
    Ok(response::json_text(StatusCode::OK, list.json()))
}

/// Posts a message. A conversation that is not there is told before a content that is wrong.
pub async fn post(
    desk: Arc<Helpdesk>,
    caller: u64,
    reply: Reply,
    once: Option<Once>,
) -> Result<Response, Error> {
    let conversation = reply.conversation.ok_or(NOT_FOUND)?;
    let room = desk.feed.room(reply.json_bytes()).await?;
    let (text, event) = transaction!(desk.db, db => {
        if let Some(first) = idempotency::begin(db, once.as_ref()).await? {
            return Ok((first, None));
        }
        let Some(posting) = store::conversation_bump(db, conversation, caller).await? else {
            return Err(refusal(db, caller, NOT_FOUND).await);
        };
        let (content, last_seen) = reply.checked().map_err(Error::Invalid)?;
        if let Some(last_seen) = last_seen
            && let Some(newer) = newer(db, conversation, caller, last_seen).await?
        {
            desk.metrics.replies_refused.inc();
            return Err(Error::Answer(Box::new(newer)));
        }
        let message = store::message_insert(db, posting, content).await?;
        let text = idempotency::finish(db, once.as_ref(), message.json()).await?;
        let event = changes::record_and_commit(db, &NewEvent::message(conversation, message.id)).await?;
        Ok::<_, Error>((text, Some(event)))
    })?;
    desk.wrote(caller, event, room);
    Ok(response::json_text(StatusCode::CREATED, text))
}

/// The answer to a reply that crosses messages of others, where there are any after the one that its sender `caller` had
/// seen last: the oldest of them, as far as they fit, so that what was left out is after the newest one given.
async fn newer(
    db: &mut Connection,
    conversation: u64,
    caller: u64,
    last_seen: u64,
) -> Result<Option<Response>, Error> {
    let last = match (last_seen, store::message_at(db, last_seen, conversation).await?) {
        (id, Some(at)) => Key { at, id },
        (0, None) => Key::begin_of(Timestamp::MIN),
        (_, None) => return Err(Error::invalid(LAST_SEEN_UNKNOWN)),
    };
    let keys = store::message_keys_of_others(db, conversation, caller, last, NEWER_MAX).await?;
    if keys.is_empty() {
        return Ok(None);
    }
    let (mut list, mut texts) = (List::default(), Texts::of(&keys));
    'full: while let Some(page) = texts.next(db).await? {
        for json in page.iter().map(Message::json) {
            let fits = list.is_empty() || list.bytes() + json.len() <= NEWER_BYTES_MAX;
            if !fits || !list.push_back(json) {
                break 'full;
            }
        }
    }
    let mut json = br#"{"error":"There are newer messages","messages":"#.to_vec();
    json.append(&mut list.json());
    json.push(b'}');
    Ok(Some(response::json_text(StatusCode::CONFLICT, json)))
}

/// Marks a message of the other side's as read.
pub async fn read(desk: Arc<Helpdesk>, caller: u64, id: u64) -> Result<Response, Error> {
    let event = transaction!(desk.db, db => {
        let Some((conversation, sender)) = store::message_for_reading(db, id, caller).await? else {
            return Err(refusal(db, caller, Error::not_found("Message not found")).await);
        };
        if sender == caller {
            return Err(Error::forbidden("Cannot mark your own messages as read"));
        }
        if !store::message_read(db, id, conversation, sender).await? {
            return Ok(None);
        }
        Ok(Some(changes::record_and_commit(db, &NewEvent::read(conversation, id)).await?))
    })?;
    Ok(desk.done(caller, event))
}
