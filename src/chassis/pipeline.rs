//! The life of one request, from its head to its answer: find, admit, body, call, finish.
//!
//! [`serve`] is that way for a request without a body: on the event loop, without a future of its own.
//! [`serve_with_body`] is the same way for one that has a body, or whose caller must be looked up first.

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{
    ALLOW, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HeaderMap, HeaderValue, SET_COOKIE,
};
use http::{Method, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::timeout_at;

use crate::auth::freshness::REFRESH_WAIT_MS_MAX;
use crate::clock::Timestamp;
use crate::fair::Network;

use super::body::{Buffered, Unread};
use super::cors::Cors;
use super::drain::Stage;
use super::error::REQUEST_ID;
use super::event_loop::{EventLoop, HEAD_BYTES_MAX};
use super::head::RequestHead;
use super::identity::Identity;
use super::request::{Caller, Request};
use super::response::{self, Body, Response};
use super::route::{Access, Miss, Route as _};
use super::{Answer, Application, Chassis, Error, head, identity};

/// Longest `X-Request-Id` that is taken over.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Longest path and query. What is longer than a whole head may be gets 431 from hyper instead.
const URL_BYTES_MAX: usize = 8 * 1024;
const _: () = assert!(URL_BYTES_MAX < HEAD_BYTES_MAX);

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// What the answer to a request needs of it, once its head belongs to a handler.
struct Exchange {
    request_id: HeaderValue,
    /// The page's origin, where it is one of those that may call.
    origin: Option<HeaderValue>,
    /// Whether the request is from a page that is neither listed nor of this server.
    is_foreign: bool,
    is_head: bool,
    client: Network,
    received_at: Instant,
    /// The route's place in the metrics.
    slot: usize,
}

impl Exchange {
    /// The same with a request id in memory of its own. The id is a slice of the event loop's scratch block, or of the
    /// connection's read buffer, and would keep that whole block alive for as long as the request is held.
    fn detached(self) -> Self {
        let request_id = HeaderValue::from_bytes(self.request_id.as_bytes()).unwrap_or(self.request_id);
        Self { request_id, ..self }
    }
}

/// An answer, or the future of one. Nearly every request is answered at once, from memory: that needs no boxed
/// future, and a connection that waits keeps no memory for steps that it does not take.
pub(super) enum Serving {
    Now(Response),
    Later(Pin<Box<dyn Future<Output = Response> + Send>>),
}

/// Answers one request: every error and every panic becomes an answer, too.
pub(super) fn serve<A: Application>(
    event_loop: &Arc<EventLoop<A>>,
    peer: IpAddr,
    request: http::Request<Incoming>,
) -> Serving {
    let (parts, body) = request.into_parts();
    let is_head = parts.method == Method::HEAD;
    let version = parts.version;
    let mut request = receive(event_loop, peer, parts);

    let found = find(&event_loop.chassis, &mut request);
    let head = RequestHead::of(&request.headers);
    let exchange = exchange(event_loop, &request, &head, is_head, found);
    let admitted = guarded(|| admit(event_loop, &head, version, found, &request));
    if !body.is_end_stream() || matches!(admitted, Ok((_, Identity::Unknown))) {
        return Serving::Later(Box::pin(serve_with_body(
            event_loop.clone(),
            exchange,
            admitted,
            request,
            body,
        )));
    }
    let answer = admitted.and_then(|(route, identity)| {
        request.caller = identity.caller();
        guarded(|| Ok(event_loop.chassis.application.call(route, &mut request)))
    });
    match answer {
        Ok(Answer::Reused(json)) => {
            let mut response = response::whole(request.headers, json);
            complete(event_loop, exchange, false, &mut response);
            Serving::Now(response)
        }
        Ok(Answer::Now(result)) => Serving::Now(finish(event_loop, exchange, false, *result)),
        Ok(later) => {
            let is_large = found.is_ok_and(|route| route.spec().is_large);
            Serving::Later(Box::pin(serve_later(event_loop.clone(), exchange.detached(), later, is_large)))
        }
        Err(error) => Serving::Now(finish(event_loop, exchange, false, Err(error))),
    }
}

/// What a handler gets of a request; the caller and the body are still missing.
fn receive<A: Application>(event_loop: &EventLoop<A>, peer: IpAddr, parts: http::request::Parts) -> Request {
    Request {
        method: if parts.method == Method::HEAD { Method::GET } else { parts.method },
        uri: parts.uri,
        client: head::client_address(&parts.headers, peer, event_loop.chassis.trusted_proxy_hops).into(),
        headers: parts.headers,
        caller: None,
        body: Bytes::new(),
        event_loop: event_loop.index,
        received_at: Instant::now(),
        wall_time: Timestamp::now(),
    }
}

/// Finds the route. A path that names nothing is looked up once more as Rails reads it: without repeated slashes, one at
/// the end, and the `%` of characters that need none.
fn find<A: Application>(chassis: &Chassis<A>, request: &mut Request) -> Result<A::Route, Miss> {
    match chassis.application.find(&request.method, request.uri.path()) {
        Err(Miss::Path) => {
            request.uri = head::normalized(&request.uri).ok_or(Miss::Path)?;
            chassis.application.find(&request.method, request.uri.path())
        }
        found => found,
    }
}

fn exchange<A: Application>(
    event_loop: &EventLoop<A>,
    request: &Request,
    head: &RequestHead<'_>,
    is_head: bool,
    found: Result<A::Route, Miss>,
) -> Exchange {
    let chassis = &event_loop.chassis;
    let origin = head.origin.and_then(|origin| chassis.cors.known(origin));
    Exchange {
        request_id: request_id(event_loop, head.request_id),
        is_foreign: is_foreign(&chassis.cors, head, origin.as_ref(), &request.headers),
        origin,
        is_head,
        client: request.client,
        received_at: request.received_at,
        slot: found.map_or_else(|_| chassis.unmatched_slot(), A::Route::ordinal),
    }
}

/// Waits for the answer to a request that has no body, or whose body is read.
async fn serve_later<A: Application>(
    event_loop: Arc<EventLoop<A>>,
    exchange: Exchange,
    later: Answer,
    is_large: bool,
) -> Response {
    let _in_flight = event_loop.metrics().begin();
    // In one expression: what is moved from one name to another takes room twice for as long as the client waits.
    let settled =
        AssertUnwindSafe(settle(&event_loop, later, Buffered::default(), exchange.client, is_large))
            .catch_unwind()
            .await;
    finish(&event_loop, exchange, false, settled.unwrap_or_else(|_| Err(Error::panicked())))
}

/// The way from `body` on, for a request that has one, or whose caller must be looked up first.
async fn serve_with_body<A: Application>(
    event_loop: Arc<EventLoop<A>>,
    exchange: Exchange,
    admitted: Result<(A::Route, Identity), Error>,
    mut request: Request,
    body: Incoming,
) -> Response {
    let _in_flight = event_loop.metrics().begin();
    let (waits_for_100, client) = (request.headers.contains_key(EXPECT), exchange.client);
    let mut unread = Unread::Whole(body);
    let answered = async {
        let (route, identity) = admitted?;
        head::check_content_coding(&request.headers)?;
        let share = event_loop.chassis.bodies.share(client);
        let buffered = unread.read(route.spec().body_bytes_max, share).await?;
        request.caller = match identity {
            Identity::Known(caller) => caller,
            Identity::Unknown => look_up_caller(&event_loop, route, &request).await?,
        };
        request.body = buffered.bytes.clone();
        let answer = match event_loop.chassis.application.call(route, &mut request) {
            Answer::Reused(json) => return Ok(response::whole(request.headers, json)),
            answer => answer,
        };
        // Its head keeps the connection's read buffer alive, and the work may take long.
        drop(request);
        settle(&event_loop, answer, buffered, client, route.spec().is_large).await
    };
    let answered = AssertUnwindSafe(answered).catch_unwind().await;
    let is_last = !unread.skip(waits_for_100).await;
    finish(&event_loop, exchange, is_last, answered.unwrap_or_else(|_| Err(Error::panicked())))
}

/// Waits until this instance's knowledge of its callers is fresh enough to tell whether this one may come in.
async fn look_up_caller<A: Application>(
    event_loop: &EventLoop<A>,
    route: A::Route,
    request: &Request,
) -> Result<Option<Caller>, Error> {
    let began_at = Instant::now();
    let deadline = tokio::time::Instant::from_std(began_at) + Duration::from_millis(REFRESH_WAIT_MS_MAX);
    let auth = &event_loop.chassis.auth;
    let freshness = match route.spec().access {
        Access::Client(_) => &auth.revocations.clients.looks,
        _ => &auth.registrations.looks,
    };
    loop {
        let ended = freshness.next_refresh();
        // After a refresh that failed the caller is as unknown as before.
        match identify(event_loop, route, request, request.headers.get(AUTHORIZATION), began_at)? {
            Identity::Known(caller) => return Ok(caller),
            Identity::Unknown if freshness.tried_since(began_at) => break,
            Identity::Unknown => {}
        }
        if timeout_at(deadline, ended).await.is_err() {
            break;
        }
    }
    Err(Error::Unavailable("who may come in could not be looked up".to_owned()))
}

/// The outcome of `work`, whatever happens.
fn guarded<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(Error::panicked()))
}

