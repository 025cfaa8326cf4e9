//! A network interface, as every system can tell of it. It lies this low so that a list is made once, where it is asked for.

use core::net::{IpAddr, Ipv4Addr};

/// Interfaces that are told of.
pub const INTERFACE_COUNT_MAX: usize = 16;
/// Addresses that are told of each.
pub const ADDRESS_COUNT_MAX: usize = 16;

/// A network interface that has an address.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[repr(C)] // The longest last.
pub struct Interface {
    /// Its index; 0 where the host has none.
    pub index: u32,
    /// Its name, zeros behind it.
    pub name: [u8; 16],
    /// It is up and has a carrier.
    pub is_running: bool,
    /// It can send to groups.
    pub is_multicast: bool,
    /// It reaches this host alone.
    pub is_loopback: bool,
    /// It reaches one other host at most.
    pub is_point_to_point: bool,
    /// Bytes of the longest packet; 0: unknown.
    pub mtu: u32,
    /// Its number on an Ethernet.
    pub hardware: Option<[u8; 6]>,
    /// What leads beyond its link, of version 4, where that is known.
    pub gateway: Option<Ipv4Addr>,
    /// Its usable addresses and their prefix lengths in bits.
    pub addresses: heapless::Vec<(IpAddr, u8), ADDRESS_COUNT_MAX>,
}

/// The interfaces of a host. Those beyond the last place are left out.
pub type Interfaces = heapless::Vec<Interface, INTERFACE_COUNT_MAX>;
