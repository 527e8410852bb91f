//! SQL statements: each a file below `sql/`, prepared, never built at run time; and packets, which are several
//! statements in one file.

use std::fmt::Write as _;

use crate::clock::Timestamp;

/// One prepared statement. The name is the file's, the metric's label and the first line of the text, so
/// that the database's slow log names its caller.
#[derive(Clone, Copy, Debug)]
pub struct Statement {
    /// Such as `helpdesk.message_insert`.
    pub name: &'static str,
    /// The text, parameters as `?`.
    pub sql: &'static str,
}

/// Declares the statements of one `store.rs`: a constant each, and all of them as `STATEMENTS`, for the test that
/// prepares them.
///
/// `statements! { "helpdesk": MESSAGE_INSERT = "message_insert"; }` includes `sql/helpdesk/message_insert.sql`. What several
/// of them have in common may stand in files of its own: with `"helpdesk" with "conversation", "ahead":` the text of
/// `sql/helpdesk/_conversation.sql` takes the place of `{conversation}` in the others, and so on, when this is compiled.
#[macro_export]
macro_rules! statements {
    ($folder:literal with $($shared:literal),+: $($files:tt)+) => {
        $crate::sql_files! {
            Statement STATEMENTS $folder
            [$((
                concat!("{", $shared, "}"),
                include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sql/", $folder, "/_", $shared, ".sql")),
            )),+];
            $($files)+
        }
    };
    ($folder:literal: $($files:tt)+) => { $crate::sql_files! { Statement STATEMENTS $folder []; $($files)+ } };
}

/// Declares the packets of one `store.rs` in the same way, all of them as `PACKETS`.
#[macro_export]
macro_rules! packets {
    ($folder:literal: $($files:tt)+) => { $crate::sql_files! { Packet PACKETS $folder []; $($files)+ } };
}

#[doc(hidden)]
#[macro_export]
macro_rules! sql_files {
    (
        $kind:ident $all:ident $folder:literal $marks:expr;
        $($constant:ident = $file:literal;)+
    ) => {
        $(const $constant: $crate::db::$kind = {
            const FILE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sql/", $folder, "/", $file, ".sql"));
            const MARKS: &[(&str, &str)] = &$marks;
            const TEXT: [u8; $crate::db::composed_bytes(FILE, MARKS)] = $crate::db::composed(FILE, MARKS);
            match std::str::from_utf8(&TEXT) {
                Ok(sql) => $crate::db::$kind { name: concat!($folder, ".", $file), sql },
                Err(_) => panic!("SQL is text"),
            }
        };)+
        /// All of this store.
        pub const $all: &[$crate::db::$kind] = &[$($constant),+];
    };
}

/// The mark that begins at `at` in `text`, and what takes its place.
const fn mark_at<'a>(text: &[u8], at: usize, marks: &[(&'a str, &'a str)]) -> Option<(&'a [u8], &'a [u8])> {
    let mut next = 0;
    while next < marks.len() {
        let mark = marks[next].0.as_bytes();
        let mut same = 0;
        while same < mark.len() && at + same < text.len() && text[at + same] == mark[same] {
            same += 1;
        }
        if same == mark.len() {
            return Some((mark, marks[next].1.as_bytes()));
        }
        next += 1;
    }
    None
}

#[doc(hidden)]
#[must_use]
pub const fn composed_bytes(text: &str, marks: &[(&str, &str)]) -> usize {
    let text = text.as_bytes();
    let (mut at, mut bytes) = (0, 0);
    while at < text.len() {
        let (read, written) = match mark_at(text, at, marks) {
            Some((mark, shared)) => (mark.len(), shared.len()),
            None => (1, 1),
        };
        (at, bytes) = (at + read, bytes + written);
    }
    bytes
}

/// The text with what is shared in place of its marks: its length is [`composed_bytes`].
#[doc(hidden)]
#[must_use]
pub const fn composed<const BYTES: usize>(text: &str, marks: &[(&str, &str)]) -> [u8; BYTES] {
    let text = text.as_bytes();
    let mut whole = [0; BYTES];
    let (mut at, mut bytes) = (0, 0);
    while at < text.len() {
        if let Some((mark, shared)) = mark_at(text, at, marks) {
            let (place, _) = whole.split_at_mut(bytes + shared.len());
            place.split_at_mut(bytes).1.copy_from_slice(shared);
            (at, bytes) = (at + mark.len(), bytes + shared.len());
        } else {
            whole[bytes] = text[at];
            (at, bytes) = (at + 1, bytes + 1);
        }
    }
    whole
}

