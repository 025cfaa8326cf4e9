//! Our own network stack over a link: smoltcp, and what smoltcp lacks. Meant for about a dozen clients.
//!
//! smoltcp handles TCP and ICMP; the rest is ours. It has no backlog: a listening socket becomes the connection. So a smoltcp socket
//! is created only when a SYN for one of our listeners arrives, just before smoltcp sees that SYN.
//! smoltcp has a clock of its own, faster than real time: see `forge`.

#![forbid(unsafe_code)]

mod addresses;
mod chance;
mod claim;
mod congestion;
mod datagrams;
mod device;
mod dhcp;
mod extensions;
mod forge;
mod groups;
mod neighbors;
mod packet;
mod routers;
mod streams;

pub use addresses::Ip;
pub use dhcp::is_network_or_broadcast;

use super::link::{BATCH, Frames, Link};
use super::{
    Binding, Datagrams, Interest, Interface as Known, Interfaces, Multicast, Net, NetError,
    NetResult, Own, Ready, Received, Socket, Token,
};
use crate::config::{STACK_CONNECTION_COUNT_MAX, STACK_CONNECTION_COUNT_MIN};
use crate::mem::{Slots, scaled};
use crate::time::Instant;
use crate::wire::dhcp::{CLIENT_PORT, SERVER_PORT};
use addresses::Addresses;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use datagrams::Queue;
use device::Port;
use dhcp::Dhcp;
use forge::{paced, unpaced};
use groups::Groups;
use packet::{Content, Mac, solicited_node};
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::wire::{HardwareAddress, IpCidr};
use streams::{Connection, Verdict};

/// Frames received in one turn, at most, so that a flood leaves time for other work.
const FRAME_COUNT_MAX: usize = 256;
/// Limit of sockets other than connections.
const OTHER_COUNT_MAX: usize = 64;

/// Configuration of the stack.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// MAC address; must be unicast.
    pub mac: [u8; 6],
    /// Source of the stack's addresses.
    pub ip: Ip,
    /// IPv4 default gateway if DHCP supplies none.
    pub gateway: Option<Ipv4Addr>,
    /// Host name sent by DHCP; empty: none.
    pub name: &'static [u8],
    /// Unpredictable bytes.
    pub seed: [u8; 16],
    /// True if the link is an interface that the kernel's stack also uses. This stack then only claims addresses for it
    /// (an IPv4 address, or a static IPv6 one), and drops all other frames.
    pub is_for_host: bool,
}

/// Type of a socket.
#[derive(Debug)]
enum SocketKind {
    Listener,
    Connection(Connection),
    /// Datagrams to one address, to all addresses, or to a multicast group; true if also from hosts without an address.
    Datagrams(Queue, bool),
    /// True if addresses have changed since the last receive from this socket.
    Changes(bool),
}

#[derive(Debug)]
struct OpenSocket {
    kind: SocketKind,
    /// Local address.
    at: SocketAddr,
    token: Token,
    interest: Interest,
}

/// The stack.
pub struct Smol {
    port: Port,
    interface: Interface,
    sockets: SocketSet<'static>,
    open_sockets: Slots<Option<OpenSocket>>,
    addresses: Addresses,
    groups: Groups,
    dhcp: Option<Dhcp>,
    is_for_host: bool,
    own: Mac,
    /// Index of the only interface. Incremented when the link is up again, so that multicast DNS joins its groups and announces its
    /// records again (RFC 6762 section 8.3).
    index: u32,
    /// Time of the current turn.
    now: Instant,
    rx: Slots<u8>,
    /// Index of the first socket to check for readiness.
    first: usize,
    next_port: u16,
}

/// Maximum number of connections in all phases; depends on the memory size.
fn connection_count_max() -> usize {
    scaled(STACK_CONNECTION_COUNT_MIN, STACK_CONNECTION_COUNT_MAX)
}

