//! The schema, version by version, from `sql/schema/`.
//!
//! `hyperdesk migrate` may run twice, on two machines at once, and beside servers of the version before this one. A lock
//! in the database lets one run through at a time, and a table records what was applied. Files only add to the schema, so
//! a server one version older continues on a newer schema. (File 110 takes a table away; a server from before it refuses
//! to serve then.) A file that broke off is applied again from its start, so every statement says IF NOT EXISTS or the
//! like.
//!
//! A file that does more than add is called `NNN_breaking_what.sql` and says why in a comment. A server that does not
//! know it stops serving, whether it runs already or starts. `tests/it/migrations/` checks statement by statement which
//! files only add.
//!
//! A file that has landed never changes: its checksum is stored with the record, and a schema made from another text is
//! refused. So is a schema that is not this program's, such as a Rails application's: nothing is written to it.

mod patience;
mod shape;
mod standing;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error as Driver};
use ring::digest::{SHA256, digest};

use super::{Db, Error, Statement};

pub use patience::apply_patiently;
pub use shape::{Found, Wanted, mistakes, wanted};
pub use standing::SchemaStanding;
use standing::{Applied, Origin};

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
    105 "message_count";
    106 "unread_counts";
    107 "feed_outbox";
    108 "username_key";
    109 "sign_outs";
    110 "breaking_runs";
    201 "stock";
    301 "bookstore";
    401 "board";
    501 "datetime";
}

/// What the name begins with of a migration that does not only add: versions that do not know it must not serve.
pub const BREAKING: &str = "breaking_";

impl Migration {
    /// SHA-256 of its text, in hexadecimal digits.
    #[must_use]
    pub fn checksum(&self) -> String {
        digest(&SHA256, self.sql.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Its statements, one after the other.
    pub fn statements(&self) -> impl Iterator<Item = &'static str> {
        self.sql.split(";\n").map(str::trim).filter(|statement| {
            statement.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with("--"))
        })
    }
}

/// How long a second `migrate` waits for the first.
const LOCK_WAIT_S: u32 = 60;
const NO_STATEMENT_LIMIT: &str =
    "SET SESSION /*M!100108 max_statement_time = 0 */ /*!80000 max_execution_time = 0 */";
/// No framework has a table of this name. The checksum is NULL where an older build applied the file, which kept none:
/// until the schema was seen to be what the files make.
const REMEMBERED: &str = "CREATE TABLE IF NOT EXISTS hyperdesk_migrations (
    version INT UNSIGNED NOT NULL PRIMARY KEY,
    name VARCHAR(255) NOT NULL,
    checksum CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL,
    applied_at DATETIME(6) NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";
/// What older builds remembered. Their table stays: a server of theirs that starts meanwhile looks into it.
const CARRY_OVER: &str = "INSERT IGNORE INTO hyperdesk_migrations (version, name, applied_at)
    SELECT version, name, applied_at FROM schema_migrations";

/// Why the schema is not brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The database is away, or refused a statement.
    #[error(transparent)]
    Database(#[from] Error),
    /// Somebody else is at it, or at one of its tables, for longer than was waited.
    #[error("the schema is in use: {0}")]
    Busy(String),
    /// The schema is not one that this program may touch: a sentence that says why, and what to do.
    #[error("{0}")]
    Schema(String),
}

impl From<Driver> for Refusal {
    fn from(error: Driver) -> Self {
        Self::Database(Error::from_driver(&error))
    }
}

/// Applies what is missing; returns the versions applied.
///
/// # Errors
/// [`Refusal::Schema`] when the schema is another program's, or was made from other files; [`Refusal::Busy`] when
/// another `migrate` did not finish in time or a table stayed in use; [`Error::Unavailable`] when the database is away,
/// [`Error::Internal`] when a statement failed.
pub async fn apply(db: &Db) -> Result<Vec<u32>, Refusal> {
    let mut conn = db.connect_unchecked().await?;
    // Long DDL is fine here, unlike in the server: the limit of the session is for requests.
    conn.query_drop(NO_STATEMENT_LIMIT).await?;
    if !lock(&mut conn, 0).await? {
        tracing::warn!(
            "another `hyperdesk migrate` is under way: waiting for its end, {LOCK_WAIT_S} s at most"
        );
        if !lock(&mut conn, LOCK_WAIT_S).await? {
            return Err(Refusal::Busy(format!("another migration did not end within {LOCK_WAIT_S} s")));
        }
    }
    // The lock is the connection's: it goes with it, whatever happens. A table that is in use for longer than
    // the session's lock wait is left alone and tried again: whoever waits to alter a table keeps everyone
    // else out of it meanwhile.
    let outcome = apply_missing(&mut conn).await;
    if outcome.is_ok() {
        db.gate().open();
    }
    outcome.map_err(|refusal| match refusal {
        Refusal::Database(Error::Conflict(busy)) => Refusal::Busy(busy),
        other => other,
    })
}

