//! Date and time: the three shapes of load.

use std::time::Duration;

use crate::support::{Client, Hyperdesk, Schema, Server, eventually};

const LONG: Duration = Duration::from_secs(20);

fn assert_shape(body: &serde_json::Value) {
    let keys: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["date", "time"]);
    let digits =
        |text: &str| text.bytes().map(|b| if b.is_ascii_digit() { '0' } else { char::from(b) }).collect();
    let (date, time): (String, String) =
        (digits(body["date"].as_str().unwrap()), digits(body["time"].as_str().unwrap()));
    assert_eq!((date.as_str(), time.as_str()), ("0000-00-00", "00:00:00.000000"));
}

#[tokio::test]
async fn what_was_stored_last_is_told_under_both_names() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let client = desk.client();
    let none = client.get("/latest_date_time").send().await.expect_status(404);
    assert_eq!(none.text(), r#"{"error":"No date and time stored yet"}"#);
    for prefix in ["", "/welcome/default"] {
        let now = client.get(&format!("{prefix}/date_time_only")).send().await.expect_status(200);
        assert_shape(&now.json());
        assert_eq!(now.header("content-type"), Some("application/json; charset=utf-8"));
        let stored = client.get(&format!("{prefix}/date_time")).send().await.expect_status(200);
        assert_shape(&stored.json());
        assert_eq!(stored.header("cache-control"), Some("no-store"), "a cache would swallow the write");
        for latest in ["/latest_date_time", "/welcome/default/latest_date_time"] {
            let latest = client.get(latest).send().await.expect_status(200);
            assert_eq!(latest.text(), stored.text());
        }
        let row: String = schema.query_one("SELECT CAST(MAX(at) AS CHAR) FROM date_times").await;
        let told = stored.json();
        assert_eq!(row, format!("{} {}", told["date"].as_str().unwrap(), told["time"].as_str().unwrap()));
    }
    assert_eq!(schema.query_one::<u64>("SELECT COUNT(*) FROM date_times").await, 2);
    let refused = client.post("/date_time").send().await.expect_status(405);
    assert_eq!(refused.header("allow"), Some("GET, HEAD, OPTIONS"));
}

#[tokio::test]
async fn without_a_database_the_present_is_still_told() {
    let server = Server::start().await;
    let schema = Schema::on(&server).await;
    let desk = Hyperdesk::builder(&schema).start().await;
    server.kill();
    let client = desk.client();
    assert_shape(&client.get("/date_time_only").send().await.expect_status(200).json());
    for path in ["/date_time", "/latest_date_time"] {
        let away = client.get(path).send().await.expect_status(503);
        assert_eq!(away.text(), r#"{"error":"Service temporarily unavailable"}"#);
        assert!(away.header("retry-after").is_some());
    }
}

#[tokio::test]
async fn the_table_keeps_only_the_newest() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    // As if 200,000 had been stored before; the ids in between are gone already.
    schema.execute("INSERT INTO date_times (id, at) VALUES (1, NOW(6)), (2, NOW(6)), (200000, NOW(6))").await;
    desk.client().get("/date_time").send().await.expect_status(200);
    let left: Vec<u64> = schema.query("SELECT id FROM date_times ORDER BY id").await;
    assert_eq!(left, [200_000, 200_001], "a process tidies up with its first moment");
}

/// A small cousin of `ab -n 40000 -c 200`, which is run by hand: the same concurrency, each connection kept.
#[tokio::test]
async fn two_hundred_callers_at_once_are_all_answered() {
    const CALLERS: usize = 200;
    const CALLS: usize = 10;
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    desk.client().get("/date_time").send().await.expect_status(200);
    for path in ["/date_time_only", "/date_time", "/latest_date_time"] {
        let addr = desk.addr();
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                tokio::spawn(async move {
                    let client = Client::new(addr);
                    for _ in 0..CALLS {
                        client.get(path).send().await.expect_status(200);
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.expect("every call is answered");
        }
    }
    let stored = schema.query_one::<usize>("SELECT COUNT(*) FROM date_times").await;
    assert_eq!(stored, CALLERS * CALLS + 1, "one row for each answer");
}

#[tokio::test]
async fn a_service_that_is_off_has_no_routes() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).env("SERVICES", "helpdesk").start().await;
    for path in ["/date_time_only", "/books", "/delivery-providers"] {
        desk.client().get(path).send().await.expect_status(404);
    }
    let desk = Hyperdesk::builder(&schema).env("SERVICES", "datetime").start().await;
    eventually(LONG, || async { desk.client().get("/date_time").send().await.status == 200 }).await;
    desk.client().get("/auth/me").send().await.expect_status(404);
    // A balancer asks every fleet, whatever it serves.
    desk.client().get("/health").send().await.expect_status(200);
}
