//! Limits in time. One test, because they need real time and pass it together: the longest is the idle
//! connection, which must outlive a balancer's 60 s.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::support::{Ending, Hyperdesk, Raw, eventually};

use super::lab::Lab;
use super::{builder, good_client_is_served, statuses};

const SECOND: Duration = Duration::from_secs(1);
/// What a busy machine may add to a limit.
const SLACK: Duration = Duration::from_secs(3);
const ASK: &str = "GET /health HTTP/1.1\r\nhost: a\r\n\r\n";

/// How long the server put up with a client, and what it said.
struct Patience {
    took: Duration,
    said: Vec<u16>,
}

/// Sends a byte a second until the server has had enough. Begins when the first byte is out.
async fn dribble(addr: SocketAddr, at_once: &str, slowly: &str) -> Patience {
    let mut raw = Raw::connect(addr).await;
    raw.write(at_once).await.unwrap();
    let begun = Instant::now();
    for byte in slowly.bytes().cycle() {
        if raw.write([byte]).await.is_err() || !raw.stays_silent(SECOND).await {
            break;
        }
        assert!(begun.elapsed() < 60 * SECOND, "served for ever: {at_once}");
    }
    let took = begun.elapsed();
    let (said, _) = raw.read_to_end(20 * SECOND).await;
    Patience { took, said: statuses(&String::from_utf8_lossy(&said)) }
}

async fn slow_heads(addr: SocketAddr) {
    let cases = [
        ("", "GET /health-of-all-things-that-are-slow"),
        ("", "\r\n"),
        ("GET /health HTTP/1.1\r\nhost: a\r\nx-a: ", "abc"),
    ];
    for (first, rest) in cases {
        let Patience { took, said } = dribble(addr, first, rest).await;
        assert!(said.is_empty(), "{first}{rest}: {said:?}");
        assert!(took > 8 * SECOND && took < 10 * SECOND + SLACK, "{first}{rest}: {took:?}");
    }
}

/// After an answer as before one.
async fn slow_second_head(addr: SocketAddr) {
    let mut raw = Raw::connect(addr).await;
    raw.write(ASK).await.unwrap();
    raw.read_response().await.unwrap();
    raw.write("GET /he").await.unwrap();
    let begun = Instant::now();
    let (rest, _) = raw.read_to_end(10 * SECOND + SLACK).await;
    assert!(rest.is_empty() && begun.elapsed() > 8 * SECOND, "{:?}", begun.elapsed());
}

/// 10 s, and no more for a limit of 16 kB.
async fn slow_body(addr: SocketAddr) {
    let head = "POST /auth/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n";
    let Patience { took, said } = dribble(addr, head, "{ ").await;
    assert_eq!(said, [408]);
    assert!(took > 9 * SECOND && took < 12 * SECOND + SLACK, "{took:?}");
}

/// A body that is announced and never comes.
async fn no_body(addr: SocketAddr) {
    let mut raw = Raw::connect(addr).await;
    let head = "POST /auth/login HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    raw.write(head).await.unwrap();
    let begun = Instant::now();
    let answer = raw.read_response().await.unwrap();
    assert_eq!(answer.status, 408);
    assert!(begun.elapsed() < 12 * SECOND + SLACK, "{:?}", begun.elapsed());
}

/// Sends requests and reads no answer: cut at most 20 s after the server could write no more.
async fn never_reads(addr: SocketAddr) {
    let mut raw = Raw::connect_slow_reader(addr, 4_096).await;
    let many = ASK.repeat(1_000);
    let begun = Instant::now();
    // The server stops reading when it cannot write; then our writing stops too, until it cuts us.
    let cut = async { while raw.write(&many).await.is_ok() {} };
    tokio::time::timeout(28 * SECOND, cut).await.expect("cut within 20 s of its last byte");
    assert!(begun.elapsed() > 15 * SECOND, "{:?}", begun.elapsed());
}

