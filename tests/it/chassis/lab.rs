//! A service that does on purpose what a good one never does, on the real chassis and a real port.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{Method, StatusCode};
use hyperdesk::auth::{Auth, registrations::Registrations, session::Revocations, token::Keys};
use hyperdesk::chassis::response::{self, Body, Response};
use hyperdesk::chassis::route::{self, Access, GET, Miss, POST, Spec, by_method};
use hyperdesk::chassis::{self, Answer, Application, Background, Chassis, Request};
use hyperdesk::config::Config;
use hyperdesk::tasks::Tasks;
use prometheus::Registry;
use strum::{EnumCount, EnumDiscriminants, EnumIter};

use crate::support::Client;
use crate::support::server::SECRET;

/// More than the kernel takes for a client that does not read.
pub const BIG_BYTES: usize = 32 * 1024 * 1024;
/// A piece of the stream that never pauses.
pub const FLOOD_PIECE_BYTES: usize = 64 * 1024;
/// Pieces of a stream, and the pause before each.
pub const PIECES: u64 = 5;
pub const PIECE_PAUSE: Duration = Duration::from_millis(300);

#[derive(Clone, Copy, Debug, EnumCount, EnumDiscriminants, EnumIter)]
pub enum Route {
    Ok,
    Big,
    Panic,
    PanicHeld,
    PanicDetached,
    Never,
    Stream,
    Flood,
    Echo,
}

impl route::Route for Route {
    hyperdesk::numbered!();

    fn spec(self) -> Spec {
        match self {
            Self::Ok => Spec::get("/ok", Access::Public),
            Self::Big => Spec::get("/big", Access::Public),
            Self::Panic => Spec::get("/panic", Access::Public),
            Self::PanicHeld => Spec::get("/panic-held", Access::Public),
            Self::PanicDetached => Spec::get("/panic-detached", Access::Public),
            Self::Never => Spec::get("/never", Access::Public),
            Self::Stream => Spec::get("/stream", Access::Public),
            Self::Flood => Spec::get("/flood", Access::Public),
            Self::Echo => Spec::post("/echo", Access::Public, 16 * 1024 * 1024),
        }
    }
}

struct Rude;

impl Application for Rude {
    type Route = Route;

    fn find(&self, method: &Method, path: &str) -> Result<Route, Miss> {
        let mut all = <Route as route::Route>::all();
        let found = all.find(|route| route::Route::spec(*route).label == path);
        let route = found.ok_or(Miss::Path)?;
        match route {
            Route::Echo => by_method(method, POST, &[(Method::POST, route)]),
            _ => by_method(method, GET, &[(Method::GET, route)]),
        }
    }

    fn call(&self, route: Route, request: &mut Request) -> Answer {
        let text = |bytes: Bytes| Ok(response::json_text(StatusCode::OK, bytes));
        match route {
            Route::Ok => Answer::now(text(Bytes::from_static(b"{}"))),
            Route::Big => Answer::now(text(vec![b'x'; BIG_BYTES].into())),
            Route::Panic => panic!("on purpose, at once"),
            Route::PanicHeld => Answer::Held(Box::pin(async { panic!("on purpose, held") })),
            Route::PanicDetached => Answer::detached(async { panic!("on purpose, detached") }),
            Route::Never => Answer::Held(Box::pin(std::future::pending())),
            Route::Stream => Answer::now(Ok(stream())),
            Route::Flood => Answer::now(Ok(flood())),
            Route::Echo => Answer::now(text(request.body.clone())),
        }
    }
}

fn stream() -> Response {
    let pieces = futures_util::stream::iter(0..PIECES).then(|number| async move {
        tokio::time::sleep(PIECE_PAUSE).await;
        Bytes::from(format!("data: {number}\n\n"))
    });
    Response::new(Body::Pieces(Box::pin(pieces)))
}

/// Pieces without end and without a pause.
fn flood() -> Response {
    let pieces = futures_util::stream::repeat_with(|| Bytes::from(vec![b'x'; FLOOD_PIECE_BYTES]));
    Response::new(Body::Pieces(Box::pin(pieces)))
}

/// A running one. Its event loop stays until the test process ends, as in the real server.
pub struct Lab {
    pub addr: SocketAddr,
    pub chassis: Arc<dyn Stoppable>,
    registry: Registry,
}

/// What a test asks of the chassis, whatever its service.
pub trait Stoppable: Send + Sync {
    fn drain(&self) -> Arc<hyperdesk::chassis::drain::Drain>;
    fn connections(&self) -> usize;
}

impl<A: Application> Stoppable for Chassis<A> {
    fn drain(&self) -> Arc<hyperdesk::chassis::drain::Drain> {
        Chassis::drain(self).clone()
    }

    fn connections(&self) -> usize {
        Chassis::connections(self)
    }
}

impl Lab {
    pub fn start() -> Lab {
        let vars = HashMap::from([
            ("WEB_CONCURRENCY".to_owned(), "1".to_owned()),
            ("DATABASE_URL".to_owned(), "mysql://nobody@127.0.0.1:1/none".to_owned()),
        ]);
        let config = Config::from_vars(&vars, &["lab"]).unwrap();
        let auth = Auth {
            keys: Keys::new(SECRET.as_bytes(), None).unwrap(),
            revocations: Revocations::new(),
            registrations: Registrations::new(),
            token_ttl_seconds: 60,
            production: false,
        };
        let registry = Registry::new();
        let background = Arc::new(Background::new(&registry).unwrap());
        let chassis =
            Chassis::new(&config, Rude, Arc::new(auth), &registry, background, Arc::default()).unwrap();
        let chassis = Arc::new(chassis);
        let listener = chassis::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = listener.local_addr().unwrap();
        chassis::start(&chassis, listener, 1, &Tasks::new(&registry).unwrap()).unwrap();
        Lab { addr, chassis, registry }
    }

    pub fn client(&self) -> Client {
        Client::new(self.addr)
    }

    pub fn metric(&self, series: &str) -> Option<f64> {
        let text = String::from_utf8(hyperdesk::metrics::render(&self.registry).unwrap()).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map(|value| value.parse().unwrap())
    }
}
