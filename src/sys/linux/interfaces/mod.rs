//! The host's network interfaces and their addresses, as far as they have any.
//!
//! ioctl(2) tells of version 4, and for version 6 there is /proc/net/if_inet6 or, where that is not, the addresses that the
//! kernel would send from. Of changes rtnetlink(7) brings word, where there is one. See netdevice(7).

mod changes;
mod requests;
#[cfg(test)]
mod tests;

pub use changes::watch;

use crate::sys::interface::{Interface, Interfaces};
use core::net::IpAddr;

/// Notes what it is called. An address may have a name of its own, which begins with the interface's and a colon.
fn set_name(interface: &mut Interface, name: &[u8]) {
    let name = name.iter().take_while(|byte| !matches!(byte, 0 | b':'));
    // The last byte stays zero.
    for (to, from) in interface.name.iter_mut().take(15).zip(name) {
        *to = *from;
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
            ..Interface::default()
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
