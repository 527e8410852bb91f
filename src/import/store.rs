//! The SQL of both databases: the source is only read, in one snapshot; the target is written to, page by page.

use std::collections::HashMap;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Params, Row as DriverRow, Value};
use tokio::time::timeout;

use crate::clock::Timestamp;
use crate::config::{DatabaseTarget, SslMode};
use crate::db::{self, Db, Error, Literal, Packet, Statement};

use super::field::Field;
use super::row::{Initiators, Row};
use super::table::{Column, Table};

crate::statements! { "import":
    USER_PAGE = "user_page";
    PROFILE_PAGE = "profile_page";
    CONVERSATION_PAGE = "conversation_page";
    MESSAGE_PAGE = "message_page";
    ASSIGNMENT_PAGE = "assignment_page";
    USER_COUNT = "user_count";
    PROFILE_COUNT = "profile_count";
    CONVERSATION_COUNT = "conversation_count";
    MESSAGE_COUNT = "message_count";
    ASSIGNMENT_COUNT = "assignment_count";
    USER_THERE = "user_there";
    PROFILE_THERE = "profile_there";
    CONVERSATION_THERE = "conversation_there";
    MESSAGE_THERE = "message_there";
    ASSIGNMENT_THERE = "assignment_there";
    USER_IDS_HERE = "user_ids_here";
    PROFILE_IDS_HERE = "profile_ids_here";
    CONVERSATION_IDS_HERE = "conversation_ids_here";
    MESSAGE_IDS_HERE = "message_ids_here";
    ASSIGNMENT_IDS_HERE = "assignment_ids_here";
    USER_INSERT_64 = "user_insert_64";
    PROFILE_INSERT_64 = "profile_insert_64";
    CONVERSATION_INSERT_64 = "conversation_insert_64";
    MESSAGE_INSERT_64 = "message_insert_64";
    ASSIGNMENT_INSERT_64 = "assignment_insert_64";
    USER_NAMES_64 = "user_names_64";
    USER_KEYS_64 = "user_keys_64";
    SOURCE_COLUMNS = "source_columns";
    CONVERSATION_BOUND = "conversation_bound";
    CONVERSATION_COUNT_MESSAGES = "conversation_count_messages";
    LOCK = "lock";
}

crate::packets! { "import":
    USER_IDS = "user_ids";
    PROFILE_FIRST = "profile_first";
    CONVERSATION_INITIATORS = "conversation_initiators";
    SOURCE_SESSION = "source_session";
    TARGET_SESSION = "target_session";
    FEED_BEGIN_ANEW = "feed_begin_anew";
}

/// Rows of one INSERT, and names of one look-up.
const AT_ONCE: usize = 64;
/// Longest wait for an answer. What is asked here may take long, but not for ever.
const EXCHANGE_S_MAX: u64 = 900;

/// The statements of one table.
struct Statements {
    page: &'static Statement,
    count: &'static Statement,
    there: &'static Statement,
    ids_here: &'static Statement,
    insert: &'static Statement,
}

const fn statements(table: Table) -> Statements {
    let [page, count, there, ids_here, insert] = match table {
        Table::Users => [&USER_PAGE, &USER_COUNT, &USER_THERE, &USER_IDS_HERE, &USER_INSERT_64],
        Table::Profiles => {
            [&PROFILE_PAGE, &PROFILE_COUNT, &PROFILE_THERE, &PROFILE_IDS_HERE, &PROFILE_INSERT_64]
        }
        Table::Conversations => [
            &CONVERSATION_PAGE,
            &CONVERSATION_COUNT,
            &CONVERSATION_THERE,
            &CONVERSATION_IDS_HERE,
            &CONVERSATION_INSERT_64,
        ],
        Table::Messages => {
            [&MESSAGE_PAGE, &MESSAGE_COUNT, &MESSAGE_THERE, &MESSAGE_IDS_HERE, &MESSAGE_INSERT_64]
        }
        Table::Assignments => [
            &ASSIGNMENT_PAGE,
            &ASSIGNMENT_COUNT,
            &ASSIGNMENT_THERE,
            &ASSIGNMENT_IDS_HERE,
            &ASSIGNMENT_INSERT_64,
        ],
    };
    Statements { page, count, there, ids_here, insert }
}

async fn limited<T>(work: impl Future<Output = Result<T, mysql_async::Error>>) -> Result<T, Error> {
    match timeout(Duration::from_secs(EXCHANGE_S_MAX), work).await {
        Ok(outcome) => outcome.map_err(|error| Error::from_driver(&error)),
        Err(_) => Err(Error::Unavailable("no answer in time".to_owned())),
    }
}

