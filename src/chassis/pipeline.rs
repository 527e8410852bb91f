//! The life of one request, from its head to its answer: the functions to read first are [`serve`] and
//! [`admit`].

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{
    ALLOW, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderValue, ORIGIN,
    SET_COOKIE, TRANSFER_ENCODING,
};
use http::{Method, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::{timeout, timeout_at};

use crate::auth::looks::LOOK_WAIT_MS_MAX;
use crate::clock::Timestamp;

use super::answers::Making;
use super::cors::Cors;
use super::drain::Stage;
use super::error::REQUEST_ID;
use super::event_loop::{EventLoop, HEAD_BYTES_MAX};
use super::identity::Identity;
use super::request::{Caller, Request};
use super::response::{self, Body, Response};
use super::route::{Access, Miss, Route as _};
use super::{Answer, Application, Chassis, Error, Later, body, head, identity};

/// The longest that work apart from the event loop may take, all its statements together. The contract's
/// 5 s less the time to say so.
pub const DETACHED_MS_MAX: u64 = 4_500;
/// Longest `X-Request-Id` that is taken over.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Longest path and query. What is longer than a whole head may be gets 431 from hyper instead.
const URL_BYTES_MAX: usize = 8 * 1024;
const _: () = assert!(URL_BYTES_MAX < HEAD_BYTES_MAX);

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// What must be known of a request after its head was handed to a handler.
struct Asked {
    id: HeaderValue,
    /// Of the page, where it may call.
    origin: Option<HeaderValue>,
    /// The page is neither one that may call nor the service's own.
    is_foreign: bool,
    is_head: bool,
    begun: Instant,
    slot: usize,
}

/// What every request is asked for, found in one go: a look-up for each would take longer.
#[derive(Default)]
struct Noted<'h> {
    id: Option<&'h HeaderValue>,
    origin: Option<&'h HeaderValue>,
    origins: usize,
    authorization: Option<&'h HeaderValue>,
    host: Option<&'h HeaderValue>,
    hosts: usize,
    lengths: usize,
    codings: usize,
    is_coded_otherwise: bool,
}

impl<'h> Noted<'h> {
    fn of(headers: &'h HeaderMap) -> Self {
        let mut noted = Self::default();
        for (name, value) in headers {
            if name == HOST {
                noted.hosts += 1;
                noted.host = Some(value);
            } else if name == AUTHORIZATION {
                noted.authorization = noted.authorization.or(Some(value));
            } else if name == ORIGIN {
                noted.origin = noted.origin.or(Some(value));
                noted.origins += 1;
            } else if name == REQUEST_ID {
                noted.id = noted.id.or(Some(value));
            } else if name == CONTENT_LENGTH {
                noted.lengths += 1;
            } else if name == TRANSFER_ENCODING {
                noted.codings += 1;
                noted.is_coded_otherwise |= !head::is_chunked(value);
            }
        }
        noted
    }

    /// What makes a message ambiguous to the servers in front of us makes it no request (RFC 9112 §3.2, §6).
    fn check(&self, version: Version, uri: &Uri) -> Result<(), Error> {
        let bad = |text| Err(Error::Malformed(StatusCode::BAD_REQUEST, text));
        if self.hosts > 1 || (self.hosts == 0 && version == Version::HTTP_11) {
            return bad("Exactly one Host header is required");
        }
        let is_host = self.host.is_none_or(head::is_host);
        if !is_host || uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return bad("Host must be a host and a port");
        }
        // hyper itself leaves out the length, goes by the chunks, and closes after the answer (RFC 9112 §6.1).
        if self.codings > 0 && self.lengths > 0 {
            return bad("Content-Length and Transfer-Encoding exclude each other");
        }
        // hyper refuses what does not end in `chunked`, and any coding in HTTP/1.0, by a 400: nobody knows how long
        // such a body is (RFC 9112 §6.3). A coding before the chunks, or chunks twice, it hands on as if unpacked.
        if self.codings > 1 || self.is_coded_otherwise {
            return Err(Error::Malformed(StatusCode::NOT_IMPLEMENTED, "Transfer-Encoding must be chunked"));
        }
        Ok(())
    }
}

