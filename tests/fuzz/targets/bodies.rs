//! Bodies: JSON, forms, uploads and the pictures in them.

use bytes::Bytes;
use futures_util::FutureExt;
use http::Uri;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyperdesk::board::disposition::Disposition;
use hyperdesk::board::head::{PictureType, Size};
use hyperdesk::board::model::{self, NoPicture, PICTURE_BYTES_MAX, PIXELS_MAX};
use hyperdesk::board::posts::Form;
use hyperdesk::chassis::request::Fields;
use serde_json::{Map, Value};

use super::{lines, request};

const WRAPPER: &str = "message";
/// Deeper bodies are refused for that.
const DEPTH_MAX: usize = 64;

fn fields(content_type: &'static str, body: &[u8]) -> Option<Fields> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    request(Uri::from_static("/"), headers, body).fields(WRAPPER).ok()
}

/// Whether both are the same but for the last digits of floating point.
fn are_alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) if one.is_f64() || other.is_f64() => {
            let (one, other) = (one.as_f64().unwrap_or_default(), other.as_f64().unwrap_or_default());
            (one - other).abs() <= one.abs() * 1e-12
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| are_alike(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, one)| other.get(key).is_some_and(|other| are_alike(one, other)))
        }
        _ => one == other,
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(depth).max().unwrap_or_default(),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}

/// JSON: valid where `serde_json` says so, and it says the same.
pub fn json(input: &[u8]) {
    let read = fields("application/json", input);
    if input.is_empty() {
        return;
    }
    let parsed = serde_json::from_slice::<Map<String, Value>>(input);
    let Ok(parsed) = parsed else {
        return assert!(read.is_none(), "only one reader takes it");
    };
    if 1 + parsed.values().map(depth).max().unwrap_or_default() > DEPTH_MAX {
        return;
    }
    let read = read.expect("only the other reader takes it");
    for name in parsed.keys().filter(|name| *name != WRAPPER && name.is_ascii()) {
        let is_hidden = parsed.get(WRAPPER).is_some_and(Value::is_object);
        let value = &parsed[name];
        if !is_hidden && !value.is_null() {
            assert!(read.value(name).is_some_and(|read| are_alike(read, value)), "{name}");
        }
        let _ = (read.text(name), read.id(name));
    }
    if let Some(Value::Object(inside)) = parsed.get(WRAPPER) {
        for (name, value) in inside.iter().filter(|(_, value)| !value.is_null()) {
            assert!(read.value(name).is_some_and(|read| are_alike(read, value)), "{name}");
        }
    }
}

/// A form: names without brackets have their last value, and what was read can be written as a form again.
pub fn form(input: &[u8]) {
    const FORM: &str = "application/x-www-form-urlencoded";
    let read = fields(FORM, input);
    if input.trim_ascii_start().starts_with(b"{") {
        return;
    }
    let is_utf8 = percent_encoding::percent_decode(input).decode_utf8().is_ok();
    assert_eq!(read.is_some(), is_utf8);
    let Some(read) = read else { return };
    let pairs: Vec<_> = form_urlencoded::parse(input).collect();
    if pairs.iter().any(|(name, _)| name.contains('[')) {
        return;
    }
    let written = form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
    let again = fields(FORM, written.as_bytes()).filter(|_| !written.is_empty());
    for (name, _) in &pairs {
        let last =
            pairs.iter().rev().find(|(other, _)| other == name).map(|(_, value)| Value::from(&**value));
        assert_eq!(read.value(name), last.as_ref());
        assert_eq!(again.as_ref().and_then(|again| again.value(name)), last.as_ref());
    }
}

/// An upload, `Content-Type` on the first line: what was read, written again, is read the same.
pub fn multipart(input: &[u8]) {
    let (content_type, body) = lines(input);
    let read = |content_type: &[u8], body: &[u8]| {
        let content_type = HeaderValue::from_bytes(content_type).ok();
        let form = Form::read(content_type.as_ref(), Bytes::copy_from_slice(body)).now_or_never();
        form.expect("a body that is there is not waited for").ok()
    };
    let Some(form) = read(content_type, body) else { return };
    // Longer than a chance in a mutation, and than anything that libFuzzer would put together.
    let boundary = "----hyperdesk-boundary-4711-0815-of-nobody-else";
    let mut written = Vec::new();
    let mut part = |header: String, content: &[u8]| {
        let head = format!("--{boundary}\r\nContent-Disposition: form-data; {header}\r\n\r\n");
        for piece in [head.as_bytes(), content, b"\r\n"] {
            written.extend_from_slice(piece);
        }
    };
    if let Some(message) = &form.message {
        part("name=message".to_owned(), message);
    }
    if let Some((name, bytes)) = &form.file {
        let name = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
        part(format!("name=file; filename*=UTF-8''{name}"), bytes);
    }
    written.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    let content_type = format!("multipart/form-data; boundary={boundary}");
    let again = read(content_type.as_bytes(), &written).expect("what was written is read");
    assert_eq!((again.message, again.file), (form.message, form.file));
}

/// `Content-Disposition`: what was read, written with every quote escaped, is read the same.
pub fn disposition(input: &[u8]) {
    let Some(found) = Disposition::parse(input) else { return };
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let mut written = "form-data".to_owned();
    if let Some(name) = &found.name {
        written.push_str(&format!("; name=\"{}\"", quoted(name)));
    }
    if let Some(name) = &found.file_name {
        written.push_str(&format!("; filename=\"{}\"", quoted(name)));
    }
    assert_eq!(Disposition::parse(written.as_bytes()), Some(found));
}

/// A picture's head: whatever it is, only what is not too large is taken.
pub fn picture(input: &[u8]) {
    let found = model::picture(input);
    assert_eq!(found == Err(NoPicture::TooLarge), input.len() > PICTURE_BYTES_MAX);
    if let Ok(picture_type) = found {
        assert_eq!(PictureType::of(input), Some(picture_type));
        let pixels = picture_type.size(input).map(Size::pixels);
        assert!(pixels.is_some_and(|pixels| (1..=PIXELS_MAX).contains(&pixels)));
    }
}
