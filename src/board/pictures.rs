//! Pictures: storing one together with its post, showing one, deleting those that no post came of.
//!
//! The store and the database share no transaction. So a picture is first noted in `board_uploads`, then
//! stored, then one transaction strikes the note out and makes the post. Wherever that breaks off, by an
//! error, a lost reply or the end of the process, the note stays, and [`sweep`] deletes the picture later.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, StatusCode};
use tokio::time::{MissedTickBehavior, interval};

use crate::chassis::known::Known;
use crate::chassis::{Error, Response, response};
use crate::db;
use crate::transaction;

use super::head::PictureType;
use super::{Board, model, storage, store};

/// Orphans deleted in one round.
const SWEEP_ROUND_MAX: u64 = 100;
/// Who takes an orphan has it so long: longer than deleting it takes.
const SWEEP_LEASE_S: u64 = 60;
/// Rounds are this far apart at most, and closer where orphans are swept sooner.
const SWEEP_EVERY_S_MAX: u64 = 300;

const NOT_FOUND: Error = Error::not_found("Picture not found");

impl From<storage::Error> for Error {
    fn from(error: storage::Error) -> Self {
        match error {
            storage::Error::Absent => NOT_FOUND,
            storage::Error::Away(_) => Self::Unavailable(error.to_string()),
        }
    }
}

/// A picture that may be stored.
pub(super) struct Picture {
    pub(super) name: String,
    pub(super) picture_type: PictureType,
    pub(super) bytes: Bytes,
}

/// Stores a picture.
pub(super) async fn put(board: &Board, picture: Picture) -> Result<(), Error> {
    // In a block of its own: no connection is held while the store is waited for.
    {
        let mut db = board.db.writer().await?;
        store::upload_begin(&mut db, &picture.name, board.orphan_seconds).await?;
    }
    Ok(board.storage.put(&picture.name, picture.picture_type.media_type(), picture.bytes).await?)
}

/// Makes the post of a picture that was stored.
pub(super) async fn publish(board: &Board, message: &str, picture: &str) -> Result<(), Error> {
    transaction!(board.db, db => {
        if !store::upload_end(db, picture).await? {
            return Err(Error::Unavailable("the upload took so long that it was swept".to_owned()));
        }
        store::post_insert(db, message, picture).await?;
        Ok(())
    })
}

/// One picture, whether or not there is a CDN: the CDN may be one that asks us.
pub(super) async fn show(board: Arc<Board>, name: String, known: Known) -> Result<Response, Error> {
    if !model::is_picture_name(&name) {
        return Err(NOT_FOUND);
    }
    // Names are not reused, so the name tells one picture from all others.
    let tag =
        HeaderValue::try_from(format!("\"{name}\"")).map_err(|error| Error::Internal(error.to_string()))?;
    // Who has the picture need not be told whether it is still there: a name means one picture for ever.
    if known == Known::This {
        return Ok(not_modified(tag));
    }
    let Ok(_place) = board.media.try_acquire() else {
        return Err(Error::busy("memory for pictures"));
    };
    let bytes = board.storage.get(&name).await?;
    if known == Known::Any {
        return Ok(not_modified(tag));
    }
    // The type is told again from the content: what somebody else put into the store stays a download.
    let media_type = PictureType::of(&bytes).map_or("application/octet-stream", PictureType::media_type);
    let mut response = response::with_body(StatusCode::OK, HeaderValue::from_static(media_type), bytes);
    mark(response.headers_mut(), tag);
    Ok(response)
}

fn not_modified(tag: HeaderValue) -> Response {
    let mut response = response::empty(StatusCode::NOT_MODIFIED);
    mark(response.headers_mut(), tag);
    response
}

/// A picture is nothing but a picture, for ever.
fn mark(headers: &mut HeaderMap, tag: HeaderValue) {
    headers.insert(ETAG, tag);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(storage::CACHE_CONTROL));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'"));
}

/// Deletes orphans for as long as there is a board.
///
/// Every instance does; each orphan is taken by one of them, for a time, by a statement that only one can
/// win. The times are all the database's.
pub(super) async fn sweep(board: Weak<Board>) {
    let Some(seconds) = board.upgrade().map(|board| board.orphan_seconds) else { return };
    let mut rounds = interval(Duration::from_secs((seconds / 2).clamp(1, SWEEP_EVERY_S_MAX)));
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        let Some(board) = board.upgrade() else { return };
        match sweep_round(&board).await {
            Ok(0) => {}
            Ok(swept) => tracing::info!(swept, "pictures deleted that no post came of"),
            Err(error) => tracing::warn!(?error, "pictures are swept later"),
        }
    }
}

async fn sweep_round(board: &Board) -> Result<u64, Error> {
    let overdue = store::upload_list_overdue(&mut board.db.writer().await?, SWEEP_ROUND_MAX).await?;
    let mut swept = 0;
    for picture in overdue {
        let claimed = claim(board, &picture).await?;
        // First the picture, then the note of it: what breaks off in between is done again.
        if claimed {
            board.storage.delete(&picture).await?;
            store::upload_forget(&mut board.db.writer().await?, &picture).await?;
            board.metrics.orphans_swept.inc();
            swept += 1;
        }
    }
    Ok(swept)
}

async fn claim(board: &Board, picture: &str) -> Result<bool, db::Error> {
    store::upload_claim(&mut board.db.writer().await?, picture, SWEEP_LEASE_S).await
}
