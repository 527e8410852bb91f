//! Time as the service stores and shows it: microseconds since the Unix epoch, always UTC.
//!
//! The contract wants exactly `2026-01-15T10:30:00.123456Z`, and MySQL's `DATETIME(6)` holds the same
//! resolution, so one `i64` is enough and comparing two times is comparing two integers. Formatting
//! and the parsing of `since` happen in every poll, so both are written by hand and allocate nothing;
//! the tests compare them with the `jiff` crate.
//!
//! Code that judges time (is this token expired?) takes `now: Timestamp` as a parameter, so tests
//! choose the time and nothing has to be replaced behind its back.

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

/// The length of the one text form of a time, in bytes.
pub const TEXT_BYTES: usize = 27;
/// The length of the date in it, with the `T`.
const DATE_BYTES: usize = 11;
/// The text form, with zeros for its digits.
const FORM: &[u8; TEXT_BYTES] = b"0000-00-00T00:00:00.000000Z";

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
const MICROS_PER_DAY: i64 = SECONDS_PER_DAY * MICROS_PER_SECOND;

/// The years that the text form, with its four digits, can show.
const YEAR_MAX: i32 = 9999;
/// 0000-01-01T00:00:00.000000Z.
const MICROS_MIN: i64 = days_from_civil(0, 1, 1) * MICROS_PER_DAY;
/// 9999-12-31T23:59:59.999999Z.
const MICROS_MAX: i64 = days_from_civil(YEAR_MAX + 1, 1, 1) * MICROS_PER_DAY - 1;

/// A moment: microseconds since 1970-01-01T00:00:00Z, without leap seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// A moment taken apart into calendar fields, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// 0 to 9999, of the proleptic Gregorian calendar.
    pub year: i32,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59; leap seconds do not exist here, as they do not in the database.
    pub second: u8,
    /// 0 to 999 999.
    pub micros: u32,
}

impl Timestamp {
    /// The first moment that the text form can show.
    pub const MIN: Self = Self(MICROS_MIN);
    /// The last one.
    pub const MAX: Self = Self(MICROS_MAX);