/// Several statements sent as one text, in one round trip. The server runs them one after the other, so no lock is held
/// while it waits for an instance that is slow, frozen or gone. The first statement that fails ends the packet.
///
/// The driver can prepare single statements only. So each `?` is replaced in the text by a [`Literal`], none of which can
/// hold a text that a client sent.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// Such as `feed.record`, as [`Statement::name`].
    pub name: &'static str,
    /// The text, parameters as `?`.
    pub sql: &'static str,
}

/// A parameter of a [`Packet`].
#[derive(Clone, Copy, Debug)]
pub enum Literal<'a> {
    /// A number, or NULL.
    Number(Option<u64>),
    /// Numbers with commas between.
    Numbers(&'a [u64]),
    /// A word out of this program's source.
    Word(&'static str),
    /// Bytes, written in hexadecimal.
    Bytes(&'a [u8]),
    /// A time, to the microsecond.
    Time(Timestamp),
}

impl From<u64> for Literal<'_> {
    fn from(number: u64) -> Self {
        Self::Number(Some(number))
    }
}

impl Packet {
    /// Appends the text with its parameters.
    pub fn write(&self, parameters: &[Literal<'_>], text: &mut String) {
        text.reserve(self.sql.len() + 24 * parameters.len());
        let mut parameters = parameters.iter();
        for (place, part) in self.sql.split('?').enumerate() {
            if place > 0 {
                match parameters.next() {
                    Some(parameter) => parameter.write(text),
                    // The database refuses it, as it does a prepared statement with a parameter too few.
                    None => text.push('?'),
                }
            }
            text.push_str(part);
        }
    }
}

impl Literal<'_> {
    fn write(&self, text: &mut String) {
        // Writing to a String cannot fail.
        let _infallible = match *self {
            Self::Number(Some(number)) => write!(text, "{number}"),
            Self::Number(None) => write!(text, "NULL"),
            Self::Numbers(numbers) => numbers
                .iter()
                .enumerate()
                .try_for_each(|(place, number)| write!(text, "{}{number}", if place > 0 { "," } else { "" })),
            Self::Word(word) => write!(text, "'{word}'"),
            Self::Bytes(bytes) => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                let digit = |byte: u8| char::from(DIGITS[usize::from(byte & 15)]);
                text.reserve(2 * bytes.len());
                text.push_str("x'");
                text.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]));
                text.push('\'');
                Ok(())
            }
            Self::Time(time) => {
                let at = time.to_civil();
                write!(
                    text,
                    "'{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:06}'",
                    at.year, at.month, at.day, at.hour, at.minute, at.second, at.micros
                )
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shared_takes_the_place_of_its_marks() {
        const MARKS: &[(&str, &str)] = &[("{b}", "12345"), ("{c}", "")];
        for (text, bytes) in [("a {b} c", 9), ("{b}", 5), ("{c}{b}{c}{b}", 10), ("a {b", 4), ("", 0)] {
            assert_eq!(composed_bytes(text, MARKS), bytes);
        }
        assert_eq!(composed::<9>("a {b} c", MARKS), *b"a 12345 c");
        assert_eq!(composed::<12>("{b}{c}, {b}", MARKS), *b"12345, 12345");
        assert_eq!(composed::<4>("a {b", MARKS), *b"a {b");
        assert_eq!(composed::<7>("a {b} c", &[]), *b"a {b} c");
    }

    #[test]
    fn a_packet_has_its_parameters_in_their_places() {
        let packet = Packet { name: "x.y", sql: "A ? (?); B ?, ?; C ?, ?" };
        let text = |parameters: &[Literal<'_>]| {
            let mut text = String::new();
            packet.write(parameters, &mut text);
            text
        };
        let whole = text(&[
            7.into(),
            Literal::Numbers(&[1, 22, 333]),
            Literal::Number(None),
            Literal::Word("read"),
            Literal::Bytes(&[0, 0x27, 0xff]),
            Literal::Time(Timestamp::from_micros(1_000_001)),
        ]);
        assert_eq!(whole, "A 7 (1,22,333); B NULL, 'read'; C x'0027ff', '1970-01-01 00:00:01.000001'");
        assert!(text(&[7.into()]).ends_with("C ?, ?"), "an error, not something else");
    }
}
