//! More than an event loop can do. `/stall/<loop>` of the admin port, which debug builds have, makes one slow: each
//! turn of it takes 20 ms, for 3 s, and a crowd asks for more than is served in so long turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::task::JoinSet;

use crate::support::{Ending, Hyperdesk, Raw, eventually};

use super::{SOON, builder, good_client_is_served};

/// More than are served in a second.
const CROWD: usize = 1_000;
/// The longest pause of one of them, after its answer.
const PAUSE_MS_MAX: u64 = 800;
/// No database is needed to answer it.
const REQUEST: &str = "GET /nothing HTTP/1.1\r\nhost: a\r\norigin: http://localhost:3000\r\n\r\n";
const HEALTH: &str = "GET /health HTTP/1.1\r\nhost: a\r\n\r\n";
/// A long time for an answer: the machine is busy besides.
const PATIENCE: Duration = Duration::from_secs(60);

async fn start(loops: usize) -> Hyperdesk {
    let desk = builder().env("WEB_CONCURRENCY", loops).env("FRONTEND_URL", "http://localhost:3000");
    desk.start().await
}

async fn stalled() -> Hyperdesk {
    let desk = start(1).await;
    good_client_is_served(&desk).await;
    desk
}

async fn stall(desk: &Hyperdesk, name: &str) {
    desk.admin_client().get(&format!("/stall/{name}")).send().await.expect_status(200);
}

async fn shed(desk: &Hyperdesk, reason: &str) -> f64 {
    desk.metric(&format!(r#"requests_shed_total{{reason="{reason}"}}"#))
        .await
        .expect("it is counted from the start")
}

/// Clients who ask again and again on connections of their own, each until `enough`, and at the end once more.
struct Crowd {
    tasks: JoinSet<()>,
    enough: Arc<AtomicBool>,
    refused: Arc<AtomicU64>,
}

impl Crowd {
    fn start(desk: &Hyperdesk) -> Self {
        let (mut tasks, enough, refused) = (JoinSet::new(), Arc::default(), Arc::default());
        for _ in 0..CROWD {
            let (addr, enough, refused) = (desk.addr(), Arc::clone(&enough), Arc::clone(&refused));
            tasks.spawn(async move {
                let mut client = Raw::connect(addr).await;
                let mut is_last = false;
                while !is_last {
                    let pause = Duration::from_millis(fastrand::u64(0..PAUSE_MS_MAX));
                    tokio::time::sleep(pause).await;
                    is_last = AtomicBool::load(&enough, Relaxed);
                    client.write(REQUEST).await.unwrap();
                    let answer =
                        client.read_response_within(PATIENCE).await.expect("an answer that can be read");
                    assert!(answer.keeps_alive, "{answer:?}");
                    assert!(answer.header("x-request-id").is_some(), "{answer:?}");
                    let origin = answer.header("access-control-allow-origin");
                    assert_eq!(origin, Some("http://localhost:3000"), "a page can read it");
                    if answer.status == 503 {
                        AtomicU64::fetch_add(&refused, 1, Relaxed);
                        let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
                        assert!((1..=4).contains(&seconds), "{seconds}");
                        assert_eq!(answer.text(), r#"{"error":"Service temporarily unavailable"}"#);
                    } else {
                        assert_eq!(answer.status, 404);
                    }
                }
            });
        }
        Self { tasks, enough, refused }
    }

    /// Everybody is answered, and goes. How many refusals they read.
    async fn finish(self) -> u64 {
        self.enough.store(true, Relaxed);
        self.tasks.join_all().await;
        self.refused.load(Relaxed)
    }
}

#[tokio::test]
async fn some_are_told_to_come_again_on_a_connection_that_stays_and_the_others_are_answered() {
    let desk = stalled().await;
    let crowd = Crowd::start(&desk);
    let is_refusing = || async {
        stall(&desk, "loop-0").await;
        shed(&desk, "refused").await >= 3.0
    };
    eventually(PATIENCE, is_refusing).await;
    let read = crowd.finish().await;
    assert_eq!(read as f64, shed(&desk, "refused").await, "each of them was read");
    let refused =
        desk.metric(r#"http_requests_total{method="_OTHER",route="_unmatched",status="503"}"#).await;
    assert_eq!(refused, Some(read as f64));
    assert!(desk.logs().last(|line| line.message() == "request failed").is_none(), "none is logged");
    good_client_is_served(&desk).await;
}

#[tokio::test]
async fn health_is_answered_throughout() {
    let desk = stalled().await;
    let mut probe = Raw::connect(desk.addr()).await;
    let crowd = Crowd::start(&desk);
    let mut probed = 0;
    while probed < 20 || shed(&desk, "refused").await < 3.0 {
        stall(&desk, "loop-0").await;
        // A balancer's probe keeps its connection, or makes a new one.
        let mut new = Raw::connect(desk.addr()).await;
        for probe in [&mut probe, &mut new] {
            probe.write(HEALTH).await.unwrap();
            assert_eq!(probe.read_response_within(PATIENCE).await.unwrap().status, 200);
            probed += 1;
        }
    }
    crowd.finish().await;
}

#[tokio::test]
async fn who_has_left_is_not_worked_for() {
    let desk = stalled().await;
    let crowd = Crowd::start(&desk);
    let leave = || async {
        stall(&desk, "loop-0").await;
        let clients = futures_util::stream::iter(0..100).map(|_| async {
            let mut client = Raw::connect(desk.addr()).await;
            for _ in 0..2 {
                client.write(REQUEST).await.unwrap();
                client.read_response_within(PATIENCE).await.unwrap();
            }
            client.write(REQUEST).await.unwrap();
            let _gives_up = tokio::time::timeout(Duration::from_millis(100), client.read_response()).await;
        });
        clients.buffer_unordered(100).collect::<Vec<()>>().await;
        shed(&desk, "gone").await > 0.0
    };
    eventually(PATIENCE, leave).await;
    crowd.finish().await;
    // Nothing is left of them.
    eventually(SOON, || async { desk.metric("http_connections").await <= Some(1.0) }).await;
    good_client_is_served(&desk).await;
}

#[tokio::test]
async fn a_loop_that_has_too_much_to_do_is_spared_new_connections() {
    let desk = start(2).await;
    let crowd = Crowd::start(&desk);
    let is_refusing = || async {
        stall(&desk, "loop-1").await;
        shed(&desk, "refused").await >= 3.0
    };
    eventually(PATIENCE, is_refusing).await;
    for _ in 0..20 {
        stall(&desk, "loop-1").await;
        good_client_is_served(&desk).await;
    }
    crowd.finish().await;
}

/// More clients than are told at once: the others wait in the kernel's queue until they can be.
#[tokio::test]
async fn each_of_a_crowd_beyond_connections_max_can_read_that_there_is_no_room() {
    let desk = builder().env("CONNECTIONS_MAX", "5").start().await;
    let inside = futures_util::stream::iter(0..5).then(|_| Raw::connect(desk.addr()));
    let inside: Vec<Raw> = inside.collect().await;
    eventually(SOON, || async { desk.metric("http_connections").await == Some(5.0) }).await;
    let crowd = futures_util::stream::iter(0..600).then(|_| Raw::connect(desk.addr()));
    let crowd: Vec<Raw> = crowd.collect().await;
    for mut client in crowd {
        let (answer, ending) = client.read_to_end(PATIENCE).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: "), "{answer}");
        assert_eq!(ending, Ending::Eof);
    }
    drop(inside);
    let served =
        || async { desk.client().get("/health").try_send().await.is_ok_and(|answer| answer.status == 200) };
    eventually(SOON, served).await;
}
