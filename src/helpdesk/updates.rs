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
            Unavailable::Stale | Unavailable::Failed(_) => Self::Unavailable(error.to_string()),
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
    let (event_loop, user, now) = (request.event_loop, caller.user_id, (request.came, request.at));
    desk.asks(event_loop, user, request.came);
    let poll = || Poll { desk: desk.clone(), caller: user, event_loop, class };
    let is_stranger = || class == Class::Queue && desk.profiles.known(user) != Some(true);
    let Some(since) = since else {
        return Ok(if is_stranger() {
            Answer::detached(poll().queue_if_expert(None))
        } else {
            poll().everything()
        });
    };
    Ok(match desk.feed.since(event_loop, user, class, since, now) {
        SincePoll::Unchanged(cursor) => {
            mark(request.reused(), cursor);
            Answer::Reused(NOTHING)
        }
        _ if is_stranger() => Answer::detached(poll().queue_if_expert(Some(since))),
        SincePoll::Later => {
            let poll = poll();
            Answer::held(async move {
                match poll.desk.feed.since_waiting(event_loop, user, class, since).await {
                    Ok(found) => poll.answer(found, HeaderMap::new()),
                    Err(error) => Answer::now(Err(error.into())),
                }
            })
        }
        found => poll().answer(found, std::mem::take(&mut request.headers)),
    })
}

/// One `since` poll.
struct Poll {
    desk: Arc<Helpdesk>,
    caller: u64,
    event_loop: usize,
    class: Class,
}

impl Poll {
    fn answer(self, found: SincePoll<Class>, headers: HeaderMap) -> Answer {
        match found {
            SincePoll::Unchanged(cursor) => {
                let mut nothing = response::reusing(headers, NOTHING);
                mark(nothing.headers_mut(), cursor);
                Answer::now(Ok(nothing))
            }
            SincePoll::Changed(json, cursor) => {
                let found = response::reusing(headers, list::joined(&json));
                Answer::now(Ok(marked(&self.desk, self.event_loop, found, cursor)))
            }
            SincePoll::AskDatabase(asked) if self.class == Class::Queue => self.whole_queue(asked.cursor),
            SincePoll::AskDatabase(asked) => Answer::detached(self.ask_database(asked)),
            SincePoll::Later | SincePoll::Whole => Answer::now(Err(Unavailable::Stale.into())),
        }
    }

    /// Without `since`: all there is.
    fn everything(self) -> Answer {
        let cursor = match self.desk.feed.cursor(self.event_loop, self.caller) {
            Ok(cursor) => cursor,
            Err(error) => return Answer::now(Err(error.into())),
        };
        if self.class == Class::Queue {
            return self.whole_queue(cursor);
        }
        Answer::detached(async move {
            let all = match self.class {
                Class::Messages => messages::newest(&self.desk, self.caller).await?,
                _ => conversations::list(self.desk.clone(), self.caller).await?,
            };
            Ok(marked(&self.desk, self.event_loop, all, cursor))
        })
    }

    /// The queue of somebody who may be no expert.
    async fn queue_if_expert(self, since: Option<Timestamp>) -> Result<Response, Error> {
        let Self { desk, caller, event_loop, class } = self;
        // From before the queue is read.
        let mut cursor = desk.feed.cursor(event_loop, caller)?;
        let mut json = NOTHING;
        if profiles::look(&desk, caller).await? {
            let found = match since {
                Some(since) => Some(desk.feed.since_waiting(event_loop, caller, class, since).await?),
                None => None,
            };
            match found {
                Some(SincePoll::Unchanged(_)) => {}
                Some(SincePoll::Changed(queue, position)) => {
                    (json, cursor) = (list::joined(&queue), position)
                }
                _ => json = list::joined(&[desk.feed.queue(event_loop, caller).await?.json()]),
            }
        }
        Ok(marked(&desk, event_loop, response::json_text(StatusCode::OK, json), cursor))
    }