async fn packet(conn: &mut Conn, packet: &Packet, numbers: &[u64]) -> Result<Vec<DriverRow>, Error> {
    let mut text = String::new();
    let parameters: &[Literal<'_>] =
        if packet.sql.contains('?') { &[Literal::Numbers(numbers)] } else { &[] };
    packet.write(parameters, &mut text);
    let mut rows = Vec::new();
    let work = async {
        let mut result = conn.query_iter(text).await?;
        while !result.is_empty() {
            rows.append(&mut result.collect::<DriverRow>().await?);
        }
        // The driver keeps an error of a later statement for whoever asks next: that is here.
        result.drop_result().await
    };
    limited(work).await?;
    Ok(rows)
}

fn field(value: &Value) -> Field {
    match value {
        Value::NULL => Field::Null,
        Value::Int(number) => Field::Number(*number),
        Value::UInt(number) => Field::from(*number),
        Value::Bytes(bytes) => match String::from_utf8(bytes.clone()) {
            Ok(text) => Field::Text(text),
            Err(_) => Field::Bytes(bytes.clone()),
        },
        Value::Date(0, 0, 0, 0, 0, 0, 0) => Field::ZeroTime,
        Value::Date(year, month, day, hour, minute, second, micros) => {
            let time = Timestamp::from_civil((*year).into(), *month, *day, *hour, *minute, *second, *micros);
            time.map_or(Field::Odd, Field::Time)
        }
        _ => Field::Odd,
    }
}

fn value(field: &Field) -> Value {
    match field {
        Field::Null | Field::ZeroTime | Field::Odd => Value::NULL,
        Field::Number(number) => Value::Int(*number),
        Field::Text(text) => Value::Bytes(text.as_bytes().to_vec()),
        Field::Bytes(bytes) => Value::Bytes(bytes.clone()),
        Field::Time(time) => Value::from(*time),
    }
}

fn fields(row: &DriverRow) -> Vec<Field> {
    (0..row.len()).map(|place| row.as_ref(place).map_or(Field::Null, field)).collect()
}

/// A number in a row, whatever its type.
fn number(row: &DriverRow, place: usize) -> Option<u64> {
    match row.as_ref(place)? {
        Value::Int(number) => u64::try_from(*number).ok(),
        Value::UInt(number) => Some(*number),
        // The answer to a packet is text.
        Value::Bytes(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}

/// The Rails database. Nothing is ever written to it: its session cannot.
pub struct Source(Conn);

/// A page of the source: the columns' names, and the rows.
pub type Page = (Vec<String>, Vec<Vec<Field>>);

impl Source {
    /// Connects, and begins to read as of one moment.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn open(target: &DatabaseTarget, ssl: &SslMode) -> Result<Self, Error> {
        let mut conn = db::connect_elsewhere(target, ssl).await?;
        packet(&mut conn, &SOURCE_SESSION, &[]).await?;
        Ok(Self(conn))
    }

    /// All its columns.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn columns(&mut self) -> Result<Vec<Column>, Error> {
        let rows: Vec<DriverRow> = limited(self.0.exec(SOURCE_COLUMNS.sql, ())).await?;
        let text = |row: &DriverRow, place| match row.as_ref(place) {
            Some(Value::Bytes(text)) => String::from_utf8_lossy(text).to_lowercase(),
            _ => String::new(),
        };
        let column = |row| Column {
            table: text(row, 0),
            name: text(row, 1),
            kind: text(row, 2),
            holder: text(row, 3),
        };
        Ok(rows.iter().map(column).collect())
    }

    /// How many rows a table has.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn count(&mut self, table: Table) -> Result<u64, Error> {
        let row: Option<DriverRow> = limited(self.0.exec_first(statements(table).count.sql, ())).await?;
        Ok(row.as_ref().and_then(|row| number(row, 0)).unwrap_or_default())
    }

    /// The rows after an id, by id.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn page(&mut self, table: Table, after: i64) -> Result<Page, Error> {
        let rows: Vec<DriverRow> = limited(self.0.exec(statements(table).page.sql, (after,))).await?;
        let names = rows
            .first()
            .map(|row| row.columns_ref().iter().map(|column| column.name_str().to_lowercase()).collect());
        Ok((names.unwrap_or_default(), rows.iter().map(fields).collect()))
    }

    /// Which of these users there are.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn users(&mut self, ids: &[u64]) -> Result<Vec<u64>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let rows = packet(&mut self.0, &USER_IDS, ids).await?;
        Ok(rows.iter().filter_map(|row| number(row, 0)).collect())
    }

    /// Who has exactly these names there; of others whose names are alike to the database, too.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn names(&mut self, names: &[&str]) -> Result<HashMap<String, u64>, Error> {
        owners(&mut self.0, names).await
    }

    /// The first profile there of each of these users.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn profiles(&mut self, users: &[u64]) -> Result<HashMap<u64, u64>, Error> {
        first_profiles(&mut self.0, users).await
    }

    /// Which of these conversations there are, and who asks in them.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn initiators(&mut self, ids: &[u64]) -> Result<Initiators, Error> {
        if ids.is_empty() {
            return Ok(Initiators::new());
        }
        let rows = packet(&mut self.0, &CONVERSATION_INITIATORS, ids).await?;
        Ok(rows
            .iter()
            .filter_map(|row| Some((number(row, 0)?, number(row, 1).unwrap_or_default())))
            .collect())
    }
}

