//! An idle poll allocates nothing, not even what hyper does for a constant answer: counted, on one event loop,
//! against a bare hyper service.

#![allow(unsafe_code, reason = "a counting allocator cannot be written without")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "it/support/mod.rs"]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyperdesk::auth::registrations::Registrations;
use hyperdesk::auth::session::Revocations;
use hyperdesk::auth::token::{Claims, Keys, SessionId};
use hyperdesk::auth::{Auth, token};
use hyperdesk::chassis::drain::Drain;
use hyperdesk::chassis::route::Miss;
use hyperdesk::chassis::{Answer, Application, Background, Chassis, Request, bind, start};
use hyperdesk::clock::Timestamp;
use hyperdesk::config::Config;
use hyperdesk::db::{Db, DbMetrics, migrations};
use hyperdesk::feed::Cursor;
use hyperdesk::feed::window::Position;
use hyperdesk::service::Context;
use hyperdesk::services::{self, Services};
use hyperdesk::tasks::Tasks;
use prometheus::Registry;
use support::Schema;

thread_local! {
    /// Whether this thread is the event loop.
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// Counts what the event loop allocates or enlarges.
struct Counting;

fn count() {
    // A thread that is ending has no place for the flag any more.
    if COUNTED.try_with(Cell::get).unwrap_or(false) {
        ALLOCATIONS.fetch_add(1, Relaxed);
    }
}

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// All services, on a thread that counts.
struct Marked(Services);

impl Application for Marked {
    type Route = services::Route;

    fn find(&self, method: &Method, path: &str) -> Result<services::Route, Miss> {
        COUNTED.set(true);
        self.0.find(method, path)
    }

    fn call(&self, route: services::Route, request: &mut Request) -> Answer {
        self.0.call(route, request)
    }
}

const USER: u64 = 7;
const WARM: usize = 200;
const POLLS: usize = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_idle_poll_allocates_nothing_of_its_own() {
    let schema = Schema::fresh().await;
    let vars = HashMap::from([
        ("DATABASE_URL".to_owned(), schema.url()),
        ("WEB_CONCURRENCY".to_owned(), "1".to_owned()),
    ]);
    let config = Arc::new(Config::from_vars(&vars, services::NAMES).unwrap());
    let registry = Registry::new();
    let tasks = Tasks::new(&registry).unwrap();
    let db = Arc::new(Db::new(&config, DbMetrics::new(&registry).unwrap(), &tasks).unwrap());
    migrations::apply(&db).await.unwrap();
    // As if the feed had been there for a while.
    schema.execute("UPDATE feed_head SET at = at - INTERVAL 1 HOUR").await;
    let user = "INSERT INTO users (id, username, password_digest, created_at, updated_at) VALUES";
    schema.execute(format!("{user} ({USER}, 'u', 'x', NOW(6), NOW(6))")).await;
    let keys = Keys::new(b"it-secret", None).unwrap();
    let token = keys.sign(&session());
    let auth = Arc::new(Auth {
        keys,
        revocations: Revocations::new(),
        registrations: Registrations::new(),
        token_ttl_seconds: 60,
        production: false,
    });
    let drain = Arc::new(Drain::default());
    let background = Arc::new(Background::new(&registry).unwrap());
    let context = Context::new(
        config.clone(),
        db,
        auth.clone(),
        registry.clone(),
        drain.clone(),
        tasks.clone(),
        background.clone(),
    );
    let services = Marked(Services::new(&context).unwrap());
    let chassis = Arc::new(Chassis::new(&config, services, auth, &registry, background, drain).unwrap());
    let listener = bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = listener.local_addr().unwrap();
    start(&chassis, listener, 1, &tasks).unwrap();

    let bare_address = serve_bare();
    let since = Timestamp::now();
    let began: i64 =
        schema.query_one("SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', at) FROM feed_head").await;
    let cursor = Cursor::new(Position { seq: 0, at: Timestamp::from_micros(began) }, USER).text();
    let cursor = std::str::from_utf8(&cursor).unwrap();
    for path in [
        format!("/api/conversations/updates?since={since}"),
        format!("/api/messages/updates?since={since}"),
        format!("/api/expert-queue/updates?since={since}"),
        format!("/api/updates?cursor={cursor}"),
    ] {
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost:3000\r\n\
             Authorization: Bearer {token}\r\n\r\n"
        );
        let counted = move |address| count_polls(address, &head);
        let asked = tokio::task::spawn_blocking(move || (counted(address), counted(bare_address)));
        let (ours, bare) = asked.await.unwrap();
        println!("{path}: {ours} allocations for {POLLS} idle polls, bare hyper {bare}");
        // Request ids and cursors are cut from blocks of 32 KiB: one allocation for hundreds of polls. Bare hyper
        // makes a new header map for each answer, we put ours into the one that the request came in.
        assert!(
            ours <= POLLS as u64 / 100 && ours < bare,
            "{path}: {ours} allocations for {POLLS} idle polls, bare hyper {bare}"
        );
    }
}

fn session() -> Claims {
    let now = Timestamp::now().unix_seconds();
    let session = SessionId::from_bytes([7; 16]);
    Claims {
        user_id: USER,
        session,
        expires_at: now + token::LEEWAY_SECONDS + 3_600,
        issued_at: Some(now),
        user_created_at: None,
    }
}

/// What the loop at `address` allocates for so many idle polls.
fn count_polls(address: SocketAddr, head: &str) -> u64 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut before = 0;
    for poll in 0..WARM + POLLS {
        if poll == WARM {
            before = ALLOCATIONS.load(Relaxed);
        }
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = [0; 4_096];
        let mut length = 0;
        // `[]`, or the object of a cursor poll; no header ends so.
        while !answer[..length].ends_with(b"\r\n\r\n[]") && !answer[..length].ends_with(b"}") {
            let read = stream.read(&mut answer[length..]).unwrap();
            assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&answer[..length]));
            length += read;
            let is_ok = length < 12 || answer.starts_with(b"HTTP/1.1 200");
            assert!(is_ok, "{}", String::from_utf8_lossy(&answer[..length]));
        }
    }
    ALLOCATIONS.load(Relaxed) - before
}

/// The floor: one event loop on a thread of its own, hyper, a constant answer.
fn serve_bare() -> SocketAddr {
    let listener = bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        COUNTED.set(true);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let service = service_fn(|_request| async {
                        Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from_static(b"[]"))))
                    });
                    let _ended = http1::Builder::new()
                        .header_read_timeout(None)
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
    });
    address
}
