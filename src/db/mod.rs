//! The database: a pool of connections to the writer, one to a reader if there is one, statements from
//! `sql/`, transactions that are run again when they lose, and migrations.
//!
//! Only this module and the services' `store.rs` name the driver. Errors here know no HTTP.

mod backoff;
mod binlog;
mod capacity;
mod connection;
mod dedicated;
pub mod error;
mod gate;
mod metrics;
pub mod migrations;
pub mod pool;
mod reader;
pub mod session;
mod statement;
mod value;

use std::sync::Arc;
use std::time::{Duration, Instant};

use mysql_async::Conn;
use prometheus::Registry;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::config::{Config, DatabaseTarget, SslMode};

pub use backoff::{Backoff, random_below};
pub use capacity::Capacity;
pub use connection::{Connection, Done};
pub use dedicated::Dedicated;
pub use error::Error;
pub use gate::Gate;
pub use metrics::DbMetrics;
pub use reader::{Reading, within};
pub use statement::{Literal, Packet, Statement, composed, composed_bytes};
pub use value::{Columns, Record};

use crate::tasks::Tasks;

use pool::{Manager, Pool};
use reader::Reader;

/// A transaction that keeps losing is run this often before its caller is told.
const TRANSACTION_RUNS_MAX: u32 = 4;
/// One of so many pooled connections may be used by heavy reads, and one at least: the others stay free for short
/// statements.
const HEAVY_SHARE: usize = 4;
/// Longest wait for a permit for a heavy read; then a 503. Each heavy read takes some tens of milliseconds.
pub const HEAVY_WAIT_MS_MAX: u64 = 2_000;
/// Pause before a rerun: enough for the winner to finish.
const RERUN_PAUSE_MS: u64 = 5;

/// The database as services see it.
pub struct Db {
    writer: Pool,
    reader: Option<Reader>,
    heavy: Arc<Semaphore>,
    gate: Gate,
    metrics: DbMetrics,
}

impl Db {
    /// Pools for the configured writer and reader, which `tasks` look for when it is away. Connects to nothing yet.
    ///
    /// # Errors
    /// [`Error::Internal`] when a pool cannot be built.
    pub fn new(config: &Config, metrics: DbMetrics, tasks: &Tasks) -> Result<Self, Error> {
        let pool = |target: &DatabaseTarget, must_write| {
            pool::build(Manager::new(target, &config.database_ssl, must_write), config.db_pool_size)
        };
        let reader = config.database_reader.as_ref().map(|target| pool(target, false)).transpose()?;
        let reader = reader.map(|pool| Reader::new(pool, tasks.clone()));
        let heavy = Arc::new(Semaphore::new(config.db_pool_size.div_ceil(HEAVY_SHARE)));
        Ok(Self { writer: pool(&config.database, true)?, reader, heavy, gate: Gate::default(), metrics })
    }

    /// What holds connections back until the schema is right.
    #[must_use]
    pub const fn gate(&self) -> &Gate {
        &self.gate
    }

    /// A connection to the writer.
    ///
    /// # Errors
    /// [`Error::Busy`] or [`Error::Unavailable`].
    pub async fn writer(&self) -> Result<Connection, Error> {
        self.gate.pass().await?;
        connection::take(&self.writer, &self.metrics).await
    }

    /// A connection to the writer for a heavy read: of a list that may be long. Heavy reads may use only a share of the
    /// pool, so writes find a connection however many such reads there are, and however long they take.
    ///
    /// # Errors
    /// As [`Db::writer`]; [`Error::Busy`] also when no permit was free for [`HEAVY_WAIT_MS_MAX`].
    pub async fn heavy(&self) -> Result<Connection, Error> {
        let permit = self.heavy_permit().await?;
        let mut connection = self.writer().await?;
        connection.keep(permit);
        Ok(connection)
    }

    /// The permit alone, for a heavy read over another connection; to be kept until the read is done.
    ///
    /// # Errors
    /// [`Error::Busy`] when no permit was free for [`HEAVY_WAIT_MS_MAX`].
    pub async fn heavy_permit(&self) -> Result<OwnedSemaphorePermit, Error> {
        let begun = Instant::now();
        let limit = Duration::from_millis(HEAVY_WAIT_MS_MAX);
        let permit = match timeout(limit, self.heavy.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(Error::Busy),
        };
        self.metrics.waited_heavy(begun.elapsed(), permit.as_ref().err());
        permit
    }

    /// A connection to the writer that is closed after its use, for a named lock that must not outlive it.
    ///
    /// # Errors
    /// As [`Db::writer`].
    pub async fn writer_once(&self) -> Result<Connection, Error> {
        let mut connection = self.writer().await?;
        connection.keep_out_of_pool();
        Ok(connection)
    }

