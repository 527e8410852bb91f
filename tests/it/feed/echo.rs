//! An echoed time stands for a position, also when an instance read a conversation later than its changes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyperdesk::clock::Timestamp;
use hyperdesk::helpdesk::changes::Class;
use tokio::time::sleep;

use super::{ANN, Instance, SOON, ids, migrate, open, parsed, post, time};
use crate::support::{Proxy, Random, Schema, Server, eventually};

/// Reading takes two replies: the changes, then their conversations. This long apart, and still fresh enough.
const APART: Duration = Duration::from_millis(25);
const ROUNDS: usize = 60;

/// A front end: it has the newest state of each, and asks with the newest time of all.
#[derive(Default)]
struct Screen {
    shown: BTreeMap<u64, Timestamp>,
}

impl Screen {
    async fn poll(&mut self, instance: &Instance, begun: Timestamp) -> bool {
        let newest = self.shown.values().copied().fold(begun, Timestamp::max);
        let Ok(found) = instance.feed.since_waiting(0, ANN, Class::Conversations, newest).await else {
            return false;
        };
        let found = parsed(found);
        for (id, conversation) in ids(&found).into_iter().zip(found.as_array().unwrap()) {
            let shown = self.shown.entry(id).or_default();
            *shown = time(&conversation["updatedAt"]).max(*shown);
        }
        found != serde_json::json!([])
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_shown_before_its_change_came_loses_nothing() {
    let server = Server::start().await;
    let schema = Schema::on(&server).await;
    migrate(&schema).await;
    let proxy = Proxy::start(server.addr());
    let slow = Instance::at(&schema.url_via(proxy.addr()), &[]).await;
    let fast = Instance::start(&schema).await;
    eventually(SOON, || async { slow.feed.watermark().is_some() && fast.feed.watermark().is_some() }).await;
    proxy.delay_replies(APART);
    let (mut random, mut screen) = (Random::new(), Screen::default());
    let (begun, done) = (Timestamp::now(), AtomicBool::new(false));
    let write = async {
        for _ in 0..ROUNDS {
            let busy = open(&fast, ANN).await;
            sleep(random.duration(Duration::ZERO, APART * 2)).await;
            open(&fast, ANN).await;
            sleep(random.duration(APART / 4, APART)).await;
            post(&fast, busy, "moves its time").await;
            sleep(random.duration(APART * 3, APART * 6)).await;
        }
        done.store(true, Ordering::Relaxed);
    };
    let read = async {
        while !done.load(Ordering::Relaxed) {
            if screen.poll(&slow, begun).await {
                sleep(APART * 2).await;
                screen.poll(&fast, begun).await;
            }
            sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::join!(write, read);
    proxy.delay_replies(Duration::ZERO);
    eventually(SOON, || async { slow.feed.position() == 3 * ROUNDS as u64 }).await;
    for instance in [&fast, &slow, &fast] {
        screen.poll(instance, begun).await;
    }
    let all: Vec<(u64, String)> = schema
        .query("SELECT id, DATE_FORMAT(updated_at, '%Y-%m-%dT%H:%i:%s.%fZ') FROM conversations ORDER BY id")
        .await;
    let lost: Vec<_> = all
        .iter()
        .filter(|(id, at)| screen.shown.get(id).map(ToString::to_string).as_ref() != Some(at))
        .collect();
    assert!(lost.is_empty(), "{} of {} lost: {lost:?}", lost.len(), all.len());
}
