//! The host's network interfaces and their addresses, as far as they have any.
//!
//! ioctl(2) tells of version 4, and for version 6 there is /proc/net/if_inet6 or, where that is not, the addresses that the
//! kernel would send from. Of changes rtnetlink(7) brings word, where there is one. See netdevice(7).

mod changes;
mod requests;
#[cfg(test)]
mod tests;

pub use changes::watch;

use core::net::IpAddr;

/// Interfaces that are told of.
pub const INTERFACE_COUNT_MAX: usize = 16;
/// Addresses that are told of each.
pub const ADDRESS_COUNT_MAX: usize = 16;

/// What interfaces there are. Those beyond the last place are left out.
pub type Interfaces = heapless::Vec<Interface, INTERFACE_COUNT_MAX>;

/// The flags that every way of asking knows.
const FLAGS: u32 = 0xffff;
/// It is up.
pub const UP: u32 = 1;
/// It reaches this host alone.
pub const LOOPBACK: u32 = 8;
/// There is one other host at most.
pub const POINT_TO_POINT: u32 = 0x10;
/// What leads out of it is there: a cable, or an access point.
pub const RUNNING: u32 = 0x40;
/// It knows multicast.
pub const MULTICAST: u32 = 0x1000;

/// A network interface that has an address.
#[derive(Clone, PartialEq, Eq, Debug)]
#[repr(C)] // The longest last.
pub struct Interface {
    /// The kernel's number of it; 0 where the host has no numbers for them.
    pub index: u32,
    /// Its name, behind which there are zeros.
    #[doc(alias = "IFNAMSIZ")]
    pub name: [u8; 16],
    /// What it is and can, as in the constants above; 0: it is just going.
    pub flags: u32,
    /// Bytes of the longest packet; 0: not told.
    pub mtu: u32,
    /// Its number on an Ethernet.
    pub hardware: Option<[u8; 6]>,
    /// Its addresses that can be used, and of how many bits the network's part of each is.
    pub addresses: heapless::Vec<(IpAddr, u8), ADDRESS_COUNT_MAX>,
}

impl Interface {
    /// Whether all these flags are its own.
    pub const fn has(&self, flags: u32) -> bool {
        self.flags & flags == flags
    }

    fn set_name(&mut self, name: &[u8]) {
        // An address may have a name of its own, which begins with the interface's and a colon.
        let name = name.iter().take_while(|byte| !matches!(byte, 0 | b':'));
        // The last byte stays zero.
        for (to, from) in self.name.iter_mut().take(15).zip(name) {
            *to = *from;
        }
    }

    #[inline(never)]
    fn set_hardware(&mut self, bytes: &[u8]) {
        if let Ok(bytes) = bytes.try_into()
            && bytes != [0; 6]
        {
            self.hardware = Some(bytes);
        }
    }
}

/// Lists the interfaces into `out`.
pub fn list(out: &mut Interfaces) {
    out.clear();
    requests::list(out);
}

/// Notes an address of the interface `index`, which may be new. `None`: there is no place for it.
#[inline(never)]
fn add(
    out: &mut Interfaces,
    index: u32,
    address: IpAddr,
    prefix_len: u8,
) -> Option<&mut Interface> {
    // Without numbers, each address is that of another one.
    let is_it = |other: &Interface| other.index == index && index != 0;
    let at = out.iter().position(is_it).unwrap_or(out.len());
    if at == out.len() {
        let new = Interface {
            index,
            name: [0; 16],
            flags: 0,
            mtu: 0,
            hardware: None,
            addresses: heapless::Vec::new(),
        };
        out.push(new).ok()?;
    }
    let interface = out.get_mut(at)?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let _ = interface.addresses.push((address, prefix_len.min(most)));
    Some(interface)
}

/// Whether a version 6 address with these flags is one to be known by: no duplicate, and not deprecated.
const fn is_usable(flags: u32) -> bool {
    const TEMPORARY: u32 = 1;
    const TAKEN: u32 = 8;
    const DEPRECATED: u32 = 0x20;
    const TENTATIVE: u32 = 0x40;
    const GOING: u32 = TEMPORARY | DEPRECATED;
    flags & (TAKEN | TENTATIVE) == 0 && flags & GOING != GOING
}
