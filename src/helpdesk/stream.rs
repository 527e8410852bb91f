//! A stream of updates as server-sent events: each news as one event whose id is the cursor after it, a
//! comment as a heartbeat while there is none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};

use crate::chassis::request::QUERY_VALUE_BYTES;
use crate::chassis::response::Body;
use crate::chassis::{Answer, Error, Request, Response};
use crate::feed::Cursor;
use crate::feed::domain::Ask as _;
use crate::feed::poll::CursorPoll;

use super::changes::CursorAsk;
use super::lease::Presence;
use super::updates::{BAD_CURSOR, Poller, shown};
use super::{Helpdesk, profiles};

/// Silence after which a heartbeat is sent: below the 30 s after which some proxies close. A sign-out ends the
/// stream at the latest with it.
const HEARTBEAT: Duration = Duration::from_secs(15);
const HEARTBEAT_TEXT: Bytes = Bytes::from_static(b": heartbeat\n\n");
/// Tells a client to take the full state anew.
const RESET_TEXT: Bytes = Bytes::from_static(b"event: reset\ndata: {\"reset\":true}\n\n");

/// `GET /api/updates/stream`: what [`super::updates::poll`] tells, as server-sent events.
pub fn open(desk: &Arc<Helpdesk>, request: &Request) -> Result<Answer, Error> {
    const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
    let caller = request.caller()?;
    let (event_loop, client) = (request.event_loop, request.client);
    let mut buffer = [0; QUERY_VALUE_BYTES];
    let [cursor, parts] = request.query_values(["cursor", "parts"]);
    let shown = shown(parts, &mut buffer)?;
    let resumed = request.headers.get(LAST_EVENT_ID).map(HeaderValue::as_bytes);
    let given = resumed.or_else(|| cursor.map(|text| text.decoded(&mut buffer)));
    let given = given.filter(|text| !text.is_empty());
    let cursor = given.map(|text| Cursor::parse(text).ok_or(BAD_CURSOR)).transpose()?;
    let user = caller.user_id;
    desk.asks(event_loop, user, request.received_at);
    let poller = Poller { desk: desk.clone(), caller, client, event_loop };
    let Some(cursor) = cursor else {
        return Ok(Answer::detached(async move {
            let (state, cursor) = poller.read_state(shown).await?;
            let ask = poller.ask(cursor, shown).await?;
            Ok(events(poller, ask, Some(event(&state, cursor))))
        }));
    };
    Ok(Answer::held(async move {
        let ask = poller.ask(cursor, shown).await?;
        resume(poller, ask).await
    }))
}

/// A cursor that is no good is told as a status, not inside a stream that seemed to begin well.
async fn resume(poller: Poller, ask: CursorAsk) -> Result<Response, Error> {
    match poller.desk.feed.cursor_later(poller.event_loop, poller.caller.user_id, ask).await? {
        CursorPoll::Reset => poller.by_cursor(CursorPoll::Reset, ask),
        _ => Ok(events(poller, ask, None)),
    }
}

/// Where a stream is.
struct Listener {
    poller: Poller,
    ask: CursorAsk,
    is_over: bool,
    /// Who listens is there.
    _present: Option<Presence>,
}

/// A stream from the cursor of `ask` on, with a `first` piece before everything else.
fn events(poller: Poller, ask: CursorAsk, first: Option<Bytes>) -> Response {
    let _present = poller.desk.holds(poller.event_loop, poller.caller.user_id);
    let listener = Listener { poller, ask, is_over: false, _present };
    let later = stream::unfold(listener, |mut listener| async move {
        let piece = listener.next().await?;
        Some((piece, listener))
    });
    let mut response = Response::new(Body::Pieces(Box::pin(stream::iter(first).chain(later))));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would hold the events back until its buffer is full.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

impl Listener {
    /// The next piece; `None` ends the stream, and the client comes again with its last id.
    async fn next(&mut self) -> Option<Bytes> {
        if self.is_over || self.poller.desk.feed.is_released() {
            return None;
        }
        let until = Instant::now() + HEARTBEAT;
        let Poller { desk, caller, event_loop, .. } = &self.poller;
        if self.ask.ask.is_denied() && matches!(profiles::look_apart(desk, caller.user_id).await, Ok(true)) {
            self.is_over = true;
            return Some(RESET_TEXT);
        }
        let found = desk.feed.held_poll(*event_loop, caller.user_id, self.ask, until).await;
        self.ask = self.ask.patient();
        if !matches!(self.poller.is_over().await, Ok(false)) {
            return None;
        }
        match found {
            Ok(CursorPoll::Changed(json, cursor)) => {
                self.ask.cursor = cursor;
                Some(event(&json, cursor))
            }
            Ok(CursorPoll::Unchanged(cursor)) => {
                self.ask.cursor = cursor;
                Some(HEARTBEAT_TEXT)
            }
            Ok(CursorPoll::Reset) => {
                self.is_over = true;
                Some(RESET_TEXT)
            }
            Err(_) => None,
        }
    }
}

/// One event. The JSON has no line break in it.
fn event(json: &[u8], cursor: Cursor) -> Bytes {
    let mut text = BytesMut::with_capacity(json.len() + 64);
    for part in [&b"id: "[..], &cursor.text(), b"\nevent: updates\ndata: ", json, b"\n\n"] {
        text.extend_from_slice(part);
    }
    text.freeze()
}
