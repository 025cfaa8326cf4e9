//! The other end of the cable: a smoltcp stack with its own clock. It can be turned off; the test then reads the frames.

use super::cable::End;
use super::{PEER_ADDRESS, PEER_MAC};
use crate::time::{Duration, Instant};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer};
use smoltcp::time;
use smoltcp::wire::{EthernetAddress, IpCidr};

pub(super) struct Peer {
    device: Plug,
    interface: Interface,
    pub(super) sockets: SocketSet<'static>,
    next_port: u16,
    /// True if the peer's stack processes frames; false if the test reads them instead.
    pub(super) is_on: bool,
}

struct Plug(End);
struct Incoming(Vec<u8>);
struct Sending<'a>(&'a End);

impl RxToken for Incoming {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut frame = vec![0; len];
        let written = write(&mut frame);
        self.0.put(&frame);
        written
    }
}

impl Device for Plug {
    type RxToken<'a> = Incoming;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: time::Instant) -> Option<(Incoming, Sending<'_>)> {
        Some((Incoming(self.0.take()?), Sending(&self.0)))
    }

    fn transmit(&mut self, _: time::Instant) -> Option<Sending<'_>> {
        Some(Sending(&self.0))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

/// Speed of the peer's clock: it retransmits after 200 ms, as Linux does.
const PACE: u64 = 5;

fn time(now: Instant) -> time::Instant {
    time::Instant::from_millis((now.since(Instant::default()).as_ms() * PACE) as i64)
}

impl Peer {
    pub(super) fn new(end: End, now: Instant) -> Self {
        let mut device = Plug(end);
        let mut config = Config::new(EthernetAddress(PEER_MAC).into());
        config.random_seed = 7;
        let mut interface = Interface::new(config, &mut device, time(now));
        interface.update_ip_addrs(|addresses| {
            let address = IpCidr::new(core::net::IpAddr::from(PEER_ADDRESS).into(), 24);
            addresses.push(address).unwrap();
        });
        Self {
            device,
            interface,
            sockets: SocketSet::new(Vec::new()),
            next_port: 40_000,
            is_on: true,
        }
    }

    pub(super) fn run(&mut self, now: Instant) {
        if self.is_on {
            self.interface
                .poll(time(now), &mut self.device, &mut self.sockets);
        }
    }

    pub(super) fn poll_at(&mut self, now: Instant) -> Instant {
        match self.interface.poll_at(time(now), &self.sockets) {
            _ if !self.is_on => Instant::NEVER,
            None => Instant::NEVER,
            Some(at) => {
                let wait = (at - time(now).min(at)).total_millis().div_ceil(PACE) as u32;
                now.after(Duration::from_ms(wait))
            }
        }
    }

    /// Connects to a port of the stack.
    pub(super) fn connect(&mut self, port: u16) -> SocketHandle {
        let ring = || SocketBuffer::new(vec![0; 64 << 10]);
        let mut socket = Socket::new(ring(), ring());
        socket.set_ack_delay(None);
        socket.set_nagle_enabled(false);
        socket.set_congestion_control(CongestionControl::None);
        self.next_port += 1;
        let to = (
            smoltcp::wire::IpAddress::from(core::net::IpAddr::from(super::ADDRESS)),
            port,
        );
        let own = self.next_port;
        socket.connect(self.interface.context(), to, own).unwrap();
        self.sockets.add(socket)
    }

    pub(super) fn socket(&mut self, handle: SocketHandle) -> &mut Socket<'static> {
        self.sockets.get_mut(handle)
    }
}
