//! Roles over stowaway's own network stack. The host has no address, and its network configuration is not changed.

pub mod addresses;
mod faults;
mod files;
mod leases;
mod links;
mod load;
mod mtu;
pub mod names;
pub mod world;
