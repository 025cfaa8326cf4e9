//! `--keep`: where each service was seen last, in a file of one line each, so that what was on a host that died is known.
//!
//! A line has the fields of `-p`, the seconds since 1970, and the path that its text names: `=;eth0;IPv4;Files;_nfs._tcp;local;`
//! `box.local;192.0.2.1;2049;1790000000;"path=/srv"`. Instead of `=` there is `?` if the service is not there, and said no
//! farewell. What the file holds is the memory of it, too: at most 1,024 lines in 256 KiB.

use super::super::Fatal;
use super::super::browse_common::Links;
use super::super::reasons::{Reason, failed_with, reason};
use super::super::terminal_safe::{Out, strings};
use super::line::{Form, KIND_LABELS, family};
use crate::drive::platform::host::files;
use crate::engine::mdns::browser::{Event, What};
use crate::mem;
use crate::mem::{Ends as _, Parts, nth, parts};
use crate::sys::{self, Errno};
use crate::text::text;
use crate::time::{Duration, Instant};
use crate::vfs::{FsError, FsResult};
use crate::wire::dns::escape::{self, decimal};
use crate::wire::label::is_like;
use core::ffi::CStr;

/// Bytes of all lines.
const BYTES: usize = 256 << 10;
/// Lines.
const LINE_COUNT_MAX: usize = 1024;
/// Bytes of a line.
const LINE_BYTES_MAX: usize = 2560;
/// Bytes of the file's path.
const PATH_BYTES_MAX: usize = 1024;
/// From a change until it is written: others follow.
const SETTLE: Duration = Duration::SECOND;
/// How often it is written that all that are there still are.
const AGAIN: Duration = Duration::from_secs(600);

/// Fields of a line.
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
/// Digits of a time, until the year 2286.
const TIME_BYTES: usize = 10;
/// Of a line whose service is there.
const THERE: u8 = b'=';
/// Of one whose service is not, and did not say so.
const LOST: u8 = b'?';

static REASONS: [Reason; 1] = [reason(
    Errno::INVAL,
    text!("it is no ordinary file, or its path is too long"),
)];

/// What is remembered.
pub(super) struct Keep {
    path: &'static CStr,
    /// Where it is written before it takes the place of what was there.
    new_path: &'static mut [u8; PATH_BYTES_MAX],
    lines: &'static mut [u8],
    len: usize,
    save_at: Instant,
    /// It was told that it cannot be written.
    has_complained: bool,
}

/// A field of a line; the last one has whatever follows.
#[inline(never)]
fn get(line: &[u8], field: usize) -> &[u8] {
    if field == field::PATH {
        return line.tail(start(line, field));
    }
    nth(line, b';', field)
}

/// Where a field begins.
fn start(line: &[u8], field: usize) -> usize {
    let fields = parts(line, b';').take(field);
    fields.map(|field| field.len() + 1).sum()
}

/// Whether both are of one service.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let fields = [field::INTERFACE, field::NAME, field::KIND];
    let mut fields = fields.iter();
    fields.all(|field| is_like(get(one, *field), get(other, *field)))
}

/// Whether a line has the form of ours.
fn is_line(line: &[u8]) -> bool {
    let is_number = |field| {
        let text = get(line, field);
        !text.is_empty() && text.iter().all(u8::is_ascii_digit)
    };
    matches!(line, [THERE | LOST, b';', ..])
        && line.len() <= LINE_BYTES_MAX
        && line.iter().all(|byte| matches!(byte, b' '..=b'~'))
        && parts(line, b';').take(field::COUNT).count() == field::COUNT
        && is_number(field::PORT)
        && is_number(field::TIME)
        && get(line, field::TIME).len() == TIME_BYTES
}

/// Seconds since 1970, in so many digits as there are.
fn write_time(buffer: &mut [u8]) {
    let mut secs = sys::wall_clock().0 as u64;
    for place in buffer.iter_mut().rev() {
        *place = b'0' + (secs % 10) as u8;
        secs /= 10;
    }
}

/// Bytes as the file has them.
fn put_plain(out: &mut Out, text: &[u8]) {
    for byte in text {
        if matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\') {
            out.byte(*byte);
        } else {
            out.coded(*byte);
        }
    }
}