    /// The present, by the machine's clock. A clock set before 1970 reads as 1970.
    pub fn now() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = since_epoch.as_secs() * 1_000_000 + u64::from(since_epoch.subsec_micros());
        Self(i64::try_from(micros).unwrap_or(MICROS_MAX))
    }

    /// The moment `micros` microseconds after the Unix epoch (before it, if negative).
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down (towards the past).
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(MICROS_PER_SECOND)
    }

    /// The moment with these UTC calendar fields, or `None` where there is no such moment: a month of
    /// 13, the 30th of February, second 60, a year outside 0 to 9999.
    pub const fn from_civil(
        year: i32,
        month: u8,
        day: u8,
        hour: u8,
        minute: u8,
        second: u8,
        micros: u32,
    ) -> Option<Self> {
        if year < 0 || year > YEAR_MAX || month < 1 || month > 12 {
            return None;
        }
        if day < 1 || day > days_in_month(year, month) {
            return None;
        }
        let days = days_from_civil(year, month, day);
        match micros_of_day(hour, minute, second, micros) {
            Some(micros) => Some(Self(days * MICROS_PER_DAY + micros)),
            None => None,
        }
    }

    /// The UTC calendar fields. A moment outside the years 0 to 9999 reads as the nearest one inside,
    /// because the text form has no room for it and nothing in the service makes such times.
    pub const fn to_civil(self) -> Civil {
        let micros = clamp(self.0);
        let (year, month, day) = civil_from_days(micros.div_euclid(MICROS_PER_DAY));
        let of_day = micros.rem_euclid(MICROS_PER_DAY);
        let seconds = of_day / MICROS_PER_SECOND;
        Civil {
            year,
            month,
            day,
            hour: (seconds / 3600) as u8,
            minute: (seconds / 60 % 60) as u8,
            second: (seconds % 60) as u8,
            micros: (of_day % MICROS_PER_SECOND) as u32,
        }
    }

    /// The text form, `2026-01-15T10:30:00.123456Z`, in ASCII and without allocating.
    pub const fn format(self) -> [u8; TEXT_BYTES] {
        let civil = self.to_civil();
        let mut text = *FORM;
        put_digits(&mut text, 0, 4, civil.year as u32);
        put_digits(&mut text, 5, 2, civil.month as u32);
        put_digits(&mut text, 8, 2, civil.day as u32);
        put_digits(&mut text, 11, 2, civil.hour as u32);
        put_digits(&mut text, 14, 2, civil.minute as u32);
        put_digits(&mut text, 17, 2, civil.second as u32);
        put_digits(&mut text, 20, 6, civil.micros);
        text
    }

    /// Appends the text form to `out`, without quotes.
    pub fn write_to(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.format());
    }

    /// Reads what [`Timestamp::format`] writes, which nearly every poll sends back; `None` for anything else.
    fn parse(text: &[u8; TEXT_BYTES]) -> Option<Self> {
        let (date, time) = (text.first_chunk()?, text.last_chunk::<16>()?);
        let (last, begin) = LAST_DATE.get();
        let begin = if *date == last { begin } else { remember(date)? };
        let [clock, decimals] = time.as_chunks().0 else { return None };
        let [hour, _, _, minute, _, _, second, _] = pairs(clock, b"00:00:00")?;
        let [_, high, _, middle, _, low, _, _] = pairs(decimals, b".000000Z")?;
        let micros = (u32::from(high) * 100 + u32::from(middle)) * 100 + u32::from(low);
        Some(Self(begin.0 + micros_of_day(hour, minute, second, micros)?))
    }

    /// Reads a time as existing clients of the `since` parameter write it; `text` is already
    /// percent-decoded. A date, then optionally `T` or a space and a time of hours and minutes,
    /// optionally seconds, optionally one to nine decimals (what is finer than a microsecond is cut
    /// off), then optionally a zone: `Z`, `+02:00`, `-0530`, `+02`, or ` 02:00`, which is what a
    /// form-decoder makes of an unescaped `+`. Without a zone UTC is meant.
    ///
    /// `None` for anything else: other text before or after, a date that does not exist, a moment
    /// that falls outside the years 0 to 9999 once its offset is applied.
    pub fn parse_lenient(text: impl AsRef<[u8]>) -> Option<Self> {
        let text = text.as_ref();
        if let Ok(text) = text.try_into()
            && let Some(at) = Self::parse(text)
        {
            return Some(at);
        }
        Self::parse_any(text)
    }

    fn parse_any(text: &[u8]) -> Option<Self> {
        let (date, rest) = text.split_first_chunk()?;
        let &[y1, y2, y3, y4, b'-', o1, o2, b'-', d1, d2] = date else { return None };
        let (year, month, day) = (number([y1, y2, y3, y4])?, number([o1, o2])?, number([d1, d2])?);
        if rest.is_empty() {
            return Self::from_civil(year as i32, month as u8, day as u8, 0, 0, 0, 0);
        }
        let (time, rest) = rest.split_first_chunk()?;
        let &[b'T' | b't' | b' ', h1, h2, b':', m1, m2] = time else { return None };
        let (hour, minute) = (number([h1, h2])?, number([m1, m2])?);
        let (second, micros, rest) = seconds(rest)?;
        let offset_seconds = offset(rest)?;
        let (year, month, day) = (year as i32, month as u8, day as u8);
        let (hour, minute, second) = (hour as u8, minute as u8, second as u8);
        let local = Self::from_civil(year, month, day, hour, minute, second, micros)?;
        let micros = local.0 - offset_seconds * MICROS_PER_SECOND;
        (MICROS_MIN..=MICROS_MAX).contains(&micros).then_some(Self(micros))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.format();
        f.pad(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.format();
        serializer.serialize_str(std::str::from_utf8(&text).map_err(serde::ser::Error::custom)?)
    }
}

thread_local! {
    /// The date that this thread read last, with the `T` behind it, and when it began: nearly every poll is of today, and
    /// comparing is a third of reading.
    static LAST_DATE: Cell<([u8; DATE_BYTES], Timestamp)> = const { Cell::new((*b"1970-01-01T", Timestamp(0))) };
}

/// Reads a date that is not the last one.
#[cold]
fn remember(date: &[u8; DATE_BYTES]) -> Option<Timestamp> {
    let &[y1, y2, y3, y4, b'-', o1, o2, b'-', d1, d2, b'T'] = date else { return None };
    let (year, month, day) = (number([y1, y2, y3, y4])?, number([o1, o2])?, number([d1, d2])?);
    let begin = Timestamp::from_civil(year as i32, month as u8, day as u8, 0, 0, 0, 0)?;
    LAST_DATE.set((*date, begin));
    Some(begin)
}

