//! DHCP client (RFC 2131 section 4.4).

use super::chance::Chance;
use super::packet::{self, Mac};
use crate::mem::Ends as _;
use crate::time::{Duration, Instant};
use crate::wire::dhcp::{CLIENT_PORT, Head, Kind, Op, SERVER_PORT, Writer, option, parse};
use core::net::{Ipv4Addr, SocketAddr};

/// Waits for a reply are 4, 8, 16, 32, 64, 64, … seconds, plus or minus one (section 4.1).
const WAIT_SECS: u32 = 4;
const DOUBLING_COUNT_MAX: u8 = 4;
/// DHCPREQUESTs sent for an offer before the client starts again with DHCPDISCOVER.
const REQUEST_COUNT_MAX: u8 = 3;
/// Shortest wait before a request to extend a lease is repeated (section 4.4.5).
const EXTEND_WAIT_SECS: u32 = 60;
/// Waits after a DHCPNAK or an unusable lease: one second, doubled each time up to 2^6 seconds.
const REFUSAL_COUNT_MAX: u8 = 6;

/// Longest message of the client, and longest host name in it (bytes).
const MESSAGE_BYTES_MAX: usize = 368;
const NAME_BYTES_MAX: usize = 63;
/// Lease time (seconds) if the reply has no such option.
const LEASE_SECS: u32 = 120;

/// A lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Lease {
    pub(super) address: Ipv4Addr,
    pub(super) prefix: u8,
    pub(super) router: Option<Ipv4Addr>,
    /// The server that granted it.
    pub(super) server: Ipv4Addr,
}

/// State of the client (section 4.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Selecting,
    /// A DHCPOFFER was accepted; DHCPREQUESTs are sent until the server's DHCPACK.
    Requesting(Lease),
    Bound(Lease),
}

/// Times at which a lease must be extended, and its end.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    /// T1: from then on, the server that granted the lease is asked to extend it.
    renew_at: Instant,
    /// T2: from then on, any server is asked to extend it.
    rebind_at: Instant,
    end: Instant,
}

/// A reply of a server.
struct Reply {
    kind: Option<Kind>,
    lease: Lease,
    lease_secs: u32,
    /// T1 and T2, if the server gives them.
    renewal_secs: Option<u32>,
    rebinding_secs: Option<u32>,
}

impl Reply {
    /// Parses a reply in a transaction of this host. `None`: another message, or a malformed one.
    fn parse(message: &[u8], xid: u32, own: Mac) -> Option<Self> {
        let (head, options) = parse(message).ok()?;
        if (head.op, head.xid, head.chaddr) != (Op::Reply, xid, own.0) {
            return None;
        }
        let mut reply = Self {
            kind: None,
            lease: Lease {
                address: head.yiaddr,
                prefix: 24,
                router: None,
                server: Ipv4Addr::UNSPECIFIED,
            },
            lease_secs: LEASE_SECS,
            renewal_secs: None,
            rebinding_secs: None,
        };
        for item in options {
            let item = item.ok()?;
            let number = item.number().ok();
            match item.code {
                option::MESSAGE_TYPE => reply.kind = Kind::of(item.byte().ok()?),
                option::SERVER => reply.lease.server = Ipv4Addr::from_bits(number?),
                option::ROUTER => reply.lease.router = number.map(Ipv4Addr::from_bits),
                option::SUBNET_MASK => reply.lease.prefix = number?.leading_ones() as u8,
                option::LEASE_SECS => reply.lease_secs = number?,
                option::RENEWAL_SECS => reply.renewal_secs = number,
                option::REBINDING_SECS => reply.rebinding_secs = number,
                _ => {}
            }
        }
        // A reply without the server's identifier is malformed.
        (!reply.lease.server.is_unspecified()).then_some(reply)
    }
}

/// The DHCP client.
pub(super) struct Dhcp {
    own: Mac,
    /// Host name to send, unless empty.
    name: &'static [u8],
    chance: Chance,
    /// Transaction ID. It stays the same from a DHCPDISCOVER to the end of the lease that follows.
    xid: u32,
    state: State,
    times: Times,
    /// MAC address that sent the DHCPACK: the server's or its relay's.
    server: Mac,
    /// Messages sent in this state.
    sent_count: u8,
    /// DHCPNAKs and unusable leases since the last good one.
    refusal_count: u8,
    /// Time of the next message.
    next_at: Instant,
    /// A change of the lease that [`Dhcp::take_event`] has not returned yet; `Some(None)`: the lease has ended.
    event: Option<Option<Lease>>,
}

