//! Messages for users: plain lines, escaped. Traces for developers are in [`log`].
//!
//! A line is a text, then its subject and the reason.

#[cfg(any(feature = "nfs", test, fuzzing))]
mod exports;
mod level;
#[cfg_attr(
    not(any(feature = "nfs", feature = "mdns", test, fuzzing)),
    path = "no_logged.rs"
)]
mod logged;
#[cfg_attr(not(any(feature = "streams", test)), path = "no_peers.rs")]
mod peers;

use crate::log;
use crate::mem::{Ends as _, HAS_UTF8, letters};
use crate::text::{Text, text};
use core::net::{Ipv6Addr, SocketAddrV6};
#[cfg(any(feature = "nfs", test, fuzzing))]
pub use exports::{
    COMPRESSED, DISK_FAILED, DISK_FULL, IMAGE_CUT, MAY_NOT_MOUNT, MOUNTED, NOT_KEPT,
    OTHER_FILE_SYSTEM,
};
pub use level::{Event, Level, Marks, PREFIX_BYTES};
pub use logged::Logged;
use peers::{Counters, UNUSED};

/// A socket is bound.
pub const LISTENING: Text = text!("listening on");
/// fork failed.
pub const NO_PROCESS: Text = text!("too many processes; raise the limit (ulimit -u, pids.max)");
/// The process got a signal to stop.
pub const STOPPING: Text = text!("stopping");
/// No descriptor is left for a connection.
pub const FULL: Event = text!("too few file descriptors; raise the limit (ulimit -n)").warn();

/// Longest line (bytes); the excess is cut.
const LINE_BYTES: usize = 512;

/// One line of text under construction, without `core::fmt`.
#[derive(Debug)]
#[repr(C)] // Short instructions reach the first fields.
pub struct Line {
    len: u32,
    /// The parts of the line, for the log.
    pub marks: Marks,
    bytes: [u8; LINE_BYTES],
}

impl Default for Line {
    #[inline(never)] // −314 bytes: 83 callers.
    fn default() -> Self {
        Self {
            len: 0,
            marks: Marks::default(),
            bytes: [0; LINE_BYTES],
        }
    }
}

impl Line {
    /// Starts a line with the program's name and one of our texts.
    pub fn start(text: Text) -> Self {
        let mut line = Self::default();
        line.prefix().say(text);
        line
    }

    /// Appends the program's name.
    pub fn prefix(&mut self) -> &mut Self {
        self.say(text!("stowaway: "))
    }

    /// Appends one of our texts.
    pub fn say(&mut self, text: Text) -> &mut Self {
        // Leaves the last byte for the newline.
        let (buffer, _) = self.bytes.split_at_mut(LINE_BYTES - 1);
        let buffer = buffer.tail_mut(self.len as usize);
        self.len += text.decode(buffer).len() as u32;
        self
    }