/// Lets a request in: well framed, for a route that there is, by somebody who may call it.
fn admit<A: Application>(
    event_loop: &EventLoop<A>,
    head: &RequestHead<'_>,
    version: Version,
    route: Result<A::Route, Miss>,
    request: &Request,
) -> Result<(A::Route, Identity), Error> {
    if request.uri.path_and_query().is_some_and(|url| url.as_str().len() > URL_BYTES_MAX) {
        return Err(Error::Refused(StatusCode::URI_TOO_LONG, "URL too long".into()));
    }
    head.check(version, &request.uri)?;
    let route = route.map_err(|miss| missed(&event_loop.chassis, request, miss))?;
    Ok((route, identify(event_loop, route, request, head.authorization, request.received_at)?))
}

/// Tells who calls a route, see [`identity::check`].
fn identify<A: Application>(
    event_loop: &EventLoop<A>,
    route: A::Route,
    request: &Request,
    authorization: Option<&HeaderValue>,
    since: Instant,
) -> Result<Identity, Error> {
    let (tokens, access) = (&mut event_loop.tokens(), route.spec().access);
    let (auth, cors) = (&event_loop.chassis.auth, &event_loop.chassis.cors);
    identity::check(auth, tokens, cors, access, request, authorization, since)
}

/// Waits for an answer, and keeps the body until the work that reads it is done.
async fn settle<A: Application>(
    event_loop: &EventLoop<A>,
    answer: Answer,
    body: Buffered,
    client: Network,
    is_large: bool,
) -> Result<Response, Error> {
    let background = &event_loop.chassis.background;
    match answer {
        // A future has no request whose header map it could have filled.
        Answer::Reused(json) => Ok(response::json_text(StatusCode::OK, json)),
        Answer::Now(result) => *result,
        Answer::Held(waiting) => waiting.await,
        Answer::Detached(work) => {
            let work = async move {
                let _body = body;
                work.await
            };
            if is_large { background.run_large(work, client).await } else { background.run(work).await }
        }
    }
}