impl Dhcp {
    /// Creates a client that starts now. `name` is the host name to send, unless empty.
    pub(super) fn new(own: Mac, name: &'static [u8], seed: u64, now: Instant) -> Self {
        let mut dhcp = Self {
            own,
            name,
            chance: Chance::new(seed),
            xid: 0,
            state: State::Selecting,
            times: Times::default(),
            server: Mac::BROADCAST,
            sent_count: 0,
            refusal_count: 0,
            next_at: now,
            event: None,
        };
        dhcp.reset(now);
        dhcp
    }

    /// Drops the lease and looks for another, from `start_at` on.
    pub(super) fn reset(&mut self, start_at: Instant) {
        if let State::Bound(_) = self.state {
            self.event = Some(None);
        }
        self.xid = self.chance.number();
        (self.state, self.sent_count, self.next_at) = (State::Selecting, 0, start_at);
    }

    /// Starts again after a DHCPNAK or an unusable lease, after a wait that doubles each time.
    fn refuse(&mut self, now: Instant) {
        let wait = Duration::from_secs(1 << self.refusal_count);
        self.refusal_count = (self.refusal_count + 1).min(REFUSAL_COUNT_MAX);
        self.reset(now.after(wait));
    }

    /// Time of the next call of [`Dhcp::advance`].
    pub(super) const fn poll_at(&self) -> Instant {
        self.next_at
    }

    /// Returns the new lease if it has changed since the last call; `Some(None)` if it has ended.
    pub(super) const fn take_event(&mut self) -> Option<Option<Lease>> {
        self.event.take()
    }

    /// Writes the message that is due to `out`; returns its length, or 0.
    pub(super) fn advance(&mut self, now: Instant, out: &mut [u8]) -> usize {
        match self.state {
            State::Requesting(_) if self.sent_count == REQUEST_COUNT_MAX => self.reset(now),
            State::Bound(_) if now >= self.times.end => self.reset(now),
            _ => {}
        }
        let (kind, lease) = match self.state {
            State::Selecting => (Kind::Discover, None),
            State::Requesting(lease) | State::Bound(lease) => (Kind::Request, Some(lease)),
        };
        let broadcast = (Mac::BROADCAST, Ipv4Addr::BROADCAST);
        let mut message = Message {
            kind,
            from: Ipv4Addr::UNSPECIFIED,
            to: broadcast,
            offer: lease,
            name: self.name,
        };
        let next = match self.state {
            State::Bound(lease) => {
                let Times { rebind_at, end, .. } = self.times;
                (message.from, message.offer) = (lease.address, None);
                let until = if now < rebind_at {
                    message.to = (self.server, lease.server);
                    rebind_at
                } else {
                    end
                };
                // In seconds, because half of a long lease has more milliseconds than fit.
                let half_secs = (until.since(now).as_ms() / 2000) as u32;
                let wait = Duration::from_secs(half_secs.max(EXTEND_WAIT_SECS));
                now.after(wait).min(until)
            }
            _ => {
                let doublings = self.sent_count.min(DOUBLING_COUNT_MAX);
                let ms = (WAIT_SECS * 1000) << doublings;
                let random = self.chance.number() % 2000;
                now.after(Duration::from_ms(ms + random - 1000))
            }
        };
        self.sent_count = self.sent_count.saturating_add(1);
        self.next_at = next;
        message.write(self.own, self.xid, out)
    }

