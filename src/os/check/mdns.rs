//! `check mdns`: asks the responder of a host for the host's name and its services. RFC 6762 sections 5.1 and 6.7.

use crate::config::{
    CHECK_ASK_INTERVAL, CHECK_FOREIGN_TIMEOUT, CHECK_FREE_PORT_WAIT, CHECK_NAME_WAIT,
};
use crate::event::Line;
use crate::mem::{self, Ends as _};
use crate::os::one_shot::OneShot;
use crate::sys;
use crate::time::Instant;
use crate::wire::dns::{
    CLASS_IN, MESSAGE_BYTES_MAX, Message, Name, PORT, REVERSE_BYTES_MAX, Section, Writer, kind,
    reverse,
};
use core::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Number of our questions.
const ID: u16 = 0x7374;
/// Longest question (bytes): two names.
const QUESTION_BYTES_MAX: usize = 256;
const SERVICES: &[u8] = b"\x09_services\x07_dns-sd\x04_udp\x05local\0";

/// The result.
pub enum Answer {
    /// The host answered.
    Announced,
    /// No program of this host is bound to the port, or another host did not answer.
    NotServed,
    /// The responder of this host did not answer.
    Silence,
}

/// The content of a message.
enum Content {
    Name,
    Services,
}

/// A check of a responder.
pub struct Mdns {
    sockets: OneShot,
    host: IpAddr,
    /// True if `host` is this host.
    is_own: bool,
}

impl Mdns {
    /// Asks the responder of `host`.
    pub fn ask(host: Ipv6Addr) -> Self {
        let (sockets, host) = (OneShot::open(PORT), host.to_canonical());
        let mut mdns = Self {
            sockets,
            host,
            is_own: host.is_loopback(),
        };
        mdns.is_own |= mdns.has_address(host);
        mdns.send();
        mdns
    }

    /// Returns true if this host has the address.
    fn has_address(&self, address: IpAddr) -> bool {
        let mut all = self
            .sockets
            .interfaces
            .iter()
            .flat_map(|one| &one.addresses);
        all.any(|(own, _)| *own == address)
    }

    /// Sends the questions on each link, by IPv4 and by IPv6.
    fn send(&self) {
        let usable = |one: &&sys::interface::Interface| one.is_multicast && one.is_running;
        for interface in self.sockets.interfaces.iter().filter(usable) {
            for is_v4 in [true, false] {
                let mut addresses = interface.addresses.iter().map(|(own, _)| *own);
                if let Some(own) = addresses.find(|own| own.is_ipv4() == is_v4) {
                    let mut buffer = [0; QUESTION_BYTES_MAX];
                    let about = if self.is_own { own } else { self.host };
                    let len = self.write(about, &mut buffer);
                    self.sockets.send(own, interface.index, buffer.head(len));
                }
            }
        }
    }

    /// Writes the question for the name of an address. A host that omits its name may announce services.
    fn write(&self, about: IpAddr, buffer: &mut [u8]) -> usize {
        let mut reversed = [0; REVERSE_BYTES_MAX];
        reverse(about, &mut reversed);
        let mut writer = Writer::new(buffer, ID, 0);
        let names = [&reversed, SERVICES];
        for name in names.into_iter().take(1 + usize::from(self.is_own)) {
            let mut labels = Name::of(name).unnumbered();
            writer.question(&mut labels, kind::PTR, CLASS_IN);
        }
        writer.finish()
    }

    /// Waits for the answer, and appends the host's name in it to `line`.
    pub fn answer(&self, until: Instant, line: &mut Line) -> Answer {
        let buffer = mem::bytes(MESSAGE_BYTES_MAX);
        let mut now = sys::now();
        let until = match self.is_own {
            true => until,
            false => until.min(now.after(CHECK_FOREIGN_TIMEOUT)),
        };
        let mut next_at = now.after(CHECK_FREE_PORT_WAIT);
        // Services are announced before the name, which others may have.
        let (named_by, mut has_services) = (now.after(CHECK_NAME_WAIT), false);
        loop {
            if let Some((len, from)) = self.sockets.recv(next_at.min(until), buffer) {
                match self.parse(buffer.head(len), from, line) {
                    Some(Content::Name) => return Answer::Announced,
                    answer => has_services |= answer.is_some(),
                }
            }
            now = sys::now();
            if has_services && now >= named_by.min(until) {
                return Answer::Announced;
            }
            if now >= until {
                return match self.is_own {
                    true if self.sockets.is_port_in_use() => Answer::Silence,
                    _ => Answer::NotServed,
                };
            }
            if now >= next_at {
                // The port is tried only if no answer came: a responder that starts meanwhile could not bind it.
                if self.is_own && !self.sockets.is_port_in_use() {
                    return Answer::NotServed;
                }
                self.send();
                next_at = now.after(CHECK_ASK_INTERVAL);
            }
        }
    }

    /// Parses an answer of the host, and appends the host's name to `line`. `None`: another message.
    fn parse(&self, bytes: &[u8], from: SocketAddr, line: &mut Line) -> Option<Content> {
        let sender = from.ip().to_canonical();
        let is_of_host = match self.is_own {
            true => self.has_address(sender),
            false => sender == self.host,
        };
        let message = Message::parse(bytes).ok()?;
        let is_ours = message.id() == ID && message.is_response() == Some(true);
        if !is_of_host || from.port() != PORT || !is_ours {
            return None;
        }
        let mut content = None;
        for answer in message.records() {
            if answer.section != Section::Answer
                || !answer.is_in_class()
                || answer.kind != kind::PTR
            {
                continue;
            }
            content = Some(Content::Services);
            if answer.name.labels().last() == Some(b"arpa") {
                for (at, label) in answer.target(0)?.labels().enumerate() {
                    line.text(if at == 0 { "" } else { "." }).escaped(label);
                }
                return Some(Content::Name);
            }
        }
        content
    }
}
