//! The log cannot take the service down: a full disk, a reader that is gone, a pipe that nobody reads.

use std::fs::File;
use std::io::{PipeReader, pipe};
use std::time::Duration;

use hyperdesk::clock::Timestamp;
use hyperdesk::log::FLUSH_MS_MAX;
use serde_json::json;

use crate::helpdesk::{ask, say};
use crate::support::logs::Logs;
use crate::support::ports::Reserved;
use crate::support::server::default_env;
use crate::support::{Hyperdesk, Proxy, Schema, User, eventually};

const SOON: Duration = Duration::from_secs(15);
/// A queue's length of failing requests, of which so many a second are logged.
const FLOOD_LIMIT: Duration = Duration::from_secs(90);

/// Enough to have as many fail in a second as are logged.
const POSTS_AT_ONCE: usize = 64;

/// What is lost, and why.
const WRITE_FAILED: &str = r#"log_lines_dropped_total{reason="write_failed"}"#;
const QUEUE_FULL: &str = r#"log_lines_dropped_total{reason="queue_full"}"#;

/// A server that logs to `output`, its database behind a proxy.
struct Desk {
    server: Hyperdesk,
    _ports: [Reserved; 2],
    proxy: Proxy,
    _schema: Schema,
    ann: User,
    conversation: String,
    cursor: String,
}

impl Desk {
    async fn start(output: impl Into<std::os::fd::OwnedFd>) -> Desk {
        let schema = Schema::fresh().await;
        let proxy = Proxy::start(schema.server_addr().await);
        let ports = [Reserved::new(), Reserved::new()];
        let server = Hyperdesk::builder(&schema)
            .env("DATABASE_URL", schema.url_via(proxy.addr()))
            .env("SERVICES", "helpdesk")
            .env("RUST_LOG", "trace")
            .env("PORT", ports[0].port())
            .env("METRICS_PORT", ports[1].port())
            .output(output)
            .start()
            .await;
        let ann = User::register(server.addr(), "ann").await;
        let conversation = ask(&ann, "printer").await;
        let cursor = ann.get("/api/updates").await.expect_status(200).json()["cursor"].to_string();
        let cursor = cursor.trim_matches('"').to_owned();
        Desk { server, _ports: ports, proxy, _schema: schema, ann, conversation, cursor }
    }

    async fn metric(&self, series: &str) -> f64 {
        self.server.metric(series).await.unwrap_or(0.0)
    }

    async fn since_status(&self) -> u16 {
        self.ann.get(&format!("/api/messages/updates?since={}", Timestamp::now())).await.status
    }

    /// Failed requests, which are logged; and all that goes on without a database.
    async fn is_answered_while_the_database_is_away(&self) {
        let posts = (0..POSTS_AT_ONCE).map(async |_| {
            let fields = json!({ "conversationId": self.conversation, "content": "lost" });
            let client = self.server.client();
            let posted = client.post("/messages").bearer(&self.ann.token).json(fields);
            posted.header("x-request-id", "x".repeat(128)).send().await.expect_status(503);
        });
        futures_util::future::join_all(posts).await;
        self.server.client().get("/health").send().await.expect_status(200);
        // From memory, or, when that is too old, refused: in time one way or the other.
        let polled = self.ann.get(&format!("/api/updates?cursor={}", self.cursor)).await;
        assert!(matches!(polled.status, 200 | 503), "{}", polled.status);
        let ready = self.server.admin_client().get("/ready").send().await.expect_status(200);
        assert_eq!(ready.text(), "ready\n");
    }

    /// The tail warns, requests fail and are logged, until `series` counts that lines were lost. Then all is as if
    /// nothing had been.
    async fn goes_on_until(&self, series: &str) {
        self.proxy.refuse();
        self.proxy.cut_all();
        eventually(SOON, || async { self.since_status().await == 503 }).await;
        let is_lost = || async {
            self.is_answered_while_the_database_is_away().await;
            self.metric(series).await > 0.0
        };
        eventually(FLOOD_LIMIT, is_lost).await;
        assert_eq!(self.since_status().await, 503);
        self.proxy.pass();
        self.works_again().await;
    }

    async fn works_again(&self) {
        eventually(SOON, || async { self.since_status().await == 200 }).await;
        eventually(SOON, || async { self.ann.get("/conversations").await.status == 200 }).await;
        let before = Timestamp::now();
        let said = say(&self.ann, &self.conversation, "after all").await;
        let path = format!("/api/messages/updates?since={before}");
        let found = self.ann.get(&path).await.expect_status(200).text();
        assert!(found.contains("after all"), "{found}");
        let news = self.ann.get(&format!("/api/updates?cursor={}", self.cursor)).await.expect_status(200);
        assert!(news.json()["messages"].as_array().unwrap().iter().any(|message| message["id"] == *said));
        self.server.client().get("/health").send().await.expect_status(200);
        self.server.admin_client().get("/ready").send().await.expect_status(200);
    }