    /// Handles a datagram to [`CLIENT_PORT`] that was sent by a MAC address.
    pub(super) fn handle(&mut self, now: Instant, mac: Mac, message: &[u8]) {
        let Some(reply) = Reply::parse(message, self.xid, self.own) else {
            return;
        };
        let Reply {
            kind,
            lease,
            lease_secs,
            renewal_secs,
            rebinding_secs,
        } = reply;
        let is_asked = match self.state {
            State::Selecting => kind == Some(Kind::Offer),
            State::Requesting(offer) => lease.server == offer.server,
            // A reply counts only after a request to extend the lease. Before T2 it must come from the lease's server, because no
            // other server was asked.
            State::Bound(bound) => {
                let is_rebinding = now >= self.times.rebind_at;
                self.sent_count > 0 && (lease.server == bound.server || is_rebinding)
            }
        };
        if !is_asked {
            return;
        }
        match (kind, self.state) {
            (Some(Kind::Offer), State::Selecting) if is_host_of(lease.address, lease.prefix) => {
                (self.state, self.sent_count, self.next_at) = (State::Requesting(lease), 0, now);
            }
            (Some(Kind::Nak), _) => self.refuse(now),
            (Some(Kind::Ack), state) => {
                if lease_secs == 0 || !is_host_of(lease.address, lease.prefix) {
                    self.refuse(now);
                    return;
                }
                let at = |secs: u32| now.after(Duration::from_secs(secs.max(1)));
                // The server's T1 and T2 hold if T1 < T2 < the lease's end. The defaults (RFC 2131 section 4.4.5) are 7/8 of the
                // lease and 4/7 of that, which is its half.
                let part = |secs: u32, number: u64, of: u64| (u64::from(secs) * number / of) as u32;
                let rebinding = rebinding_secs.filter(|secs| *secs < lease_secs);
                let rebinding = rebinding.unwrap_or(part(lease_secs, 7, 8));
                let renewal = renewal_secs.filter(|secs| *secs < rebinding);
                let renewal = renewal.unwrap_or(part(rebinding, 4, 7));
                self.times = Times {
                    renew_at: at(renewal),
                    rebind_at: at(rebinding),
                    end: at(lease_secs),
                };
                if state != State::Bound(lease) {
                    self.event = Some(Some(lease));
                }
                (self.state, self.server) = (State::Bound(lease), mac);
                (self.sent_count, self.refusal_count) = (0, 0);
                self.next_at = self.times.renew_at;
            }
            _ => {}
        }
    }
}

/// Returns true if a host on this network can have the address.
fn is_host_of(address: Ipv4Addr, prefix: u8) -> bool {
    let [first, ..] = address.octets();
    let is_host = !is_network_or_broadcast(address, prefix);
    (1..224).contains(&first) && !address.is_loopback() && prefix > 0 && is_host
}

/// Returns true if the address is the one of its network, or its network's broadcast address. Networks of one or two addresses have
/// neither (RFC 3021).
pub fn is_network_or_broadcast(address: Ipv4Addr, prefix: u8) -> bool {
    let host = address.to_bits().unbounded_shl(prefix.into());
    let all_ones = u32::MAX.unbounded_shl(prefix.into());
    prefix < 31 && (host == 0 || host == all_ones)
}

/// A message of the client.
struct Message {
    kind: Kind,
    /// Address of this host, if it has one.
    from: Ipv4Addr,
    to: (Mac, Ipv4Addr),
    /// The offer or lease that is requested or declined.
    offer: Option<Lease>,
    /// Host name to send, unless empty.
    name: &'static [u8],
}

impl Message {
    /// Writes a frame with the message to `out`; returns its length, or 0 if it does not fit.
    fn write(&self, own: Mac, xid: u32, out: &mut [u8]) -> usize {
        const REQUESTED: [u8; 4] = [
            option::SUBNET_MASK,
            option::ROUTER,
            option::RENEWAL_SECS,
            option::REBINDING_SECS,
        ];
        let mut buffer = [0; MESSAGE_BYTES_MAX];
        let head = Head::request(xid, self.from, own.0);
        let mut message = Writer::new(&mut buffer, &head, self.kind);
        let [a, b, c, d, e, f] = own.0;
        message.option(option::CLIENT, &[1, a, b, c, d, e, f]);
        if let Some(offer) = &self.offer {
            message.option(option::REQUESTED_ADDRESS, &offer.address.octets());
            message.option(option::SERVER, &offer.server.octets());
        }
        if self.kind != Kind::Decline {
            message.option(option::PARAMETER_LIST, &REQUESTED);
            if !self.name.is_empty() {
                let name = self.name.head(self.name.len().min(NAME_BYTES_MAX));
                message.option(option::HOST_NAME, name);
            }
        }
        let len = message.finish().unwrap_or_default();
        let (mac, to) = self.to;
        let from = SocketAddr::new(self.from.into(), CLIENT_PORT);
        let to = SocketAddr::new(to.into(), SERVER_PORT);
        let message = buffer.head(len);
        packet::write_datagram([own, mac], [from, to], packet::HOP_LIMIT, message, out)
    }
}

/// Writes a DHCPDECLINE frame: another host has the leased address (RFC 2131 section 4.4.4).
pub(super) fn decline(own: Mac, lease: &Lease, chance: u32, out: &mut [u8]) -> usize {
    let message = Message {
        kind: Kind::Decline,
        from: Ipv4Addr::UNSPECIFIED,
        to: (Mac::BROADCAST, Ipv4Addr::BROADCAST),
        offer: Some(*lease),
        name: &[],
    };
    message.write(own, chance, out)
}
