//! One session over a pair of byte streams: standard input and output, or a connection.
//!
//! The process blocks only in read(2) and write(2), since there is no other peer. All requests received together are answered
//! before the next read, and their replies are sent together. While the engine has long work, input is only read if it is ready.

#![forbid(unsafe_code)]

use crate::config::{REPLY_PIPE_BYTES, SFTP_REPLY_BYTES, TALK_INPUT_BYTES};
use crate::drive::streams::Protocol;
use crate::drive::streams::connection::CloseReason;
use crate::drive::streams::orders::{OrderContext, OrderResult};
use crate::engine::{Cx, Progress, State};
use crate::event::Events;
use crate::mem;
use crate::mem::Ends as _;
use crate::net::{Connections, NetError, NetResult, Socket};
use crate::sys::linux::stdio::Stdio;
use crate::text::Text;
use crate::time::Instant;
use crate::vfs::Peer;
use crate::vfs::Tree;
use embedded_io::{Read, ReadReady, Write};

/// A connection with blocking calls.
pub trait Blocking: Connections {
    /// Returns true if `recv` would not block, false if that is not known.
    fn is_ready(&mut self) -> bool;
}

/// Puts the terminal on standard input into raw mode until the returned value is dropped. `None`: not a terminal.
pub fn pass_all_bytes() -> Option<impl Drop> {
    Stdio::pass_all_bytes()
}

/// Default capacity of a pipe on Linux.
const PIPE_BYTES: usize = 64 << 10;

/// Standard input and output.
#[derive(Debug, Default)]
pub struct Standard {
    /// True once the output pipe's capacity was raised.
    is_larger: bool,
}

impl Connections for Standard {
    fn recv(&mut self, _: Socket, buffer: &mut [u8]) -> NetResult<usize> {
        recv(&mut Stdio::Input, buffer)
    }

    fn send(&mut self, _: Socket, bytes: &[u8], _: bool) -> NetResult<usize> {
        // A pipe of default capacity cannot hold replies of this length: client and server would wait for each other in each batch.
        if bytes.len() > PIPE_BYTES && !core::mem::replace(&mut self.is_larger, true) {
            Stdio::Output.set_pipe_size(REPLY_PIPE_BYTES);
        }
        send(&mut Stdio::Output, bytes)
    }
}

impl Blocking for Standard {
    fn is_ready(&mut self) -> bool {
        Stdio::Input.read_ready().unwrap_or(false)
    }
}

impl<I: Read + ReadReady, O: Write> Connections for (I, O) {
    fn recv(&mut self, _: Socket, buffer: &mut [u8]) -> NetResult<usize> {
        recv(&mut self.0, buffer)
    }

    fn send(&mut self, _: Socket, bytes: &[u8], _: bool) -> NetResult<usize> {
        send(&mut self.1, bytes)
    }
}

impl<I: Read + ReadReady, O: Write> Blocking for (I, O) {
    fn is_ready(&mut self) -> bool {
        self.0.read_ready().unwrap_or(false)
    }
}

fn recv(input: &mut impl Read, buffer: &mut [u8]) -> NetResult<usize> {
    input.read(buffer).map_err(|_| NetError::Gone)
}

fn send(output: &mut impl Write, bytes: &[u8]) -> NetResult<usize> {
    match output.write_all(bytes) {
        Ok(()) => Ok(bytes.len()),
        Err(_) => Err(NetError::Gone),
    }
}

/// A session with its buffers. It is connection 0 of its protocol.
pub struct StdioSession<'a> {
    protocol: &'a mut dyn Protocol,
    tree: &'a mut Tree,
    /// Input, followed by the replies. One buffer, so that a page used for input and later for replies is in memory only once.
    buffer: &'static mut [u8; TALK_INPUT_BYTES + SFTP_REPLY_BYTES],
    /// Length (bytes) of the input, at most [`TALK_INPUT_BYTES`].
    have: usize,
    peer: &'a mut dyn Blocking,
    events: &'a mut Events,
}

