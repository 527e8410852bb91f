//! The real server against a bare hyper server, over loopback, in one run: requests per second with one event
//! loop each, with few connections and with many, and user-mode instructions per request, with two loops as well.
//!
//! `cargo bench --bench end_to_end` needs MariaDB; `wrk` for the rates and `valgrind` for the instructions (each
//! is left out, with a line that says so, where it is not installed). Under `cargo test` a few requests are sent
//! and nothing is measured. Rates of one run may be compared with each other only. Words after `--` choose the cases whose
//! names have one of them: `cargo bench --bench end_to_end -- cursor`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

#[path = "../tests/it/support/mod.rs"]
mod support;

use std::convert::Infallible;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use support::{Hyperdesk, Schema, User};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BARE: &str = "--serve-bare-hyper";
/// Connections of the load, as in the published comparisons.
const CONNECTIONS: usize = 64;
/// Connections of a crowd: what one loop does must not grow with them.
const CROWD: usize = 10_000;
/// Rounds: each server in turn, so that a machine whose speed drifts hurts both alike.
const ROUNDS: usize = 15;
/// Requests on each connection under valgrind: the second count less the first leaves out what starting costs.
const COUNTED: (usize, usize) = (30, 150);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == BARE) {
        return serve_bare();
    }
    let measuring = arguments.iter().any(|argument| argument == "--bench");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let wanted = |case: &Case| {
        let mut words = arguments[1..].iter().filter(|argument| !argument.starts_with("--")).peekable();
        words.peek().is_none() || words.any(|word| case.name.contains(word.as_str()))
    };
    runtime.block_on(compare(measuring, wanted));
}

/// The floor: one event loop, hyper, a constant answer.
fn serve_bare() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
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
}

/// A bare hyper server as a child process.
struct Bare {
    child: Child,
    address: SocketAddr,
}

impl Bare {
    fn start(program: &Path) -> Self {
        let mut child = Command::new(program).arg(BARE).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, address: line.trim().parse().unwrap() }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// One kind of request.
struct Case {
    name: &'static str,
    path: String,
    token: String,
}

async fn compare(measuring: bool, wanted: impl Fn(&Case) -> bool) {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).env("WEB_CONCURRENCY", 1).start().await;
    let mut cases = cases(&desk).await;
    cases.retain(wanted);
    assert!(!cases.is_empty(), "no case has such a name");
    for case in &cases {
        let answer = ask(desk.addr(), case, 1, 3);
        assert!(answer.starts_with("HTTP/1.1 200"), "{}: {answer}", case.name);
    }
    let this = std::env::current_exe().unwrap();
    let bare = Bare::start(&this);
    assert!(ask(bare.address, &cases[0], 1, 3).starts_with("HTTP/1.1 200"));
    if !measuring {
        println!("1 passed, 0 failed");
        return;
    }
    rates(&schema, &desk, &bare, &cases).await;
    drop((desk, bare));
    instructions(&schema, &this, &cases).await;
}

async fn cases(desk: &Hyperdesk) -> Vec<Case> {
    let ann = User::register(desk.addr(), "ann").await;
    let eve = User::register(desk.addr(), "eve").await;
    let opened = ann.post("/conversations", json!({ "title": "Printer" })).await.expect_status(201);
    let id = opened.json()["id"].as_str().unwrap().to_owned();
    let before = hyperdesk::clock::Timestamp::now();
    eve.post(&format!("/expert/conversations/{id}/claim"), json!({})).await.expect_status(200);
    eve.post("/messages", json!({ "conversationId": id, "content": "Is it on?" })).await.expect_status(201);
    // Idle polls ask from a time after everything; the time of the last news would be reached back to.
    let since = hyperdesk::clock::Timestamp::from_micros(
        hyperdesk::clock::Timestamp::now().micros() + Duration::from_secs(1).as_micros() as i64,
    );
    let case = |name, path: &str, since, user: &User| Case {
        name,
        path: format!("{path}?since={since}"),
        token: user.token.clone(),
    };
    let cursor = idle_cursor(&ann).await;
    vec![
        case("idle poll of conversations", "/api/conversations/updates", since, &ann),
        case("idle poll of messages", "/api/messages/updates", since, &ann),
        case("idle poll of the queue", "/api/expert-queue/updates", since, &eve),
        Case {
            name: "idle poll by cursor",
            path: format!("/api/updates?cursor={cursor}"),
            token: ann.token.clone(),
        },
        case("poll with one new message", "/api/messages/updates", before, &ann),
    ]
}

