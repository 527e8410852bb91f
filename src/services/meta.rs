//! What every process answers, whichever services are on: whether it is there, and what it offers.
//!
//! They are found after every URL of the services, so a poll pays nothing for them.
#![allow(missing_docs)] // The variants are the rows of the URL table, with the same names.

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};
use strum::{EnumCount, EnumDiscriminants, EnumIter};

use crate::chassis::route::{self, Access, GET, Miss, Spec, by_method};
use crate::chassis::{Answer, Request, response};
use crate::clock::Timestamp;

/// A URL and what it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, EnumDiscriminants, EnumIter)]
pub enum Route {
    OpenApi,
    Health,
    Up,
}

/// The route of a method and a path.
pub(super) fn find(method: &Method, path: &str) -> Result<Route, Miss> {
    let get = |route| by_method(method, GET, &[(Method::GET, route)]);
    match path {
        "/openapi.json" => get(Route::OpenApi),
        "/health" => get(Route::Health),
        "/up" => get(Route::Up),
        _ => Err(Miss::Path),
    }
}

/// Answers from memory; `openapi` is the document.
pub(super) fn call(route: Route, openapi: &Bytes, request: &mut Request) -> Answer {
    match route {
        Route::OpenApi => Answer::now(Ok(response::json_text(StatusCode::OK, openapi.clone()))),
        Route::Health | Route::Up => health(request),
    }
}

/// Never touches the database: it tells a balancer that this process answers.
fn health(request: &mut Request) -> Answer {
    let timestamp = Timestamp::now().format();
    let mut text = BytesMut::with_capacity(64);
    text.extend_from_slice(b"{\"status\":\"ok\",\"timestamp\":\"");
    text.extend_from_slice(&timestamp);
    text.extend_from_slice(b"\"}");
    request.reused();
    Answer::Reused(text.freeze())
}

impl route::Route for Route {
    crate::numbered!();

    fn spec(self) -> Spec {
        match self {
            Self::OpenApi => Spec::get("/openapi.json", Access::Public),
            Self::Health => Spec::get("/health", Access::Public),
            Self::Up => Spec::get("/up", Access::Public),
        }
    }
}
