//! The loop of multicast DNS: links come and go as interfaces do; what arrives goes to who speaks there, and what that says out.
//!
//! Of each interface there is a socket for each family's group and one for each address of ours: so it is known where a
//! datagram came in, and whether it was for all, on hosts that do not say so.

#[cfg(test)]
mod tests;

use crate::engine::mdns::{
    Cast, LINK_COUNT_MAX, Link, LinkId, MESSAGE_BYTES, MESSAGE_BYTES_MAX, Meta, Transmit,
};
use crate::event::Events;
use crate::mem::Ends as _;
use crate::mem::Slots;
use crate::mem::nth;
use crate::net::{Interface, Interfaces, Links, NetError, Ready, Socket, Token};
use crate::sys::linux::interfaces::{LOOPBACK, MULTICAST, POINT_TO_POINT, RUNNING, UP};
use crate::sys::linux::multicast::{GROUP_V4, GROUP_V6, PORT};
use crate::text::{Text, text};
use crate::time::{Duration, Instant};
use core::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// How often interfaces are looked at where nobody tells of changes.
const LOOK: Duration = Duration::from_secs(5);
/// After a change, until it is looked at: there are more of them.
const SETTLE: Duration = Duration::from_ms(100);
/// Datagrams taken from one socket in one turn.
const TURN: usize = 64;
/// Changes taken at once.
const CHANGE_COUNT_MAX: usize = 1024;
/// Sockets of one link: two groups and its addresses.
const SOCKET_COUNT_MAX: usize = 18;
/// The token of what tells of changes; those of sockets are below.
const CHANGES: Token = (LINK_COUNT_MAX * SOCKET_COUNT_MAX) as Token;
/// The token of a file by which the speaker is called.
pub const CALL: Token = CHANGES + 1;

/// A socket of a link.
#[derive(Clone, Copy, Debug)]
struct Door {
    socket: Socket,
    /// The address it is at, or one of the family whose group it has joined.
    own: IpAddr,
    cast: Cast,
}

/// What is open on a link.
#[derive(Debug, Default)]
#[repr(C)]
struct Open {
    /// The interface's number; 0 is nobody's.
    index: u32,
    link: Link,
    doors: heapless::Vec<Door, SOCKET_COUNT_MAX>,
}

/// Which interfaces are served.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    /// These; if there are none, all that lead to several others.
    pub names: &'a [&'a [u8]],
}

impl Choice<'_> {
    fn takes(&self, interface: &Interface) -> bool {
        if !interface.has(UP | RUNNING) {
            return false;
        }
        if self.names.is_empty() {
            return interface.has(MULTICAST) && interface.flags & (LOOPBACK | POINT_TO_POINT) == 0;
        }
        self.names.contains(&name(interface))
    }
}

/// What an interface is called.
fn name(interface: &Interface) -> &[u8] {
    nth(&interface.name, 0, 0)
}

/// What speaks on links: a responder, or a browser.
pub trait Speaker {
    /// A link is so from now on, and is that of this interface. False: it has more addresses than there is room for.
    fn set_link(&mut self, now: Instant, id: LinkId, link: &Link, interface: &[u8]) -> bool;
    /// Takes what came. The bytes of a reply to its sender alone, if there is one, are in `out`: how many.
    fn handle(
        &mut self,
        now: Instant,
        meta: Meta,
        datagram: &[u8],
        out: &mut [u8],
    ) -> Option<usize>;
    /// What is to be sent now, if there is anything.
    fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<Transmit>;
    /// When it wants to be asked again.
    fn poll_at(&self) -> Instant;
    /// A turn is over: says what happened. False: it has done what it was to do.
    fn tell(&mut self, now: Instant) -> bool;
    /// What is watched as [`CALL`] can be read from.
    fn hear(&mut self, _now: Instant) {}
    /// Has everything said that is to be said before the end.
    fn leave(&mut self, now: Instant);
}

/// The loop and all it owns.
pub struct Mdns<'a> {
    net: &'a mut dyn Links,
    speaker: &'a mut dyn Speaker,
    choice: Choice<'a>,
    open: Slots<Open>,
    /// What tells of changes, if the host does.
    changes: Option<Socket>,
    /// When interfaces are looked at.
    look_at: Instant,
    now: Instant,
    rx: Slots<u8>,
    tx: Slots<u8>,
    events: Events,
    /// It was told that an interface cannot be served; that there are too many; that there is none.
    has_complained: [bool; 3],
}

