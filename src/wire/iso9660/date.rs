//! Times: seven numbers, or sixteen digits and a number. ECMA-119 sections 9.1.5 and 8.4.26.1.

/// Seconds since 1970 of a date of 7 or 17 bytes, also of what is no date: as Linux' mktime64 counts them.
#[inline(never)]
pub(super) fn seconds(date: &[u8]) -> i64 {
    let mut rest = Numbers {
        rest: date,
        digits: date.len() > 7,
    };
    let century = if rest.digits { rest.next() } else { 19 };
    let mut year = century.wrapping_mul(100).wrapping_add(rest.next());
    let mut month = rest.next().wrapping_add(10);
    // Years begin in March here, so that a leap day is the last of its year.
    if month > 12 {
        month = month.wrapping_sub(12);
    } else {
        year = year.wrapping_sub(1);
    }
    let century = year / 100;
    let days = (year / 4)
        .wrapping_sub(century)
        .wrapping_add(century / 4)
        .wrapping_add(month.wrapping_mul(367) / 12)
        .wrapping_add(year.wrapping_mul(365))
        .wrapping_add(rest.next())
        .wrapping_sub(719_499);
    // Before 1970 they are negative.
    let mut total = i64::from(days as i32);
    for unit in [24, 60, 60] {
        total = total.wrapping_mul(unit).wrapping_add(rest.next().into());
    }
    // Quarters of an hour from Greenwich; no place is farther away than 13 hours, and some disks have anything there.
    let zone = date.last().map_or(0, |zone| *zone as i8);
    if (-52..=52).contains(&zone) {
        total = total.wrapping_sub(i64::from(zone).wrapping_mul(15 * 60));
    }
    total
}

/// Bytes, or pairs of digits.
struct Numbers<'a> {
    rest: &'a [u8],
    digits: bool,
}

impl Numbers<'_> {
    /// The next number; 0 behind the last.
    #[inline(never)]
    fn next(&mut self) -> u32 {
        match self.rest {
            [tens, ones, rest @ ..] if self.digits => {
                self.rest = rest;
                let tens = tens.wrapping_sub(b'0').wrapping_mul(10);
                tens.wrapping_add(ones.wrapping_sub(b'0')).into()
            }
            [byte, rest @ ..] => {
                self.rest = rest;
                (*byte).into()
            }
            [] => 0,
        }
    }
}
