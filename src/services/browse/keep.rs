//! `--keep`: a file with one line for each service and where it was last seen. It shows which services a dead host offered.
//!
//! A line has the fields of `-p`, the Unix time, and the `path` of the TXT record: `=;eth0;IPv4;Files;_nfs._tcp;local;`
//! `box.local;192.0.2.1;2049;1790000000;"path=/srv"`. A leading `?` marks a service that vanished without a goodbye.
//! The lines are kept in memory in the same form: at most 1,024 lines in 256 KiB.

use super::Links;
use super::line::{Form, put_location, put_service};
use crate::console::reasons::{Reason, failed, reason};
use crate::console::terminal::{Out, strings};
use crate::engine::mdns::browser::{Event, EventKind};
use crate::event::Fatal;
use crate::mem;
use crate::mem::{Ends as _, Parts, nth, parts};
use crate::os::files;
use crate::sys::{self, Errno};
use crate::text::text;
use crate::time::{Duration, Instant};
use crate::wire::dns::escape::{self, decimal};
use crate::wire::label::is_like;
use core::ffi::CStr;

/// Limit of all lines together (bytes).
const BYTES: usize = 256 << 10;
/// Limit of lines.
const LINE_COUNT_MAX: usize = 1024;
/// Longest line (bytes).
const LINE_BYTES_MAX: usize = 2560;
/// Longest path of the file (bytes), with `.new` and a NUL.
const PATH_BYTES_MAX: usize = 1024;
/// Delay from a change until the file is written, so that several changes are written at once.
const SAVE_DELAY: Duration = Duration::SECOND;
/// Interval at which the file is written without a change, to update the times of present services.
const SAVE_INTERVAL: Duration = Duration::from_secs(600);

/// Indices of the fields of a line.
mod field {
    pub(super) const INTERFACE: usize = 1;
    pub(super) const FAMILY: usize = 2;
    pub(super) const NAME: usize = 3;
    pub(super) const KIND: usize = 4;
    pub(super) const HOST: usize = 6;
    pub(super) const ADDRESS: usize = 7;
    pub(super) const PORT: usize = 8;
    pub(super) const TIME: usize = 9;
    pub(super) const PATH: usize = 10;
    pub(super) const COUNT: usize = 11;
}
/// Digits of a Unix time, enough until the year 2286.
const TIME_BYTES: usize = 10;
/// First byte of a line whose service is present.
const PRESENT: u8 = b'=';
/// First byte of a line whose service vanished without a goodbye.
const LOST: u8 = b'?';

static REASONS: [Reason; 1] = [reason(
    Errno::INVAL,
    text!("not a regular file, or the path is too long"),
)];

/// The services of the file.
pub struct Keep {
    path: &'static CStr,
    /// Path of the temporary file, which is renamed to `path`.
    new_path: &'static mut [u8; PATH_BYTES_MAX],
    /// The lines, each with a newline.
    lines: &'static mut [u8],
    /// Length (bytes) of `lines` in use.
    len: usize,
    /// Time of the next save.
    save_at: Instant,
    /// True if the last save failed, which was reported.
    has_failed: bool,
}

/// Returns a field of a line. The last field is the remainder of the line, which may have semicolons.
#[inline(never)] // −62 bytes: 12 callers.
fn get(line: &[u8], field: usize) -> &[u8] {
    if field == field::PATH {
        return line.tail(start(line, field));
    }
    nth(line, b';', field)
}

/// Returns the offset of a field in a line.
fn start(line: &[u8], field: usize) -> usize {
    let fields = parts(line, b';').take(field);
    fields.map(|field| field.len() + 1).sum()
}

/// Returns true if two lines describe the same service: same interface, name and type.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let fields = [field::INTERFACE, field::NAME, field::KIND];
    let mut fields = fields.iter();
    fields.all(|field| is_like(get(one, *field), get(other, *field)))
}

