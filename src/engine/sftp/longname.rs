//! READDIR's longname: the line that `ls -l` prints for a file. Clients parse its columns.
//!
//! Byte for byte the line of OpenSSH's ls_file: mode as by strmode(3), with a space after it, link count, user, group, size, date,
//! name.

use super::accounts::{Accounts, NAME_BYTES_MAX, number};
use crate::vfs::Attr;
use crate::wire::Writer;
use crate::wire::calendar::{DAY_SECS, calendar};

/// Maximum length of the length word and the line up to the name (bytes).
pub const HEAD_BYTES_MAX: usize =
    4 + 11 + (1 + 10) + 2 * (1 + NAME_BYTES_MAX) + (1 + 20) + (1 + 12) + 1;

/// Names of the months: always English, whatever the locale.
#[rustfmt::skip]
const MONTHS: [[u8; 3]; 12] = [
    *b"Jan", *b"Feb", *b"Mar", *b"Apr", *b"May", *b"Jun",
    *b"Jul", *b"Aug", *b"Sep", *b"Oct", *b"Nov", *b"Dec",
];
/// Age (seconds) from which a date is shown with its year instead of its time. A date in the future has its year, too.
const RECENT_SECS: i64 = 365 * DAY_SECS / 2;

/// Appends a file's line, preceded by its length. Without accounts, owner and group are numbers and the date is UTC.
pub fn longname(
    out: &mut Writer<'_>,
    name: &[u8],
    attr: &Attr,
    accounts: Option<&Accounts>,
    now_secs: i64,
) {
    let start = out.position();
    out.u32(0);
    mode(out, attr);
    number(out, attr.nlink.into(), 3);
    account(out, accounts.and_then(|all| all.user(attr.uid)), attr.uid);
    account(out, accounts.and_then(|all| all.group(attr.gid)), attr.gid);
    number(out, attr.size, 8);
    let secs = attr.mtime.secs;
    let ahead_secs = accounts.map_or(0, |all| all.offset_at(secs));
    date(out, secs, now_secs, ahead_secs);
    blank(out);
    out.put(name);
    let len = out.position() - start - 4;
    out.patch(start, len as u32);
}

#[inline(never)] // −29 bytes: five callers.
fn blank(out: &mut Writer<'_>) {
    out.put(b" ");
}

/// Type and permissions, as by strmode(3).
fn mode(out: &mut Writer<'_>, attr: &Attr) {
    // In the order of `ObjectType`.
    let kind = b"?pc?d?b?-?l?s".get(attr.kind as usize).copied();
    let mut text = *b"?rwxrwxrwx ";
    let [first, letters @ .., _] = &mut text;
    *first = kind.unwrap_or_default();
    // From the lowest bit up. `more_bits` are the set-user-ID, set-group-ID and sticky bits, one for each third letter.
    let (mut bits, mut more_bits, mut special) = (attr.mode, attr.mode >> 9, b't');
    for letter in letters.iter_mut().rev() {
        let runs = *letter == b'x';
        if bits & 1 == 0 {
            *letter = b'-';
        }
        bits >>= 1;
        if runs {
            if more_bits & 1 != 0 {
                *letter = special & if *letter == b'-' { !0x20 } else { !0 };
            }
            more_bits >>= 1;
            special = b's';
        }
    }
    out.put(&text);
}

/// Writes a space and the name, or the number if there is no name, left-aligned in at least eight columns.
fn account(out: &mut Writer<'_>, name: Option<&[u8]>, id: u32) {
    let start = out.position();
    match name {
        Some(name) => {
            blank(out);
            out.put(name);
        }
        None => number(out, id.into(), 0),
    }
    while out.position() - start < 9 {
        blank(out);
    }
}

/// Writes a character and a number of two digits.
fn pair(out: &mut Writer<'_>, before: u8, number: u32) {
    let (tens, ones) = ((number / 10) as u8, (number % 10) as u8);
    out.put(&[before, tens + b'0', ones + b'0']);
}

