//! A stream of updates as server-sent events: each news as one event whose id is the cursor after it, a
//! comment as a heartbeat while there is none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::stream;

use crate::chassis::request::Caller;
use crate::chassis::response::Pieces;
use crate::feed::poll::CursorPoll;
use crate::feed::{Cursor, CursorAsk};

use super::lease::Presence;
use super::{Helpdesk, updates};

/// Silence after which a heartbeat is sent: below the 30 s after which some proxies close. A sign-out ends the
/// stream at the latest with it.
const HEARTBEAT: Duration = Duration::from_secs(15);
const HEARTBEAT_TEXT: Bytes = Bytes::from_static(b": heartbeat\n\n");
/// Tells a client to take the full state anew.
const RESET_TEXT: Bytes = Bytes::from_static(b"event: reset\ndata: {\"reset\":true}\n\n");

/// Where a stream is.
struct Position {
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
pub(super) fn begin(
    desk: Arc<Helpdesk>,
    caller: Caller,
    event_loop: usize,
    ask: CursorAsk,
    first: Option<Bytes>,
) -> Pieces {
    let _present = desk.holds(event_loop, caller.user_id);
    let position = Position { desk, caller, event_loop, ask, first, is_over: false, _present };
    Box::pin(stream::unfold(position, |mut position| async move {
        let piece = position.next().await?;
        Some((piece, position))
    }))
}

impl Position {
    /// The next piece; `None` ends the stream, and the client comes again with its last id.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        if self.is_over || self.desk.feed.is_released() || updates::is_over(&self.desk, &self.caller) {
            return None;
        }
        let until = Instant::now() + HEARTBEAT;
        let feed = &self.desk.feed;
        let found = feed.held_poll(self.event_loop, self.caller.user_id, self.ask, until).await;
        self.ask = self.ask.patient();
        if updates::is_over(&self.desk, &self.caller) {
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
            Ok(CursorPoll::Reset | CursorPoll::Later) => {
                self.is_over = true;
                Some(RESET_TEXT)
            }
            Err(_) => None,
        }
    }
}

/// One event. The JSON has no line break in it.
pub(super) fn event(json: &[u8], cursor: Cursor) -> Bytes {
    let mut text = BytesMut::with_capacity(json.len() + 64);
    for part in [&b"id: "[..], &cursor.text(), b"\nevent: updates\ndata: ", json, b"\n\n"] {
        text.extend_from_slice(part);
    }
    text.freeze()
}
