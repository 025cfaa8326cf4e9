//! The log of a server: each line has the time and the level, or is a JSON object; lines to a system logger have a priority.
//!
//! RFC 3339 (time), RFC 3164 (syslog). Until [`start`] lines are plain, and so are those on a terminal.

use super::json::{Escapes, put_json};
use super::reasons;
use crate::config::{HAS_SERVE, HAS_SFTP};
use crate::event::{Level, Line, Marks, PREFIX_BYTES};
use crate::mem::{self, Ends as _, Global, nth};
use crate::sys::{self, Errno};
use crate::text::text;
use crate::wire::Writer;
use crate::wire::calendar::calendar;
use crate::wire::zone;

/// The parts of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Form {
    /// The message.
    #[default]
    Plain,
    /// Time, level and message.
    Stamped,
    /// A JSON object.
    Json,
}

/// Where lines go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Channel {
    /// Standard error, or a file in its place.
    #[default]
    Stream,
    /// Standard error that is systemd's journal: lines begin with their priority, sd-daemon(3).
    Journal,
    /// The socket of the system logger, in the format of syslog(3).
    Syslog,
    /// A system logger that receives datagrams: RFC 3164 with the time and this host's name.
    SyslogHost,
}

/// The form of the lines, and the process that they name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// The last level that is written.
    pub level: Level,
    /// The form.
    pub form: Form,
    /// Where lines go.
    pub channel: Channel,
    /// The role of this process.
    pub role: &'static [u8],
    /// The number of this process.
    pub pid: u32,
    /// The name of this host, for [`Channel::SyslogHost`].
    pub host: &'static [u8],
    /// The time zone: a file of tzfile(5), and a POSIX rule that applies without one.
    pub zone: [&'static [u8]; 2],
}

/// The settings; none before [`start`].
static SETTINGS: Global<Settings> = Global::new();

/// Sets the form of all further lines.
pub fn start(settings: Settings) {
    SETTINGS.set(mem::leak(settings));
}

/// Sets the role of a process that another role has made.
pub fn set_process(role: &'static [u8], pid: u32) {
    if let Some(settings) = SETTINGS.get() {
        start(Settings {
            role,
            pid,
            ..*settings
        });
    }
}

/// Returns true if events of level [`Level::Debug`] are written.
pub(super) fn shows_debug() -> bool {
    let settings = SETTINGS.get();
    settings.is_some_and(|settings| settings.level == Level::Debug)
}

/// Longest line (bytes): every byte of a message and its subject may be escaped in JSON.
const LINE_BYTES_MAX: usize = if HAS_SERVE { 2560 } else { 640 };

/// Writes a line, whose message starts after the program's name and ends with a newline.
pub(super) fn write(line: &[u8], marks: Marks) {
    let (settings, is_journal) = (SETTINGS.get(), sys::is_journal());
    if settings.is_none() && !is_journal {
        return sys::console(line);
    }
    let mut settings = settings.copied().unwrap_or_default();
    if marks.level > settings.level {
        return;
    }
    if is_journal && settings.channel == Channel::Stream {
        settings.channel = Channel::Journal;
    }
    let bytes = &mut [0; LINE_BYTES_MAX];
    let mut out = Writer::new(bytes);
    settings.put(&mut out, line, marks, sys::wall_clock().0);
    if let Err(errno) = sys::log(out.since(0), line) {
        report_lost(errno);
    }
}

/// Reports to the standard error that the log has replaced that lines are lost.
pub fn report_lost(errno: Errno) {
    let mut lost = Line::start(text!("cannot write the log"));
    let lost = lost.details(sys::log_path(), reasons::of(errno, &[]));
    sys::report(lost.end_line());
}

impl Settings {
    /// Writes a line at this time (seconds since 1970). A line to a system logger ends with NUL.
    fn put(&self, out: &mut Writer<'_>, line: &[u8], marks: Marks, secs: i64) {
        let mut text = line.strip_suffix(b"\n").unwrap_or(line);
        let message = text.tail(PREFIX_BYTES);
        let mut end = b"\n";
        match self.channel {
            Channel::Stream if self.form == Form::Stamped => {
                let mut head = Line::default();
                self.put_time(&mut head, secs);
                head.byte(b' ').raw(name(marks.level)).byte(b' ');
                out.put(head.bytes());
            }
            // The journal adds the name of the program and the time.
            Channel::Journal => {
                out.put(&[b'<', b'0' + severity(marks.level), b'>']);
                text = message;
            }
            Channel::Syslog | Channel::SyslogHost if HAS_SERVE => {
                self.put_syslog_head(out, marks.level, secs);
                (text, end) = (message, b"\0");
            }
            _ => {}
        }
        match self.form {
            Form::Json if HAS_SERVE => self.put_json(out, message, line, marks, secs),
            _ => out.put(text),
        }
        out.put(end);
    }

