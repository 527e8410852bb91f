//! `Idempotency-Key`: a repeat of a POST gets the first answer, not a second message.
//!
//! The key is taken by the same transaction that does the work, so either both are there or neither. A repeat
//! that arrives while the first is under way waits for it at the key's row, and then finds its answer. Keys
//! are a user's own, and are forgotten after a day: by one instance at a time, in steps so small that no writer
//! waits for one.

use std::sync::Weak;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use ring::digest::{Digest, SHA256, digest};

use crate::chassis::Error;
use crate::db::{self, Connection, Db};

use super::store;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Longest key taken.
const KEY_BYTES_MAX: usize = 255;
/// Pause between two rounds of forgetting; the first is at the start.
const FORGET_EVERY_S: u64 = 300;
/// Pause between two steps of 500 keys.
const FORGET_PAUSE_MS: u64 = 20;
/// Steps of one round: 500,000 keys, more than five minutes of the fastest writing.
const FORGET_STEPS_MAX: usize = 1_000;

/// What makes a request the same as another one.
#[derive(Clone)]
pub struct Once {
    user: u64,
    key: Digest,
    request: Digest,
}

impl Once {
    /// Of a request to `route`, where it has a key.
    ///
    /// # Errors
    /// 400 for a key that is empty or too long.
    pub fn of(route: &str, user: u64, headers: &HeaderMap, body: &Bytes) -> Result<Option<Self>, Error> {
        let Some(key) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
        if !(1..=KEY_BYTES_MAX).contains(&key.len()) {
            return Err(Error::bad_request("Idempotency-Key must have 1 to 255 characters"));
        }
        let key = [route.as_bytes(), b"\0", key.as_bytes()].concat();
        Ok(Some(Self { user, key: digest(&SHA256, &key), request: digest(&SHA256, body) }))
    }
}

/// Takes the key; the first answer when it was taken before.
pub(super) async fn begin(db: &mut Connection, once: Option<&Once>) -> Result<Option<String>, Error> {
    let Some(once) = once else { return Ok(None) };
    match store::idempotency_claim(db, once.user, once.key.as_ref(), once.request.as_ref()).await {
        Ok(()) => return Ok(None),
        Err(db::Error::Duplicate(_)) => {}
        Err(error) => return Err(error.into()),
    }
    match store::idempotency_find(db, once.user, once.key.as_ref()).await? {
        Some((request, Some(answer))) if request == once.request.as_ref() => Ok(Some(answer)),
        Some(_) => Err(Error::conflict("Idempotency-Key was used for another request")),
        // Forgotten between the two statements, or undone: the client may simply try again.
        None => Err(Error::busy("an idempotency key that is being forgotten")),
    }
}

/// The answer, kept where there is a key.
pub(super) async fn finish(db: &mut Connection, once: Option<&Once>, json: Vec<u8>) -> Result<String, Error> {
    let text = String::from_utf8(json).map_err(|error| Error::Internal(error.to_string()))?;
    if let Some(once) = once {
        store::idempotency_answer(db, once.user, once.key.as_ref(), &text).await?;
    }
    Ok(text)
}

/// Forgets old keys for as long as anybody has the database.
pub(super) async fn forget(db: Weak<Db>) {
    loop {
        let Some(held) = db.upgrade() else { return };
        if let Err(error) = forget_round(&held).await {
            tracing::warn!(%error, "old idempotency keys are forgotten later");
        }
        drop(held);
        tokio::time::sleep(Duration::from_secs(FORGET_EVERY_S)).await;
    }
}

/// Forgets all that are old, unless somebody else is at it.
async fn forget_round(db: &Db) -> Result<(), db::Error> {
    let mut db = db.writer_once().await?;
    if !store::idempotency_lock(&mut db).await? {
        return Ok(());
    }
    for _ in 0..FORGET_STEPS_MAX {
        if store::idempotency_purge(&mut db).await? == 0 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(FORGET_PAUSE_MS)).await;
    }
    Ok(())
}