async fn look_up(
    conn: &mut Conn,
    statement: &Statement,
    values: impl Iterator<Item = Value>,
) -> Result<Vec<(u64, Field)>, Error> {
    let (values, mut found) = (values.collect::<Vec<_>>(), Vec::new());
    for chunk in values.chunks(AT_ONCE) {
        let params = Params::Positional(padded(chunk));
        let rows: Vec<DriverRow> = limited(conn.exec(statement.sql, params)).await?;
        found.extend(rows.iter().filter_map(|row| Some((number(row, 0)?, field(row.as_ref(1)?)))));
    }
    Ok(found)
}

async fn owners(conn: &mut Conn, names: &[&str]) -> Result<HashMap<String, u64>, Error> {
    let mut found = HashMap::new();
    for (id, name) in look_up(conn, &USER_NAMES_64, names.iter().map(|name| Value::from(*name))).await? {
        if let Field::Text(name) = name {
            found.insert(name, id);
        }
    }
    Ok(found)
}

async fn first_profiles(conn: &mut Conn, users: &[u64]) -> Result<HashMap<u64, u64>, Error> {
    if users.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = packet(conn, &PROFILE_FIRST, users).await?;
    Ok(rows.iter().filter_map(|row| Some((number(row, 0)?, number(row, 1)?))).collect())
}

/// Our own database.
pub struct Target(Conn);

impl Target {
    /// Connects; nothing where another import is under way.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn open(db: &Db) -> Result<Option<Self>, Error> {
        let mut conn = db.dedicated().await?;
        packet(&mut conn, &TARGET_SESSION, &[]).await?;
        let row: Option<DriverRow> = limited(conn.exec_first(LOCK.sql, ())).await?;
        let is_ours = row.as_ref().and_then(|row| number(row, 0)) == Some(1);
        Ok(is_ours.then_some(Self(conn)))
    }

    /// The rows here between two ids, by id.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn there(
        &mut self,
        table: Table,
        first: u64,
        last: u64,
    ) -> Result<HashMap<u64, Vec<Field>>, Error> {
        let rows: Vec<DriverRow> = limited(self.0.exec(statements(table).there.sql, (first, last))).await?;
        Ok(rows.iter().filter_map(|row| Some((number(row, 0)?, fields(row)))).collect())
    }

    /// Who has these names here.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn names(&mut self, names: &[&str]) -> Result<HashMap<String, u64>, Error> {
        owners(&mut self.0, names).await
    }

    /// Which profile here is each of these users'.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn profiles(&mut self, users: &[u64]) -> Result<HashMap<u64, u64>, Error> {
        first_profiles(&mut self.0, users).await
    }

    /// A page of the ids here that are above `after` and not above `last`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn ids(&mut self, table: Table, after: i64, last: i64) -> Result<Vec<i64>, Error> {
        let ids = self.0.exec(statements(table).ids_here.sql, (after, last));
        limited(ids).await
    }

    /// Whose names have these keys here.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn keys(&mut self, keys: &[&[u8]]) -> Result<HashMap<Vec<u8>, u64>, Error> {
        let mut found = HashMap::new();
        for (id, key) in look_up(&mut self.0, &USER_KEYS_64, keys.iter().map(|key| Value::from(*key))).await?
        {
            match key {
                Field::Bytes(key) => found.insert(key, id),
                // A hash may look like a text.
                Field::Text(key) => found.insert(key.into_bytes(), id),
                _ => None,
            };
        }
        Ok(found)
    }

    /// Adds rows, all or none.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn insert(&mut self, table: Table, rows: &[Row]) -> Result<(), Error> {
        let text = statements(table).insert.sql;
        limited(self.0.query_drop("START TRANSACTION")).await?;
        for chunk in rows.chunks(AT_ONCE) {
            let values: Vec<Value> =
                padded(chunk).iter().flat_map(|row| row.fields.iter().map(value)).collect();
            limited(self.0.exec_drop(text, Params::Positional(values))).await?;
        }
        limited(self.0.query_drop("COMMIT")).await
    }

    /// Counts the messages of some conversations, those after `after`, and the unread ones: the last of them, and how
    /// many had other counts; nothing when there are no more.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn count_messages(&mut self, after: u64) -> Result<Option<(u64, u64)>, Error> {
        let row: Option<DriverRow> = limited(self.0.exec_first(CONVERSATION_BOUND.sql, (after,))).await?;
        let Some(last) = row.as_ref().and_then(|row| number(row, 0)) else { return Ok(None) };
        let first = after + 1;
        let params = (first, last, first, last);
        limited(self.0.exec_drop(CONVERSATION_COUNT_MESSAGES.sql, params)).await?;
        Ok(Some((last, self.0.affected_rows())))
    }

    /// Has every instance and every client read all anew.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn begin_feed_anew(&mut self) -> Result<(), Error> {
        packet(&mut self.0, &FEED_BEGIN_ANEW, &[]).await.map(drop)
    }
}

/// As many as a statement takes: the last stands for those that are missing.
fn padded<T: Clone>(chunk: &[T]) -> Vec<T> {
    let missing = chunk.last().into_iter().cycle().take(AT_ONCE.saturating_sub(chunk.len()));
    chunk.iter().chain(missing).cloned().collect()
}
