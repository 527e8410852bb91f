//! One connection in somebody's hands.

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Params, Row};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::error::{dooms_the_pool, leaves_connection_usable};
use super::metrics::DbMetrics;
use super::pool::{Pool, PoolObject, STATEMENT_MS_MAX};
use super::value::Columns;
use super::{Error, Literal, Packet, Record, Statement};
use crate::clock::Timestamp;

/// What a statement that returns no rows did; the statements of a packet, together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// Rows changed; a row set to what it was counts as none.
    pub affected: u64,
    /// The last AUTO_INCREMENT value made, else 0.
    pub last_id: u64,
}

const BEGIN: &str = "START TRANSACTION";
/// All that is read until the end is of one moment, which it tells: before it, by the database's clock. The session's
/// own isolation holds again for what comes after.
const BEGIN_SNAPSHOT: &str = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;
START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY;
SELECT NOW(6)";

/// How far the server is with what this connection asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TransactionState {
    /// In step, no transaction open: may go back to the pool.
    Clean,
    /// In step, no transaction open; one begins together with the next statement.
    ToBegin,
    /// In step, a transaction open.
    InTransaction,
    /// An answer is still to come, or the connection broke.
    OutOfStep,
}

/// A connection, for one caller at a time.
///
/// **It goes back to the pool only when it is clean.** A future can be dropped at any await; the answer to
/// what it asked would then be read by the next user as the answer to theirs. So the state is out of step
/// from before a statement is sent until its whole answer was read, and `drop` takes a connection that is
/// not clean out of the pool for good. The server undoes what was not committed.
pub struct Connection {
    object: Option<PoolObject>,
    state: TransactionState,
    /// Whether it may go back to the pool.
    pooled: bool,
    /// Whether the server closed it (as opposed to not answering) before a transaction had done anything.
    was_closed_unbegun: bool,
    /// The permit for a heavy read, given back with the connection.
    heavy: Option<OwnedSemaphorePermit>,
    metrics: DbMetrics,
}

impl Connection {
    pub(super) fn new(object: PoolObject, metrics: DbMetrics) -> Self {
        Self {
            object: Some(object),
            state: TransactionState::Clean,
            pooled: true,
            was_closed_unbegun: false,
            heavy: None,
            metrics,
        }
    }

    pub(super) fn keep(&mut self, permit: OwnedSemaphorePermit) {
        self.heavy = Some(permit);
    }

    /// Ends it with its use here, for what a session keeps: a named lock goes with its connection.
    pub(super) const fn keep_out_of_pool(&mut self) {
        self.pooled = false;
    }

