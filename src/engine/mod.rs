//! Protocols: state machines without sockets, clocks or allocation.
//!
//! An engine has three outputs: bytes, events, and orders for what is large. Time and files are lent for each call.
//!
//! Calling order: give it what arrived (`handle`, [`Stream::advance`], [`Stream::done`]); then, and whenever the time of `poll_at`
//! has come, call `poll_transmit` until it returns `None`; then wait until `poll_at` or until something arrives. An order is
//! part of what a call returned: the driver carries it out, and calls [`Stream::done`] before anything else for that session.
//! Invariant: after malformed input a stream is closed for good; a request is only begun when its largest reply fits.

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
use crate::vfs::{FsResult, Pin, Tree};
use core::net::Ipv6Addr;

mod drc;
pub mod mdns;
pub mod mount;
pub mod nfs;
pub mod portmap;
pub mod programs;
mod rpc;
pub mod sftp;
#[cfg(any(test, fuzzing))]
pub mod testing;
#[cfg(test)]
mod tests;
pub mod turns;

/// What an engine may use, lent for the length of one call.
pub struct Cx<'a> {
    /// The monotonic clock.
    pub now: Instant,
    /// The peer that sent the input; an IPv4 address is mapped into IPv6.
    pub peer: Ipv6Addr,
    /// The files.
    pub vfs: &'a mut Tree,
    /// Where a person is told.
    pub events: &'a mut Events,
}

impl Cx<'_> {
    /// Tells a person of this client.
    fn tell(&mut self, event: Text, about: &[u8], why: Text) {
        self.events.tell_of(self.now, self.peer, event, about, why);
    }
}

/// The share of a table to which a peer counts: its IPv4 address, or its IPv6 network of 64 bits. Never 0 for a real peer.
pub const fn share(peer: Ipv6Addr) -> u64 {
    let address = peer.to_bits();
    match (address >> 64) as u64 {
        0 => address as u64, // An IPv4 address, mapped.
        network => network,
    }
}

/// A range of a file that the driver moves for an engine, because it is long or waits for a disk.
#[derive(PartialEq, Eq, Debug)]
#[repr(u32)] // Fields that orders have in common have the same offset in each.
pub enum Order {
    /// Sends this range of a file after the produced bytes. Fails if the file has become shorter.
    Send {
        /// The file.
        file: Pin,
        /// Bytes to send.
        len: u32,
        /// Bytes from the start of the file.
        offset: u64,
    },
    /// Writes the next bytes of the stream to a file: input that was not consumed, then what the peer sends.
    Store {
        /// The file.
        file: Pin,
        /// Bytes to write.
        len: u32,
        /// Bytes from the start of the file.
        offset: u64,
    },
    /// Reads this range of a file into memory.
    Read {
        /// The file.
        file: Pin,
        /// Bytes to read.
        len: u32,
        /// Bytes from the start of the file.
        offset: u64,
    },
}

impl Order {
    /// Unpins the file: the connection is gone.
    pub fn abandon(self, vfs: &mut Tree) {
        let (Self::Send { file, .. } | Self::Store { file, .. } | Self::Read { file, .. }) = self;
        vfs.unpin(file);
    }
}

/// What an engine needs before it can go on.
#[derive(PartialEq, Eq, Debug)]
pub enum State {
    /// More input than it was given.
    NeedInput,
    /// An empty output buffer.
    NeedOutput,
    /// Nothing: it has long work of its own in hand. Input that is there already goes first.
    Busy,
    /// That the driver carries this out, after the produced bytes. The next call is then [`Stream::done`].
    Order(Order),
    /// Nothing: the peer broke the protocol, and the connection is to be closed after the produced bytes.
    Closed(Text),
}

/// What one call did.
#[derive(Debug)]
#[must_use]
pub struct Progress {
    /// Bytes of the input that are not to be given again.
    pub consumed: usize,
    /// Bytes of the output that are to be sent.
    pub produced: usize,
    /// What has to happen before the next call.
    pub state: State,
}

impl Progress {
    /// The connection is to be closed, and there is nothing to say about it.
    pub const CLOSED: Self = Self {
        consumed: 0,
        produced: 0,
        state: State::Closed(Text::NOTHING),
    };

    /// The order, if there is one. What the engine needs after it is output.
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

/// A protocol over byte streams: what all its connections share. What each has is a session.
pub trait Stream {
    /// The state of one connection.
    type Session;
    /// Reads requests from `input` and writes replies to `output`, as many as there are and fit.
    fn advance(
        &mut self,
        session: &mut Self::Session,
        cx: &mut Cx<'_>,
        input: &[u8],
        output: &mut [u8],
    ) -> Progress;
    /// The driver carried the last order out, or failed, and gives back what is left of it: the engine finishes its reply, or
    /// orders more.
    fn done(
        &mut self,
        session: &mut Self::Session,
        cx: &mut Cx<'_>,
        order: Order,
        result: FsResult<()>,
        output: &mut [u8],
    ) -> Progress;
    /// An order takes longer: others are served meanwhile.
    fn interrupted(&mut self);
    /// The connection is gone: what its session holds is given back.
    fn abandon(&mut self, session: &mut Self::Session, vfs: &mut Tree, events: &mut Events);
}

/// A protocol of one datagram in, one or none out.
pub trait Datagrams {
    /// What a socket is bound for.
    type Service: Copy;
    /// Answers `packet`; `None` means that nothing must be sent.
    fn answer(
        &mut self,
        service: Self::Service,
        cx: &mut Cx<'_>,
        packet: &[u8],
        output: &mut [u8],
    ) -> Option<usize>;
}
