//! How many instances a database has room for: connections, and the statements prepared on them.

use super::pool::STATEMENT_CACHE;
use super::{Columns, Db, Error, Record, Statement};

const LIMITS: Statement = Statement {
    name: "capacity.limits",
    sql: "SELECT @@global.max_connections, @@global.max_prepared_stmt_count",
};

/// While a new version is rolled out, old and new instances run side by side.
const SIDE_BY_SIDE: u64 = 2;
/// Connections for operators and their tools.
const CONNECTIONS_KEPT: u64 = 10;

/// The limits of a database server.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// `max_connections`
    pub connections: u64,
    /// `max_prepared_stmt_count`, of all connections together.
    pub prepared_statements: u64,
}

impl Record for Capacity {
    fn read(columns: &mut Columns) -> Result<Self, Error> {
        Ok(Self { connections: columns.take()?, prepared_statements: columns.take()? })
    }
}

/// The share of a limit that pools may use, 80 %. The rest is for connections that are not pooled: those that tasks keep
/// for the feed and for users and sign-outs.
const fn usable(limit: u64) -> u64 {
    limit / 10 * 8
}

impl Capacity {
    /// Instances that its connections suffice for, with pools of this size.
    #[must_use]
    pub fn instances_by_connections(&self, pool_size: u64) -> u64 {
        usable(self.connections).saturating_sub(CONNECTIONS_KEPT) / (SIDE_BY_SIDE * pool_size).max(1)
    }

    /// Instances that its prepared statements suffice for, were every connection to keep as many as it may.
    #[must_use]
    pub fn instances_by_statements(&self, pool_size: u64) -> u64 {
        usable(self.prepared_statements) / (SIDE_BY_SIDE * pool_size * STATEMENT_CACHE as u64).max(1)
    }
}

impl Db {
    /// The writer's limits.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn capacity(&self) -> Result<Capacity, Error> {
        let limits = self.writer().await?.first(&LIMITS, ()).await?;
        limits.ok_or_else(|| Error::Internal("no limits".to_owned()))
    }
}