    /// All rows.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn rows<T: Record>(
        &mut self,
        statement: &Statement,
        params: impl Into<Params>,
    ) -> Result<Vec<T>, Error> {
        let rows = self.ask(statement, params.into()).await?.0;
        rows.into_iter().map(|row| T::read(&mut Columns::new(row))).collect()
    }

    /// The first row, if there is one.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn first<T: Record>(
        &mut self,
        statement: &Statement,
        params: impl Into<Params>,
    ) -> Result<Option<T>, Error> {
        let rows = self.ask(statement, params.into()).await?.0;
        rows.into_iter().next().map(|row| T::read(&mut Columns::new(row))).transpose()
    }

    /// No rows: what was done.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn run(&mut self, statement: &Statement, params: impl Into<Params>) -> Result<Done, Error> {
        Ok(self.ask(statement, params.into()).await?.1)
    }

    /// A packet that does not commit, and the last row that it gave.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn packet<T: Record>(
        &mut self,
        packet: &Packet,
        parameters: &[Literal<'_>],
    ) -> Result<Option<T>, Error> {
        let row = self.send(packet, parameters).await?.1.pop();
        row.map(|row| T::read(&mut Columns::new(row))).transpose()
    }

    /// A packet once for each set of parameters, in one exchange, and all rows of all of them.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn rows_of_packets<T: Record, const N: usize>(
        &mut self,
        packet: &Packet,
        sets: impl IntoIterator<Item = [Literal<'_>; N]>,
    ) -> Result<Vec<T>, Error> {
        let mut text = String::new();
        for parameters in sets {
            if !text.is_empty() {
                text.push_str(";\n");
            }
            packet.write(&parameters, &mut text);
        }
        let rows = self.send_text(packet.name, text).await?.1;
        rows.into_iter().map(|row| T::read(&mut Columns::new(row))).collect()
    }

    /// The last of a transaction: a packet that ends with COMMIT.
    ///
    /// # Errors
    /// See [`Error`]; the transaction is open still, unless it was the COMMIT that failed.
    pub async fn run_and_commit(
        &mut self,
        packet: &Packet,
        parameters: &[Literal<'_>],
    ) -> Result<Done, Error> {
        // Apart from what commits: who finds the connection closed then knows that nothing was done.
        self.begin_now().await?;
        let done = self.send(packet, parameters).await?.0;
        self.state = TransactionState::Clean;
        Ok(done)
    }

    /// One exchange for the whole packet, and before it for the beginning of a transaction that is to begin.
    async fn send(&mut self, packet: &Packet, parameters: &[Literal<'_>]) -> Result<(Done, Vec<Row>), Error> {
        let mut text = String::new();
        if self.state == TransactionState::ToBegin {
            text.push_str(BEGIN);
            text.push_str(";\n");
        }
        packet.write(parameters, &mut text);
        self.send_text(packet.name, text).await
    }

    async fn send_text(&mut self, name: &'static str, text: String) -> Result<(Done, Vec<Row>), Error> {
        let begun = Instant::now();
        let outcome = self.in_step(async |conn| exchange_all(conn, text).await).await;
        self.metrics.statement(name, begun.elapsed(), outcome.as_ref().err());
        outcome
    }

    /// Begins to read as of one moment; the moment, by the database's clock. To be ended, or the connection is lost.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn begin_snapshot(&mut self) -> Result<Timestamp, Error> {
        self.begin();
        let row = self.send_text("transaction.snapshot", BEGIN_SNAPSHOT.to_owned()).await?.1.pop();
        Timestamp::read(&mut Columns::new(row.ok_or_else(broken)?))
    }

    /// Ends what [`Connection::begin_snapshot`] began.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn end_snapshot(&mut self) -> Result<(), Error> {
        self.commit().await
    }

    async fn ask(&mut self, statement: &Statement, params: Params) -> Result<(Vec<Row>, Done), Error> {
        self.begin_now().await?;
        let begun = Instant::now();
        let outcome = self
            .in_step(async |conn| {
                let rows = conn.exec::<Row, _, _>(statement.sql, params).await?;
                let done = Done {
                    affected: conn.affected_rows(),
                    last_id: conn.last_insert_id().unwrap_or_default(),
                };
                Ok((rows, done))
            })
            .await;
        self.metrics.statement(statement.name, begun.elapsed(), outcome.as_ref().err());
        outcome
    }

    /// What is asked next begins a transaction: in the same exchange if it is a packet, else in one before.
    pub(super) const fn begin(&mut self) {
        if matches!(self.state, TransactionState::Clean) {
            self.state = TransactionState::ToBegin;
        }
    }

    async fn begin_now(&mut self) -> Result<(), Error> {
        if self.state == TransactionState::ToBegin {
            self.plain("transaction.begin", BEGIN).await?;
        }
        Ok(())
    }

    /// Commits, unless [`Connection::run_and_commit`] did.
    pub(super) async fn commit(&mut self) -> Result<(), Error> {
        self.end("transaction.commit", "COMMIT").await
    }

    pub(super) async fn rollback(&mut self) -> Result<(), Error> {
        self.end("transaction.rollback", "ROLLBACK").await
    }

    /// Whether the server closed the connection before it did anything in the transaction, so that another
    /// connection may.
    pub(super) const fn was_closed_unbegun(&self) -> bool {
        self.was_closed_unbegun
    }

    async fn end(&mut self, name: &'static str, text: &'static str) -> Result<(), Error> {
        if self.state == TransactionState::InTransaction {
            self.plain(name, text).await?;
        }
        // What broke needs no end: the server undoes it.
        if self.state == TransactionState::OutOfStep {
            return Err(broken());
        }
        self.state = TransactionState::Clean;
        Ok(())
    }

    async fn plain(&mut self, name: &'static str, text: &'static str) -> Result<(), Error> {
        let begun = Instant::now();
        let outcome = self.in_step(async |conn| conn.query_drop(text).await).await;
        self.metrics.statement(name, begun.elapsed(), outcome.as_ref().err());
        outcome
    }

    /// Runs one exchange with the server within the time limit and keeps account of the state.
    async fn in_step<T>(
        &mut self,
        exchange: impl AsyncFnOnce(&mut mysql_async::Conn) -> Result<T, mysql_async::Error>,
    ) -> Result<T, Error> {
        let Some(object) = self.object.as_mut() else { return Err(broken()) };
        if self.state == TransactionState::OutOfStep {
            return Err(broken());
        }
        let before = std::mem::replace(&mut self.state, TransactionState::OutOfStep);
        let after =
            if before == TransactionState::ToBegin { TransactionState::InTransaction } else { before };
        match timeout(Duration::from_millis(STATEMENT_MS_MAX), exchange(&mut object.conn)).await {
            Ok(Ok(done)) => {
                self.state = after;
                Ok(done)
            }
            Ok(Err(error)) => {
                if leaves_connection_usable(&error) {
                    self.state = after;
                } else {
                    self.was_closed_unbegun = before == TransactionState::ToBegin;
                    if dooms_the_pool(&error)
                        && let Some(pool) = PoolObject::pool(object)
                    {
                        pool.manager().abandon_like(object);
                    }
                }
                Err(Error::from_driver(&error))
            }
            Err(_) => Err(Error::Unavailable("no answer in time".to_owned())),
        }
    }
}

