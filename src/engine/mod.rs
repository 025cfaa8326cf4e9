//! Protocols: state machines without sockets, clocks or allocation.
//!
//! An engine has three outputs: bytes, events, and orders to move file data. The caller passes time and files to each call.
//! Calling order: pass input (`handle`, `advance`, `done`). Then, and whenever the time of `poll_at` has come, call `poll_transmit`
//! until it returns `None`. Then wait until `poll_at` or for more input. If a call returns an order, the driver carries it out and
//! calls `done` before anything else for that session. Invariant: after malformed input a stream is closed for good; a request is
//! only begun when its largest reply fits.

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
use crate::text::Text;
use crate::time::Instant;
use crate::vfs::{Peer, Pin, Tree};
use core::net::Ipv6Addr;

pub mod connections;
mod drc;
pub mod mdns;
pub mod mount;
#[cfg(any(all(feature = "nfs", feature = "mdns"), test))]
pub mod names;
pub mod nfs;
pub mod portmap;
pub mod programs;
mod rpc;
pub mod service;
pub mod sessions;
pub mod sftp;
#[cfg(any(test, fuzzing))]
pub mod testing;
#[cfg(test)]
mod tests;
pub mod turns;

/// The context of one call: clock, peer, files and events.
pub struct Cx<'a> {
    /// The monotonic clock.
    pub now: Instant,
    /// The peer that sent the input.
    pub peer: Peer,
    /// The files.
    pub vfs: &'a mut Tree,
    /// The sink for messages to the administrator.
    pub events: &'a mut Events,
}

impl Cx<'_> {
    /// Reports an event of this client, with its subject and the reason.
    fn report(&mut self, event: Text, about: &[u8], why: Text) {
        self.events
            .report_for_peer(self.now, self.peer.address, event, about, why);
    }
}

/// The key by which a peer's share of a table is counted: its IPv4 address, or its IPv6 /64 network. Never 0 for a real peer.
pub const fn share(peer: Ipv6Addr) -> u64 {
    let address = peer.to_bits();
    match (address >> 64) as u64 {
        0 => address as u64, // An IPv4-mapped address, `::ffff:a.b.c.d`: its upper 64 bits are 0.
        network => network,
    }
}

/// A file transfer that the driver carries out for an engine, because it is long or waits for a disk.
#[derive(PartialEq, Eq, Debug)]
#[repr(u32)] // Fields that orders have in common have the same offset in each.
pub enum Order {
    /// Sends this range of a file after the produced bytes. Fails if the file has become shorter.
    Send {
        /// The file.
        file: Pin,
        /// Bytes to send.
        len: u32,
        /// Offset in the file (bytes).
        offset: u64,
    },
    /// Writes the next bytes of the stream to a file: input that was not consumed, then what the peer sends.
    Store {
        /// The file.
        file: Pin,
        /// Bytes to write.
        len: u32,
        /// Offset in the file (bytes).
        offset: u64,
    },
    /// Reads this range of a file into memory.
    Read {
        /// The file.
        file: Pin,
        /// Bytes to read.
        len: u32,
        /// Offset in the file (bytes).
        offset: u64,
    },
    /// Waits until a disk of a machine without an operating system has read something
    /// ([`FsError::Waits`](crate::vfs::FsError::Waits)), or until a look-up of host names has ended. The request is then parsed
    /// again.
    Wait,
}

impl Order {
    /// Unpins the file, after the connection has closed.
    pub fn abandon(self, vfs: &mut Tree) {
        match self {
            Self::Send { file, .. } | Self::Store { file, .. } | Self::Read { file, .. } => {
                vfs.unpin(file);
            }
            Self::Wait => {}
        }
    }
}

/// The reason why an engine returned, and what the driver must do before the next call.
#[derive(PartialEq, Eq, Debug)]
pub enum State {
    /// The engine needs more input.
    NeedInput,
    /// The engine needs an empty output buffer.
    NeedOutput,
    /// The engine has background work, such as an SFTP copy-data. The driver calls `advance` again without waiting for input, but
    /// passes input that has arrived.
    Busy,
    /// The driver is to send the produced bytes, carry out this order, and then call `done`.
    Order(Order),
    /// The peer broke the protocol. The driver is to send the produced bytes and close the connection, with this reason.
    Closed(Text),
}

/// The result of one call.
#[derive(Debug)]
#[must_use]
pub struct Progress {
    /// Length of the input that was consumed (bytes); the rest is passed again.
    pub consumed: usize,
    /// Length of the output to send (bytes).
    pub produced: usize,
    /// The reason why the call returned.
    pub state: State,
}

impl Progress {
    /// Closes the connection without a message.
    pub const CLOSED: Self = Self {
        consumed: 0,
        produced: 0,
        state: State::Closed(Text::NOTHING),
    };

    /// Removes and returns the order, if there is one, and sets the state to [`State::NeedOutput`].
    #[inline(never)]
    pub fn take_order(&mut self) -> Option<Order> {
        match core::mem::replace(&mut self.state, State::NeedOutput) {
            State::Order(order) => Some(order),
            state => {
                self.state = state;
                None
            }
        }
    }
}
