//! Roles over a network stack of their own: the host that they run on has no address, and is not touched.

pub mod addresses;
mod faults;
mod files;
mod links;
mod load;
pub mod world;