    fn whole_queue(self, cursor: Cursor) -> Answer {
        Answer::held(async move {
            let queue = self.desk.feed.queue(self.event_loop, self.caller).await;
            Answer::now(queue.map_err(Error::from).map(|queue| {
                let json = response::json_text(StatusCode::OK, list::joined(&[queue.json()]));
                marked(&self.desk, self.event_loop, json, cursor)
            }))
        })
    }

    /// What reaches back further than memory. The feed remembers the answer's end, so that the client's next
    /// poll is answered from memory; but not of an answer that was cut, nor has that a cursor: both would stand for
    /// what was left out.
    async fn ask_database(self, asked: BeyondMemory<Class>) -> Result<Response, Error> {
        let since = asked.since;
        let found = catch_up::since(&self.desk, self.caller, self.class, since).await?;
        let answer = response::json_text(StatusCode::OK, found.json);
        if found.is_cut {
            return Ok(answer);
        }
        self.desk.feed.answered(&asked, found.newest.map_or(since, |newest| newest.max(since)));
        Ok(marked(&self.desk, self.event_loop, answer, asked.cursor))
    }
}

/// Adds the cursor that says as much as the answer.
fn mark(headers: &mut HeaderMap, cursor: Bytes) {
    if let Ok(text) = HeaderValue::from_maybe_shared(cursor) {
        headers.append(CURSOR, text);
    }
}

/// The same answer with the cursor.
fn marked(desk: &Helpdesk, event_loop: usize, mut response: Response, cursor: Cursor) -> Response {
    mark(response.headers_mut(), desk.feed.cursor_text(event_loop, cursor));
    response
}

/// `GET /api/updates`: all three in one answer, held on request until there is news.
pub fn poll(desk: &Arc<Helpdesk>, request: &mut Request) -> Result<Answer, Error> {
    let caller = request.caller()?;
    let event_loop = request.event_loop;
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
    desk.asks(event_loop, caller.user_id, request.came);
    let Some(cursor) = cursor.map(|text| text.decoded(&mut buffer)).filter(|text| !text.is_empty()) else {
        return Ok(Answer::detached(full_state(desk.clone(), event_loop, caller.user_id, shown)));
    };
    let cursor = Cursor::parse(cursor).map_err(|_| BAD_CURSOR)?;
    let ask = CursorAsk { cursor, ask: shown.into() };
    let user = caller.user_id;
    if wait > 0 {
        let until = Instant::now() + Duration::from_secs(wait);
        let is_expert = if shown.queue { desk.profiles.known(user) } else { Some(false) };
        let desk = desk.clone();
        return Ok(Answer::held(async move {
            let is_expert = match is_expert {
                Some(known) => Ok(known),
                None => profiles::look_apart(&desk, user).await,
            };
            match is_expert {
                Ok(is_expert) => {
                    hold(desk, event_loop, caller, ask.with_queue(is_expert).patient(), until).await
                }
                Err(error) => Answer::now(Err(error)),
            }
        }));
    }
    Ok(match desk.feed.poll(event_loop, user, ask, request.came) {
        Ok(unchanged) => {
            mark(request.reused(), unchanged.cursor);
            Answer::Reused(unchanged.json)
        }
        _ if shown.queue && desk.profiles.known(user) != Some(true) => {
            Answer::detached(cursor_if_expert(desk.clone(), event_loop, user, ask))
        }
        Err(None) => {
            let desk = desk.clone();
            Answer::held(async move {
                let found = desk.feed.cursor_later(event_loop, caller.user_id, ask).await;
                Answer::now(
                    found.map_err(Error::from).and_then(|found| by_cursor(&desk, event_loop, found, ask)),
                )
            })
        }
        Err(Some(found)) => Answer::now(by_cursor(desk, event_loop, found, ask)),
    })
}

