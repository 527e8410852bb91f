//! Rows into our types, and times as the driver hands them over.

use mysql_async::prelude::FromValue;
use mysql_async::{FromValueError, Row, Value};

use crate::clock::Timestamp;

use super::Error;

/// The columns of one row, taken from left to right.
pub struct Columns {
    row: Row,
    taken: usize,
}

impl Columns {
    pub(crate) fn new(row: Row) -> Self {
        Self { row, taken: 0 }
    }

    /// The next column.
    ///
    /// # Errors
    /// [`Error::Internal`] when there is none or it is of another type: the statement does not fit the code.
    pub fn take<T: FromValue>(&mut self) -> Result<T, Error> {
        let at = self.taken;
        self.taken += 1;
        match self.row.take_opt::<T, _>(at) {
            Some(Ok(value)) => Ok(value),
            Some(Err(_)) => Err(Error::Internal(format!("column {at} is of another type"))),
            None => Err(Error::Internal(format!("there is no column {at}"))),
        }
    }

    /// Whether the next column is NULL.
    #[must_use]
    pub fn next_is_null(&self) -> bool {
        matches!(self.row.as_ref(self.taken), Some(Value::NULL))
    }

    /// Leaves columns out.
    pub fn skip(&mut self, columns: usize) {
        self.taken += columns;
    }
}

/// What a row is read into.
pub trait Record: Sized {
    /// Takes its columns in the order in which the statement selects them.
    ///
    /// # Errors
    /// As [`Columns::take`].
    fn read(columns: &mut Columns) -> Result<Self, Error>;
}

macro_rules! scalar_records {
    ($($scalar:ty),+) => {
        $(impl Record for $scalar {
            fn read(columns: &mut Columns) -> Result<Self, Error> {
                columns.take()
            }
        })+
    };
}

scalar_records! { u32, u64, i64, bool, String, Vec<u8>, Timestamp }

impl<T> Record for Option<T>
where
    Self: FromValue,
{
    fn read(columns: &mut Columns) -> Result<Self, Error> {
        columns.take()
    }
}

/// Reads structs from rows, the fields in the order of the columns: `records! { Post { id, message, picture } }`.
#[macro_export]
macro_rules! records {
    ($($Record:ident { $($field:ident),+ $(,)? })+) => {
        $(impl $crate::db::Record for $Record {
            fn read(columns: &mut $crate::db::Columns) -> Result<Self, $crate::db::Error> {
                Ok(Self { $($field: $crate::db::Record::read(columns)?),+ })
            }
        })+
    };
}

macro_rules! tuple_records {
    ($(($($column:ident),+);)+) => {
        $(impl<$($column: FromValue),+> Record for ($($column,)+) {
            fn read(columns: &mut Columns) -> Result<Self, Error> {
                Ok(($(columns.take::<$column>()?,)+))
            }
        })+
    };
}

tuple_records! { (A, B); (A, B, C); (A, B, C, D); }

/// A `DATETIME(6)` in UTC on its way to a [`Timestamp`].
pub struct TimestampIr(Timestamp);

impl TryFrom<Value> for TimestampIr {
    type Error = FromValueError;

    fn try_from(value: Value) -> Result<Self, FromValueError> {
        // The answer to a text, as a packet is one, is text.
        if let Value::Bytes(text) = &value {
            return Timestamp::parse_lenient(text).map(Self).ok_or(FromValueError(value));
        }
        let Value::Date(year, month, day, hour, minute, second, micros) = value else {
            return Err(FromValueError(value));
        };
        Timestamp::from_civil(year.into(), month, day, hour, minute, second, micros)
            .map(Self)
            .ok_or(FromValueError(value))
    }
}

impl From<TimestampIr> for Timestamp {
    fn from(intermediate: TimestampIr) -> Self {
        intermediate.0
    }
}

impl From<TimestampIr> for Value {
    fn from(intermediate: TimestampIr) -> Self {
        intermediate.0.into()
    }
}

impl FromValue for Timestamp {
    type Intermediate = TimestampIr;
}

impl From<Timestamp> for Value {
    fn from(time: Timestamp) -> Self {
        let civil = time.to_civil();
        let year = u16::try_from(civil.year).unwrap_or_default();
        Self::Date(year, civil.month, civil.day, civil.hour, civil.minute, civil.second, civil.micros)
    }
}
