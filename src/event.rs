//! What a person is told: plain lines, escaped and rate-limited. Traces for developers are in [`log`](crate::log).
//!
//! An event is one of the texts below, with what it is about and why. Told of a client, its address comes first.

use crate::config::EVENT_COUNT_PER_MINUTE;
use crate::time::Instant;
use alloc::boxed::Box;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};

/// A socket is open.
pub const LISTENING: &str = "listening on";
/// A directory is offered.
pub const EXPORTING: &str = "exporting";
/// Everybody who reaches the server acts as one user.
pub const READING_AS: &str = "every client reads as user";
/// There is no portmapper of ours; about the options to mount with instead.
pub const NO_PORTMAP: &str = "no portmap service; mount with the options";
/// MOUNT is served by TCP alone.
pub const NO_DATAGRAMS: &str = "no MOUNT over UDP, only over TCP";
/// The secret of kernel handles cannot be kept.
pub const NO_KERNEL_HANDLES: &str = "no kernel handles, so clients may lose files in directories that are moved; name another --key-file than";
/// An export that some clients cannot use.
pub const UNUSABLE_BY_WINDOWS: &str =
    "Windows clients cannot use an export of this name; export a directory below";
/// A role's process ended and will be started again.
pub const RESTARTING: &str = "starting again in a while: the role";
/// The process was asked to stop.
pub const STOPPING: &str = "stopping";
/// No descriptor is left for a connection.
pub const FULL: &str =
    "no descriptor is left for another connection; clients wait, or raise the limit (ulimit -n)";
/// A client mounted a path.
pub const MOUNTED: &str = "mounted";
/// A client asked for a path and does not get it.
pub const MAY_NOT_MOUNT: &str = "may not mount";
/// A client came upon a file system that is not exported.
pub const OTHER_FILE_SYSTEM: &str = "came upon another file system mounted beneath the export; export it by itself if it should be seen";
/// The disk failed under a client's request.
pub const DISK_FAILED: &str = "asked for what the disk failed to give; see the kernel's log";
/// A client's connection was closed by us.
pub const DISCONNECTED: &str = "was disconnected";

/// Bytes of the longest line; what is longer is cut.
const LINE_BYTES: usize = 512;
/// Kinds and peers whose events are counted at once.
const COUNTER_COUNT: usize = 64;

/// One line of text under construction, without `core::fmt`.
#[derive(Debug, Default)]
pub struct Line {
    bytes: heapless::Vec<u8, LINE_BYTES>,
}

