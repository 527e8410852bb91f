//! `/metrics`: what Prometheus' own tool accepts, with a bounded number of series.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;

use crate::support::{Hyperdesk, Random, Raw, Schema, child, eventually};

const SOON: std::time::Duration = std::time::Duration::from_secs(15);

async fn page(desk: &Hyperdesk) -> String {
    let answer = desk.admin_client().get("/metrics").send().await.expect_status(200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    answer.text()
}

/// The value of the series whose line begins so.
fn value(page: &str, series: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

/// All series of a page, without their values.
fn series(page: &str) -> BTreeSet<String> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

#[tokio::test]
async fn promtool_accepts_the_page() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let client = desk.client();
    for path in ["/health", "/nowhere", "/conversations"] {
        client.get(path).send().await;
    }
    client.post("/auth/login").json(serde_json::json!({"username": "a", "password": "b"})).send().await;
    let text = page(&desk).await;
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join(".local/tools");
    let places = [tools.join("promtool"), tools.join("usr/bin/promtool"), tools.join("bin/promtool")];
    let program = child::find("promtool").or_else(|| places.into_iter().find(|file| file.is_file()));
    let program = program.expect("promtool is installed, or unpacked by deploy/local/test into .local/tools");
    let mut command = tokio::process::Command::new(program);
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = command.spawn().unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).await.unwrap();
    let done = promtool.wait_with_output().await.unwrap();
    let said = crate::support::server::all_of(&done);
    assert!(done.status.success() && said.is_empty(), "{said}\n{text}");
    for name in [
        "http_requests_total",
        "http_request_duration_seconds_bucket",
        "http_requests_in_flight",
        "http_connections",
        "http_connections_refused_total",
        "http_accept_errors_total",
        "http_connections_waiting",
        "http_syn_passing_ratio",
        "build_info",
        "config_limit",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_cpu_seconds_total",
    ] {
        assert!(series(&text).iter().any(|line| line.split('{').next() == Some(name)), "{name} is missing");
    }
    assert_eq!(value(&text, "config_limit{setting=\"FEED_WINDOW_EVENTS\"}"), 50_000.0);
}

#[tokio::test]
async fn requests_are_counted_and_timed() {
    let desk = crate::chassis::builder().start().await;
    let client = desk.client();
    for _ in 0..30 {
        client.get("/health").send().await.expect_status(200);
    }
    client.request("HEAD", "/health").send().await.expect_status(200);
    client.get("/conversations/7").send().await.expect_status(401);
    client.get("/conversations/8").send().await.expect_status(401);
    let text = page(&desk).await;
    let count = |method: &str, route: &str, status: &str| {
        value(
            &text,
            &format!(r#"http_requests_total{{method="{method}",route="{route}",status="{status}"}}"#),
        )
    };
    assert_eq!(count("GET", "/health", "200"), 31.0);
    assert_eq!(count("GET", "/conversations/:id", "401"), 2.0);
    let of_health = r#"method="GET",route="/health""#;
    assert_eq!(value(&text, &format!("http_request_duration_seconds_count{{{of_health}}}")), 31.0);
    let bucket = |bound: &str| {
        value(&text, &format!(r#"http_request_duration_seconds_bucket{{{of_health},le="{bound}"}}"#))
    };
    assert_eq!(bucket("+Inf"), 31.0);
    for bound in ["0.00005", "0.0001", "0.00025", "0.0005", "0.001"] {
        assert!(text.contains(&format!(r#"{of_health},le="{bound}""#)), "no bucket of {bound} s");
    }
    let bounds = ["0.0001", "0.001", "0.01", "0.1", "1", "60", "+Inf"].map(bucket);
    assert!(bounds.is_sorted(), "{bounds:?}");
    let sum = value(&text, &format!("http_request_duration_seconds_sum{{{of_health}}}"));
    assert!(sum > 0.0 && sum < 5.0, "{sum}");
}

/// Whatever clients send as path, method or header, the page does not grow.
#[tokio::test]
async fn clients_make_no_series() {
    let desk = crate::chassis::builder().start().await;
    let client = desk.client();
    let mut random = Random::new();
    // One of each kind first.
    for (method, path) in
        [("GET", "/nowhere"), ("BREW", "/health"), ("GET", "/conversations/1"), ("OPTIONS", "/health")]
    {
        client.request(method, path).send().await;
    }
    let before = series(&page(&desk).await);
    for _ in 0..500 {
        let (name, number) = (random.name(12), random.number(1..1_000_000));
        let (method, path) = match random.number(0..5) {
            0 => ("GET".to_owned(), format!("/{name}")),
            1 => ("GET".to_owned(), format!("/conversations/{number}")),
            2 => (name.to_ascii_uppercase(), "/health".to_owned()),
            3 => ("OPTIONS".to_owned(), format!("/health?{name}")),
            _ => ("GET".to_owned(), format!("/{name}/%00/{number}?{name}={number}")),
        };
        let request =
            client.request(&method, &path).header("user-agent", &name).header("x-request-id", &name);
        request.send().await;
    }
    let after = page(&desk).await;
    let new: Vec<_> = series(&after).difference(&before).cloned().collect();
    assert!(new.is_empty(), "{new:?}");
    let unmatched = r#"http_requests_total{method="_OTHER",route="_unmatched",status="404"}"#;
    assert!(value(&after, unmatched) > 100.0);
}

#[tokio::test]
async fn gauges_return_to_their_base_after_clients_hung_up() {
    let desk = crate::chassis::builder().start().await;
    let heads = ["GET /hea", "POST /auth/login HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n{", ""];
    let mut held = Vec::new();
    for number in 0..150 {
        let mut raw = Raw::connect(desk.addr()).await;
        raw.write(heads[number % heads.len()]).await.unwrap();
        held.push(raw);
    }
    eventually(SOON, || async { value(&page(&desk).await, "http_requests_in_flight") == 50.0 }).await;
    eventually(SOON, || async { value(&page(&desk).await, "http_connections") == 150.0 }).await;
    for (number, raw) in held.into_iter().enumerate() {
        if number % 2 == 0 { raw.reset() } else { drop(raw) }
    }
    eventually(SOON, || async { value(&page(&desk).await, "http_requests_in_flight") == 0.0 }).await;
    eventually(SOON, || async { value(&page(&desk).await, "http_connections") == 0.0 }).await;
}

#[tokio::test]
async fn the_admin_port_has_three_pages() {
    let desk = crate::chassis::builder().start().await;
    let admin = desk.admin_client();
    admin.get("/live").send().await.expect_status(200);
    admin.request("HEAD", "/live").send().await.expect_status(200);
    admin.get("/").send().await.expect_status(404);
    let refused = admin.post("/metrics").send().await.expect_status(405);
    assert_eq!(refused.header("allow"), Some("GET, HEAD, OPTIONS"));
    // Not on the service's port.
    for path in ["/metrics", "/live", "/ready"] {
        desk.client().get(path).send().await.expect_status(404);
    }
}