/// Returns true if a line is well-formed.
fn is_line(line: &[u8]) -> bool {
    let is_number = |field| {
        let text = get(line, field);
        !text.is_empty() && text.iter().all(u8::is_ascii_digit)
    };
    matches!(line, [PRESENT | LOST, b';', ..])
        && line.len() <= LINE_BYTES_MAX
        && line.iter().all(|byte| matches!(byte, b' '..=b'~'))
        && parts(line, b';').take(field::COUNT).count() == field::COUNT
        && is_number(field::PORT)
        && is_number(field::TIME)
        && get(line, field::TIME).len() == TIME_BYTES
}

/// Fills `buffer` with the digits of the current Unix time.
fn write_time(buffer: &mut [u8]) {
    let mut secs = sys::wall_clock().0 as u64;
    for digit in buffer.iter_mut().rev() {
        *digit = b'0' + (secs % 10) as u8;
        secs /= 10;
    }
}

/// Writes a text as in the file: printable ASCII unchanged, other bytes, quotation marks and backslashes as `\DDD`.
fn put_plain(out: &mut Out, text: &[u8]) {
    for byte in text {
        if matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\') {
            out.byte(*byte);
        } else {
            out.coded(*byte);
        }
    }
}

/// Decodes a text written by [`put_plain`] or [`Out::label`].
fn read_plain<'r>(text: &[u8], buffer: &'r mut [u8; LINE_BYTES_MAX]) -> &'r [u8] {
    let (mut remaining, mut len) = (text, 0);
    while let [first, after @ ..] = remaining {
        let byte;
        (byte, remaining) = escape::byte(remaining).unwrap_or((*first, after));
        if let Some(free) = buffer.get_mut(len) {
            *free = byte;
            len += 1;
        }
    }
    buffer.head(len)
}

impl Keep {
    /// Reads the file, if it exists, and marks all services as lost until the browser finds them. An error is already reported.
    pub fn read(path: &'static CStr) -> Result<Self, Fatal> {
        let mut keep = Self {
            path,
            new_path: mem::array(),
            lines: mem::bytes(BYTES),
            len: 0,
            save_at: Instant::NEVER,
            has_failed: false,
        };
        match keep.load() {
            Ok(()) | Err(Errno::NOENT) => Ok(keep),
            Err(error) => Err(failed(
                text!("cannot use the --keep file"),
                path.to_bytes(),
                error,
                &REASONS,
            )),
        }
    }

    fn load(&mut self) -> Result<(), Errno> {
        let path = self.path.to_bytes();
        let suffix = b".new\0";
        let len = path.len() + suffix.len();
        if path.is_empty() || len > PATH_BYTES_MAX {
            return Err(Errno::INVAL);
        }
        for (to, from) in self.new_path.iter_mut().zip(path.iter().chain(suffix)) {
            *to = *from;
        }
        let read = files::read(self.path, self.lines)?.len();
        // Compacts the well-formed lines to the front of the buffer and drops all others.
        let (mut from, mut count) = (0, 0);
        while let Some(len) = self
            .lines
            .head(read)
            .tail(from)
            .iter()
            .position(|byte| *byte == b'\n')
        {
            let line = self.lines.tail_mut(from).head_mut(len);
            if is_line(line) && count < LINE_COUNT_MAX {
                if let Some(mark) = line.first_mut() {
                    *mark = LOST;
                }
                let kept = self.lines.head_mut(from + len + 1).tail_mut(self.len);
                mem::shift(kept, from - self.len);
                self.len += len + 1;
                count += 1;
            }
            from += len + 1;
        }
        Ok(())
    }

