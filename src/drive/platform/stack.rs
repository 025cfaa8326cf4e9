//! Our own network stack (smoltcp) over a link.

#![forbid(unsafe_code)]

use crate::config::{STACK_HEAP_BYTES, STACK_HEAP_BYTES_MIN};
use crate::event::{self, Fatal, Sink};
use crate::mem::{self, Ends as _, heap, scaled};
use crate::net::Net;
#[cfg(bare)]
use crate::net::link::virtio::Virtio;
use crate::net::link::{Link, packet::Packet, stream::Stream, tap::Tap};
use crate::net::smol::{Ip, Settings, Smol};
use crate::sys::linux::fs::{self, File};
use crate::sys::linux::link::hardware;
use crate::sys::{self, Errno};
use crate::text::{Text, text};
use core::ffi::CStr;
use core::net::Ipv4Addr;
use rustix::fd::AsRawFd as _;
use rustix::fs::OFlags;

/// The type of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkKind {
    /// A packet socket (packet(7)) on an interface of the host.
    Packet,
    /// A packet socket on an interface that the kernel's stack uses: ours only obtains an IPv4 address for it, unless one is
    /// configured.
    Host,
    /// A TAP interface.
    Tap,
    /// A Unix stream socket, as passt and QEMU use.
    Stream,
    /// The virtio network card of a machine without an operating system.
    #[cfg(bare)]
    Virtio,
}

/// Configuration of our own stack.
#[derive(Clone, Copy, Default, Debug)]
pub struct Stack {
    /// Type and name of the link. `None`: our own stack is not used.
    pub link: Option<(LinkKind, &'static CStr)>,
    /// Source of the IP addresses.
    pub ip: Ip,
    /// IPv4 default gateway.
    pub gateway: Option<Ipv4Addr>,
    /// MAC address; unused if the link is `LinkKind::Host`, whose interface has one. `None`: that of the virtio card, or derived
    /// from the machine, the host name, the link and the name.
    pub mac: Option<[u8; 6]>,
    /// Host name; empty: none.
    pub name: &'static [u8],
}

impl Stack {
    /// Uses an interface of the host, whose kernel's stack is configured by ours.
    pub fn use_card(&mut self, card: Option<&'static CStr>) {
        self.link = card.map(|card| (LinkKind::Host, card));
    }

    /// Opens the link and the stack.
    ///
    /// # Errors
    /// The link cannot be opened; the reason is already reported.
    pub(super) fn open(
        &self,
        (kind, name): (LinkKind, &'static CStr),
        signals: Option<File>,
        sink: &mut dyn Sink,
    ) -> Result<&'static mut dyn Net, Fatal> {
        // The link is opened before the heap exists, so that its buffers come from the memory region allocated at the start.
        let link = match kind {
            LinkKind::Packet => leak(Packet::open(name, signals)),
            LinkKind::Host => leak(Packet::of_addresses(name, signals)),
            LinkKind::Tap => leak(Tap::open(name, signals)),
            LinkKind::Stream => leak(Stream::open(name, signals)),
            #[cfg(bare)]
            LinkKind::Virtio => leak(Virtio::open().ok_or(Errno::NODEV)),
        };
        let link = link.map_err(|errno| {
            let what = text!("cannot start the IP stack over").error();
            event::report(sink, what, name.to_bytes(), why(kind, errno));
            Fatal::Failed
        })?;
        heap::set_heap(mem::bytes(scaled(STACK_HEAP_BYTES_MIN, STACK_HEAP_BYTES)));
        let mut seed = [0; 16];
        sys::entropy(&mut seed);
        let mac = match kind {
            #[cfg(bare)]
            LinkKind::Virtio => self.mac.or_else(sys::hardware_address),
            LinkKind::Host => hardware(name).ok(),
            _ => self.mac,
        };
        let settings = Settings {
            mac: mac.unwrap_or_else(|| self.derived_mac(kind, name)),
            ip: self.ip,
            gateway: self.gateway,
            name: self.name,
            seed,
            is_for_host: kind == LinkKind::Host,
        };
        Ok(mem::leak(Smol::new(link, &settings, sys::now())))
    }

