//! Reading a request's body within its limits.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use prometheus::Registry;
use tokio::time::timeout;

use crate::fair::budget::{Budget, Share};
use crate::metrics;

use super::Error;

/// Longest time for a body to arrive, and a second more for each [`BODY_BYTES_PER_S_MIN`] of its route's limit.
const BODY_MS_MAX: u64 = 10_000;
/// The slowest upload that is waited for.
const BODY_BYTES_PER_S_MIN: usize = 50_000;
/// Bytes of bodies in memory at once, over all connections, of which one address may have as much as it leaves to
/// others; beyond it 503.
const BODIES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Longest body that is read and dropped, so that its connection can be kept.
const SKIP_BYTES_MAX: u64 = 16 * 1024;
/// Longest time for that.
const SKIP_MS_MAX: u64 = 500;

const SLOW: Error =
    Error::Refused(StatusCode::REQUEST_TIMEOUT, std::borrow::Cow::Borrowed("Request body took too long"));

/// A whole body in memory, and its share of [`BODIES_BYTES_MAX`].
#[derive(Default)]
pub(super) struct Buffered {
    pub(super) bytes: Bytes,
    /// Apart: whoever waits without a body has room for this as well.
    _share: Option<Box<Share>>,
}

/// The memory of all bodies.
///
/// # Errors
/// When a metric's name is taken: a mistake of ours.
pub(super) fn budget(registry: &Registry) -> Result<Arc<Budget>, prometheus::Error> {
    let budget = Budget::new(BODIES_BYTES_MAX);
    let taken = budget.clone();
    metrics::gauge(registry, "http_bodies_bytes", "Bytes of request bodies in memory.", move || {
        taken.taken() as f64
    })?;
    Ok(budget)
}

/// Reads a body of at most `bytes_max` bytes.
async fn read(body: &mut Incoming, bytes_max: usize, share: Share) -> Result<Buffered, Error> {
    if body.is_end_stream() {
        return Ok(Buffered::default());
    }
    // Where Content-Length says it is too long, it is refused before a byte is read, and before 100 Continue.
    let length = body.size_hint().exact();
    if length.is_some_and(|length| length > bytes_max as u64) {
        return Err(Error::too_large());
    }
    let limit = BODY_MS_MAX + (bytes_max / BODY_BYTES_PER_S_MIN) as u64 * 1_000;
    let collected = timeout(Duration::from_millis(limit), collect(body, bytes_max, share)).await;
    collected.unwrap_or(Err(SLOW))
}

async fn collect(body: &mut Incoming, bytes_max: usize, mut share: Share) -> Result<Buffered, Error> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Err(Error::bad_request("Request body broke off")) };
        let Some(piece) = frame.data_ref() else { continue };
        if whole.len() + piece.len() > bytes_max {
            return Err(Error::too_large());
        }
        // A share is taken for bytes that arrived: a Content-Length alone takes nothing away from others.
        share.grow(piece.len()).ok_or_else(|| Error::busy("memory for request bodies"))?;
        whole.extend_from_slice(piece);
    }
    Ok(Buffered { bytes: whole.freeze(), _share: Some(Box::new(share)) })
}

/// How much of a request's body is still unread on the connection.
#[derive(Default)]
pub(super) enum Unread {
    /// All of the body.
    Whole(Incoming),
    /// None of it.
    #[default]
    Nothing,
    /// Unknown: reading it failed.
    Broken,
}

impl Unread {
    /// Reads the whole body, of at most `bytes_max` bytes.
    pub(super) async fn read(&mut self, bytes_max: usize, share: Share) -> Result<Buffered, Error> {
        let Self::Whole(mut body) = std::mem::replace(self, Self::Broken) else {
            return Ok(Buffered::default());
        };
        let buffered = read(&mut body, bytes_max, share).await?;
        *self = Self::Nothing;
        Ok(buffered)
    }

    /// Reads and drops what is unread, and returns whether the next request may follow on the connection. That is
    /// done for a short body that no handler wanted, such as that of a request without a token; after a long one the
    /// connection is closed.
    pub(super) async fn skip(self, waits_for_100: bool) -> bool {
        let Self::Whole(mut body) = self else { return matches!(self, Self::Nothing) };
        if body.is_end_stream() {
            return true;
        }
        if waits_for_100 || body.size_hint().exact().is_none_or(|bytes| bytes > SKIP_BYTES_MAX) {
            return false;
        }
        let all = async {
            while let Some(frame) = body.frame().await {
                if frame.is_err() {
                    return false;
                }
            }
            true
        };
        timeout(Duration::from_millis(SKIP_MS_MAX), all).await.unwrap_or(false)
    }
}