impl<'a> Mdns<'a> {
    /// A loop that has not looked at the interfaces yet.
    pub fn new(
        net: &'a mut dyn Links,
        speaker: &'a mut dyn Speaker,
        choice: Choice<'a>,
        events: Events,
        now: Instant,
    ) -> Self {
        let changes = net.changes(CHANGES).ok();
        let mut open = Slots::new(LINK_COUNT_MAX);
        while open.push(Open::default()).is_some() {}
        Self {
            net,
            speaker,
            choice,
            open,
            changes,
            look_at: now,
            now,
            rx: Slots::zeroed(MESSAGE_BYTES_MAX),
            tx: Slots::zeroed(MESSAGE_BYTES),
            events,
            has_complained: [false; 3],
        }
    }

    /// Speaks until the process is asked to stop, or there is nothing more to do; whether it was asked.
    pub fn run(&mut self) -> bool {
        let mut ready = Ready::default();
        while !ready.stop {
            if !self.turn(&mut ready) {
                return false;
            }
        }
        self.speaker.leave(self.now);
        self.send_all();
        true
    }

    #[inline(never)]
    fn turn(&mut self, ready: &mut Ready) -> bool {
        if self.look_at <= self.now {
            self.look();
        }
        self.send_all();
        if !self.speaker.tell(self.now) {
            return false;
        }
        // What that led to is due at once, in the next turn.
        let until = self.speaker.poll_at().min(self.look_at);
        let until = (until < Instant::NEVER).then_some(until);
        self.now = self.net.wait(self.now, until, ready);
        for token in &ready.tokens {
            if *token == CHANGES {
                self.take_changes();
            } else if *token == CALL {
                self.speaker.hear(self.now);
            } else {
                self.take_datagrams(*token as usize);
            }
        }
        true
    }

    /// Looks at the interfaces after so long, or earlier.
    #[inline(never)]
    fn look_in(&mut self, time: Duration) {
        self.look_at = self.look_at.min(self.now.after(time));
    }

    /// Something changed: it is looked at in a while.
    fn take_changes(&mut self) {
        self.look_in(SETTLE);
        let Some(socket) = self.changes else {
            return;
        };
        // That there were more than it could hold is also one.
        for _ in 0..CHANGE_COUNT_MAX {
            if let Err(NetError::WouldBlock) = self.net.recv_from(socket, &mut []) {
                return;
            }
        }
        // It says so for ever: from now on, interfaces are looked at now and then.
        self.net.close(socket);
        self.changes = None;
    }

    /// Opens, changes and closes links as the interfaces are now.
    #[inline(never)]
    fn look(&mut self) {
        let mut interfaces = Interfaces::new();
        self.net.interfaces(&mut interfaces);
        self.look_at = match self.changes {
            Some(_) => Instant::NEVER,
            None => self.now.after(LOOK),
        };
        for id in 0..LINK_COUNT_MAX {
            let index = self.open.get(id).map_or(0, |open| open.index);
            let is_its = |other: &Interface| other.index == index && self.choice.takes(other);
            if index != 0 && !interfaces.iter().any(is_its) {
                self.close(id);
            }
        }
        let mut is_alone = true;
        for interface in &interfaces {
            if self.choice.takes(interface) {
                self.take_interface(interface);
                is_alone = false;
            }
        }
        if is_alone {
            let names = self.choice.names;
            let first = names.first().copied().unwrap_or(b"any interface");
            let why = text!("waiting for one that is up and has an address");
            self.complain(2, first, why);
        }
    }

    /// Opens an interface, or opens it anew when its addresses are others than before.
    fn take_interface(&mut self, interface: &Interface) {
        let place = |index: u32| self.open.iter().position(|open| open.index == index);
        let Some(id) = place(interface.index).or_else(|| place(0)) else {
            return self.complain(1, name(interface), text!("there are too many interfaces"));
        };
        let Some(open) = self.open.get(id) else {
            return;
        };
        let is_same = open.link.addresses == interface.addresses && open.link.mtu == interface.mtu;
        if open.index != 0 && is_same {
            return;
        }
        self.close_doors(id);
        let refusal = self.open_doors(id, interface);
        let Some(open) = self.open.get_mut(id) else {
            return;
        };
        if open.doors.is_empty() {
            self.close(id);
            let why = match refusal {
                NetError::InUse => text!("another program has port 5353 for itself"),
                _ => text!("the host refuses multicast there"),
            };
            return self.complain(0, name(interface), why);
        }
        open.index = interface.index;
        self.has_complained[0] = false;
        let name = name(interface);
        if !self
            .speaker
            .set_link(self.now, id as LinkId, &open.link, name)
        {
            let what = text!("there are too many addresses on");
            self.events.tell(what, name, Text::NOTHING);
        }
    }

    /// Says once that an interface cannot be served, or that there is none. It is tried again whenever interfaces are looked at.
    fn complain(&mut self, which: usize, interface: &[u8], why: Text) {
        let what = text!("cannot take part in multicast DNS on");
        if let Some(has_complained @ false) = self.has_complained.get_mut(which) {
            *has_complained = true;
            self.events.tell(what, interface, why);
        }
    }