    /// Derives a locally administered MAC address (IEEE 802) by FNV-1a from machine, host name, link and name: stable across
    /// restarts, different on another host, another link or under another name.
    fn derived_mac(&self, kind: LinkKind, link: &CStr) -> [u8; 6] {
        let mut host = [0; 64];
        let len = sys::host_name(&mut host);
        let mut id = [0; MACHINE_ID_BYTES_MAX];
        read_machine_id(kind, link, &mut id);
        let parts = [&id[..], &host[..len], link.to_bytes(), self.name];
        let hash = parts.into_iter().fold(mem::FNV_START, mem::fnv1a);
        let [_, _, _, a, b, c, d, e] = hash.to_be_bytes();
        [2, a, b, c, d, e]
    }
}

/// Length of a UUID as text, in bytes.
const MACHINE_ID_BYTES_MAX: usize = 36;

/// Writes to `id` what differs between hosts of one name: the MAC address of the interface of a packet socket; else the content of
/// /etc/machine-id, else the UUID of the machine, which only root can read. `id` stays empty if the host has none of them.
fn read_machine_id(kind: LinkKind, link: &CStr, id: &mut [u8; MACHINE_ID_BYTES_MAX]) {
    if kind == LinkKind::Packet
        && let Ok(mac) = hardware(link)
    {
        id.head_mut(mac.len()).copy_from_slice(&mac);
        return;
    }
    let mut paths = [c"/etc/machine-id", c"/sys/class/dmi/id/product_uuid"].iter();
    while !sys::is_bare()
        && let Some(path) = paths.next()
    {
        let file = File::open::<Errno>(path, OFlags::RDONLY, 0);
        if file.is_ok_and(|file| fs::read(file.as_raw_fd(), id).is_ok_and(|len| len > 0)) {
            return;
        }
    }
}

/// Gives a link static lifetime.
fn leak<L: Link + 'static>(link: Result<L, Errno>) -> Result<&'static mut dyn Link, Errno> {
    link.map(|link| mem::leak(link) as &mut dyn Link)
}

/// Explains why a link cannot be opened and how to fix that.
fn why(kind: LinkKind, errno: Errno) -> Text {
    match (kind, errno) {
        (LinkKind::Packet, Errno::PERM) => text!(
            "CAP_NET_RAW is missing; start as root, or use stream:PATH, which needs no privilege"
        ),
        (LinkKind::Tap, Errno::PERM | Errno::ACCESS) => text!(
            "CAP_NET_ADMIN is missing; start as root, or run ip tuntap add NAME mode tap user USER"
        ),
        #[cfg(bare)]
        (LinkKind::Virtio, _) => {
            text!("no virtio network card; add the device virtio-net-device, or virtio-net-pci")
        }
        (LinkKind::Packet, Errno::NODEV) => text!("no such interface; see ip link"),
        (LinkKind::Tap, Errno::NXIO) => {
            text!("/dev/net/tun is missing; load the module tun, or give the container the device")
        }
        (LinkKind::Tap, Errno::BUSY) => text!("another process is attached to the interface"),
        (LinkKind::Tap, Errno::INVAL) => {
            text!("the interface is not a TAP interface; see packet:IFACE")
        }
        (LinkKind::Stream, Errno::NOENT | Errno::CONNREFUSED) => {
            text!("no process listens on the socket; start passt or QEMU first")
        }
        (LinkKind::Stream, Errno::ACCESS) => {
            text!("permission denied; change the socket file's mode")
        }
        _ => text!("the host refuses; see packet(7) or its tuntap documentation"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tap_link_is_identified_by_machine_id() {
        let mut id = [0; MACHINE_ID_BYTES_MAX];
        read_machine_id(LinkKind::Tap, c"tap0", &mut id);
        let file = std::fs::read("/etc/machine-id").unwrap_or_default();
        assert!(id.starts_with(file.head(MACHINE_ID_BYTES_MAX)));
    }
}
