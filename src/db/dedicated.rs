//! A connection that a task keeps for itself, outside the pool: requests never keep it waiting.

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error as Driver, Params, Row};
use tokio::time::timeout;

use super::connection::exchange;
use super::pool::{DEMOTED, Pool, STATEMENT_MS_MAX};
use super::{Columns, Db, DbMetrics, Error, Record, Statement};

/// A connection of a task's own.
///
/// One whose exchange failed or was dropped half-way is out of step: the owner drops it and connects anew.
pub struct Dedicated {
    conn: Conn,
    pool: Pool,
    metrics: DbMetrics,
}

impl Dedicated {
    /// Opens a connection to the writer.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the writer is away, or the schema is not right.
    pub async fn open(db: &Db) -> Result<Self, Error> {
        Ok(Self { conn: db.dedicated().await?, pool: db.writer.clone(), metrics: db.metrics.clone() })
    }

    /// Gives up every connection to a writer that says of itself that it is read-only now. A demoted writer may still
    /// answer reads, but gets no new changes; an instance that only reads would never notice.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where it is read-only.
    pub fn still_writes(&self, is_read_only: bool) -> Result<(), Error> {
        if !is_read_only {
            return Ok(());
        }
        self.pool.manager().abandon_all();
        Err(Error::Unavailable(DEMOTED.to_owned()))
    }

    /// Runs a statement and returns all its rows.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn rows<T: Record>(
        &mut self,
        statement: &Statement,
        params: impl Into<Params>,
    ) -> Result<Vec<T>, Error> {
        let begun = Instant::now();
        let rows: Vec<Row> = limited(self.conn.exec(statement.sql, params.into())).await?;
        // Errors are counted by whoever owns the connection.
        self.metrics.statement(statement.name, begun.elapsed(), None);
        rows.into_iter().map(|row| T::read(&mut Columns::new(row))).collect()
    }

    /// Runs a statement without rows and returns how many rows it changed.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn run(&mut self, statement: &Statement, params: impl Into<Params>) -> Result<u64, Error> {
        limited(self.conn.exec_drop(statement.sql, params.into())).await?;
        Ok(self.conn.affected_rows())
    }

    /// Sends a packet's text and returns the last row of its answers.
    ///
    /// # Errors
    /// See [`Error`]. The connection must not be used again then: a transaction may be open.
    pub async fn packet(&mut self, text: String) -> Result<Option<Columns>, Error> {
        Ok(limited(exchange(&mut self.conn, text)).await?.1.map(Columns::new))
    }

    /// Ends the session at the server, so that it need not time out there.
    pub async fn close(self) {
        let _best_effort = limited(self.conn.disconnect()).await;
    }
}

async fn limited<T>(work: impl Future<Output = Result<T, Driver>>) -> Result<T, Error> {
    match timeout(Duration::from_millis(STATEMENT_MS_MAX), work).await {
        Ok(done) => done.map_err(|error| Error::from_driver(&error)),
        Err(_) => Err(Error::Unavailable("no answer in time".to_owned())),
    }
}
