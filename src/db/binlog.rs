//! Whether the writer's binary log can carry what is written here: not where it holds statements.

use mysql_async::prelude::Queryable;

use super::{Db, Error};

/// What stands for the reason and the remedy, in one sentence.
const STATEMENTS: &str = "the database's binlog_format is STATEMENT, with which it refuses every write at READ COMMITTED: \
                          set binlog_format = ROW (or MIXED) on the server (on RDS in its parameter group), and connect anew";
/// Not `@@binlog_format`, which MySQL is about to lose: it is no row then.
const FORMAT: &str = "SHOW VARIABLES WHERE Variable_name IN ('log_bin', 'binlog_format')";

impl Db {
    /// Why the writer cannot be used as it is configured, and what to set; nothing where it can.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it is away.
    pub async fn unfit(&self) -> Result<Option<&'static str>, Error> {
        let mut conn = self.connect_unchecked().await?;
        let failed = |error| Error::from_driver(&error);
        let values: Vec<(String, String)> = conn.query(FORMAT).await.map_err(failed)?;
        conn.disconnect().await.map_err(failed)?;
        let is = |name: &str, value: &str| {
            values.iter().any(|(known, found)| known == name && found.eq_ignore_ascii_case(value))
        };
        Ok((is("log_bin", "ON") && is("binlog_format", "STATEMENT")).then_some(STATEMENTS))
    }
}
