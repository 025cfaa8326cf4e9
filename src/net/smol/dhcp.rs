//! The client of DHCP (RFC 2131): smoltcp's, on an interface of its own, whose clock is the true one.

use super::device::Port;
use super::packet::Mac;
use crate::time::{Duration, Instant};
use core::net::Ipv4Addr;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::dhcpv4::{Event, RetryConfig, Socket};
use smoltcp::time;
use smoltcp::wire::{DhcpOption, EthernetAddress, IpCidr};

/// The port of clients.
pub(super) const CLIENT_PORT: u16 = 68;
/// A server that is there answers within this time; how often is asked while nobody uses another address.
const DISCOVER: time::Duration = time::Duration::from_secs(2);
/// The same once there is an address without DHCP.
const DISCOVER_RARELY: time::Duration = time::Duration::from_secs(60);
/// The option of the host's name (RFC 2132 section 3.14).
const HOST_NAME: u8 = 12;

/// What a server has leased.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Lease {
    pub(super) address: Ipv4Addr,
    pub(super) prefix: u8,
    pub(super) router: Option<Ipv4Addr>,
}

/// The client.
pub(super) struct Dhcp {
    interface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
}

fn time(now: Instant) -> time::Instant {
    time::Instant::from_millis(now.since(Instant::default()).as_ms() as i64)
}

impl Dhcp {
    /// A client that asks for an address from now on. An empty name is not told.
    pub(super) fn new(
        own: Mac,
        name: &'static [u8],
        seed: u64,
        now: Instant,
        port: &mut Port,
    ) -> Self {
        let mut config = Config::new(EthernetAddress(own.0).into());
        config.random_seed = seed;
        let mut socket = Socket::new();
        if !name.is_empty() {
            let option = crate::mem::leak([DhcpOption {
                kind: HOST_NAME,
                data: name,
            }]);
            socket.set_outgoing_options(option);
        }
        let mut sockets = SocketSet::new(alloc::vec::Vec::with_capacity(1));
        let socket = sockets.add(socket);
        let mut dhcp = Self {
            interface: Interface::new(config, &mut port.device(None), time(now)),
            sockets,
            socket,
        };
        dhcp.ask_rarely(false);
        dhcp
    }

    fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.socket)
    }

    /// How often a server is looked for.
    pub(super) fn ask_rarely(&mut self, rarely: bool) {
        let mut retry = RetryConfig::default();
        retry.discover_timeout = if rarely { DISCOVER_RARELY } else { DISCOVER };
        self.socket().set_retry_config(retry);
    }

    /// Gives up the lease and looks for another.
    pub(super) fn reset(&mut self) {
        self.socket().reset();
    }

    /// Takes a frame that is for it.
    pub(super) fn handle(&mut self, now: Instant, frame: &[u8], port: &mut Port) {
        let device = &mut port.device(Some(frame));
        self.interface
            .poll_ingress_single(time(now), device, &mut self.sockets);
    }

    /// Sends what is due.
    pub(super) fn advance(&mut self, now: Instant, port: &mut Port) {
        let device = &mut port.device(None);
        self.interface
            .poll_egress(time(now), device, &mut self.sockets);
    }

    /// When [`Dhcp::advance`] has something to do.
    pub(super) fn poll_at(&mut self, now: Instant) -> Instant {
        match self.interface.poll_at(time(now), &self.sockets) {
            Some(at) if at <= time(now) => now,
            Some(at) => now.after(Duration::from_ms(
                (at - time(now)).total_millis() as u32 + 1,
            )),
            None => Instant::NEVER,
        }
    }

    /// Whether the lease is another one since this was asked last: which, or `Some(None)` if there is none any more.
    pub(super) fn poll_event(&mut self) -> Option<Option<Lease>> {
        let lease = match self.sockets.get_mut::<Socket<'_>>(self.socket).poll()? {
            Event::Deconfigured => None,
            Event::Configured(config) => Some(Lease {
                address: config.address.address(),
                prefix: config.address.prefix_len(),
                router: config.router,
            }),
        };
        self.interface.update_ip_addrs(|addresses| {
            addresses.clear();
            if let Some(lease) = lease {
                let _ = addresses.push(IpCidr::new(lease.address.into(), lease.prefix));
            }
        });
        let routes = self.interface.routes_mut();
        routes.remove_default_ipv4_route();
        if let Some(router) = lease.and_then(|lease| lease.router) {
            let _ = routes.add_default_ipv4_route(router);
        }
        Some(lease)
    }
}
