//! Formats lines of the log: a text with marks, which strings and numbers replace. The marks are those of `Format` in
//! [`mod@super::requests`].

use super::zone::calendar;
use crate::event::{Events, Line};
use crate::text::{Text, text, texts};

/// Length of the longest format (bytes).
const FORMAT_BYTES: usize = 64;
/// Logs a line with these strings and numbers, in the order of the marks.
pub fn log(events: &mut Events, format: Text, strings: &[&[u8]], numbers: &[u64]) {
    let mut line = Line::default();
    line.prefix();
    put(&mut line, format, strings, numbers);
    events.report_line(&mut line);
}

/// Writes the formatted line.
fn put(line: &mut Line, format: Text, mut strings: &[&[u8]], mut numbers: &[u64]) {
    for byte in format.decode(&mut [0; FORMAT_BYTES]) {
        if !matches!(byte, b'#'..=b')') {
            line.byte(*byte);
        } else if *byte == b'$' {
            if let [string, behind @ ..] = strings {
                line.escaped(string);
                strings = behind;
            }
        } else if let [number, behind @ ..] = numbers {
            let number = *number;
            numbers = behind;
            match byte {
                b'(' => {}
                b')' => put_flags(line, number as u32),
                b'\'' => put_time(line, number),
                b'#' => _ = line.digits(number, 10, 1),
                b'%' => _ = line.digits(number, 8, 1),
                _ => _ = line.digits(number, 8, 4),
            }
        }
    }
}

texts! {
    /// Names of OPEN's flags, from the lowest bit on.
    #[expect(dead_code, reason = "they are found by their places")]
    enum Flag {
        Read => "READ",
        Write => "WRITE",
        Append => "APPEND",
        Create => "CREATE",
        Truncate => "TRUNCATE",
        Exclusive => "EXCL",
    }
}

/// Writes the names of OPEN's flags, separated by commas.
#[inline(never)] // −44 bytes: one caller, whose frame stays small.
fn put_flags(line: &mut Line, flags: u32) {
    let mut comma = Text::NOTHING;
    for place in 0..6 {
        if flags >> place & 1 > 0 {
            line.say(comma).say(Flag::Read.text().plus(place));
            comma = text!(",");
        }
    }
}

/// Writes seconds since 1970 as `20261123-04:25:00`.
#[inline(never)] // −64 bytes: one caller, whose frame stays small.
fn put_time(line: &mut Line, secs: u64) {
    if let Some([year, month, day, second]) = calendar(secs as i64) {
        line.number(year * 10_000 + month * 100 + day);
        let mut unit = 3600;
        for before in *b"-::" {
            let number = second / unit % 60;
            line.byte(before).digits(number.into(), 10, 2);
            unit /= 60;
        }
    }
}