impl Smol {
    /// Creates a stack over `link`. Memory for sockets comes from the heap (`mem::heap`).
    pub fn new(link: &'static mut dyn Link, settings: &Settings, now: Instant) -> Self {
        let seeds = settings.seed.as_chunks::<8>().0;
        let [seed, other, ..] = *seeds else {
            unreachable!()
        };
        let (seed, other) = (u64::from_le_bytes(seed), u64::from_le_bytes(other));
        let own = Mac(settings.mac);
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let frame_bytes = link.limits().frame_bytes;
        let mut port = Port::new(link, own);
        let interface = Interface::new(config, &mut port.device(&[], &mut []), paced(now));
        let dhcp = (settings.ip == Ip::Dhcp).then(|| Dhcp::new(own, settings.name, other, now));
        let count = connection_count_max() + OTHER_COUNT_MAX;
        let mut stack = Self {
            port,
            interface,
            // Full capacity from the start: growing may fail, which would end the process.
            sockets: SocketSet::new(alloc::vec::Vec::with_capacity(count)),
            open_sockets: Slots::new(count),
            addresses: Addresses::new(own, settings, other, now),
            groups: Groups::new(seed),
            dhcp,
            is_for_host: settings.is_for_host,
            own,
            index: 1,
            now,
            rx: Slots::zeroed(BATCH * frame_bytes),
            first: 0,
            next_port: 49152 + (seed as u16 & 0x3fff),
        };
        // Sends a first DHCPDISCOVER now, so that the server answers while tasks start.
        stack.run(now);
        stack
    }

    fn get(&self, socket: Socket) -> NetResult<&OpenSocket> {
        let open = self.open_sockets.get(socket.0);
        open.and_then(Option::as_ref).ok_or(NetError::Gone)
    }

    fn get_mut(&mut self, socket: Socket) -> NetResult<&mut OpenSocket> {
        let open = self.open_sockets.get_mut(socket.0);
        open.and_then(Option::as_mut).ok_or(NetError::Gone)
    }

    /// Keeps an open socket. Its address loses its scope ID: the stack has one interface, and the addresses in packets have none.
    fn insert(&mut self, mut open: OpenSocket) -> NetResult<Socket> {
        if let SocketAddr::V6(at) = &mut open.at {
            at.set_scope_id(0);
        }
        let free = self.open_sockets.iter().position(Option::is_none);
        let index = match free {
            Some(index) => index,
            None => self.open_sockets.push(None).ok_or(NetError::Full)?,
        };
        if let Some(free) = self.open_sockets.get_mut(index) {
            *free = Some(open);
        }
        Ok(Socket(index))
    }

    /// Returns the address for a new socket at `at`; port 0 becomes a free port.
    ///
    /// # Errors
    /// `NoSuchAddress`, `InUse`.
    fn free_address(&mut self, mut at: SocketAddr, is_stream: bool) -> NetResult<SocketAddr> {
        let is_own = at.ip().is_unspecified() || self.has(at.ip());
        if !is_own {
            return Err(NetError::NoSuchAddress);
        }
        if at.port() != 0 {
            let is_free = !self.is_bound(at, is_stream);
            return is_free.then_some(at).ok_or(NetError::InUse);
        }
        for _ in 0..=0x3fff {
            self.next_port = 49152 | (self.next_port.wrapping_add(1) & 0x3fff);
            at.set_port(self.next_port);
            if !self.is_bound(at, is_stream) {
                return Ok(at);
            }
        }
        Err(NetError::InUse)
    }

    fn is_bound(&self, at: SocketAddr, is_stream: bool) -> bool {
        self.open_sockets.iter().flatten().any(|open| {
            let is_same_kind = match open.kind {
                SocketKind::Listener => is_stream,
                SocketKind::Datagrams(..) => !is_stream && !open.at.ip().is_multicast(),
                _ => false,
            };
            is_same_kind
                && open.at.port() == at.port()
                && (open.at.ip() == at.ip()
                    || covers(open.at.ip(), at.ip())
                    || covers(at.ip(), open.at.ip()))
        })
    }

    fn has(&self, address: IpAddr) -> bool {
        self.addresses.usable().any(|(own, _)| own == address)
    }

