//! What can go wrong with the database, in the terms of those who call it. No HTTP here.

use mysql_async::{DriverError, Error as Driver, IoError};

/// A failed call to the database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// All connections stayed in use for the whole wait.
    #[error("no database connection became free in time")]
    Busy,
    /// The database is away, refuses connections, fails over, or did not answer in time. What the statement
    /// did there is unknown; a transaction that was not committed is undone.
    #[error("database unavailable: {0}")]
    Unavailable(String),
    /// The transaction lost against another and was undone; it may be run again.
    #[error("transaction undone: {0}")]
    Conflict(String),
    /// A row with the same unique key is there already.
    #[error("duplicate key: {0}")]
    Duplicate(String),
    /// A mistake of ours: a statement or a row that does not fit the schema.
    #[error("database statement failed: {0}")]
    Internal(String),
}

/// ER_DUP_ENTRY.
const DUPLICATE: u16 = 1062;
/// ER_LOCK_WAIT_TIMEOUT (only the statement is undone) and ER_LOCK_DEADLOCK (all is).
const CONFLICTS: [u16; 2] = [1205, 1213];
/// The server is full, killed the statement, or is too slow: too many connections (1040, 1203, 1226), killed
/// (1317), time limit of MySQL (3024) and MariaDB (1969), disk full (1021, 1114), no such table (1146: not
/// migrated yet).
const UNAVAILABLE: [u16; 9] = [1040, 1203, 1226, 1317, 3024, 1969, 1021, 1114, 1146];
/// Errors after which the other connections of the pool are of no use either: shutdown (1053) and failover,
/// which shows as read-only (1290, 1792, 1836, and 1874 of a demoted Aurora writer).
const FAILOVER: [u16; 5] = [1053, 1290, 1792, 1836, 1874];
/// The server's last words before it closes this one connection: killed (MariaDB 1927, MySQL 3169), idle for
/// too long (MySQL 4031).
const CLOSED: [u16; 3] = [1927, 3169, 4031];

/// What errors are counted as.
pub(super) const ERROR_KINDS: [&str; 5] = ["busy", "unavailable", "conflict", "duplicate", "internal"];

impl Error {
    /// Sorts an error of the driver.
    pub(crate) fn from_driver(error: &Driver) -> Self {
        match error {
            Driver::Server(server) if server.code == DUPLICATE => Self::Duplicate(server.message.clone()),
            Driver::Server(server) if CONFLICTS.contains(&server.code) => {
                Self::Conflict(server.message.clone())
            }
            Driver::Server(server) if is_away(server.code) => {
                Self::Unavailable(format!("{}: {}", server.code, server.message))
            }
            Driver::Io(IoError::Io(io)) => Self::Unavailable(io.to_string()),
            Driver::Io(other) => Self::Unavailable(other.to_string()),
            Driver::Driver(DriverError::ConnectionClosed) => {
                Self::Unavailable("connection closed".to_owned())
            }
            other => Self::Internal(other.to_string()),
        }
    }

    /// The name under which errors are counted: one of `ERROR_KINDS`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        let [busy, unavailable, conflict, duplicate, internal] = ERROR_KINDS;
        match self {
            Self::Busy => busy,
            Self::Unavailable(_) => unavailable,
            Self::Conflict(_) => conflict,
            Self::Duplicate(_) => duplicate,
            Self::Internal(_) => internal,
        }
    }
}

fn is_away(code: u16) -> bool {
    UNAVAILABLE.contains(&code) || FAILOVER.contains(&code) || CLOSED.contains(&code)
}

/// Whether the other pooled connections lead to the same dead end.
pub(super) fn dooms_the_pool(error: &Driver) -> bool {
    match error {
        Driver::Server(server) => FAILOVER.contains(&server.code),
        Driver::Io(_) | Driver::Driver(DriverError::ConnectionClosed) => true,
        _ => false,
    }
}

/// Whether the connection is in step with the server after `error`: a server's own error is a complete answer,
/// unless it is the last.
pub(super) fn leaves_connection_usable(error: &Driver) -> bool {
    matches!(error, Driver::Server(server) if !FAILOVER.contains(&server.code) && !CLOSED.contains(&server.code))
}
