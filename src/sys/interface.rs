//! A network interface, in one type for all platforms and network stacks. It is in `sys`, so that the netlink code fills it in
//! without a copy.

use crate::config::{INTERFACE_COUNT_MAX, INTERFACE_COUNT_MIN};
use crate::mem::{Slots, scaled};
use core::net::{IpAddr, Ipv4Addr};

/// Addresses of an interface, at most.
pub const ADDRESS_COUNT_MAX: usize = 16;

/// A network interface that has an address.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[repr(C)] // The largest field last, so that the others have small offsets.
pub struct Interface {
    /// Interface index; 0 if the platform has none.
    pub index: u32,
    /// Name, padded with zeros.
    pub name: [u8; 16],
    /// True if it is up and has a carrier.
    pub is_running: bool,
    /// True if it supports multicast.
    pub is_multicast: bool,
    /// True for a loopback interface.
    pub is_loopback: bool,
    /// True for a point-to-point link.
    pub is_point_to_point: bool,
    /// MTU in bytes; 0: unknown.
    pub mtu: u32,
    /// MAC address.
    pub hardware: Option<[u8; 6]>,
    /// IPv4 default gateway, if known.
    pub gateway: Option<Ipv4Addr>,
    /// Usable addresses with their prefix lengths.
    pub addresses: heapless::Vec<(IpAddr, u8), ADDRESS_COUNT_MAX>,
}

/// The interfaces of a host, truncated to [`interface_count`].
pub type Interfaces = Slots<Interface>;

/// Returns the number of interfaces that a list can have.
pub fn interface_count() -> usize {
    scaled(INTERFACE_COUNT_MIN, INTERFACE_COUNT_MAX)
}
