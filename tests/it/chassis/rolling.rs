//! Twenty restarts of two processes behind haproxy, under load: no request fails.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::support::child::{self, Child};
use crate::support::ports::Reserved;
use crate::support::{Client, Hyperdesk, Schema, eventually};

use super::SOON;

/// Of each process.
const RESTARTS: usize = 10;
const DRAIN_SECONDS: u64 = 3;
/// From SIGTERM to exit, from start to serving: on a busy machine.
const STEP_LIMIT: Duration = Duration::from_secs(30);

/// haproxy as a balancer of today's clouds: health checks every second, one failure is enough, connections to
/// servers are kept and shared, and no request is sent twice.
fn configuration(port: u16, socket: &Path, servers: &[(u16, u16); 2]) -> String {
    let mut text = format!(
        "global\n  maxconn 2000\n  stats socket {} level admin\n\
         defaults\n  mode http\n  retries 0\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  \
         timeout http-keep-alive 60s\n  http-reuse safe\n\
         frontend front\n  bind 127.0.0.1:{port}\n  default_backend desks\n\
         backend desks\n  balance roundrobin\n  option httpchk GET /ready\n",
        socket.display(),
    );
    for (number, (http, admin)) in servers.iter().enumerate() {
        text += &format!(
            "  server desk{number} 127.0.0.1:{http} check port {admin} inter 1s fall 1 rise 1 pool-max-conn 100\n"
        );
    }
    text
}

struct Balancer {
    _child: Child,
    socket: std::path::PathBuf,
}

impl Balancer {
    async fn start(port: u16, servers: &[(u16, u16); 2]) -> Balancer {
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join(".local/tools");
        let places = [tools.join("haproxy"), tools.join("usr/sbin/haproxy"), tools.join("bin/haproxy")];
        let program = child::find("haproxy").or_else(|| places.into_iter().find(|file| file.is_file()));
        let program =
            program.expect("haproxy is installed, or unpacked by deploy/local/test into .local/tools");
        let folder = child::fresh_folder("haproxy");
        let socket = folder.join("s");
        let file = folder.join("haproxy.cfg");
        std::fs::write(&file, configuration(port, &socket, servers)).unwrap();
        let mut command = child::command(&program);
        command.arg("-db").arg("-q").arg("-f").arg(&file);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        let balancer = Balancer { _child: Child::spawn(command).unwrap(), socket };
        eventually(SOON, || async { UnixStream::connect(&balancer.socket).await.is_ok() }).await;
        balancer
    }

    async fn is_up(&self, server: usize) -> bool {
        let Ok(mut socket) = UnixStream::connect(&self.socket).await else { return false };
        socket.write_all(b"show stat\n").await.unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).await.unwrap();
        let name = format!("desks,desk{server},");
        let line = text.lines().find(|line| line.starts_with(&name)).expect("the server's line");
        line.split(',').any(|field| field == "UP")
    }
}

/// What the clients saw.
#[derive(Default)]
struct Seen {
    over: AtomicBool,
    answers: AtomicU64,
    failures: std::sync::Mutex<Vec<String>>,
}

/// One client: GETs and POSTs, each with a body of its own, on one connection or on a new one each time.
async fn client(addr: std::net::SocketAddr, seen: Arc<Seen>, number: u64) {
    let kept = Client::new(addr);
    let mut random = fastrand::Rng::with_seed(number);
    while !seen.over.load(Relaxed) {
        let fresh = Client::new(addr);
        let client = if number.is_multiple_of(2) { &kept } else { &fresh };
        let is_post = random.bool();
        // What no handler can do anything about: the chassis answers it after reading the body.
        let request = if is_post {
            client.post("/auth/logout").json(serde_json::json!({ "number": number }))
        } else {
            client.get("/health")
        };
        match request.try_send().await {
            Ok(answer) if answer.status < 400 => {
                seen.answers.fetch_add(1, Relaxed);
            }
            Ok(answer) => {
                let text = format!("client {number}, POST {is_post}: {} {}", answer.status, answer.text());
                seen.failures.lock().unwrap().push(text);
            }
            Err(error) => {
                seen.failures.lock().unwrap().push(format!("client {number}, POST {is_post}: {error}"))
            }
        }
        // Some pause long enough for their connection, and the balancer's, to be idle.
        let pause = if random.u8(0..20) == 0 { 1_500 } else { random.u64(0..20) };
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

#[tokio::test]
async fn twenty_rolling_restarts_and_no_request_fails() {
    let schema = Schema::fresh().await;
    let ports: [(Reserved, Reserved); 2] = std::array::from_fn(|_| (Reserved::new(), Reserved::new()));
    let numbers = [0, 1].map(|number: usize| (ports[number].0.port(), ports[number].1.port()));
    let mut desks: Vec<Hyperdesk> = Vec::new();
    for (http, admin) in numbers {
        let builder = Hyperdesk::builder(&schema).env("PORT", http).env("METRICS_PORT", admin);
        let builder = builder.env("DRAIN_SECONDS", DRAIN_SECONDS).env("WEB_CONCURRENCY", "2");
        desks.push(builder.start().await);
    }
    let front = Reserved::new();
    let balancer = Balancer::start(front.port(), &numbers).await;
    for desk in &desks {
        let ready = || async { desk.admin_client().get("/ready").send().await.status == 200 };
        eventually(STEP_LIMIT, ready).await;
    }
    eventually(STEP_LIMIT, || async { balancer.is_up(0).await && balancer.is_up(1).await }).await;

    let seen = Arc::new(Seen::default());
    let clients: Vec<_> =
        (0..16).map(|number| tokio::spawn(client(front.addr(), seen.clone(), number))).collect();
    for _ in 0..RESTARTS {
        for (number, desk) in desks.iter_mut().enumerate() {
            desk.terminate();
            assert_eq!(desk.wait_exit(STEP_LIMIT).await.code(), Some(0));
            desk.start_again().await;
            eventually(STEP_LIMIT, || async { balancer.is_up(number).await }).await;
        }
    }
    seen.over.store(true, Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let failures = seen.failures.lock().unwrap();
    let answers = seen.answers.load(Relaxed);
    println!("{answers} answers, {} failures in {} restarts", failures.len(), 2 * RESTARTS);
    assert!(
        failures.is_empty(),
        "{} of {answers} failed: {:#?}",
        failures.len(),
        &failures[..failures.len().min(10)]
    );
    assert!(answers > 1_000, "{answers} answers only: that was no load");
}