impl Asked {
    /// The same in memory of its own: an id out of the loop's block, or out of the connection's read buffer,
    /// would keep all of that for as long as the request is held.
    fn detached(self) -> Self {
        Self { id: HeaderValue::from_bytes(self.id.as_bytes()).unwrap_or(self.id), ..self }
    }
}

/// One answer, or its future. Nearly every request is answered at once, from memory: that costs no boxed
/// future, and a connection that waits carries no room for work it does not do.
pub(super) enum Serving {
    Now(Response),
    Later(Pin<Box<dyn Future<Output = Response> + Send>>),
}

/// Answers one request, whatever happens.
pub(super) fn serve<A: Application>(
    event_loop: &Arc<EventLoop<A>>,
    peer: IpAddr,
    request: http::Request<Incoming>,
) -> Serving {
    let (head, body) = request.into_parts();
    let (chassis, is_head) = (&event_loop.chassis, head.method == Method::HEAD);
    let (begun, at) = (Instant::now(), Timestamp::now());
    let mut request = Request {
        method: if is_head { Method::GET } else { head.method },
        uri: head.uri,
        client: head::client_address(&head.headers, peer, chassis.trusted_proxy_hops),
        headers: head.headers,
        caller: None,
        body: Bytes::new(),
        event_loop: event_loop.index,
        came: begun,
        at,
    };
    let noted = Noted::of(&request.headers);
    let route = chassis.application.find(&request.method, request.uri.path());
    let route = route.or_else(|miss| find_again(chassis, &request.method, &mut request.uri, miss));
    let origin = noted.origin.and_then(|origin| chassis.cors.known(origin));
    let asked = Asked {
        id: request_id(event_loop, noted.id),
        is_foreign: is_foreign(&chassis.cors, &noted, origin.as_ref(), &request.headers),
        origin,
        is_head,
        begun,
        slot: route.map_or_else(|_| chassis.unmatched_slot(), A::Route::ordinal),
    };
    let admitted = guarded(|| admit(event_loop, &noted, head.version, route, &request));
    if !body.is_end_stream() || matches!(admitted, Ok((_, Identity::Unknown))) {
        return Serving::Later(Box::pin(serve_body(event_loop.clone(), asked, admitted, request, body)));
    }
    let answered = admitted.and_then(|(route, identity)| {
        request.caller = identity.caller();
        guarded(|| Ok(chassis.application.call(route, &mut request)))
    });
    match answered {
        Ok(Answer::Reused(json)) => {
            let mut response = response::whole(request.headers, json);
            complete(event_loop, asked, false, &mut response);
            Serving::Now(response)
        }
        Ok(Answer::Now(result)) => Serving::Now(finish(event_loop, asked, false, *result)),
        Ok(answer) => {
            let is_large = route.is_ok_and(|route| route.spec().is_large);
            let later = serve_later(event_loop.clone(), asked.detached(), answer, is_large);
            Serving::Later(Box::pin(later))
        }
        Err(error) => Serving::Now(finish(event_loop, asked, false, Err(error))),
    }
}

/// The rest of a request that is answered later.
async fn serve_later<A: Application>(
    event_loop: Arc<EventLoop<A>>,
    asked: Asked,
    answer: Answer,
    is_large: bool,
) -> Response {
    let _counted = event_loop.metrics().begin();
    let mut takes = Takes { is_large, ..Takes::default() };
    let settled = AssertUnwindSafe(settle(&event_loop, answer, &mut takes)).catch_unwind().await;
    finish(&event_loop, asked, false, settled.unwrap_or_else(|_| Err(panicked())))
}