/// A cursor after which nothing is new for a second. That of the full state may be from before the feed had what it shows.
async fn idle_cursor(user: &User) -> String {
    let state = user.get("/api/updates").await.expect_status(200);
    let mut cursor = state.header("x-updates-cursor").unwrap().to_owned();
    loop {
        let answer = user.get(&format!("/api/updates?cursor={cursor}&wait=1")).await;
        match answer.header("x-updates-cursor") {
            Some(next) if answer.status == 200 => cursor = next.to_owned(),
            _ => return cursor,
        }
    }
}

fn head(address: SocketAddr, case: &Case) -> String {
    format!("GET {} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\r\n", case.path, case.token)
}

/// Sends the request `times` times over each of so many connections, over all of them before any answer is
/// read: a server at saturation finds many requests each time it looks. The last answer.
fn ask(address: SocketAddr, case: &Case, connections: usize, times: usize) -> String {
    let connect = |_| {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    };
    let mut streams: Vec<TcpStream> = (0..connections).map(connect).collect();
    let request = head(address, case);
    let mut answer = Vec::new();
    let mut piece = [0; 16 * 1024];
    for _ in 0..times {
        for stream in &mut streams {
            stream.write_all(request.as_bytes()).unwrap();
        }
        for stream in &mut streams {
            answer.clear();
            while !is_whole(&answer) {
                let read = stream.read(&mut piece).unwrap();
                assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
                answer.extend_from_slice(&piece[..read]);
            }
        }
    }
    String::from_utf8(answer).unwrap()
}

fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

async fn rates(schema: &Schema, desk: &Hyperdesk, bare: &Bare, cases: &[Case]) {
    if Command::new("wrk").arg("-v").output().is_err() {
        println!("wrk is not installed: no rates");
        return;
    }
    for case in cases {
        let mut ratios = Vec::new();
        let mut best = (0.0f64, 0.0f64);
        let (mut statements, mut polls) = (0.0, 0.0);
        for _ in 0..ROUNDS {
            let base = wrk(bare.address, case, CONNECTIONS);
            let before = counts(schema, desk).await;
            let ours = wrk(desk.addr(), case, CONNECTIONS);
            let after = counts(schema, desk).await;
            statements += after.0 - before.0;
            polls += after.1 - before.1;
            ratios.push(ours / base);
            best = (best.0.max(base), best.1.max(ours));
        }
        ratios.sort_by(f64::total_cmp);
        println!(
            "{}: {:.2} of bare hyper's requests/s (median of {ROUNDS}; best {:.0} of {:.0})",
            case.name,
            ratios[ROUNDS / 2],
            best.1,
            best.0
        );
        println!("{}: {:.5} statements per poll, the tail's included", case.name, statements / polls);
    }
    for (name, address) in [("bare hyper", bare.address), ("hyperdesk", desk.addr())] {
        let ratio = |_| wrk(address, &cases[0], CROWD) / wrk(address, &cases[0], CONNECTIONS);
        let mut ratios: Vec<f64> = (0..ROUNDS).map(ratio).collect();
        ratios.sort_by(f64::total_cmp);
        println!(
            "{name} with {CROWD} connections: {:.2} of its requests/s with {CONNECTIONS}",
            ratios[ROUNDS / 2]
        );
    }
}

/// What the database was asked, by anyone, and the requests since the server's start.
async fn counts(schema: &Schema, desk: &Hyperdesk) -> (f64, f64) {
    let (_, asked): (String, String) = schema.query_one("SHOW GLOBAL STATUS LIKE 'Questions'").await;
    let text = desk.admin_client().get("/metrics").send().await.expect_status(200).text();
    let series = text.lines().filter(|line| line.starts_with("http_requests_total{"));
    let requests = series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
    (asked.parse().expect("a number"), requests)
}

