//! How bodies and queries are read.

use super::*;

fn parse(content_type: &str, body: &str) -> Result<Fields, Error> {
    Fields::parse(Some(content_type.as_bytes()), body.as_bytes(), "message")
}

#[test]
fn either_case_wrapped_or_not() {
    for body in [
        r#"{"conversationId":"7"}"#,
        r#"{"conversation_id":7}"#,
        r#"{"message":{"conversation_id":"7"}}"#,
        r#"{"message":{"conversationId":7},"conversation_id":8}"#,
        r#"{"message":{"conversationId":null},"conversation_id":7}"#,
    ] {
        assert_eq!(parse("application/json", body).unwrap().id("conversationId"), Some(7), "{body}");
    }
}

#[test]
fn a_querys_first_value_counts() {
    let value = |query| {
        let [other, value] = query_values(query, ["x", "since"]);
        assert_eq!(other.is_some(), query.contains('x') && !query.contains("xs"), "{query}");
        value.map(|value| String::from_utf8(value.decoded(&mut [0; QUERY_VALUE_BYTES]).to_vec()).unwrap())
    };
    for query in [
        "since=1",
        "since=1&since=2",
        "a=b&since=1",
        "sinc=2&since=1&x",
        "&since=1&",
        "sincerity=3&since=1",
        "since=%31",
    ] {
        assert_eq!(value(query).as_deref(), Some("1"), "{query}");
    }
    for query in ["since", "since=", "a&since", "since&since=1"] {
        assert_eq!(value(query).as_deref(), Some(""), "{query}");
    }
    for query in ["", "a=since=1", "a=b&sinc=1", "a=b&", "xsince=1"] {
        assert_eq!(value(query), None, "{query}");
    }
    assert_eq!(value("since=1+2%2B%2b%zz%4").as_deref(), Some("1 2++%zz%4"));
    let long = format!("since={}", "1".repeat(QUERY_VALUE_BYTES + 1));
    assert_eq!(value(&long).map(|value| value.len()), Some(QUERY_VALUE_BYTES));
    assert_eq!(value(&long.replace('1', "%31")).map(|value| value.len()), Some(QUERY_VALUE_BYTES));
}

#[test]
fn a_form_reads_as_rails_reads_it() {
    let fields = parse(
        "application/x-www-form-urlencoded; charset=utf-8",
        "message[content]=a+b%26c&conversation_id=7&links[]=x&links[]=y&message[tags][]=t",
    )
    .unwrap();
    assert_eq!(fields.text("content"), Ok(Some("a b&c".to_owned())));
    assert_eq!(fields.id("conversationId"), Some(7));
    assert_eq!(fields.value("links"), Some(&serde_json::json!(["x", "y"])));
    assert_eq!(fields.value("tags"), Some(&serde_json::json!(["t"])));
    // What curl sends without a -H.
    let form = "application/x-www-form-urlencoded";
    assert_eq!(parse(form, " {\"a\":\"x\"}").unwrap().text("a"), Ok(Some("x".to_owned())));
    assert_eq!(parse(form, "a={x").unwrap().text("a"), Ok(Some("{x".to_owned())));
}

#[test]
fn what_is_no_object_is_refused() {
    let large = parse("application/json", r#"{"n":18446744073709551616}"#).unwrap();
    assert!(large.value("n").is_some_and(Value::is_f64));
    for body in ["[1]", "\"x\"", "{", "{\"a\":\"\\ud800\"}", "nonsense"] {
        assert!(matches!(parse("application/json", body), Err(Error::Refused(StatusCode::BAD_REQUEST, _))));
    }
    assert!(matches!(parse("text/plain", "{}"), Err(Error::Refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, _))));
    assert!(parse("text/plain", "").is_ok());
}

#[test]
fn a_text_is_a_string_or_a_number() {
    let text = |value: &str| parse("application/json", &format!(r#"{{"a":{value}}}"#)).unwrap().text("a");
    for (value, read) in [
        (r#""x""#, "x"),
        (r#""""#, ""),
        ("7", "7"),
        ("-7", "-7"),
        ("1.5", "1.5"),
        ("18446744073709551615", "18446744073709551615"),
    ] {
        assert_eq!(text(value), Ok(Some(read.to_owned())), "{value}");
    }
    assert_eq!(text("null"), Ok(None));
    for value in ["true", "false", "[]", r#"["x"]"#, "{}", r#"{"x":"x"}"#, "18446744073709551616", "1e300"] {
        assert_eq!(text(value), Err(NoText), "{value}");
    }
}

#[test]
fn depth_is_counted_outside_of_texts_only() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(!is_too_deep(nested(JSON_DEPTH_MAX).as_bytes()));
    assert!(is_too_deep(nested(JSON_DEPTH_MAX + 1).as_bytes()));
    assert!(!is_too_deep(nested(2).repeat(1_000).as_bytes()));
    let text = "[".repeat(JSON_DEPTH_MAX + 1);
    assert!(!is_too_deep(format!(r#"{{"a":"\"{text}"}}"#).as_bytes()));
    assert!(is_too_deep(format!(r#"["\\",{}]"#, nested(JSON_DEPTH_MAX)).as_bytes()));
}

#[test]
fn a_form_that_is_not_utf_8_is_refused() {
    let form = "application/x-www-form-urlencoded";
    for body in ["a=%FF", "a=%C3", "%ED%A0%80=a"] {
        assert!(matches!(parse(form, body), Err(Error::Refused(StatusCode::BAD_REQUEST, _))), "{body}");
    }
    assert_eq!(parse(form, "a=%C3%A4%").unwrap().text("a"), Ok(Some("ä%".to_owned())));
}

#[test]
fn a_request_is_asked_for_its_query_and_its_fields() {
    let (name, value) = (CONTENT_TYPE, http::HeaderValue::from_static("application/vnd.api+json"));
    let request = Request {
        method: Method::POST,
        uri: Uri::from_static("/books?a=1&q=x%20y&q=2&p="),
        headers: HeaderMap::from_iter([(name, value)]),
        caller: None,
        body: Bytes::from_static(br#"{"book":{"title":"t"}}"#),
        client: std::net::IpAddr::from([127, 0, 0, 1]).into(),
        event_loop: 0,
        received_at: Instant::now(),
        wall_time: Timestamp::from_micros(0),
    };
    assert_eq!(request.query("q").as_deref(), Some("x y"));
    assert_eq!((request.query("p").as_deref(), request.query("x")), (Some(""), None));
    let [q, x, p] = request.query_values(["q", "x", "p"]);
    assert_eq!(q.map(QueryValue::raw), Some(&b"x%20y"[..]));
    assert!(x.is_none() && p.is_some());
    let fields = request.fields("book").unwrap();
    assert_eq!(fields.text("title"), Ok(Some("t".to_owned())));
    assert!(fields.value("book").is_none());
}

#[test]
fn a_whole_number_is_digits() {
    let read = |value: &str| parse("application/json", &format!(r#"{{"a":{value}}}"#)).unwrap().whole("a");
    for (value, number) in [("0", 0), ("18446744073709551615", u64::MAX), ("\"7\"", 7), ("\"007\"", 7)] {
        assert_eq!(read(value), Some(number), "{value}");
    }
    for value in [
        "-1",
        "1.0",
        "1e2",
        "18446744073709551616",
        "\"\"",
        "\"+1\"",
        "\"1.0\"",
        "\"٣\"",
        "true",
        "null",
        "[1]",
    ] {
        assert_eq!(read(value), None, "{value}");
    }
    assert_eq!(parse("application/x-www-form-urlencoded", "a=03").unwrap().whole("a"), Some(3));
}
