//! Messages: reading, posting, marking as read.

use std::sync::Arc;

use http::StatusCode;

use crate::chassis::{Error, Response, response};
use crate::feed::{self, NewEvent};
use crate::transaction;

use super::conversations::NOT_FOUND;
use super::idempotency::{self, Once};
use super::{Helpdesk, refusal, store, timeline};

/// The newest messages of one conversation, oldest first.
pub async fn list(desk: Arc<Helpdesk>, caller: u64, conversation: u64) -> Result<Response, Error> {
    let mut db = desk.db.heavy().await?;
    if !store::conversation_is_mine(&mut db, conversation, caller).await? {
        return Err(NOT_FOUND);
    }
    let keys = timeline::newest_of(&mut db, conversation).await?;
    let list = timeline::list(&mut db, &keys, |_| true).await?;
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
    conversation: Option<u64>,
    content: Result<String, &'static str>,
    once: Option<Once>,
) -> Result<Response, Error> {
    let conversation = conversation.ok_or(NOT_FOUND)?;
    let (text, event) = transaction!(desk.db, db => {
        if let Some(first) = idempotency::begin(db, once.as_ref()).await? {
            return Ok((first, None));
        }
        let Some(posting) = store::conversation_bump(db, conversation, caller).await? else {
            return Err(refusal(db, caller, NOT_FOUND).await);
        };
        let content = content.clone().map_err(Error::invalid)?;
        let message = store::message_insert(db, posting, content).await?;
        let text = idempotency::finish(db, once.as_ref(), timeline::json(&message)).await?;
        let event = feed::record_and_commit(db, &NewEvent::message(conversation, message.id)).await?;
        Ok::<_, Error>((text, Some(event)))
    })?;
    desk.wrote(caller, event);
    Ok(response::json_text(StatusCode::CREATED, text))
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
        Ok(Some(feed::record_and_commit(db, &NewEvent::read(conversation, id)).await?))
    })?;
    desk.wrote(caller, event);
    Ok(super::success())
}
