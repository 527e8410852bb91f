//! The cursor: a position in the feed, opaque to clients, the same on every instance.
//!
//! It names the position, by number and by time, and the user. The time is what a restored backup does not repeat: it
//! gives the same numbers again to other changes, but at other times, so a position in a history that is no
//! more is told from one that still is.
//! It grants nothing: the token says who asks, and a cursor of somebody else is refused. The check only tells
//! a cursor from a text that happens to look like one.

use crate::clock::Timestamp;

use super::position::Position;

/// Length of the text.
pub const TEXT_BYTES: usize = 38;

/// A position in a user's feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Everything up to this change was delivered.
    pub seq: u64,
    /// Its time: [`Position::at`].
    pub at: Timestamp,
    /// To whom.
    pub user: u64,
}

/// The text is no cursor at all: 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no cursor")]
pub struct Malformed;

impl Cursor {
    /// At `position`.
    #[must_use]
    pub const fn new(Position { seq, at }: Position, user: u64) -> Self {
        Self { seq, at, user }
    }

    /// The place that it names.
    #[must_use]
    pub const fn position(self) -> Position {
        Position { seq: self.seq, at: self.at }
    }

    const fn at_bits(self) -> u64 {
        self.at.micros().cast_unsigned()
    }

    /// The text, ASCII that needs no escaping in a URL or a header.
    #[must_use]
    pub fn text(self) -> [u8; TEXT_BYTES] {
        let Self { seq, user, .. } = self;
        let (at, check) = (self.at_bits(), u64::from(self.check()));
        // 48 bits are 8 digits. Of the last 8 the first 6 count: they are the check's 32 bits and zeros.
        let pieces = [at >> 16, at << 32 | seq >> 32, seq << 16 | user >> 48, user, check << 16];
        let sextets = pieces.map(|bits| sextets(bits).to_be_bytes());
        let mut text = [0; TEXT_BYTES];
        text.iter_mut().zip(sextets.as_flattened()).for_each(|(place, &sextet)| *place = digit(sextet));
        text
    }

    /// Reads the text that [`Cursor::text`] wrote.
    ///
    /// # Errors
    /// [`Malformed`] for any other.
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Self, Malformed> {
        let text: &[u8; TEXT_BYTES] = text.as_ref().try_into().map_err(|_| Malformed)?;
        // As if two digits of zeros followed: the check's bits are the first 32 of 48.
        let values: [u8; TEXT_BYTES] = std::array::from_fn(|place| value(text[place]));
        let is_text = values.iter().fold(0, |all, value| all | value) < 64;
        let mut sextets = [0; TEXT_BYTES + 2];
        sextets[..TEXT_BYTES].copy_from_slice(&values);
        let [one, two, three, four, five] = pieces(&sextets);
        let cursor = Self {
            at: Timestamp::from_micros((one << 16 | two >> 32).cast_signed()),
            seq: two << 32 | three >> 16,
            user: three << 48 | four,
        };
        // Equal in its last bits as well, which hold nothing.
        if is_text && u64::from(cursor.check()) << 16 == five { Ok(cursor) } else { Err(Malformed) }
    }

    /// 32 bits that depend on all the others (the finisher of splitmix64).
    fn check(self) -> u32 {
        let mut mixed = 0x9e37_79b9_7f4a_7c15_u64;
        for part in [self.at_bits(), self.seq, self.user] {
            mixed = (mixed ^ part).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed ^= mixed >> 29;
        }
        (mixed >> 32) as u32
    }
}

/// The low 48 bits, six in each byte.
const fn sextets(bits: u64) -> u64 {
    let halves = bits << 8 & 0x00ff_ffff_0000_0000 | bits & 0x00ff_ffff;
    let quarters = halves << 4 & 0x0fff_0000_0fff_0000 | halves & 0x0000_0fff_0000_0fff;
    quarters << 2 & 0x3f00_3f00_3f00_3f00 | quarters & 0x003f_003f_003f_003f
}

