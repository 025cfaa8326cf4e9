//! Local time: its offset from UTC.
//!
//! Time zone files are tzfile(5) of version 2 or later (RFC 8536), without leap seconds. Rules, in TZ or at the end of a file, are
//! those of POSIX (XBD section 8.3). If there is neither, or it is malformed, local time is UTC.

use crate::mem::{Ends as _, nth};

/// Seconds of a day.
pub(super) const DAY_SECS: i64 = 24 * 60 * 60;
/// Days from March of the year 0 to 1970.
pub(super) const MARCH_DAYS: i64 = 719_468;
const HOUR_SECS: i64 = 60 * 60;
/// Mean length of a year (seconds): the calendar repeats after 400 years.
const YEAR_SECS: i64 = 146_097 * DAY_SECS / 400;
/// Days from March of the year 0 to the year 10,000.
pub(super) const YEARS_DAYS: u32 = 3_652_365;
/// Days from January to March of the year 0.
const FEBRUARY_DAYS: i64 = 60;
/// A whole number of weeks, in days. It exceeds every day number, so adding it keeps the operand of a remainder non-negative.
const NO_DAY: i32 = 7 << 20;

/// Offset of local time from UTC (seconds, east is positive) at `secs` since 1970: from the file, or else from the rule.
pub(super) fn offset(file: &[u8], rule: &[u8], secs: i64) -> i64 {
    let offset = by_file(file, secs).or_else(|| by_rule(rule, secs));
    offset.unwrap_or_default()
}

