//! A stream of updates as server-sent events: each news as one event whose id is the cursor after it, a
//! comment as a heartbeat while there is none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};

use crate::chassis::request::{Caller, QUERY_VALUE_BYTES};
use crate::chassis::response::{Body, Pieces};
use crate::chassis::{Answer, Error, Request, Response};
use crate::feed::Cursor;
use crate::feed::poll::CursorPoll;

use super::changes::CursorAsk;
use super::lease::Presence;
use super::updates::{BAD_CURSOR, by_cursor, read_state, shown};
use super::{Helpdesk, profiles, updates};

/// Silence after which a heartbeat is sent: below the 30 s after which some proxies close. A sign-out ends the
/// stream at the latest with it.
const HEARTBEAT: Duration = Duration::from_secs(15);
const HEARTBEAT_TEXT: Bytes = Bytes::from_static(b": heartbeat\n\n");
/// Tells a client to take the full state anew.
const RESET_TEXT: Bytes = Bytes::from_static(b"event: reset\ndata: {\"reset\":true}\n\n");

/// `GET /api/updates/stream`: what [`updates::poll`] tells, as server-sent events.
pub fn open(desk: &Arc<Helpdesk>, request: &Request) -> Result<Answer, Error> {
    const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
    let caller = request.caller()?;
    let event_loop = request.event_loop;
    let mut buffer = [0; QUERY_VALUE_BYTES];
    let [cursor, parts] = request.query_values(["cursor", "parts"]);
    let shown = shown(parts, &mut buffer)?;
    let resumed = request.headers.get(LAST_EVENT_ID).map(HeaderValue::as_bytes);
    let given = resumed.or_else(|| cursor.map(|text| text.decoded(&mut buffer)));
    let given = given.filter(|text| !text.is_empty());
    let cursor = given.map(|text| Cursor::parse(text).map_err(|_| BAD_CURSOR)).transpose()?;
    desk.asks(event_loop, caller.user_id, request.came);
    let desk = desk.clone();
    let Some(cursor) = cursor else {
        return Ok(Answer::detached(async move {
            let (state, cursor) = read_state(&desk, event_loop, caller.user_id, shown).await?;
            let is_expert = shown.queue && profiles::look(&desk, caller.user_id).await?;
            let ask = CursorAsk { cursor, ask: shown.into() }.with_queue(is_expert);
            let first = event(&state, cursor);
            Ok(events(begin(desk, caller, event_loop, ask, Some(first))))
        }));
    };
    let ask = CursorAsk { cursor, ask: shown.into() };
    Ok(match desk.profiles.known(caller.user_id) {
        None if shown.queue => Answer::detached(async move {
            let ask = ask.with_queue(profiles::look(&desk, caller.user_id).await?);
            resumed_stream(desk, caller, event_loop, ask).await
        }),
        known => {
            let ask = ask.with_queue(known == Some(true));
            Answer::held(async move { Answer::now(resumed_stream(desk, caller, event_loop, ask).await) })
        }
    })
}

/// A cursor that is no good is told as a status, not inside a stream that seemed to begin well.
async fn resumed_stream(
    desk: Arc<Helpdesk>,
    caller: Caller,
    event_loop: usize,
    ask: CursorAsk,
) -> Result<Response, Error> {
    match desk.feed.cursor_later(event_loop, caller.user_id, ask).await? {
        CursorPoll::Reset => by_cursor(&desk, event_loop, CursorPoll::Reset, ask),
        _ => Ok(events(begin(desk, caller, event_loop, ask, None))),
    }
}

/// The answer whose body they are.
fn events(pieces: Pieces) -> Response {
    let mut response = Response::new(Body::Pieces(pieces));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would hold the events back until its buffer is full.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

/// Where a stream is.
struct Listener {
    desk: Arc<Helpdesk>,
    caller: Caller,
    event_loop: usize,
    ask: CursorAsk,
    first: Option<Bytes>,
    is_over: bool,
    /// Who listens is there.
    _present: Option<Presence>,
}

/// A stream from the cursor of `ask` on, with a `first` piece before everything else.
fn begin(
    desk: Arc<Helpdesk>,
    caller: Caller,
    event_loop: usize,
    ask: CursorAsk,
    first: Option<Bytes>,
) -> Pieces {
    let _present = desk.holds(event_loop, caller.user_id);
    let listener = Listener { desk, caller, event_loop, ask, first, is_over: false, _present };
    Box::pin(stream::unfold(listener, |mut listener| async move {
        let piece = listener.next().await?;
        Some((piece, listener))
    }))
}

impl Listener {
    /// The next piece; `None` ends the stream, and the client comes again with its last id.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        if self.is_over || self.desk.feed.is_released() {
            return None;
        }
        let until = Instant::now() + HEARTBEAT;
        let feed = &self.desk.feed;
        let found = feed.held_poll(self.event_loop, self.caller.user_id, self.ask, until).await;
        self.ask = self.ask.patient();
        if !matches!(updates::is_over(&self.desk, &self.caller).await, Ok(false)) {
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
