//! Multicast DNS on the host's interfaces: opens and closes links as interfaces appear and disappear, passes datagrams to an
//! endpoint (a responder or a querier) and sends its messages to the multicast groups.
//!
//! Each interface has one socket per multicast group and one per own address. The receiving socket thus identifies the interface,
//! and multicast or unicast, even on hosts that do not report the destination address.

use super::task::{Task, World};
use crate::config::LINK_COUNT_MAX;
use crate::engine::mdns::{
    Destination, GROUP_V4, GROUP_V6, Link, LinkId, MESSAGE_BYTES, Meta, Outgoing, PORT, family,
    link_count,
};
use crate::event::{Events, Fatal};
use crate::mem::{Ends as _, Slots, nth};
use crate::net::{FileId, Interface, Interfaces, NetError, NetResult, Own, Signals, Socket, Token};
use crate::stats::{Family, Figure};
use crate::sys::{Calls, FileRights, Needs};
use crate::text::{Text, text};
use crate::time::{Duration, Instant};
use crate::vfs::Tree;
use core::mem::replace;
use core::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Interval of polling the interfaces if the host does not report changes.
const SCAN_INTERVAL: Duration = Duration::from_secs(5);
/// Delay between a reported change and reading the interfaces; changes come in bursts.
const SETTLE: Duration = Duration::from_ms(100);
/// Time of the first look at the interfaces. A machine without an operating system, whose clock starts with it, answers clients of NFS
/// first; on a host, this time has passed.
const FIRST_SCAN: Instant = Instant::from_ms(100);
/// Most datagrams received from one socket in one turn.
const TURN: usize = 64;
/// Most change messages received in one turn.
const CHANGE_COUNT_MAX: usize = 1024;
/// Most sockets of one link: one per multicast group (IPv4 and IPv6), and one for each of up to 16 own addresses.
const SOCKET_COUNT_MAX: usize = 18;
/// Token of the socket that reports changes of interfaces; tokens of links are smaller.
const CHANGES: u32 = (LINK_COUNT_MAX * SOCKET_COUNT_MAX) as u32;

/// Token of the descriptors that the endpoint waits for.
const FILES: u32 = CHANGES + 1;

const CANNOT_USE: Text = text!("cannot use multicast DNS on");

/// A socket of a link.
#[derive(Clone, Copy, Debug)]
struct LinkSocket {
    socket: Socket,
    /// The address the socket is bound to or, for a group's socket, the address it joined from.
    own: IpAddr,
    /// True if the socket has joined the multicast group.
    is_group: bool,
}

impl LinkSocket {
    /// Sends the first `len` bytes of the transmit buffer.
    fn send(&self, world: &mut World<'_>, to: &SocketAddr, len: usize) {
        let bytes = world.tx.head(len);
        world.stats.add(Family::Mdns, Figure::Sent, len as u64);
        world.stats.add(Family::Mdns, Figure::Responses, 1);
        // Errors are ignored as packet loss is: messages and queries are repeated.
        let _ = world
            .net
            .send_to(self.socket, Own::of(Some(self.own)), *to, bytes);
    }
}

/// The sockets of a link.
#[derive(Debug, Default)]
#[repr(C)] // Largest field last: the others have short offsets.
struct LinkSockets {
    /// Interface index; 0: unused.
    index: u32,
    link: Link,
    sockets: heapless::Vec<LinkSocket, SOCKET_COUNT_MAX>,
}

/// Interfaces and address families to serve.
#[derive(Clone, Copy, Default, Debug)]
pub struct Choice<'a> {
    /// Interfaces to serve. Empty: every multicast-capable one, except loopback and point-to-point.
    pub names: &'a [&'a [u8]],
    /// Interfaces to exclude.
    pub denied: &'a [&'a [u8]],
    /// Address families to serve, as bits of [`family`]; 0: all.
    pub families: u8,
}