/// The base64url digit of six bits. Sums instead of a table or cases: the compiler does sixteen at once.
fn digit(sextet: u8) -> u8 {
    let from = |least: u8, step: u8| if sextet >= least { step } else { 0 };
    let letter = sextet + b'A' + from(26, b'a' - b'Z' - 1);
    letter - from(52, b'z' + 1 - b'0') - from(62, b'9' + 1 - b'-') + from(63, b'_' - b'-' - 1)
}

/// The six bits of a base64url digit, or more than 63 for any other byte: the inverse of [`digit`].
fn value(byte: u8) -> u8 {
    let from = |least: u8, count: u8, value: u8| {
        if byte.wrapping_sub(least) < count { byte.wrapping_sub(least).wrapping_add(value) } else { 0 }
    };
    let is_digit = byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let found =
        from(b'A', 26, 0) | from(b'a', 26, 26) | from(b'0', 10, 52) | from(b'-', 1, 62) | from(b'_', 1, 63);
    if is_digit { found } else { u8::MAX }
}

/// 48 bits of each eight bytes that hold six: the inverse of [`sextets`].
fn pieces(text: &[u8; TEXT_BYTES + 2]) -> [u64; 5] {
    let mut pieces = [0; 5];
    for (piece, sextets) in pieces.iter_mut().zip(text.as_chunks().0) {
        let bits = u64::from_be_bytes(*sextets);
        let quarters = bits >> 2 & 0x0fc0_0fc0_0fc0_0fc0 | bits & 0x003f_003f_003f_003f;
        let halves = quarters >> 4 & 0x00ff_f000_00ff_f000 | quarters & 0x0000_0fff_0000_0fff;
        *piece = halves >> 8 & 0xffff_ff00_0000 | halves & 0x00ff_ffff;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    #[test]
    fn what_was_written_is_read_again() {
        for seq in [0, 1, 38, u64::MAX] {
            for user in [1, u64::MAX] {
                let cursor = Cursor { at: Timestamp::from_micros(0x1234_5678_9abc_def0), seq, user };
                let text = cursor.text();
                assert!(text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte)));
                assert_eq!(Cursor::parse(text), Ok(cursor));
            }
        }
    }

    #[test]
    fn the_text_is_base64() {
        for part in [0, 1, u64::MAX, 0x0010_8310_5187_2092, 0xf3df_bebd_bafb_f7ef] {
            let at = Timestamp::from_micros(part.cast_signed());
            let cursor = Cursor { at, seq: part.rotate_left(24), user: part.swap_bytes() };
            let parts = [part, cursor.seq, cursor.user].map(u64::to_be_bytes);
            let raw = [parts.as_flattened(), &cursor.check().to_be_bytes()].concat();
            assert_eq!(cursor.text(), URL_SAFE_NO_PAD.encode(raw).as_bytes());
        }
    }

    #[test]
    fn the_text_of_another_version_is_read() {
        // Clients hold cursors while instances are replaced, so the text never changes, its check included.
        let cursor = Cursor { seq: 38, at: Timestamp::from_micros(1_768_473_000_123_456), user: 7 };
        assert_eq!(cursor.text(), *b"AAZIarT3nEAAAAAAAAAAJgAAAAAAAAAHqKpvYw");
    }

    #[test]
    fn other_texts_are_refused() {
        let good = Cursor { at: Timestamp::from_micros(7), seq: 8, user: 9 }.text();
        for text in ["", "0", "-1", "9223372036854775808", "letters", "👍", &"A".repeat(38), &"A".repeat(40)]
        {
            assert_eq!(Cursor::parse(text), Err(Malformed), "{text}");
        }
        for at in 0..TEXT_BYTES {
            for other in (0..=u8::MAX).filter(|&other| other != good[at]) {
                let mut bad = good;
                bad[at] = other;
                assert_eq!(Cursor::parse(bad), Err(Malformed), "{other} at {at}");
            }
        }
    }
}