    /// Receives and sends frames, and runs expired timers.
    fn run(&mut self, now: Instant) {
        self.now = now;
        self.port.set_now(now);
        self.port.flush();
        self.receive_frames(now);
        for _ in 0..FRAME_COUNT_MAX {
            let (own, addresses, groups) = (self.own, &mut self.addresses, &mut self.groups);
            if addresses.poll_at().min(groups.poll_at()) > now {
                break;
            }
            self.port
                .send_with(&mut |out| match addresses.poll_at() <= now {
                    true => addresses.advance(now, out),
                    false => groups.advance(now, own, addresses.usable().map(|(own, _)| own), out),
                });
        }
        self.run_dhcp(now);
        if self.addresses.take_change() {
            self.apply_addresses(now);
        }
        self.interface.poll_maintenance(paced(now));
        for _ in 0..FRAME_COUNT_MAX {
            // A round lets each socket send one frame. Rounds end when the link accepts no more frames.
            if self.port.is_blocked() {
                break;
            }
            let device = &mut self.port.device(&[], &mut self.open_sockets);
            let sent = self
                .interface
                .poll_egress(paced(now), device, &mut self.sockets);
            if sent == smoltcp::iface::PollResult::None {
                break;
            }
        }
        self.sweep(now);
    }

    fn receive_frames(&mut self, now: Instant) {
        let has_offloads = self.port.limits().has_offloads;
        for _ in 0..FRAME_COUNT_MAX / BATCH {
            let mut frames = Frames::new();
            match self.port.link.recv(&mut self.rx, &mut frames) {
                Ok(()) => {}
                Err(NetError::Gone) => {
                    self.addresses.restart(now);
                    self.index += 1;
                    self.report_changes();
                    return;
                }
                Err(_) => return,
            }
            // Takes the buffer out of `self`, because `self` is borrowed mutably below.
            let mut rx = core::mem::take(&mut self.rx);
            for frame in frames {
                if let Some(bytes) = rx.get_mut(frame.bytes)
                    && let Some(bytes) = extensions::remove(bytes)
                    && (!has_offloads || frame.is_verified || packet::is_intact(bytes))
                {
                    self.receive_frame(now, bytes);
                }
            }
            self.rx = rx;
        }
    }

    fn receive_frame(&mut self, now: Instant, frame: &mut [u8]) {
        let Some(content) = packet::content(frame, self.own) else {
            return;
        };
        self.addresses.handle(now, &content);
        if !self.learn_sender(frame, &content) {
            return;
        }
        match content {
            Content::Datagram { from, to, bytes } => {
                // If the link has offloads, `receive_frames` has already dropped damaged datagrams.
                if !self.port.limits().has_offloads && !packet::is_intact(frame) {
                    return;
                }
                if to.port() == CLIENT_PORT {
                    if let (SERVER_PORT, Some(dhcp), Some((mac, ..))) =
                        (from.port(), &mut self.dhcp, packet::endpoints(frame))
                    {
                        dhcp.handle(now, mac, bytes);
                    }
                    return;
                }
                // smoltcp, which has no UDP, sends an ICMP error.
                if !self.is_for_host && !self.receive_datagram(from, to, bytes) {
                    self.process(now, frame);
                }
                return;
            }
            _ if self.is_for_host => return,
            Content::Query(query) => {
                self.groups.handle(now, &query);
                return;
            }
            // To all hosts on the link: TCP has no such segments (RFC 1122 sections 3.3.6 and 4.2.3.10).
            Content::Syn { .. } | Content::Segment { .. } | Content::Reset { .. }
                if frame.first().is_some_and(|first| first & 1 != 0) =>
            {
                return;
            }
            _ => self.resolve(&content),
        }
        match self.check_segment(now, &content) {
            Verdict::Accept => self.process(now, frame),
            Verdict::Limit { window, is_loss } => {
                packet::limit_window(frame, window);
                self.process(now, frame);
                if is_loss {
                    self.forge_duplicate_acks(now, frame);
                }
            }
            Verdict::Drop => {}
            Verdict::Challenge { number } => self.forge_challenge(now, frame, number),
        }
    }