/// Requests per second.
fn wrk(address: SocketAddr, case: &Case, connections: usize) -> f64 {
    let output = Command::new("wrk")
        .args(["-t1", "-c", &connections.to_string(), "-d", "2s", "-H"])
        .arg(format!("Authorization: Bearer {}", case.token))
        .arg(format!("http://{address}{}", case.path))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.contains("Non-2xx"), "{text}");
    let line =
        text.lines().find_map(|line| line.strip_prefix("Requests/sec:")).unwrap_or_else(|| panic!("{text}"));
    line.trim().parse().unwrap()
}

async fn instructions(schema: &Schema, this: &Path, cases: &[Case]) {
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("valgrind is not installed: no instructions");
        return;
    }
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("callgrind");
    let bare = {
        let program = under_valgrind(&folder, this, BARE);
        let count = async |times| {
            let server = Bare::start(&program);
            ask(server.address, &cases[0], CONNECTIONS, times);
            let pid = server.child.id() as i32;
            stop(pid).await;
            drop(server);
            event_loops(&folder, 1)
        };
        per_request(count(COUNTED.0).await, count(COUNTED.1).await)
    };
    println!("bare hyper: {bare:.0} user-mode instructions per request");
    let program = under_valgrind(&folder, Path::new(env!("CARGO_BIN_EXE_hyperdesk")), "serve");
    for (case, loops) in cases.iter().map(|case| (case, 1)).chain([(&cases[0], 2)]) {
        let mut counts = Vec::new();
        for times in [COUNTED.0, COUNTED.1] {
            let desk = Hyperdesk::builder(schema)
                .env("WEB_CONCURRENCY", loops)
                .env("DRAIN_SECONDS", 1)
                .program(&program)
                .start()
                .await;
            let address = desk.addr();
            let (path, token) = (case.path.clone(), case.token.clone());
            let asked = tokio::task::spawn_blocking(move || {
                ask(address, &Case { name: "", path, token }, CONNECTIONS, times)
            });
            asked.await.unwrap();
            stop(desk.pid()).await;
            desk.wait_exit(Duration::from_secs(60)).await;
            counts.push(event_loops(&folder, loops));
        }
        let ours = per_request(counts[0], counts[1]);
        println!(
            "{}, {loops} event loop(s): {ours:.0} user-mode instructions per request, {:.2} of bare hyper's",
            case.name,
            ours / bare
        );
    }
}

async fn stop(pid: i32) {
    let stopped = Command::new("kill").args(["-INT", &pid.to_string()]).status().unwrap();
    assert!(stopped.success());
    // callgrind writes its counts when the process ends.
    let program = PathBuf::from(format!("/proc/{pid}/exe"));
    support::eventually(Duration::from_secs(60), || async { std::fs::read_link(&program).is_err() }).await;
}

fn per_request(fewer: u64, more: u64) -> f64 {
    (more - fewer) as f64 / (CONNECTIONS * (COUNTED.1 - COUNTED.0)) as f64
}

/// A script that runs `program` under callgrind, counting each thread apart.
fn under_valgrind(folder: &Path, program: &Path, argument: &str) -> PathBuf {
    std::fs::create_dir_all(folder).unwrap();
    let script = folder.join(format!("run{}", argument.trim_start_matches('-')));
    let text = format!(
        "#!/bin/sh\nrm -f {folder}/out*\nexec valgrind -q --tool=callgrind --separate-threads=yes \
         --callgrind-out-file={folder}/out {program} {argument}\n",
        folder = folder.display(),
        program = program.display(),
    );
    std::fs::write(&script, text).unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    script
}

/// Instructions of the event loops: of the threads that ran hyper those that executed the most.
fn event_loops(folder: &Path, loops: usize) -> u64 {
    // One file a thread, out-01 and so on, beside an empty one for the process.
    let totals = (1..100).filter_map(|thread| {
        let text = std::fs::read_to_string(folder.join(format!("out-{thread:02}"))).ok()?;
        let ran_hyper = text.contains("hyper::proto::h1");
        let total =
            text.lines().rev().find_map(|line| line.strip_prefix("totals: ")?.trim().parse::<u64>().ok());
        total.filter(|_| ran_hyper)
    });
    let mut totals: Vec<u64> = totals.collect();
    totals.sort_unstable();
    assert!(totals.len() >= loops, "callgrind wrote its counts");
    totals.iter().rev().take(loops).sum()
}