impl Line {
    /// Appends trusted text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.raw(text.as_bytes())
    }

    /// Appends a number in decimal.
    pub fn number(&mut self, number: u32) -> &mut Self {
        let mut digits = heapless::Vec::<u8, 10>::new();
        let mut rest = number;
        while digits.push(b'0' + (rest % 10) as u8).is_ok() && rest >= 10 {
            rest /= 10;
        }
        digits.reverse();
        self.raw(&digits)
    }

    /// Appends bytes from a peer or a file's name: what a terminal might obey becomes `\xNN`.
    pub fn escaped(&mut self, bytes: &[u8]) -> &mut Self {
        for byte in bytes {
            _ = match byte {
                b'\\' | 0..=0x1f | 0x7f..=0xff => self.text("\\x").hex(byte >> 4).hex(byte & 15),
                _ => self.raw(&[*byte]),
            };
        }
        self
    }

    /// Appends an address as people write it.
    pub fn address(&mut self, address: IpAddr) -> &mut Self {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                for (at, byte) in address.octets().into_iter().enumerate() {
                    self.text(if at == 0 { "" } else { "." })
                        .number(byte.into());
                }
                self
            }
            IpAddr::V6(address) => self.address_v6(address),
        }
    }

    /// RFC 5952: the first longest run of zero groups becomes "::".
    fn address_v6(&mut self, address: Ipv6Addr) -> &mut Self {
        let groups = address.segments();
        let run_at = |at: usize| {
            groups
                .iter()
                .skip(at)
                .take_while(|group| **group == 0)
                .count()
        };
        let (len, start) = (0..8).fold((1, 8), |best, at| {
            if run_at(at) > best.0 {
                (run_at(at), at)
            } else {
                best
            }
        });
        for (at, group) in groups.into_iter().enumerate() {
            if at == start {
                self.text("::");
            }
            if (start..start + len).contains(&at) {
                continue;
            }
            if at != 0 && at != start + len {
                self.text(":");
            }
            let digits = (16 - (group | 1).leading_zeros()).div_ceil(4);
            for digit in (0..digits).rev() {
                self.hex((group >> (digit * 4) & 15) as u8);
            }
        }
        self
    }

    /// Appends an address and a port.
    pub fn socket(&mut self, socket: SocketAddr) -> &mut Self {
        let address = socket.ip().to_canonical();
        match address {
            IpAddr::V4(_) => self.address(address),
            IpAddr::V6(_) => self.text("[").address(address).text("]"),
        };
        self.text(":").number(socket.port().into())
    }

    /// The text so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The text and a newline, for which there is always room.
    pub fn end(&mut self) -> &[u8] {
        let _ = self.bytes.push(b'\n');
        &self.bytes
    }

    fn hex(&mut self, digit: u8) -> &mut Self {
        self.raw(&[if digit < 10 {
            b'0' + digit
        } else {
            b'a' - 10 + digit
        }])
    }

    #[inline(never)]
    fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        let room = LINE_BYTES - 1 - self.bytes.len();
        let _ = self
            .bytes
            .extend_from_slice(bytes.get(..bytes.len().min(room)).unwrap_or_default());
        self
    }
}

/// Who takes the lines.
pub trait Sink {
    /// Takes a whole line, or loses it: whoever tells does not wait.
    fn take(&mut self, line: &[u8]);
}

#[derive(Debug)]
struct Counter {
    /// Where the event's text lies: one text, one kind.
    kind: usize,
    peer: IpAddr,
    /// The second in which counting began.
    since: u32,
    count: u32,
}

/// Where events go.
pub struct Events {
    sink: Box<dyn Sink>,
    counters: heapless::Vec<Counter, COUNTER_COUNT>,
}

impl Events {
    /// Events that are written to `sink`, a line each.
    pub const fn new(sink: Box<dyn Sink>) -> Self {
        Self {
            sink,
            counters: heapless::Vec::new(),
        }
    }

    /// Tells of the server itself: what, about what, and why; the latter two may be empty.
    pub fn tell(&mut self, event: &'static str, about: &[u8], why: &str) {
        self.write(None, event, about, why, 0);
    }

    /// Tells of a client, unless there were many like it within a minute.
    pub fn tell_of(
        &mut self,
        now: Instant,
        peer: IpAddr,
        event: &'static str,
        about: &[u8],
        why: &str,
    ) {
        if let Some(withheld) = self.count(now, peer, event.as_ptr() as usize) {
            self.write(Some(peer), event, about, why, withheld);
        }
    }

    fn write(&mut self, peer: Option<IpAddr>, event: &str, about: &[u8], why: &str, withheld: u32) {
        let mut line = Line::default();
        line.text("stowaway: ");
        if let Some(peer) = peer {
            line.address(peer).text(" ");
        }
        line.text(event);
        if !about.is_empty() {
            line.text(" ").escaped(about);
        }
        if !why.is_empty() {
            line.text(": ").text(why);
        }
        if withheld > 0 {
            line.text(" (and ")
                .number(withheld)
                .text(" like it before)");
        }
        self.sink.take(line.end());
    }