    /// Passes the IP packet in a frame to smoltcp.
    fn process(&mut self, now: Instant, frame: &[u8]) {
        let device = &mut self.port.device(frame, &mut self.open_sockets);
        self.interface
            .poll_ingress_single(paced(now), device, &mut self.sockets);
    }

    fn run_dhcp(&mut self, now: Instant) {
        let Some(dhcp) = &mut self.dhcp else {
            return;
        };
        if let Some(start_at) = self.addresses.take_lease_lost() {
            dhcp.reset(start_at);
        }
        if dhcp.poll_at() <= now {
            self.port.send_with(&mut |out| dhcp.advance(now, out));
        }
        if let Some(lease) = dhcp.take_event() {
            self.addresses.set_lease(lease, now);
        }
    }

    fn apply_addresses(&mut self, now: Instant) {
        let addresses = &self.addresses;
        let solicited = |own: IpAddr| match own {
            IpAddr::V6(own) => Some(IpAddr::from(solicited_node(own))),
            IpAddr::V4(_) => None,
        };
        let groups = || addresses.usable().filter_map(|(own, _)| solicited(own));
        self.groups.leave(now, |group| {
            is_solicited_node(group) && groups().all(|other| other != group)
        });
        for group in groups() {
            // There is a place for the group of each address.
            let _ = self.groups.join(now, group);
        }
        self.interface.update_ip_addrs(|known| {
            known.clear();
            for (address, prefix) in addresses.usable() {
                let _ = known.push(IpCidr::new(address.into(), prefix));
            }
        });
        self.report_changes();
    }

    fn report_changes(&mut self) {
        for open in self.open_sockets.iter_mut().flatten() {
            if let SocketKind::Changes(any) = &mut open.kind {
                *any = true;
            }
        }
    }

    /// Time of the next timer.
    fn poll_at(&mut self, now: Instant) -> Instant {
        // While frames wait for the link, nothing else can be sent.
        if self.port.is_blocked() {
            return Instant::NEVER;
        }
        let dhcp = self.dhcp.as_ref();
        let mut at = dhcp.map_or(Instant::NEVER, Dhcp::poll_at);
        at = at.min(self.addresses.poll_at());
        at = at.min(self.groups.poll_at());
        if let Some(due) = self.interface.poll_at(paced(now), &self.sockets) {
            at = at.min(unpaced(now, due));
        }
        at
    }

    /// Collects the tokens of ready sockets. Sockets that did not fit are checked first in the next turn.
    fn collect(&mut self, ready: &mut Ready) {
        let count = self.open_sockets.len();
        for step in 0..count {
            let index = (self.first + step) % count;
            if let Some(Some(open)) = self.open_sockets.get(index)
                && self.is_ready(index, open)
                && ready.tokens.push(open.token).is_err()
            {
                self.first = index;
                return;
            }
        }
        self.first = 0;
    }

    fn is_ready(&self, index: usize, open: &OpenSocket) -> bool {
        match (&open.kind, open.interest) {
            (_, Interest::None) => false,
            (SocketKind::Listener, _) => self.waiting(index).is_some(),
            (SocketKind::Connection(connection), interest) => {
                self.can_continue(connection, interest)
            }
            (SocketKind::Datagrams(queue, _), _) => !queue.is_empty(),
            (SocketKind::Changes(any), _) => *any,
        }
    }
}

/// Returns true for the group of hosts whose IPv6 address has certain last 24 bits (RFC 4291 section 2.7.1).
fn is_solicited_node(group: IpAddr) -> bool {
    matches!(group, IpAddr::V6(group) if solicited_node(group) == group)
}

/// Returns true if a socket bound to `at`, an unspecified address, receives datagrams to `address`.
fn covers(at: IpAddr, address: IpAddr) -> bool {
    at.is_unspecified() && (at.is_ipv6() || address.is_ipv4())
}

impl Datagrams for Smol {
    fn bind(&mut self, binding: &Binding<'_>, token: Token) -> NetResult<Socket> {
        let at = self.free_address(binding.at, false)?;
        self.open_datagrams(at, binding.broadcasts, token)
    }

