//! Buyers a second from the one hot row: taken many in one statement, against one UPDATE for each buyer.
//!
//! Both are measured in turns in one run, against one database, by the same number of buyers who each buy
//! again as soon as they have their answer. What is printed is the ratio; no time is asserted. Run by
//! `cargo bench --bench stock`; without `--bench`, as a test runs it, it is over in a moment.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench that cannot go on says so by panicking, and prints what it saw"
)]

#[path = "../tests/it/support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use hyperdesk::config::Config;
use hyperdesk::db::{Db, DbMetrics, Statement, migrations};
use hyperdesk::services;
use hyperdesk::stock::{counter::Counter, store};
use hyperdesk::tasks::Tasks;
use prometheus::Registry;
use support::{Schema, Server};
use tokio::task::JoinSet;

/// Buyers at the same time, as in the goal.
const BUYERS: usize = 1_000;
/// More than can be sold in one turn.
const PLENTY: u64 = 1 << 40;

/// What the original does, made safe: the least that a buyer's own statement can be.
const ONE_EACH: Statement = Statement {
    name: "bench.one_each",
    sql: "UPDATE hyper_stock SET quantity = quantity - 1 WHERE id = 1 AND quantity > 0",
};

struct Shop {
    db: Arc<Db>,
    counter: Counter,
    sold: AtomicU64,
}

impl Shop {
    async fn open(schema: &Schema, pool: &str) -> Arc<Shop> {
        let vars = [("DATABASE_URL", schema.url()), ("DB_POOL_SIZE", pool.to_owned())];
        let vars: HashMap<String, String> =
            vars.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let config = Config::from_vars(&vars, services::NAMES).unwrap();
        let registry = Registry::new();
        let tasks = Tasks::new(&registry).unwrap();
        let db = Arc::new(Db::new(&config, DbMetrics::new(&registry).unwrap(), &tasks).unwrap());
        migrations::apply(&db).await.unwrap();
        let counter = Counter::new(db.clone(), &registry, &tasks).unwrap();
        Arc::new(Shop { db, counter, sold: AtomicU64::new(0) })
    }

    async fn buy_together(&self) -> bool {
        self.counter.buy().unwrap().outcome().await.unwrap()
    }

    /// A wait for a connection that took too long is no sale; the buyer comes again.
    async fn buy_alone(&self) -> bool {
        match self.db.writer().await {
            Ok(mut connection) => connection.run(&ONE_EACH, ()).await.unwrap().affected == 1,
            Err(_) => false,
        }
    }

    /// Sales a second over about `length`.
    async fn rate(self: &Arc<Self>, together: bool, length: Duration) -> f64 {
        store::quantity_set(&mut self.db.writer().await.unwrap(), PLENTY).await.unwrap();
        self.sold.store(0, Relaxed);
        let (begun, mut buyers) = (Instant::now(), JoinSet::new());
        for _ in 0..BUYERS {
            let shop = self.clone();
            buyers.spawn(async move {
                while begun.elapsed() < length {
                    let sold = if together { shop.buy_together().await } else { shop.buy_alone().await };
                    shop.sold.fetch_add(u64::from(sold), Relaxed);
                }
            });
        }
        buyers.join_all().await;
        let (sold, took) = (self.sold.load(Relaxed), begun.elapsed());
        let left = store::quantity(&mut self.db.writer().await.unwrap()).await.unwrap();
        assert_eq!(PLENTY - left, sold, "what was sold is what is missing");
        sold as f64 / took.as_secs_f64()
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let thorough = std::env::args().any(|argument| argument == "--bench");
    let (turns, length) =
        if thorough { (3, Duration::from_secs(3)) } else { (1, Duration::from_millis(200)) };
    for durability in ["1", "2"] {
        let option = format!("--innodb-flush-log-at-trx-commit={durability}");
        let server = Server::start_with(&[&option, "--max-connections=200"]).await;
        for pool in ["10", "32"] {
            let schema = Schema::on(&server).await;
            let shop = Shop::open(&schema, pool).await;
            let mut ratios = Vec::new();
            for turn in 1..=turns {
                let alone = shop.rate(false, length).await;
                let together = shop.rate(true, length).await;
                let ratio = together / alone;
                println!(
                    "flush at commit {durability}, pool {pool}, turn {turn}: one UPDATE each {alone:.0}/s, \
                     together {together:.0}/s, ratio {ratio:.1}"
                );
                ratios.push(ratio);
            }
            ratios.sort_by(f64::total_cmp);
            println!(
                "flush at commit {durability}, pool {pool}: median ratio {:.1}",
                ratios[ratios.len() / 2]
            );
        }
    }
}
