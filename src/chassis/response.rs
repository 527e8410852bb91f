//! What is sent back. One body type: whole in memory, or a stream of pieces.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use http_body::{Frame, SizeHint};
use serde::Serialize;

/// An answer on its way to the client.
pub type Response = http::Response<Body>;

/// Pieces that become ready over time, such as server-sent events.
pub type Pieces = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// The body of a [`Response`].
pub enum Body {
    /// The whole body; `None` where it is empty, or hyper has taken it.
    Whole(Option<Bytes>),
    /// Pieces; the connection counts as busy until the last.
    Pieces(Pieces),
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole(bytes) => f.debug_tuple("Whole").field(bytes).finish(),
            Self::Pieces(_) => f.write_str("Pieces"),
        }
    }
}

impl Body {
    /// No body.
    #[must_use]
    pub const fn empty() -> Self {
        Self::Whole(None)
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Whole((!bytes.is_empty()).then_some(bytes))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Pieces(pieces) => {
                pieces.as_mut().poll_next(cx).map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Pieces(_) => SizeHint::default(),
        }
    }
}

/// `application/json`
pub const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// An answer with this body, its type named.
#[must_use]
pub fn with_body(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// An answer whose JSON text is there already.
#[must_use]
pub fn json_text(status: StatusCode, text: impl Into<Bytes>) -> Response {
    with_body(status, JSON, text)
}

/// `value` as JSON.
#[must_use]
pub fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(text) => json_text(status, text),
        Err(error) => {
            super::Error::Internal(format!("an answer could not be written: {error}")).into_response()
        }
    }
}

/// 200 and `value` as JSON.
#[must_use]
pub fn ok(value: &impl Serialize) -> Response {
    json(StatusCode::OK, value)
}

/// 201 and `value` as JSON.
#[must_use]
pub fn created(value: &impl Serialize) -> Response {
    json(StatusCode::CREATED, value)
}

/// An answer without a body.
#[must_use]
pub fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// 200 with constant JSON, in the header map that the request came in: no allocation of its own.
#[must_use]
pub fn reusing(mut headers: HeaderMap, text: Bytes) -> Response {
    reuse(&mut headers);
    whole(headers, text)
}

/// Turns a request's header map into that of a JSON answer, so that none has to be allocated.
pub(super) fn reuse(headers: &mut HeaderMap) {
    headers.clear();
    headers.append(CONTENT_TYPE, JSON);
}

/// 200 with these headers and this body.
pub(super) fn whole(headers: HeaderMap, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    // The map that is replaced is new and owns nothing: dropping it would only take its time.
    std::mem::forget(std::mem::replace(response.headers_mut(), headers));
    response
}

/// Sets one header of an answer.
#[must_use]
pub fn with_header(mut response: Response, name: HeaderName, value: HeaderValue) -> Response {
    response.headers_mut().insert(name, value);
    response
}

/// Forbids caches to keep an answer.
#[must_use]
pub fn no_store(response: Response) -> Response {
    with_header(response, CACHE_CONTROL, HeaderValue::from_static("no-store"))
}
