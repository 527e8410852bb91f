//! Values on their way from one database to another. Pure.

use crate::clock::Timestamp;

/// A value of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// NULL, or no such column.
    Null,
    /// A whole number.
    Number(i64),
    /// A text.
    Text(String),
    /// Bytes that are no text.
    Bytes(Vec<u8>),
    /// A time.
    Time(Timestamp),
    /// 0000-00-00 00:00:00, which Rails reads as nil.
    ZeroTime,
    /// None of these: a time that is none, such as 2024-02-00, or a fraction.
    Odd,
}

/// A row of the source, whatever columns it has.
pub struct Fields<'a> {
    /// The columns' names.
    pub names: &'a [String],
    /// Their values.
    pub values: &'a [Field],
}

/// Why a row is not taken.
pub type Reason = String;

impl Fields<'_> {
    /// Whether there is such a column.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    /// The value of a column.
    #[must_use]
    pub fn get(&self, name: &str) -> &Field {
        let place = self.names.iter().position(|known| known == name);
        place.and_then(|place| self.values.get(place)).unwrap_or(&Field::Null)
    }

    /// A text, or nothing where there is none.
    ///
    /// # Errors
    /// When it is something else.
    pub fn text(&self, name: &str) -> Result<Option<&str>, Reason> {
        match self.get(name) {
            Field::Null => Ok(None),
            Field::Text(text) => Ok(Some(text)),
            _ => Err(format!("{name} is no text")),
        }
    }

    /// A number, or nothing where there is none.
    ///
    /// # Errors
    /// When it is something else.
    pub fn number(&self, name: &str) -> Result<Option<i64>, Reason> {
        match self.get(name) {
            Field::Null => Ok(None),
            Field::Number(number) => Ok(Some(*number)),
            _ => Err(format!("{name} is no whole number")),
        }
    }

    /// An id, or nothing where there is none.
    ///
    /// # Errors
    /// When it is something else.
    pub fn id(&self, name: &str) -> Result<Option<u64>, Reason> {
        let number = self.number(name)?;
        let positive = number.map(|number| u64::try_from(number).ok().filter(|id| *id > 0));
        positive.map(|id| id.ok_or_else(|| format!("{name} is not above 0"))).transpose()
    }

    /// An id that must be there.
    ///
    /// # Errors
    /// When it is not.
    pub fn some_id(&self, name: &str) -> Result<u64, Reason> {
        self.id(name)?.ok_or_else(|| format!("{name} is NULL"))
    }

    /// A time, or nothing where there is none: a zero date is none, and is noted.
    ///
    /// # Errors
    /// When it is something else.
    pub fn time(&self, name: &str, notes: &mut Vec<String>) -> Result<Option<Timestamp>, Reason> {
        match self.get(name) {
            Field::Null => Ok(None),
            Field::ZeroTime => {
                notes.push(format!("{name} was a zero date, which is taken as NULL"));
                Ok(None)
            }
            _ => self.some_time(name).map(Some),
        }
    }

    /// A time that must be there.
    ///
    /// # Errors
    /// When it is not.
    pub fn some_time(&self, name: &str) -> Result<Timestamp, Reason> {
        match self.get(name) {
            Field::Time(time) => Ok(*time),
            Field::Null => Err(format!("{name} is NULL")),
            Field::ZeroTime => Err(format!("{name} is a zero date")),
            _ => Err(format!("{name} is no time")),
        }
    }

    /// Yes or no; no where there is nothing.
    ///
    /// # Errors
    /// When it is something else.
    pub fn flag(&self, name: &str) -> Result<bool, Reason> {
        match self.get(name) {
            Field::Null => Ok(false),
            // As in Rails, whatever is not zero is true.
            Field::Number(number) => Ok(*number != 0),
            // BIT(1)
            Field::Text(bit) if bit == "\0" || bit == "\u{1}" => Ok(bit == "\u{1}"),
            _ => Err(format!("{name} is neither true nor false")),
        }
    }
}

impl Field {
    /// Whether nothing is lost with it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Null | Self::ZeroTime => true,
            Self::Text(text) => text.is_empty(),
            _ => false,
        }
    }
}

impl From<u64> for Field {
    fn from(number: u64) -> Self {
        i64::try_from(number).map_or(Self::Odd, Self::Number)
    }
}

impl From<&str> for Field {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Field {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Timestamp> for Field {
    fn from(time: Timestamp) -> Self {
        Self::Time(time)
    }
}

impl<T: Into<Field>> From<Option<T>> for Field {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, T::into)
    }
}
