//! Local time: its offset from UTC.
//!
//! Time zone files are tzfile(5) of version 2 or later (RFC 8536), without leap seconds. Rules, in TZ or at the end of a file, are
//! those of POSIX (XBD section 8.3). If there is neither, or it is malformed, local time is UTC.

use super::calendar::{DAY_SECS, MARCH_DAYS};
use crate::mem::{Ends as _, nth};

const HOUR_SECS: i64 = 60 * 60;
/// Mean length of a year (seconds): the calendar repeats after 400 years.
const YEAR_SECS: i64 = 146_097 * DAY_SECS / 400;
/// Days from January to March of the year 0.
const FEBRUARY_DAYS: i64 = 60;
/// A whole number of weeks, in days. It exceeds every day number, so adding it keeps the operand of a remainder non-negative.
const NO_DAY: i32 = 7 << 20;

/// Offset of local time from UTC (seconds, east is positive) at `secs` since 1970: from the file, or else from the rule.
pub fn offset(file: &[u8], rule: &[u8], secs: i64) -> i64 {
    let offset = by_file(file, secs).or_else(|| by_rule(rule, secs));
    offset.unwrap_or_default()
}

/// Length of a header (bytes). It ends with six counts: UT/local indicators, standard/wall indicators, leap seconds, transitions,
/// types, and characters of the abbreviations.
const HEADER_BYTES: usize = 44;
/// Size of one item of each count (bytes): first with times of four bytes, as in version 1, then of eight.
static ITEM_BYTES: [[u8; 6]; 2] = [[1, 1, 8, 5, 6, 1], [1, 1, 12, 9, 6, 1]];

fn by_file(file: &[u8], secs: i64) -> Option<i64> {
    let (mut counts, mut data, mut rest) = ([0; 6], &[][..], file);
    // Use the second part, with times of eight bytes. A file of version 1 has no second part and fails here.
    for items in &ITEM_BYTES {
        let (header, behind) = rest.split_at_checked(HEADER_BYTES)?;
        let ([[b'T', b'Z', b'i', b'f'], _, _, _, _, words @ ..], _) = header.as_chunks::<4>()
        else {
            return None;
        };
        let mut bytes = 0;
        for ((count, item_bytes), word) in counts.iter_mut().zip(items).zip(words) {
            // A count above this would not fit into the file: `split_at_checked` fails below.
            *count = u32::from_be_bytes(*word).min(u16::MAX.into()) as usize;
            bytes += *count * usize::from(*item_bytes);
        }
        (data, rest) = behind.split_at_checked(bytes)?;
    }
    let [_, _, _, count, ..] = counts;
    let (transitions, _) = data.head(count * 8).as_chunks();
    let has_passed = |time: &[u8; 8]| i64::from_be_bytes(*time) <= secs;
    let passed = transitions.partition_point(has_passed);
    // After the last transition, the rule at the end of the file applies, if there is one.
    if passed == count
        && let Some(offset) = by_rule(nth(rest, b'\n', 1), secs)
    {
        return Some(offset);
    }
    // First the type index of each transition, then the types, which begin with their offset. Before the first transition, the
    // first type applies.
    let kinds = data.tail(count * 8);
    let kind = passed.checked_sub(1).and_then(|last| kinds.get(last));
    let place = count + usize::from(*kind.unwrap_or(&0)) * 6;
    let offset = kinds.tail(place).first_chunk()?;
    Some(i32::from_be_bytes(*offset).into())
}

/// The dates of daylight saving time if a rule has none: as in the C library, those of the United States.
const DATES: &[u8] = b"M3.2.0,M11.1.0";