impl Choice<'_> {
    fn selects(&self, interface: &Interface) -> bool {
        let is_denied = self.denied.contains(&name(interface));
        if !interface.is_running || interface.addresses.is_empty() || is_denied {
            return false;
        }
        if self.names.is_empty() {
            return interface.is_multicast
                && !(interface.is_loopback || interface.is_point_to_point);
        }
        self.names.contains(&name(interface))
    }
}

/// The interface's name.
fn name(interface: &Interface) -> &[u8] {
    nth(&interface.name, 0, 0)
}

/// A responder or a querier of multicast DNS. Object-safe.
///
/// Call `handle` for each datagram, then `poll_transmit` until it is `None`, then `poll_event`, then wait until `poll_at`.
pub trait Endpoint {
    /// Called once, before all other functions. Passes each descriptor that the endpoint waits for to `watch`, which returns false
    /// if the network cannot wait for descriptors.
    fn start(&mut self, _now: Instant, _watch: &mut dyn FnMut(FileId) -> bool) {}
    /// Adds further system calls and files that the endpoint needs, as [`Task::add_needs`].
    fn add_needs(&self, _needs: &mut Needs) {}
    /// Called when such a descriptor is readable.
    fn handle_readable(&mut self, _now: Instant) {}
    /// Sets a link's addresses and the name of its interface. Returns false if the addresses do not fit the endpoint's table.
    fn set_link(&mut self, now: Instant, id: LinkId, link: &Link, interface: &[u8]) -> bool;
    /// Handles a datagram. Returns the length of a unicast reply to the sender in `out`, if there is one.
    fn handle(
        &mut self,
        now: Instant,
        meta: Meta,
        datagram: &[u8],
        out: &mut [u8],
    ) -> Option<usize>;
    /// Writes the next message that is due to `out`.
    fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<Outgoing>;
    /// The next time at which `poll_transmit` or `poll_event` has work.
    fn poll_at(&self) -> Instant;
    /// Reports events, once a turn.
    ///
    /// # Errors
    /// The exit status once the endpoint has finished or has failed.
    fn poll_event(&mut self, now: Instant, events: &mut Events) -> Result<(), Fatal>;
    /// Returns true while the endpoint leaves some records to another responder on port 5353. Once that program has closed the
    /// port, `set_link` is called again for every link.
    fn is_beside(&self) -> bool {
        false
    }
    /// Returns true while the endpoint claims or announces the host, so that another responder on port 5353 must be noticed before
    /// the next message.
    fn is_claiming(&self, _now: Instant) -> bool {
        false
    }
    /// Another program on this host has opened port 5353 while [`Self::is_claiming`].
    fn on_port_taken(&mut self, _now: Instant) {}
    /// Records announced now, and queries received and conflicts since the start.
    fn figures(&self) -> [u64; 3] {
        [0; 3]
    }
    /// Handles signals to the process.
    fn on_signals(&mut self, _now: Instant, _signals: Signals) {}
    /// Prepares the messages to send before the end: goodbyes (RFC 6762 section 10.1).
    fn goodbye(&mut self, now: Instant);
}

/// A task that runs an endpoint on the host's links.
pub struct Mdns<'a> {
    endpoint: &'a mut dyn Endpoint,
    choice: Choice<'a>,
    /// The links that have been in use.
    links: Slots<LinkSockets>,
    /// The interfaces when they were last read.
    interfaces: Interfaces,
    /// Socket that reports changes of interfaces, if the host has one.
    changes: Option<Socket>,
    /// Next time at which to read the interfaces.
    scan_at: Instant,
    /// True if another program had port 5353 when the interfaces were last read.
    is_taken: bool,
    /// True once the endpoint has ended the loop.
    is_over: bool,
    /// The endpoint's figures in the last turn.
    figures: [u64; 3],
    /// The messages that were reported.
    complained: Complained,
    /// True once the interfaces were read when no interface could be used: they are read again before that is reported.
    has_waited: bool,
}