/// One answer too big for the kernel's buffers, of which nothing or a byte a second is read: cut after 20 s.
async fn big_answer(reads: bool) {
    let lab = Lab::start();
    let mut raw = Raw::connect_slow_reader(lab.addr, 4_096).await;
    raw.write("GET /big HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let begun = Instant::now();
    eventually(SLACK, || async { lab.chassis.connections() == 1 }).await;
    while lab.chassis.connections() == 1 {
        assert!(begun.elapsed() < 20 * SECOND + SLACK, "still there, reads: {reads}");
        if reads {
            raw.read_exactly(1).await.unwrap();
        }
        tokio::time::sleep(SECOND / 2).await;
    }
    assert!(begun.elapsed() > 15 * SECOND, "{:?}, reads: {reads}", begun.elapsed());
}

/// An answer, or a stream, of which so many bytes a second are read: how long that is put up with, at most `limit`.
async fn read_at(path: &str, bytes_per_s: usize, limit: Duration) -> Duration {
    let lab = Lab::start();
    let mut raw = Raw::connect_slow_reader(lab.addr, 4_096).await;
    raw.write(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await.unwrap();
    let begun = Instant::now();
    eventually(SLACK, || async { lab.chassis.connections() == 1 }).await;
    while lab.chassis.connections() == 1 && begun.elapsed() < limit {
        if bytes_per_s > 0 && raw.read_exactly(bytes_per_s / 2).await.is_err() {
            break;
        }
        tokio::time::sleep(SECOND / 2).await;
    }
    begun.elapsed()
}

/// A trickle is no reading: with 8 kB a second the 20 s are over after 33.
async fn trickle() {
    let took = read_at("/big", 8_000, 60 * SECOND).await;
    assert!(took > 25 * SECOND && took < 45 * SECOND, "{took:?}");
}

/// Slow, but it goes on.
async fn slow_but_steady() {
    let took = read_at("/big", 40_000, 50 * SECOND).await;
    assert!(took >= 50 * SECOND, "cut after {took:?}");
}

/// A stream that is not read at all is cut like an answer.
async fn unread_stream() {
    let took = read_at("/flood", 0, 60 * SECOND).await;
    assert!(took > 15 * SECOND && took < 20 * SECOND + SLACK, "{took:?}");
}

/// Idle from the start, and after an answer: answered after 61 s, closed in order by 77 s.
async fn idle(addr: SocketAddr) {
    let mut waiting = Vec::new();
    for asks_first in [true, false] {
        waiting.push(async move {
            let mut used = Raw::connect(addr).await;
            let mut ends = Raw::connect(addr).await;
            if asks_first {
                for raw in [&mut used, &mut ends] {
                    raw.write(ASK).await.unwrap();
                    assert_eq!(raw.read_response().await.unwrap().status, 200);
                }
            }
            let begun = Instant::now();
            assert!(used.stays_silent(61 * SECOND).await, "closed after {:?}", begun.elapsed());
            used.write(ASK).await.unwrap();
            assert_eq!(used.read_response().await.unwrap().status, 200, "after 61 s");
            let (said, ending) =
                ends.read_to_end((77 * SECOND + SLACK).saturating_sub(begun.elapsed())).await;
            let took = begun.elapsed();
            assert!(said.is_empty() && ending == Ending::Eof && took > 70 * SECOND, "{took:?}");
        });
    }
    futures_util::future::join_all(waiting).await;
}

async fn good_client(desk: &Hyperdesk, until: Instant) {
    while Instant::now() < until {
        good_client_is_served(desk).await;
        tokio::time::sleep(SECOND / 5).await;
    }
}

#[tokio::test]
async fn slow_clients_are_cut_in_time_and_idle_ones_kept() {
    let desk = builder().start().await;
    let addr = desk.addr();
    let end = Instant::now() + 30 * SECOND;
    tokio::join!(
        idle(addr),
        slow_heads(addr),
        slow_second_head(addr),
        slow_body(addr),
        no_body(addr),
        never_reads(addr),
        big_answer(false),
        big_answer(true),
        trickle(),
        slow_but_steady(),
        unread_stream(),
        good_client(&desk, end),
    );
    assert_eq!(desk.metric("http_requests_in_flight").await, Some(0.0));
}