    /// Appends trusted text.
    #[inline(always)]
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.raw(text.as_bytes())
    }

    /// Appends bytes that are already escaped.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        for byte in bytes {
            self.byte(*byte);
        }
        self
    }

    /// Appends a number in decimal.
    #[inline(never)] // −301 bytes: 39 callers.
    pub fn number(&mut self, number: u32) -> &mut Self {
        self.digits(number.into(), 10, 1)
    }

    /// Appends bytes from a peer or a file name. UTF-8 is unchanged, but a backslash is doubled, and what a terminal may interpret
    /// becomes `\n` or `\NNN`, as in vis(3).
    pub fn escaped(&mut self, bytes: &[u8]) -> &mut Self {
        for (letter, is_printable) in letters(bytes) {
            if letter == b"\\" {
                self.byte(b'\\');
            }
            match is_printable {
                true => self.letter(letter),
                false => self.code(letter),
            };
        }
        self
    }

    /// Appends a character. Dots fill a line that has no space for all of its bytes.
    pub fn letter(&mut self, letter: &[u8]) -> &mut Self {
        let fits = self.len as usize + letter.len() < LINE_BYTES;
        self.raw(if fits { letter } else { b"..." })
    }

    /// Returns true if the line has no space, not even for one byte: its end may be cut.
    pub const fn is_full(&self) -> bool {
        self.len as usize >= LINE_BYTES - 1
    }

    /// Appends the escapes of bytes: `\n` and its like, else `\NNN`.
    pub fn code(&mut self, bytes: &[u8]) -> &mut Self {
        for byte in bytes {
            self.byte(b'\\');
            // The letters of the escapes for the bytes from BEL (7) to CR (13).
            match b"abtnvfr".get(usize::from(*byte).wrapping_sub(7)) {
                Some(letter) => self.byte(*letter),
                None => self.digits((*byte).into(), 8, 3),
            };
        }
        self
    }

    /// Appends bytes in double quotes, as [`Line::escaped`] but in ASCII only: OpenSSH's sftp-server logs names like that.
    pub fn quoted(&mut self, bytes: &[u8]) -> &mut Self {
        self.byte(b'"');
        if !HAS_UTF8 {
            return self.escaped(bytes).byte(b'"');
        }
        for byte in bytes.chunks(1) {
            self.escaped(byte);
        }
        self.byte(b'"')
    }

    /// Appends one of our texts, then bytes as [`Line::quoted`] does.
    pub fn say_quoted(&mut self, text: Text, bytes: &[u8]) -> &mut Self {
        self.say(text).quoted(bytes)
    }

    /// Appends one of our texts, then a number in decimal.
    pub fn say_number(&mut self, text: Text, number: u64) -> &mut Self {
        self.say(text).digits(number, 10, 1)
    }

    /// Appends an address in its usual notation, an IPv4-mapped one as IPv4.
    pub fn address(&mut self, address: Ipv6Addr) -> &mut Self {
        self.host(address, "", "")
    }

    /// Appends a MAC address: its first six bytes.
    pub fn mac(&mut self, mac: &[u8]) -> &mut Self {
        for (at, byte) in mac.iter().take(6).enumerate() {
            if at > 0 {
                self.byte(b':');
            }
            self.digits((*byte).into(), 16, 2);
        }
        self
    }

    /// Appends an address and a port, an IPv6 address in brackets.
    pub fn socket(&mut self, socket: &SocketAddrV6) -> &mut Self {
        self.host(*socket.ip(), "[", "]")
            .byte(b':')
            .number(socket.port().into())
    }

    fn host(&mut self, address: Ipv6Addr, open: &str, close: &str) -> &mut Self {
        match address.to_ipv4_mapped() {
            Some(address) => {
                for (at, byte) in address.octets().iter().enumerate() {
                    if at > 0 {
                        self.byte(b'.');
                    }
                    self.digits((*byte).into(), 10, 1);
                }
                self
            }
            None => {
                self.text(open);
                self.groups(address.octets().as_chunks().0);
                self.text(close)
            }
        }
    }

    /// RFC 5952: the first longest run of two or more zero groups becomes "::".
    fn groups(&mut self, groups: &[[u8; 2]]) {
        let (mut run, mut longest, mut end) = (0, 1, 0);
        for (at, group) in groups.iter().enumerate() {
            run = if *group == [0, 0] { run + 1 } else { 0 };
            if run > longest {
                (longest, end) = (run, at + 1);
            }
        }
        for (at, group) in groups.iter().enumerate() {
            // If no groups are replaced by "::", `end` is 0 and this condition is false.
            if at < end && at + longest >= end {
                if at + 1 == end {
                    self.byte(b':').byte(b':');
                }
                continue;
            }
            if at != 0 && at != end {
                self.byte(b':');
            }
            self.digits(u16::from_be_bytes(*group).into(), 16, 1);
        }
    }

    /// Appends the subject and the reason; both may be empty.
    pub fn details(&mut self, about: &[u8], why: Text) -> &mut Self {
        if !about.is_empty() {
            let start = self.byte(b' ').len;
            let end = self.escaped(about).len;
            self.marks.set_about(start, end);
        }
        if why != Text::NOTHING {
            self.byte(b':').byte(b' ').say(why);
        }
        self
    }

    /// The text without a newline.
    #[inline(never)] // −439 bytes: 82 callers.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.head(self.len as usize)
    }

    /// Appends a newline, for which one byte is reserved, and returns the line.
    pub fn end_line(&mut self) -> &[u8] {
        self.end_with(b'\n')
    }

    /// Appends a byte, for which the last one is reserved, and returns the line.
    pub fn end_with(&mut self, end: u8) -> &[u8] {
        if let Some(place) = self.bytes.get_mut(self.len as usize) {
            *place = end;
            self.len += 1;
        }
        self.bytes()
    }

    /// Appends a number with at least `count_min` digits.
    pub fn digits(&mut self, number: u64, base: u64, count_min: u32) -> &mut Self {
        if number >= base || count_min > 1 {
            self.digits(number / base, base, count_min.saturating_sub(1));
        }
        let digit = (number % base) as u8;
        self.byte(if digit < 10 { b'0' } else { b'a' - 10 } + digit)
    }

    /// Appends a byte, unless the line is full.
    #[inline(never)] // −793 bytes: 50 callers.
    pub fn byte(&mut self, byte: u8) -> &mut Self {
        // Leaves the last byte for the newline.
        let (buffer, _) = self.bytes.split_at_mut(LINE_BYTES - 1);
        if let Some(place) = buffer.get_mut(self.len as usize) {
            *place = byte;
            self.len += 1;
        }
        self
    }
}

