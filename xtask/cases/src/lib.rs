//! What unit tests, fuzz targets, end-to-end tests and measurements have in common: calls of ONC RPC, the judge of their
//! replies, chance that can be repeated, and damage to messages.
//!
//! How values are laid out, `nfs3_types` says, which shares no code with stowaway.

pub mod calls;
pub mod mutate;
pub mod random;
pub mod replies;
pub mod values;

pub use nfs3_types;
