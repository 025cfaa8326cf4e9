//! What `ls -l` would print of a file: READDIR's longname, which clients read columns of.
//!
//! It is the line of OpenSSH's ls_file, byte for byte: mode as by strmode(3) with a blank behind it, number of names, user,
//! group, size, date, name. Dates are UTC.

use super::accounts::{Accounts, NAME_BYTES_MAX};
use crate::vfs::{Attr, Kind};
use crate::wire::Writer;
use core::num::Wrapping;

/// Bytes of the longest line's length and of what stands in it before the name.
pub const HEAD_BYTES_MAX: usize = 4 + 11 + (1 + 10) + 2 * (1 + NAME_BYTES_MAX) + (1 + 20) + 14;

const MONTHS: &[u8] = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec ";
const DAY_SECS: i64 = 24 * 60 * 60;
/// What is older than half a year, or lies ahead, is shown with its year instead of its time.
const RECENT_SECS: i64 = 365 * DAY_SECS / 2;

/// Appends the line, preceded by its length.
pub fn longname(
    out: &mut Writer<'_>,
    name: &[u8],
    attr: &Attr,
    accounts: &Accounts,
    now_secs: i64,
) {
    let start = out.position();
    out.u32(0);
    mode(out, attr);
    number(out, attr.nlink.into(), 3);
    account(out, accounts.user(attr.uid), attr.uid);
    account(out, accounts.group(attr.gid), attr.gid);
    number(out, attr.size, 8);
    date(out, attr.mtime.secs, now_secs);
    out.put(b" ");
    out.put(name);
    let len = out.position().wrapping_sub(start).wrapping_sub(4);
    out.patch(start, len as u32);
}

/// Type and permissions, as by strmode(3).
#[inline(never)]
fn mode(out: &mut Writer<'_>, attr: &Attr) {
    let kind = match attr.kind {
        Kind::Regular => b'-',
        Kind::Directory => b'd',
        Kind::SymbolicLink => b'l',
        Kind::Fifo => b'p',
        Kind::Socket => b's',
        Kind::BlockDevice => b'b',
        Kind::CharacterDevice => b'c',
    };
    let mut text = *b"?rwxrwxrwx ";
    for (at, letter) in text.iter_mut().enumerate() {
        let bit = |bit: usize| attr.mode >> bit & 1 != 0;
        match at {
            0 => *letter = kind,
            // The bits of the mode stand in the order of the letters, and so do those that change every third letter.
            3 | 6 | 9 if bit(12_usize.wrapping_sub(at / 3)) => {
                let special = if at == 9 { b't' } else { b's' };
                let runs = bit(9_usize.wrapping_sub(at));
                *letter = special & if runs { !0 } else { !0x20 };
            }
            1..=9 if !bit(9_usize.wrapping_sub(at)) => *letter = b'-',
            _ => {}
        }
    }
    out.put(&text);
}

/// A blank, and the number to the right of so many places, or of more if they do not suffice.
#[inline(never)]
fn number(out: &mut Writer<'_>, number: u64, places: usize) {
    let mut text = [b' '; 21];
    let mut rest = number;
    let mut blank = text.len();
    for (at, digit) in text.iter_mut().enumerate().rev() {
        *digit = b'0'.wrapping_add((rest % 10) as u8);
        rest /= 10;
        blank = at;
        if rest == 0 {
            break;
        }
    }
    let from = text.len().wrapping_sub(places).min(blank).wrapping_sub(1);
    out.put(text.get(from..).unwrap_or_default());
}

/// A blank, and the name, or the number of who has none, to the left of eight places or more.
#[inline(never)]
fn account(out: &mut Writer<'_>, name: Option<&[u8]>, id: u32) {
    let start = out.position();
    match name {
        Some(name) => {
            out.put(b" ");
            out.put(name);
        }
        None => number(out, id.into(), 0),
    }
    let len = out.position().wrapping_sub(start);
    out.put(b"         ".get(len..).unwrap_or_default());
}

/// A blank, month and day, and the time or the year; the blank alone if the year has not one to four digits.
#[inline(never)]
fn date(out: &mut Writer<'_>, secs: i64, now_secs: i64) {
    out.put(b" ");
    let days = secs.div_euclid(DAY_SECS);
    // Counted from March of the year 0, so that a leap day is the last of its year and of its four hundred years.
    const YEAR_ZERO_DAYS: i64 = 719_468;
    const YEAR_BEYOND_DAYS: i64 = 2_932_897;
    if !(-YEAR_ZERO_DAYS..YEAR_BEYOND_DAYS).contains(&days) {
        return;
    }
    let days = days.wrapping_add(YEAR_ZERO_DAYS) as u32;
    todo!()
}
