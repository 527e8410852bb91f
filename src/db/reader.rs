//! The reader: a replica, or a reader endpoint, whose data may be some seconds old and which may be away.
//!
//! A read that fails there is done again on the writer, within the same request. From then on reads go straight to the
//! writer, while one task tries to connect to the reader until it answers. So a dead reader costs one short wait, not
//! one for each request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::tasks::{Kind, Tasks};

use super::connection::{self, Connection};
use super::metrics::DbMetrics;
use super::pool::Pool;
use super::{Db, Error};

/// Longest wait for a connection to the reader; after it the writer is asked.
pub const READER_WAIT_MS_MAX: u64 = 400;
/// Longest wait for the reader's answers to one request, all its statements together.
pub const READER_ANSWER_MS_MAX: u64 = 900;
/// Pause between two attempts to connect to a reader that is away. (The pool's manager adds pauses of its own.)
const RETRY_PAUSE_MS: u64 = 200;

/// The reader's pool, and whether the reader is away.
pub(super) struct Reader {
    pub(super) pool: Pool,
    away: Arc<AtomicBool>,
    tasks: Tasks,
}

impl Reader {
    pub(super) fn new(pool: Pool, tasks: Tasks) -> Self {
        Self { pool, away: Arc::new(AtomicBool::new(false)), tasks }
    }

    /// A connection, unless the reader is away.
    async fn take(&self, metrics: &DbMetrics) -> Option<Connection> {
        if self.away.load(Relaxed) {
            return None;
        }
        let limit = Duration::from_millis(READER_WAIT_MS_MAX);
        match timeout(limit, connection::take(&self.pool, metrics)).await {
            Ok(Ok(connection)) => Some(connection),
            // The reader is there, but all its connections are in use.
            Ok(Err(Error::Busy)) => None,
            Ok(Err(error)) => {
                self.suspect(&error.to_string());
                None
            }
            Err(_) => {
                self.suspect("no connection in time");
                None
            }
        }
    }

    /// Sends reads to the writer until the reader answers again.
    fn suspect(&self, cause: &str) {
        if self.away.swap(true, Relaxed) {
            return;
        }
        tracing::warn!(cause, "the reader is away: reading from the writer");
        let (pool, away) = (self.pool.clone(), self.away.clone());
        self.tasks.spawn("reader_look", Kind::Housekeeping, move || await_return(pool.clone(), away.clone()));
    }
}

/// Tries to connect to the reader until it answers.
async fn await_return(pool: Pool, away: Arc<AtomicBool>) {
    while let Err(error) = pool.manager().connect().await {
        tracing::debug!(%error, "the reader is still away");
        sleep(Duration::from_millis(RETRY_PAUSE_MS)).await;
    }
    away.store(false, Relaxed);
    tracing::info!("the reader is back");
}

/// Runs a block of reads on the reader, and again on the writer where the reader is away or does not answer:
/// `reading!(db, conn => { … Ok(value) })`.
///
/// The block uses `conn` as a [`Connection`], only reads, and ends in a `Result<_, db::Error>`. What it read may
/// be some seconds old. (A macro for the reason that [`transaction!`](crate::transaction) is one.)
#[macro_export]
macro_rules! reading {
    ($db:expr, $conn:ident => $body:block) => {{
        let mut reading = $db.reading().await?;
        loop {
            let limit = reading.answer_limit();
            let $conn = reading.connection();
            let outcome = $crate::db::within(limit, async { $body }).await;
            if let Some(outcome) = reading.settle(outcome).await {
                break outcome;
            }
        }
    }};
}

/// The reads of one request: on the reader, or on the writer.
pub struct Reading<'a> {
    db: &'a Db,
    connection: Connection,
    on_reader: bool,
}

impl Reading<'_> {
    /// How long the present run may take. On the writer there is no limit but the statements' own, because there is no
    /// other server to turn to.
    #[must_use]
    pub fn answer_limit(&self) -> Option<Duration> {
        self.on_reader.then_some(Duration::from_millis(READER_ANSWER_MS_MAX))
    }

    /// The connection for the present run.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// The outcome, unless it is to be had from the writer.
    pub async fn settle<T>(&mut self, outcome: Result<T, Error>) -> Option<Result<T, Error>> {
        match outcome {
            Err(error @ (Error::Unavailable(_) | Error::Conflict(_))) if self.on_reader => {
                // One that lost, such as against a table's change, says nothing of the reader.
                if let (Some(reader), Error::Unavailable(cause)) = (&self.db.reader, &error) {
                    reader.suspect(cause);
                }
                self.on_reader = false;
                self.db.metrics.fell_back();
                match self.db.writer().await {
                    // The reader's connection is out of step, or its server gone: dropped for good.
                    Ok(writer) => self.connection = writer,
                    Err(error) => return Some(Err(error)),
                }
                None
            }
            outcome => Some(outcome),
        }
    }
}

/// The outcome of `work`, or an error when it takes longer than `limit`.
///
/// # Errors
/// Its own, and [`Error::Unavailable`].
pub async fn within<T>(
    limit: Option<Duration>,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let Some(limit) = limit else { return work.await };
    match timeout(limit, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::Unavailable("the reader did not answer in time".to_owned())),
    }
}

impl Db {
    /// Whether reads go to another server than writes.
    #[must_use]
    pub fn has_reader(&self) -> bool {
        self.reader.is_some()
    }

    /// A connection to the reader, whose data may be some seconds old; to the writer where there is no
    /// reader or it is away, which is counted. What fails on it fails: see [`reading!`](crate::reading).
    ///
    /// # Errors
    /// As [`Db::writer`].
    pub async fn reader(&self) -> Result<Connection, Error> {
        Ok(self.reading().await?.connection)
    }

    /// The runs of one request's reads, for [`reading!`](crate::reading).
    ///
    /// # Errors
    /// As [`Db::writer`].
    pub async fn reading(&self) -> Result<Reading<'_>, Error> {
        self.gate.pass().await?;
        if let Some(reader) = &self.reader
            && let Some(connection) = reader.take(&self.metrics).await
        {
            return Ok(Reading { db: self, connection, on_reader: true });
        }
        self.metrics.fell_back();
        Ok(Reading { db: self, connection: self.writer().await?, on_reader: false })
    }
}
