//! Dates. RFC 9110 section 5.6.7.

use super::fields::number;
use crate::mem::Ends as _;
use crate::wire::calendar::{DAY_SECS, calendar};

/// Length of a date (bytes).
pub const DATE_BYTES: usize = 29;

const DAYS: &[u8; 21] = b"ThuFriSatSunMonTueWed";
const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
/// The end of the year 9999.
const SECS_MAX: i64 = 253_402_300_799;

/// Writes a time (seconds since 1970) as "Sun, 29 Nov 2026 01:31:07 GMT". Times before 1970 become 1970.
pub fn write_date(secs: i64) -> [u8; DATE_BYTES] {
    let secs = secs.clamp(0, SECS_MAX);
    let [_, month, ..] = civil(secs);
    let mut text = *b"Thu, 00 Jan 1970 00:00:00 GMT";
    let name = |names: &'static [u8], at: u32| names.tail(3 * at as usize).head(3);
    put(&mut text, 0, name(DAYS, (secs / DAY_SECS % 7) as u32));
    put(&mut text, 8, name(MONTHS, month - 1));
    put_numbers(&mut text, secs, &[12, 14, DATE_BYTES, 5, 17, 20, 23]);
    text
}

/// Writes a time (seconds since 1970) as "2026-11-29 01:31". Times before 1970 become 1970.
pub fn write_minute(secs: i64) -> [u8; 16] {
    let mut text = *b"0000-00-00 00:00";
    put_numbers(
        &mut text,
        secs.clamp(0, SECS_MAX),
        &[0, 2, 5, 8, 11, 14, 16],
    );
    text
}

/// Year, month, day, and second of the day of a time from 1970 on.
fn civil(secs: i64) -> [u32; 4] {
    calendar(secs).unwrap_or([1970, 1, 1, 0])
}

/// Writes the numbers of a time, each with two digits, to these places: century, year, month, day, hour, minute, second. A place
/// beyond the text is skipped.
fn put_numbers(text: &mut [u8], secs: i64, places: &[usize; 7]) {
    let [year, month, day, rest] = civil(secs);
    let numbers = [
        year / 100,
        year % 100,
        month,
        day,
        rest / 3600,
        rest / 60 % 60,
        rest % 60,
    ];
    for (at, number) in places.iter().zip(numbers) {
        let digits = [number / 10, number % 10].map(|digit| b'0' + digit as u8);
        put(text, *at, &digits);
    }
}

fn put(text: &mut [u8], at: usize, bytes: &[u8]) {
    for (place, byte) in text.iter_mut().skip(at).zip(bytes) {
        *place = *byte;
    }
}

/// Days from 1970 to a date: `days_from_civil` of the same author.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - (month <= 2) as i64;
    let (era, year_of_era) = (year / 400, year % 400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    era * 146_097 + of_era - 719_468
}

/// Parses a date of one of the three formats. A year of two digits is in the century of `now` (seconds since 1970), or
/// in the one before if it were more than 50 years ahead.
pub fn parse_date(text: &[u8], now: i64) -> Option<i64> {
    let mut words = text
        .split(|byte| matches!(byte, b' ' | b'-' | b','))
        .filter(|word| !word.is_empty());
    let mut next = || words.next();
    let (_day_name, first) = (next()?, next()?);
    let (day, month, year, time);
    if first.first()?.is_ascii_digit() {
        // "Sun, 29 Nov 2026 01:31:07 GMT", or "Sunday, 29-Nov-26 01:31:07 GMT".
        (day, month, year, time) = (first, next()?, next()?, next()?);
        if next()? != b"GMT" {
            return None;
        }
    } else {
        // "Sun Nov 29 01:31:07 2026".
        (month, day, time, year) = (first, next()?, next()?, next()?);
    }
    if next().is_some() {
        return None;
    }
    let (months, _) = MONTHS.as_chunks::<3>();
    let month = months.iter().position(|name| name == month)? as i64 + 1;
    let [day, mut full] =
        [day, year].map(|digits| number(digits).map(|number| number.min(9999) as i64));
    if year.len() == 2 {
        let [this, ..] = civil(now.clamp(0, SECS_MAX)).map(i64::from);
        let in_century = full? + this / 100 * 100;
        // A year more than 50 years ahead is a past one.
        full = Some(if in_century > this + 50 {
            in_century - 100
        } else {
            in_century
        });
    }
    let mut times = time.split(|byte| *byte == b':').map(number);
    let (hour, minute, second) = (times.next()??, times.next()??, times.next()??);
    let is_valid = times.next().is_none() && hour < 24 && minute < 60 && second <= 60;
    let (day, year) = (day?, full?);
    if !is_valid || !(1..=31).contains(&day) || !(1601..=9999).contains(&year) {
        return None;
    }
    let of_day = (hour * 3600 + minute * 60 + second) as i64;
    // A leap second may end the last year.
    Some((days(year, month, day) * DAY_SECS + of_day).min(SECS_MAX))
}
