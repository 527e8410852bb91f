//! Whose schema it is, and how far it is. Reads only.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error as Driver};

use super::shape::{Found, mistakes};
use super::{BREAKING, MIGRATIONS, all_wanted, is_known};
use crate::db::{Columns, Error, Record};

/// How a schema stands to this program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaStanding {
    /// All that this program needs is there; and migrations of a newer version, which only added to it.
    Right {
        /// The versions that the database has and this program does not know.
        newer: Vec<u32>,
    },
    /// It may not be touched before somebody did what this sentence says.
    Wrong(String),
}

/// Who made a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// None of the tables is there.
    Nobody,
    /// This program or another version of it.
    Ours,
    /// A build of it that remembered its migrations in `schema_migrations`.
    OursOlder,
    /// A Rails application.
    Rails,
    /// Somebody else: these tables have our names.
    Other(Vec<String>),
}

/// A row of our memory of migrations.
pub(super) struct Applied {
    pub(super) version: u32,
    pub(super) name: String,
    pub(super) checksum: Option<String>,
}

impl Record for Applied {
    fn read(columns: &mut Columns) -> Result<Self, Error> {
        Ok(Self { version: version(columns.take()?), name: columns.take()?, checksum: None })
    }
}

/// A number that no file has stands for one that is too large.
fn version(stored: u64) -> u32 {
    u32::try_from(stored).unwrap_or(u32::MAX)
}

/// What to do with a schema that is not ours.
const BRING_OVER: &str =
    "it is left alone: set DATABASE_URL to an empty one and bring this one over with `hyperdesk import`";

impl Origin {
    pub(super) fn of(found: &[Found]) -> Self {
        let has = |table: &str| found.iter().any(|column| column.table == table);
        if columns_of("hyperdesk_migrations", found) == ["applied_at", "checksum", "name", "version"] {
            return Self::Ours;
        }
        if has_older_memory(found) {
            return Self::OursOlder;
        }
        let mut taken: Vec<String> =
            all_wanted().iter().map(|want| want.table.to_owned()).filter(|table| has(table)).collect();
        taken.dedup();
        if taken.is_empty() {
            Self::Nobody
        } else if has("schema_migrations") || has("ar_internal_metadata") {
            Self::Rails
        } else {
            Self::Other(taken)
        }
    }

    /// Why it is refused, and what to do.
    pub(super) fn sentence(&self, found: &[Found]) -> String {
        let wrong = mistakes(&all_wanted(), found).join("; ");
        match self {
            Self::Rails => format!("the schema is a Rails application's, {BRING_OVER} ({wrong})"),
            Self::Other(tables) => {
                let tables = tables.join(", ");
                format!(
                    "the schema has tables {tables} that hyperdesk did not make, so {BRING_OVER} ({wrong})"
                )
            }
            Self::Nobody | Self::Ours | Self::OursOlder => {
                "the schema is not up to date: run `hyperdesk migrate`".to_owned()
            }
        }
    }
}

/// Whether an older build remembered its migrations here. Rails' table of this name has one column, and others' have
/// others.
pub(super) fn has_older_memory(found: &[Found]) -> bool {
    columns_of("schema_migrations", found) == ["applied_at", "name", "version"]
}

/// In alphabetical order.
fn columns_of<'a>(table: &str, found: &'a [Found]) -> Vec<&'a str> {
    let columns = found.iter().filter(|column| column.table == table);
    let mut columns: Vec<&str> = columns.map(|column| column.column.as_str()).collect();
    columns.sort_unstable();
    columns
}

/// The columns of all tables.
pub(super) async fn columns(conn: &mut Conn) -> Result<Vec<Found>, Driver> {
    const COLUMNS: &str = "SELECT table_name, column_name, is_nullable = 'YES'
        FROM information_schema.columns WHERE table_schema = DATABASE()";
    let map = |(table, column, may_be_null)| Found { table, column, may_be_null };
    conn.query_map(COLUMNS, map).await
}