    /// Opens all sockets of an interface; why one could not be.
    fn open_doors(&mut self, id: usize, interface: &Interface) -> NetError {
        let mut error = NetError::InUse;
        let Some(open) = self.open.get_mut(id) else {
            return error;
        };
        open.link = Link {
            addresses: interface.addresses.clone(),
            mtu: interface.mtu,
            shares_port: false,
        };
        let base = (id * SOCKET_COUNT_MAX) as Token;
        // The groups first, each by one address of its family.
        for is_claim in [false, true] {
            for (own, _) in &interface.addresses {
                let is_known = |door: &Door| door.own.is_ipv4() == own.is_ipv4();
                if open.doors.is_empty() && is_claim || !is_claim && open.doors.iter().any(is_known)
                {
                    continue;
                }
                let token = base + open.doors.len() as Token;
                let opened = if is_claim {
                    let claimed = self.net.claim(interface.index, *own, token);
                    claimed.map(|socket| (socket, Cast::Unicast))
                } else {
                    let joined = self.net.join(interface.index, *own, token);
                    let cast = |alone| {
                        if alone {
                            Cast::Multicast
                        } else {
                            Cast::Unknown
                        }
                    };
                    joined.map(|joined| (joined.socket, cast(joined.alone)))
                };
                match opened {
                    Ok((socket, cast)) => {
                        let own = *own;
                        let _ = open.doors.push(Door { socket, own, cast });
                    }
                    // Then what is sent to us alone may reach somebody else.
                    Err(_) if is_claim => open.link.shares_port = true,
                    Err(why) => error = why,
                }
            }
        }
        error
    }

    fn close_doors(&mut self, id: usize) {
        if let Some(open) = self.open.get_mut(id) {
            while let Some(door) = open.doors.pop() {
                self.net.close(door.socket);
            }
        }
    }

    fn close(&mut self, id: usize) {
        self.close_doors(id);
        if let Some(open) = self.open.get_mut(id) {
            *open = Open::default();
            self.speaker
                .set_link(self.now, id as LinkId, &open.link, b"");
        }
    }

    fn take_datagrams(&mut self, token: usize) {
        let (id, place) = (token / SOCKET_COUNT_MAX, token % SOCKET_COUNT_MAX);
        let mut is_broken = true;
        for _ in 0..TURN {
            let Some(open) = self.open.get(id) else {
                return;
            };
            let Some(door) = open.doors.get(place).copied() else {
                return;
            };
            let (len, from) = match self.net.recv_from(door.socket, &mut self.rx) {
                Ok(received) => received,
                Err(NetError::WouldBlock) => return,
                Err(_) => continue,
            };
            is_broken = false;
            // What another link's socket hears, too, is that one's.
            if door.cast == Cast::Unknown && !open.link.reaches(from.ip()) {
                continue;
            }
            let meta = Meta {
                from,
                link: id as LinkId,
                cast: door.cast,
            };
            let datagram = self.rx.head(len);
            let reply = self.speaker.handle(self.now, meta, datagram, &mut self.tx);
            if let Some(len) = reply {
                self.send_to(id, from, len);
            }
            self.send_all();
        }
        if is_broken {
            // It would be so at once, and for ever: the link is opened anew in a while.
            self.close(id);
            self.look_in(LOOK);
        }
    }

    /// Sends to one, from the address that he can tell to be on his link.
    fn send_to(&mut self, id: usize, to: SocketAddr, len: usize) {
        let Some(open) = self.open.get(id) else {
            return;
        };
        // The group's is the first of its family.
        let is_its = |door: &&Door| door.own.is_ipv4() == to.is_ipv4();
        let mut doors = open.doors.iter().filter(is_its);
        let group = doors.next();
        if let Some(door) = doors.next().or(group) {
            let _ = self.net.send_to(door.socket, to, self.tx.head(len));
        }
    }

    /// Sends all there is to say now.
    fn send_all(&mut self) {
        while let Some(Transmit { link, len }) = self.speaker.poll_transmit(self.now, &mut self.tx)
        {
            self.send_to_groups(usize::from(link), len);
        }
    }

    fn send_to_groups(&mut self, id: usize, len: usize) {
        let Some(open) = self.open.get(id) else {
            return;
        };
        for door in &open.doors {
            if door.cast == Cast::Unicast {
                continue;
            }
            let to = match door.own {
                IpAddr::V4(_) => SocketAddr::V4(SocketAddrV4::new(GROUP_V4, PORT)),
                IpAddr::V6(_) => SocketAddr::V6(SocketAddrV6::new(GROUP_V6, PORT, 0, open.index)),
            };
            // What is lost is said again, or asked for again.
            let _ = self.net.send_to(door.socket, to, self.tx.head(len));
        }
    }
}
