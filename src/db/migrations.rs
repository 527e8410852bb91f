//! The schema, version by version, from `sql/schema/`.
//!
//! `hyperdesk migrate` may run twice, on two machines at once, and beside the version of the server before
//! this one: a lock of the database's lets one through at a time, a table remembers what was applied, and
//! files only add. A file that broke off is applied again from its start, so every statement says IF NOT
//! EXISTS or its like.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error as Driver};

use super::{Db, Error};

/// One file of `sql/schema/`.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Its number: they are applied in order, each once.
    pub version: u32,
    /// The file's name without number and ending.
    pub name: &'static str,
    /// Its statements, each ended by a semicolon at the end of a line.
    pub sql: &'static str,
}

macro_rules! migrations {
    ($($version:literal $name:literal;)+) => {
        /// All of them, in order.
        pub const MIGRATIONS: &[Migration] = &[$(Migration {
            version: $version,
            name: $name,
            sql: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sql/schema/", stringify!($version), "_", $name, ".sql")),
        }),+];
    };
}

migrations! {
    101 "helpdesk";
    102 "feed";
    103 "expert_status";
    104 "sign_outs";
    105 "runs";
    201 "stock";
    301 "bookstore";
    401 "board";
    501 "datetime";
}

/// How long a second `migrate` waits for the first.
const LOCK_WAIT_S: u32 = 60;
const NO_STATEMENT_LIMIT: &str =
    "SET SESSION /*M!100108 max_statement_time = 0 */ /*!80000 max_execution_time = 0 */";
const REMEMBERED: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    version INT UNSIGNED NOT NULL PRIMARY KEY,
    name VARCHAR(255) NOT NULL,
    applied_at DATETIME(6) NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";

/// Applies what is missing; returns the versions applied.
///
/// # Errors
/// [`Error::Unavailable`] when the database is away or another `migrate` did not finish in time,
/// [`Error::Internal`] when a statement failed.
pub async fn apply(db: &Db) -> Result<Vec<u32>, Error> {
    let mut conn = db.dedicated().await?;
    let failed = |error: Driver| Error::from_driver(&error);
    // Long DDL is fine here, unlike in the server: the limit of the session is for requests.
    conn.query_drop(NO_STATEMENT_LIMIT).await.map_err(failed)?;
    let locked: Option<Option<u8>> = conn
        .exec_first(
            "SELECT GET_LOCK(CONCAT('hyperdesk.migrate.', LEFT(SHA2(DATABASE(), 256), 32)), ?)",
            (LOCK_WAIT_S,),
        )
        .await
        .map_err(failed)?;
    if locked.flatten() != Some(1) {
        return Err(Error::Unavailable("another migration did not finish in time".to_owned()));
    }
    // The lock is the connection's: it goes with it, whatever happens. A table that is in use for longer than
    // the session's lock wait is left alone and tried again: whoever waits to alter a table keeps everyone
    // else out of it meanwhile.
    apply_missing(&mut conn).await.map_err(|error| match failed(error) {
        Error::Conflict(busy) => Error::Unavailable(busy),
        other => other,
    })
}

async fn apply_missing(conn: &mut Conn) -> Result<Vec<u32>, Driver> {
    conn.query_drop(REMEMBERED).await?;
    let known: Vec<u32> = conn.query("SELECT version FROM schema_migrations").await?;
    let mut applied = Vec::new();
    for migration in MIGRATIONS.iter().filter(|migration| !known.contains(&migration.version)) {
        for statement in statements(migration.sql) {
            conn.query_drop(statement).await?;
        }
        conn.exec_drop(
            "INSERT INTO schema_migrations (version, name, applied_at) VALUES (?, ?, NOW(6))",
            (migration.version, migration.name),
        )
        .await?;
        applied.push(migration.version);
    }
    Ok(applied)
}

/// The versions that the database lacks.
///
/// # Errors
/// [`Error::Unavailable`] when the database is away; all are missing where none was ever applied.
pub async fn missing(db: &Db) -> Result<Vec<u32>, Error> {
    const KNOWN: super::Statement =
        super::Statement { name: "schema.versions", sql: "SELECT version FROM schema_migrations" };
    // A missing table reads as a database that cannot serve yet, as it should.
    let known: Vec<u32> = db.writer().await?.rows(&KNOWN, ()).await?;
    let missing = MIGRATIONS.iter().map(|migration| migration.version);
    Ok(missing.filter(|version| !known.contains(version)).collect())
}

fn statements(sql: &str) -> impl Iterator<Item = &str> {
    sql.split(";\n").map(str::trim).filter(|statement| {
        statement.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with("--"))
    })
}