    /// It ends as it should, though the log cannot be flushed.
    async fn ends(self) {
        self.server.terminate();
        let status = self.server.wait_exit(SOON + Duration::from_millis(FLUSH_MS_MAX)).await;
        assert_eq!(status.code(), Some(0));
    }
}

#[tokio::test]
async fn a_full_disk_stops_nothing() {
    let desk = Desk::start(File::options().write(true).open("/dev/full").unwrap()).await;
    // What it said at its start is lost already.
    assert!(desk.metric(WRITE_FAILED).await >= 2.0);
    desk.goes_on_until(WRITE_FAILED).await;
    assert_eq!(desk.metric(QUEUE_FULL).await, 0.0);
    desk.ends().await;
}

#[tokio::test]
async fn a_reader_that_is_gone_stops_nothing() {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let desk = Desk::start(writer).await;
    assert!(desk.metric(WRITE_FAILED).await >= 2.0);
    desk.goes_on_until(WRITE_FAILED).await;
    desk.ends().await;
}

/// Reads all that comes out of `reader` from now on.
fn read_on(reader: PipeReader) -> Logs {
    let logs = Logs::default();
    logs.follow(reader);
    logs
}

#[tokio::test]
async fn a_pipe_that_nobody_reads_stops_nothing_and_once_it_is_read_a_line_says_what_is_missing() {
    let (reader, writer) = pipe().unwrap();
    let desk = Desk::start(writer).await;
    assert_eq!(desk.metric(QUEUE_FULL).await, 0.0);
    desk.goes_on_until(QUEUE_FULL).await;
    assert_eq!(desk.metric(WRITE_FAILED).await, 0.0);
    let logs = read_on(reader);
    let lost = |line: &crate::support::logs::Line| line.message().starts_with("log lines were lost");
    eventually(SOON, || async { logs.last(lost).is_some() }).await;
    let dropped = desk.metric(QUEUE_FULL).await;
    let told = logs.last(lost).unwrap();
    assert_eq!(
        (told.str("level"), told.field("lines").and_then(|lines| lines.as_f64())),
        (Some("WARN"), Some(dropped))
    );
    assert_eq!(logs.count(lost), 1, "once");
    // Whole lines, the first ones first.
    let lines = logs.lines();
    assert!(lines.iter().all(|line| line.json.is_object()), "{lines:?}");
    let first = [lines[0].str("listener"), lines[1].str("listener")];
    assert_eq!(first, [Some("http"), Some("admin")]);
    desk.ends().await;
}

#[tokio::test]
async fn the_process_ends_in_time_though_its_log_is_not_read() {
    let (_reader, writer) = pipe().unwrap();
    let desk = Desk::start(writer).await;
    desk.goes_on_until(QUEUE_FULL).await;
    desk.ends().await;
}

/// Who asked for it must know that they did not get it: a client's secret is shown once.
#[tokio::test]
async fn a_command_whose_words_are_lost_says_so_by_its_exit_code() {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let gone = || pipe().unwrap().1;
    let outputs: [std::process::Stdio; 4] = [full().into(), gone().into(), full().into(), gone().into()];
    for (at, output) in outputs.into_iter().enumerate() {
        let schema = Schema::fresh().await;
        let mut env = default_env();
        env.insert("DATABASE_URL".to_owned(), schema.url());
        let args: &[&str] = if at < 2 { &["check-config"] } else { &["oauth-client", "list"] };
        if at >= 2 {
            let url = schema.url();
            crate::support::run_command(&["migrate"], &[("DATABASE_URL", &url)]).await;
            let create = ["oauth-client", "create", "--scope", "read"];
            crate::support::run_command(&create, &[("DATABASE_URL", &url)]).await;
        }
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_hyperdesk"));
        command.args(args).env_clear().envs(&env).current_dir(crate::support::child::run_folder());
        let running = command.stdout(output).stderr(std::process::Stdio::piped()).spawn().unwrap();
        let done = running.wait_with_output().await.unwrap();
        assert_eq!(done.status.code(), Some(74), "{args:?}");
        let why = String::from_utf8(done.stderr).unwrap();
        assert_eq!(why.lines().count(), 1, "{args:?}: {why}");
        assert_eq!(why.contains("revoke it"), at >= 2, "{args:?}: {why}");
    }
}
