//! The links of an expert's profile, in every form in which Rails may have stored them: a list in JSON or in YAML, or
//! lines of text. Pure.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

/// Texts within texts: a column of JSON that holds the list's YAML is two of them.
const WRAPPED_MAX: usize = 4;
/// Line breaks in YAML 1.1, which Psych writes, but not in 1.2, which the library reads: such a text could be misread.
const OTHER_BREAKS: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];
/// Bytes of all items, after which the rest is of no interest: no row takes as many. Aliases could make a short text huge.
const ITEMS_BYTES_MAX: usize = 1024 * 1024;

/// What a text is, if it is not just itself.
enum Form {
    /// A list of scalars, each a text or nil.
    List(Vec<Option<String>>),
    /// A text that is quoted or folded, so another text is in it.
    Text(String),
}

/// The links of a profile, and how they are not what was stored.
#[must_use]
pub fn read(stored: &str) -> (Vec<String>, Option<&'static str>) {
    let mut text = stored.to_owned();
    for _ in 0..WRAPPED_MAX {
        match json(&text).or_else(|| yaml(&text)) {
            Some(Form::List(items)) => return without_nil(items),
            Some(Form::Text(inner)) if inner != text => text = inner,
            _ => break,
        }
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines: Vec<String> = lines.map(str::to_owned).collect();
    let note = "knowledge_base_links was no list: each of its lines is a link here";
    let note = (!lines.is_empty()).then_some(note);
    (lines, note)
}

fn without_nil(items: Vec<Option<String>>) -> (Vec<String>, Option<&'static str>) {
    let has_nil = items.iter().any(Option::is_none);
    let note = "knowledge_base_links had items that were nil: they are left out";
    (items.into_iter().flatten().collect(), has_nil.then_some(note))
}

/// What a text is as JSON.
fn json(text: &str) -> Option<Form> {
    use serde_json::Value;
    let item = |value| match value {
        Value::Null => Some(None),
        Value::String(text) => Some(Some(text)),
        Value::Array(_) | Value::Object(_) => None,
        scalar @ (Value::Bool(_) | Value::Number(_)) => Some(Some(scalar.to_string())),
    };
    match serde_json::from_str(text).ok()? {
        Value::Null => Some(Form::List(Vec::new())),
        Value::String(inner) => Some(Form::Text(inner)),
        Value::Array(list) => list.into_iter().map(item).collect::<Option<_>>().map(Form::List),
        _ => None,
    }
}

/// What a text is as YAML, if it begins like a document of it: lines of text are YAML, too, but nobody meant them so.
fn yaml(text: &str) -> Option<Form> {
    if text.contains(OTHER_BREAKS) {
        return None;
    }
    let mut items = Vec::new();
    let mut anchored = HashMap::new();
    let (mut is_in_list, mut found, mut bytes) = (false, None, 0);
    for event in Parser::new_from_str(text) {
        let (event, _) = event.ok()?;
        let item = match event {
            Event::StreamStart | Event::DocumentStart(true) | Event::DocumentEnd | Event::StreamEnd => {
                continue;
            }
            // A second document.
            _ if found.is_some() => return None,
            Event::SequenceStart(_, tag) if !is_in_list && tag.is_none() => {
                is_in_list = true;
                continue;
            }
            Event::SequenceEnd => {
                found = Some(Form::List(std::mem::take(&mut items)));
                continue;
            }
            Event::Scalar(text, style, anchor, tag) => {
                let item = scalar(&text, style, tag.as_deref())?;
                if anchor > 0 {
                    anchored.insert(anchor, item.clone());
                }
                item
            }
            // The same object once more.
            Event::Alias(anchor) => anchored.get(&anchor)?.clone(),
            _ => return None,
        };
        bytes += item.as_ref().map_or(1, |text| text.len() + 1);
        match item {
            _ if bytes > ITEMS_BYTES_MAX => return None,
            item if is_in_list => items.push(item),
            item => found = Some(item.map_or_else(|| Form::List(Vec::new()), Form::Text)),
        }
    }
    found
}

/// A scalar's text; nothing inside for nil, nothing at all for what has a tag that makes it more than a text.
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Option<Option<String>> {
    let is_text = tag.is_some_and(|tag| match tag.handle.as_str() {
        "tag:yaml.org,2002:" => tag.suffix == "str",
        // A lone `!`, which Psych once wrote before what is quoted.
        _ => format!("{}{}", tag.handle, tag.suffix) == "!",
    });
    if tag.is_some() && !is_text {
        return None;
    }
    let is_nil = !is_text && style == ScalarStyle::Plain;
    let is_nil = is_nil && ["", "~", "null", "Null", "NULL"].contains(&text);
    Some((!is_nil).then(|| text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> Vec<String> {
        let (links, note) = read(text);
        assert_eq!(note, None, "{text}: {links:?}");
        links
    }

    #[test]
    fn lists_are_read_in_every_form() {
        for empty in
            ["", "null", "[]", "--- []", "--- []\n", "---\n", "--- \n", "--- \n...\n", "--- ''\n", "--- ~"]
        {
            assert_eq!(whole(empty), [""; 0], "{empty}");
        }
        assert_eq!(whole(r#"["a", "ü", 1, true]"#), ["a", "ü", "1", "true"]);
        assert_eq!(whole(r#""[\"a\"]""#), ["a"]);
        assert_eq!(whole(r#""---\n- a\n""#), ["a"]);
        assert_eq!(whole("--- '[\"a\"]'\n"), ["a"]);
        assert_eq!(whole("---\n- https://a\n- \"b\"\n"), ["https://a", "b"]);
        assert_eq!(whole("---\n- https://a"), ["https://a"]);
        assert_eq!(whole("---\n- ''\n- '~'\n- 1.50\n- :sym\n"), ["", "~", "1.50", ":sym"]);
        assert_eq!(whole("---\n- &1 x\n- *1\n"), ["x", "x"], "the same object twice");
        assert_eq!(whole("---\n- ! 'x'\n- !!str 5\n"), ["x", "5"]);
    }

    #[test]
    fn items_are_what_psych_wrote() {
        assert_eq!(whole("---\n- 'it''s: a'\n- say \"hi\"\n"), ["it's: a", "say \"hi\""]);
        assert_eq!(whole("---\n- one long\n  line\n- b\n"), ["one long line", "b"]);
        assert_eq!(whole("---\n- 'one: long\n\n  line'\n"), ["one: long\nline"]);
        assert_eq!(whole("---\n- |-\n  a\n    b\n- |\n  c\n- >-\n  d\n  e\n"), ["a\n  b", "c\n", "d e"]);
        assert_eq!(whole("---\n- |2-\n    a\n  b\n"), ["  a\nb"]);
        assert_eq!(whole("---\n- \"\\U0001F600\\t\\e\\x7F \\\\ \\\"\"\n"), ["😀\t\u{1b}\u{7f} \\ \""]);
        assert_eq!(whole("---\n- \"a\\\n  \\ b\"\n- 日本語 😀\n"), ["a b", "日本語 😀"]);
    }

    #[test]
    fn what_is_no_list_says_so() {
        let (lines, nil) = ("each of its lines is a link here", "items that were nil");
        let reads = |text: &str, words: &str, links: &[&str]| {
            let (read, note) = read(text);
            assert!(note.is_some_and(|note| note.contains(words)), "{text}: {note:?}");
            assert_eq!(read, links, "{text}");
        };
        reads("https://a\n\nhttps://b", lines, &["https://a", "https://b"]);
        reads("- https://a\n- b", lines, &["- https://a", "- b"]);
        reads("-----\nhttps://a", lines, &["-----", "https://a"]);
        reads("--- \"single\"", lines, &["single"]);
        reads("---\n- a\n- \n- ~\n- null\n", nil, &["a"]);
        reads("[\"a\", null]", nil, &["a"]);
        reads("---\na: b\n", lines, &["---", "a: b"]);
        reads("---\n- a: b\n", lines, &["---", "- a: b"]);
        reads("---\n- - b\n", lines, &["---", "- - b"]);
        reads("[[\"a\"]]", lines, &["[[\"a\"]]"]);
        reads("--- !ruby/array:Links\n- a\n", lines, &["--- !ruby/array:Links", "- a"]);
        reads("---\n- !ruby/object:Link\n  a: b\n", lines, &["---", "- !ruby/object:Link", "a: b"]);
        reads("---\n- !binary |-\n  w7w=\n", lines, &["---", "- !binary |-", "w7w="]);
        reads("---\n- &1 a\n--- b\n", lines, &["---", "- &1 a", "--- b"]);
        reads("---\n- *1\n", lines, &["---", "- *1"]);
        reads("---\n- 'a\u{2028}  b'\n", lines, &["---", "- 'a\u{2028}  b'"]);
        reads("---\n- \"a\n", lines, &["---", "- \"a"]);
        let huge = format!("---\n- &1 {}\n{}", "x".repeat(60_000), "- *1\n".repeat(10_000));
        assert_eq!(read(&huge).0.len(), 10_002);
    }
}