    /// Returns the lines, followed by an empty one.
    fn all(&self) -> Parts<'_> {
        parts(self.lines.head(self.len), b'\n')
    }

    /// Returns the offset and length of the first line that matches.
    fn find(&self, matches: &dyn Fn(&[u8]) -> bool) -> Option<(usize, usize)> {
        let mut offset = 0;
        for line in self.all() {
            if matches(line) {
                return Some((offset, line.len()));
            }
            offset += line.len() + 1;
        }
        None
    }

    fn line(&mut self, offset: usize, len: usize) -> &mut [u8] {
        self.lines.tail_mut(offset).head_mut(len)
    }

    fn remove(&mut self, offset: usize, len: usize) {
        mem::shift(self.lines.head_mut(self.len).tail_mut(offset), len + 1);
        self.len -= len + 1;
    }

    /// Appends a line. If the space does not suffice, removes lost services, the oldest lines first; if all services are present,
    /// drops the new line.
    fn add(&mut self, line: &[u8]) {
        while self.len + line.len() >= BYTES || self.all().count() > LINE_COUNT_MAX {
            let Some((offset, len)) = self.find(&|line| line.first() == Some(&LOST)) else {
                return;
            };
            self.remove(offset, len);
        }
        let buffer = self.lines.tail_mut(self.len);
        for (to, from) in buffer.iter_mut().zip(line.iter().chain(b"\n")) {
            *to = *from;
        }
        self.len += line.len() + 1;
    }

    /// Updates the lines after an event, and prints a service that becomes lost.
    pub fn update(&mut self, form: Form, out: &mut Out, links: &Links, event: &Event<'_>) {
        let is_present = match event.kind {
            EventKind::Resolved | EventKind::Changed => true,
            EventKind::Lost | EventKind::Removed => false,
            _ => return,
        };
        // The file has no JSON escapes.
        let is_json = core::mem::take(&mut out.is_json);
        put_service(out, PRESENT, links.name(event.link), event);
        let known = self.find(&|line| is_same(line, out.bytes()));
        if is_present {
            put_location(out, links.name(event.link), event);
            let mut time = [0; TIME_BYTES];
            write_time(&mut time);
            out.put(&time).byte(b';');
            let is_path = |text: &&[u8]| is_like(text.head(5), b"path=");
            if let Some(path) = strings(event.txt).find(is_path) {
                out.byte(b'"');
                put_plain(out, path);
                out.byte(b'"');
            }
        }
        out.is_json = is_json;
        self.save_at = self.save_at.min(sys::now().after(SAVE_DELAY));
        let Some((offset, len)) = known else {
            if is_present && is_line(out.bytes()) {
                self.add(out.bytes());
            }
            return;
        };
        let line = self.line(offset, len);
        let was_present = line.first() == Some(&PRESENT);
        if is_present {
            // If a service has addresses of both families, keeps the IPv4 address, which people recognise.
            let is_better = !event.is_v6 || get(line, field::FAMILY) != b"IPv4";
            if (is_better || !was_present) && is_line(out.bytes()) {
                self.remove(offset, len);
                self.add(out.bytes());
            }
        } else if event.kind == EventKind::Removed && event.has_goodbye {
            self.remove(offset, len);
        } else {
            if let Some(mark) = line.first_mut() {
                *mark = LOST;
            }
            // If the link on this host is down, the service may still exist, so it is not printed as lost.
            if was_present && links.is_up(event.link) {
                write_time(line.tail_mut(start(line, field::TIME)).head_mut(TIME_BYTES));
                write_lost(form, out, line);
                out.print_line();
            }
        }
    }

    /// Prints the lost services of type `kind` (empty: of all types). Called when every present service should have answered.
    pub fn print_lost(&self, form: Form, out: &mut Out, links: &Links, kind: &[u8]) {
        for line in self.all() {
            let is_asked = kind.is_empty() || is_like(get(line, field::KIND), kind);
            if is_asked && line.first() == Some(&LOST) && links.has(get(line, field::INTERFACE)) {
                write_lost(form, out, line);
                out.print_line();
            }
        }
    }

    /// Time of the next save.
    pub const fn poll_at(&self) -> Instant {
        self.save_at
    }

    /// Writes the file if a save is due.
    pub fn save_if_due(&mut self, now: Instant) {
        if self.save_at <= now {
            self.save(now);
        }
    }

    /// Sets the times of present services to now and replaces the file atomically. Reports only the first of several failures.
    pub fn save(&mut self, now: Instant) {
        self.save_at = now.after(SAVE_INTERVAL);
        let mut offset = 0;
        while offset < self.len {
            let remaining = self.lines.head_mut(self.len).tail_mut(offset);
            let len = remaining.iter().position(|byte| *byte == b'\n');
            let line = remaining.head_mut(len.unwrap_or(0));
            if line.first() == Some(&PRESENT) {
                write_time(line.tail_mut(start(line, field::TIME)).head_mut(TIME_BYTES));
            }
            offset += line.len() + 1;
        }
        let done = self.write();
        if let Err(error) = done
            && !self.has_failed
        {
            let what = text!("cannot use the --keep file");
            failed(what, self.path.to_bytes(), error, &REASONS);
        }
        self.has_failed = done.is_err();
    }

    fn write(&self) -> Result<(), Errno> {
        let new_path = mem::c_str(self.new_path);
        files::replace(self.path, new_path, self.lines.head(self.len))
    }
}

