//! Known moments, the lenient forms, and comparisons with the `jiff` crate over random ones.

use super::*;

/// A fixed sequence of numbers that look random (splitmix64), so that a failure repeats.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

fn parse(text: &str) -> Option<String> {
    Timestamp::parse_lenient(text).map(|time| time.to_string())
}

#[test]
fn known_moments() {
    assert_eq!(Timestamp::from_micros(0).to_string(), "1970-01-01T00:00:00.000000Z");
    assert_eq!(Timestamp::from_micros(-1).to_string(), "1969-12-31T23:59:59.999999Z");
    assert_eq!(Timestamp::from_micros(-1).unix_seconds(), -1);
    let time = Timestamp::from_civil(2026, 1, 15, 10, 30, 0, 123_456).unwrap();
    assert_eq!(time.micros(), 1_768_473_000_123_456);
    assert_eq!(time.unix_seconds(), 1_768_473_000);
    assert_eq!(serde_json::to_string(&time).unwrap(), "\"2026-01-15T10:30:00.123456Z\"");
    let mut out = b"x".to_vec();
    time.write_to(&mut out);
    assert_eq!(out, b"x2026-01-15T10:30:00.123456Z");
    assert!(Timestamp::now() > time);
}

#[test]
fn the_ends_of_time_are_clamped() {
    let (first, last) = ("0000-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z");
    assert_eq!(Timestamp::from_micros(i64::MIN).to_string(), first);
    assert_eq!(Timestamp::from_micros(i64::MAX).to_string(), last);
    assert_eq!(parse(first).as_deref(), Some(first));
    assert_eq!(parse(last).as_deref(), Some(last));
    assert_eq!(parse("0000-01-01T00:00:00+00:01"), None);
    assert_eq!(parse("9999-12-31T23:59:59-00:01"), None);
}

#[test]
fn impossible_dates_are_refused() {
    assert!(parse("2024-02-29").is_some() && parse("2000-02-29").is_some());
    let refused = "2023-02-29 1900-02-29 2026-04-31 2026-00-01 2026-13-01 2026-01-00 2026-01-32";
    for text in refused.split(' ') {
        assert_eq!(parse(text), None, "{text}");
    }
    assert_eq!(Timestamp::from_civil(2026, 1, 1, 0, 0, 0, 1_000_000), None);
    assert_eq!(Timestamp::from_civil(10_000, 1, 1, 0, 0, 0, 0), None);
    assert_eq!(Timestamp::from_civil(-1, 1, 1, 0, 0, 0, 0), None);
}

#[test]
fn lenient_forms_are_read() {
    let whole = "2026-01-15T10:30:00.000000Z";
    let decimals = "2026-01-15T10:30:00.123456Z";
    for (text, wanted) in [
        ("2026-01-15T10:30:00Z", whole),
        ("2026-01-15 10:30:00", whole),
        ("2026-01-15t10:30:00z", whole),
        ("2026-01-15T10:30Z", whole),
        ("2026-01-15T10:30", whole),
        ("2026-01-15T12:30+02", whole),
        ("2026-01-15T12:30:00+02:00", whole),
        ("2026-01-15T12:30:00 02:00", whole),
        ("2026-01-15 12:30:00 0200", whole),
        ("2026-01-15T12:30:00 02", whole),
        ("2026-01-15T05:00:00-0530", whole),
        ("2026-01-16T00:30:00.0+14:00", whole),
        ("2026-01-15T10:30:00.123456Z", decimals),
        ("2026-01-15T10:30:00.123456999", decimals),
        ("2026-01-15T12:30:00.123456 02:00", decimals),
        ("2026-01-15T10:30:00.1Z", "2026-01-15T10:30:00.100000Z"),
        ("2026-01-15T10:30:00.1234567-00:00", decimals),
        ("2026-01-15", "2026-01-15T00:00:00.000000Z"),
    ] {
        assert_eq!(parse(text).as_deref(), Some(wanted), "{text}");
    }
}

