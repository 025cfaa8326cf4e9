//! The interfaces of the host, and sockets that receive multicast datagrams on one of them.

use super::Kernel;
use crate::net::{Interfaces, Multicast, NetResult, Own, Socket, Token};
use crate::sys::linux::fs::File;
use crate::sys::linux::{interfaces, multicast};
use core::net::{IpAddr, SocketAddr};

impl Multicast for Kernel {
    fn interfaces(&self, out: &mut Interfaces) {
        interfaces::list(out);
    }

    fn has_interface(&self, name: &[u8]) -> bool {
        interfaces::exists(name)
    }

    fn changes(&mut self, token: Token) -> NetResult<Socket> {
        self.watch_input(interfaces::watch(), token)
    }

    fn join(
        &mut self,
        index: u32,
        own: IpAddr,
        group: SocketAddr,
        token: Token,
    ) -> NetResult<Socket> {
        let file = multicast::join(index, own, group)?;
        let is_alone = group.is_ipv6() || multicast::isolate(&file);
        self.watch_bound(file, is_alone.then_some(group.ip()), token)
    }

    fn claim(&mut self, index: u32, own: SocketAddr, token: Token) -> NetResult<Socket> {
        let file = multicast::claim(index, own)?;
        self.watch_bound(file, Some(own.ip()), token)
    }
}

impl Kernel {
    /// Watches a socket; `to` is the destination of all its datagrams, if known.
    fn watch_bound(&mut self, file: File, to: Option<IpAddr>, token: Token) -> NetResult<Socket> {
        let socket = self.watch_input(Ok(file), token)?;
        if let Some(Some(watched)) = self.sockets.get_mut(socket.0) {
            watched.to = Own::of(to);
        }
        Ok(socket)
    }
}