    /// A connection to the writer outside the pool, for a task that keeps one of its own.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub(crate) async fn dedicated(&self) -> Result<Conn, Error> {
        self.gate.pass().await?;
        self.connect_unchecked().await
    }

    /// A connection to the writer whether the gate is open or not, for the commands and tasks that check or migrate the
    /// schema.
    async fn connect_unchecked(&self) -> Result<Conn, Error> {
        self.writer.manager().connect().await
    }

    /// The runs of one transaction on the writer, for [`transaction!`](crate::transaction).
    ///
    /// # Errors
    /// As [`Db::writer`].
    pub async fn transaction(&self) -> Result<Transaction, Error> {
        let connection = self.writer().await?;
        Ok(Transaction { connection, runs: 0, pool: self.writer.clone(), metrics: self.metrics.clone() })
    }

    /// Registers the pools' gauges.
    ///
    /// # Errors
    /// When their name is taken: a mistake of ours.
    pub fn register_gauges(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let (writer, reader) = (self.writer.clone(), self.reader.as_ref().map(|reader| reader.pool.clone()));
        let about = "Pooled connections: open, idle, waited for, and at most.";
        crate::metrics::gauges(registry, "db_pool_connections", about, &["pool", "state"], move |gauges| {
            metrics::set_gauges(gauges, "writer", &writer);
            if let Some(reader) = &reader {
                metrics::set_gauges(gauges, "reader", reader);
            }
        })
    }
}

/// A connection to another database than ours, to be read.
///
/// # Errors
/// [`Error::Unavailable`].
pub(crate) async fn connect_elsewhere(target: &DatabaseTarget, ssl: &SslMode) -> Result<Conn, Error> {
    Manager::new(target, ssl, false).connect().await
}

/// Runs a block in a transaction on the writer and commits it: `transaction!(db, tx => { … Ok(value) })`.
///
/// The block uses `tx` as a [`Connection`] and ends in a `Result`. Its last statement may be one that commits
/// ([`Connection::run_and_commit`]). A deadlock or a lock wait undoes the whole
/// and runs it again; any other error undoes it and is the value. An error of the commit itself means that
/// the outcome is unknown. (A macro, because a future that borrows what its closure borrowed cannot be
/// shown to be `Send` for every lifetime.)
#[macro_export]
macro_rules! transaction {
    ($db:expr, $tx:ident => $body:block) => {{
        let mut transaction = $db.transaction().await?;
        loop {
            let $tx = transaction.begin();
            let outcome = async { $body }.await;
            if let Some(outcome) = transaction.settle(outcome).await {
                break outcome;
            }
        }
    }};
}

/// A transaction's connection, and how often it was run.
pub struct Transaction {
    connection: Connection,
    runs: u32,
    pool: Pool,
    metrics: DbMetrics,
}

impl Transaction {
    /// Begins a run: with the first thing that it asks.
    pub fn begin(&mut self) -> &mut Connection {
        self.runs += 1;
        self.connection.begin();
        &mut self.connection
    }

    /// Commits or undoes a run; nothing when there is to be another. A connection that the server closed while nobody
    /// used it is replaced, once: nothing was done on it yet.
    pub async fn settle<T, E>(&mut self, outcome: Result<T, E>) -> Option<Result<T, E>>
    where
        E: From<Error> + AsConflict,
    {
        let outcome = match outcome {
            Ok(value) => self.connection.commit().await.map(|()| value).map_err(E::from),
            Err(error) => Err(error),
        };
        let Err(error) = outcome else { return Some(outcome) };
        if self.runs == 1 && self.connection.was_closed_unbegun() {
            match connection::take(&self.pool, &self.metrics).await {
                Ok(another) => self.connection = another,
                Err(error) => return Some(Err(error.into())),
            }
            return None;
        }
        // A connection that cannot even roll back is broken: dropping it undoes the transaction.
        let undone = self.connection.rollback().await;
        if self.runs == TRANSACTION_RUNS_MAX || !error.is_conflict() || undone.is_err() {
            return Some(Err(error));
        }
        self.metrics.rerun();
        let pause = RERUN_PAUSE_MS << self.runs;
        // Half fixed, half random, so that two that lost to each other do not meet again.
        tokio::time::sleep(Duration::from_millis(pause / 2 + random_below(pause))).await;
        None
    }
}

/// Tells whether an error means that a transaction lost against another and may be run again.
pub trait AsConflict {
    /// Whether it does.
    fn is_conflict(&self) -> bool;
}

impl AsConflict for Error {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict(_))
    }
}
