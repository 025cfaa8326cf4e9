//! The host's network interfaces that have addresses.
//!
//! IPv4 addresses come from ioctl(2). IPv6 addresses come from /proc/net/if_inet6 or, if that is missing, are found as the source
//! addresses that the kernel would choose. rtnetlink(7) reports changes. See netdevice(7).

mod changes;
mod requests;
#[cfg(test)]
mod tests;

pub use changes::watch;
pub use requests::exists;

use crate::sys::interface::{Interface, Interfaces, interface_count};
use core::net::IpAddr;

/// Stores an interface's name. The label of an IPv4 address may be the name, a colon and a suffix; the suffix is dropped.
fn set_name(interface: &mut Interface, name: &[u8]) {
    let name = name.iter().take_while(|byte| !matches!(byte, 0 | b':'));
    // The last byte stays NUL.
    for (to, from) in interface.name.iter_mut().take(15).zip(name) {
        *to = *from;
    }
}

/// Lists the interfaces into `out`.
pub fn list(out: &mut Interfaces) {
    while out.pop().is_some() {}
    requests::list(out);
}

/// Adds an address of the interface `index`, and the interface itself if it is new. `None` if the list is full.
fn add(
    out: &mut Interfaces,
    index: u32,
    address: IpAddr,
    prefix_len: u8,
) -> Option<&mut Interface> {
    // Index 0 means unknown: each address then gets an entry of its own.
    let is_it = |other: &Interface| other.index == index && index != 0;
    let at = out.iter().position(is_it).unwrap_or(out.len());
    if at == out.len() {
        let new = Interface {
            index,
            ..Interface::default()
        };
        out.push_up_to(interface_count(), new)?;
    }
    let interface = out.get_mut(at)?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let _ = interface.addresses.push((address, prefix_len.min(most)));
    Some(interface)
}

/// Returns true unless the IPv6 address is tentative or a duplicate, or is a deprecated temporary one.
const fn is_usable(flags: u32) -> bool {
    const TEMPORARY: u32 = 1;
    const TAKEN: u32 = 8;
    const DEPRECATED: u32 = 0x20;
    const TENTATIVE: u32 = 0x40;
    const GOING: u32 = TEMPORARY | DEPRECATED;
    flags & (TAKEN | TENTATIVE) == 0 && flags & GOING != GOING
}
