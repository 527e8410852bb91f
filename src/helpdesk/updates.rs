//! What is new: the poll path, and what the product exists for.
//!
//! Nearly every poll is answered here and now from the feed's memory: a user's number is looked up and compared, and a
//! constant goes out in the header map that the request came in. What must wait for the feed's tail is held on the event
//! loop; only what reaches back further than memory asks the database.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};

use crate::chassis::request::{Caller, QUERY_VALUE_BYTES, QueryValue};
use crate::chassis::{ANSWER_BYTES_MAX, Answer, Error, Request, Response, list, response};
use crate::clock::Timestamp;
use crate::fair::Network;
use crate::feed::Cursor;
use crate::feed::poll::{BeyondMemory, CursorPoll, SincePoll, Unavailable};

use super::changes::{Class, CursorAsk, List, Shown, Updates};
use super::{Helpdesk, catch_up, conversations, messages, profiles, store, timeline};

pub(super) const CURSOR: HeaderName = HeaderName::from_static("x-updates-cursor");
/// Longest hold of a poll, in seconds: below the 60 s after which balancers and home routers give up.
const WAIT_S_MAX: u64 = 55;
const NOTHING: Bytes = Bytes::from_static(b"[]");
pub(super) const BAD_CURSOR: Error = Error::bad_request("Invalid cursor");
const BAD_PARTS: Error = Error::bad_request("parts must be of conversations, messages and queue");

impl From<Unavailable> for Error {
    fn from(error: Unavailable) -> Self {
        match error {
            Unavailable::Stale | Unavailable::Failed(_) | Unavailable::Behind => {
                Self::Unavailable(error.to_string())
            }
            Unavailable::Full => Self::busy("the feed's waiting room"),
        }
    }
}

/// Answers one of the three `since` polls. `whose` names the parameter that must be the caller's id.
pub fn since(
    desk: &Arc<Helpdesk>,
    request: &mut Request,
    class: Class,
    whose: &str,
) -> Result<Answer, Error> {
    let caller = request.caller()?;
    let (mut buffer, [whose, since]) = ([0; QUERY_VALUE_BYTES], request.query_values([whose, "since"]));
    if let Some(id) = whose.map(|id| id.decoded(&mut buffer)).filter(|id| !id.is_empty())
        && id != itoa::Buffer::new().format(caller.user_id).as_bytes()
    {
        return Err(Error::forbidden("Not your updates"));
    }
    let since = match since.filter(|text| !text.raw().is_empty()) {
        None => None,
        // As it stands first: most times are not escaped, one that is cannot be read so, and a plus sign before
        // the zone reads like the space that it stands for.
        Some(text) => Timestamp::parse_lenient(text.raw())
            .or_else(|| Timestamp::parse_lenient(text.decoded(&mut buffer)))
            .map(Some)
            .ok_or_else(|| Error::bad_request("Invalid timestamp format"))?,
    };
    let (event_loop, client, user) = (request.event_loop, request.client, caller.user_id);
    let times = (request.received_at, request.wall_time);
    desk.asks(event_loop, user, request.received_at);
    let poller = || Poller { desk: desk.clone(), caller, client, event_loop };
    let is_stranger = || class == Class::Queue && desk.profiles.known(user) != Some(true);
    let Some(since) = since else {
        return Ok(if is_stranger() {
            Answer::held(poller().queue_if_expert(None))
        } else {
            poller().everything(class)
        });
    };
    Ok(match desk.feed.since(event_loop, user, class, since, times) {
        Some(SincePoll::Unchanged(cursor)) => {
            mark(request.reused(), cursor);
            Answer::Reused(NOTHING)
        }
        _ if is_stranger() => Answer::held(poller().queue_if_expert(Some(since))),
        Some(SincePoll::Changed(json, cursor)) => {
            let news = response::reusing(std::mem::take(&mut request.headers), list::joined(&json));
            Answer::now(Ok(poller().marked(news, cursor)))
        }
        found => Answer::held(poller().since_later(found, since, class)),
    })
}

