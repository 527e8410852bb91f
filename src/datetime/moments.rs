//! The three calls: from the clock, into the database, out of it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};

use crate::chassis::{Error, Response, response};
use crate::clock::Timestamp;
use crate::db::Connection;

use super::{Datetime, store};

/// Moments kept. The original kept every one for ever; only the last is ever asked for, and a load test
/// writes thousands each second.
pub const MOMENTS_KEPT: u64 = 100_000;
/// Each process tidies up once for so many moments that it stores.
pub const PURGE_EVERY: u64 = 1_000;
/// Moments forgotten at once: short enough not to hold up those who store meanwhile.
pub const PURGE_MAX: u64 = 2_000;

// Or the table would grow while it is being tidied.
const _: () = assert!(PURGE_MAX > PURGE_EVERY);

/// The present, in the header map that the request came in. No database, no other thread.
pub fn now(headers: HeaderMap) -> Response {
    response::no_store(response::reusing(headers, text(Timestamp::now())))
}

/// The present, once it is stored.
pub async fn store(service: Arc<Datetime>) -> Result<Response, Error> {
    let at = Timestamp::now();
    let mut db = service.db.writer().await?;
    let id = store::date_time_insert(&mut db, at).await?;
    if service.stored.fetch_add(1, Relaxed).is_multiple_of(PURGE_EVERY) {
        tidy(&mut db, id).await;
    }
    Ok(answer(at))
}

/// The last moment stored. Asked of the writer: on a reader that lags it would not be the last.
pub async fn latest(service: Arc<Datetime>) -> Result<Response, Error> {
    let latest = store::date_time_latest(&mut service.db.writer().await?).await?;
    Ok(answer(latest.ok_or(Error::not_found("No date and time stored yet"))?))
}

/// Forgets moments older than those kept. A failure is no reason to refuse the moment that was stored; the
/// next tidying up makes up for it.
async fn tidy(db: &mut Connection, newest: u64) {
    let last = newest.saturating_sub(MOMENTS_KEPT);
    if last == 0 {
        return;
    }
    if let Err(error) = store::date_time_purge(db, last, PURGE_MAX).await {
        tracing::warn!(%error, "old moments could not be forgotten");
    }
}

fn answer(at: Timestamp) -> Response {
    response::no_store(response::json_text(StatusCode::OK, text(at)))
}

/// `{"date":"2026-11-21","time":"02:03:04.123456"}`
fn text(at: Timestamp) -> Bytes {
    let formatted = at.format();
    let mut text = BytesMut::with_capacity(64);
    text.extend_from_slice(b"{\"date\":\"");
    text.extend_from_slice(&formatted[..10]);
    text.extend_from_slice(b"\",\"time\":\"");
    text.extend_from_slice(&formatted[11..26]);
    text.extend_from_slice(b"\"}");
    text.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_reads_as_the_contract_shows_it() {
        let at = Timestamp::parse_lenient("2026-11-21T02:03:04.123456Z").unwrap();
        assert_eq!(text(at), "{\"date\":\"2026-11-21\",\"time\":\"02:03:04.123456\"}");
    }
}