/// Answers when there is news, or at `until`.
async fn hold(
    desk: Arc<Helpdesk>,
    event_loop: usize,
    caller: Caller,
    ask: CursorAsk,
    until: Instant,
) -> Answer {
    let _present = desk.holds(event_loop, caller.user_id);
    let found = desk.feed.held_poll(event_loop, caller.user_id, ask, until).await;
    Answer::now(match (found, is_over(&desk, &caller).await) {
        (_, Ok(true)) => Err(Error::unauthenticated()),
        (Err(error), _) => Err(error.into()),
        (_, Err(error)) => Err(error),
        (Ok(CursorPoll::Unchanged(cursor)), _) => {
            Ok(marked(&desk, event_loop, response::empty(StatusCode::NO_CONTENT), cursor))
        }
        (Ok(found), _) => by_cursor(&desk, event_loop, found, ask),
    })
}

/// The answer to a cursor of somebody who may be no expert.
async fn cursor_if_expert(
    desk: Arc<Helpdesk>,
    event_loop: usize,
    user: u64,
    ask: CursorAsk,
) -> Result<Response, Error> {
    let ask = ask.with_queue(profiles::look(&desk, user).await?);
    let found = desk.feed.cursor_later(event_loop, user, ask).await?;
    by_cursor(&desk, event_loop, found, ask)
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

/// The answer to a cursor poll.
pub(super) fn by_cursor(
    desk: &Helpdesk,
    event_loop: usize,
    found: CursorPoll,
    ask: CursorAsk,
) -> Result<Response, Error> {
    Ok(match found {
        CursorPoll::Changed(json, cursor) => {
            marked(desk, event_loop, response::json_text(StatusCode::OK, json), cursor)
        }
        CursorPoll::Unchanged(cursor) => {
            let unchanged = desk.feed.unchanged(event_loop, CursorAsk { cursor, ..ask })?;
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
async fn full_state(
    desk: Arc<Helpdesk>,
    event_loop: usize,
    caller: u64,
    shown: Shown,
) -> Result<Response, Error> {
    let (json, cursor) = read_state(&desk, event_loop, caller, shown).await?;
    Ok(marked(&desk, event_loop, response::json_text(StatusCode::OK, json), cursor))
}

pub(super) async fn read_state(
    desk: &Arc<Helpdesk>,
    event_loop: usize,
    caller: u64,
    shown: Shown,
) -> Result<(Bytes, Cursor), Error> {
    let tells_queue = shown.queue && profiles::look(desk, caller).await?;
    if tells_queue {
        desk.feed.want_queue(event_loop, caller)?;
    }
    let cursor = desk.feed.cursor_after_own_writes(event_loop, caller).await?;
    let (own, mut posted) = read_own(desk, caller, shown).await?;
    let waiting = if tells_queue {
        desk.feed.queue(event_loop, caller).await?.waiting
    } else {
        Bytes::from_static(b"[]")
    };
    // All of it is one answer. The newest message fits beside the longest lists of the others.
    posted.shrink_front(ANSWER_BYTES_MAX.saturating_sub(own.len() + waiting.len()));
    let posted = posted.json();
    let positions = if shown.conversations { desk.feed.positions(event_loop, caller) } else { Vec::new() };
    let state = Updates {
        conversations: List::Array(&own),
        messages: List::Array(&posted),
        waiting: List::Array(&waiting),
        total: desk.feed.waiting_total(event_loop),
        positions: &positions,
        ..Updates::empty(cursor, shown, desk.feed.next_poll_ms(event_loop))
    };
    Ok((state.json(), cursor))
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

/// Whether the caller was signed out, their token ran out, or the database forgot them, while they waited.
///
/// # Errors
/// Where what is known of that is too old, and the next look does not come in time.
pub(super) async fn is_over(desk: &Helpdesk, caller: &Caller) -> Result<bool, Error> {
    if !desk.auth.registrations.looks.become_current().await {
        return Err(Error::Unavailable("who may come in could not be looked up".to_owned()));
    }
    Ok(desk.auth.revocations.is_revoked(&caller.session)
        || !desk.auth.registrations.still_knows(caller.user_id, caller.user_created_at)
        || caller.expires_at <= Timestamp::now().unix_seconds())
}