    fn socket_count_max(&self) -> usize {
        OTHER_COUNT_MAX
    }

    fn local(&self, socket: Socket) -> NetResult<SocketAddr> {
        self.get(socket).map(|open| open.at)
    }

    fn recv_from(&mut self, socket: Socket, buffer: &mut [u8]) -> NetResult<Received> {
        let open = self.get_mut(socket)?;
        if let SocketKind::Changes(any) = &mut open.kind {
            let changed = core::mem::take(any).then_some(Received {
                len: 0,
                from: open.at,
                to: Own::default(),
                is_broadcast: false,
            });
            return changed.ok_or(NetError::WouldBlock);
        }
        self.recv_datagram(socket, buffer)
    }

    fn send_to(
        &mut self,
        socket: Socket,
        from: Own,
        to: SocketAddr,
        bytes: &[u8],
    ) -> NetResult<()> {
        self.send_datagram(socket, from.address, to, bytes)
    }

    fn close(&mut self, socket: Socket) {
        match self.get(socket).map(|open| &open.kind) {
            Ok(SocketKind::Connection(_)) => self.close_connection(socket),
            Ok(SocketKind::Listener) => self.close_listener(socket),
            Ok(SocketKind::Datagrams(..)) => self.close_datagrams(socket),
            Ok(SocketKind::Changes(_)) | Err(_) => {
                if let Some(slot) = self.open_sockets.get_mut(socket.0) {
                    *slot = None;
                }
            }
        }
    }

    fn take_conflict(&mut self) -> Option<Ipv6Addr> {
        self.addresses.conflict.take()
    }

    fn wait(&mut self, now: Instant, until: Instant, ready: &mut Ready) -> Instant {
        ready.tokens.clear();
        ready.signals = super::Signals::default();
        let mut now = now;
        loop {
            self.run(now);
            self.collect(ready);
            let at = match ready.tokens.is_empty() {
                true => until.min(self.poll_at(now)),
                false => now,
            };
            let is_blocked = self.port.is_blocked();
            now = self.port.link.wait(now, at, is_blocked, &mut ready.signals);
            let is_told = ready.signals != super::Signals::default();
            if !ready.tokens.is_empty() || is_told || now >= until {
                return now;
            }
        }
    }
}

impl Multicast for Smol {
    fn interfaces(&self, out: &mut Interfaces) {
        while out.pop().is_some() {}
        let mut known = Known {
            index: self.index,
            is_running: true,
            is_multicast: true,
            mtu: self.port.limits().mtu as u32,
            hardware: Some(self.own.0),
            ..Known::default()
        };
        let [e, t, h, zero, ..] = &mut known.name;
        (*e, *t, *h, *zero) = (b'e', b't', b'h', b'0');
        known.addresses.extend(self.addresses.usable());
        known.gateway = self.addresses.gateway();
        if !known.addresses.is_empty() {
            let _ = out.push_up_to(1, known);
        }
    }

    fn changes(&mut self, token: Token) -> NetResult<Socket> {
        self.insert(OpenSocket {
            kind: SocketKind::Changes(false),
            at: SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0),
            token,
            interest: Interest::Input,
        })
    }

    fn join(
        &mut self,
        index: u32,
        own: IpAddr,
        group: SocketAddr,
        token: Token,
    ) -> NetResult<Socket> {
        if index != self.index || !self.has(own) {
            return Err(NetError::NoSuchAddress);
        }
        let socket = self.open_datagrams(group, false, token)?;
        if let Err(error) = self.groups.join(self.now, group.ip()) {
            self.close_datagrams(socket);
            return Err(error);
        }
        Ok(socket)
    }

    fn claim(&mut self, index: u32, own: SocketAddr, token: Token) -> NetResult<Socket> {
        if index != self.index {
            return Err(NetError::NoSuchAddress);
        }
        self.bind(&Binding::of(own), token)
    }
}

impl Net for Smol {}

#[cfg(test)]
mod tests;
