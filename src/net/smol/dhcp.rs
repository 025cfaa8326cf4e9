//! DHCP client (RFC 2131): smoltcp's, on a smoltcp interface of its own with a real-time clock.

use super::device::Port;
use super::packet::Mac;
use crate::time::{Duration, Instant};
use core::net::Ipv4Addr;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::dhcpv4::{Event, RetryConfig, Socket};
use smoltcp::time;
use smoltcp::wire::{DhcpOption, EthernetAddress, IpCidr};

/// UDP port of DHCP clients.
pub(super) const CLIENT_PORT: u16 = 68;
/// Interval between DHCPDISCOVER messages while the host has no address.
const DISCOVER: time::Duration = time::Duration::from_secs(2);
/// Interval between DHCPDISCOVER messages once the host has an address without DHCP.
const DISCOVER_RARELY: time::Duration = time::Duration::from_secs(60);
/// DHCP option: host name (RFC 2132 section 3.14).
const HOST_NAME: u8 = 12;

/// A lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Lease {
    pub(super) address: Ipv4Addr,
    pub(super) prefix: u8,
    pub(super) router: Option<Ipv4Addr>,
    /// The server that granted it.
    pub(super) server: Ipv4Addr,
}

/// The DHCP client.
pub(super) struct Dhcp {
    interface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    /// No DHCPDISCOVER is sent before this time.
    start_at: Instant,
}

fn time(now: Instant) -> time::Instant {
    time::Instant::from_millis(now.since(Instant::default()).as_ms() as i64)
}

impl Dhcp {
    /// Creates a client that starts now. `name` is the host name to send, unless empty.
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
            start_at: now,
        };
        dhcp.ask_rarely(false);
        dhcp
    }

    fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.socket)
    }

    /// Chooses the interval between DHCPDISCOVER messages.
    pub(super) fn ask_rarely(&mut self, rarely: bool) {
        let mut retry = RetryConfig::default();
        retry.discover_timeout = if rarely { DISCOVER_RARELY } else { DISCOVER };
        self.socket().set_retry_config(retry);
    }

    /// Drops the lease and looks for another, from `start_at` on.
    pub(super) fn reset(&mut self, start_at: Instant) {
        self.start_at = start_at;
        self.socket().reset();
    }

    /// Handles a received frame.
    pub(super) fn handle(&mut self, now: Instant, frame: &[u8], port: &mut Port) {
        let device = &mut port.device(Some(frame));
        self.interface
            .poll_ingress_single(time(now), device, &mut self.sockets);
    }

    /// Sends messages that are due.
    pub(super) fn advance(&mut self, now: Instant, port: &mut Port) {
        let device = &mut port.device(None);
        self.interface
            .poll_egress(time(now), device, &mut self.sockets);
    }

    /// Time of the next call of [`Dhcp::advance`].
    pub(super) fn poll_at(&mut self, now: Instant) -> Instant {
        let at = match self.interface.poll_at(time(now), &self.sockets) {
            Some(at) if at <= time(now) => now,
            Some(at) => now.after(Duration::from_ms(
                (at - time(now)).total_millis() as u32 + 1,
            )),
            None => Instant::NEVER,
        };
        at.max(self.start_at)
    }

    /// Returns the new lease if it has changed since the last call; `Some(None)` if it has ended.
    pub(super) fn poll_event(&mut self) -> Option<Option<Lease>> {
        let lease = match self.sockets.get_mut::<Socket<'_>>(self.socket).poll()? {
            Event::Deconfigured => None,
            Event::Configured(config) => Some(Lease {
                address: config.address.address(),
                prefix: config.address.prefix_len(),
                router: config.router,
                server: config.server.identifier,
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

/// Writes a DHCPDECLINE frame: another host has the leased address (RFC 2131 section 4.4.4).
pub(super) fn decline(own: Mac, lease: &Lease, out: &mut [u8]) -> usize {
    const BYTES: usize = 342;
    /// Ethernet broadcast; IPv4 with checksum, 328 bytes, from 0.0.0.0 to 255.255.255.255; UDP, 308 bytes, without checksum;
    /// BOOTREQUEST, Ethernet.
    const HEAD: &[u8; 45] = b"\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\x08\0\
        \x45\0\x01\x48\0\0\0\0\x40\x11\x79\xa6\0\0\0\0\xff\xff\xff\xff\0\x44\0\x43\x01\x34\0\0\x01\x01\x06";
    /// Magic cookie; options: message type, requested address, server identifier, client identifier, end.
    const OPTIONS: &[u8; 29] =
        b"\x63\x82\x53\x63\x35\x01\x04\x32\x04\0\0\0\0\x36\x04\0\0\0\0\x3d\x07\x01\0\0\0\0\0\0\xff";
    let Some(out) = out.first_chunk_mut::<BYTES>() else {
        return 0;
    };
    out.fill(0);
    out[..45].copy_from_slice(HEAD);
    out[278..307].copy_from_slice(OPTIONS);
    for at in [6, 70, 300] {
        out[at..at + 6].copy_from_slice(&own.0);
    }
    out[287..291].copy_from_slice(&lease.address.octets());
    out[293..297].copy_from_slice(&lease.server.octets());
    BYTES
}
