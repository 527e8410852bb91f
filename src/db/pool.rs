//! deadpool's manager over `mysql_async`, with three rules: every wait has a limit; a connection that is out of step
//! with its server never goes back to the pool; while a database is away, only one attempt to connect runs at a time,
//! with growing pauses between attempts.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use deadpool::managed::{self, Object, PoolConfig, QueueMode, RecycleError, RecycleResult, Timeouts};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, SslOpts};
use tokio::sync::Notify;
use tokio::time::{timeout, timeout_at};

use crate::config::{DatabaseTarget, SslMode};

use super::backoff::random_below;
use super::{Backoff, Error, session};

/// Longest wait for a connection to become free. Beyond it a 503 is kinder than a longer queue.
pub const POOL_WAIT_MS_MAX: u64 = 1_000;
/// Longest time to connect, log in and set the session up; a frozen server accepts and never greets.
pub const CONNECT_MS_MAX: u64 = 2_000;
/// An attempt to connect that its caller gave up after this time counts as one that the database did not answer.
const PATIENCE_MS_MIN: u64 = 500;
/// Longest wait for the ping of a connection that idled.
pub const RECYCLE_MS_MAX: u64 = 500;
/// Longest wait for one statement's answer.
pub const STATEMENT_MS_MAX: u64 = 3_000;
/// The server's own limit for a statement: it gives up before we do, so that the connection stays in step.
pub const SERVER_STATEMENT_MS_MAX: u64 = 2_500;
/// How long a statement waits for a row lock, or for a table that is being altered, before the transaction is run again.
pub const LOCK_WAIT_S_MAX: u64 = 1;
/// An idle connection older than this is pinged before it is used.
const PING_AFTER_IDLE_S: u64 = 1;
/// A connection is replaced at this age, so that load follows a failover or a new replica.
const AGE_S_MAX: u64 = 1_800;
/// The server closes a connection of ours that idles this long. Not its default of 8 h: where the network lost
/// us, this is when it lets go of our locks.
pub const SESSION_IDLE_S_MAX: u64 = 600;
/// The server closes a connection that idles this long with a transaction open, where it can (MariaDB). No transaction of
/// this program takes as long.
pub const TRANSACTION_IDLE_S_MAX: u64 = 10;
/// MySQL cannot, so there this is the limit of all that idles: what a client that vanished has locked is locked for
/// as long.
pub const MYSQL_IDLE_S_MAX: u64 = 20;
/// A connection to MySQL that idled this long is replaced before the server closes it: that would look as if the
/// server were away.
const MYSQL_REPLACED_AFTER_IDLE_S: u64 = 15;
/// Prepared statements kept per connection, those used last: as many as the help desk and the feed have, or any other
/// service. No more, because the server counts them over all connections (see `capacity`); an instance that serves
/// everything prepares now and then anew what is seldom used.
pub const STATEMENT_CACHE: usize = 64;
/// Largest packet either way; the largest body and its escapes fit well.
const PACKET_BYTES_MAX: usize = 16 * 1024 * 1024;
/// First and longest pause between attempts to connect to a database that is away.
const BACKOFF_MS: (u64, u64) = (50, 1_000);

const _: () = assert!(STATEMENT_MS_MAX < TRANSACTION_IDLE_S_MAX * 1_000);
const _: () = assert!(TRANSACTION_IDLE_S_MAX <= MYSQL_IDLE_S_MAX);
const _: () = assert!(MYSQL_REPLACED_AFTER_IDLE_S * 1_000 + STATEMENT_MS_MAX < MYSQL_IDLE_S_MAX * 1_000);
const _: () = assert!(LOCK_WAIT_S_MAX * 1_000 < SERVER_STATEMENT_MS_MAX);
const _: () = assert!(SERVER_STATEMENT_MS_MAX < STATEMENT_MS_MAX);

/// A pooled connection, and what tells whether it may still be used.
pub struct Pooled {
    pub(super) conn: Conn,
    epoch: u64,
    expires: Instant,
}

/// How the last attempts to connect went.
struct ConnectAttempts {
    backoff: Backoff,
    next: Option<Instant>,
    under_way: u32,
    /// When the attempt began that failed and is the youngest of those.
    failed: Option<Instant>,
}

/// Opens connections to one server, and decides which of them may still be used.
pub struct Manager {
    opts: Opts,
    must_write: bool,
    epoch: AtomicU64,
    attempts: Mutex<ConnectAttempts>,
    /// Notified after each attempt to connect.
    attempted: Notify,
}

