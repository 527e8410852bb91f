//! Inputs made of others, the same ones in every run.

/// Text that parsers of headers, bodies and times look at.
const WORDS: [&[u8]; 28] = [
    b"\0",
    b"\n",
    b"\r\n",
    b"\"",
    b"\\",
    b"%",
    b"%00",
    b"%ff",
    b"+",
    b"&",
    b"=",
    b";",
    b",",
    b":",
    b"/",
    b"[",
    b"]",
    b"{",
    b"}",
    b".",
    b"-1",
    b"0",
    b"9223372036854775808",
    b"18446744073709551616",
    b"1e309",
    b"\xff",
    b"\xc3",
    "\u{202e}".as_bytes(),
];
/// Longer inputs only cost time.
const BYTES_MAX: usize = 4 * 1024;

/// One of `corpus`, changed in one to four places.
pub fn mutated(corpus: &[Vec<u8>], random: &mut fastrand::Rng) -> Vec<u8> {
    let Some(mut input) = random.choice(corpus).cloned() else { return Vec::new() };
    for _ in 0..random.u8(1..=4) {
        let at = random.usize(0..=input.len());
        let end = random.usize(at..=input.len());
        match random.u8(0..8) {
            0 if !input.is_empty() => input[at.saturating_sub(1)] ^= 1 << random.u8(0..8),
            1 if !input.is_empty() => input[at.saturating_sub(1)] = random.u8(..),
            2 => input.truncate(at),
            3 => drop(input.drain(at..end)),
            4 => drop(input.splice(at..at, input[at..end].to_vec())),
            5 => {
                let other = random.choice(corpus).map(Vec::as_slice).unwrap_or_default();
                input.splice(at..end, other[random.usize(0..=other.len())..].iter().copied());
            }
            _ => {
                let word = random.choice(WORDS).unwrap_or_default();
                input.splice(at..at, word.iter().copied());
            }
        }
        input.truncate(BYTES_MAX);
    }
    input
}
