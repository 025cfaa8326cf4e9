//! Protocols: state machines without sockets, clocks or allocation.
//!
//! An engine has three outputs: bytes, events, and orders for what is large. Time and files are lent for each call.
//! Invariant: after malformed input a stream is closed for good; a request is only begun when its worst reply has room.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

use crate::event::Events;
use crate::time::Instant;
use crate::vfs::{FsResult, Pin, Vfs};
use core::net::Ipv6Addr;

pub mod mount;
pub mod nfs;
pub mod portmap;
pub mod rpc;
#[cfg(test)]
pub mod tests;

/// What an engine may use, lent for the length of one call.
pub struct Cx<'a> {
    /// The monotonic clock.
    pub now: Instant,
    /// Who sent the input; an IPv4 address is mapped into IPv6.
    pub peer: Ipv6Addr,
    /// The files.
    pub vfs: &'a mut dyn Vfs,
    /// Where a person is told.
    pub events: &'a mut Events,
}

impl Cx<'_> {
    /// Tells a person of this client.
    fn tell(&mut self, event: &'static str, about: &[u8], why: &str) {
        self.events.tell_of(self.now, self.peer, event, about, why);
    }
}

/// Something large, or something that may take long, that the driver does for an engine.
#[derive(Debug)]
pub enum Order {
    /// After the produced bytes, send this range of a file. If the file has become shorter, close the connection.
    Send {
        /// Given back with `Vfs::unpin` by the driver.
        file: Pin,
        /// Bytes from the start of the file.
        offset: u64,
        /// Bytes to send.
        len: u32,
    },
}

/// What an engine needs before it can go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// More input than it was given.
    NeedInput,
    /// An empty output buffer.
    NeedOutput,
    /// Nothing: the peer broke the protocol, and the connection is to be closed after the produced bytes.
    Closed(&'static str),
}

/// What one call did.
#[derive(Debug)]
#[must_use]
pub struct Progress {
    /// Bytes of the input that are not to be given again.
    pub consumed: usize,
    /// Bytes of the output that are to be sent.
    pub produced: usize,
    /// To be carried out after them. The next call is then [`Stream::done`].
    pub order: Option<Order>,
    /// What the next call of [`Stream::advance`] needs.
    pub state: State,
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
    /// The driver carried the last order out: the engine finishes its reply.
    fn done(
        &mut self,
        session: &mut Self::Session,
        cx: &mut Cx<'_>,
        result: FsResult<u64>,
        output: &mut [u8],
    ) -> Progress;
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
