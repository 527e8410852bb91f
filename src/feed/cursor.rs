//! The cursor: a position in the feed, opaque to clients, the same on every instance.
//!
//! It names the position, by number and by time, and the user. The time is what a restored backup does not repeat: it
//! gives the same numbers again to other changes, but at other times, so a position in a history that is no
//! more is told from one that still is.
//! It grants nothing: the token says who asks, and a cursor of somebody else is refused. The check only tells
//! a cursor from a text that happens to look like one.

use crate::clock::Timestamp;

/// A place in the feed, by number and by time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The change's number.
    pub seq: u64,
    /// When that change was numbered, by the database's clock.
    pub at: Timestamp,
}

/// Length of the text.
pub const TEXT_BYTES: usize = 38;

/// A position in a user's feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Everything up to this change was delivered.
    pub seq: u64,
    /// Its time: [`Position::at`].
    pub at: Timestamp,
    /// To whom: at most what a signed BIGINT holds.
    pub user: u64,
    /// Whether something that they asked for was left out, because they were not entitled to it. If they are by now, what was
    /// delivered is not all, and they need the full state.
    pub is_partial: bool,
}

/// Marks a partial one, in the text beside the user.
const PARTIAL: u64 = 1 << 63;

impl Cursor {
    /// At `position`.
    pub const fn new(Position { seq, at }: Position, user: u64) -> Self {
        Self { seq, at, user, is_partial: false }
    }

    /// The same, partial if `is_partial` or if it was.
    #[must_use]
    pub const fn partial_if(self, is_partial: bool) -> Self {
        Self { is_partial: self.is_partial || is_partial, ..self }
    }

    /// The place that it names.
    pub const fn position(self) -> Position {
        Position { seq: self.seq, at: self.at }
    }

    const fn at_bits(self) -> u64 {
        self.at.micros().cast_unsigned()
    }

    const fn user_bits(self) -> u64 {
        self.user | if self.is_partial { PARTIAL } else { 0 }
    }

    /// The text, ASCII that needs no escaping in a URL or a header.
    pub fn text(self) -> [u8; TEXT_BYTES] {
        let (seq, user) = (self.seq, self.user_bits());
        let (at, check) = (self.at_bits(), u64::from(self.check()));
        // 48 bits are 8 digits. Of the last 8 the first 6 count: they are the check's 32 bits and zeros.
        let pieces = [at >> 16, at << 32 | seq >> 32, seq << 16 | user >> 48, user, check << 16];
        let pair = |bits: u64| PAIRS[bits as usize % PAIRS.len()];
        let pairs = pieces.map(|bits| [pair(bits >> 36), pair(bits >> 24), pair(bits >> 12), pair(bits)]);
        let mut text = [0; TEXT_BYTES];
        text.copy_from_slice(&pairs.as_flattened().as_flattened()[..TEXT_BYTES]);
        text
    }

    /// Reads the text that [`Cursor::text`] wrote; `None` for any other.
    pub fn parse(text: impl AsRef<[u8]>) -> Option<Self> {
        let text: &[u8; TEXT_BYTES] = text.as_ref().try_into().ok()?;
        let mut all = 0;
        let mut four = |at: usize, count: usize| {
            let value = |of_four: usize| VALUES[of_four][usize::from(text[at + of_four])];
            let bits = (0..count).fold(0, |bits, of_four| bits | value(of_four));
            all |= bits;
            u64::from(bits)
        };
        let mut eight = |at: usize| four(at, 4) << 24 | four(at + 4, 4);
        let (one, two, three, rest) = (eight(0), eight(8), eight(16), eight(24));
        // As if two digits of zeros followed: the check's bits are the first 32 of 48.
        let check = four(32, 4) << 24 | four(36, 2);
        let user = three << 48 | rest;
        let cursor = Self {
            at: Timestamp::from_micros((one << 16 | two >> 32).cast_signed()),
            seq: two << 32 | three >> 16,
            user: user & !PARTIAL,
            is_partial: user & PARTIAL != 0,
        };
        // Equal in its last bits as well, which hold nothing.
        let is_good = all < NO_DIGIT && u64::from(cursor.check()) << 16 == check;
        is_good.then_some(cursor)
    }