/// The destination of lines.
pub trait Sink: Logged {
    /// Writes a whole line, whose parts `marks` has, or drops it if writing would block.
    fn write_line(&mut self, line: &[u8], marks: Marks);
}

/// Reports an event; `about` and `why` may be empty.
#[inline(always)]
pub fn report(sink: &mut dyn Sink, what: impl Into<Event>, about: &[u8], why: Text) {
    report_event(sink, what.into(), about, why);
}

#[inline(never)] // −474 bytes: 41 callers.
fn report_event(sink: &mut dyn Sink, what: Event, about: &[u8], why: Text) {
    report_line(sink, what, b"", about, why);
}

/// Reports a line that starts with `name`, such as a command-line argument, instead of a text of ours.
pub fn report_name(sink: &mut dyn Sink, level: Level, name: &[u8], about: &[u8], why: Text) {
    report_line(sink, Text::NOTHING.at(level), name, about, why);
}

fn report_line(sink: &mut dyn Sink, what: Event, name: &[u8], about: &[u8], why: Text) {
    let mut line = Line::default();
    line.marks.set_level(what.level);
    let started = line.prefix().say(what.text).escaped(name);
    hand_over(sink, started.details(about, why));
}

fn hand_over(sink: &mut dyn Sink, line: &mut Line) {
    log::info!("{=[u8]:a}", line.bytes());
    let marks = line.marks;
    sink.write_line(line.end_line(), marks);
}

/// Exit status of a process or task that ended or cannot start. The reason is already reported.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Fatal {
    /// All work is done.
    Done = 0,
    /// A failure.
    Failed = 1,
    /// A usage error: wrong arguments.
    Usage = 2,
    /// No server runs, as the Linux Standard Base numbers it.
    NotRunning = 3,
    /// A protocol error ended the session; OpenSSH uses the same status.
    Broken = 11,
}

impl Fatal {
    /// Returns the exit status for `outcome`.
    pub fn status(outcome: Result<(), Self>) -> i32 {
        outcome.err().unwrap_or(Self::Done) as i32
    }
}

/// The sink of events, with the counters of the rate limit.
pub struct Events {
    sink: &'static mut dyn Sink,
    counters: Counters,
}

impl Events {
    /// Creates events that are reported to `sink`.
    #[cfg(any(test, fuzzing))]
    pub fn new(sink: std::boxed::Box<dyn Sink>) -> Self {
        Self::to(std::boxed::Box::leak(sink))
    }

    /// Creates events that are reported to `sink`.
    pub fn to(sink: &'static mut dyn Sink) -> Self {
        Self {
            sink,
            counters: UNUSED,
        }
    }

    /// Reports the address of a service: `what` is served there.
    pub fn report_listening(&mut self, at: &SocketAddrV6, what: Text) {
        let mut line = Line::default();
        line.socket(at).say(what);
        self.report(LISTENING, line.bytes(), Text::NOTHING);
    }