/// Writes a space, month and day, and the time or the year. Writes only the space if the year is not between 0 and 9999.
fn date(out: &mut Writer<'_>, secs: i64, now_secs: i64, ahead_secs: i64) {
    blank(out);
    let Some([year, month, day, rest]) = calendar(secs.wrapping_add(ahead_secs)) else {
        return;
    };
    out.put(MONTHS.get(month as usize - 1).map_or(b"", |name| name));
    number(out, day.into(), 2);
    if (now_secs.wrapping_sub(secs) as u64) < RECENT_SECS as u64 {
        pair(out, b' ', rest / 3600);
        pair(out, b':', rest / 60 % 60);
    } else {
        blank(out);
        number(out, year.into(), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::FileTime;
    use crate::vfs::ObjectType;
    use crate::wire::calendar::{MARCH_DAYS, YEARS_DAYS};

    /// Noon of 20 November 2026.
    const NOW: i64 = 1_795_176_000;
    const NAMES: &[u8] = b"root:x:0:\nwww-data:x:33:\nmessagebus:x:100:\n";

    fn attr(kind: ObjectType, mode: u32) -> Attr {
        Attr {
            kind,
            mode,
            nlink: 1,
            uid: 0,
            gid: 0,
            size: 5,
            used: 0,
            rdev: (0, 0),
            fsid: 0,
            inode: 1,
            atime: FileTime::default(),
            mtime: FileTime::default(),
            ctime: FileTime::default(),
        }
    }

    fn line(name: &[u8], attr: &Attr) -> String {
        let mut buffer = [0xaa; 1200];
        let mut out = Writer::new(&mut buffer);
        out.u32(7);
        let accounts = Accounts::known(NAMES, NAMES);
        longname(&mut out, name, attr, Some(&accounts), NOW);
        let len = out.written().unwrap();
        assert_eq!(buffer[..4], [0, 0, 0, 7]);
        assert_eq!(buffer[4..8], (len as u32 - 8).to_be_bytes());
        assert!(len - 4 <= HEAD_BYTES_MAX + name.len());
        String::from_utf8(buffer[8..len].to_vec()).unwrap()
    }

    fn date_of(secs: i64) -> String {
        local_date_of(secs, 0)
    }

    fn local_date_of(secs: i64, ahead_secs: i64) -> String {
        let mut buffer = [0; 20];
        let mut out = Writer::new(&mut buffer);
        date(&mut out, secs, NOW, ahead_secs);
        let len = out.written().unwrap();
        String::from_utf8(buffer[1..len].to_vec()).unwrap()
    }

    /// Lines that OpenSSH sends for these attributes, with TZ=UTC.
    #[test]
    #[rustfmt::skip]
    fn lines_match_openssh() {
        for (kind, mode, nlink, owner, size, secs, expect) in [
            (ObjectType::Directory, 0o755, 4, 0, 4096, NOW - 60, "drwxr-xr-x    4 root     root         4096 Nov 20 11:59 a b"),
            (ObjectType::Regular, 0o4755, 1, 0, 5, NOW - 3600, "-rwsr-xr-x    1 root     root            5 Nov 20 11:00 a b"),
            (ObjectType::Regular, 0o2755, 1, 0, 5, NOW + 1000, "-rwxr-sr-x    1 root     root            5 Nov 20  2026 a b"),
            (ObjectType::Regular, 0o4644, 1, 0, 5, 0, "-rwSr--r--    1 root     root            5 Jan  1  1970 a b"),
            (ObjectType::Regular, 0o2644, 1, 4_000_000_000, 5, 0, "-rw-r-Sr--    1 4000000000 4000000000        5 Jan  1  1970 a b"),
            (ObjectType::Directory, 0o1776, 2, 33, 4096, 951_782_400, "drwxrwxrwT    2 www-data www-data     4096 Feb 29  2000 a b"),
            (ObjectType::Directory, 0o1777, 23, 0, 4096, -1, "drwxrwxrwt   23 root     root         4096 Dec 31  1969 a b"),
            (ObjectType::Fifo, 0o600, 1, 12_345, 0, 1_000_000_000, "prw-------    1 12345    12345           0 Sep  9  2001 a b"),
            (ObjectType::CharacterDevice, 0o666, 1, 0, 0, 1_000_000_000, "crw-rw-rw-    1 root     root            0 Sep  9  2001 a b"),
            (ObjectType::BlockDevice, 0, 1, 0, 0, 1_000_000_000, "b---------    1 root     root            0 Sep  9  2001 a b"),
            (ObjectType::Socket, 0o755, 1, 0, 0, 4_107_542_400, "srwxr-xr-x    1 root     root            0 Mar  1  2100 a b"),
            (ObjectType::SymbolicLink, 0o777, 1, 0, 1, -2_147_483_648, "lrwxrwxrwx    1 root     root            1 Dec 13  1901 a b"),
            (ObjectType::Regular, 0o7777, 1000, 100, 123_456_789, NOW, "-rwsrwsrwt  1000 messagebus messagebus 123456789 Nov 20 12:00 a b"),
        ] {
            let mut attr = attr(kind, mode);
            (attr.nlink, attr.size, attr.mtime.secs) = (nlink, size, secs);
            (attr.uid, attr.gid) = (owner, owner);
            assert_eq!(line(b"a b", &attr), expect);
        }
    }

    #[test]
    fn longest_line_fits_its_bound() {
        let mut attr = attr(ObjectType::Regular, 0o7777);
        (attr.nlink, attr.size, attr.mtime.secs) = (u32::MAX, u64::MAX, 0);
        let text = [&[b'n'; NAME_BYTES_MAX][..], b":x:0:"].concat();
        let mut buffer = [0; HEAD_BYTES_MAX];
        let mut out = Writer::new(&mut buffer);
        longname(
            &mut out,
            b"",
            &attr,
            Some(&Accounts::known(&text, &text)),
            NOW,
        );
        assert_eq!(out.written(), Some(HEAD_BYTES_MAX));
        let mut out = Writer::new(&mut buffer);
        longname(
            &mut out,
            b"n",
            &attr,
            Some(&Accounts::known(&text, &text)),
            NOW,
        );
        assert_eq!(out.written(), None);
    }

    #[test]
    fn old_or_future_date_shows_the_year() {
        for (secs, expect) in [
            (NOW, "Nov 20 12:00"),
            (NOW + 1, "Nov 20  2026"),
            (NOW - RECENT_SECS + 60, "May 22 00:01"),
            (NOW - RECENT_SECS + 1, "May 22 00:00"),
            (NOW - RECENT_SECS, "May 22  2026"),
            (NOW - 12 * 3600 - 1, "Nov 19 23:59"),
        ] {
            assert_eq!(date_of(secs), expect);
        }
    }

    #[test]
    fn utc_offset_changes_date_but_not_recency() {
        const HOUR: i64 = 3600;
        for (secs, ahead_secs, expect) in [
            (NOW, 5 * HOUR + 1800, "Nov 20 17:30"),
            (NOW, -13 * HOUR, "Nov 19 23:00"),
            (NOW + 1, -13 * HOUR, "Nov 19  2026"),
            (-1, HOUR, "Jan  1  1970"),
            (i64::MIN, -1, ""),
            (i64::MAX, i32::MAX.into(), ""),
        ] {
            assert_eq!(local_date_of(secs, ahead_secs), expect);
        }
    }

    #[test]
    fn consecutive_days_have_consecutive_dates() {
        let (mut year, mut month, mut day) = (0, 2, 1);
        for days in -MARCH_DAYS..i64::from(YEARS_DAYS) - MARCH_DAYS {
            let name = core::str::from_utf8(&MONTHS[month]).unwrap();
            let date = date_of(days * DAY_SECS + 86_399);
            // A date near `NOW` (2026) is shown with its time instead of its year.
            assert!(
                date == format!("{name} {day:2}  {year}")
                    || year == 2026 && date == format!("{name} {day:2} 23:59"),
                "{date} is {day} {name} {year}"
            );
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let last = match month {
                1 => 28 + i32::from(leap),
                3 | 5 | 8 | 10 => 30,
                _ => 31,
            };
            (day, month) = if day < last {
                (day + 1, month)
            } else {
                (1, month + 1)
            };
            (month, year) = if month < 12 {
                (month, year)
            } else {
                (0, year + 1)
            };
        }
        assert_eq!((year, month, day), (10_000, 0, 1));
    }

    #[test]
    fn time_outside_the_calendar_has_empty_date() {
        for secs in [i64::MIN, i64::MAX, -719_468 * DAY_SECS - 1, 253_402_300_800] {
            assert_eq!(date_of(secs), "");
        }
        assert_eq!(date_of(253_402_300_799), "Dec 31  9999");
        let mut attr = attr(ObjectType::Regular, 0);
        attr.mtime.secs = i64::MAX;
        assert_eq!(
            line(b"x", &attr),
            "----------    1 root     root            5  x"
        );
    }
}