impl Manager {
    pub(super) fn new(target: &DatabaseTarget, ssl: &SslMode, must_write: bool) -> Self {
        Self {
            opts: options(target, ssl),
            must_write,
            epoch: AtomicU64::new(0),
            attempts: Mutex::new(ConnectAttempts {
                backoff: Backoff::new(BACKOFF_MS.0, BACKOFF_MS.1),
                next: None,
                under_way: 0,
                failed: None,
            }),
            attempted: Notify::new(),
        }
    }

    /// Gives up every connection of the epoch of `pooled`: the server behind them is gone or demoted. A connection of an
    /// earlier epoch tells nothing about those that were opened later, so it ends no epoch.
    pub(super) fn abandon_like(&self, pooled: &Pooled) {
        let _stale = self.epoch.compare_exchange(pooled.epoch, pooled.epoch + 1, Relaxed, Relaxed);
    }

    /// Gives up every connection there is.
    pub(super) fn abandon_all(&self) {
        self.epoch.fetch_add(1, Relaxed);
    }

    fn attempts(&self) -> std::sync::MutexGuard<'_, ConnectAttempts> {
        self.attempts.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Waits until this caller may try to connect. While the last attempt succeeded, that is at once. After a failure one
    /// caller tries at a time, after a pause; the others wait for its outcome and fail with it, so that a database that is
    /// away gets few attempts, and one that is back is noticed at the next. The failure of an attempt that began before a
    /// caller came does not count for that caller.
    async fn may_connect(&self) -> Result<ConnectAttempt<'_>, Error> {
        let asked_at = Instant::now();
        loop {
            let attempted = self.attempted.notified();
            let next = {
                let mut attempts = self.attempts();
                let next = attempts.next.filter(|next| *next > Instant::now());
                if attempts.backoff.failures() == 0 || (next.is_none() && attempts.under_way == 0) {
                    attempts.under_way += 1;
                    return Ok(ConnectAttempt { manager: self, begun: Instant::now(), succeeded: None });
                }
                next
            };
            match next {
                Some(next) => drop(timeout_at(next.into(), attempted).await),
                None => attempted.await,
            }
            if self.attempts().failed.is_some_and(|begun| begun >= asked_at) {
                return Err(Error::Unavailable("it could not be connected to just now".to_owned()));
            }
        }
    }

    /// Opens a connection, as soon as this caller may try.
    pub(super) async fn connect(&self) -> Result<Conn, Error> {
        let mut attempt = self.may_connect().await?;
        let limit = Duration::from_millis(CONNECT_MS_MAX);
        let conn = match timeout(limit, self.connect_and_check()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::Unavailable("no answer while connecting".to_owned())),
        };
        attempt.succeeded = Some(conn.is_ok());
        conn
    }

    async fn connect_and_check(&self) -> Result<Conn, Error> {
        // A refusal at login (wrong password, no such schema) is not the error of one statement: the database cannot be
        // used at all until somebody repairs that.
        let away = |error: &mysql_async::Error| Error::Unavailable(error.to_string());
        let mut conn = Conn::new(self.opts.clone()).await.map_err(|error| away(&error))?;
        if self.must_write {
            let read_only: Option<bool> =
                conn.query_first(IS_READ_ONLY).await.map_err(|error| away(&error))?;
            if read_only == Some(true) {
                return Err(Error::Unavailable(DEMOTED.to_owned()));
            }
        }
        Ok(conn)
    }
}

/// An attempt to connect. One that is dropped without an outcome counts as failed only if it took
/// [`PATIENCE_MS_MIN`]: before that, its caller may just have left.
struct ConnectAttempt<'a> {
    manager: &'a Manager,
    begun: Instant,
    succeeded: Option<bool>,
}

impl Drop for ConnectAttempt<'_> {
    fn drop(&mut self) {
        let mut attempts = self.manager.attempts();
        attempts.under_way -= 1;
        match self.succeeded {
            Some(true) => {
                attempts.backoff.succeeded();
                attempts.next = None;
            }
            None if self.begun.elapsed() < Duration::from_millis(PATIENCE_MS_MIN) => {}
            Some(false) | None => {
                attempts.next = Some(Instant::now() + attempts.backoff.failed());
                attempts.failed = attempts.failed.max(Some(self.begun));
            }
        }
        drop(attempts);
        self.manager.attempted.notify_waiters();
    }
}

impl managed::Manager for Manager {
    type Type = Pooled;
    type Error = Error;

