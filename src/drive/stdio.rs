//! One conversation over a pair of byte streams: standard input and output, or a connection in their place.
//!
//! It waits in `read` and in `write` and nowhere else: there is nobody else to serve. All requests that came together are
//! answered before more is read, and their replies leave together. Only while the engine has long work in hand, input is
//! asked for without waiting.

#![forbid(unsafe_code)]

use crate::config::{PAGE_BYTES, REPLY_BYTES, TALK_INPUT_BYTES};
use crate::engine::{Cx, Order, Progress, State, Stream};
use crate::event::Events;
use crate::sys::heap::Slots;
use crate::time::Instant;
use crate::vfs::{FsResult, Pin, Vfs};
use core::net::Ipv6Addr;
use embedded_io::{ErrorKind, Read, ReadReady, Write};

/// How a conversation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The peer said all it had to say, or is gone.
    Over,
    /// The peer broke the protocol.
    Broken(&'static str),
    /// A file became shorter while it was read, and its length was promised.
    Short,
}

/// What bytes come from.
pub trait Input: Read<Error = ErrorKind> + ReadReady {}

impl<T: Read<Error = ErrorKind> + ReadReady> Input for T {}

/// Where bytes go.
pub type Output<'a> = dyn Write<Error = ErrorKind> + 'a;

/// A conversation and all it needs.
pub struct Talk<'a> {
    /// The files.
    pub vfs: &'a mut dyn Vfs,
    /// Where a person is told.
    pub events: &'a mut Events,
    /// What the peer sends.
    pub input: &'a mut dyn Input,
    /// What it is sent.
    pub output: &'a mut Output<'a>,
    /// Done once, when the first reply is sent and nothing that came after it was looked at: an engine's first reply leaves
    /// alone.
    pub greeted: Option<&'a mut dyn FnMut()>,
    /// When it began: nothing here depends on what the time is meanwhile.
    pub began: Instant,
}

/// Its buffers, and how much of them is in use.
struct Buffers {
    rx: Slots<u8>,
    tx: Slots<u8>,
    /// Bytes of `rx` that were used up …
    used: usize,
    /// … and that were received.
    have: usize,
    /// Bytes of `tx` that are to be sent.
    owed: usize,
}

