//! Stopping: nothing fails while there is time, and the end comes in time whatever the clients do.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Client, Ending, Hyperdesk, Raw, eventually};

use super::{SOON, builder};

const SECOND: Duration = Duration::from_secs(1);
const ASK: &str = "GET /health HTTP/1.1\r\nhost: a\r\n\r\n";

fn interrupt(desk: &Hyperdesk) {
    kill_process(Pid::from_raw(desk.pid()).unwrap(), Signal::INT).unwrap();
}

/// Clients who hold on: a slow reader of more answers than the kernel takes, idle ones, half a request, half a
/// body.
async fn rude_clients(desk: &Hyperdesk) -> Vec<Raw> {
    let mut idle = Raw::connect(desk.addr()).await;
    idle.write(ASK).await.unwrap();
    idle.read_response().await.unwrap();
    let fresh = Raw::connect(desk.addr()).await;
    let mut half_head = Raw::connect(desk.addr()).await;
    half_head.write("GET /health HT").await.unwrap();
    let mut half_body = Raw::connect(desk.addr()).await;
    half_body.write("POST /auth/login HTTP/1.1\r\nhost: a\r\ncontent-length: 99\r\n\r\n{").await.unwrap();
    let mut slow = Raw::connect_slow_reader(desk.addr(), 4_096).await;
    let many = ASK.repeat(1_000);
    let fill = async { while slow.write(&many).await.is_ok() {} };
    assert!(tokio::time::timeout(2 * SECOND, fill).await.is_err(), "the server waits for its reader");
    vec![idle, fresh, half_head, half_body, slow]
}

/// One byte a second, until the connection ends.
async fn read_slowly(mut raw: Raw) {
    while raw.read_exactly(1).await.is_ok() {
        tokio::time::sleep(SECOND).await;
    }
}

#[tokio::test]
async fn it_ends_in_time_whatever_the_clients_do() {
    let desk = builder().env("DRAIN_SECONDS", "3").start().await;
    let mut clients = rude_clients(&desk).await;
    let slow = tokio::spawn(read_slowly(clients.pop().unwrap()));
    let begun = Instant::now();
    desk.terminate();
    let status = desk.wait_exit(SOON).await;
    let took = begun.elapsed();
    assert_eq!(status.code(), Some(0));
    assert!(took < 5 * SECOND, "{took:?}");
    slow.abort();
    for mut raw in clients {
        raw.read_to_end(SECOND).await;
    }
}

#[tokio::test]
async fn ctrl_c_ends_at_once_where_nothing_is_under_way() {
    let desk = builder().start().await;
    let mut idle = Raw::connect(desk.addr()).await;
    idle.write(ASK).await.unwrap();
    idle.read_response().await.unwrap();
    let begun = Instant::now();
    interrupt(&desk);
    assert_eq!(desk.wait_exit(SOON).await.code(), Some(0));
    assert!(begun.elapsed() < 3 * SECOND, "{:?}", begun.elapsed());
    assert_eq!(idle.read_to_end(SECOND).await, (Vec::new(), Ending::Eof));
}

#[tokio::test]
async fn a_second_ctrl_c_waits_for_nobody() {
    let desk = builder().env("DRAIN_SECONDS", "60").start().await;
    let _clients = rude_clients(&desk).await;
    interrupt(&desk);
    eventually(SOON, || async { desk.logs().last(|line| line.message() == "stopping").is_some() }).await;
    let begun = Instant::now();
    interrupt(&desk);
    assert_eq!(desk.wait_exit(SOON).await.code(), Some(0));
    assert!(begun.elapsed() < 3 * SECOND, "{:?}", begun.elapsed());
}

/// What one client saw.
struct Asked {
    answers: u32,
    closes: u32,
}

/// Asks on kept and on fresh connections until the server no longer listens; every answer must come.
async fn ask_until_refused(client: Client, fresh: bool) -> Asked {
    let (mut answers, mut closes) = (0, 0);
    loop {
        let asker = Client::new(client.addr());
        let asked = if fresh { &asker } else { &client };
        match asked.get("/health").try_send().await {
            Ok(answer) => {
                assert_eq!(answer.status, 200);
                answers += 1;
                closes += u32::from(!answer.keeps_alive);
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                return Asked { answers, closes };
            }
            // Connecting in the very moment in which the listener closes: as good as a refusal.
            Err(error) if error.kind() == ErrorKind::ConnectionReset && closes > 0 => {
                return Asked { answers, closes };
            }
            Err(error) => panic!("after {answers} answers, fresh: {fresh}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Without any balancer: clients that obey `Connection: close` lose nothing. (They ask every few
/// milliseconds, so none is idle when the server begins to close; one that is may always lose that race.)
#[tokio::test]
async fn leaving_answers_everyone_and_asks_them_to_go() {
    let desk = builder().env("DRAIN_SECONDS", "4").start().await;
    let tasks: Vec<_> =
        (0..8).map(|number| tokio::spawn(ask_until_refused(desk.client(), number % 2 == 0))).collect();
    let asked = r#"http_requests_total{method="GET",route="/health",status="200"}"#;
    eventually(SOON, || async { desk.metric(asked).await >= Some(200.0) }).await;
    let admin = desk.admin_client();
    admin.get("/live").send().await.expect_status(200);
    let begun = Instant::now();
    desk.terminate();
    let draining = || async { admin.get("/ready").send().await.text() == "draining\n" };
    eventually(SOON, draining).await;
    assert_eq!(admin.get("/ready").send().await.status, 503);
    admin.get("/live").send().await.expect_status(200);
    let told = || async {
        let answer = desk.client().get("/health").send().await.expect_status(200);
        answer.header("connection") == Some("close")
    };
    eventually(SOON, told).await;
    for task in tasks {
        let Asked { answers, closes } = task.await.unwrap();
        assert!(
            answers > closes && closes > 0,
            "{answers} answers, {closes} of them the last on a connection"
        );
    }
    assert_eq!(desk.wait_exit(SOON).await.code(), Some(0));
    assert!(begun.elapsed() < 6 * SECOND, "{:?}", begun.elapsed());
}