impl<'a> StdioSession<'a> {
    /// A session with `peer`.
    pub fn new(
        peer: &'a mut dyn Blocking,
        protocol: &'a mut dyn Protocol,
        tree: &'a mut Tree,
        events: &'a mut Events,
    ) -> Self {
        Self {
            peer,
            protocol,
            tree,
            events,
            buffer: mem::array(),
            have: 0,
        }
    }

    /// Serves the session until its end. Returns the reason; empty if the peer closed the connection or is gone.
    pub fn run(&mut self) -> Text {
        self.protocol.open(0, 0);
        let mut is_busy = false;
        let end = loop {
            // While the engine is busy, read only if there is space and reading does not block.
            if !is_busy || self.have < TALK_INPUT_BYTES && self.peer.is_ready() {
                let buffer = self.buffer.head_mut(TALK_INPUT_BYTES).tail_mut(self.have);
                if buffer.is_empty() {
                    break CloseReason::Large.message();
                }
                match self.peer.recv(Socket::ONLY, buffer) {
                    Ok(count @ 1..) => self.have += count,
                    _ => break Text::NOTHING,
                }
            }
            match self.turn() {
                State::Closed(end) => break end,
                state => is_busy = matches!(state, State::Busy),
            }
            if !is_busy {
                self.tree.release_idle();
            }
        };
        self.protocol.abandon(0, self.tree, self.events);
        end
    }

    /// Answers the received requests. Returns the engine's next need: more input, or another call if busy.
    fn turn(&mut self) -> State {
        loop {
            let start = self.have.min(TALK_INPUT_BYTES);
            let (input, output) = self.buffer.split_at_mut(start);
            let output = output.head_mut(SFTP_REPLY_BYTES);
            let mut cx = lend(self.tree, self.events);
            let mut progress = self.protocol.advance(0, &mut cx, input, output);
            self.have = mem::shift(input, progress.consumed);
            // More requests may follow the one with the order.
            let goes_on = matches!(progress.state, State::NeedOutput | State::Order(_));
            loop {
                match self.flush(&mut progress, start) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(_) => return State::Closed(Text::NOTHING),
                }
            }
            if !goes_on || matches!(progress.state, State::Closed(_)) {
                return progress.state;
            }
        }
    }

    /// Sends the replies of a call, which are at `start` in the buffer, and carries out the order that the call returned. Returns
    /// true if there was an order; `progress` is then the engine's result after the order.
    fn flush(&mut self, progress: &mut Progress, start: usize) -> NetResult<bool> {
        let produced = 0..progress.produced;
        let (rx, tx) = self.buffer.split_at_mut(start.min(TALK_INPUT_BYTES));
        let input = rx.head(self.have);
        let mut carrier = OrderContext::new(self.peer, Socket::ONLY, tx, produced, input);
        let mut order = progress.take_order();
        let carried = carrier.carry_out(&mut order, None, self.tree);
        let used = carrier.used;
        self.have = mem::shift(rx.head_mut(self.have), used);
        let Some(order) = order else {
            return carried.map(|_| false);
        };
        match carried {
            // This process has no workers: no job is ever pending.
            Ok(OrderResult::Pending(_)) => {
                order.abandon(self.tree);
                Err(NetError::Gone)
            }
            Ok(OrderResult::Done(result)) => {
                let mut cx = lend(self.tree, self.events);
                *progress = self.protocol.done(0, &mut cx, order, result, tx);
                Ok(true)
            }
            Err(error) => {
                order.abandon(self.tree);
                Err(error)
            }
        }
    }
}

/// Context of a protocol call. Time and peer are not used here.
#[inline(never)]
fn lend<'a>(tree: &'a mut Tree, events: &'a mut Events) -> Cx<'a> {
    Cx {
        now: Instant::default(),
        peer: Peer::NONE,
        vfs: tree,
        events,
    }
}
