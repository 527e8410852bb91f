//! What a service is, what it is made from, and what several of them share.

use std::sync::{Arc, Once, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::Method;
use prometheus::Registry;

use crate::auth::Auth;
use crate::chassis::drain::{Drain, Stage};
use crate::chassis::pages::Page;
use crate::chassis::route::{Miss, Route};
use crate::chassis::{Answer, Background, Request};
use crate::config::Config;
use crate::db::{Db, Packet, Statement};
use crate::feed::{self, Domain, Feed};
use crate::tasks::{Kind, Tasks};
use crate::users;

/// A service: what the composition must know of it. Everything else of a service stays within its folder.
pub trait Service: Send + Sync + Sized + 'static {
    /// Its URLs.
    type Route: Route;

    /// Its name in `SERVICES`, in log lines and in metrics; the name of its folder, too.
    const NAME: &'static str;
    /// Its part of the OpenAPI document: `paths` and `components`, as JSON.
    const OPENAPI: &'static str;
    /// Its SQL statements, for the test that prepares them all.
    const STATEMENTS: &'static [Statement];
    /// Its packets of several statements.
    const PACKETS: &'static [Packet] = &[];
    /// What a browser gets, where people use the service.
    const PAGE: Option<Page> = None;

    /// Makes the service and starts its tasks, on the runtime that this is called on.
    ///
    /// # Errors
    /// A text for the log: a metric's name is taken twice, or a setting leads to what is not there.
    fn new(context: &Context) -> Result<Arc<Self>, String>;

    /// The route of a method and a path. Pure, and without allocation.
    ///
    /// # Errors
    /// A [`Miss`] tells 404 from 405.
    fn find(method: &Method, path: &str) -> Result<Self::Route, Miss>;

    /// Answers a request that may be made and whose body is there.
    fn call(self: &Arc<Self>, route: Self::Route, request: &mut Request) -> Answer;
}

/// What services are made from: what this process has one of.
pub struct Context {
    /// All settings, read from the environment and checked.
    pub config: Arc<Config>,
    /// The pools of the writer and of the reader.
    pub db: Arc<Db>,
    /// Keys and revoked sessions.
    pub auth: Arc<Auth>,
    /// Where metrics are registered.
    pub registry: Registry,
    /// How far stopping is.
    pub drain: Arc<Drain>,
    /// What supervises background tasks.
    pub tasks: Tasks,
    /// What requests wait for runs there.
    pub background: Arc<Background>,
    /// The feed of the service that has one: [`Context::adopt`].
    feed: OnceLock<Arc<dyn Lifecycle>>,
    /// Done by the first service that wants it: [`Context::let_users_in`].
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

impl Context {
    /// Puts these together; the feed is not started yet.
    #[must_use]
    pub fn new(
        config: Arc<Config>,
        db: Arc<Db>,
        auth: Arc<Auth>,
        registry: Registry,
        drain: Arc<Drain>,
        tasks: Tasks,
        background: Arc<Background>,
    ) -> Self {
        let (feed, users) = (OnceLock::new(), Once::new());
        Self { config, db, auth, registry, drain, tasks, background, feed, users }
    }

    /// Starts the tasks that keep this instance's memory of users and sign-outs current. For services that let users
    /// in; later calls do nothing. To be called on the background runtime.
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

    /// Waits until the feed has been read and the users have been looked up: before that every request would wait for
    /// them. Returns after [`SETTLE_LIMIT`] all the same: where the database is away, requests get a 503 and this
    /// instance must be there to say so.
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

    /// Stops the feed's tasks, so that none is cut off in the middle of a statement. To be called when no client is
    /// served any more.
    pub async fn close(&self) {
        if let Some(feed) = self.feed.get() {
            let _in_time = tokio::time::timeout(CLOSE_LIMIT, feed.close()).await;
        }
    }
}

/// Longest wait for the feed's tail to end. A database that answers needs some ms, and one that does not may be left.
const CLOSE_LIMIT: Duration = Duration::from_millis(500);

/// Longest wait of [`Context::settled`].
const SETTLE_LIMIT: Duration = Duration::from_secs(2);