/// The rest of a request that has a body, or whose caller is not known yet.
async fn serve_body<A: Application>(
    event_loop: Arc<EventLoop<A>>,
    asked: Asked,
    admitted: Result<(A::Route, Identity), Error>,
    mut request: Request,
    body: Incoming,
) -> Response {
    let _counted = event_loop.metrics().begin();
    let waits = request.headers.contains_key(EXPECT);
    let (mut rest, mut takes) = (body::Rest::Whole(body), Takes::default());
    let answered = async {
        let (route, identity) = admitted?;
        head::check_content_coding(&request.headers)?;
        let held = rest.read(route.spec().body_bytes_max, &event_loop.chassis.bodies).await?;
        request.caller = match identity {
            Identity::Known(caller) => caller,
            Identity::Unknown => learn(&event_loop, route, &request).await?,
        };
        request.body = held.bytes.clone();
        let answer = match event_loop.chassis.application.call(route, &mut request) {
            Answer::Reused(json) => return Ok(response::whole(request.headers, json)),
            answer => answer,
        };
        // Its head keeps the connection's read buffer, and the work may last.
        drop(request);
        takes = Takes { is_large: route.spec().is_large, body: held, ..Takes::default() };
        settle(&event_loop, answer, &mut takes).await
    };
    let answered = AssertUnwindSafe(answered).catch_unwind().await;
    let is_last = !rest.passed(waits).await;
    finish(&event_loop, asked, is_last, answered.unwrap_or_else(|_| Err(panicked())))
}

/// The caller of a request of whom this instance did not know whether they may come in: the next look tells.
async fn learn<A: Application>(
    event_loop: &EventLoop<A>,
    route: A::Route,
    request: &Request,
) -> Result<Option<Caller>, Error> {
    let asked_at = Instant::now();
    let deadline = tokio::time::Instant::from_std(asked_at) + Duration::from_millis(LOOK_WAIT_MS_MAX);
    let auth = &event_loop.chassis.auth;
    let looks = match route.spec().access {
        Access::Client(_) => &auth.revocations.clients.looks,
        _ => &auth.registrations.looks,
    };
    loop {
        let over = looks.over();
        // Where a look failed, or takes too long, they are as unknown as before.
        match identify(event_loop, route, request, request.headers.get(AUTHORIZATION), asked_at)? {
            Identity::Known(caller) => return Ok(caller),
            Identity::Unknown if looks.tried_since(asked_at) => break,
            Identity::Unknown => {}
        }
        if timeout_at(deadline, over).await.is_err() {
            break;
        }
    }
    Err(Error::Unavailable("who may come in could not be looked up".to_owned()))
}

/// The outcome of `work`, whatever happens.
fn guarded<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(panicked()))
}

fn panicked() -> Error {
    Error::Internal("the handler panicked".to_owned())
}

