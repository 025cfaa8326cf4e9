//! Timestamps: ECMA-167 1/7.3.

use super::u16_at;

/// Converts a timestamp to seconds since 1970 and nanoseconds. Fields out of range have the effect that they have on Linux.
#[inline(never)] // −72 bytes: one caller, whose frame stays small.
pub(super) fn seconds(stamp: &[u8; 12]) -> (i64, u32) {
    let [_, _, _, _, month, day, hour, minute, second, fraction @ ..] = *stamp;
    // The year begins in March, so that February is the last month.
    let (mut year, mut month) = (
        u32::from(u16_at(stamp, 2)),
        u32::from(month).wrapping_sub(2),
    );
    if month.cast_signed() <= 0 {
        month = month.wrapping_add(12);
        year = year.wrapping_sub(1);
    }
    let leap = (year / 4).wrapping_sub(year / 100).wrapping_add(year / 400);
    let months = month.wrapping_mul(367) / 12;
    let days = leap.wrapping_add(months).wrapping_add(day.into());
    let days = i64::from(days) + i64::from(year.wrapping_mul(365)) - 719_499;
    let minutes = (days * 24 + i64::from(hour)) * 60 + i64::from(minute);
    let zone = u16_at(stamp, 0);
    // Type 1 is local time, with the offset from UTC in minutes (12 bits); -2047 means unknown.
    let offset = match (zone >> 12, ((zone << 4) as i16) >> 4) {
        (1, offset) if offset != -2047 => offset,
        _ => 0,
    };
    let mut micros = 0;
    for part in fraction {
        micros = micros * 100 + u32::from(part);
    }
    if fraction.iter().any(|part| *part >= 100) {
        micros = 0;
    }
    let seconds = (minutes - i64::from(offset)) * 60 + i64::from(second);
    (seconds, micros * 1000)
}
