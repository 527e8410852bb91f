//! A handler that panics, a client that leaves, a stream: what the real services do seldom or never.

use std::time::Duration;

use crate::support::{Ending, Raw, eventually};

use super::SOON;
use super::lab::{BIG_BYTES, Lab, PIECE_PAUSE, PIECES};

#[tokio::test]
async fn a_panic_is_a_500_and_the_connection_and_the_process_go_on() {
    let lab = Lab::start();
    let client = lab.client();
    for path in ["/panic", "/panic-held", "/panic-detached"] {
        let answer = client.get(path).send().await.expect_status(500);
        assert_eq!(answer.text(), r#"{"error":"Internal server error"}"#, "{path}");
        assert!(answer.keeps_alive, "{path}");
        assert!(answer.header("x-request-id").is_some(), "{path}");
        let series = format!(r#"http_requests_total{{method="GET",route="{path}",status="500"}}"#);
        assert_eq!(lab.metric(&series), Some(1.0), "{path}");
    }
    client.get("/ok").send().await.expect_status(200);
    assert_eq!(lab.metric("http_requests_in_flight"), Some(0.0));
}

#[tokio::test]
async fn a_request_whose_client_leaves_is_no_longer_in_flight() {
    let lab = Lab::start();
    let mut waiting = Vec::new();
    for number in 0..20 {
        let mut raw = Raw::connect(lab.addr).await;
        raw.write("GET /never HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        waiting.push((number, raw));
    }
    eventually(SOON, || async { lab.metric("http_requests_in_flight") == Some(20.0) }).await;
    for (number, raw) in waiting {
        if number % 2 == 0 { raw.reset() } else { drop(raw) }
    }
    eventually(SOON, || async { lab.metric("http_requests_in_flight") == Some(0.0) }).await;
    eventually(SOON, || async { lab.metric("http_connections") == Some(0.0) }).await;
}

#[tokio::test]
async fn a_big_answer_arrives_whole_also_on_a_connection_that_closes() {
    let lab = Lab::start();
    for connection in ["keep-alive", "close"] {
        let answer = lab.client().get("/big").header("connection", connection).send().await;
        assert_eq!(answer.expect_status(200).body.len(), BIG_BYTES, "{connection}");
    }
    let body = vec![b'y'; 10 << 20];
    let answer = lab.client().post("/echo").body(body.clone()).send().await.expect_status(200);
    assert!(answer.body == body);
}

/// A stream is under way until its last piece, so closing waits for it; other connections are closed.
#[tokio::test]
async fn closing_lets_a_stream_end() {
    let lab = Lab::start();
    let client = lab.client();
    let drain = lab.chassis.drain();
    let mut idle = Raw::connect(lab.addr).await;
    let streamed = client.get("/stream").send();
    let stopping = async {
        eventually(SOON, || async { lab.chassis.connections() == 2 }).await;
        drain.run(10, false, || lab.chassis.connections() == 0).await;
    };
    let (answer, (), idle) = tokio::join!(streamed, stopping, idle.read_to_end(SOON));
    let expected: String = (0..PIECES).map(|number| format!("data: {number}\n\n")).collect();
    assert_eq!(answer.text(), expected);
    assert!(answer.took >= PIECE_PAUSE * 5);
    assert_eq!(idle, (Vec::new(), Ending::Eof));
}

/// What is accepted while closing is served: its client could not know.
#[tokio::test]
async fn a_connection_that_came_while_closing_is_answered() {
    let lab = Lab::start();
    let holder = lab.client();
    let held = tokio::spawn(async move { holder.get("/stream").send().await });
    eventually(SOON, || async { lab.chassis.connections() == 1 }).await;
    let mut late = Raw::connect(lab.addr).await;
    eventually(SOON, || async { lab.chassis.connections() == 2 }).await;
    let drain = lab.chassis.drain();
    let stopping = drain.run(10, false, || lab.chassis.connections() == 0);
    let asking = async {
        late.write("GET /ok HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let answer = late.read_response_within(Duration::from_secs(10)).await.unwrap();
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    };
    tokio::join!(stopping, asking);
    assert_eq!(held.await.unwrap().status, 200);
}
