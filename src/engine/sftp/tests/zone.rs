//! Local time by the rules and files of TZ.

use crate::engine::sftp::accounts::Accounts;
use crate::engine::testing;
use crate::vfs::ram::Ram;
use crate::wire::calendar::DAY_SECS;

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
    // The United States: 10 March and 3 November. Without dates, as in the C library, the rule has those.
    for (tz, standard) in [
        ("EST5EDT,M3.2.0,M11.1.0", -5 * HOUR),
        ("EST5EDT", -5 * HOUR),
        ("CET-1CEST", HOUR),
        ("CET-1CEST-2", HOUR),
        ("CET-1CEST,", HOUR),
    ] {
        let (zone, daylight) = (by_rule(tz), standard + HOUR);
        changes(
            &zone,
            YEAR + 69 * DAY + 2 * HOUR - standard,
            standard,
            daylight,
        );
        changes(
            &zone,
            YEAR + 307 * DAY + 2 * HOUR - daylight,
            daylight,
            standard,
        );
    }
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
    let local = zone(None, &[("etc/localtime", &text)]);
    assert_eq!(local.offset_at(i64::MIN), 60);
    changes(&local, -1000, 60, 120);
    changes(&local, 0, 120, 180);
    changes(&local, YEAR, 180, 9 * HOUR);
    assert_eq!(local.offset_at(i64::MAX), 9 * HOUR);
    // Without a rule, the type of the last transition applies for all later times. Without transitions, the rule applies at any
    // time.
    let text = file(&[(0, 1)], &[60, 120], "");
    changes(&zone(None, &[("etc/localtime", &text)]), 0, 60, 120);
    let text = file(&[], &[60], "XYZ-9");
    let zone = zone(None, &[("etc/localtime", &text)]);
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
    let old = [b"TZif\0", &whole[5..85]].concat();
    assert!(whole[85..].starts_with(b"TZif"));
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
            let byte = [0, 1, 0x7f, 0xff, b'\n', b',', b'9', random() as u8][random() as usize % 8];
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
