//! The real-time clock of a PC (MC146818), read by two ports; it is in UTC.

use super::{read_port, write_port};

/// Ports: register index, register data.
const INDEX: u16 = 0x70;
const DATA: u16 = 0x71;
/// Registers: seconds, minutes, hours, day, month, year of the century.
const REGISTERS: [u8; 6] = [0, 2, 4, 7, 8, 9];
/// Register A and its bit "update in progress"; register B and its bit "binary" (else numbers are BCD).
const STATUS_A: u8 = 10;
const IN_PROGRESS: u8 = 1 << 7;
const STATUS_B: u8 = 11;
const IS_BINARY: u8 = 1 << 2;
/// Days before each month in a non-leap year.
const DAYS_BEFORE: [u16; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
/// Days from 1970 to 2000.
const DAYS_TO_2000: u64 = 10_957;

fn read(register: u8) -> u8 {
    write_port(INDEX, register);
    read_port(DATA)
}

/// Reads the clock: seconds since 1970. `None` if the machine has no such clock.
pub(super) fn seconds() -> Option<u64> {
    /// Limit of reads. An update takes two milliseconds, during which the registers are not valid.
    const LOOKS: u32 = 10_000;
    /// Value of all registers if there is no clock.
    const ABSENT: u8 = 0xff;
    if read(STATUS_B) == ABSENT {
        return None;
    }
    let mut last = None;
    for _ in 0..LOOKS {
        if read(STATUS_A) & IN_PROGRESS == 0 {
            let now = REGISTERS.map(read);
            // Two successive reads were equal, so no update has changed the registers between them.
            if last == Some(now) {
                return since_1970(now, read(STATUS_B) & IS_BINARY != 0);
            }
            last = Some(now);
        }
    }
    None
}

/// Converts register values (of this century) to seconds since 1970. `None` if month or day is out of range.
fn since_1970(time: [u8; 6], is_binary: bool) -> Option<u64> {
    let time = time.map(|number| match is_binary {
        true => u64::from(number),
        false => u64::from(number >> 4) * 10 + u64::from(number & 15),
    });
    let [second, minute, hour, day, month, year] = time;
    let before = DAYS_BEFORE.get((month as usize).wrapping_sub(1))?;
    let leap_days = year.div_ceil(4) + u64::from(month > 2 && year % 4 == 0);
    let days = DAYS_TO_2000 + year * 365 + leap_days + u64::from(*before) + day.checked_sub(1)?;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rtc_time_converts_to_unix_time() {
        for (time, is_binary, expect) in [
            ([0, 0, 0, 1, 1, 0], true, Some(946_684_800)),
            (
                [0x59, 0x59, 0x23, 0x28, 0x02, 0x00],
                false,
                Some(951_782_399),
            ),
            ([0, 0, 0, 1, 3, 0], true, Some(951_868_800)),
            (
                [0x30, 0x45, 0x10, 0x23, 0x11, 0x26],
                false,
                Some(1_795_430_730),
            ),
            ([59, 59, 23, 31, 12, 99], true, Some(4_102_444_799)),
            ([0; 6], true, None),
            ([0, 0, 0, 1, 13, 0], true, None),
            ([0xff; 6], true, None),
        ] {
            assert_eq!(since_1970(time, is_binary), expect, "{time:?}");
        }
    }
}