    /// Reports an event of the server itself; `about` and `why` may be empty.
    #[inline(always)]
    pub fn report(&mut self, event: impl Into<Event>, about: &[u8], why: Text) {
        report_event(self.sink, event.into(), about, why);
    }

    /// Returns true if events of level [`Level::Debug`] are written. The caller composes none otherwise.
    pub fn shows_debug(&self) -> bool {
        logged::shows_debug(self.sink)
    }

    /// Opens the log again, which only `serve` writes to a file.
    pub fn reopen(&mut self) {
        logged::reopen(self.sink);
    }

    /// Reports a complete line, of level [`Level::Info`] unless its marks have another.
    pub fn report_line(&mut self, line: &mut Line) {
        hand_over(self.sink, line);
    }
}

impl core::fmt::Debug for Events {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.debug_struct("Events").finish_non_exhaustive()
    }
}

/// A sink for tests and fuzzers.
#[cfg(any(test, fuzzing))]
pub mod testing {
    use std::sync::{Arc, Mutex};

    /// A sink that stores the lines.
    #[derive(Clone, Default)]
    pub struct Sink(Arc<Mutex<Vec<u8>>>);

    impl super::Logged for Sink {}

    impl super::Sink for Sink {
        fn write_line(&mut self, line: &[u8], _: super::Marks) {
            self.0.lock().unwrap().extend(line);
        }
    }

    impl Sink {
        /// The lines written since the start.
        pub fn lines(&self) -> Vec<String> {
            let text = String::from_utf8(self.0.lock().unwrap().clone());
            text.unwrap().lines().map(str::to_owned).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Sink;
    use super::*;
    use crate::time::Instant;
    use core::net::IpAddr;

    const PEER: Ipv6Addr = core::net::Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped();

    #[test]
    fn addresses_are_printed_in_canonical_form() {
        for address in [
            "192.0.2.255",
            "::",
            "::1",
            "fe80::1:0:0:2",
            "2001:db8:0:1:2:3:4:5",
            "1::4:5:6:7:0",
            "1::2:0:0:3:4",
            "0:1:2:3:4:5:6:7",
            "a::",
        ] {
            let mut line = Line::default();
            line.address(match address.parse().unwrap() {
                IpAddr::V4(address) => address.to_ipv6_mapped(),
                IpAddr::V6(address) => address,
            });
            assert_eq!(line.bytes(), address.as_bytes());
        }
        let mut line = Line::default();
        line.socket(&"[::ffff:192.0.2.1]:111".parse().unwrap())
            .text(" ")
            .socket(&"[::1]:0".parse().unwrap());
        assert_eq!(line.bytes(), b"192.0.2.1:111 [::1]:0");
    }

    #[test]
    fn control_characters_are_escaped_and_long_lines_cut() {
        let sink = Sink::default();
        let mut events = Events::new(Box::new(sink.clone()));
        events.report_for_peer(
            Instant::default(),
            PEER,
            MOUNTED,
            b"/a\x1b[2J\n\\\xff\xc3\xbc\xc2\x9b\xe2\x80\xae",
            Text::NOTHING,
        );
        events.report_for_peer(
            Instant::default(),
            PEER,
            MOUNTED,
            "\u{fc}".repeat(500).as_bytes(),
            Text::NOTHING,
        );
        let lines = sink.lines();
        assert_eq!(
            lines[0],
            r"stowaway: 192.0.2.7 mounted /a\033[2J\n\\\377ü\302\233\342\200\256"
        );
        assert_eq!(lines.len(), 2);
        assert!(lines[1].len() < LINE_BYTES);
    }

    #[test]
    fn failure_is_one_line_with_its_subject() {
        let mut sink = Sink::default();
        for about in [&b""[..], b"/srv\n"] {
            report(&mut sink, LISTENING, about, STOPPING);
        }
        let expect = [
            "stowaway: listening on: stopping",
            "stowaway: listening on /srv\\n: stopping",
        ];
        assert_eq!(sink.lines(), expect);
    }
}
