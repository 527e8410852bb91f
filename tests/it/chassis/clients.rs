//! Many clients: idle ones are cheap, and beyond the limit they are told so.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Ending, Raw, eventually};

use super::{SOON, builder, exchange, good_client_is_served, statuses};

const IDLE: usize = 10_000;
/// What one idle connection may cost in a debug build. hyper's read buffer alone has 8 kB once it is used.
const BYTES_EACH_MAX: u64 = 24 * 1024;

/// Opens connections; of every two, one asks once before it idles.
async fn open_idle(addr: std::net::SocketAddr, count: usize) -> Vec<TcpStream> {
    let open = |number: usize| async move {
        let mut stream = TcpStream::connect(addr).await.expect("one more connection");
        if number.is_multiple_of(2) {
            stream.write_all(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
            assert!(stream.read(&mut [0; 2_048]).await.unwrap() > 0);
        }
        stream
    };
    futures_util::stream::iter(0..count).map(open).buffer_unordered(100).collect().await
}

#[tokio::test]
async fn ten_thousand_idle_connections_are_kept_in_little_memory() {
    let limit = rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let count = IDLE.min(usize::try_from(limit).unwrap().saturating_sub(1_000));
    let desk = builder().start().await;
    good_client_is_served(&desk).await;
    let (rss_before, fds_before) = (desk.rss_bytes(), desk.open_fds());
    let begun = Instant::now();
    let idle = open_idle(desk.addr(), count).await;
    eventually(SOON, || async { desk.metric("http_connections").await >= Some(count as f64) }).await;
    let each = (desk.rss_bytes() - rss_before) / count as u64;
    println!("{count} idle connections, opened in {:?}: {each} bytes of memory each", begun.elapsed());
    assert!(each < BYTES_EACH_MAX, "{each} bytes each");

    // With nothing to do for them, the process does next to nothing.
    let (cpu, since) = (desk.cpu_time(), Instant::now());
    for _ in 0..20 {
        good_client_is_served(&desk).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let share = (desk.cpu_time() - cpu).as_secs_f64() / since.elapsed().as_secs_f64();
    println!("and {:.1} % of a core", share * 100.0);
    assert!(share < 0.2, "{share}");

    let rss_full = desk.rss_bytes();
    drop(idle);
    eventually(SOON, || async { desk.open_fds() <= fds_before + 5 }).await;
    let again = open_idle(desk.addr(), count).await;
    let growth = desk.rss_bytes().saturating_sub(rss_full);
    println!("a second time: {growth} bytes more in all");
    assert!(growth < rss_full / 4, "memory was not used again: {growth} bytes more than {rss_full}");
    drop(again);
    good_client_is_served(&desk).await;
}

#[tokio::test]
async fn beyond_connections_max_a_client_is_told_and_served_again_when_there_is_room() {
    let desk = builder().env("CONNECTIONS_MAX", "20").start().await;
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(Raw::connect(desk.addr()).await);
    }
    eventually(SOON, || async { desk.metric("http_connections").await == Some(20.0) }).await;
    for request in ["", "GET /health HTTP/1.1\r\nhost: a\r\n\r\n", &"x".repeat(100_000)] {
        let (answer, ending) = exchange(desk.addr(), request).await;
        assert_eq!((statuses(&answer), ending), (vec![503], Ending::Eof), "{} bytes", request.len());
        assert!(answer.contains("retry-after: ") && answer.contains("connection: close"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n{\"error\":\"Service temporarily unavailable\"}"), "{answer}");
    }
    assert_eq!(desk.metric("http_connections_refused_total").await, Some(3.0));
    let kept = &mut held[0];
    kept.write("GET /health HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert_eq!(kept.read_response().await.unwrap().status, 200, "those inside are served");
    drop(held);
    let served =
        || async { desk.client().get("/health").try_send().await.is_ok_and(|answer| answer.status == 200) };
    eventually(SOON, served).await;
    // A crowd at the door takes nothing from the process.
    let fds = desk.open_fds();
    let crowd = futures_util::stream::iter(0..2_000).map(|_| Raw::connect(desk.addr()));
    let crowd: Vec<Raw> = crowd.buffer_unordered(50).collect().await;
    assert!(desk.open_fds() < fds + 20 + 300, "{}", desk.open_fds());
    drop(crowd);
    eventually(SOON, served).await;
    eventually(SOON, || async { desk.open_fds() <= fds + 2 }).await;
}

#[tokio::test]
async fn who_does_nothing_makes_room_for_others_where_all_connections_are_in_use() {
    let desk = builder().env("CONNECTIONS_MAX", "20").start().await;
    let mut used = Raw::connect(desk.addr()).await;
    let mut idle = Vec::new();
    for _ in 0..19 {
        idle.push(Raw::connect(desk.addr()).await);
    }
    let told = exchange(desk.addr(), "").await.0;
    assert_eq!(statuses(&told), [503]);
    let (mut newcomers, ask) = (Vec::new(), "GET /health HTTP/1.1\r\nhost: a\r\n\r\n");
    let begun = Instant::now();
    while newcomers.len() < 5 {
        assert!(begun.elapsed() < SOON * 4, "{} of them are inside", newcomers.len());
        used.write(ask).await.unwrap();
        assert_eq!(used.read_response().await.unwrap().status, 200, "who asks all the while is kept");
        let mut newcomer = Raw::connect(desk.addr()).await;
        newcomer.write(ask).await.unwrap();
        if newcomer.read_response().await.unwrap().status == 200 {
            newcomers.push(newcomer);
        }
    }
    let closed = desk.metric("http_connections_idle_closed_total").await.unwrap();
    assert!((5.0..=19.0).contains(&closed), "{closed}");
    eventually(SOON, || async { desk.metric("http_connections").await == Some(25.0 - closed) }).await;
    for newcomer in &mut newcomers {
        newcomer.write(ask).await.unwrap();
        assert_eq!(newcomer.read_response().await.unwrap().status, 200, "and so is who came just now");
    }
}

/// Accepting and serving take turns, so that many turns pass until all of a crowd are inside.
#[tokio::test]
async fn of_a_crowd_that_comes_at_once_all_are_served_and_so_is_who_was_there_before() {
    let health = "GET /health HTTP/1.1\r\nhost: a\r\n\r\n";
    for loops in [1, 2] {
        let desk = builder().env("WEB_CONCURRENCY", loops).env("CONNECTIONS_MAX", "401").start().await;
        let mut kept = Raw::connect(desk.addr()).await;
        kept.write(health).await.unwrap();
        assert_eq!(kept.read_response().await.unwrap().status, 200);
        // They come while the process stands still: the kernel keeps them, with what they ask.
        desk.freeze();
        kept.write(health).await.unwrap();
        let mut crowd = Vec::new();
        for _ in 0..500 {
            let mut client = Raw::connect(desk.addr()).await;
            client.write(health).await.unwrap();
            crowd.push(client);
        }
        desk.thaw();
        assert_eq!(kept.read_response().await.unwrap().status, 200);
        for (number, client) in crowd.iter_mut().enumerate() {
            let expected = if number < 400 { 200 } else { 503 };
            assert_eq!(client.read_response().await.unwrap().status, expected, "client {number}");
        }
        let counted =
            (desk.metric("http_connections").await, desk.metric("http_connections_refused_total").await);
        assert_eq!(counted, (Some(401.0), Some(100.0)), "{loops} loops");
    }
}
