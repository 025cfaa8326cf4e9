//! Simulated interfaces. The test configures them, injects datagrams, and reads the datagrams sent to groups.

use super::{Medium, Sim, SocketKind};
use crate::net::{Interest, Interface, Interfaces, Multicast, NetError, NetResult, Socket, Token};
use core::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::collections::VecDeque;

/// A multicast DNS socket on an interface.
pub(super) struct Group {
    index: u32,
    own: IpAddr,
    pub(super) inbox: VecDeque<(Vec<u8>, SocketAddr)>,
}

/// Builds a socket address, with a scope id if the address needs one.
fn at(index: u32, address: IpAddr, port: u16) -> SocketAddr {
    match address {
        IpAddr::V6(address) if address.is_unicast_link_local() || address.is_multicast() => {
            SocketAddrV6::new(address, port, 0, index).into()
        }
        address => SocketAddr::new(address, port),
    }
}

impl Sim {
    /// Replaces the interfaces. Groups on removed interfaces receive nothing more.
    pub fn set_interfaces(&self, interfaces: &[Interface]) {
        let mut medium = self.medium();
        medium.interfaces = interfaces.to_vec();
        for open in medium.sockets.iter_mut().flatten() {
            if let SocketKind::Changes(any) = &mut open.kind {
                *any = true;
            }
        }
    }

    /// Injects a datagram that arrives on an interface. Multicast DNS sockets there receive it if their group has the address
    /// family of `from`.
    pub fn arrive(&self, index: u32, from: SocketAddr, bytes: &[u8]) {
        self.medium().deliver_to_group(index, from, bytes);
    }

    /// Returns the datagrams sent to groups since the last call: interface, bytes, destination.
    pub fn take_multicast(&self) -> Vec<(u32, Vec<u8>, SocketAddr)> {
        core::mem::take(&mut self.medium().multicast)
    }
}

impl Medium {
    /// Sends to `to` if it is a multicast group; other sockets of this network that have joined the group receive the datagram too.
    /// Returns false if `to` is no group or the socket has not joined one.
    pub(super) fn send_to_group(&mut self, socket: Socket, to: SocketAddr, bytes: &[u8]) -> bool {
        let Ok(SocketKind::Group(Group { index, own, .. })) =
            self.get(socket).map(|open| &open.kind)
        else {
            return false;
        };
        let (index, own) = (*index, *own);
        if to.ip().is_multicast() {
            self.deliver_to_group(index, at(index, own, to.port()), bytes);
            if !self.is_lost() {
                self.multicast.push((index, bytes.to_vec(), to));
            }
        }
        to.ip().is_multicast()
    }

    fn is_lost(&mut self) -> bool {
        self.lose_one_in > 0 && self.random.below(self.lose_one_in) == 0
    }

    fn deliver_to_group(&mut self, index: u32, from: SocketAddr, bytes: &[u8]) {
        let is_there = |known: &Interface| known.index == index;
        if !self.interfaces.iter().any(is_there) || self.is_lost() {
            return;
        }
        for open in self.sockets.iter_mut().flatten() {
            if let SocketKind::Group(group) = &mut open.kind
                && (group.index, group.own.is_ipv4()) == (index, from.is_ipv4())
            {
                group.inbox.push_back((bytes.to_vec(), from));
            }
        }
    }

    fn has(&self, index: u32, own: IpAddr) -> NetResult<()> {
        let is_own = |known: &Interface| known.addresses.iter().any(|(known, _)| *known == own);
        let mut found = self.interfaces.iter();
        let found = found.any(|known| known.index == index && is_own(known));
        found.then_some(()).ok_or(NetError::NoSuchAddress)
    }
}

impl Multicast for Sim {
    fn interfaces(&self, out: &mut Interfaces) {
        while out.pop().is_some() {}
        for interface in &self.medium().interfaces {
            out.push_more(interface.clone());
        }
    }

    fn has_interface(&self, name: &[u8]) -> bool {
        let all = &self.medium().interfaces;
        all.iter().any(|other| other.name.starts_with(name))
    }

    fn changes(&mut self, token: Token) -> NetResult<Socket> {
        if self.faults().no_changes {
            return Err(NetError::Unsupported);
        }
        let nowhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        let kind = SocketKind::Changes(false);
        self.medium().open(kind, nowhere, token, Interest::Input)
    }

    fn join(
        &mut self,
        index: u32,
        own: IpAddr,
        group: SocketAddr,
        token: Token,
    ) -> NetResult<Socket> {
        let mut medium = self.medium();
        medium.faults.join.map_or(Ok(()), Err)?;
        medium.has(index, own)?;
        let kind = SocketKind::Group(Group {
            index,
            own,
            inbox: VecDeque::new(),
        });
        medium.open(kind, group, token, Interest::Input)
    }

    fn claim(&mut self, index: u32, own: SocketAddr, token: Token) -> NetResult<Socket> {
        let (mut medium, at) = (self.medium(), at(index, own.ip(), own.port()));
        medium.faults.claim.map_or(Ok(()), Err)?;
        let is_taken = match own.ip().is_loopback() {
            true => medium.faults.is_port_taken,
            false => {
                medium.has(index, own.ip())?;
                medium.sockets.iter().flatten().any(|open| open.at == at)
            }
        };
        if is_taken {
            return Err(NetError::InUse);
        }
        let kind = SocketKind::Datagrams(VecDeque::new());
        medium.open(kind, at, token, Interest::Input)
    }
}