/// The lock that lets one `migrate` through at a time; whether it was had within so many seconds.
async fn lock(conn: &mut Conn, wait_s: u32) -> Result<bool, Driver> {
    const GET_LOCK: &str =
        "SELECT GET_LOCK(CONCAT('hyperdesk.migrate.', LEFT(SHA2(DATABASE(), 256), 32)), ?)";
    let locked: Option<Option<u8>> = conn.exec_first(GET_LOCK, (wait_s,)).await?;
    Ok(locked.flatten() == Some(1))
}

async fn apply_missing(conn: &mut Conn) -> Result<Vec<u32>, Refusal> {
    let found = standing::columns(conn).await?;
    match Origin::of(&found) {
        Origin::Nobody | Origin::Ours | Origin::OursOlder => {}
        foreign => return Err(Refusal::Schema(foreign.sentence(&found))),
    }
    conn.query_drop(REMEMBERED).await?;
    let mut known = standing::applied(conn, false).await?;
    // One statement, so it is there whole or not at all.
    if known.is_empty() && standing::has_older_memory(&found) {
        conn.query_drop(CARRY_OVER).await?;
        known = standing::applied(conn, false).await?;
    }
    if let Some(why) = standing::of_other_files(&known).or_else(|| standing::of_breaking_version(&known)) {
        return Err(Refusal::Schema(why));
    }
    let mut applied = Vec::new();
    for migration in MIGRATIONS.iter().filter(|migration| !is_known(&known, migration)) {
        for statement in migration.statements() {
            conn.query_drop(statement).await?;
        }
        conn.exec_drop(
            "INSERT INTO hyperdesk_migrations (version, name, checksum, applied_at) VALUES (?, ?, ?, NOW(6))",
            (migration.version, migration.name, migration.checksum()),
        )
        .await?;
        applied.push(migration.version);
    }
    let wrong = mistakes(&all_wanted(), &standing::columns(conn).await?);
    if !wrong.is_empty() {
        return Err(Refusal::Schema(standing::neither(&wrong)));
    }
    for unchecked in known.iter().filter(|applied| applied.checksum.is_none()) {
        let Some(migration) = MIGRATIONS.iter().find(|migration| migration.version == unchecked.version)
        else {
            continue;
        };
        conn.exec_drop(
            "UPDATE hyperdesk_migrations SET checksum = ? WHERE version = ? AND checksum IS NULL",
            (migration.checksum(), migration.version),
        )
        .await?;
    }
    Ok(applied)
}

fn is_known(known: &[Applied], migration: &Migration) -> bool {
    known.iter().any(|applied| applied.version == migration.version)
}

fn all_wanted() -> Vec<Wanted> {
    wanted(MIGRATIONS.iter().map(|migration| migration.sql))
}

/// Looks at the schema, writes nothing, and lets those who wait for it at the database's gate through where it is
/// right.
///
/// # Errors
/// [`Error::Unavailable`] when the database is away.
pub async fn look(db: &Db) -> Result<SchemaStanding, Error> {
    let mut conn = db.connect_unchecked().await?;
    let standing = standing::of(&mut conn).await.map_err(|error| Error::from_driver(&error))?;
    if matches!(standing, SchemaStanding::Right { .. }) {
        db.gate().open();
    }
    Ok(standing)
}

const BREAKING_APPLIED: Statement = Statement {
    name: "migrations.breaking",
    sql: "SELECT CAST(version AS UNSIGNED), name FROM hyperdesk_migrations WHERE name LIKE 'breaking%'",
};

/// Looks again while the server runs, and lets nobody pass the gate any more where a newer version took away what this
/// one needs: why, in a sentence.
///
/// # Errors
/// [`Error::Unavailable`] or [`Error::Busy`]; the gate stays as it was.
pub async fn look_again(db: &Db) -> Result<Option<String>, Error> {
    let known = db.writer().await?.rows::<Applied>(&BREAKING_APPLIED, ()).await?;
    let why = standing::of_breaking_version(&known);
    if let Some(why) = &why {
        db.gate().shut(why.clone());
    }
    Ok(why)
}