/// Messages that are reported once.
#[derive(Debug, Default)]
struct Complained {
    /// The host refuses an interface.
    refused: bool,
    /// There are more interfaces than links.
    too_many: bool,
    /// No interface can be used.
    none: bool,
}

impl<'a> Mdns<'a> {
    /// Creates the task; `turn` reads the interfaces first.
    pub fn new(endpoint: &'a mut dyn Endpoint, choice: Choice<'a>) -> Self {
        Self {
            endpoint,
            choice,
            links: Slots::default(),
            interfaces: Interfaces::default(),
            changes: None,
            scan_at: FIRST_SCAN,
            is_taken: false,
            is_over: false,
            figures: [0; 3],
            complained: Complained::default(),
            has_waited: false,
        }
    }
}

impl Task for Mdns<'_> {
    fn start(&mut self, world: &mut World<'_>) -> Result<(), Fatal> {
        self.changes = world.net.changes(world.token(CHANGES)).ok();
        let (net, token) = (&mut *world.net, Token::new(world.task, FILES));
        let watch = &mut |file| net.watch_file(file, token).is_ok();
        self.endpoint.start(world.now, watch);
        for name in self.choice.names {
            if !world.net.has_interface(name) {
                let what = CANNOT_USE.warn();
                let why = text!("no such interface; waiting");
                world.events.report(what, name, why);
                self.complained.none = true;
            }
        }
        Ok(())
    }

    fn add_needs(&self, _: &Tree, needs: &mut Needs) {
        needs.add(Calls::MULTICAST);
        // The kernel lists IPv6 addresses in /proc only. An empty directory /proc has no entry "self".
        if !needs.add_directory(c"/proc/self/..", FileRights::Read) {
            needs.add(Calls::CONNECT);
        }
        self.endpoint.add_needs(needs);
    }

    fn ready(&mut self, world: &mut World<'_>, local: u32) {
        match local {
            FILES => self.endpoint.handle_readable(world.now),
            CHANGES => self.drain_changes(world),
            local => self.receive_datagrams(world, local as usize),
        }
    }

    fn turn(&mut self, world: &mut World<'_>, signals: Signals) {
        if signals.reload || signals.child {
            self.endpoint.on_signals(world.now, signals);
        }
        if self.scan_at <= world.now {
            self.scan_interfaces(world);
        }
        if self.endpoint.is_beside() {
            self.schedule_scan(world.now, SCAN_INTERVAL);
        }
        self.send_all(world);
        self.count(world);
        // Messages that follow from an event are sent in the next turn, which is due at once.
        if let Err(status) = self.endpoint.poll_event(world.now, world.events) {
            self.is_over = true;
            world.exit = Some(status);
        }
    }

    fn poll_at(&self) -> Instant {
        self.endpoint.poll_at().min(self.scan_at)
    }

    fn stop(&mut self, world: &mut World<'_>) {
        if !self.is_over {
            self.endpoint.goodbye(world.now);
            self.send_all(world);
        }
    }
}

