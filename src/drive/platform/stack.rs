//! A network stack of our own, over what the host has to carry its frames.

#![forbid(unsafe_code)]

use crate::config::{STACK_HEAP_BYTES, STACK_HEAP_BYTES_MIN};
use crate::event::{self, Fatal, Sink};
use crate::mem::{self, heap, scaled};
use crate::net::Net;
#[cfg(bare)]
use crate::net::link::virtio::Virtio;
use crate::net::link::{Link, packet::Packet, stream::Stream, tap::Tap};
use crate::net::smol::{Ip, Settings, Smol};
use crate::sys::linux::fs::File;
use crate::sys::{self, Errno};
use crate::text::{Text, text};
use core::ffi::CStr;
use core::net::Ipv4Addr;

/// What carries its frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An interface of the host.
    Packet,
    /// The same, which has its own stack, and gets an address for that.
    #[cfg(feature = "init")]
    Host,
    /// A TAP interface.
    Tap,
    /// A socket file.
    Stream,
    /// The card of a machine without an operating system.
    #[cfg(bare)]
    Virtio,
}

/// A stack that is asked for.
#[derive(Clone, Copy, Default, Debug)]
pub struct Stack {
    /// What carries its frames, and its name. `None`: none is asked for.
    pub link: Option<(Kind, &'static CStr)>,
    /// How it gets its addresses.
    pub ip: Ip,
    /// What leads beyond the link.
    pub gateway: Option<Ipv4Addr>,
    /// Its number on the Ethernet. `None`: one that follows from the host, the link and the name.
    pub mac: Option<[u8; 6]>,
    /// What it is called; empty: nothing.
    pub name: &'static [u8],
}

impl Stack {
    /// Opens it.
    ///
    /// # Errors
    /// The host does not let it be opened: why was told.
    pub(super) fn open(
        &self,
        (kind, name): (Kind, &'static CStr),
        signals: Option<File>,
        sink: &mut dyn Sink,
    ) -> Result<&'static mut dyn Net, Fatal> {
        // Before that, a link would take its buffers from the heap.
        let link = match kind {
            Kind::Packet => leak(Packet::open(name, signals)),
            #[cfg(feature = "init")]
            Kind::Host => leak(Packet::of_addresses(name, signals)),
            Kind::Tap => leak(Tap::open(name, signals)),
            Kind::Stream => leak(Stream::open(name, signals)),
            #[cfg(bare)]
            Kind::Virtio => leak(Virtio::open().ok_or(Errno::NODEV)),
        };
        let link = link.map_err(|errno| {
            let what = text!("cannot have a network of its own over");
            event::tell(sink, what, name.to_bytes(), why(kind, errno));
            Fatal::Failed
        })?;
        heap::begin(mem::bytes(scaled(STACK_HEAP_BYTES_MIN, STACK_HEAP_BYTES)));
        let mut seed = [0; 16];
        sys::entropy(&mut seed);
        let mac = match kind {
            #[cfg(bare)]
            Kind::Virtio => self.mac.or_else(sys::hardware_address),
            #[cfg(feature = "init")]
            Kind::Host => crate::sys::linux::link::hardware(name).ok(),
            _ => self.mac,
        };
        let settings = Settings {
            mac: mac.unwrap_or_else(|| self.derived_mac(name)),
            ip: self.ip,
            gateway: self.gateway,
            name: self.name,
            seed,
            #[cfg(feature = "init")]
            is_for_host: kind == Kind::Host,
            #[cfg(not(feature = "init"))]
            is_for_host: false,
        };
        Ok(mem::leak(Smol::new(link, &settings, sys::now())))
    }

    /// A number that is administered locally (IEEE 802), the same at each start, and another one on another host, over another
    /// link, or by another name: a hash (FNV-1a) of these.
    fn derived_mac(&self, link: &CStr) -> [u8; 6] {
        let mut host = [0; 64];
        let len = sys::host_name(&mut host);
        let hardware = sys::hardware_address().unwrap_or_default();
        let parts = [&hardware[..], &host[..len], link.to_bytes(), self.name];
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in parts.into_iter().flatten() {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
        let [_, _, _, a, b, c, d, e] = hash.to_be_bytes();
        [2, a, b, c, d, e]
    }
}

/// A link for as long as the process lasts.
fn leak<L: Link + 'static>(link: Result<L, Errno>) -> Result<&'static mut dyn Link, Errno> {
    link.map(|link| mem::leak(link) as &mut dyn Link)
}

/// Why a link cannot be opened, and what to do about it.
fn why(kind: Kind, errno: Errno) -> Text {
    match (kind, errno) {
        (Kind::Packet, Errno::PERM) => text!(
            "this takes CAP_NET_RAW; start as root, or take stream:PATH, which takes no privilege"
        ),
        (Kind::Tap, Errno::PERM | Errno::ACCESS) => text!(
            "this takes CAP_NET_ADMIN, or an interface that is this user's: ip tuntap add NAME mode tap user USER"
        ),
        #[cfg(bare)]
        (Kind::Virtio, _) => text!("there is no virtio network card"),
        (Kind::Packet, Errno::NODEV) => text!("there is no such interface; see ip link"),
        (Kind::Tap, Errno::NXIO) => text!(
            "there is no /dev/net/tun; load the module tun, or lend the container that device"
        ),
        (Kind::Tap, Errno::BUSY) => text!("another process is attached to it"),
        (Kind::Tap, Errno::INVAL) => text!("it is an interface of another kind; see packet:IFACE"),
        (Kind::Stream, Errno::NOENT | Errno::CONNREFUSED) => {
            text!("nobody listens there; start passt or QEMU first")
        }
        (Kind::Stream, Errno::ACCESS) => text!("this user may not; change the socket file's mode"),
        _ => text!("the host refuses; see packet(7) or its tuntap documentation"),
    }
}
