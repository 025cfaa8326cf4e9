//! What a person is told: plain lines, escaped and rate-limited. Traces for developers are in [`log`](crate::log).

use crate::config::EVENT_COUNT_PER_MINUTE;
use crate::time::Instant;
use alloc::boxed::Box;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use embedded_io::{ErrorKind, Write};

/// Bytes of the longest line; what is longer is cut.
const LINE_BYTES: usize = 512;
/// Kinds and peers whose events are counted at once.
const COUNTER_COUNT: usize = 64;

/// Something that happened.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A socket is open for what is named.
    Listening(SocketAddr, &'static str),
    /// A directory is offered; with which handles.
    Exporting(&'a [u8], &'static str),
    /// Everybody who reaches the server acts as this user.
    ServingAs(u32),
    /// Something works less well than it could: what, why, and what to do.
    Degraded(&'static str, &'static str, &'static str),
    /// There is no portmapper of ours: why, and the ports to name instead, NFS and MOUNT.
    NoPortmap(&'static str, u16, u16),
    /// A client mounted a path.
    Mounted(IpAddr, &'a [u8]),
    /// A client asked to mount a path and may not: why.
    MountRefused(IpAddr, &'a [u8], &'static str),
    /// A client came upon another file system beneath the export.
    OtherFileSystem(IpAddr),
    /// The disk failed while a client's request was carried out.
    DiskError(IpAddr),
    /// A client's connection was closed by us: why.
    Closed(IpAddr, &'static str),
    /// There is no room for another connection.
    ConnectionsFull,
    /// A role's process ended with this status and will be started again in so many milliseconds.
    Restarting(&'static str, i32, u32),
    /// The server stops because it was asked to.
    Stopping,
}

impl Event<'_> {
    /// A number for the kind, and the peer it is about.
    const fn subject(&self) -> (u8, Option<IpAddr>) {
        match *self {
            Self::Listening(..) => (0, None),
            Self::Exporting(..) => (1, None),
            Self::ServingAs(_) => (2, None),
            Self::Degraded(..) => (3, None),
            Self::NoPortmap(..) => (4, None),
            Self::Mounted(peer, _) => (5, Some(peer)),
            Self::MountRefused(peer, ..) => (6, Some(peer)),
            Self::OtherFileSystem(peer) => (7, Some(peer)),
            Self::DiskError(peer) => (8, Some(peer)),
            Self::Closed(peer, _) => (9, Some(peer)),
            Self::ConnectionsFull => (10, None),
            Self::Restarting(..) => (11, None),
            Self::Stopping => (12, None),
        }
    }

    fn write(&self, line: &mut Line) {
        match *self {
            Self::Listening(at, what) => line.text("listening on ").socket(at).text(" for ").text(what),
            Self::Exporting(path, handles) => {
                line.text("exporting ").escaped(path).text(" (read-only, ").text(handles).text(" handles)")
            }
            Self::ServingAs(user) => line.text("every client reads as user ").number(user.into()),
            Self::Degraded(what, why, remedy) => line.text(what).text(": ").text(why).text("; ").text(remedy),
            Self::NoPortmap(why, nfs, mount) => line
                .text("no portmap service: ")
                .text(why)
                .text("; mount with the options port=")
                .number(nfs.into())
                .text(",mountport=")
                .number(mount.into()),
            Self::Mounted(peer, path) => line.address(peer).text(" mounted ").escaped(path),
            Self::MountRefused(peer, path, why) => {
                line.address(peer).text(" may not mount ").escaped(path).text(": ").text(why)
            }
            Self::OtherFileSystem(peer) => line
                .address(peer)
                .text(" came upon another file system mounted beneath the export; export it by itself if it should be seen"),
            Self::DiskError(peer) => line
                .text("the disk failed under a request of ")
                .address(peer)
                .text("; see the kernel's log"),
            Self::Closed(peer, why) => line.text("closed the connection of ").address(peer).text(": ").text(why),
            Self::ConnectionsFull => line.text(
                "no descriptor is left for another connection; clients wait until one closes, or raise the limit (ulimit -n)",
            ),
            Self::Restarting(role, status, pause_ms) => line
                .text("the role ")
                .text(role)
                .text(" ended with status ")
                .number(status.unsigned_abs().into())
                .text(" and starts again in ")
                .number(pause_ms.into())
                .text(" ms"),
            Self::Stopping => line.text("stopping"),
        };
    }
}

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
    pub fn number(&mut self, number: u64) -> &mut Self {
        let mut digits = heapless::Vec::<u8, 20>::new();
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
            match byte {
                b'\\' | 0..=0x1f | 0x7f..=0xff => {
                    self.text("\\x").hex(byte >> 4).hex(byte & 15);
                }
                _ => {
                    self.raw(&[*byte]);
                }
            }
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

    fn hex(&mut self, digit: u8) -> &mut Self {
        self.raw(&[if digit < 10 {
            b'0' + digit
        } else {
            b'a' - 10 + digit
        }])
    }

    fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        let room = LINE_BYTES - 1 - self.bytes.len();
        let _ = self
            .bytes
            .extend_from_slice(bytes.get(..bytes.len().min(room)).unwrap_or_default());
        self
    }
}

#[derive(Debug)]
struct Counter {
    subject: (u8, Option<IpAddr>),
    /// The second in which counting began.
    since: u32,
    count: u32,
}

/// Where events go.
pub struct Events {
    out: Box<dyn Write<Error = ErrorKind>>,
    counters: heapless::Vec<Counter, COUNTER_COUNT>,
}

impl Events {
    /// Events that are written to `out`, a line each.
    pub const fn new(out: Box<dyn Write<Error = ErrorKind>>) -> Self {
        Self {
            out,
            counters: heapless::Vec::new(),
        }
    }

    /// Tells an event, unless there were many like it within a minute. What cannot be written is lost.
    pub fn tell(&mut self, now: Instant, event: Event<'_>) {
        let Some(withheld) = self.count(now, &event) else {
            return;
        };
        let mut line = Line::default();
        event.write(line.text("stowaway: "));
        if withheld > 0 {
            line.text(" (and ")
                .number(withheld.into())
                .text(" like it before)");
        }
        line.raw(b"\n");
        // The newline has its room even where the text was cut.
        if line.bytes().last() != Some(&b'\n') {
            let _ = line.bytes.push(b'\n');
        }
        let _ = self.out.write_all(line.bytes());
    }

    /// `None`: too many. Else how many were withheld in the minute before.
    fn count(&mut self, now: Instant, event: &Event<'_>) -> Option<u32> {
        let subject = event.subject();
        if subject.1.is_none() {
            return Some(0); // What is about no peer comes from ourselves, and rarely.
        }
        let fresh = Counter {
            subject,
            since: now.secs(),
            count: 1,
        };
        let Some(counter) = self
            .counters
            .iter_mut()
            .find(|counter| counter.subject == subject)
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

    impl embedded_io::ErrorType for Sink {
        type Error = ErrorKind;
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> Result<(), ErrorKind> {
            Ok(())
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
        events.tell(
            Instant::default(),
            Event::Mounted(PEER, b"/a\x1b[2J\n\\\xff"),
        );
        events.tell(Instant::default(), Event::Mounted(PEER, &[b'x'; 1000]));
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
            events.tell(start, Event::Mounted(PEER, b"/a"));
        }
        assert_eq!(sink.lines().len(), 10);
        events.tell(start, Event::Closed(PEER, "why"));
        assert_eq!(sink.lines().len(), 11);
        events.tell(
            start.after(Duration::from_secs(61)),
            Event::Mounted(PEER, b"/a"),
        );
        assert_eq!(
            sink.lines()[11],
            "stowaway: 192.0.2.7 mounted /a (and 25 like it before)"
        );
    }
}