/// For each byte but the last the number that it and the next one make as digits. `None` where `text` has something else
/// than digits in the place of `form`'s zeros, or than `form` elsewhere. All eight at once: what is good carries nothing
/// from one byte to the next.
fn pairs(text: &[u8; 8], form: &[u8; 8]) -> Option<[u8; 8]> {
    // What is left of a digit is its value, and of all other characters nothing.
    let values = u64::from_le_bytes(*text) ^ u64::from_le_bytes(*form);
    // What makes the first bit of a byte one that is more than it may be, unless it is one already.
    let excess = u64::from_le_bytes(form.map(|form| if form == b'0' { 0x7f - 9 } else { 0x7f }));
    if (values.wrapping_add(excess) | values) & 0x8080_8080_8080_8080 != 0 {
        return None;
    }
    Some((values * 10 + (values >> 8)).to_le_bytes())
}

/// The number that decimal digits make; at most seven, so that what are no digits fit as well.
fn number<const COUNT: usize>(digits: [u8; COUNT]) -> Option<u32> {
    let (mut number, mut are_digits) = (0, true);
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        are_digits &= digit < 10;
        number = number * 10 + u32::from(digit);
    }
    are_digits.then_some(number)
}

/// The optional `:SS` and its optional decimals, as seconds and microseconds, and what follows.
fn seconds(text: &[u8]) -> Option<(u32, u32, &[u8])> {
    let (second, rest) = match text {
        [b':', s1, s2, rest @ ..] => (number([*s1, *s2])?, rest),
        [b':', ..] => return None,
        _ => return Some((0, 0, text)),
    };
    let [b'.', decimals @ ..] = rest else { return Some((second, 0, rest)) };
    // Six, as the server writes them, at once: nearly every poll has them.
    if let Some((six, rest)) = decimals.split_first_chunk()
        && let Some(micros) = number::<6>(*six)
        && !rest.first().is_some_and(u8::is_ascii_digit)
    {
        return Some((second, micros, rest));
    }
    let (mut micros, mut place, mut rest) = (0, 100_000, decimals);
    while let [digit @ b'0'..=b'9', after @ ..] = rest {
        micros += u32::from(digit - b'0') * place;
        (place, rest) = (place / 10, after);
    }
    let count = decimals.len() - rest.len();
    (1..=9).contains(&count).then_some((second, micros, rest))
}

/// The optional zone, which ends the text, as seconds east of UTC.
fn offset(text: &[u8]) -> Option<i64> {
    let (sign, rest) = match text {
        [] | [b'Z' | b'z'] => return Some(0),
        // A space stands where the client wrote a plus sign and forgot to escape it.
        [b'+' | b' ', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = match *rest {
        [h1, h2] => (number([h1, h2])?, 0),
        [h1, h2, b':', m1, m2] | [h1, h2, m1, m2] => (number([h1, h2])?, number([m1, m2])?),
        _ => return None,
    };
    (hours <= 23 && minutes <= 59).then(|| sign * i64::from(hours * 3600 + minutes * 60))
}

/// Writes `value` as `count` decimal digits at `at`, from the last digit to the first.
const fn put_digits(text: &mut [u8; TEXT_BYTES], at: usize, count: usize, mut value: u32) {
    let mut left = count;
    while left > 0 {
        left -= 1;
        text[at + left] = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Microseconds since midnight, where there is such a time.
const fn micros_of_day(hour: u8, minute: u8, second: u8, micros: u32) -> Option<i64> {
    if hour > 23 || minute > 59 || second > 59 || micros >= MICROS_PER_SECOND as u32 {
        return None;
    }
    let seconds = hour as i64 * 3600 + minute as i64 * 60 + second as i64;
    Some(seconds * MICROS_PER_SECOND + micros as i64)
}

const fn clamp(micros: i64) -> i64 {
    if micros < MICROS_MIN {
        MICROS_MIN
    } else if micros > MICROS_MAX {
        MICROS_MAX
    } else {
        micros
    }
}

const fn days_in_month(year: i32, month: u8) -> u8 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date. Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms",
/// `days_from_civil`: years begin in March, so that the leap day is the last of its year, and every
/// era of 400 years has the same 146 097 days.
const fn days_from_civil(year: i32, month: u8, day: u8) -> i64 {
    let year = year as i64 - if month <= 2 { 1 } else { 0 };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month as i64 + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day as i64 - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The date that is `days` after 1970-01-01; the inverse of [`days_from_civil`], from the same source.
const fn civil_from_days(days: i64) -> (i32, u8, u8) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + if month <= 2 { 1 } else { 0 };
    (year as i32, month as u8, day as u8)
}