    async fn create(&self) -> Result<Pooled, Error> {
        let epoch = self.epoch.load(Relaxed);
        let conn = self.connect().await?;
        let age = AGE_S_MAX + random_below(AGE_S_MAX / 4);
        Ok(Pooled { conn, epoch, expires: Instant::now() + Duration::from_secs(age) })
    }

    /// Judges without I/O first: only a connection that finished all it was asked came back at all (see
    /// `Connection`'s drop), so a ping here reads the ping's own answer and nothing older.
    async fn recycle(&self, pooled: &mut Pooled, metrics: &managed::Metrics) -> RecycleResult<Error> {
        if pooled.epoch != self.epoch.load(Relaxed) || Instant::now() >= pooled.expires {
            return Err(RecycleError::message("outlived its server or its age"));
        }
        let idle = metrics.last_used();
        if idle > Duration::from_secs(MYSQL_REPLACED_AFTER_IDLE_S) && is_mysql(&pooled.conn) {
            return Err(RecycleError::message("the server is about to close it"));
        }
        if idle > Duration::from_secs(PING_AFTER_IDLE_S) {
            // Our own limit, so that what it means is drawn from it: with each idle connection asked in turn, a
            // frozen server would cost one request the sum of all their waits.
            let limit = Duration::from_millis(RECYCLE_MS_MAX);
            if !matches!(timeout(limit, pooled.conn.ping()).await, Ok(Ok(()))) {
                self.abandon_like(pooled);
                return Err(RecycleError::message("did not answer a ping"));
            }
        }
        Ok(())
    }
}

/// A pool of connections to one server.
pub type Pool = managed::Pool<Manager>;
/// A connection out of such a pool.
pub type PoolObject = Object<Manager>;

pub(super) fn build(manager: Manager, size: usize) -> Result<Pool, Error> {
    let config = PoolConfig {
        max_size: size,
        timeouts: Timeouts {
            wait: Some(Duration::from_millis(POOL_WAIT_MS_MAX)),
            // The manager's own limits come first.
            create: Some(Duration::from_millis(CONNECT_MS_MAX + 100)),
            recycle: Some(Duration::from_millis(RECYCLE_MS_MAX + 100)),
        },
        // The connection used last is the one whose caches are warm; the others age away.
        queue_mode: QueueMode::Lifo,
    };
    Pool::builder(manager)
        .config(config)
        .runtime(deadpool::Runtime::Tokio1)
        .build()
        .map_err(|error| Error::Internal(error.to_string()))
}

fn options(target: &DatabaseTarget, ssl: &SslMode) -> Opts {
    let ssl = match ssl {
        SslMode::Disabled => None,
        SslMode::Required => Some(
            SslOpts::default()
                .with_danger_accept_invalid_certs(true)
                .with_danger_skip_domain_validation(true),
        ),
        SslMode::VerifyIdentity(None) => Some(SslOpts::default()),
        SslMode::VerifyIdentity(Some(path)) => {
            Some(SslOpts::default().with_root_certs(vec![std::path::PathBuf::from(path).into()]))
        }
    };
    OptsBuilder::default()
        // Host and port, not a URL: so the name is resolved anew, off the runtime's threads, at each connect.
        .ip_or_hostname(target.host.clone())
        .tcp_port(target.port)
        .user(Some(target.user.clone()))
        .pass(Some(target.password.reveal().to_owned()))
        .db_name(Some(target.name.clone()))
        .ssl_opts(ssl)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(Duration::from_secs(30)))
        // Never the local socket that the server names: it may lead to another server than the one meant.
        .prefer_socket(false)
        .stmt_cache_size(STATEMENT_CACHE)
        .max_allowed_packet(Some(PACKET_BYTES_MAX))
        .wait_timeout(Some(SESSION_IDLE_S_MAX as usize))
        .setup(vec![session::setup()])
        .into()
}

/// MariaDB's versions begin at 10.
fn is_mysql(conn: &Conn) -> bool {
    conn.server_version().0 < 10
}

/// The error where the writer was demoted.
pub(super) const DEMOTED: &str = "the writer is read-only: a failover is under way";

/// Whether the server is a writer that was demoted: RDS and MariaDB set `read_only` then (a number, or a word in MariaDB
/// 12), Aurora `innodb_read_only`. Statements that ask for it along with something else have the same condition.
pub const IS_READ_ONLY: &str =
    "SELECT CAST(@@global.read_only AS CHAR) NOT IN ('0', 'OFF') OR @@global.innodb_read_only";