/// Reads what was written so, or by [`Out::label`].
fn read_plain<'r>(text: &[u8], buffer: &'r mut [u8; LINE_BYTES_MAX]) -> &'r [u8] {
    let (mut rest, mut len) = (text, 0);
    while let [first, behind @ ..] = rest {
        let byte;
        (byte, rest) = escape::byte(rest).unwrap_or((*first, behind));
        if let Some(place) = buffer.get_mut(len) {
            *place = byte;
            len += 1;
        }
    }
    buffer.head(len)
}

impl Keep {
    /// What the file says, in which nothing counts as being there. The error has been told.
    pub(super) fn read(path: &'static CStr) -> Result<Self, Fatal> {
        let mut keep = Self {
            path,
            new_path: mem::array(),
            lines: mem::bytes(BYTES),
            len: 0,
            save_at: Instant::NEVER,
            has_complained: false,
        };
        match keep.load() {
            Ok(()) | Err(FsError::NoEntry) => Ok(keep),
            Err(error) => Err(failed_with(
                text!("cannot remember in"),
                path.to_bytes(),
                error.number(),
                &REASONS,
            )),
        }
    }

    fn load(&mut self) -> FsResult<()> {
        let path = self.path.to_bytes();
        let end = b".new\0";
        let len = path.len() + end.len();
        if path.is_empty() || len > PATH_BYTES_MAX {
            return Err(FsError::Invalid);
        }
        for (to, from) in self.new_path.iter_mut().zip(path.iter().chain(end)) {
            *to = *from;
        }
        let read = files::read(self.path, self.lines)?.len();
        // Lines are moved together; what is none is left out.
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

    /// The lines, behind which there is an empty one.
    fn all(&self) -> Parts<'_> {
        parts(self.lines.head(self.len), b'\n')
    }

    /// Where the first such line begins, and how many bytes it has.
    fn find(&self, is_it: &dyn Fn(&[u8]) -> bool) -> Option<(usize, usize)> {
        let mut at = 0;
        for line in self.all() {
            if is_it(line) {
                return Some((at, line.len()));
            }
            at += line.len() + 1;
        }
        None
    }

    fn line(&mut self, at: usize, len: usize) -> &mut [u8] {
        self.lines.tail_mut(at).head_mut(len)
    }

    fn remove(&mut self, at: usize, len: usize) {
        mem::shift(self.lines.head_mut(self.len).tail_mut(at), len + 1);
        self.len -= len + 1;
    }

    /// Appends a line. Where it does not fit, what was lost before all others is forgotten.
    fn add(&mut self, line: &[u8]) {
        while self.len + line.len() >= BYTES || self.all().count() > LINE_COUNT_MAX {
            let Some((at, len)) = self.find(&|line| line.first() == Some(&LOST)) else {
                return;
            };
            self.remove(at, len);
        }
        let buffer = self.lines.tail_mut(self.len);
        for (to, from) in buffer.iter_mut().zip(line.iter().chain(b"\n")) {
            *to = *from;
        }
        self.len += line.len() + 1;
    }

