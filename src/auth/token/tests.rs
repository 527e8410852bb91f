//! The table of tokens that are accepted and, mostly, refused.

use super::*;

const NOW: i64 = 1_768_473_000;
const HOUR: i64 = 3600;

fn now() -> Timestamp {
    Timestamp::from_micros(NOW * 1_000_000)
}

fn keys() -> Keys {
    Keys::new(b"the current secret", Some(b"the previous secret")).unwrap()
}

fn claims() -> Claims {
    let session = SessionId::from_hex(b"00112233445566778899aabbccddeeff").unwrap();
    Claims { user_id: 7, session, user_created_at: None, expires_at: NOW + HOUR, issued_at: Some(NOW) }
}

fn encode(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// A token with any header and payload, and a right signature.
fn forge(header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = hmac::sign(&keys().current, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn verify(token: &str) -> Result<Claims, TokenError> {
    keys().verify(token.as_bytes(), now())
}

fn verify_payload(payload: &str) -> Result<Claims, TokenError> {
    verify(&forge(r#"{"alg":"HS256"}"#, payload))
}

/// Whether a payload with these members besides a valid `user_id`, `iat` and `exp` is accepted.
fn verify_with(members: &str) -> Result<Claims, TokenError> {
    let exp = NOW + HOUR;
    verify_payload(&format!(r#"{{"user_id":7,"iat":{NOW},"exp":{exp},{members}}}"#))
}

#[test]
fn what_was_signed_is_read_again() {
    let token = keys().sign(&claims());
    assert!(token.starts_with(HEADER) && token.len() < 220, "{token}");
    let own = Claims { user_created_at: Some(Timestamp::from_micros(NOW * 1_000_000 - 1)), ..claims() };
    let token = keys().sign(&own);
    assert!(token.len() < 280, "{token}");
    assert_eq!(verify(&token), Ok(own));
    let token = keys().sign(&claims());
    assert_eq!(encode(r#"{"alg":"HS256","typ":"JWT"}"#), HEADER);
    assert_eq!(verify(&token), Ok(claims()));
    for user_id in [0, 1, i64::MAX as u64] {
        let claims = Claims { user_id, ..claims() };
        assert_eq!(verify(&keys().sign(&claims)), Ok(claims));
    }
    // No row of the database can have such an id.
    for user_id in [1 << 63, u64::MAX] {
        let token = keys().sign(&Claims { user_id, ..claims() });
        assert_eq!(verify(&token), Err(TokenError::Claims));
        assert_eq!(
            verify_payload(&format!(r#"{{"user_id":{user_id},"exp":{}}}"#, NOW + 1)),
            Err(TokenError::Claims)
        );
    }
}

#[test]
fn a_token_made_by_another_tool_is_read() {
    // Made with Python's hmac and base64 modules, as PyJWT would: key "secret", user 42.
    let token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
        eyJ1c2VyX2lkIjo0MiwiZXhwIjoxNzY4NDc2NjAwLCJpYXQiOjE3Njg0NzMwMDB9.\
        AyN0IAf2HSvIWMy2J3pJsDzS-qdpTRtQM-MOFIdUrro";
    let read = Keys::new(b"secret", None).unwrap().verify(token.as_bytes(), now()).unwrap();
    assert_eq!((read.user_id, read.expires_at, read.issued_at), (42, NOW + HOUR, Some(NOW)));
    assert_eq!(read.session, SessionId::of_token(token.as_bytes()));
}

#[test]
fn the_order_of_claims_spaces_and_unknown_claims_do_not_matter() {
    let exp = NOW + HOUR;
    for payload in [
        format!(r#"{{"exp":{exp},"iat":{NOW},"user_id":7}}"#),
        format!(r#" {{ "iat" : {NOW} , "exp" : {exp} , "user_id" : 7 }} "#),
        format!(r#"{{"user_id":7,"iat":{NOW},"exp":{exp},"roles":["a",{{"exp":1}}],"n":null}}"#),
        format!(r#"{{"user_\u0069d":7,"iat":{NOW},"exp":{exp},"name":"\"exp\":1"}}"#),
    ] {
        assert_eq!(verify_payload(&payload).unwrap().user_id, 7, "{payload}");
    }
}

#[test]
fn a_session_that_is_not_named_is_the_token_s_digest() {
    let exp = NOW + HOUR;
    let payload = format!(r#"{{"user_id":7,"iat":{NOW},"exp":{exp}}}"#);
    let (first, again) = (verify_payload(&payload).unwrap(), verify_payload(&payload).unwrap());
    let other = verify_payload(&format!("{payload} ")).unwrap();
    assert_eq!(first.session, again.session);
    assert_ne!(first.session, other.session);
    assert_eq!(verify_with(r#""sid":"00112233445566778899AABBCCDDEEFF""#).unwrap(), claims());
    for sid in ["1", "null", "\"\"", "\"0011\"", "\"00112233445566778899aabbccddeefg\""] {
        assert_eq!(verify_with(&format!("\"sid\":{sid}")), Err(TokenError::Claims), "{sid}");
    }
}

#[test]
fn only_the_header_of_an_hs256_token_is_accepted() {
    let own = keys().sign(&claims());
    let payload = String::from_utf8(URL_SAFE_NO_PAD.decode(own.split('.').nth(1).unwrap()).unwrap());
    let payload = payload.unwrap();
    for header in [
        r#"{"alg":"HS256","typ":"JWT"}"#,
        r#"{"typ":"JWT","alg":"HS256"}"#,
        r#"{"alg":"HS256"}"#,
        r#"{ "alg": "HS256", "typ": "jwt", "cty": "x", "jku": "http://evil/" }"#,
    ] {
        assert_eq!(verify(&forge(header, &payload)), Ok(claims()), "{header}");
    }
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"None"}"#,
        r#"{"alg":""}"#,
        r#"{"alg":null}"#,
        r#"{"alg":["HS256"]}"#,
        r#"{"alg":"hs256"}"#,
        r#"{"alg":"HS384"}"#,
        r#"{"alg":"HS512"}"#,
        r#"{"alg":"RS256"}"#,
        r#"{"alg":"ES256"}"#,
        r#"{"typ":"JWT"}"#,
        r#"{"alg":"HS256","alg":"none"}"#,
        r#"{"alg":"none","alg":"HS256"}"#,
        r#"{"alg":"HS256","typ":"at+jwt"}"#,
        r#"{"alg":"HS256","kid":"1"}"#,
        r#"{"alg":"HS256","kid":"current"}"#,
        r#"{"alg":"HS256","kid":null}"#,
        r#"{"alg":"HS256","crit":["b64"],"b64":false}"#,
        r#"{"alg":"HS256"} x"#,
        r#"["HS256"]"#,
        "null",
        "x",
    ] {
        assert_eq!(verify(&forge(header, &payload)), Err(TokenError::Header), "{header}");
    }
}

#[test]
fn a_token_without_a_signature_is_refused() {
    let token = keys().sign(&claims());
    let (signed, _) = token.rsplit_once('.').unwrap();
    let none = format!("{}.{}", encode(r#"{"alg":"none"}"#), signed.split_once('.').unwrap().1);
    for token in [format!("{signed}."), format!("{none}."), none.clone(), signed.to_owned()] {
        assert!(verify(&token).is_err(), "{token}");
    }
    assert_eq!(verify(&format!("{signed}.AAAA")), Err(TokenError::Signature));
    let long = URL_SAFE_NO_PAD.encode([0; 48]);
    assert_eq!(verify(&format!("{signed}.{long}")), Err(TokenError::Signature));
    let longer = URL_SAFE_NO_PAD.encode([0; 64]);
    assert_eq!(verify(&format!("{signed}.{longer}")), Err(TokenError::Malformed));
}

#[test]
fn only_the_two_keys_are_accepted() {
    let make = |current: &[u8], previous| Keys::new(current, previous).unwrap();
    let old = make(b"the previous secret", None).sign(&claims());
    assert_eq!(verify(&old), Ok(claims()));
    let other = make(b"another secret", None).sign(&claims());
    assert_eq!(verify(&other), Err(TokenError::Signature));
    let alone = make(b"the current secret", None);
    assert_eq!(alone.verify(old.as_bytes(), now()), Err(TokenError::Signature));

    assert_eq!(Keys::new(b"", None).unwrap_err(), EmptySecret);
    let empty = hmac::Key::new(hmac::HMAC_SHA256, b"");
    let empty = Keys { current: empty, previous: None }.sign(&claims());
    let careless = make(b"the current secret", Some(b""));
    assert_eq!(careless.verify(empty.as_bytes(), now()), Err(TokenError::Signature));
    assert!(!format!("{:?}", keys()).contains("secret"));
}

#[test]
fn every_flipped_bit_is_noticed() {
    let token = keys().sign(&claims());
    for at in 0..token.len() {
        for bit in 0..8 {
            let mut flipped = token.clone().into_bytes();
            flipped[at] ^= 1 << bit;
            assert!(keys().verify(&flipped, now()).is_err(), "byte {at}, bit {bit}");
        }
        assert!(verify(&token[..at]).is_err());
    }
}

#[test]
fn base64_has_one_spelling() {
    let token = keys().sign(&claims());
    let parts: Vec<&str> = token.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    // A signature of 32 bytes leaves two bits over in its last character.
    let last = signature.as_bytes()[42];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let value = alphabet.iter().position(|letter| *letter == last).unwrap();
    assert_eq!(value % 4, 0);
    for stray in 1..4 {
        let respelt = format!("{}{}", &signature[..42], char::from(alphabet[value + stray]));
        let token = format!("{header}.{payload}.{respelt}");
        assert_eq!(verify(&token), Err(TokenError::Malformed));
    }
    for token in [
        format!("{token}="),
        format!("{token}=="),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}=.{signature}"),
        format!(" {token}"),
        format!("{token} "),
        format!("{token}\n"),
        format!("{header}.{payload}.{}+", &signature[..42]),
        format!("{header}.{payload}.{}/", &signature[..42]),
        format!("{header}.{payload}.{}", &signature[..41]),
    ] {
        assert!(verify(&token).is_err(), "{token}");
    }
}

#[test]
fn the_shape_is_three_parts() {
    let token = keys().sign(&claims());
    for token in ["", ".", "..", "...", "a", "a.b", "a.b.c.d", "a..c", ".b.c", "a.b.", "é.é.é"] {
        assert_eq!(verify(token), Err(TokenError::Malformed), "{token}");
    }
    assert_eq!(verify(&format!("{token}.")), Err(TokenError::Malformed));
    assert_eq!(verify(&format!(".{token}")), Err(TokenError::Malformed));
}

#[test]
fn the_length_is_bounded() {
    let fits = verify_with(&format!("\"x\":\"{}\"", "x".repeat(1300))).unwrap();
    assert_eq!(fits.user_id, 7);
    assert_eq!(verify_with(&format!("\"x\":\"{}\"", "x".repeat(1600))), Err(TokenError::TooLong));
    assert_eq!(verify(&"x".repeat(TOKEN_BYTES_MAX + 1)), Err(TokenError::TooLong));
    assert_eq!(verify(&"x".repeat(TOKEN_BYTES_MAX)), Err(TokenError::Malformed));
    let header = format!("{}.x.x", "A".repeat(TOKEN_BYTES_MAX - 4));
    assert_eq!(verify(&header), Err(TokenError::Header));
}

#[test]
fn the_times_are_exact() {
    let verify = |expires_at, issued_at: i64| {
        verify(&keys().sign(&Claims { expires_at, issued_at: Some(issued_at), ..claims() })).map(|_| ())
    };
    assert_eq!(verify(NOW + 1, NOW), Ok(()));
    assert_eq!(verify(NOW, NOW - HOUR), Err(TokenError::Expired));
    assert_eq!(verify(NOW - 1, NOW - HOUR), Err(TokenError::Expired));
    assert_eq!(verify(0, 0), Err(TokenError::Expired));
    assert_eq!(verify(i64::MIN, 0), Err(TokenError::Expired));
    assert_eq!(verify(EXPIRES_AT_MAX, NOW), Ok(()));
    assert_eq!(verify(EXPIRES_AT_MAX + 1, NOW), Err(TokenError::Claims));
    assert_eq!(verify(i64::MAX, NOW), Err(TokenError::Claims));
    assert_eq!(verify(NOW + HOUR, NOW + LEEWAY_SECONDS), Ok(()));
    assert_eq!(verify(NOW + HOUR, NOW + LEEWAY_SECONDS + 1), Err(TokenError::NotYetValid));
    let nbf = |start: i64| verify_with(&format!("\"nbf\":{start}")).map(|_| ());
    assert_eq!((nbf(0), nbf(NOW), nbf(NOW + LEEWAY_SECONDS)), (Ok(()), Ok(()), Ok(())));
    assert_eq!(nbf(NOW + LEEWAY_SECONDS + 1), Err(TokenError::NotYetValid));
    assert_eq!(nbf(i64::MAX), Err(TokenError::NotYetValid));
}

#[test]
fn times_may_have_a_fraction_or_an_exponent() {
    let verify = |exp: &str| {
        verify_payload(&format!(r#"{{"user_id":7,"exp":{exp}}}"#)).map(|claims| claims.expires_at)
    };
    for (exp, expected) in [
        ("1768473000.5", Err(TokenError::Expired)),
        ("1768473001.5", Ok(NOW + 1)),
        ("1768473001.0", Ok(NOW + 1)),
        ("1768473001.999999", Ok(NOW + 1)),
        ("1768473001e0", Ok(NOW + 1)),
        ("1.768473001e9", Ok(NOW + 1)),
        ("1.7684730015E+9", Ok(NOW + 1)),
        ("17684730010e-1", Ok(NOW + 1)),
        ("1.8e9", Ok(1_800_000_000)),
        ("18e8", Ok(1_800_000_000)),
        ("2.534022e11", Ok(253_402_200_000)),
        ("1.5", Err(TokenError::Expired)),
        ("1e9", Err(TokenError::Expired)),
        ("1.7e9", Err(TokenError::Expired)),
        ("17e8", Err(TokenError::Expired)),
        ("0.1", Err(TokenError::Expired)),
        ("-0.0", Err(TokenError::Expired)),
        ("-1", Err(TokenError::Expired)),
        ("-1e3", Err(TokenError::Expired)),
        ("1.768473e12", Err(TokenError::Claims)),
        ("9007199254740992.0", Err(TokenError::Claims)),
        ("9.3e18", Err(TokenError::Claims)),
        ("1e300", Err(TokenError::Claims)),
        ("-1e300", Err(TokenError::Claims)),
        ("1e400", Err(TokenError::Claims)),
        ("18446744073709551615", Err(TokenError::Claims)),
        ("99999999999999999999999", Err(TokenError::Claims)),
        ("NaN", Err(TokenError::Claims)),
        ("Infinity", Err(TokenError::Claims)),
        ("1.", Err(TokenError::Claims)),
        (".5", Err(TokenError::Claims)),
        ("1768473001.5.5", Err(TokenError::Claims)),
    ] {
        assert_eq!(verify(exp), expected, "{exp}");
    }
    let (soon, late) = (NOW + LEEWAY_SECONDS, NOW + LEEWAY_SECONDS + 1);
    for name in ["iat", "nbf"] {
        let verify = |value: String| {
            verify_payload(&format!(r#"{{"user_id":7,"exp":{},"{name}":{value}}}"#, NOW + HOUR)).map(|_| ())
        };
        for good in
            ["1.5".to_owned(), "1e9".to_owned(), "1.7e9".to_owned(), "-1.5".to_owned(), format!("{NOW}.25")]
        {
            assert_eq!(verify(good.clone()), Ok(()), "{name} {good}");
        }
        assert_eq!(verify(format!("{soon}.0")), Ok(()));
        assert_eq!(verify(format!("{soon}.5")), Err(TokenError::NotYetValid));
        assert_eq!(verify(format!("{late}.0")), Err(TokenError::NotYetValid));
        assert_eq!(verify("1e300".to_owned()), Err(TokenError::Claims));
    }
}

#[test]
fn a_token_without_iat_is_good() {
    let exp = NOW + HOUR;
    let claims = verify_payload(&format!(r#"{{"user_id":7,"exp":{exp}}}"#)).unwrap();
    assert_eq!((claims.user_id, claims.expires_at, claims.issued_at), (7, exp, None));
}

#[test]
fn the_claims_are_numbers_each_once() {
    let good = [("user_id", "7".to_owned()), ("exp", (NOW + HOUR).to_string()), ("iat", NOW.to_string())];
    let payload = |members: &[(&str, String)]| {
        let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", members.join(","))
    };
    assert!(verify_payload(&payload(&good)).is_ok());
    for at in 0..good.len() {
        let mut without = good.to_vec();
        without.remove(at);
        assert_eq!(verify_payload(&payload(&without)).is_ok(), good[at].0 == "iat");

        let right = &good[at].1;
        let mut bad = vec![
            format!("\"{right}\""),
            format!("0{right}"),
            format!("+{right}"),
            format!("[{right}]"),
            format!("{{\"x\":{right}}}"),
        ];
        let fixed = "null true false \"\" NaN Infinity 1e400 18446744073709551616 99999999999999999999999";
        bad.extend(fixed.split(' ').map(str::to_owned));
        if good[at].0 == "user_id" {
            // An id is an integer, however a tool writes its times.
            bad.extend([format!("{right}.0"), format!("{right}.5"), format!("{right}e0"), "-1e3".to_owned()]);
        }
        for value in bad {
            let mut members = good.to_vec();
            members[at].1 = value;
            let payload = payload(&members);
            assert_eq!(verify_payload(&payload), Err(TokenError::Claims), "{payload}");
        }

        let twice = [&good[..], &good[at..=at]].concat();
        assert_eq!(verify_payload(&payload(&twice)), Err(TokenError::Claims));
    }
    assert_eq!(verify_with("\"user_id\":-7"), Err(TokenError::Claims));
    assert_eq!(verify_with(r#""x":1,"x":1"#), Err(TokenError::Claims));
    assert_eq!(verify_with(r#""x":1,"\u0078":1"#), Err(TokenError::Claims));
    assert_eq!(verify_with(r#""use\u0072_id":8"#), Err(TokenError::Claims));
    for payload in ["", "null", "7", "\"x\"", "[]", "{}", "{", "{}{}", "\u{FEFF}{}"] {
        let token = forge(r#"{"alg":"HS256"}"#, payload);
        assert!(verify(&token).is_err(), "{payload}");
    }
    // Skipping an unknown claim does not recurse, so a deep one cannot overflow the stack.
    let nested = format!("\"x\":{}{}", "[".repeat(500), "]".repeat(500));
    assert_eq!(verify_with(&nested).unwrap().user_id, 7);
    assert_eq!(verify_with(&nested[..600]), Err(TokenError::Claims));
}

#[test]
fn what_is_not_utf_8_is_refused_wherever_it_stands() {
    let payload = br#"{"user_id":7,"exp":1768476600,"x":"?"}"#;
    let header = br#"{"alg":"HS256","x":"?"}"#;
    let other =
        |json: &[u8]| json.iter().map(|&byte| if byte == b'?' { 0xff } else { byte }).collect::<Vec<_>>();
    assert!(verify(&forge(header, payload)).is_ok());
    assert_eq!(verify(&forge(header, other(payload))), Err(TokenError::Claims));
    assert_eq!(verify(&forge(other(header), payload)), Err(TokenError::Header));
}

#[test]
fn a_token_for_another_purpose_is_refused() {
    for claim in [
        r#""use":"oauth""#,
        r#""use":"session""#,
        r#""use":null"#,
        r#""scope":"read stock""#,
        r#""typ":"refresh""#,
        r#""aud":"stock""#,
        r#""aud":["hyperdesk"]"#,
    ] {
        assert_eq!(verify_with(claim), Err(TokenError::Purpose), "{claim}");
    }
    let token = keys().sign_payload(br#"{"use":"oauth","client_id":"c","scope":"read","exp":1}"#);
    assert_eq!(verify(&token), Err(TokenError::Purpose));
    let mut buffer = [0; PART_BYTES_MAX];
    let payload = keys().verify_signature(token.as_bytes(), &mut buffer).unwrap().to_vec();
    assert!(payload.starts_with(br#"{"use":"oauth""#));
}

#[test]
fn session_ids() {
    let (first, second) = (SessionId::random().unwrap(), SessionId::random().unwrap());
    assert_ne!(first, second);
    assert_eq!(SessionId::from_hex(&first.hex()), Some(first));
    assert_eq!(SessionId::from_bytes(*first.as_bytes()), first);
    assert_eq!(claims().session.to_string(), "00112233445566778899aabbccddeeff");
    assert_eq!(format!("{:?}", claims().session), "SessionId(00112233445566778899aabbccddeeff)");
    assert_eq!(SessionId::from_hex(b"0011"), None);
}
