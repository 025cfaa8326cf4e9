//! The figures that a server has sent: its text, read into sheets. The opposite of [`render`](super::render()).
//!
//! The text may be another user's: numbers are bounded, tables have fixed sizes, lines that are not understood are skipped.

use super::render::CLIENT_ROWS;
use super::{
    BUCKET_COUNT, ERRORS, Family, Figure, LIMITS_US, Operation, Reader, SUM, Sheet, word_count,
};
use crate::mem::{self, Ends as _, copy_into, parts};
use crate::wire::address::address;
use core::sync::atomic::{AtomicU64, Ordering};

/// Most processes of a server.
const PROCESS_COUNT: usize = 16;
/// Most clients of a server, all processes together.
const CLIENT_COUNT: usize = 4 * super::CLIENT_COUNT_MAX;
/// Space for the paths of exports (bytes).
const PATHS_BYTES: usize = 64 << 10;
/// Bound of a number, which products and sums do not overflow.
const NUMBER_MAX: u64 = 1 << 48;
/// The present (ms) of [`Client::seen_ms`](super::Client).
const NOW_MS: u64 = 1000 << 48;

/// The figures in a server's answer.
pub struct Answer {
    /// A sheet for each process. The first has the figures of all.
    sheets: [Sheet; PROCESS_COUNT],
    words: [&'static [AtomicU64]; PROCESS_COUNT],
    process_count: usize,
    /// Lines of exports: `0` or `1` and the path.
    paths: &'static mut [u8],
    paths_len: usize,
}

/// A line: the name without the program's, the values of the labels, and the number without its point.
struct Sample<'a> {
    name: &'a [u8],
    labels: [&'a [u8]; 3],
    value: u64,
}

impl<'a> Sample<'a> {
    fn of(line: &'a [u8]) -> Option<Self> {
        let rest = line.strip_prefix(b"stowaway_")?;
        let name_len = rest.iter().position(|byte| *byte == b'{')?;
        let mut labels = [&b""[..]; 3];
        let mut rest = rest.tail(name_len + 1);
        let name = line.tail(b"stowaway_".len()).head(name_len);
        for label in &mut labels {
            let Some(start) = rest.iter().position(|byte| *byte == b'"') else {
                break;
            };
            rest = rest.tail(start + 1);
            let mut is_escaped = false;
            let end = rest.iter().position(|byte| {
                let ends = *byte == b'"' && !is_escaped;
                is_escaped = *byte == b'\\' && !is_escaped;
                ends
            })?;
            (*label, rest) = (rest.head(end), rest.tail(end + 1));
        }
        let digits = rest.strip_prefix(b"} ")?;
        Some(Self {
            name,
            labels,
            value: number(digits),
        })
    }
}

/// A number without its point, at most [`NUMBER_MAX`].
fn number(digits: &[u8]) -> u64 {
    let digits = digits.iter().filter(|byte| byte.is_ascii_digit());
    digits.fold(0, |number: u64, digit| {
        (number * 10 + u64::from(digit - b'0')).min(NUMBER_MAX)
    })
}

impl Default for Answer {
    fn default() -> Self {
        let words = core::array::from_fn(|at| {
            let clients = if at == 0 { CLIENT_COUNT } else { 0 };
            mem::long_words(word_count(clients))
        });
        Self {
            sheets: words.map(Sheet::of),
            words,
            process_count: 0,
            paths: mem::bytes(PATHS_BYTES),
            paths_len: 0,
        }
    }
}

impl Answer {
    /// Forgets all lines.
    pub fn clear(&mut self) {
        (self.process_count, self.paths_len) = (0, 0);
        for word in self.words.iter().copied().flatten() {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// Reads a line of the text.
    pub fn read(&mut self, line: &[u8]) {
        if let Some(sample) = Sample::of(line) {
            let _ = self.add(&sample);
        }
    }

    /// Adds a sample. `None`: its labels are not understood.
    fn add(&mut self, sample: &Sample<'_>) -> Option<()> {
        let [first, second, third] = sample.labels;
        let (all, value) = (*self.sheets.first()?, sample.value);
        let add = |operation: Operation, at: usize, value| all.add(operation.at() + at, value);
        match sample.name {
            b"process_start_time_seconds" => {
                let role = core::str::from_utf8(first).ok()?;
                let pid = number(second) as u32;
                let place = number(third) as usize;
                self.sheets.get(place)?.begin(role, pid, value as i64);
                self.process_count = self.process_count.max(place + 1);
            }
            b"process_restarts_total" => {
                let sheet = self.sheets().get(number(second) as usize)?;
                sheet.add(super::STARTS, value);
            }
            b"call_duration_seconds_bucket" => {
                let operation = operation(first, second)?;
                let limit = number(third);
                let bucket = LIMITS_US.iter().position(|other| *other == limit);
                let bucket = bucket.unwrap_or(BUCKET_COUNT - 1);
                let before = all.calls(operation).0.iter().take(bucket).sum::<u64>();
                add(operation, bucket, value.saturating_sub(before));
            }
            b"call_duration_seconds_sum" => add(operation(first, second)?, SUM, value),
            b"call_errors_total" => add(operation(first, second)?, ERRORS, value),
            b"export_open" => self.add_export(first, value),
            name => match Figure::ALL.iter().find(|it| it.name().as_bytes() == name) {
                Some(figure) => {
                    let mut protocols = Family::ALL.iter();
                    let protocol = protocols.find(|it| it.name().as_bytes() == first)?;
                    all.add(figure.at(*protocol), value);
                }
                None => {
                    let mut rows = CLIENT_ROWS.iter();
                    let family = rows.position(|(known, ..)| known.as_bytes() == name)?;
                    let client = all.place_of(address(first)?, 0);
                    all.add_figure(client, family, value, NOW_MS);
                }
            },
        }
        Some(())
    }

    /// Keeps the state and the path of an export, without the escapes of labels.
    fn add_export(&mut self, path: &[u8], is_open: u64) {
        let space = self.paths.tail_mut(self.paths_len);
        if space.len() < path.len() + 2 {
            return;
        }
        copy_into(space, if is_open == 1 { b"1" } else { b"0" });
        let (mut len, mut is_escaped) = (1, false);
        for byte in path {
            is_escaped = *byte == b'\\' && !is_escaped;
            if !is_escaped {
                copy_into(space.tail_mut(len), &[*byte]);
                len += 1;
            }
        }
        copy_into(space.tail_mut(len), b"\n");
        self.paths_len += len + 1;
    }

    /// A sheet for each process, the first with the figures of all.
    pub fn sheets(&self) -> &[Sheet] {
        self.sheets.get(..self.process_count).unwrap_or_default()
    }

    /// Passes the figures to `call`.
    pub fn read_by(&self, call: &mut dyn FnMut(Reader<'_>)) {
        let exports = |number: usize, tell: &mut dyn FnMut(&[u8], bool)| {
            let lines = self.paths.head(self.paths_len);
            if let Some([state, path @ ..]) = parts(lines, b'\n').nth(number) {
                tell(path, *state == b'1');
            }
        };
        call(Reader {
            sheets: self.sheets(),
            exports: &exports,
            now_ms: NOW_MS,
            part: super::Part::Whole,
        });
    }
}

fn operation(program: &[u8], procedure: &[u8]) -> Option<Operation> {
    Operation::all().find(|operation| {
        operation.family().as_bytes() == program && operation.name().as_bytes() == procedure
    })
}