    /// Year, month, day and second of the day in local time, and its offset from UTC (seconds).
    fn local(&self, secs: i64) -> ([u32; 4], i64) {
        let [file, rule] = self.zone;
        // The rules of time zones are those of SFTP's long names.
        let offset = match HAS_SFTP {
            true => zone::offset(file, rule, secs),
            false => 0,
        };
        let date = calendar(secs.wrapping_add(offset));
        (date.unwrap_or_default(), offset)
    }

    /// Writes the time as RFC 3339 has it: `2026-11-29T08:35:00Z`, or with the offset in place of Z.
    fn put_time(&self, out: &mut Line, secs: i64) {
        let ([year, month, day, second], offset) = self.local(secs);
        out.digits(year.into(), 10, 4);
        put_digits(out, [(b'-', month), (b'-', day)]);
        put_clock(out, b'T', second);
        let minutes = (offset.unsigned_abs() / 60) as u32;
        match offset {
            0 => _ = out.byte(b'Z'),
            _ => {
                let sign = if offset < 0 { b'-' } else { b'+' };
                put_digits(out, [(sign, minutes / 60), (b':', minutes % 60)]);
            }
        }
    }
}

/// The severity of a level: a number of syslog(3).
const fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug => 7,
    }
}

/// The name of a level.
fn name(level: Level) -> &'static [u8] {
    nth(Level::NAMES, b' ', level as usize)
}

/// Writes numbers of two digits, each after a byte.
fn put_digits<const N: usize>(out: &mut Line, numbers: [(u8, u32); N]) {
    for (before, number) in numbers {
        out.byte(before).digits(number.into(), 10, 2);
    }
}

/// Writes the time of the day after the byte `before`.
fn put_clock(out: &mut Line, before: u8, second: u32) {
    let hour = (before, second / 3600);
    put_digits(out, [hour, (b':', second / 60 % 60), (b':', second % 60)]);
}

impl Settings {
    /// Writes the priority, the time and the host if the logger needs them, and the tag.
    fn put_syslog_head(&self, out: &mut Writer<'_>, level: Level, secs: i64) {
        /// The facility daemon.
        const FACILITY: u32 = 3 << 3;
        let mut head = Line::default();
        let priority = FACILITY | u32::from(severity(level));
        head.byte(b'<').number(priority).byte(b'>');
        if self.channel == Channel::SyslogHost {
            const MONTHS: &[u8] = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec";
            let ([_, month, day, second], _) = self.local(secs);
            head.raw(nth(MONTHS, b' ', month as usize - 1)).byte(b' ');
            if day < 10 {
                head.byte(b' ');
            }
            put_clock(head.number(day), b' ', second);
            head.byte(b' ').escaped(self.host).byte(b' ');
        }
        head.text("stowaway[").number(self.pid).text("]: ");
        out.put(head.bytes());
    }

    /// Writes a JSON object.
    fn put_json(&self, out: &mut Writer<'_>, message: &[u8], line: &[u8], marks: Marks, secs: i64) {
        let (mut time, mut pid) = (Line::default(), Line::default());
        self.put_time(&mut time, secs);
        let about = line.tail(marks.about_start.into());
        for (before, value, escapes) in [
            ("{\"time\":\"", time.bytes(), Escapes::Text),
            ("\",\"level\":\"", name(marks.level), Escapes::Text),
            ("\",\"role\":\"", self.role, Escapes::Text),
            (
                "\",\"peer\":\"",
                message.head(marks.peer_len.into()),
                Escapes::Text,
            ),
            (
                "\",\"about\":\"",
                about.head(marks.about_len.into()),
                Escapes::Json,
            ),
            ("\",\"message\":\"", message, Escapes::Text),
        ] {
            if value.is_empty() {
                continue;
            }
            out.put(before.as_bytes());
            put_json(out, value, escapes);
        }
        out.put(b"\",\"pid\":");
        out.put(pid.number(self.pid).byte(b'}').bytes());
    }
}