/// Who asks for updates, from where, and on which event loop.
pub(super) struct Poller {
    pub desk: Arc<Helpdesk>,
    pub caller: Caller,
    pub client: Network,
    pub event_loop: usize,
}

impl Poller {
    /// Answers a `since` poll that has to wait, for the feed where nothing was found yet, or for the database.
    async fn since_later(
        self,
        found: Option<SincePoll<Class>>,
        since: Timestamp,
        class: Class,
    ) -> Result<Response, Error> {
        let (feed, user) = (&self.desk.feed, self.caller.user_id);
        let found = match found {
            Some(found) => found,
            None => feed.since_waiting(self.event_loop, user, class, since).await?,
        };
        match found {
            SincePoll::Unchanged(cursor) => {
                let mut nothing = response::json_text(StatusCode::OK, NOTHING);
                mark(nothing.headers_mut(), cursor);
                Ok(nothing)
            }
            SincePoll::Changed(json, cursor) => Ok(self.json(list::joined(&json), cursor)),
            SincePoll::AskDatabase(asked) if class == Class::Queue => self.whole_queue(asked.cursor).await,
            SincePoll::AskDatabase(asked) => {
                let background = self.desk.background.clone();
                let client = self.client;
                background.run_large(self.ask_database(asked), client).await
            }
            SincePoll::Whole => Err(Unavailable::Stale.into()),
        }
    }

    /// Without `since`: all there is.
    fn everything(self, class: Class) -> Answer {
        let user = self.caller.user_id;
        let cursor = match self.desk.feed.cursor(self.event_loop, user) {
            Ok(cursor) => cursor,
            Err(error) => return Answer::now(Err(error.into())),
        };
        match class {
            Class::Queue => Answer::held(self.whole_queue(cursor)),
            Class::Messages => {
                Answer::detached(
                    async move { Ok(self.marked(messages::newest(&self.desk, user).await?, cursor)) },
                )
            }
            Class::Conversations => Answer::detached(async move {
                Ok(self.marked(conversations::list(self.desk.clone(), user).await?, cursor))
            }),
        }
    }

    /// The queue of somebody who may be no expert.
    async fn queue_if_expert(self, since: Option<Timestamp>) -> Result<Response, Error> {
        // From before the queue is read.
        let cursor = self.desk.feed.cursor(self.event_loop, self.caller.user_id)?;
        if !profiles::look_apart(&self.desk, self.caller.user_id).await? {
            return Ok(self.json(NOTHING, cursor.partial_if(true)));
        }
        match since {
            Some(since) => self.since_later(None, since, Class::Queue).await,
            None => self.whole_queue(cursor).await,
        }
    }

    async fn whole_queue(self, cursor: Cursor) -> Result<Response, Error> {
        let queue = self.desk.feed.queue(self.event_loop, self.caller.user_id).await?;
        Ok(self.json(list::joined(&[queue.json()]), cursor))
    }

    /// What reaches back further than memory. The feed remembers the answer's end, so that the client's next
    /// poll is answered from memory; but not of an answer that was cut, nor has that a cursor: both would stand for
    /// what was left out.
    async fn ask_database(self, asked: BeyondMemory<Class>) -> Result<Response, Error> {
        let found = catch_up::since(&self.desk, self.event_loop, &asked).await?;
        if found.is_cut {
            return Ok(response::json_text(StatusCode::OK, found.json));
        }
        self.desk.feed.answered(&asked, found.newest);
        Ok(self.json(found.json, asked.cursor))
    }

    /// Answers when there is news, or at `until`.
    async fn hold(self, cursor: Cursor, shown: Shown, until: Instant) -> Result<Response, Error> {
        let ask = self.ask(cursor, shown).await?.patient();
        let _present = self.desk.holds(self.event_loop, self.caller.user_id);
        let found = self.desk.feed.held_poll(self.event_loop, self.caller.user_id, ask, until).await;
        let is_over = self.is_over().await;
        if matches!(is_over, Ok(true)) {
            return Err(Error::unauthenticated());
        }
        match (found?, is_over?) {
            (CursorPoll::Unchanged(cursor), _) => {
                Ok(self.marked(response::empty(StatusCode::NO_CONTENT), cursor))
            }
            (found, _) => self.by_cursor(found, ask),
        }
    }