/// Lets a request in: well framed, for a route that there is, by somebody who may call it.
fn admit<A: Application>(
    event_loop: &EventLoop<A>,
    noted: &Noted<'_>,
    version: Version,
    route: Result<A::Route, Miss>,
    request: &Request,
) -> Result<(A::Route, Identity), Error> {
    if request.uri.path_and_query().is_some_and(|url| url.as_str().len() > URL_BYTES_MAX) {
        return Err(Error::Refused(StatusCode::URI_TOO_LONG, "URL too long".into()));
    }
    noted.check(version, &request.uri)?;
    let route = route.map_err(|miss| missed(&event_loop.chassis, request, miss))?;
    Ok((route, identify(event_loop, route, request, noted.authorization, request.came)?))
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

/// What a request takes of the memory while it is worked on.
#[derive(Default)]
struct Takes {
    is_large: bool,
    /// Its body, until the work on it is done.
    body: body::Held,
    /// A large answer, until it is made and weighed.
    making: Option<Making>,
}

/// Waits for an answer.
async fn settle<A: Application>(
    event_loop: &EventLoop<A>,
    answer: Answer,
    takes: &mut Takes,
) -> Result<Response, Error> {
    let mut answer = answer;
    loop {
        answer = match answer {
            // A future has no request whose header map it could have filled.
            Answer::Reused(json) => return Ok(response::json_text(StatusCode::OK, json)),
            Answer::Now(result) => return *result,
            Answer::Held(waiting) => waiting.await,
            Answer::Detached(work) => return detached(event_loop, work, takes).await,
        }
    }
}

/// Runs work that waits for the database on the background runtime. It does not notice when the client hangs
/// up: nothing is left half done, and no connection to the database is left with an answer unread.
async fn detached<A: Application>(
    event_loop: &EventLoop<A>,
    work: Later,
    takes: &mut Takes,
) -> Result<Response, Error> {
    let chassis = &event_loop.chassis;
    let Ok(place) = chassis.detached.clone().try_acquire_owned() else {
        return Err(Error::busy("the queue of requests under way"));
    };
    let (body, answers) = (std::mem::take(&mut takes.body), takes.is_large.then(|| chassis.answers.clone()));
    let task = chassis.background.spawn(async move {
        let (_place, _body) = (place, body);
        let work = async {
            let Some(answers) = answers else { return (work.await, None) };
            match answers.place().await {
                Ok(making) => (work.await, Some(making)),
                Err(busy) => (Err(busy), None),
            }
        };
        timeout(Duration::from_millis(DETACHED_MS_MAX), work).await
    });
    match task.await {
        Ok(Ok((result, making))) => {
            takes.making = making;
            result
        }
        Ok(Err(_)) => Err(Error::Unavailable("the work took too long".to_owned())),
        Err(ended) if ended.is_cancelled() => {
            Err(Error::Unavailable("the process stopped before the work was done".to_owned()))
        }
        Err(_) => Err(panicked()),
    }
}

/// The route of a path whose slashes are repeated or end it: Rails passes over these. Only a path that names
/// nothing as it stands is looked at for them.
fn find_again<A: Application>(
    chassis: &Chassis<A>,
    method: &Method,
    uri: &mut Uri,
    miss: Miss,
) -> Result<A::Route, Miss> {
    let plain = if miss == Miss::Path { head::without_extra_slashes(uri) } else { None };
    *uri = plain.ok_or(miss)?;
    chassis.application.find(method, uri.path())
}

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
    asked: Asked,
    is_last: bool,
    result: Result<Response, Error>,
) -> Response {
    // After an unclear head, or a body that was not read, nobody knows where the next request begins.
    let is_last = is_last || matches!(result, Err(Error::Malformed(..)));
    let weighed = result.and_then(|response| event_loop.chassis.answers.weigh(response));
    let mut response = weighed.unwrap_or_else(|error| {
        let cause = error.cause();
        let response = error.into_response();
        if let Some(cause) = cause
            && event_loop.chassis.log_budget.spend()
        {
            let request_id = asked.id.to_str().unwrap_or_default();
            let route = event_loop.chassis.http.route(asked.slot);
            let status = response.status().as_u16();
            let duration_ms = asked.begun.elapsed().as_secs_f64() * 1e3;
            tracing::error!(request_id, route, status, duration_ms, cause, "request failed");
        }
        response
    });
    complete(event_loop, asked, is_last, &mut response);
    response
}

/// Adds what every answer has, in place, and counts it.
fn complete<A: Application>(event_loop: &EventLoop<A>, asked: Asked, is_last: bool, response: &mut Response) {
    if asked.is_head {
        let length = response.body().size_hint().exact();
        if let Some(length) = length {
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        *response.body_mut() = Body::empty();
    }
    let headers = response.headers_mut();
    headers.append(REQUEST_ID, asked.id);
    if asked.is_foreign {
        headers.remove(SET_COOKIE);
    }
    Cors::mark(headers, asked.origin);
    if is_last || event_loop.chassis.drain.stage() != Stage::Serving {
        headers.insert(CONNECTION, CLOSE);
    }
    event_loop.metrics().observe(asked.slot, response.status().as_u16(), asked.begun.elapsed());
}

/// Whether a request is from a page that is neither listed nor the service's own. `known` is its origin if it is
/// listed, which settles it but for a request of several.
fn is_foreign(cors: &Cors, noted: &Noted<'_>, known: Option<&HeaderValue>, headers: &HeaderMap) -> bool {
    let is_settled = noted.origins == 0 || (noted.origins == 1 && known.is_some());
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
