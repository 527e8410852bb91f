//! The experts' side: the queue, claiming and its ends, profiles, past assignments.

use std::sync::Arc;

use http::StatusCode;
use http::header::{HeaderName, HeaderValue};

use crate::chassis::{Error, Response, list, response};
use crate::db::Connection;
use crate::{transaction, users};

use super::changes::{self, NewEvent, Queue};
use super::conversations::{self, NOT_FOUND};
use super::model::{ProfileChange, QUEUE_PAGE};
use super::{Helpdesk, refusal, store};

const TOTAL_COUNT: HeaderName = HeaderName::from_static("x-total-count");
const NO_PROFILE: Error = Error::forbidden("Expert profile required");
const NOT_ASSIGNED: Error = Error::forbidden("You are not assigned to this conversation");
const ALREADY_ASSIGNED: Error = Error::unprocessable("Conversation is already assigned to an expert");

async fn require_profile(desk: &Helpdesk, db: &mut Connection, caller: u64) -> Result<(), Error> {
    match store::profile_by_user(db, caller).await? {
        Some(_) => {
            desk.profiles.note(caller, true);
            Ok(())
        }
        None => Err(refusal(db, caller, NO_PROFILE).await),
    }
}

/// What waits and what the caller is at. From the database, like every GET: polls may lag by some milliseconds,
/// but who asks after somebody's answer sees what was answered. Only how many wait beyond the page is the feed's to
/// say: to count them would cost all of them each time.
pub async fn queue(desk: Arc<Helpdesk>, event_loop: usize, caller: u64) -> Result<Response, Error> {
    let mut db = desk.db.heavy().await?;
    require_profile(&desk, &mut db, caller).await?;
    let (waiting, assigned) = store::queue_list(&mut db, caller).await?;
    drop(db);
    let mut total = waiting.len() as u64;
    if total >= QUEUE_PAGE {
        let _or_as_far_as_is_known = desk.feed.caught_up(event_loop).await;
        total = total.max(desk.feed.waiting_total(event_loop));
    }
    let queue = Queue {
        waiting: list::array(&waiting, |one, json| one.write_json(one.unread_by_others(), json)).into(),
        assigned: conversations::json(&assigned, caller).into(),
    };
    let answer = response::json_text(StatusCode::OK, queue.json());
    Ok(response::with_header(answer, TOTAL_COUNT, HeaderValue::from(total)))
}

/// Takes a waiting conversation. The row's lock decides between two; the second finds it taken.
pub async fn claim(desk: Arc<Helpdesk>, caller: u64, conversation: u64) -> Result<Response, Error> {
    let event = transaction!(desk.db, db => {
        require_profile(&desk, db, caller).await?;
        if !store::conversation_claim(db, conversation, caller).await? {
            let standing = store::conversation_standing(db, conversation).await?;
            return Err(standing.map_or(NOT_FOUND, |_| ALREADY_ASSIGNED));
        }
        store::assignment_insert(db, conversation, caller).await?;
        Ok(Some(changes::record_and_commit(db, &NewEvent::claimed(conversation, caller)).await?))
    })?;
    Ok(desk.done(caller, event))
}

/// Puts a conversation back into the queue, at its old place.
pub async fn unclaim(desk: Arc<Helpdesk>, caller: u64, conversation: u64) -> Result<Response, Error> {
    let event = transaction!(desk.db, db => {
        require_profile(&desk, db, caller).await?;
        if !store::conversation_unclaim(db, conversation, caller).await? {
            let standing = store::conversation_standing(db, conversation).await?;
            return Err(standing.map_or(NOT_FOUND, |_| NOT_ASSIGNED));
        }
        store::assignment_end(db, "unassigned", conversation, caller).await?;
        Ok(Some(changes::record_and_commit(db, &NewEvent::unclaimed(conversation, caller)).await?))
    })?;
    Ok(desk.done(caller, event))
}

/// Ends a conversation. A repeat by the same expert finds it done and changes nothing.
pub async fn resolve(desk: Arc<Helpdesk>, caller: u64, conversation: u64) -> Result<Response, Error> {
    let event = transaction!(desk.db, db => {
        require_profile(&desk, db, caller).await?;
        if !store::conversation_resolve(db, conversation, caller).await? {
            return match store::conversation_standing(db, conversation).await? {
                None => Err(NOT_FOUND),
                Some((status, expert)) if status == "resolved" && expert == Some(caller) => Ok(None),
                Some(_) => Err(NOT_ASSIGNED),
            };
        }
        store::assignment_end(db, "resolved", conversation, caller).await?;
        Ok(Some(changes::record_and_commit(db, &NewEvent::resolved(conversation, caller)).await?))
    })?;
    Ok(desk.done(caller, event))
}

/// The caller's profile.
pub async fn profile(desk: Arc<Helpdesk>, caller: u64) -> Result<Response, Error> {
    let profile = store::profile_by_user(&mut desk.db.writer().await?, caller).await?;
    Ok(response::ok(&profile.ok_or(NO_PROFILE)?))
}

/// Changes the caller's profile; a user of the Rails original who has none gets one.
pub async fn update_profile(
    desk: Arc<Helpdesk>,
    caller: u64,
    change: ProfileChange,
) -> Result<Response, Error> {
    let mut db = desk.db.writer().await?;
    if !users::exists(&mut db, caller).await? {
        return Err(Error::unauthenticated());
    }
    store::profile_update(&mut db, caller, change.bio.as_deref(), change.links.as_deref()).await?;
    desk.profiles.note(caller, true);
    Ok(response::ok(&store::profile_by_user(&mut db, caller).await?.ok_or(NO_PROFILE)?))
}

/// The caller's past and present assignments, newest first.
pub async fn history(desk: Arc<Helpdesk>, caller: u64) -> Result<Response, Error> {
    let list = store::assignment_list(&mut desk.db.heavy().await?, caller).await?;
    Ok(response::json_text(StatusCode::OK, list::json(&list)))
}