/// Sends the text of a packet, and returns what it did and the last row of its answers.
pub(super) async fn exchange(
    conn: &mut mysql_async::Conn,
    text: String,
) -> Result<(Done, Option<Row>), mysql_async::Error> {
    let (done, mut rows) = exchange_all(conn, text).await?;
    Ok((done, rows.pop()))
}

/// Sends the text of a packet, and returns what it did and the rows of all its statements.
async fn exchange_all(
    conn: &mut mysql_async::Conn,
    text: String,
) -> Result<(Done, Vec<Row>), mysql_async::Error> {
    let mut result = conn.query_iter(text).await?;
    let (mut all, mut rows) = (Done::default(), Vec::new());
    while !result.is_empty() {
        all.affected += result.affected_rows();
        all.last_id = result.last_insert_id().unwrap_or(all.last_id);
        rows.append(&mut result.collect::<Row>().await?);
    }
    // The driver keeps an error of a later statement for whoever asks next: that is here.
    result.drop_result().await?;
    Ok((all, rows))
}

fn broken() -> Error {
    Error::Unavailable("the connection broke".to_owned())
}

impl Drop for Connection {
    fn drop(&mut self) {
        let is_clean = matches!(self.state, TransactionState::Clean | TransactionState::ToBegin);
        if (!is_clean || !self.pooled)
            && let Some(object) = self.object.take()
        {
            if !is_clean {
                self.metrics.discarded();
            }
            drop(PoolObject::take(object));
        }
    }
}

/// Takes a connection out of `pool`.
pub(super) async fn take(pool: &Pool, metrics: &DbMetrics) -> Result<Connection, Error> {
    use deadpool::managed::{PoolError, TimeoutType};
    let begun = Instant::now();
    let outcome = pool.get().await.map_err(|error| match error {
        PoolError::Backend(error) => error,
        PoolError::Timeout(TimeoutType::Wait) => Error::Busy,
        PoolError::Timeout(_) => Error::Unavailable("no answer while connecting".to_owned()),
        other => Error::Unavailable(other.to_string()),
    });
    metrics.waited(begun.elapsed(), outcome.as_ref().err());
    Ok(Connection::new(outcome?, metrics.clone()))
}
