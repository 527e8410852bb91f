//! What services are made from, and what some of them share.

use std::sync::{Arc, Once, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use prometheus::Registry;

use crate::auth::Auth;
use crate::chassis::drain::{Drain, Stage};
use crate::config::Config;
use crate::db::Db;
use crate::feed::{self, Domain, Feed};
use crate::metrics::BeforeScrape;
use crate::tasks::{Kind, Tasks};
use crate::users;

/// What a service may be made from.
pub struct Parts {
    /// All settings, read from the environment and checked.
    pub config: Arc<Config>,
    /// The pools of the writer and of the reader.
    pub db: Arc<Db>,
    /// Keys and revoked sessions.
    pub auth: Arc<Auth>,
    /// Where its metrics go.
    pub registry: Registry,
    /// What brings them up to date.
    pub before_scrape: Arc<BeforeScrape>,
    /// When the process stops.
    pub drain: Arc<Drain>,
    /// What supervises its tasks.
    pub tasks: Tasks,
    /// The feed of the service that has one: [`Parts::adopt`].
    feed: OnceLock<Arc<dyn Lifecycle>>,
    /// Once for all who want it: [`Parts::let_users_in`].
    users: Once,
}

/// What the process waits for when it starts and stops, whatever service's feed it is.
trait Lifecycle: Send + Sync {
    fn loaded(&self) -> BoxFuture<'_, ()>;
    fn close(&self) -> BoxFuture<'_, ()>;
}

impl<D: Domain> Lifecycle for Feed<D> {
    fn loaded(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.loaded())
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.close())
    }
}

impl Parts {
    /// Of these.
    #[must_use]
    pub fn new(
        config: Arc<Config>,
        db: Arc<Db>,
        auth: Arc<Auth>,
        registry: Registry,
        before_scrape: Arc<BeforeScrape>,
        drain: Arc<Drain>,
        tasks: Tasks,
    ) -> Self {
        let (feed, users) = (OnceLock::new(), Once::new());
        Self { config, db, auth, registry, before_scrape, drain, tasks, feed, users }
    }

    /// Keeps what tells users apart current, from the first service on that lets them in, on the background runtime
    /// that this is called on.
    pub fn let_users_in(&self) {
        self.users.call_once(|| users::follow(&self.db, &self.auth, &self.tasks));
    }

    /// What a service's feed is started with.
    #[must_use]
    pub fn of_feed(&self) -> feed::Parts {
        feed::Parts { db: self.db.clone(), config: self.config.clone(), tasks: self.tasks.clone() }
    }

    /// Takes a service's feed along: it is waited for at the start, and its polls are released and it is closed at the end.
    pub fn adopt<D: Domain>(&self, feed: &Arc<Feed<D>>) {
        let scraped = feed.clone();
        self.before_scrape.add(move || scraped.refresh_metrics());
        let (drain, released) = (self.drain.clone(), feed.clone());
        self.tasks.spawn("feed_release", Kind::Housekeeping, move || {
            let (drain, released) = (drain.clone(), released.clone());
            async move {
                drain.reached(Stage::Leaving).await;
                released.release();
            }
        });
        let _one_service_has_a_feed = self.feed.set(feed.clone());
    }

    /// Waits until the feed was read, and who may come in was looked up: before that every request would wait for it.
    /// Where the database does not answer that is not waited for long: nothing is told without it either.
    pub async fn settled(&self) {
        let read = async {
            if let Some(feed) = self.feed.get() {
                feed.loaded().await;
            }
            if self.users.is_completed() {
                self.auth.registrations.looks.become_current().await;
            }
        };
        let _in_time = tokio::time::timeout(SETTLE_LIMIT, read).await;
    }

    /// Ends what asks the database by itself, so that nothing is cut off half-way; to be called when nobody is served
    /// any more.
    pub async fn close(&self) {
        if let Some(feed) = self.feed.get() {
            let _in_time = tokio::time::timeout(CLOSE_LIMIT, feed.close()).await;
        }
    }
}

/// Longest wait for the feed's tail to end. A database that answers needs some ms, and one that does not may be left.
const CLOSE_LIMIT: Duration = Duration::from_millis(500);

/// Longest wait for the first look at the database.
const SETTLE_LIMIT: Duration = Duration::from_secs(2);