    /// 32 bits that depend on all the others (the finisher of splitmix64).
    fn check(self) -> u32 {
        let mut mixed = 0x9e37_79b9_7f4a_7c15_u64;
        for part in [self.at_bits(), self.seq, self.user_bits()] {
            mixed = (mixed ^ part).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed ^= mixed >> 29;
        }
        (mixed >> 32) as u32
    }
}

/// The digits of base64url.
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The two digits of each twelve bits.
static PAIRS: [[u8; 2]; 1 << 12] = {
    let mut pairs = [[0; 2]; 1 << 12];
    let mut bits = 0;
    while bits < pairs.len() {
        pairs[bits] = [DIGITS[bits >> 6], DIGITS[bits & 63]];
        bits += 1;
    }
    pairs
};

/// What a byte's digit adds to 24 bits as the first, second, third and fourth of four; [`NO_DIGIT`] for any other byte.
static VALUES: [[u32; 256]; 4] = {
    let mut values = [[NO_DIGIT; 256]; 4];
    let mut value = 0;
    while value < DIGITS.len() {
        let mut of_four = 0;
        while of_four < 4 {
            values[of_four][DIGITS[value] as usize] = (value as u32) << (18 - 6 * of_four);
            of_four += 1;
        }
        value += 1;
    }
    values
};

/// Beyond what four digits hold.
const NO_DIGIT: u32 = 1 << 24;

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    #[test]
    fn what_was_written_is_read_again() {
        for seq in [0, 1, 38, u64::MAX] {
            for user in [1, i64::MAX.cast_unsigned()] {
                for is_partial in [false, true] {
                    let at = Timestamp::from_micros(0x1234_5678_9abc_def0);
                    let cursor = Cursor::new(Position { seq, at }, user).partial_if(is_partial);
                    let text = cursor.text();
                    assert!(text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte)));
                    assert_eq!(Cursor::parse(text), Some(cursor));
                }
            }
        }
    }

    #[test]
    fn the_text_is_base64() {
        for part in [0, 1, u64::MAX, 0x0010_8310_5187_2092, 0xf3df_bebd_bafb_f7ef] {
            let at = Timestamp::from_micros(part.cast_signed());
            let cursor = Cursor::new(Position { at, seq: part.rotate_left(24) }, part.swap_bytes());
            let parts = [part, cursor.seq, cursor.user].map(u64::to_be_bytes);
            let raw = [parts.as_flattened(), &cursor.check().to_be_bytes()].concat();
            assert_eq!(cursor.text(), URL_SAFE_NO_PAD.encode(raw).as_bytes());
        }
    }

    #[test]
    fn the_text_of_another_version_is_read() {
        // Clients hold cursors while instances are replaced, so the text never changes, its check included.
        let at = Timestamp::from_micros(1_768_473_000_123_456);
        let cursor = Cursor::new(Position { seq: 38, at }, 7);
        assert_eq!(cursor.text(), *b"AAZIarT3nEAAAAAAAAAAJgAAAAAAAAAHqKpvYw");
    }

    #[test]
    fn other_texts_are_refused() {
        let good = Cursor::new(Position { at: Timestamp::from_micros(7), seq: 8 }, 9).text();
        for text in ["", "0", "-1", "9223372036854775808", "letters", "👍", &"A".repeat(38), &"A".repeat(40)]
        {
            assert_eq!(Cursor::parse(text), None, "{text}");
        }
        for at in 0..TEXT_BYTES {
            for other in (0..=u8::MAX).filter(|&other| other != good[at]) {
                let mut bad = good;
                bad[at] = other;
                assert_eq!(Cursor::parse(bad), None, "{other} at {at}");
            }
        }
    }
}
