//! What a balancer sees meanwhile, and how soon all is well afterwards.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, sleep, timeout};

use super::clients::{Connection, Target};

const PERIOD: Duration = Duration::from_secs(1);
/// A balancer's default.
const PATIENCE: Duration = Duration::from_secs(5);
/// All is well when so many polls in a row, on new connections, a tenth of a second apart, are answered soon.
const WELL: usize = 20;
const SOON: Duration = Duration::from_millis(500);
/// What is not well after this is not going to be.
const WELL_MAX: Duration = Duration::from_secs(30);

/// Asks once a second until it is stopped.
pub struct Probe {
    task: JoinHandle<()>,
    /// Of each answer; `None` where there was none in time.
    took: Arc<Mutex<Vec<Option<Duration>>>>,
}

impl Probe {
    /// `GET path` on one connection, or on one each time.
    pub fn start(address: SocketAddr, path: &str, kept: bool) -> Self {
        let request = format!("GET {path} HTTP/1.1\r\nHost: probe\r\n\r\n");
        let took: Arc<Mutex<Vec<_>>> = Arc::default();
        let noted = took.clone();
        let task = tokio::spawn(async move {
            let (mut connection, mut period) = (Connection::default(), interval(PERIOD));
            loop {
                period.tick().await;
                let begun = Instant::now();
                let answer = timeout(PATIENCE, connection.ask(address, request.as_bytes())).await;
                let is_well = matches!(answer, Ok(Ok(answer)) if answer.is_good());
                noted.lock().unwrap().push(is_well.then(|| begun.elapsed()));
                if !kept || !is_well {
                    connection = Connection::default();
                }
            }
        });
        Self { task, took }
    }

    /// How many were answered, of how many, and the longest time.
    pub fn stop(self) -> String {
        self.task.abort();
        let took = self.took.lock().unwrap();
        let answered: Vec<Duration> = took.iter().flatten().copied().collect();
        let longest = answered.iter().max().copied().unwrap_or_default();
        format!("{}/{} ({} ms)", answered.len(), took.len(), longest.as_millis())
    }
}

/// How long it takes until all is well.
pub async fn time_until_well(target: &Target) -> Option<Duration> {
    let begun = Instant::now();
    let (mut since, mut well) = (begun, 0);
    while begun.elapsed() < WELL_MAX {
        let asked = Instant::now();
        let answer = timeout(SOON, Connection::default().ask(target.addresses[0], &target.requests[0])).await;
        let is_well = matches!(answer, Ok(Ok(answer)) if answer.is_good());
        well = if is_well { well + 1 } else { 0 };
        if well == 1 {
            since = asked;
        }
        if well == WELL {
            return Some(since - begun);
        }
        sleep(Duration::from_millis(100)).await;
    }
    None
}
