//! No file descriptor left: the server does not spin, does not fill the log, and goes on when there are some.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::support::{Raw, child, eventually};

use super::{SOON, builder};

/// The server with so few descriptors that they run out.
fn with_descriptors(count: u32) -> PathBuf {
    let program = child::fresh_folder("few-descriptors").join("hyperdesk");
    let script = format!("#!/bin/sh\nulimit -n {count}\nexec '{}' \"$@\"\n", env!("CARGO_BIN_EXE_hyperdesk"));
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    program
}

#[tokio::test]
async fn without_descriptors_it_waits_and_then_accepts_again() {
    let desk = builder().program(with_descriptors(64)).env("CONNECTIONS_MAX", "1000").start().await;
    let told = desk.logs().count(|line| line.message() == "too few file descriptors for CONNECTIONS_MAX");
    assert_eq!(told, 1);
    let admin = desk.admin_client();
    admin.get("/live").send().await.expect_status(200);
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(Raw::connect(desk.addr()).await); // the kernel accepts them, the server cannot
    }
    // Asked on a connection that was there before.
    let errors = || async {
        let page = admin.get("/metrics").send().await.text();
        let line = page.lines().find_map(|line| line.strip_prefix("http_accept_errors_total "));
        line.map_or(0.0, |value| value.parse().unwrap())
    };
    eventually(SOON, || async { errors().await >= 3.0 }).await;
    let (cpu, since, before) = (desk.cpu_time(), Instant::now(), errors().await);
    // Long enough to measure a share of processor time.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let elapsed = since.elapsed().as_secs_f64();
    let share = (desk.cpu_time() - cpu).as_secs_f64() / elapsed;
    assert!(share < 0.2, "{share} of a core");
    assert!((errors().await - before) / elapsed < 15.0, "no tight loop");
    let mut kept = held.remove(0);
    kept.write("GET /health HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert_eq!(kept.read_response().await.unwrap().status, 200, "those inside are served");
    drop(held);
    let served =
        || async { desk.client().get("/health").try_send().await.is_ok_and(|answer| answer.status == 200) };
    eventually(SOON, served).await;
    let lines = desk.logs().count(|line| line.message() == "connections cannot be accepted");
    assert!((1..=3).contains(&lines), "{lines} lines");
}