impl Talk<'_> {
    /// Talks until the peer ends it.
    pub fn run<S: Stream>(&mut self, stream: &mut S, session: &mut S::Session) -> End {
        let mut buffers = Buffers {
            rx: Slots::zeroed(TALK_INPUT_BYTES),
            tx: Slots::zeroed(REPLY_BYTES),
            used: 0,
            have: 0,
            owed: 0,
        };
        let end = self.turns(stream, session, &mut buffers).err();
        stream.abandon(session, self.vfs);
        end.unwrap_or(End::Over)
    }

    fn turns<S: Stream>(
        &mut self,
        stream: &mut S,
        session: &mut S::Session,
        at: &mut Buffers,
    ) -> Result<(), End> {
        loop {
            self.receive(at)?;
            while self.turn(stream, session, at)? == State::Busy {
                // The engine may have left input, because it has enough to do.
                if at.have - at.used < at.rx.len() && self.input.read_ready() != Ok(false) {
                    self.receive(at)?;
                }
            }
            self.vfs.rest();
        }
    }

    /// Receives what there is, at least a byte.
    fn receive(&mut self, at: &mut Buffers) -> Result<(), End> {
        at.rx.copy_within(at.used..at.have, 0);
        (at.have, at.used) = (at.have - at.used, 0);
        let room = at.rx.get_mut(at.have..).unwrap_or_default();
        if room.is_empty() {
            return Err(End::Broken("a request does not fit"));
        }
        match self.input.read(room) {
            Ok(count @ 1..) => at.have += count,
            _ => return Err(End::Over),
        }
        Ok(())
    }

    /// Answers what was received; whether there is more to do without input.
    fn turn<S: Stream>(
        &mut self,
        stream: &mut S,
        session: &mut S::Session,
        at: &mut Buffers,
    ) -> Result<State, End> {
        loop {
            let mut cx = Cx {
                now: self.began,
                peer: Ipv6Addr::UNSPECIFIED,
                vfs: self.vfs,
                events: self.events,
            };
            let input = at.rx.get(at.used..at.have).unwrap_or_default();
            let mut progress = stream.advance(session, &mut cx, input, &mut at.tx);
            at.used += progress.consumed;
            let ordered = progress.order.is_some();
            loop {
                at.owed = progress.produced;
                let Progress { order, state, .. } = progress;
                let Some(mut order) = order else {
                    self.send(at)?;
                    match state {
                        State::Closed(why) => return Err(End::Broken(why)),
                        // There may be requests behind the one that ordered.
                        _ if ordered || state == State::NeedOutput => break,
                        _ => return Ok(state),
                    }
                };
                let result = match self.carry_out(&mut order, at) {
                    Ok(result) => result,
                    Err(end) => {
                        order.abandon(self.vfs);
                        return Err(end);
                    }
                };
                let mut cx = Cx {
                    now: self.began,
                    peer: Ipv6Addr::UNSPECIFIED,
                    vfs: self.vfs,
                    events: self.events,
                };
                progress = stream.done(session, &mut cx, order, result, &mut at.tx);
            }
        }
    }

    /// Does what is large or slow; what came of it.
    fn carry_out(&mut self, order: &mut Order, at: &mut Buffers) -> Result<FsResult<()>, End> {
        match order {
            Order::Sync { file } => {
                self.send(at)?;
                Ok(self.vfs.sync(file))
            }
            Order::Send { file, offset, len } => self.send_file(file, *offset, *len, at),
            Order::Store { file, offset, len } => {
                self.send(at)?;
                self.store(file, offset, len, at)
            }
        }
    }

    /// Sends a range of a file behind what is owed.
    fn send_file(
        &mut self,
        file: &Pin,
        mut from: u64,
        mut left: u32,
        at: &mut Buffers,
    ) -> Result<FsResult<()>, End> {
        while left > 0 {
            let room = at.tx.get_mut(at.owed..).unwrap_or_default();
            let len = room.len().min(left as usize);
            let room = room.get_mut(..len).unwrap_or_default();
            match self.vfs.read(file, from, room) {
                Ok(count @ 1..) => {
                    at.owed += count;
                    from += count as u64;
                    left -= count as u32;
                }
                _ => return Err(End::Short),
            }
            self.send(at)?;
        }
        Ok(Ok(()))
    }

    /// Stores the next bytes of the stream in a file; the transmit buffer is empty then.
    fn store(
        &mut self,
        file: &Pin,
        offset: &mut u64,
        left: &mut u32,
        at: &mut Buffers,
    ) -> Result<FsResult<()>, End> {
        while *left > 0 {
            // Up to where a page of the file begins.
            let page = at.tx.len() - (*offset as usize & (PAGE_BYTES - 1));
            let room = at.tx.get_mut(..page.min(*left as usize));
            let count = self.input.read(room.unwrap_or_default());
            let Ok(count @ 1..) = count else {
                return Err(End::Over);
            };
            *left -= count as u32;
            let stored = self
                .vfs
                .write(file, *offset, at.tx.get(..count).unwrap_or_default());
            *offset += count as u64;
            if stored.is_err() {
                return Ok(stored);
            }
        }
        Ok(Ok(()))
    }

    /// Sends what is owed.
    fn send(&mut self, at: &mut Buffers) -> Result<(), End> {
        let mut bytes = at.tx.get(..at.owed).unwrap_or_default();
        while !bytes.is_empty() {
            let count = self.output.write(bytes).unwrap_or(0);
            bytes = bytes.get(count..).filter(|_| count > 0).ok_or(End::Over)?;
        }
        if at.owed > 0
            && let Some(greeted) = self.greeted.take()
        {
            greeted();
        }
        at.owed = 0;
        Ok(())
    }
}
