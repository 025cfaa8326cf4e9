//! Dates: seven numbers, or sixteen digits and a number. ECMA-119 sections 9.1.5 and 8.4.26.1.

/// Flag (LONG_FORM): dates are written in decimal digits.
pub(super) const DIGITS: u8 = 0x80;

/// A sequence of dates.
pub(super) struct Dates<'a> {
    rest: &'a [u8],
    flags: u8,
    short: bool,
}

impl<'a> Dates<'a> {
    /// Begins at the first date. Dates are decimal digits if `flags` has [`DIGITS`], else binary numbers.
    pub(super) const fn new(rest: &'a [u8], flags: u8) -> Self {
        Self {
            rest,
            flags,
            short: false,
        }
    }

    /// Returns true if bytes were missing; they were read as zeros.
    pub(super) const fn are_short(&self) -> bool {
        self.short
    }

    /// The next date in seconds since 1970. Invalid dates give what Linux' mktime64 computes.
    pub(super) fn seconds(&mut self) -> i64 {
        let mut year = 1900;
        if self.flags & DIGITS != 0 {
            year = self.number().wrapping_mul(100);
        }
        year = year.wrapping_add(self.number());
        let mut month = self.number().wrapping_add(10);
        // Years begin in March here, so that a leap day is the last of its year.
        if month > 12 {
            month = month.wrapping_sub(12);
        } else {
            year = year.wrapping_sub(1);
        }
        // Divide by 100 and by 12 by multiplying, which is less code and exact for every year and month that can be written.
        let century = year.wrapping_mul(5243) >> 19;
        let days = (year.wrapping_mul(1461) / 4)
            .wrapping_sub(century)
            .wrapping_add(century / 4)
            .wrapping_add(month.wrapping_mul(2_004_310) >> 16)
            .wrapping_add(self.number())
            .wrapping_sub(719_499);
        // The number of days is negative before 1970.
        let mut total = i64::from(days as i32);
        let mut unit = 24;
        for _ in 0..3 {
            total = total.wrapping_mul(unit).wrapping_add(self.number().into());
            unit = 60;
        }
        if self.flags & DIGITS != 0 {
            self.number();
        }
        // Offset from UTC in quarters of an hour. More than 13 hours is ignored: some disks contain garbage here.
        let zone = self.byte() as i8;
        if (-52..=52).contains(&zone) {
            total = total.wrapping_sub(i64::from(zone).wrapping_mul(15 * 60));
        }
        total
    }

    /// A byte, or a pair of digits.
    fn number(&mut self) -> u32 {
        let mut number = self.byte();
        if self.flags & DIGITS != 0 {
            let tens = number.wrapping_sub(b'0').wrapping_mul(10);
            number = tens.wrapping_add(self.byte().wrapping_sub(b'0'));
        }
        number.into()
    }

    fn byte(&mut self) -> u8 {
        match self.rest {
            [byte, rest @ ..] => {
                self.rest = rest;
                *byte
            }
            [] => {
                self.short = true;
                0
            }
        }
    }
}