    /// `None`: too many. Else how many were withheld in the minute before.
    fn count(&mut self, now: Instant, peer: IpAddr, kind: usize) -> Option<u32> {
        let fresh = Counter {
            kind,
            peer,
            since: now.secs(),
            count: 1,
        };
        let Some(counter) = self
            .counters
            .iter_mut()
            .find(|counter| (counter.kind, counter.peer) == (kind, peer))
        else {
            if let Err(fresh) = self.counters.push(fresh) {
                // Full: the oldest makes room.
                if let Some(oldest) = self.counters.iter_mut().min_by_key(|counter| counter.since) {
                    *oldest = fresh;
                }
            }
            return Some(0);
        };
        if now.secs().wrapping_sub(counter.since) >= 60 {
            return Some(
                core::mem::replace(counter, fresh)
                    .count
                    .saturating_sub(EVENT_COUNT_PER_MINUTE),
            );
        }
        counter.count = counter.count.saturating_add(1);
        (counter.count <= EVENT_COUNT_PER_MINUTE).then_some(0)
    }
}

impl core::fmt::Debug for Events {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.debug_struct("Events").finish_non_exhaustive()
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::time::Duration;
    use std::sync::{Arc, Mutex};

    /// Collects what is written.
    #[derive(Clone, Default)]
    pub struct Sink(pub Arc<Mutex<Vec<u8>>>);

    impl super::Sink for Sink {
        fn take(&mut self, line: &[u8]) {
            self.0.lock().unwrap().extend(line);
        }
    }

    impl Sink {
        /// The lines so far.
        pub fn lines(&self) -> Vec<String> {
            String::from_utf8(self.0.lock().unwrap().clone())
                .unwrap()
                .lines()
                .map(str::to_owned)
                .collect()
        }
    }

    const PEER: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(192, 0, 2, 7));

    #[test]
    fn addresses_are_written_as_people_do() {
        for address in [
            "192.0.2.255",
            "::",
            "::1",
            "fe80::1:0:0:2",
            "2001:db8:0:1:2:3:4:5",
            "1:0:0:4:5:6:7:0",
            "a::",
        ] {
            let mut line = Line::default();
            line.address(address.parse().unwrap());
            assert_eq!(line.bytes(), address.as_bytes());
        }
        let mut line = Line::default();
        line.socket("[::ffff:192.0.2.1]:111".parse().unwrap())
            .text(" ")
            .socket("[::1]:0".parse().unwrap());
        assert_eq!(line.bytes(), b"192.0.2.1:111 [::1]:0");
    }

    #[test]
    fn what_a_terminal_might_obey_is_escaped_and_long_lines_are_cut() {
        let sink = Sink::default();
        let mut events = Events::new(Box::new(sink.clone()));
        events.tell_of(Instant::default(), PEER, MOUNTED, b"/a\x1b[2J\n\\\xff", "");
        events.tell_of(Instant::default(), PEER, MOUNTED, &[b'x'; 1000], "");
        let lines = sink.lines();
        assert_eq!(
            lines[0],
            "stowaway: 192.0.2.7 mounted /a\\x1b[2J\\x0a\\x5c\\xff"
        );
        assert_eq!(lines.len(), 2);
        assert!(lines[1].len() < LINE_BYTES);
    }

    #[test]
    fn one_peer_is_told_of_ten_times_a_minute_and_then_counted() {
        let sink = Sink::default();
        let mut events = Events::new(Box::new(sink.clone()));
        let start = Instant::default();
        for _ in 0..35 {
            events.tell_of(start, PEER, MOUNTED, b"/a", "");
        }
        assert_eq!(sink.lines().len(), 10);
        events.tell_of(start, PEER, DISCONNECTED, b"", "why");
        assert_eq!(sink.lines().len(), 11);
        events.tell_of(
            start.after(Duration::from_secs(61)),
            PEER,
            MOUNTED,
            b"/a",
            "",
        );
        assert_eq!(
            sink.lines()[11],
            "stowaway: 192.0.2.7 mounted /a (and 25 like it before)"
        );
    }
}
