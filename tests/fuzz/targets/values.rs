//! Single values: cursors, times, money, names of files.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, Uri};
use hyperdesk::board::head::PictureType;
use hyperdesk::board::model::{file_name as stored_name, is_picture_name, picture_name};
use hyperdesk::bookstore::model::{Money, NewBook, PRICE_MAX, Search};
use hyperdesk::chassis::route;
use hyperdesk::clock::Timestamp;
use hyperdesk::feed::{Cursor, Position};
use jiff::civil::DateTime;

use super::request;

/// `cursor` and `Last-Event-ID`: one text for each cursor, and it is base64.
pub fn cursor(input: &[u8]) {
    if let Some(cursor) = Cursor::parse(input) {
        assert_eq!(cursor.text(), input);
    }
    let mut numbers =
        input.chunks_exact(8).map(|bytes| bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)));
    let mut next = || numbers.next().unwrap_or_default();
    let position = Position { seq: next(), at: Timestamp::from_micros(next().cast_signed()) };
    let user = next();
    let cursor = Cursor::new(position, user >> 1).partial_if(user & 1 == 1);
    let text = cursor.text();
    assert_eq!(Cursor::parse(text), Some(cursor));
    assert_eq!(URL_SAFE_NO_PAD.decode(text).map(|raw| raw.len()), Ok(28));
}

/// `since`: what is read is shown and read again, by other readers too, whether or not its plus sign was escaped.
pub fn since(input: &[u8]) {
    let number = input.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let any = Timestamp::from_micros(number.cast_signed());
    for time in
        [Timestamp::parse_lenient(input), Timestamp::parse_lenient(any.format())].into_iter().flatten()
    {
        let text = time.to_string();
        assert_eq!(Timestamp::parse_lenient(&text), Some(time));
        let (read, civil) = (text.trim_end_matches('Z').parse::<DateTime>().unwrap(), time.to_civil());
        assert_eq!(
            (i32::from(read.year()), read.month(), read.day()),
            (civil.year, civil.month as i8, civil.day as i8)
        );
        let since_midnight =
            i64::from(read.hour()) * 3_600 + i64::from(read.minute()) * 60 + i64::from(read.second());
        let micros = since_midnight * 1_000_000 + i64::from(read.subsec_nanosecond()) / 1_000;
        assert_eq!(micros, time.micros().rem_euclid(86_400_000_000), "{text}");
    }
    assert!(Timestamp::parse_lenient(any.format()).is_some());
    if let Some(time) = Timestamp::parse_lenient(input) {
        let decoded: Vec<u8> = input.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }).collect();
        assert_eq!(Timestamp::parse_lenient(decoded), Some(time));
    }
}

/// Amounts, pages, searches and ids: no digit is lost on the way.
pub fn money(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let money = Money::parse(text);
    if let Some(money) = money {
        assert_eq!(Money::parse(&money.to_string()), Some(money));
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        let whole = whole.trim_start_matches('0');
        assert_eq!(money.to_string(), format!("{:0>1}.{decimals:0<2}", whole));
    }
    for price in [text.to_owned(), format!("{text:?}")] {
        let body = format!(r#"{{"title":"t","author":"a","stock":1,"price":{price}}}"#);
        let request = request(Uri::from_static("/books"), HeaderMap::new(), body.as_bytes());
        let Ok(fields) = request.fields("book") else { continue };
        let Ok(book) = NewBook::of(&fields, body.as_bytes()) else { continue };
        assert!(book.price <= PRICE_MAX);
        // Another key of the same name may stand in the input.
        if !text.contains('"') {
            assert_eq!(Some(book.price), Money::parse(text.trim()), "{body}");
        }
    }
    if let Ok(search) = Search::of(None, Some(text)) {
        let pattern = search.pattern.unwrap_or_default();
        let unescaped = pattern.replace("!!", "\0").replace('!', "").replace('\0', "!");
        assert!(unescaped.len() == pattern.len() || pattern.contains('!'));
    }
    if let Ok(id) = route::id(text) {
        assert_eq!(id.to_string(), text);
    }
}

/// The name that a picture's sender gave it: harmless once it is stored, and found again.
pub fn file_name(input: &[u8]) {
    let given = String::from_utf8_lossy(input);
    let _ = is_picture_name(&given);
    let Ok(name) = stored_name(&given, PictureType::Png) else { return };
    assert!(is_picture_name(&picture_name([7; 16], &name)), "{name}");
    assert_eq!(stored_name(&name, PictureType::Gif).as_ref(), Ok(&name));
}
