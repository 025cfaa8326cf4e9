//! Bytes to values and back. Borrowed, stateless, `core` only.
//!
//! Invariant: reading never panics, whatever the bytes; writing never panics, whatever the buffer. Nothing here uses sockets or
//! files.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod accounts;
pub mod address;
pub mod announce;
pub mod bootloader;
pub mod calendar;
pub mod cpio;
pub mod dhcp;
pub mod dns;
pub mod exports;
pub mod hosts;
pub mod http;
pub mod inventory;
pub mod iso9660;
pub mod label;
pub mod mount;
pub mod nfs3;
pub mod nfs4;
pub mod portmap;
pub mod resolv_conf;
pub mod rpc;
pub mod sftp;
pub mod smbios;
pub mod tftp;
pub mod txt;
pub mod udf;
pub mod uuid;
pub mod vmx;
pub mod wildcard;
pub mod xdr;
pub mod zone;

pub use xdr::{Reader, Writer};

/// The input violates its specification: it is truncated, or a length or number is out of range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;
