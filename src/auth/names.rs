//! Usernames that differ only in case or accents are one name to people, and to the collations that Rails' tables
//! have: `Alice` and `alice`, `José` and `jose`. Pure.

use icu_casemap::CaseMapper;
use icu_normalizer::DecomposingNormalizerBorrowed;
use icu_properties::CodePointMapData;
use icu_properties::props::CanonicalCombiningClass;
use ring::digest::{SHA256, digest};

/// A name without case and accents, in Unicode's terms: its compatibility decomposition, case folded, without the marks
/// that stand above, below or across a letter. Vowel signs are letters' equals and stay.
#[must_use]
pub fn folded(name: &str) -> String {
    let decomposed = DecomposingNormalizerBorrowed::new_nfkd();
    let once = decomposed.normalize(name);
    let folded = CaseMapper::new().fold_string(&once);
    let again = decomposed.normalize(&folded);
    let plain: String = again.chars().filter(|letter| !is_accent(*letter)).collect();
    // A name of accents only is its own.
    if plain.is_empty() { again.into_owned() } else { plain }
}

/// What is stored of a folded name: it may be longer than any column.
#[must_use]
pub fn key(name: &str) -> [u8; 32] {
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, folded(name).as_bytes()).as_ref());
    key
}

/// Overlays; points of Hebrew and Arabic; all that is attached to a letter, or stands below or above it. The classes
/// between are those of vowel signs, viramas and nuktas.
fn is_accent(letter: char) -> bool {
    use CanonicalCombiningClass as Class;
    let class = CodePointMapData::<Class>::new().get(letter);
    class == Class::Overlay
        || (Class::CCC10..=Class::CCC36).contains(&class)
        || class >= Class::AttachedBelowLeft
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_accents_make_no_other_name() {
        for (one, other) in [
            ("Alice", "aLICE"),
            ("José", "jose"),
            ("jose\u{301}", "José"),
            ("STRASSE", "straße"),
            ("ΣΊΣΥΦΟΣ", "σισυφος"),
            ("Ångström", "angstrom"),
            ("ﬁnn", "FINN"),
            ("Ａｎｎ", "ann"),
        ] {
            assert_eq!(folded(one), folded(other), "{one} {other}");
            assert_eq!(key(one), key(other));
        }
    }

    #[test]
    fn other_letters_do() {
        for (one, other) in
            [("ann", "ana"), ("कि", "कु"), ("ann", "ann1"), ("\u{301}", "\u{300}"), ("日本", "日木")]
        {
            assert_ne!(folded(one), folded(other), "{one} {other}");
        }
    }
}