/// Offset from UTC (seconds) at `secs` since 1970 by a POSIX rule, `std offset [dst [offset] [,start[/time],end[/time]]]`. `None`:
/// the rule is malformed.
fn by_rule(rule: &[u8], secs: i64) -> Option<i64> {
    let rest = &mut { rule };
    skip_name(rest);
    // In POSIX rules, west of Greenwich is positive.
    let standard = -time(rest);
    let mut offset = standard;
    if !rest.is_empty() {
        skip_name(rest);
        let mut daylight = standard + HOUR_SECS;
        if !skip(rest, b',') && !rest.is_empty() {
            daylight = -time(rest);
            skip(rest, b',');
        }
        if rest.is_empty() {
            *rest = DATES;
        }
        // Approximate near New Year, where both years' rules have the same result.
        let since = secs.wrapping_add((MARCH_DAYS + FEBRUARY_DAYS) * DAY_SECS) as u64;
        let year = (since / YEAR_SECS as u64).min(9999) as i32;
        let start = change(rest, year) - standard;
        skip(rest, b',');
        let end = change(rest, year) - daylight;
        // In the southern hemisphere, daylight time ends before it begins in a year.
        if (secs >= start) ^ (secs >= end) ^ (start > end) {
            offset = daylight;
        }
    }
    rest.is_empty().then_some(offset)
}

/// Parses the date and time of a yearly change. Returns that time in `year`, in seconds since 1970, without the offset from UTC.
/// The date is `Mm.w.d`, or `Jn` (days from 1, not counting a leap day), or `n` (days from 0, counting a leap day). An optional
/// `/time` follows it.
fn change(rest: &mut &[u8], year: i32) -> i64 {
    let mut day;
    if skip(rest, b'M') {
        let mut month = number(rest);
        skip(rest, b'.');
        let mut week = number(rest);
        skip(rest, b'.');
        // Week 5 means the last in the month.
        if week == 5 {
            (month, week) = (month + 1, 0);
        }
        day = month_start(year, month) + (week - 1) * 7;
        // March of the year 0 began on a Wednesday.
        day += (number(rest) + NO_DAY - 3 - day) % 7;
    } else {
        let counts_from = i32::from(skip(rest, b'J'));
        day = number(rest) - counts_from;
        let mut month = 1;
        if counts_from > 0 && day > 58 {
            (month, day) = (3, day - 59);
        }
        day += month_start(year, month);
    }
    let mut secs = 2 * HOUR_SECS;
    if skip(rest, b'/') {
        secs = time(rest);
    }
    (i64::from(day) - MARCH_DAYS) * DAY_SECS + secs
}

/// Days from March of the year 0 to the first of a month; month 13 is the next year's January. (Approximate in the year 0.)
const fn month_start(year: i32, month: i32) -> i32 {
    // From March on a leap day is the last of its year, of its century and of its four centuries.
    let months = year * 12 + month - 3;
    let (year, month) = (months / 12, months % 12);
    year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5
}

/// Skips a byte if it comes next. Returns true if it did.
#[inline(never)] // −53 bytes: 13 callers.
fn skip(rest: &mut &[u8], byte: u8) -> bool {
    if let [first, behind @ ..] = *rest
        && *first == byte
    {
        *rest = behind;
        return true;
    }
    false
}

/// The rest of a malformed rule: no parser consumes it, so the rule is never read to its end.
const WRONG: &[u8] = b"?";

/// Skips the name of a time: letters, or anything between < and >.
fn skip_name(rest: &mut &[u8]) {
    let len = rest.len();
    let is_quoted = skip(rest, b'<');
    while let [byte, behind @ ..] = *rest
        && (byte.is_ascii_alphabetic() || is_quoted && *byte != b'>')
    {
        *rest = behind;
    }
    skip(rest, b'>');
    if rest.len() == len {
        *rest = WRONG;
    }
}

/// Parses a number.
fn number(rest: &mut &[u8]) -> i32 {
    let (mut number, len) = (0, rest.len());
    while let [digit @ b'0'..=b'9', behind @ ..] = *rest
        && number < 100
    {
        number = number * 10 + i32::from(*digit - b'0');
        *rest = behind;
    }
    if rest.len() == len {
        *rest = WRONG;
    }
    number
}

/// Parses `[+-]hh[:mm[:ss]]` into seconds.
fn time(rest: &mut &[u8]) -> i64 {
    let is_negative = skip(rest, b'-');
    skip(rest, b'+');
    let (mut unit_secs, mut secs) = (HOUR_SECS, 0);
    loop {
        secs += i64::from(number(rest)) * unit_secs;
        unit_secs /= 60;
        if !skip(rest, b':') {
            return if is_negative { -secs } else { secs };
        }
    }
}
