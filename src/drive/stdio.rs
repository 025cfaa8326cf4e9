//! One conversation over a pair of byte streams: standard input and output, or a connection in their place.
//!
//! It waits in `read` and in `write` and nowhere else: there is nobody else to serve. All requests that came together are
//! answered before more is read, and their replies leave together. Only while the engine has long work in hand, input is
//! asked for without waiting.

#![forbid(unsafe_code)]

use crate::config::{PAGE_BYTES, REPLY_BYTES, TALK_INPUT_BYTES};
use crate::engine::{Cx, Order, State, Stream};
use crate::event::Events;
use crate::mem;
use crate::mem::Ends as _;
use crate::sys::linux::stdio::Stdio;
use crate::text::{Text, text};
use crate::time::Instant;
use crate::vfs::{Descriptor, FsResult, Vfs};
use core::net::Ipv6Addr;
use embedded_io::{Read, ReadReady, Write};

/// Why a conversation ended; empty when the peer said all it had to say, or is gone.
pub type End = Text;

/// The peer is gone.
const OVER: End = Text::NOTHING;
/// The length of a file was promised.
const SHORT: End = text!("a file became shorter or failed while it was read");

/// A pair of streams, as far as it is used here: those of `embedded_io`, and what only a kernel's can do.
pub trait Wire {
    /// Receives at least a byte; 0: there will be no more.
    fn receive(&mut self, room: &mut [u8]) -> usize;
    /// Whether receiving would not wait.
    fn is_ready(&mut self) -> bool;
    /// Sends all of `bytes`; false: nobody takes them any more.
    fn send(&mut self, bytes: &[u8]) -> bool;
    /// Sends at least a byte of a file without copying it here; 0: that is not possible, or there is none.
    fn send_file(&mut self, _file: Descriptor, _offset: u64, _len: u32) -> usize {
        0
    }
}

/// Standard input and output.
#[derive(Clone, Copy, Debug)]
pub struct Standard;

impl Wire for Standard {
    fn receive(&mut self, room: &mut [u8]) -> usize {
        Stdio::Input.read(room).unwrap_or(0)
    }

    fn is_ready(&mut self) -> bool {
        Stdio::Input.read_ready().unwrap_or(true)
    }

    fn send(&mut self, bytes: &[u8]) -> bool {
        Stdio::Output.write_all(bytes).is_ok()
    }

    fn send_file(&mut self, file: Descriptor, offset: u64, len: u32) -> usize {
        Stdio::Output.send_file(file.0, offset, len)
    }
}

impl<I: Read + ReadReady, O: Write> Wire for (I, O) {
    fn receive(&mut self, room: &mut [u8]) -> usize {
        self.0.read(room).unwrap_or(0)
    }

    fn is_ready(&mut self) -> bool {
        self.0.read_ready().unwrap_or(true)
    }

    fn send(&mut self, bytes: &[u8]) -> bool {
        self.1.write_all(bytes).is_ok()
    }
}

/// A conversation and all it needs.
#[repr(C)] // What is used most lies first, where short instructions reach it.
pub struct Talk<'a, W, F: ?Sized, G> {
    vfs: &'a mut F,
    /// Bytes of `tx` that are to be sent.
    owed: usize,
    tx: &'static mut [u8; REPLY_BYTES],
    rx: &'static mut [u8; TALK_INPUT_BYTES],
    /// Bytes of `rx` that were received.
    have: usize,
    wire: &'a mut W,
    events: &'a mut Events,
    greeted: Option<G>,
}

impl<'a, W: Wire, F: Vfs + ?Sized, G: FnOnce()> Talk<'a, W, F, G> {
    /// A conversation over `wire`. `greeted` is done once, when the first reply is sent and nothing that came after what it
    /// answers was looked at: an engine's first reply leaves alone.
    pub fn new(wire: &'a mut W, vfs: &'a mut F, events: &'a mut Events, greeted: G) -> Self {
        Self {
            wire,
            vfs,
            events,
            rx: mem::array(),
            tx: mem::array(),
            have: 0,
            owed: 0,
            greeted: Some(greeted),
        }
    }