/// The answer where no route was found: 404, 405 with `Allow`, or 204 to OPTIONS.
fn missed<A: Application>(chassis: &Chassis<A>, request: &Request, miss: Miss) -> Error {
    let Miss::Method(allow) = miss else { return Error::not_found("Not found") };
    let allow = HeaderValue::from_static(allow);
    if request.method == Method::OPTIONS {
        let mut response = response::empty(StatusCode::NO_CONTENT);
        response.headers_mut().insert(ALLOW, allow);
        chassis.cors.preflight(&request.headers, response.headers_mut());
        return Error::Answer(Box::new(response));
    }
    let refusal = Error::Refused(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed".into());
    Error::Answer(Box::new(response::with_header(refusal.into_response(), ALLOW, allow)))
}

/// Turns errors into answers, logs those that are our fault, and completes the answer.
fn finish<A: Application>(
    event_loop: &EventLoop<A>,
    exchange: Exchange,
    is_last: bool,
    result: Result<Response, Error>,
) -> Response {
    // After an unclear head, or a body that was not read, nobody knows where the next request begins.
    let is_last = is_last || matches!(result, Err(Error::Malformed(..)));
    let weighed = result.and_then(|response| event_loop.chassis.answers.weigh(response, exchange.client));
    let mut response = weighed.unwrap_or_else(|error| {
        let cause = error.cause();
        let response = error.into_response();
        if let Some(cause) = cause
            && event_loop.chassis.log_budget.spend()
        {
            let request_id = exchange.request_id.to_str().unwrap_or_default();
            let route = event_loop.chassis.http.route(exchange.slot);
            let status = response.status().as_u16();
            let duration_ms = exchange.received_at.elapsed().as_secs_f64() * 1e3;
            tracing::error!(request_id, route, status, duration_ms, cause, "request failed");
        }
        response
    });
    complete(event_loop, exchange, is_last, &mut response);
    response
}

/// Adds what every answer has, in place, and counts it.
fn complete<A: Application>(
    event_loop: &EventLoop<A>,
    exchange: Exchange,
    is_last: bool,
    response: &mut Response,
) {
    if exchange.is_head {
        // Those two have none, or it would have to be another answer's.
        let has_length = !matches!(response.status(), StatusCode::NOT_MODIFIED | StatusCode::NO_CONTENT);
        let length = response.body().size_hint().exact().filter(|_| has_length);
        if let Some(length) = length {
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        *response.body_mut() = Body::empty();
    }
    let headers = response.headers_mut();
    headers.append(REQUEST_ID, exchange.request_id);
    if exchange.is_foreign {
        headers.remove(SET_COOKIE);
    }
    Cors::mark(headers, exchange.origin);
    if is_last || event_loop.chassis.drain.stage() != Stage::Serving {
        headers.insert(CONNECTION, CLOSE);
    }
    event_loop.metrics().observe(exchange.slot, response.status().as_u16(), exchange.received_at.elapsed());
}

/// Whether a request is from a page that is neither listed nor the service's own. `known` is its origin if it is
/// listed, which settles it but for a request of several.
fn is_foreign(cors: &Cors, head: &RequestHead<'_>, known: Option<&HeaderValue>, headers: &HeaderMap) -> bool {
    let is_settled = head.origins == 0 || (head.origins == 1 && known.is_some());
    !is_settled && !cors.trusts(headers)
}

/// The client's own id where it is harmless in a log, else a new one.
fn request_id<A: Application>(event_loop: &EventLoop<A>, given: Option<&HeaderValue>) -> HeaderValue {
    let is_sane = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=REQUEST_ID_BYTES_MAX).contains(&bytes.len())
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte))
    };
    given.filter(is_sane).cloned().unwrap_or_else(|| event_loop.scratch().request_id())
}

/// Keeps the log readable, and the disk from filling, while something is down for everyone.
pub(super) struct LogBudget(std::sync::Mutex<(u64, u32)>);

/// Lines about failed requests in one second.
const LOG_LINES_PER_S_MAX: u32 = 50;

impl LogBudget {
    pub(super) const fn new() -> Self {
        Self(std::sync::Mutex::new((0, 0)))
    }

    fn spend(&self) -> bool {
        let second = crate::clock::Timestamp::now().unix_seconds().unsigned_abs();
        let mut spent = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let before = if spent.0 == second { 0 } else { std::mem::replace(&mut *spent, (second, 0)).1 };
        spent.1 += 1;
        let may_log = spent.1 <= LOG_LINES_PER_S_MAX;
        // All event loops take it: nothing is written under it.
        drop(spent);
        if before > LOG_LINES_PER_S_MAX {
            let left_out = before - LOG_LINES_PER_S_MAX;
            tracing::error!(left_out, "more requests failed than were logged");
        }
        may_log
    }
}
