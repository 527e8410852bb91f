//! HTTP for every service, knowing none: event loops, the life of a request, the admin port, the drain.
//!
//! - [`route`]: what a service says of its URLs. [`request`], [`response`], [`Error`]: what handlers get and give.
//! - [`text`]: what can be seen of what somebody wrote.
//! - `pipeline`: one request from head to answer. Read this first.
//! - `accept`: connections; `acceptor`, `syn`: how the kernel hands them over, and how many; `event_loop`: what one loop has;
//!   `lag`: when it is asked for more than it can do; `connection`: limits. `head`, `body`, `identity`, `cors`: steps.
//! - `unparsed`: the text of answers to what hyper hands to nobody.
//! - [`Background`]: work that waits for the database, apart from the event loops.
//! - `answers`: what answers take of the memory until clients have taken them.
//! - [`pages`]: files for browsers, with tags and packed. [`known`]: what they have already.
//! - [`list`]: lists that stay within the bytes of one answer.
//! - [`bearer`]: the part of `identity` that is for client programs.
//! - [`admin`]: metrics and health on a port of their own. [`drain`]: stopping without a failed request.

mod accept;
mod acceptor;
pub mod admin;
mod answers;
mod background;
pub mod bearer;
mod body;
mod connection;
pub mod cors;
pub mod drain;
mod error;
mod event_loop;
pub mod head;
mod identity;
pub mod known;
mod lag;
pub mod list;
pub mod pages;
mod pipeline;
pub mod request;
pub mod response;
pub mod route;
mod scratch;
mod syn;
pub mod text;
mod unparsed;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use http::Method;
use prometheus::{IntCounter, Registry};
use tokio::sync::Semaphore;

use crate::auth::Auth;
use crate::config::Config;
use crate::fair::budget::Budget;
use crate::metrics::{self, HttpCollector, HttpMetrics, RouteLabels};

pub use accept::{bind, start};
pub use answers::ANSWER_BYTES_MAX;
pub use background::{Background, DETACHED_MAX, DETACHED_MS_MAX};
pub use error::Error;
pub use request::Request;
pub use response::Response;

use answers::Answers;
use cors::Cors;
use drain::Drain;
use route::{Miss, Route};

/// A response that is still to come.
pub type PendingResponse = Pin<Box<dyn Future<Output = Result<Response, Error>> + Send>>;

/// How a request is answered.
pub enum Answer {
    /// 200 from memory, here and now, with this JSON, which must be small (16 KiB), and the headers of
    /// [`Request::reused`]: for polls. Small itself, because it is handed up from function to function.
    Reused(Bytes),
    /// From memory, here and now.
    Now(Box<Result<Response, Error>>),
    /// From memory, when something happens. Dropped when the client hangs up.
    Held(PendingResponse),
    /// By work on the [`Background`] runtime, which is done even when the client hangs up.
    Detached(PendingResponse),
}

impl Answer {
    /// An answer that is known already.
    #[must_use]
    pub fn now(result: Result<Response, Error>) -> Self {
        Self::Now(Box::new(result))
    }

    /// An answer to wait for on the event loop; the wait must not touch a database but by [`Background::run`].
    pub fn held(waiting: impl Future<Output = Result<Response, Error>> + Send + 'static) -> Self {
        Self::Held(Box::pin(waiting))
    }

    /// An answer by work on the background runtime.
    pub fn detached(work: impl Future<Output = Result<Response, Error>> + Send + 'static) -> Self {
        Self::Detached(Box::pin(work))
    }
}

/// What the chassis serves.
pub trait Application: Send + Sync + 'static {
    /// All its URLs.
    type Route: Route;

    /// The route of a method and a path.
    ///
    /// # Errors
    /// A [`Miss`] tells 404 from 405.
    fn find(&self, method: &Method, path: &str) -> Result<Self::Route, Miss>;

    /// Answers a request that may be made and whose body is there. What is answered later takes what it
    /// needs out of `request`.
    fn call(&self, route: Self::Route, request: &mut Request) -> Answer;
}

/// What the event loops share.
pub struct Chassis<A: Application> {
    application: A,
    auth: Arc<Auth>,
    cors: Cors,
    http: Arc<HttpMetrics>,
    background: Arc<Background>,
    bodies: Arc<Budget>,
    answers: Answers,
    drain: Arc<Drain>,
    trusted_proxy_hops: usize,
    connections_max: usize,
    /// Client connections of each event loop: open ones, and those on their way to it.
    open_per_loop: Vec<AtomicUsize>,
    refusals: Arc<Semaphore>,
    connections_refused: IntCounter,
    connections_abandoned: IntCounter,
    idle_closed: IntCounter,
    lagging_sweeps: IntCounter,
    accepting: acceptor::Metrics,
    accept_errors: IntCounter,
    log_budget: pipeline::LogBudget,
}

impl<A: Application> Chassis<A> {
    /// Puts an application on a chassis. Work that waits for the database runs on `background`.
    ///
    /// # Errors
    /// When a metric's name is taken: a mistake of ours.
    pub fn new(
        config: &Config,
        application: A,
        auth: Arc<Auth>,
        registry: &Registry,
        background: Arc<Background>,
        drain: Arc<Drain>,
    ) -> Result<Self, prometheus::Error> {
        let mut labels: Vec<RouteLabels> = A::Route::all()
            .map(|route| RouteLabels { method: route.spec().method, route: route.spec().label })
            .collect();
        labels.push(RouteLabels { method: "_OTHER", route: "_unmatched" });
        let http = Arc::new(HttpMetrics::new(labels, config.web_concurrency));
        registry.register(Box::new(HttpCollector(http.clone())))?;
        let counter = |name, help| metrics::counter(registry, name, help);
        Ok(Self {
            application,
            auth,
            cors: Cors::new(&config.frontend_origins),
            http,
            background,
            bodies: body::budget(registry)?,
            answers: Answers::new(registry)?,
            drain,
            trusted_proxy_hops: config.trusted_proxy_hops,
            connections_max: config.connections_max,
            open_per_loop: (0..config.web_concurrency).map(|_| AtomicUsize::new(0)).collect(),
            refusals: Arc::new(Semaphore::new(accept::REFUSALS_MAX)),
            connections_refused: counter(
                "http_connections_refused_total",
                "Connections turned away because all were in use.",
            )?,
            connections_abandoned: counter(
                "http_connections_abandoned_total",
                "Connections closed unread, because the client had left while the event loop lagged.",
            )?,
            idle_closed: counter(
                "http_connections_idle_closed_total",
                "Connections closed after ten idle seconds to make room, because all were in use.",
            )?,
            lagging_sweeps: counter(
                "http_lagging_sweeps_total",
                "Sweeps, four a second for each event loop, at which the loop lagged for a second or more.",
            )?,
            accepting: acceptor::Metrics::new(registry)?,
            accept_errors: counter("http_accept_errors_total", "Connections that could not be accepted.")?,
            log_budget: pipeline::LogBudget::new(),
        })
    }

    /// How far stopping is; to be told to stop.
    #[must_use]
    pub fn drain(&self) -> &Arc<Drain> {
        &self.drain
    }

    /// Client connections that are open, or accepted and about to be served.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.open_per_loop.iter().map(|open| open.load(Relaxed)).sum()
    }

    /// How many more there may be.
    fn room(&self) -> usize {
        self.connections_max.saturating_sub(self.connections())
    }

    /// Whether nothing is left that stopping would cut off: no connection, and no work whose client has left.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.connections() == 0 && self.background.is_idle()
    }

    fn unmatched_slot(&self) -> usize {
        self.http.routes() - 1
    }
}