    /// Talks until the peer ends it.
    #[inline(never)]
    pub fn run<S: Stream<Files = F>>(&mut self, stream: &mut S, session: &mut S::Session) -> End {
        let mut is_busy = false;
        let end = loop {
            // The engine may have left input, because it has enough to do.
            if !is_busy || self.have < TALK_INPUT_BYTES && self.wire.is_ready() {
                let room = self.rx.tail_mut(self.have);
                if room.is_empty() {
                    break text!("a request does not fit");
                }
                let count = self.wire.receive(room);
                if count == 0 {
                    break OVER;
                }
                self.have += count;
            }
            match self.turn(stream, session) {
                State::Closed(end) => break end,
                state => is_busy = matches!(state, State::Busy),
            }
            if !is_busy {
                self.vfs.release_idle();
            }
        };
        stream.abandon(session, self.vfs);
        end
    }

    /// Answers what was received; what happens next: more input, unless the engine is busy.
    fn turn<S: Stream<Files = F>>(&mut self, stream: &mut S, session: &mut S::Session) -> State {
        loop {
            let mut cx = Cx {
                // Nothing here depends on what the time is.
                now: Instant::default(),
                peer: Ipv6Addr::UNSPECIFIED,
                vfs: &mut *self.vfs,
                events: &mut *self.events,
            };
            let input = self.rx.head_mut(self.have);
            let mut progress = stream.advance(session, &mut cx, input, self.tx);
            self.have = mem::shift(input, progress.consumed);
            self.owed = progress.produced;
            // There may be requests behind the one that ordered.
            let mut goes_on = matches!(progress.state, State::NeedOutput);
            while let Some(mut order) = progress.order {
                let result = match self.carry_out(&mut order) {
                    Ok(result) => result,
                    Err(end) => {
                        order.abandon(self.vfs);
                        return State::Closed(end);
                    }
                };
                let mut cx = Cx {
                    now: Instant::default(),
                    peer: Ipv6Addr::UNSPECIFIED,
                    vfs: &mut *self.vfs,
                    events: &mut *self.events,
                };
                progress = stream.done(session, &mut cx, order, result, self.tx);
                self.owed = progress.produced;
                goes_on = true;
            }
            if !self.send() {
                return State::Closed(OVER);
            }
            if !goes_on || matches!(progress.state, State::Closed(_)) {
                return progress.state;
            }
        }
    }

    /// Does what is large or slow; what came of it.
    fn carry_out(&mut self, order: &mut Order) -> Result<FsResult<()>, End> {
        let (mut sends, mut by_kernel) = (false, false);
        if let Order::Send { file, offset, len } = order {
            sends = true;
            by_kernel = self.vfs.extent(file, *offset, *len).is_some();
        }
        // The first of what is sent from here leaves together with its head.
        if (!sends || by_kernel) && !self.send() {
            return Err(OVER);
        }
        let (file, offset, len) = match order {
            Order::Sync { file } => return Ok(self.vfs.sync(file)),
            Order::Send { file, offset, len } | Order::Store { file, offset, len } => {
                (file, offset, len)
            }
        };
        while *len > 0 {
            let mut count = 0;
            if by_kernel && let Some(extent) = self.vfs.extent(file, *offset, *len) {
                let from = Descriptor(extent.file);
                count = self.wire.send_file(from, extent.offset, extent.len);
            }
            if count == 0 {
                by_kernel = false;
                // What is stored, up to where a page of the file begins.
                let passed = if sends {
                    self.owed
                } else {
                    *offset as usize & (PAGE_BYTES - 1)
                };
                let most = (REPLY_BYTES - passed).min(*len as usize);
                let room = self.tx.tail_mut(self.owed).head_mut(most);
                count = if sends {
                    self.vfs.read(file, *offset, room).unwrap_or(0) as usize
                } else {
                    self.wire.receive(room)
                };
                if count == 0 {
                    return Err(if sends { SHORT } else { OVER });
                }
                self.owed += count;
            }
            *len -= count as u32;
            if sends {
                if !self.send() {
                    return Err(OVER);
                }
            } else {
                let bytes = self.tx.head(count);
                self.owed = 0;
                let stored = self.vfs.write(file, *offset, bytes);
                if stored.is_err() {
                    return Ok(stored);
                }
            }
            *offset += count as u64;
        }
        Ok(Ok(()))
    }

    /// Sends what is owed; false: it is over.
    #[inline(never)]
    fn send(&mut self) -> bool {
        let bytes = self.tx.head(self.owed);
        self.owed = 0;
        if bytes.is_empty() {
            return true;
        }
        if !self.wire.send(bytes) {
            return false;
        }
        if let Some(greeted) = self.greeted.take() {
            greeted();
        }
        true
    }
}
