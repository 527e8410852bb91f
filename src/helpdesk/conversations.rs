//! Conversations as their two sides see them.

use std::sync::Arc;

use http::StatusCode;

use crate::chassis::{Error, Response, list, response};
use crate::feed::Room;
use crate::transaction;

use super::changes::{self, NewEvent};
use super::idempotency::{self, Once};
use super::resource::Conversation;
use super::{Helpdesk, store};

/// The answer to what is not there and to what is somebody else's.
pub(super) const NOT_FOUND: Error = Error::not_found("Conversation not found");

/// The caller's conversations, newest update first.
pub async fn list(desk: Arc<Helpdesk>, caller: u64) -> Result<Response, Error> {
    let list = store::conversation_list(&mut desk.db.heavy().await?, caller).await?;
    Ok(response::json_text(StatusCode::OK, json(&list, caller)))
}

/// One conversation of the caller's, or as an expert one that waits.
pub async fn show(desk: Arc<Helpdesk>, caller: u64, id: u64) -> Result<Response, Error> {
    let found = store::conversation_by_id(&mut desk.db.writer().await?, id, caller).await?;
    let conversation = found.ok_or(NOT_FOUND)?;
    Ok(response::json_text(StatusCode::OK, conversation.json(conversation.unread_count(caller))))
}

/// Asks a question.
pub async fn open(
    desk: Arc<Helpdesk>,
    caller: u64,
    title: String,
    once: Option<Once>,
) -> Result<Response, Error> {
    let (text, event) = transaction!(desk.db, db => {
        if let Some(first) = idempotency::begin(db, once.as_ref()).await? {
            return Ok((first, None));
        }
        let id = store::conversation_insert(db, &title, caller).await?;
        // It was made this moment: only its initiator can be missing.
        let conversation = store::conversation_by_id(db, id, caller).await?.ok_or(Error::unauthenticated())?;
        let text = idempotency::finish(db, once.as_ref(), conversation.json(conversation.unread_count(caller))).await?;
        let event = changes::record_and_commit(db, &NewEvent::opened(id)).await?;
        Ok::<_, Error>((text, Some(event)))
    })?;
    desk.wrote(caller, event, Room::default());
    Ok(response::json_text(StatusCode::CREATED, text))
}

/// An array of them, as far as they fit.
pub(super) fn json(list: &[Conversation], viewer: u64) -> Vec<u8> {
    list::array(list, |conversation, json| conversation.write_json(conversation.unread_count(viewer), json))
}