/// Converts seconds since 1970 to year, month, day, and second of the day. `None`: the year is not between 0 and 9999.
///
/// Years begin in March here, so that a leap day is the last of its year, of its century and of its four centuries.
pub(super) fn calendar(secs: i64) -> Option<[u32; 4]> {
    // A year outside 0 to 9999 gives a number that is too large: negative ones wrap.
    let since = secs.wrapping_add(const { MARCH_DAYS * DAY_SECS }) as u64;
    const DAY: u64 = DAY_SECS as u64;
    let (days, rest) = (since / DAY, (since % DAY) as u32);
    if days >= YEARS_DAYS.into() {
        return None;
    }
    // Quarters of a day, plus three, so that the divisions round correctly. A century has 146,097 quarters, a year 1,461.
    let quarters = (days as u32) << 2 | 3;
    let century = quarters / 146_097;
    let quarters = (quarters % 146_097) | 3;
    let year = century * 100 + quarters / 1461;
    // From March on, months have 30.6 days on average; the division rounds correctly.
    let fifths = quarters % 1461 / 4 * 5 + 2;
    let (month, day) = (fifths / 153, fifths % 153 / 5 + 1);
    let next = month / 10;
    Some([year + next, month + 3 - 12 * next, day, rest])
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

/// Offset from UTC (seconds) at `secs` since 1970 by a POSIX rule, `std offset [dst [offset] ,start[/time],end[/time]]`. `None`:
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
        if !skip(rest, b',') {
            daylight = -time(rest);
            skip(rest, b',');
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::sftp::accounts::Accounts;
    use crate::engine::testing;
    use crate::vfs::ram::Ram;

    /// Accounts with this TZ, loaded from a tree with these files.
    fn zone(tz: Option<&'static [u8]>, files: &[(&str, &[u8])]) -> Accounts {
        let mut ram = Ram::model(b"/");
        for dir in ["etc", "usr", "usr/share", "usr/share/zoneinfo"] {
            ram.dir(dir);
        }
        for (path, text) in files {
            ram.file(path, text);
        }
        let memory = [(); 3].map(|()| &mut *vec![0xff; 4096].leak());
        let mut zone = Accounts::new(tz, memory);
        let mut tree = testing::tree::Tree::of(ram);
        zone.load(&mut tree);
        zone.load(&mut tree);
        assert_eq!(tree.ram().pinned, 0);
        zone
    }

    fn by_rule(tz: &'static str) -> Accounts {
        zone(Some(tz.as_bytes()), &[])
    }

    /// A file of version 2 with these transitions, offsets and rule. The file also has leap seconds, abbreviations and indicators,
    /// which the parser skips.
    fn file(transitions: &[(i64, u8)], offsets: &[i32], rule: &str) -> Vec<u8> {
        let mut file = Vec::new();
        for time_bytes in [4, 8] {
            file.extend(b"TZif2");
            file.extend([0; 15]);
            for count in [2, 2, 1, transitions.len(), offsets.len(), 7] {
                file.extend((count as u32).to_be_bytes());
            }
            for (time, _) in transitions {
                file.extend(&time.to_be_bytes()[8 - time_bytes..]);
            }
            file.extend(transitions.iter().map(|(_, kind)| kind));
            for offset in offsets {
                file.extend(offset.to_be_bytes());
                file.extend([0, 0]);
            }
            file.extend(b"CET\0LMT");
            file.extend(vec![0x7f; time_bytes + 4]);
            file.extend([1, 0, 1, 0]);
        }
        file.extend(format!("\n{rule}\n").as_bytes());
        file
    }

    const HOUR: i64 = 3600;
    /// Midnight of 1 January 2024, a leap year that begins on a Monday.
    const YEAR: i64 = 1_704_067_200;
    const DAY: i64 = DAY_SECS;

    /// Compares the offset with `from` one second before `at`, and with `to` at `at`.
    #[track_caller]
    fn changes(zone: &Accounts, at: i64, from: i64, to: i64) {
        assert_eq!(zone.offset_at(at - 1), from, "before {at}");
        assert_eq!(zone.offset_at(at), to, "at {at}");
    }

    #[test]
    fn posix_rules_have_the_specified_offsets() {
        for (tz, ahead) in [
            ("UTC0", 0),
            ("XYZ5", -5 * HOUR),
            ("XYZ-5:30", 5 * HOUR + 1800),
            ("<+0545>-05:45", 5 * HOUR + 45 * 60),
            ("<-03>+3:07:04", -3 * HOUR - 7 * 60 - 4),
        ] {
            for secs in [i64::MIN, -1, 0, YEAR, YEAR + 200 * DAY, i64::MAX] {
                assert_eq!(by_rule(tz).offset_at(secs), ahead, "{tz} {secs}");
            }
        }
        // Central Europe: the last Sundays of March and October, in 2024 the 31st and the 27th.
        let zone = by_rule("CET-1CEST,M3.5.0,M10.5.0/3");
        changes(&zone, YEAR + 90 * DAY + HOUR, HOUR, 2 * HOUR);
        changes(&zone, YEAR + 300 * DAY + HOUR, 2 * HOUR, HOUR);
        // The United States: 10 March and 3 November.
        let zone = by_rule("EST5EDT,M3.2.0,M11.1.0");
        changes(&zone, YEAR + 69 * DAY + 7 * HOUR, -5 * HOUR, -4 * HOUR);
        changes(&zone, YEAR + 307 * DAY + 6 * HOUR, -4 * HOUR, -5 * HOUR);
        // Southern hemisphere: daylight time begins on 6 October and ends on 7 April.
        let zone = by_rule("<+1030>-10:30<+11>-11,M10.1.0,M4.1.0");
        let (south, summer) = (10 * HOUR + 1800, 11 * HOUR);
        changes(&zone, YEAR + 97 * DAY + 2 * HOUR - summer, summer, south);
        changes(&zone, YEAR + 279 * DAY + 2 * HOUR - south, south, summer);
        assert_eq!(zone.offset_at(YEAR), summer);
        // Ireland: the standard time of the rule (IST) applies in summer, its daylight time (GMT) in winter.
        let zone = by_rule("IST-1GMT0,M10.5.0,M3.5.0/1");
        changes(&zone, YEAR + 90 * DAY + HOUR, 0, HOUR);
        changes(&zone, YEAR + 300 * DAY + HOUR, HOUR, 0);
        // Greenland: the time -1 is 23:00 on the day before.
        let zone = by_rule("<-02>2<-01>,M3.5.0/-1,M10.5.0/0");
        changes(&zone, YEAR + 90 * DAY + HOUR, -2 * HOUR, -HOUR);
        // J60 is 1 March in this leap year, 59 is 29 February and J59 is 28 February. Daylight time ends on J360, 26 December.
        for (start, leap_days) in [("J60", 60), ("59", 59), ("J59", 58)] {
            let tz: &'static str = format!("AAA0BBB,{start}/0,J360/9:30:30").leak();
            let zone = by_rule(tz);
            changes(&zone, YEAR + leap_days * DAY, 0, HOUR);
            let end = YEAR + 360 * DAY + 8 * HOUR + 1830;
            changes(&zone, end, HOUR, 0);
        }
    }

    #[test]
    fn invalid_rule_is_utc_and_offsets_are_bounded() {
        for tz in [
            "",
            ":",
            "5",
            "ABC",
            "ABC-",
            "ABC.5",
            "ABC5DEF",
            "ABC5DEF,",
            "ABC5DEF,M3.2.0",
            "ABC5DEF,M3.2.0,",
            "ABC5DEF,M3.2,M11.1.0",
            "ABC5DEF,M3.2.0,M11.1.0,",
            "ABC5 ",
            "Europe/Nowhere",
            "/etc/none",
            "ABC5DEF,J,J",
            "ABC5DEF4x",
        ] {
            let zone = by_rule(tz);
            assert_eq!(
                (zone.offset_at(YEAR), zone.offset_at(YEAR + 200 * DAY)),
                (0, 0),
                "{tz}"
            );
        }
        // Numbers that are out of range give a bounded offset.
        for tz in [
            "ABC99999",
            "ABC5DEF,M999.999.999/999:999:999,J000/-999",
            "ABC999DEF-999,999,999",
        ] {
            for secs in [i64::MIN, i64::MAX, YEAR, -62_167_219_200, 253_402_300_799] {
                assert!(by_rule(tz).offset_at(secs).abs() < 50 * DAY);
            }
        }
    }

    #[test]
    fn file_transitions_apply_before_its_rule() {
        let text = file(&[(-1000, 1), (0, 2), (YEAR, 1)], &[60, 120, 180], "XYZ-9");
        let zone = zone(None, &[("etc/localtime", &text)]);
        assert_eq!(zone.offset_at(i64::MIN), 60);
        changes(&zone, -1000, 60, 120);
        changes(&zone, 0, 120, 180);
        changes(&zone, YEAR, 180, 9 * HOUR);
        assert_eq!(zone.offset_at(i64::MAX), 9 * HOUR);
        // Without a rule, the type of the last transition applies for all later times. Without transitions, the rule applies at any
        // time.
        let text = file(&[(0, 1)], &[60, 120], "");
        changes(
            &super::tests::zone(None, &[("etc/localtime", &text)]),
            0,
            60,
            120,
        );
        let text = file(&[], &[60], "XYZ-9");
        let zone = super::tests::zone(None, &[("etc/localtime", &text)]);
        assert_eq!(zone.offset_at(YEAR), 9 * HOUR);
    }

    #[test]
    fn tz_selects_the_file_or_rule() {
        let of = |hours: i32| file(&[], &[hours * 3600], "");
        let (local, here, there) = (of(1), of(2), of(3));
        let files: &[(&str, &[u8])] = &[
            ("etc/localtime", &local),
            ("usr/share/zoneinfo/Here", &here),
            ("etc/XYZ8", &there),
        ];
        for (tz, hours) in [
            (None, 1),
            (Some(&b"Here"[..]), 2),
            (Some(b":Here"), 2),
            (Some(b"/etc/XYZ8"), 3),
            (Some(b":/etc/XYZ8"), 3),
            (Some(b"XYZ8"), -8),
            (Some(b":XYZ8"), -8),
            (Some(b""), 0),
            (Some(b"Nowhere"), 0),
        ] {
            assert_eq!(zone(tz, files).offset_at(YEAR), hours * HOUR, "{tz:?}");
        }
        assert_eq!(zone(None, &[]).offset_at(YEAR), 0);
    }

    #[test]
    fn truncated_or_version_1_file_is_utc() {
        let whole = file(&[(0, 1), (YEAR, 0)], &[60, 120], "XYZ-9");
        let footer = whole.len() - b"\nXYZ-9\n".len();
        for len in 0..whole.len() {
            let zone = zone(None, &[("etc/localtime", &whole[..len])]);
            let offset = zone.offset_at(5);
            assert_eq!(offset, if len < footer { 0 } else { 120 }, "{len}");
        }
        // A file of version 1 ends after the first header and its data, and counts as malformed.
        let old = [b"TZif\0", &whole[5..HEADER_BYTES + 41]].concat();
        assert!(whole[HEADER_BYTES + 41..].starts_with(b"TZif"));
        assert_eq!(zone(None, &[("etc/localtime", &old)]).offset_at(5), 0);
    }

    #[test]
    fn mutated_files_have_bounded_offsets() {
        let whole = file(
            &[(0, 1), (YEAR, 9)],
            &[i32::MAX, i32::MIN],
            "XYZ-9ABC,M3.5.0,J9",
        );
        let mut state = 1_u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 16
        };
        for round in 0..4000 {
            let mut text = whole.clone();
            for _ in 0..=round % 8 {
                let at = random() as usize % text.len();
                let byte =
                    [0, 1, 0x7f, 0xff, b'\n', b',', b'9', random() as u8][random() as usize % 8];
                text[at] = byte;
                // Set one of the header's six counts to the maximum.
                if round % 5 == 0 {
                    let at = 20 + random() as usize % 6 * 4;
                    text[at..at + 4].fill(0xff);
                }
            }
            let zone = zone(None, &[("etc/localtime", &text)]);
            for secs in [i64::MIN, -1, 5, YEAR, i64::MAX] {
                assert!(zone.offset_at(secs).unsigned_abs() <= 1 << 31);
            }
        }
    }
}
