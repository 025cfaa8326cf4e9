//! Shared by unit tests, fuzz targets, end-to-end tests and benches: ONC RPC calls, HTTP and SFTP requests, strict parsers of their
//! replies, repeatable random numbers, and mutations of messages.
//!
//! The crate `nfs3_types`, which shares no code with stowaway, encodes and decodes the values of NFS.

pub mod calls;
pub mod headers;
pub mod http;
pub mod laws;
pub mod mutate;
pub mod nfs4;
pub mod random;
pub mod replies;
pub mod sftp;
pub mod values;

pub use {nfs3_types, ssh_encoding};