    /// Answers once the feed can tell.
    async fn later(self, cursor: Cursor, shown: Shown) -> Result<Response, Error> {
        let ask = self.ask(cursor, shown).await?;
        let found = self.desk.feed.cursor_later(self.event_loop, self.caller.user_id, ask).await?;
        self.by_cursor(found, ask)
    }

    /// What to ask the feed for, by what the client shows: the queue only for an expert.
    pub(super) async fn ask(&self, cursor: Cursor, shown: Shown) -> Result<CursorAsk, Error> {
        let is_expert = shown.queue && profiles::look_apart(&self.desk, self.caller.user_id).await?;
        Ok(CursorAsk { cursor, ask: shown.told(is_expert) })
    }

    /// The answer to a cursor poll.
    pub(super) fn by_cursor(&self, found: CursorPoll, ask: CursorAsk) -> Result<Response, Error> {
        Ok(match found {
            CursorPoll::Changed(json, cursor) => self.json(json, cursor),
            CursorPoll::Unchanged(cursor) => {
                let unchanged = self.desk.feed.unchanged(self.event_loop, CursorAsk { cursor, ..ask })?;
                let mut response = response::json_text(StatusCode::OK, unchanged.json);
                mark(response.headers_mut(), unchanged.cursor);
                response
            }
            CursorPoll::Reset => {
                response::json_text(StatusCode::GONE, r#"{"error":"Cursor is no longer valid","reset":true}"#)
            }
        })
    }

    /// Everything of the caller's, and a cursor from before it was read.
    async fn full_state(self, shown: Shown) -> Result<Response, Error> {
        let (json, cursor) = self.read_state(shown).await?;
        Ok(self.json(json, cursor))
    }

    pub(super) async fn read_state(&self, shown: Shown) -> Result<(Bytes, Cursor), Error> {
        let (feed, event_loop, user) = (&self.desk.feed, self.event_loop, self.caller.user_id);
        let tells_queue = shown.queue && profiles::look(&self.desk, user).await?;
        if tells_queue {
            feed.want_queue(event_loop, user)?;
        }
        let cursor = feed.cursor_after_own_writes(event_loop, user).await?;
        let cursor = cursor.partial_if(shown.queue && !tells_queue);
        let (own, mut posted) = read_own(&self.desk, user, shown).await?;
        let waiting = if tells_queue { feed.queue(event_loop, user).await?.waiting } else { NOTHING };
        // All of it is one answer. The newest message fits beside the longest lists of the others.
        posted.shrink_front(ANSWER_BYTES_MAX.saturating_sub(own.len() + waiting.len()));
        let positions = if shown.conversations { feed.positions(event_loop, user) } else { Vec::new() };
        let state = Updates {
            conversations: List::Array(&own),
            messages: List::Array(&posted.json()),
            waiting: List::Array(&waiting),
            total: feed.waiting_total(event_loop),
            positions: &positions,
            ..Updates::empty(cursor, shown, feed.next_poll_ms(event_loop))
        };
        Ok((state.json(), cursor))
    }

    /// Whether the caller was signed out, their token ran out, or the database forgot them, while they waited.
    ///
    /// # Errors
    /// Where what is known of that is too old, and the next look does not come in time.
    pub(super) async fn is_over(&self) -> Result<bool, Error> {
        let (auth, caller) = (&self.desk.auth, &self.caller);
        if !auth.registrations.looks.become_current().await {
            return Err(Error::Unavailable("who may come in could not be looked up".to_owned()));
        }
        Ok(auth.revocations.is_revoked(&caller.session)
            || !auth.registrations.still_knows(caller.user_id, caller.user_created_at)
            || caller.expires_at <= Timestamp::now().unix_seconds())
    }

    fn json(&self, json: impl Into<Bytes>, cursor: Cursor) -> Response {
        self.marked(response::json_text(StatusCode::OK, json), cursor)
    }

    /// The same answer with the cursor.
    fn marked(&self, mut response: Response, cursor: Cursor) -> Response {
        mark(response.headers_mut(), self.desk.feed.cursor_text(self.event_loop, cursor));
        response
    }
}

/// Adds the cursor that says as much as the answer.
fn mark(headers: &mut HeaderMap, cursor: Bytes) {
    if let Ok(text) = HeaderValue::from_maybe_shared(cursor) {
        headers.append(CURSOR, text);
    }
}

/// `GET /api/updates`: all three in one answer, held on request until there is news.
pub fn poll(desk: &Arc<Helpdesk>, request: &mut Request) -> Result<Answer, Error> {
    let caller = request.caller()?;
    let (event_loop, client) = (request.event_loop, request.client);
    let mut buffer = [0; QUERY_VALUE_BYTES];
    let [wait, cursor, parts] = request.query_values(["wait", "cursor", "parts"]);
    let shown = shown(parts, &mut buffer)?;
    let wait = match wait.map(|text| text.decoded(&mut buffer)) {
        None | Some(b"") => 0,
        Some(text) => {
            let seconds = std::str::from_utf8(text).ok().and_then(|text| text.parse::<u64>().ok());
            seconds.ok_or(Error::bad_request("wait must be a number of seconds"))?.min(WAIT_S_MAX)
        }
    };
    let user = caller.user_id;
    desk.asks(event_loop, user, request.received_at);
    let poller = || Poller { desk: desk.clone(), caller, client, event_loop };
    let Some(cursor) = cursor.map(|text| text.decoded(&mut buffer)).filter(|text| !text.is_empty()) else {
        return Ok(Answer::detached(poller().full_state(shown)));
    };
    let cursor = Cursor::parse(cursor).ok_or(BAD_CURSOR)?;
    if wait > 0 {
        let until = Instant::now() + Duration::from_secs(wait);
        return Ok(Answer::held(poller().hold(cursor, shown, until)));
    }
    // Not looked up for a poll that has nothing to tell: nothing of the queue is new to it then, either.
    let is_known_stranger = cursor.is_partial && desk.profiles.known(user) == Some(false);
    let ask = CursorAsk { cursor, ask: shown.told(!is_known_stranger) };
    Ok(match desk.feed.poll(event_loop, user, ask, request.received_at) {
        Ok(unchanged) => {
            mark(request.reused(), unchanged.cursor);
            Answer::Reused(unchanged.json)
        }
        Err(Some(found)) if !shown.queue || desk.profiles.known(user) == Some(true) => {
            Answer::now(poller().by_cursor(found, ask))
        }
        Err(_) => Answer::held(poller().later(cursor, shown)),
    })
}

/// What the client shows, as it says.
pub(super) fn shown(
    parts: Option<QueryValue<'_>>,
    buffer: &mut [u8; QUERY_VALUE_BYTES],
) -> Result<Shown, Error> {
    match parts.map(|text| text.decoded(buffer)) {
        None | Some(b"") => Ok(Shown::ALL),
        Some(text) => Shown::parse(text).ok_or(BAD_PARTS),
    }
}

/// The caller's conversations as JSON, and the messages of those that are there: what is beyond the list's end is left
/// out with all that belongs to it. Of one moment.
async fn read_own(desk: &Helpdesk, caller: u64, shown: Shown) -> Result<(Vec<u8>, list::List), Error> {
    let mut posted = list::List::default();
    if !shown.conversations && !shown.messages {
        return Ok((Vec::new(), posted));
    }
    let mut db = desk.db.heavy().await?;
    db.begin_snapshot().await?;
    let own = store::conversation_list(&mut db, caller).await?;
    if shown.messages {
        let ids: HashSet<u64> = own.iter().map(|conversation| conversation.id).collect();
        let keys = timeline::newest(&mut db, caller).await?;
        posted = timeline::list(&mut db, &keys, |message| ids.contains(&message.conversation_id)).await?;
    }
    db.end_snapshot().await?;
    Ok((conversations::json(&own, caller), posted))
}
