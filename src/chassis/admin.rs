//! The admin port: `/metrics`, `/live`, `/ready`. Apart from the service's port, so that a balancer never
//! shows it to the world and a flood there does not reach it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::response::{self, Response};
use super::route::GET;

/// Scrapers and probes at once.
const CONNECTIONS_MAX: usize = 64;
/// From a connection's begin, or the last answer, to the end of the next head.
const HEAD_MS_MAX: u64 = 75_000;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// What the port asks of the process.
pub trait Probe: Send + Sync + 'static {
    /// The whole exposition.
    fn metrics(&self) -> Result<Vec<u8>, String>;
    /// Whether requests should be sent here; else why not.
    fn ready(&self) -> Result<(), String>;
    /// Makes a background task panic, for a test: [`crate::tasks::Tasks::plant_panic`].
    #[cfg(debug_assertions)]
    fn plant_panic(&self, task: &str);
    /// Makes an event loop slow, for a test: [`crate::tasks::Tasks::plant_stall`].
    #[cfg(debug_assertions)]
    fn plant_stall(&self, thread: &str);
}

/// Serves the port until the process ends.
pub async fn serve(listener: Arc<TcpListener>, probe: Arc<dyn Probe>) -> Infallible {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // The semaphore is never closed, so there is always a place some time.
        let Ok(place) = room.clone().acquire_owned().await else { continue };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let probe = probe.clone();
        tokio::spawn(async move {
            let _place = place;
            let service = service_fn(|request: http::Request<Incoming>| {
                let response = answer(probe.as_ref(), request.method(), request.uri().path());
                async move { Ok::<_, Infallible>(response) }
            });
            let _ended = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_millis(HEAD_MS_MAX))
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn answer(probe: &dyn Probe, method: &Method, path: &str) -> Response {
    #[cfg(debug_assertions)]
    if let Some(task) = path.strip_prefix("/panic/") {
        probe.plant_panic(task);
        return plain(StatusCode::OK, "planted\n");
    }
    #[cfg(debug_assertions)]
    if let Some(thread) = path.strip_prefix("/stall/") {
        probe.plant_stall(thread);
        return plain(StatusCode::OK, "planted\n");
    }
    if !matches!(path, "/metrics" | "/live" | "/ready") {
        return plain(StatusCode::NOT_FOUND, "not found\n");
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        let refusal = plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
        return response::with_header(refusal, http::header::ALLOW, HeaderValue::from_static(GET));
    }
    match path {
        "/live" => plain(StatusCode::OK, "live\n"),
        "/ready" => match probe.ready() {
            Ok(()) => plain(StatusCode::OK, "ready\n"),
            Err(why) => plain(StatusCode::SERVICE_UNAVAILABLE, why),
        },
        _ => match probe.metrics() {
            Ok(text) => response::with_body(StatusCode::OK, TEXT, text),
            Err(error) => {
                tracing::error!(error, "the metrics could not be written");
                plain(StatusCode::INTERNAL_SERVER_ERROR, "error\n")
            }
        },
    }
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response {
    response::with_body(status, TEXT, text)
}