impl Mdns<'_> {
    /// Adds what the endpoint has counted since the last turn.
    fn count(&mut self, world: &World<'_>) {
        let figures = self.endpoint.figures();
        let [records, queries, conflicts] = figures;
        let [_, queries_before, conflicts_before] = replace(&mut self.figures, figures);
        let stats = &world.stats;
        stats.set(Family::Mdns, Figure::Records, records);
        stats.add(Family::Mdns, Figure::Queries, queries - queries_before);
        let conflicts = conflicts - conflicts_before;
        stats.add(Family::Mdns, Figure::Conflicts, conflicts);
    }

    /// Schedules reading the interfaces after `time`, unless it is already scheduled earlier.
    fn schedule_scan(&mut self, now: Instant, time: Duration) {
        self.scan_at = self.scan_at.min(now.after(time));
    }

    /// Schedules reading the interfaces after a change, and empties the socket that reported the change.
    fn drain_changes(&mut self, world: &mut World<'_>) {
        self.schedule_scan(world.now, SETTLE);
        let Some(socket) = self.changes else {
            return;
        };
        // ENOBUFS (the socket's queue overflowed) also means a change.
        for _ in 0..CHANGE_COUNT_MAX {
            if let Err(NetError::WouldBlock) = world.net.recv_from(socket, &mut []) {
                return;
            }
        }
        // The socket is readable without end, so it is broken: close it and poll the interfaces instead.
        world.net.close(socket);
        self.changes = None;
    }

    /// Opens, updates and closes links according to the host's interfaces.
    fn scan_interfaces(&mut self, world: &mut World<'_>) {
        let mut interfaces = core::mem::take(&mut self.interfaces);
        world.net.interfaces(&mut interfaces);
        let families = self.choice.families;
        for interface in interfaces.iter_mut().filter(|_| families != 0) {
            let (addresses, mut at) = (&mut interface.addresses, 0);
            while let Some((own, _)) = addresses.get(at) {
                if families & family::of(own) == 0 {
                    addresses.swap_remove(at);
                } else {
                    at += 1;
                }
            }
        }
        self.scan_at = match self.changes {
            Some(_) => Instant::NEVER,
            None => world.now.after(SCAN_INTERVAL),
        };
        let was_taken = self.is_taken;
        self.check_port(world);
        if was_taken && !self.is_taken {
            for (id, open) in self.links.iter().enumerate() {
                if open.index != 0 {
                    let id = id as LinkId;
                    self.endpoint.set_link(world.now, id, &open.link, b"");
                }
            }
        }
        for id in 0..self.links.len() {
            let index = self.links.get(id).map_or(0, |open| open.index);
            let is_its = |other: &Interface| other.index == index && self.choice.selects(other);
            if index != 0 && !interfaces.iter().any(is_its) {
                self.close(world, id);
            }
        }
        let mut is_alone = true;
        for interface in interfaces.iter() {
            if self.choice.selects(interface) {
                self.open_link(world, interface);
                is_alone = false;
            }
        }
        if is_alone {
            let names = self.choice.names;
            let first = names.first().copied().unwrap_or(b"any interface");
            let why = text!("down, or without an address; waiting");
            // A host that has just started may get its address now.
            match replace(&mut self.has_waited, true) {
                true => self.complain(world, |said| &mut said.none, first, why),
                false => self.schedule_scan(world.now, SCAN_INTERVAL),
            }
        }
        self.interfaces = interfaces;
    }

    /// Updates `is_taken`. A program that has bound port 5353 to all addresses also blocks this bind to loopback.
    fn check_port(&mut self, world: &mut World<'_>) {
        let here = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT);
        let socket = world.net.claim(0, here, world.token(CHANGES));
        self.is_taken = socket.is_err();
        if let Ok(socket) = socket {
            world.net.close(socket);
        }
    }

    /// Opens a link on an interface, or reopens it if its addresses or MTU have changed.
    fn open_link(&mut self, world: &mut World<'_>, interface: &Interface) {
        let place = |index: u32| self.links.iter().position(|open| open.index == index);
        let known = place(interface.index).or_else(|| place(0));
        let add = || self.links.push_up_to(link_count(), LinkSockets::default());
        let Some(id) = known.or_else(add) else {
            let why = text!("too many interfaces; choose with --interface or --deny");
            return self.complain(world, |said| &mut said.too_many, name(interface), why);
        };
        let Some(open) = self.links.get(id) else {
            return;
        };
        let mut addresses = interface.addresses.iter();
        let is_same = open.link.mtu == interface.mtu
            && open.link.addresses.len() == addresses.len()
            && addresses.all(|(own, bits)| open.link.prefix_len(own) == Some(*bits));
        if open.index != 0 && is_same {
            return;
        }
        self.close_sockets(world, id);
        let refusal = self.open_sockets(world, id, interface);
        let Some(open) = self.links.get_mut(id) else {
            return;
        };
        if open.sockets.is_empty() {
            self.close(world, id);
            let why = match refusal {
                NetError::InUse => text!("another program uses port 5353 without sharing it"),
                NetError::Full => text!("too few file descriptors; raise the limit (ulimit -n)"),
                _ => text!("the host refuses multicast on this interface"),
            };
            return self.complain(world, |said| &mut said.refused, name(interface), why);
        }
        open.index = interface.index;
        self.complained.refused = false;
        let name = name(interface);
        if world.events.shows_debug() {
            let what = text!("using multicast DNS on").debug();
            world.events.report(what, name, Text::NOTHING);
        }
        if !self
            .endpoint
            .set_link(world.now, id as LinkId, &open.link, name)
        {
            let what = text!("too many addresses on").warn();
            world.events.report(what, name, Text::NOTHING);
        }
    }

    /// Reports once that an interface cannot be served, or that no interface can be. Opening is retried whenever the interfaces are
    /// read.
    fn complain(
        &mut self,
        world: &mut World<'_>,
        said: fn(&mut Complained) -> &mut bool,
        interface: &[u8],
        why: Text,
    ) {
        if !replace(said(&mut self.complained), true) {
            let what = CANNOT_USE.warn();
            world.events.report(what, interface, why);
        }
    }

    /// Opens all sockets of an interface. Returns the error of a group's socket that failed.
    fn open_sockets(
        &mut self,
        world: &mut World<'_>,
        id: usize,
        interface: &Interface,
    ) -> NetError {
        let mut error = NetError::InUse;
        let Some(open) = self.links.get_mut(id) else {
            return error;
        };
        open.link.addresses.clone_from(&interface.addresses);
        open.link.mtu = interface.mtu;
        open.link.shares_port = false;
        // First open one socket per multicast group, then one per own address.
        for &is_group in &[true, false] {
            for (own, _) in &interface.addresses {
                let is_known = |socket: &LinkSocket| socket.own.is_ipv4() == own.is_ipv4();
                let is_done = open.sockets.iter().any(is_known);
                if open.sockets.is_empty() && !is_group || is_group && is_done {
                    continue;
                }
                let local = id * SOCKET_COUNT_MAX + open.sockets.len();
                match open_socket(world, interface.index, *own, is_group, local as u32) {
                    Ok(socket) => {
                        let own = *own;
                        let socket = LinkSocket {
                            socket,
                            own,
                            is_group,
                        };
                        let _ = open.sockets.push(socket);
                    }
                    // Another program also receives on this address, so a unicast message to us may reach it instead.
                    Err(_) if !is_group => open.link.shares_port = true,
                    Err(why) => error = why,
                }
            }
        }
        error
    }

    fn close_sockets(&mut self, world: &mut World<'_>, id: usize) {
        if let Some(open) = self.links.get_mut(id) {
            while let Some(socket) = open.sockets.pop() {
                world.net.close(socket.socket);
            }
        }
    }

    fn close(&mut self, world: &mut World<'_>, id: usize) {
        self.close_sockets(world, id);
        if let Some(open) = self.links.get_mut(id) {
            *open = LinkSockets::default();
            self.endpoint
                .set_link(world.now, id as LinkId, &open.link, b"");
        }
    }

    fn receive_datagrams(&mut self, world: &mut World<'_>, local: usize) {
        let (id, place) = (local / SOCKET_COUNT_MAX, local % SOCKET_COUNT_MAX);
        let mut is_broken = true;
        for _ in 0..TURN {
            match self.receive_datagram(world, id, place) {
                Ok(()) => is_broken = false,
                Err(NetError::WouldBlock) => return,
                Err(_) => {}
            }
        }
        if is_broken {
            // All receives failed, and would again: close the link and reopen it later.
            self.close(world, id);
            self.schedule_scan(world.now, SCAN_INTERVAL);
        }
    }

    /// Receives one datagram from a socket of a link and handles it. A closed socket counts as empty.
    #[inline(never)] // −99 bytes: one caller, whose frame stays small.
    fn receive_datagram(
        &mut self,
        world: &mut World<'_>,
        id: usize,
        place: usize,
    ) -> NetResult<()> {
        let open = self.links.get(id);
        let socket = open.and_then(|open| open.sockets.get(place));
        let socket = socket.ok_or(NetError::WouldBlock)?;
        let received = world.net.recv_from(socket.socket, world.rx)?;
        let cast = match received.to.address {
            Some(to) if to.is_multicast() => Destination::Multicast,
            None if socket.is_group => Destination::Unknown,
            _ => Destination::Unicast,
        };
        let meta = Meta {
            from: received.from,
            link: id as LinkId,
            cast,
        };
        let datagram = world.rx.head(received.len);
        let reply = self
            .endpoint
            .handle(world.now, meta, datagram, tx(world.tx));
        if let Some(len) = reply {
            self.send_to(world, id, &received.from, len);
        }
        self.send_all(world);
        Ok(())
    }

    /// Sends a unicast message from the link's first own address in the family of `to`. If the link has no own address in that
    /// family, sends from the socket of the multicast group.
    fn send_to(&self, world: &mut World<'_>, id: usize, to: &SocketAddr, len: usize) {
        let Some(open) = self.links.get(id) else {
            return;
        };
        // The first socket of an address family is that of its multicast group.
        let is_its = |socket: &&LinkSocket| socket.own.is_ipv4() == to.is_ipv4();
        let mut sockets = open.sockets.iter().filter(is_its);
        let group = sockets.next();
        if let Some(from) = sockets.next().or(group) {
            from.send(world, to, len);
        }
    }

    /// Sends all messages that are due. While the host is being claimed, notices a responder that was started meanwhile, as at boot:
    /// our records could make that responder rename the host.
    fn send_all(&mut self, world: &mut World<'_>) {
        let is_due = self.endpoint.poll_at() <= world.now;
        if is_due && !self.is_taken && self.endpoint.is_claiming(world.now) {
            self.check_port(world);
            if self.is_taken {
                self.endpoint.on_port_taken(world.now);
            }
        }
        while let Some(transmit) = self.endpoint.poll_transmit(world.now, tx(world.tx)) {
            self.send_to_groups(world, &transmit);
        }
    }

    fn send_to_groups(&self, world: &mut World<'_>, transmit: &Outgoing) {
        let Some(open) = self.links.get(usize::from(transmit.link)) else {
            return;
        };
        for socket in &open.sockets {
            if socket.is_group && transmit.families & family::of(&socket.own) != 0 {
                socket.send(world, &group(open.index, socket.own), transmit.len);
            }
        }
    }
}

/// The part of the transmit buffer that holds one message.
fn tx(tx: &mut [u8]) -> &mut [u8] {
    tx.head_mut(MESSAGE_BYTES)
}

/// The multicast group for `own`'s family, on interface `index`.
#[inline(never)] // −72 bytes: two callers.
const fn group(index: u32, own: IpAddr) -> SocketAddr {
    match own {
        IpAddr::V4(_) => SocketAddr::V4(SocketAddrV4::new(GROUP_V4, PORT)),
        IpAddr::V6(_) => SocketAddr::V6(SocketAddrV6::new(GROUP_V6, PORT, 0, index)),
    }
}

/// Opens a socket for the group of `own`'s family, or bound to `own`.
fn open_socket(
    world: &mut World<'_>,
    index: u32,
    own: IpAddr,
    is_group: bool,
    local: u32,
) -> NetResult<Socket> {
    let token = world.token(local);
    if is_group {
        world.net.join(index, own, group(index, own), token)
    } else {
        world.net.claim(index, SocketAddr::new(own, PORT), token)
    }
}
