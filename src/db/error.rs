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

/// What an error of the server asks for. One that is not in [`CODES`] is a mistake of ours: 500.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The transaction was undone, or may be: it is run again, and 503 where it keeps losing.
    Lost,
    /// 503. The connection is in step and may be used on.
    Later,
    /// 503. These are the last words on this connection.
    Closed,
    /// 503. The pool's other connections lead to the same server, which is of no use.
    Gone,
}

use Class::{Closed, Gone, Later, Lost};

/// The errors that only mean "come again", of MySQL 8 and 9, MariaDB 10 and 11, their clusters, and the proxies that
/// speak for them.
pub const CODES: &[(u16, Class, &str)] = &[
    (1020, Lost, "the row was changed after the snapshot (MariaDB, innodb_snapshot_isolation)"),
    (1205, Lost, "a row lock was not had in time; the server undoes only the statement"),
    (1213, Lost, "deadlock; in Galera another node's transaction came first, even at COMMIT"),
    (1412, Lost, "the table was altered after the snapshot"),
    (
        1615,
        Lost,
        "the table kept changing, or the table cache is too small, while a statement was prepared anew",
    ),
    (1689, Lost, "the wait for a lock was ended in favour of one that excludes all"),
    (3101, Lost, "group replication: another member's transaction came first, at COMMIT"),
    (3, Later, "a file could not be written: disk full"),
    (5, Later, "out of memory"),
    (1021, Later, "disk full"),
    (1026, Later, "a file could not be written"),
    (1028, Later, "a sort was ended, by a kill or a time limit"),
    (1030, Later, "the storage engine's own trouble, such as a full disk"),
    (1037, Later, "out of memory"),
    (1040, Later, "max_connections; RDS Proxy: connections come too fast"),
    (1041, Later, "out of memory"),
    (1114, Later, "the table or its disk is full"),
    (1135, Later, "no new thread"),
    (1054, Later, "no such column: somebody altered the table, which the next start says"),
    (1146, Later, "no such table: not migrated yet"),
    (1180, Later, "the COMMIT failed and nobody can say how far it got, so it is not run again"),
    (1203, Later, "max_user_connections"),
    (1206, Later, "the lock table is full"),
    (1226, Later, "a limit of the account, such as queries an hour"),
    (1317, Later, "the statement was killed"),
    (1461, Later, "max_prepared_stmt_count: see the README's arithmetic"),
    (1637, Later, "more transactions at once than InnoDB has undo slots"),
    (1878, Later, "a temporary file could not be written"),
    (1969, Later, "the time limit of MariaDB"),
    (1999, Later, "TencentDB's proxy: no server to be had"),
    (3015, Later, "out of memory"),
    (3019, Later, "the undo log is full"),
    (3024, Later, "the time limit of MySQL"),
    (3100, Later, "group replication: the COMMIT could not be sent to the group"),
    (3675, Later, "disk full"),
    (3781, Later, "group replication: held for too long by a change of the primary"),
    (3782, Later, "group replication: killed while held by a change of the primary"),
    (3797, Later, "group replication: the transactions before did not come in time"),
    (3798, Later, "group replication: the transactions before did not come in time"),
    (3989, Later, "the schema is read-only while somebody moves it"),
    (9001, Later, "ProxySQL: no connection to a server in time"),
    (9002, Later, "ProxySQL: no server could be connected to"),
    (9501, Later, "RDS Proxy: no connection to a server in time"),
    (1152, Closed, "the server gave up the connection"),
    (1158, Closed, "the server could not read from us"),
    (1159, Closed, "the server waited too long for our packet"),
    (1160, Closed, "the server could not write to us"),
    (1161, Closed, "the server waited too long while writing to us"),
    (1181, Closed, "the ROLLBACK failed: closing the connection undoes it"),
    (1184, Closed, "the server gave up the connection"),
    (1243, Closed, "the server does not know a statement that was prepared here: a proxy changed servers"),
    (1927, Closed, "killed (MariaDB); MaxScale: its server was lost"),
    (2002, Closed, "a proxy could not connect to its server"),
    (2003, Closed, "a proxy could not connect to its server"),
    (2006, Closed, "a proxy's server went away"),
    (2013, Closed, "a proxy lost its server within the statement"),
    (2055, Closed, "a proxy lost its server within the statement"),
    (3169, Closed, "killed (MySQL)"),
    (4031, Closed, "idle for too long (MySQL)"),
    (4081, Closed, "the memory limit of all connections (MySQL)"),
    (4082, Closed, "the memory limit of one connection (MySQL)"),
    (9004, Closed, "ProxySQL: its server is off line"),
    (9005, Closed, "ProxySQL: its server lags too far behind"),
    (
        9006,
        Closed,
        "ProxySQL: what was set on this connection ties it to a server that is not the one wanted",
    ),
    (1036, Gone, "the table is read-only: InnoDB is"),
    (1047, Gone, "a Galera node that left its cluster or is not in it yet"),
    (1053, Gone, "shutdown"),
    (1290, Gone, "read_only: it was failed over"),
    (1665, Gone, "binlog_format is STATEMENT, and a session keeps what it was when it began"),
    (1792, Gone, "a transaction that may not write: the default of a server that was failed over"),
    (1836, Gone, "read-only mode"),
    (1874, Gone, "InnoDB is read-only: an Aurora writer that was demoted"),
    (3032, Gone, "offline_mode"),
    (3168, Gone, "the server is not available"),
    (3783, Gone, "group replication: the member left the group while it was held"),
    (3796, Gone, "group replication: not a member that may serve"),
    (3799, Gone, "group replication: not a member that may serve"),
];

