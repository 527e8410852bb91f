//! What can be seen of a text that somebody sent. Pure.

use icu_properties::CodePointSetData;
use icu_properties::props::DefaultIgnorableCodePoint;

/// Characters of other classes that show nothing: Braille without dots, and the marks of annotations.
const OTHERS: [char; 4] = ['\u{2800}', '\u{fff9}', '\u{fffa}', '\u{fffb}'];

/// Whether a character shows nothing of itself, such as a zero width space, a soft hyphen, a change of direction,
/// or the Hangul filler. White space is seen by its width.
fn is_unseen(letter: char) -> bool {
    let ignorable = CodePointSetData::new::<DefaultIgnorableCodePoint>();
    !letter.is_ascii() && (ignorable.contains(letter) || OTHERS.contains(&letter))
}

/// Whether a reader would see nothing: a text without characters, of white space, or of what shows nothing.
#[must_use]
pub fn is_blank(text: &str) -> bool {
    text.chars().all(|letter| letter.is_whitespace() || is_unseen(letter))
}

/// Whether some of it cannot be seen, control characters included, so that it may look like another text. (Emoji
/// that are joined of several have such a character, too.)
#[must_use]
pub fn has_unseen(text: &str) -> bool {
    text.chars().any(|letter| letter.is_control() || is_unseen(letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_found_in_every_class() {
        let unseen = [
            '\u{ad}',
            '\u{34f}',
            '\u{61c}',
            '\u{115f}',
            '\u{17b4}',
            '\u{180e}',
            '\u{200b}',
            '\u{200d}',
            '\u{200e}',
            '\u{202e}',
            '\u{2060}',
            '\u{2066}',
            '\u{206f}',
            '\u{2800}',
            '\u{3164}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{ffa0}',
            '\u{fff9}',
            '\u{1d173}',
            '\u{e0041}',
            '\u{e0100}',
        ];
        for letter in unseen {
            assert!(has_unseen(&format!("a{letter}b")), "{letter:?}");
            assert!(is_blank(&format!(" {letter}")), "{letter:?}");
        }
        for control in ["\0", "\n", "\u{7f}", "\u{85}"] {
            assert!(has_unseen(&format!("a{control}b")), "{control:?}");
        }
        for seen in ["a", "ann b", "José", "e\u{301}", "🔥", "ｊ", "שלום", "می", "日本", "a\u{a0}b"]
        {
            assert!(!has_unseen(seen) && !is_blank(seen), "{seen}");
        }
        assert!(
            is_blank("")
                && is_blank(" \t\u{3000}\u{a0}")
                && !is_blank("\u{200b}.\u{200b}")
                && !is_blank("\u{1}")
        );
    }
}
