//! `Content-Disposition` of a form's part (RFC 7578 §4.2): which field it is, and a file's name. Pure.
//!
//! Own code, because the parser of the form looks for `name=` anywhere in the header, in one case only: `NAME="file"`
//! is no field to it, and of `name="x; filename=a.png"` it makes a file.

use std::iter::Peekable;
use std::str::Chars;

use percent_encoding::percent_decode_str;

/// What a part says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Disposition {
    /// The field, where it is named.
    pub name: Option<String>,
    /// The file's name on its sender's disk, where it is a file.
    pub file_name: Option<String>,
}

impl Disposition {
    /// Reads `form-data; name="…"; filename="…"`. Types and parameters are in any case, and each parameter is there
    /// once: of two, two readers take different ones. `filename*` (RFC 5987) counts only where `filename` is not. Bytes
    /// that are not UTF-8, as a disk of another encoding has them in its names, are U+FFFD.
    pub fn parse(header: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(header);
        let (kind, parameters) = text.split_once(';').unwrap_or((&text, ""));
        if !kind.trim().eq_ignore_ascii_case("form-data") {
            return None;
        }
        let mut found = Self::default();
        let mut extended = None;
        let mut rest = parameters.chars().peekable();
        while let Some((name, value)) = parameter(&mut rest)? {
            let place = match name.as_str() {
                "name" => &mut found.name,
                "filename" => &mut found.file_name,
                "filename*" => &mut extended,
                _ => continue,
            };
            if place.replace(value).is_some() {
                return None;
            }
        }
        if let (None, Some(extended)) = (&found.file_name, extended) {
            found.file_name = Some(decode_extended(&extended)?);
        }
        Some(found)
    }
}

/// The next parameter, its name in lower case; `Some(None)` at the end, `None` for what is none.
fn parameter(rest: &mut Peekable<Chars<'_>>) -> Option<Option<(String, String)>> {
    while rest.next_if(|letter| letter.is_ascii_whitespace() || *letter == ';').is_some() {}
    if rest.peek().is_none() {
        return Some(None);
    }
    let mut name = String::new();
    while let Some(letter) = rest.next_if(|letter| !matches!(letter, '=' | ';' | '"')) {
        name.push(letter.to_ascii_lowercase());
    }
    let name = name.trim_end().to_owned();
    if name.is_empty() || rest.next() != Some('=') {
        return None;
    }
    while rest.next_if(char::is_ascii_whitespace).is_some() {}
    let value = match rest.next_if_eq(&'"') {
        Some(_) => quoted(rest)?,
        None => token(rest),
    };
    Some(Some((name, value)))
}

/// The rest of a quoted value, its end and what follows it up to the next parameter taken off.
fn quoted(rest: &mut Peekable<Chars<'_>>) -> Option<String> {
    let mut value = String::new();
    loop {
        match rest.next()? {
            '"' => break,
            // A backslash hides a quote or itself. Before all else it is one: of a path, which old browsers send.
            '\\' => value.push(rest.next_if(|letter| matches!(letter, '"' | '\\')).unwrap_or('\\')),
            letter => value.push(letter),
        }
    }
    while rest.next_if(char::is_ascii_whitespace).is_some() {}
    matches!(rest.peek(), None | Some(';')).then_some(value)
}

/// An unquoted value: up to the next parameter.
fn token(rest: &mut Peekable<Chars<'_>>) -> String {
    let mut value = String::new();
    while let Some(letter) = rest.next_if(|letter| *letter != ';') {
        value.push(letter);
    }
    value.trim_end().to_owned()
}

/// `UTF-8'de'gr%C3%BCn.png`
fn decode_extended(value: &str) -> Option<String> {
    let mut parts = value.splitn(3, '\'');
    let (charset, _language, text) = (parts.next()?, parts.next()?, parts.next()?);
    if !charset.eq_ignore_ascii_case("utf-8") {
        return None;
    }
    percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(header: &str) -> Option<(Option<String>, Option<String>)> {
        Disposition::parse(header.as_bytes()).map(|found| (found.name, found.file_name))
    }

    fn found(name: &str, file_name: Option<&str>) -> Option<(Option<String>, Option<String>)> {
        Some((Some(name.to_owned()), file_name.map(str::to_owned)))
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for (header, name, file_name) in [
            (r#"form-data; name="file"; filename="cat.png""#, "file", Some("cat.png")),
            (r#"FORM-DATA;NAME="file";FileName="cat.png""#, "file", Some("cat.png")),
            (r#"form-data; filename="cat.png"; name="file""#, "file", Some("cat.png")),
            ("form-data ; name = file ; filename = cat.png ", "file", Some("cat.png")),
            (r#"form-data; name="message""#, "message", None),
            (r#"form-data; name="x; filename=a.png""#, "x; filename=a.png", None),
            (
                r#"form-data; name="file"; filename="x\"; name=\"message""#,
                "file",
                Some(r#"x"; name="message"#),
            ),
            (r#"form-data; x="; name=\"a\""; name="b""#, "b", None),
            (
                r#"form-data; name="file"; filename="C:\pictures\cat.png""#,
                "file",
                Some(r"C:\pictures\cat.png"),
            ),
            (r#"form-data; name="file"; filename="grün 你好.png""#, "file", Some("grün 你好.png")),
            ("form-data; name=file; filename*=UTF-8''gr%C3%BCn.png", "file", Some("grün.png")),
            (r#"form-data; name=file; filename*=utf-8'de'b.png; filename="a.png""#, "file", Some("a.png")),
            (r#"form-data; name=""; filename="""#, "", Some("")),
            (r#"form-data; name="a";"#, "a", None),
            (r#"form-data; xname="b"; name="a"; name2="c""#, "a", None),
        ] {
            assert_eq!(parse(header), found(name, file_name), "{header}");
        }
        assert_eq!(parse("form-data"), Some((None, None)));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_not_read() {
        for header in [
            "",
            "attachment; name=\"file\"",
            r#"form-data; name="a"; name="b""#,
            r#"form-data; name="a"; NAME="b""#,
            r#"form-data; name="a"; filename="b"; filename="c""#,
            r#"form-data; name="a"#,
            r#"form-data; name="a\""#,
            r#"form-data; name="a"b"#,
            "form-data; name",
            "form-data; =a",
            "form-data; name=a; filename*=latin1''b",
            "form-data; name=a; filename*=b",
        ] {
            assert_eq!(parse(header), None, "{header}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_told_from_all_letters() {
        let header = b"form-data; name=\"file\"; filename=\"gr\xfcn.png\"";
        let read = Disposition::parse(header).map(|found| (found.name, found.file_name));
        assert_eq!(read, found("file", Some("gr\u{fffd}n.png")));
        let name = Disposition::parse(b"form-data; name=\"file\xff\"").and_then(|found| found.name);
        assert_eq!(name.as_deref(), Some("file\u{fffd}"), "another field");
    }
}