fn class(code: u16) -> Option<Class> {
    CODES.iter().find(|(known, ..)| *known == code).map(|(_, class, _)| *class)
}

const GRANT: &str = "grant the user of DATABASE_URL all rights on its schema";
const ACCOUNT: &str = "DATABASE_URL has to name a user and the password that the server knows";

/// What is to be done where the server refuses, whatever is asked.
const ADVICE: [(u16, &str); 7] = [
    (1044, GRANT),
    (1045, ACCOUNT),
    (1049, "make the schema that DATABASE_URL names first, with CREATE DATABASE"),
    (1142, GRANT),
    (1143, GRANT),
    (1227, GRANT),
    (1698, ACCOUNT),
];

/// What errors are counted as.
pub(super) const ERROR_KINDS: [&str; 5] = ["busy", "unavailable", "conflict", "duplicate", "internal"];

impl Error {
    /// Sorts an error of the driver.
    pub(crate) fn from_driver(error: &Driver) -> Self {
        match error {
            Driver::Server(server) if server.code == DUPLICATE => Self::Duplicate(server.message.clone()),
            Driver::Server(server) => {
                let text = format!("{}: {}", server.code, server.message);
                match class(server.code) {
                    Some(Lost) => Self::Conflict(text),
                    Some(Later | Closed | Gone) => Self::Unavailable(text),
                    None => Self::Internal(text),
                }
            }
            Driver::Io(IoError::Io(io)) => Self::Unavailable(io.to_string()),
            Driver::Io(other) => Self::Unavailable(other.to_string()),
            // Somebody in between speaks, or the server broke off: no statement is to blame.
            Driver::Driver(
                cause @ (DriverError::ConnectionClosed
                | DriverError::PacketOutOfOrder
                | DriverError::UnexpectedPacket { .. }),
            ) => Self::Unavailable(cause.to_string()),
            other => Self::Internal(other.to_string()),
        }
    }

    /// What an administrator has to do, where the server refuses the account or does not know the schema.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        let (Self::Internal(text) | Self::Unavailable(text)) = self else { return None };
        // MySQL asks who is unknown to it for a password in a way drawn by lot, so that nobody learns who is known.
        if text.contains("Unknown authentication plugin") {
            return Some(ACCOUNT);
        }
        ADVICE.iter().find_map(|(code, advice)| {
            // As errors of statements begin here, and as the driver tells those of a connect.
            let says = text.starts_with(&format!("{code}: ")) || text.contains(&format!("ERROR {code} ("));
            says.then_some(*advice)
        })
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

/// Whether the other pooled connections lead to the same dead end.
pub(super) fn dooms_the_pool(error: &Driver) -> bool {
    match error {
        Driver::Server(server) => class(server.code) == Some(Gone),
        Driver::Io(_) | Driver::Driver(DriverError::ConnectionClosed) => true,
        _ => false,
    }
}

/// Whether the connection is in step with the server after `error`: a server's own error is a complete answer,
/// unless it is the last.
pub(super) fn leaves_connection_usable(error: &Driver) -> bool {
    matches!(error, Driver::Server(server) if !matches!(class(server.code), Some(Closed | Gone)))
}