/// What was applied, by one of the two tables that may tell. What they hold is converted by the server, whoever wrote it.
pub(super) async fn applied(conn: &mut Conn, is_older: bool) -> Result<Vec<Applied>, Driver> {
    let text = if is_older {
        "SELECT CAST(version AS UNSIGNED), COALESCE(name, ''), NULL FROM schema_migrations ORDER BY version"
    } else {
        "SELECT CAST(version AS UNSIGNED), COALESCE(name, ''), checksum FROM hyperdesk_migrations ORDER BY version"
    };
    let map =
        |(version, name, checksum): (u64, _, _)| Applied { version: self::version(version), name, checksum };
    conn.query_map(text, map).await
}

/// Why a schema that other files made is refused.
pub(super) fn of_other_files(known: &[Applied]) -> Option<String> {
    let other = known.iter().find_map(|applied| {
        let migration = MIGRATIONS.iter().find(|migration| migration.version == applied.version)?;
        let is_other = migration.name != applied.name
            || applied.checksum.as_ref().is_some_and(|checksum| *checksum != migration.checksum());
        is_other.then(|| format!("{}_{}", applied.version, applied.name))
    })?;
    Some(format!(
        "migration {other} was applied from another text than this program's: \
         serve with the program that made this schema, or from a backup of before"
    ))
}

/// Why a schema is refused from which a newer version took something away: see [`BREAKING`].
pub(super) fn of_breaking_version(known: &[Applied]) -> Option<String> {
    let is_ours = |applied: &Applied| MIGRATIONS.iter().any(|migration| migration.version == applied.version);
    let breaking = known.iter().find(|applied| applied.name.starts_with(BREAKING) && !is_ours(applied))?;
    Some(format!(
        "migration {}_{} of a newer version took away what this version needs: \
         serve with that version, or with this one from a backup of before",
        breaking.version, breaking.name
    ))
}

/// Why a schema is refused that no version of this program made.
pub(super) fn neither(wrong: &[String]) -> String {
    format!(
        "no version of hyperdesk made this schema ({}): restore what was changed by hand, or a backup",
        wrong.join("; ")
    )
}

pub(super) async fn of(conn: &mut Conn) -> Result<SchemaStanding, Driver> {
    let found = columns(conn).await?;
    let origin = Origin::of(&found);
    let known = match origin {
        Origin::Nobody => {
            return Ok(SchemaStanding::Wrong("the schema is empty: run `hyperdesk migrate`".to_owned()));
        }
        Origin::Rails | Origin::Other(_) => return Ok(SchemaStanding::Wrong(origin.sentence(&found))),
        Origin::Ours => applied(conn, false).await?,
        Origin::OursOlder => applied(conn, true).await?,
    };
    if let Some(why) = of_other_files(&known).or_else(|| of_breaking_version(&known)) {
        return Ok(SchemaStanding::Wrong(why));
    }
    let missing: Vec<String> = MIGRATIONS
        .iter()
        .filter(|migration| !is_known(&known, migration))
        .map(|migration| migration.version.to_string())
        .collect();
    let wrong = mistakes(&all_wanted(), &found);
    if !missing.is_empty() {
        let mut wrong = wrong.join("; ");
        if !wrong.is_empty() {
            wrong = format!(" ({wrong})");
        }
        let missing = missing.join(", ");
        return Ok(SchemaStanding::Wrong(format!(
            "the schema lacks the migrations {missing}{wrong}: run `hyperdesk migrate`"
        )));
    }
    if !wrong.is_empty() {
        return Ok(SchemaStanding::Wrong(neither(&wrong)));
    }
    let is_newer = |version: &u32| MIGRATIONS.iter().all(|migration| migration.version != *version);
    let newer = known.iter().map(|applied| applied.version).filter(is_newer).collect();
    Ok(SchemaStanding::Right { newer })
}
