//! Whose fault is it? The one place that turns errors into answers.
//!
//! What the client did wrong is told to it and counted, not logged. What we or the database did wrong is
//! answered by a constant text, and its cause is logged once, by the pipeline, with the request's id.

use std::borrow::Cow;
use std::time::Duration;

use http::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, StatusCode};
use serde_json::json;
use tokio::task::JoinError;

use crate::db::{self, AsConflict};

use super::response::{self, Response};

/// Why a request was not answered as asked.
#[derive(Debug)]
pub enum Error {
    /// A message whose bounds or whose host are unclear: the connection is closed after the answer.
    Malformed(StatusCode, &'static str),
    /// The client's mistake: status and the text of `{"error": …}`.
    Refused(StatusCode, Cow<'static, str>),
    /// 422 with all the texts of `{"errors": […]}`.
    Invalid(Vec<Cow<'static, str>>),
    /// Too much of something for now, by name: 503 with `Retry-After`.
    Busy(&'static str),
    /// 429: this client does too much of something, and may go on after so long.
    TooMany(Duration),
    /// The database's fault: 503 when it is away, 500 when a statement does not fit.
    Database(db::Error),
    /// Something else we need is away, such as the picture store: 503; the text is for the log.
    Unavailable(String),
    /// Our mistake: 500; the text is for the log.
    Internal(String),
    /// An answer of the service's own making, such as OAuth2's errors.
    Answer(Box<Response>),
}

impl Error {
    /// A handler panicked: a mistake of ours.
    pub(super) fn panicked() -> Self {
        Self::Internal("the handler panicked".to_owned())
    }

    /// 400
    pub const fn bad_request(text: &'static str) -> Self {
        Self::Refused(StatusCode::BAD_REQUEST, Cow::Borrowed(text))
    }

    /// 401
    pub const fn unauthorized(text: &'static str) -> Self {
        Self::Refused(StatusCode::UNAUTHORIZED, Cow::Borrowed(text))
    }

    /// 401 where the caller is nobody
    pub const fn unauthenticated() -> Self {
        Self::unauthorized("Authentication required")
    }

    /// 403
    pub const fn forbidden(text: &'static str) -> Self {
        Self::Refused(StatusCode::FORBIDDEN, Cow::Borrowed(text))
    }

    /// 404
    pub const fn not_found(text: &'static str) -> Self {
        Self::Refused(StatusCode::NOT_FOUND, Cow::Borrowed(text))
    }

    /// 409
    pub const fn conflict(text: &'static str) -> Self {
        Self::Refused(StatusCode::CONFLICT, Cow::Borrowed(text))
    }

    /// 413
    pub const fn too_large() -> Self {
        Self::Refused(StatusCode::PAYLOAD_TOO_LARGE, Cow::Borrowed("Request body too large"))
    }

    /// 422 with one text in `errors`.
    pub fn invalid(text: &'static str) -> Self {
        Self::Invalid(vec![Cow::Borrowed(text)])
    }

    /// 422 with one text in `error`.
    pub const fn unprocessable(text: &'static str) -> Self {
        Self::Refused(StatusCode::UNPROCESSABLE_ENTITY, Cow::Borrowed(text))
    }

    /// 503: `what` is full.
    pub const fn busy(what: &'static str) -> Self {
        Self::Busy(what)
    }

    /// The cause, where it is ours and belongs in the log.
    pub(super) fn cause(&self) -> Option<String> {
        match self {
            Self::Database(error) => Some(error.to_string()),
            Self::Unavailable(cause) | Self::Internal(cause) => Some(cause.clone()),
            Self::Busy(what) => Some(format!("{what} is full")),
            _ => None,
        }
    }

    /// The answer.
    #[must_use]
    pub fn into_response(self) -> Response {
        match self {
            Self::Malformed(status, text) => response::json(status, &json!({ "error": text })),
            Self::Refused(StatusCode::UNAUTHORIZED, text) => {
                let answer = response::json(StatusCode::UNAUTHORIZED, &json!({ "error": text }));
                response::with_header(answer, WWW_AUTHENTICATE, CHALLENGE)
            }
            Self::Refused(status, text) => response::json(status, &json!({ "error": text })),
            Self::Invalid(texts) => {
                response::json(StatusCode::UNPROCESSABLE_ENTITY, &json!({ "errors": texts }))
            }
            Self::Busy(_) => later(UNAVAILABLE),
            Self::TooMany(wait) => too_many(wait),
            Self::Database(db::Error::Duplicate(_) | db::Error::Internal(_)) | Self::Internal(_) => {
                response::json_text(StatusCode::INTERNAL_SERVER_ERROR, r#"{"error":"Internal server error"}"#)
            }
            Self::Database(_) | Self::Unavailable(_) => later(UNAVAILABLE),
            Self::Answer(response) => *response,
        }
    }
}

/// When to come back is known, and said: whole seconds, rounded up, so that who waits them is let in.
fn too_many(wait: Duration) -> Response {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let answer = response::json_text(StatusCode::TOO_MANY_REQUESTS, r#"{"error":"Too many requests"}"#);
    response::with_header(answer, RETRY_AFTER, HeaderValue::from(seconds.max(1)))
}

/// No 401 is without a challenge (RFC 9110 §15.5.2), and none of this scheme without a parameter (RFC 6750 §3). Browsers
/// show no window of their own for it, as they do for Basic.
const CHALLENGE: HeaderValue = HeaderValue::from_static(r#"Bearer realm="hyperdesk""#);

const UNAVAILABLE: &str = r#"{"error":"Service temporarily unavailable"}"#;

/// A 503 that asks to come back in some seconds, not all clients in the same one.
fn later(text: &'static str) -> Response {
    const SECONDS: [&str; 4] = ["1", "2", "3", "4"];
    let now = crate::clock::Timestamp::now().micros().unsigned_abs() as usize;
    let retry_after = HeaderValue::from_static(SECONDS[now % SECONDS.len()]);
    let answer = response::json_text(StatusCode::SERVICE_UNAVAILABLE, text);
    response::with_header(answer, RETRY_AFTER, retry_after)
}

/// The name of a header that is not in the standard list.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

impl From<db::Error> for Error {
    fn from(error: db::Error) -> Self {
        Self::Database(error)
    }
}

/// Work on another task that ended without an outcome: the process stops, or it panicked.
impl From<JoinError> for Error {
    fn from(ended: JoinError) -> Self {
        if ended.is_cancelled() {
            return Self::Unavailable("the process stopped before the work was done".to_owned());
        }
        Self::panicked()
    }
}

impl AsConflict for Error {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Database(error) if error.is_conflict())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_the_end_of_the_process_cuts_off_is_to_be_asked_for_again() {
        let cut_off = tokio::spawn(std::future::pending::<()>());
        cut_off.abort();
        let response = Error::from(cut_off.await.unwrap_err()).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(response.headers().contains_key(RETRY_AFTER));
        let panicked = tokio::spawn(async { panic!("as planned") });
        let response = Error::from(panicked.await.unwrap_err()).into_response();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
