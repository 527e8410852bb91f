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
    /// None of these: a time that is none, such as 0000-00-00, or a fraction.
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

    /// A time, or nothing where there is none.
    ///
    /// # Errors
    /// When it is something else.
    pub fn time(&self, name: &str) -> Result<Option<Timestamp>, Reason> {
        match self.get(name) {
            Field::Null => Ok(None),
            Field::Time(time) => Ok(Some(*time)),
            _ => Err(format!("{name} is no time")),
        }
    }

    /// A time that must be there.
    ///
    /// # Errors
    /// When it is not.
    pub fn some_time(&self, name: &str) -> Result<Timestamp, Reason> {
        self.time(name)?.ok_or_else(|| format!("{name} is NULL"))
    }

    /// Yes or no; no where there is nothing.
    ///
    /// # Errors
    /// When it is something else.
    pub fn flag(&self, name: &str) -> Result<bool, Reason> {
        match self.get(name) {
            Field::Null => Ok(false),
            Field::Number(number @ (0 | 1)) => Ok(*number == 1),
            // BIT(1)
            Field::Text(bit) if bit == "\0" || bit == "\u{1}" => Ok(bit == "\u{1}"),
            _ => Err(format!("{name} is neither true nor false")),
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
