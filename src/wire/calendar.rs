//! The calendar: dates of seconds since 1970.

/// Seconds of a day.
pub const DAY_SECS: i64 = 24 * 60 * 60;
/// Days from March of the year 0 to 1970.
pub const MARCH_DAYS: i64 = 719_468;
/// Days from March of the year 0 to the year 10,000.
pub const YEARS_DAYS: u32 = 3_652_365;

/// Converts seconds since 1970 to year, month, day, and second of the day. `None`: the year is not between 0 and 9999.
///
/// Years begin in March here, so that a leap day is the last of its year, of its century and of its four centuries.
pub fn calendar(secs: i64) -> Option<[u32; 4]> {
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