/// Writes the output for the lost service of `line`.
pub fn write_lost(form: Form, out: &mut Out, line: &[u8]) {
    let mut buffer = [0; LINE_BYTES_MAX];
    out.clear();
    match form {
        Form::Fields => _ = out.put(line),
        Form::Columns => {
            let name = read_plain(get(line, field::NAME), &mut buffer);
            out.put(b"lost ").safe(name);
            let mut put = |before: &[u8], field| _ = out.put(before).put(get(line, field));
            put(b" ", field::KIND);
            put(b" ", field::INTERFACE);
            out.put(b", last seen ");
            put_date(out, get(line, field::TIME));
            let mut put = |before: &[u8], field| _ = out.put(before).put(get(line, field));
            put(b" UTC on ", field::HOST);
            put(b" at ", field::ADDRESS);
            put(b" ", field::PATH);
        }
        Form::Json => {
            const NAMES: &[u8] = b"interface family name type domain host address port time path";
            out.put(b"{\"event\":\"lost\"");
            for (name, field) in parts(NAMES, b' ').zip(field::INTERFACE..) {
                let text = get(line, field);
                out.put(b",").quoted(name).byte(b':');
                match field {
                    field::PORT | field::TIME => out.put(text),
                    field::NAME => out.quoted(read_plain(text, &mut buffer)),
                    field::PATH => {
                        let path = text.tail(b"\"path=".len());
                        let path = path.head(path.len().saturating_sub(1));
                        out.quoted(read_plain(path, &mut buffer))
                    }
                    _ => out.quoted(text),
                };
            }
            out.byte(b'}');
        }
    }
}

/// Writes a Unix time, given in decimal digits, as `YYYY-MM-DD hh:mm:ss` in UTC.
pub fn put_date(out: &mut Out, time: &[u8]) {
    let secs = time
        .iter()
        .fold(0u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    // Days since 1600-03-01. Years start in March here, so that a leap day is the last day of a year.
    let (days, day_secs) = ((secs / 86_400) as u32 + 135_080, (secs % 86_400) as u32);
    // Counts quarter days, of which a century has 146,097 and a year 1,461. `| 3` makes the divisions round correctly.
    let quarters = days << 2 | 3;
    let century = quarters / 146_097;
    let quarters = (quarters % 146_097) | 3;
    // From March on, the average month has 30.6 days (153 fifths); adding 2 rounds to the correct month lengths.
    let fifths = quarters % 1461 / 4 * 5 + 2;
    let (month, days) = (fifths / 153, fifths % 153 / 5);
    let is_next = u32::from(month >= 10);
    let year = 1600 + century * 100 + quarters / 1461 + is_next;
    let month = month + 3 - 12 * is_next;
    let numbers = [
        year % 100,
        month,
        days + 1,
        day_secs / 3600,
        day_secs / 60 % 60,
        day_secs % 60,
    ];
    for (number, before) in [year / 100].iter().chain(&numbers).zip(b"\0\0-- ::") {
        if *before != 0 {
            out.byte(*before);
        }
        out.put(decimal(*number as u8).tail(1));
    }
}
