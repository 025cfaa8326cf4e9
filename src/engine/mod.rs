//! Protocols: state machines without sockets, clocks or allocation.
//!
//! An engine has three outputs: bytes, events, and a deadline. The caller passes time and files to each call. To the driver it is a
//! [`service::Service`]. Those for datagrams alone are called in this order: pass input (`handle`). Then, and whenever the time of
//! `poll_at` has come, call `poll_transmit` until it returns `None`. Then wait until `poll_at` or for more input. Invariant: after
//! malformed input a stream is closed for good; a request is only begun when its largest reply fits.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(any(test, fuzzing)),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

use crate::event::Events;
use crate::stats::Meter;
use crate::time::{Duration, Instant};
use crate::vfs::{Peer, Tree};
use service::Health;

#[cfg(any(feature = "boot", test, fuzzing))]
pub mod boot;
#[cfg(any(feature = "http", test, fuzzing))]
pub mod http;
pub mod mdns;
#[cfg(any(feature = "nfs", test, fuzzing))]
pub mod mount;
#[cfg(any(all(feature = "nfs", feature = "mdns"), test))]
pub mod names;
#[cfg(any(feature = "nfs", test, fuzzing))]
pub mod nfs;
#[cfg(any(feature = "nfs4", test, fuzzing))]
pub mod nfs4;
#[cfg(all(feature = "nfs", not(any(feature = "nfs4", test, fuzzing))))]
#[path = "no_nfs4.rs"]
pub mod nfs4;
#[cfg(any(feature = "nfs", test, fuzzing))]
pub mod portmap;
#[cfg(any(feature = "nfs", test, fuzzing))]
pub mod programs;
#[cfg(any(feature = "nfs", test, fuzzing))]
mod report;
#[cfg(any(feature = "nfs", test, fuzzing))]
pub mod rpc;
pub mod service;
#[cfg(any(feature = "nfs", test, fuzzing))]
pub mod sessions;
#[cfg(any(feature = "sftp-server", feature = "ls", test, fuzzing))]
pub mod sftp;
#[cfg(any(test, fuzzing))]
pub mod testing;
#[cfg(test)]
mod tests;

/// The context of one call: clock, peer, files and events.
pub struct Cx<'a> {
    /// The monotonic clock.
    pub now: Instant,
    /// The wall clock: the time since 1970. 0 in a process that serves no HTTP.
    pub wall: Duration,
    /// The health of the server. Fine in a process that serves no HTTP.
    pub health: Health,
    /// The peer that sent the input.
    pub peer: Peer,
    /// The files.
    pub vfs: &'a mut Tree,
    /// The sink for messages to the administrator.
    pub events: &'a mut Events,
    /// Counts the calls that are answered.
    pub stats: &'a mut Meter,
}