    /// Remembers what happened; what is lost is printed.
    pub(super) fn take(&mut self, form: Form, out: &mut Out, links: &Links, event: &Event<'_>) {
        let names = event.names();
        let is_there = match event.what {
            What::Resolved | What::Changed => true,
            What::Lost | What::Removed => false,
            _ => return,
        };
        // In the file nothing is JSON.
        let is_json = core::mem::take(&mut out.is_json);
        let interface = links.name(event.link);
        out.begin().byte(THERE).byte(b';').put(interface).byte(b';');
        out.put(family(event)).byte(b';');
        out.label(names.label(event.name)).byte(b';');
        out.labels(names, names.parent(event.name), KIND_LABELS);
        let known = self.find(&|line| is_same(line, out.bytes()));
        if is_there {
            out.put(b";local;").name(names, event.host).byte(b';');
            out.address(event.address).byte(b';');
            out.number(event.port.into()).byte(b';');
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
        self.save_at = self.save_at.min(sys::now().after(SETTLE));
        let Some((at, len)) = known else {
            if is_there && is_line(out.bytes()) {
                self.add(out.bytes());
            }
            return;
        };
        let line = self.line(at, len);
        let was_there = line.first() == Some(&THERE);
        if is_there {
            // Of two families, the address of IPv4 is the one that people know.
            let is_better = !event.is_v6 || get(line, field::FAMILY) != b"IPv4";
            if (is_better || !was_there) && is_line(out.bytes()) {
                self.remove(at, len);
                self.add(out.bytes());
            }
        } else if event.what == What::Removed && event.is_farewell {
            self.remove(at, len);
        } else {
            if let Some(mark) = line.first_mut() {
                *mark = LOST;
            }
            // While our own link is down, nothing is lost.
            if was_there && links.is_up(event.link) {
                write_time(line.tail_mut(start(line, field::TIME)).head_mut(TIME_BYTES));
                write_lost(form, out, line);
                out.end();
            }
        }
    }

    /// All services that are there have answered: the others are printed, if they are of this type; the empty one is all.
    pub(super) fn tell_lost(&self, form: Form, out: &mut Out, links: &Links, kind: &[u8]) {
        for line in self.all() {
            let is_asked = kind.is_empty() || is_like(get(line, field::KIND), kind);
            if is_asked && line.first() == Some(&LOST) && links.has(get(line, field::INTERFACE)) {
                write_lost(form, out, line);
                out.end();
            }
        }
    }

    pub(super) const fn poll_at(&self) -> Instant {
        self.save_at
    }

    /// Writes the file if it is time to.
    pub(super) fn save_if_due(&mut self, now: Instant) {
        if self.save_at <= now {
            self.save(now);
        }
    }

    /// Writes the file, so that it is whole whatever happens.
    pub(super) fn save(&mut self, now: Instant) {
        self.save_at = now.after(AGAIN);
        let mut at = 0;
        while at < self.len {
            let rest = self.lines.head_mut(self.len).tail_mut(at);
            let len = rest.iter().position(|byte| *byte == b'\n');
            let line = rest.head_mut(len.unwrap_or(0));
            if line.first() == Some(&THERE) {
                write_time(line.tail_mut(start(line, field::TIME)).head_mut(TIME_BYTES));
            }
            at += line.len() + 1;
        }
        let done = self.write();
        if let Err(error) = done
            && !self.has_complained
        {
            let what = text!("cannot remember in");
            failed_with(what, self.path.to_bytes(), error.number(), &REASONS);
        }
        self.has_complained = done.is_err();
    }

    fn write(&self) -> FsResult<()> {
        let new_path = mem::c_str(self.new_path);
        files::replace(self.path, new_path, self.lines.head(self.len))
    }
}

/// Writes of a line that its service is lost.
pub(super) fn write_lost(form: Form, out: &mut Out, line: &[u8]) {
    let mut buffer = [0; LINE_BYTES_MAX];
    out.begin();
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

/// A time as year, month, day, hours, minutes, seconds.
pub(super) fn put_date(out: &mut Out, time: &[u8]) {
    let secs = time
        .iter()
        .fold(0u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    // Days from March of the year 1600. Years begin in March here, so that a leap day is the last of its year.
    let (days, rest) = ((secs / 86_400) as u32 + 135_080, (secs % 86_400) as u32);
    // Each step's numbers are quarters of days, three of them passed: 146,097 are a century, 1,461 a year.
    let quarters = days << 2 | 3;
    let century = quarters / 146_097;
    let quarters = (quarters % 146_097) | 3;
    // From March on, months have 30.6 days; the rest rounds as it must.
    let fifths = quarters % 1461 / 4 * 5 + 2;
    let (month, days) = (fifths / 153, fifths % 153 / 5);
    let is_next = u32::from(month >= 10);
    let year = 1600 + century * 100 + quarters / 1461 + is_next;
    let month = month + 3 - 12 * is_next;
    let numbers = [
        year % 100,
        month,
        days + 1,
        rest / 3600,
        rest / 60 % 60,
        rest % 60,
    ];
    for (number, before) in [year / 100].iter().chain(&numbers).zip(b"\0\0-- ::") {
        if *before != 0 {
            out.byte(*before);
        }
        out.put(decimal(*number as u8).tail(1));
    }
}
