//! What the stock counter takes and shows. Pure.

use std::fmt;
use std::str::FromStr;

use crate::auth::oauth::SCOPES;
use crate::chassis::request::Fields;
use crate::clock::Timestamp;

/// The scope that may set the quantity.
pub const STOCK: &str = "stock";
/// The most there may be: the largest number that every JSON reader, JavaScript's too, holds exactly.
pub const QUANTITY_MAX: u64 = (1 << 53) - 1;
/// Characters of a client's name; the column holds as many.
pub const NAME_CHARS_MAX: usize = 255;

/// The text of a 422.
pub const NOT_A_QUANTITY: &str = "Quantity must be an integer from 0 to 9007199254740991";

/// The quantity that a body asks for.
#[must_use]
pub fn quantity(fields: &Fields) -> Option<u64> {
    fields.whole("quantity").filter(|quantity| *quantity <= QUANTITY_MAX)
}

/// A set of scopes, in the order of [`SCOPES`], each once, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope(String);

impl Scope {
    /// The names in `text` between `separator`s; nothing where one of them is no scope.
    #[must_use]
    pub fn parse(text: &str, separator: char) -> Option<Self> {
        let names: Vec<&str> = text.split(separator).collect();
        if !names.iter().all(|name| SCOPES.contains(name)) {
            return None;
        }
        let scopes: Vec<&str> = SCOPES.into_iter().filter(|scope| names.contains(scope)).collect();
        Some(Self(scopes.join(" ")))
    }

    /// Whether each of them is among `allowed`, names separated by spaces.
    #[must_use]
    pub fn is_within(&self, allowed: &str) -> bool {
        self.0.split(' ').all(|scope| allowed.split(' ').any(|allowed| allowed == scope))
    }

    /// The names, separated by single spaces.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.0
    }
}

impl FromStr for Scope {
    type Err = String;

    /// Reads what a person writes on a command line: `read,stock`.
    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text, ',').ok_or_else(|| format!("name one or more of {}", SCOPES.join(",")))
    }
}

/// A client program, as it is listed.
pub struct Client {
    /// The `client_id`.
    pub id: u64,
    /// For people.
    pub name: String,
    /// What it may ask for, separated by spaces.
    pub scope: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when it is one no more.
    pub revoked_at: Option<Timestamp>,
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |time: Timestamp| String::from_utf8_lossy(&time.format()).into_owned();
        let (id, scope, created) = (self.id, self.scope.replace(' ', ","), time(self.created_at));
        write!(f, "client_id={id} scope={scope} created_at={created}")?;
        if let Some(revoked) = self.revoked_at {
            write!(f, " revoked_at={}", time(revoked))?;
        }
        write!(f, " name={:?}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_known_names() {
        let parse = |text| Scope::parse(text, ' ').map(String::from);
        assert_eq!(parse("read"), Some("read".to_owned()));
        assert_eq!(parse("stock read stock"), Some("read stock".to_owned()));
        for wrong in ["", " ", "read ", "read  stock", "write", "READ", "read,stock", "read\tstock"] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
        assert_eq!("read,stock".parse::<Scope>().unwrap().as_str(), "read stock");
        assert!("read stock".parse::<Scope>().is_err());
        let both = Scope::parse("read stock", ' ').unwrap();
        assert!(both.is_within("read stock") && both.is_within("stock read other"));
        assert!(!both.is_within("read") && !both.is_within(""));
    }

    #[test]
    fn a_client_is_listed_on_one_line() {
        let time = Timestamp::parse_lenient("2026-01-15T10:30:00.123456Z").unwrap();
        let mut client = Client {
            id: 7,
            name: "two\nlines".to_owned(),
            scope: "read stock".to_owned(),
            created_at: time,
            revoked_at: None,
        };
        let line = "client_id=7 scope=read,stock created_at=2026-01-15T10:30:00.123456Z";
        assert_eq!(client.to_string(), format!("{line} name=\"two\\nlines\""));
        client.revoked_at = Some(time);
        assert_eq!(
            client.to_string(),
            format!("{line} revoked_at=2026-01-15T10:30:00.123456Z name=\"two\\nlines\"")
        );
    }

    #[test]
    fn a_quantity_is_a_whole_number_that_every_reader_holds() {
        let read = |value: &str| quantity(&Fields::of_json(&format!(r#"{{"quantity":{value}}}"#), "hyper"));
        for (value, number) in [
            ("0", 0),
            ("7", 7),
            ("\"12\"", 12),
            ("9007199254740991", QUANTITY_MAX),
            ("\"9007199254740991\"", QUANTITY_MAX),
        ] {
            assert_eq!(read(value), Some(number), "{value}");
        }
        for value in
            ["9007199254740992", "-1", "1.0", "\"\"", "\"-1\"", "\"+1\"", "\"1 \"", "null", "true", "[1]"]
        {
            assert_eq!(read(value), None, "{value}");
        }
    }
}