#[test]
fn other_text_is_refused() {
    // The bar separates the texts; the first of them is empty.
    let refused = concat!(
        "|x|2026|2026-01|2026-1-15|26-01-15|2026-01-15T|2026-01-15 |",
        "2026-01-15Z|2026-01-15T10|2026-01-15T10:3|2026-01-15T10:30:|20260115|",
        "2026-01-15T10:30:0|2026-01-15T10:30:00.|2026-01-15T10:30:00.Z|",
        "2026-01-15T10:30:00.1234567890|2026-01-15T10:30:00,5|",
        "2026-01-15T10:30:00ZZ|2026-01-15T10:30:00Z | 2026-01-15|",
        "2026-01-15T10:30:00+|2026-01-15T10:30:00+2|2026-01-15T10:30:00+02:0|",
        "2026-01-15T10:30:00+02:|2026-01-15T10:30:00+24:00|",
        "2026-01-15T10:30:00+02:60|2026-01-15T10:30:00+02:00Z|",
        "2026-02-30T00:00:00Z|2026-01-15T24:00:00Z|2026-01-15T10:60:00Z|",
        "2026-01-15T10:30:60Z|+2026-01-15|-2026-01-15|2026-01-15T10:30:00\0|",
        "2026-01-15T1０:30|1768473000|",
        // The signs before and after the digits.
        "202:-01-15|2026-0:-15|2026-01-0:|2026-01-0/|2026-01-15T0::30|2026-01-15T10:0:|",
        "2026-01-15T10:30:0:|2026-01-15T10:30:00.12345:|2026-01-15T10:30:00+0:00|2026-01-15T10:30:00+00:0:",
    );
    for text in refused.split('|') {
        assert_eq!(parse(text), None, "{text:?}");
    }
    assert_eq!(Timestamp::parse_lenient([0xFF; 27]), None);
}

#[test]
fn the_servers_own_form_is_read_like_any_other_on_every_day() {
    for day in ["2026-01-15", "2024-02-29", "2023-02-29"] {
        let good = format!("{day}T10:39:58.123456Z");
        for at in 0..TEXT_BYTES {
            for byte in 0..=u8::MAX {
                let mut text = good.clone().into_bytes();
                text[at] = byte;
                assert_eq!(Timestamp::parse_lenient(&text), Timestamp::parse_any(&text), "{text:?}");
                assert_eq!(Timestamp::parse_lenient(&good), Timestamp::parse_any(good.as_bytes()));
            }
        }
    }
}

#[test]
fn the_present_is_between_two_looks_at_the_machines_clock() {
    let look = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    let (before, now, after) = (look(), Timestamp::now().micros().unsigned_abs(), look());
    assert!((before..=after).contains(&u128::from(now)));
}

#[test]
fn every_day_makes_the_round_trip() {
    for days in MICROS_MIN / MICROS_PER_DAY..=MICROS_MAX.div_euclid(MICROS_PER_DAY) {
        let (year, month, day) = civil_from_days(days);
        assert_eq!(days_from_civil(year, month, day), days);
        assert!((1..=days_in_month(year, month)).contains(&day));
    }
}

#[test]
fn random_moments_agree_with_jiff() {
    let state = &mut 1;
    let span = (MICROS_MAX - MICROS_MIN) as u64;
    for _ in 0..20_000 {
        // jiff stops one day short of the end of year 9999, so that every offset still fits.
        let micros = MICROS_MIN + (random(state) % (span - 2 * MICROS_PER_DAY as u64)) as i64;
        let ours = Timestamp::from_micros(micros);
        let theirs = jiff::Timestamp::from_microsecond(micros).unwrap();
        assert_eq!(ours.to_string(), format!("{theirs:.6}"));
        assert_eq!(ours.unix_seconds(), theirs.as_microsecond().div_euclid(1_000_000));
        assert_eq!(Timestamp::parse_lenient(ours.format()), Some(ours));
        let Civil { year, month, day, hour, minute, second, micros } = ours.to_civil();
        let again = Timestamp::from_civil(year, month, day, hour, minute, second, micros);
        assert_eq!(again, Some(ours));

        let offset_minutes = (random(state) % 1440) as i32 - 720;
        let sign = if offset_minutes < 0 { '-' } else { '+' };
        let (hours, minutes) = (offset_minutes.abs() / 60, offset_minutes.abs() % 60);
        let local = ours.to_string().replace('Z', &format!("{sign}{hours:02}:{minutes:02}"));
        let theirs: Option<jiff::Timestamp> = local.parse().ok();
        let theirs = theirs.map(jiff::Timestamp::as_microsecond);
        assert_eq!(Timestamp::parse_lenient(&local).map(Timestamp::micros), theirs, "{local}");
    }
}

#[test]
fn damaged_text_never_panics_and_never_means_more_than_jiff_says() {
    let state = &mut 2;
    let alphabet = b"0123456789-:.TZ+ ";
    for _ in 0..50_000 {
        let mut text = *b"2026-01-15T10:30:00.123456+02:00";
        for _ in 0..1 + random(state) % 3 {
            let at = random(state) as usize % text.len();
            text[at] = alphabet[random(state) as usize % alphabet.len()];
        }
        let length = text.len() - random(state) as usize % 3;
        let text = std::str::from_utf8(&text[..length]).unwrap();
        if let (Some(ours), Ok(theirs)) = (Timestamp::parse_lenient(text), text.parse::<jiff::Timestamp>()) {
            assert_eq!(ours.micros(), theirs.as_microsecond(), "{text}");
        }
    }
}
