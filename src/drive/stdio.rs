//! One conversation over a pair of byte streams: standard input and output, or a connection in their place.
//!
//! It waits in `read` and in `write` and nowhere else: there is nobody else to serve. All requests that came together are
//! answered before more is read, and their replies leave together. Only while the engine has long work in hand, input is
//! asked for without waiting.

#![forbid(unsafe_code)]

use crate::config::{PAGE_BYTES, REPLY_BYTES, TALK_INPUT_BYTES};
use crate::engine::{Cx, Order, State, Stream};
use crate::event::Events;
use crate::sys::heap;
use crate::sys::stdio::Stdio;
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

/// A pair of streams, as far as it is used here.
///
/// Without this, the tables of methods would bring those along that format text.
pub trait Wire {
    /// Receives at least a byte; `None`: there will be no more.
    fn receive(&mut self, room: &mut [u8]) -> Option<usize>;
    /// Whether receiving would not wait.
    fn is_ready(&mut self) -> bool;
    /// Sends at least a byte; `None`: nobody takes it any more.
    fn send(&mut self, bytes: &[u8]) -> Option<usize>;
    /// Sends at least a byte of a file without copying it here; `None`: that is not possible, or there is none.
    fn send_file(&mut self, _file: Descriptor, _offset: u64, _len: u32) -> Option<usize> {
        None
    }
}

/// Standard input and output.
#[derive(Clone, Copy, Debug)]
pub struct Standard;

impl Wire for Standard {
    fn receive(&mut self, room: &mut [u8]) -> Option<usize> {
        (Stdio::Input, Stdio::Output).receive(room)
    }

    fn is_ready(&mut self) -> bool {
        (Stdio::Input, Stdio::Output).is_ready()
    }

    fn send(&mut self, bytes: &[u8]) -> Option<usize> {
        (Stdio::Input, Stdio::Output).send(bytes)
    }

    fn send_file(&mut self, file: Descriptor, offset: u64, len: u32) -> Option<usize> {
        Stdio::Output
            .send_file(file.0, offset, len)
            .filter(|count| *count > 0)
    }
}

impl<I: Read + ReadReady, O: Write> Wire for (I, O) {
    fn receive(&mut self, room: &mut [u8]) -> Option<usize> {
        self.0.read(room).ok().filter(|count| *count > 0)
    }

    fn is_ready(&mut self) -> bool {
        self.0.read_ready().unwrap_or(true)
    }

    fn send(&mut self, bytes: &[u8]) -> Option<usize> {
        self.1.write(bytes).ok().filter(|count| *count > 0)
    }
}

/// A conversation and all it needs.
#[repr(C)] // What is used most lies first, where short instructions reach it.
pub struct Talk<'a> {
    wire: &'a mut dyn Wire,
    vfs: &'a mut dyn Vfs,
    events: &'a mut Events,
    rx: &'static mut [u8],
    tx: &'static mut [u8],
    /// Bytes of `rx` that were used up …
    used: usize,
    /// … and that were received.
    have: usize,
    /// Bytes of `tx` that are to be sent.
    owed: usize,
    greeted: Option<&'a mut dyn FnMut()>,
}

impl<'a> Talk<'a> {
    /// A conversation over `wire`. `greeted` is done once, when the first reply is sent and nothing that came after what it
    /// answers was looked at: an engine's first reply leaves alone.
    pub fn new(
        wire: &'a mut dyn Wire,
        vfs: &'a mut dyn Vfs,
        events: &'a mut Events,
        greeted: &'a mut dyn FnMut(),
    ) -> Self {
        Self {
            wire,
            vfs,
            events,
            rx: heap::bytes(TALK_INPUT_BYTES),
            tx: heap::bytes(REPLY_BYTES),
            used: 0,
            have: 0,
            owed: 0,
            greeted: Some(greeted),
        }
    }

    /// Talks until the peer ends it.
    pub fn run<S: Stream>(&mut self, stream: &mut S, session: &mut S::Session) -> End {
        loop {
            let end = self.receive().and_then(|()| {
                while self.turn(stream, session)? {
                    // The engine may have left input, because it has enough to do.
                    if self.have - self.used < self.rx.len() && self.wire.is_ready() {
                        self.receive()?;
                    }
                }
                Ok(())
            });
            if let Err(end) = end {
                stream.abandon(session, self.vfs);
                return end;
            }
            self.vfs.rest();
        }
    }

    /// Receives what there is, at least a byte.
    #[inline(never)]
    fn receive(&mut self) -> Result<(), End> {
        // Asked first, so that no words for a panic are in the file.
        if self.rx.get(self.used..self.have).is_some() {
            self.rx.copy_within(self.used..self.have, 0);
        }
        (self.have, self.used) = (self.have - self.used, 0);
        let room = self.rx.get_mut(self.have..).unwrap_or_default();
        if room.is_empty() {
            return Err(text!("a request does not fit"));
        }
        self.have += self.wire.receive(room).ok_or(OVER)?;
        Ok(())
    }

    /// Answers what was received; whether there is more to do without input.
    #[inline(never)]
    fn turn<S: Stream>(&mut self, stream: &mut S, session: &mut S::Session) -> Result<bool, End> {
        let mut ordered: Option<(Order, FsResult<()>)> = None;
        loop {
            let mut cx = Cx {
                // Nothing here depends on what the time is.
                now: Instant::default(),
                peer: Ipv6Addr::UNSPECIFIED,
                vfs: self.vfs,
                events: self.events,
            };
            let was_ordered = ordered.is_some();
            let progress = match ordered.take() {
                Some((order, result)) => stream.done(session, &mut cx, order, result, self.tx),
                None => {
                    let input = self.rx.get(self.used..self.have).unwrap_or_default();
                    stream.advance(session, &mut cx, input, self.tx)
                }
            };
            self.used += progress.consumed;
            self.owed = progress.produced;
            if let Some(mut order) = progress.order {
                match self.carry_out(&mut order) {
                    Ok(result) => ordered = Some((order, result)),
                    Err(end) => {
                        order.abandon(self.vfs);
                        return Err(end);
                    }
                }
                continue;
            }
            self.send()?;
            match progress.state {
                State::Closed(why) => return Err(why),
                // There may be requests behind the one that ordered.
                State::NeedOutput => {}
                _ if was_ordered => {}
                state => return Ok(state == State::Busy),
            }
        }
    }

    /// Does what is large or slow; what came of it.
    #[inline(never)]
    fn carry_out(&mut self, order: &mut Order) -> Result<FsResult<()>, End> {
        if !matches!(order, Order::Send { .. }) {
            self.send()?;
        }
        match order {
            Order::Sync { file } => return Ok(self.vfs.sync(file)),
            Order::Send { file, offset, len } => {
                if let Some(descriptor) = self.vfs.descriptor(file) {
                    self.send()?;
                    while *len > 0
                        && let Some(count) = self.wire.send_file(descriptor, *offset, *len)
                    {
                        *offset += count as u64;
                        *len -= count as u32;
                    }
                }
                // The first of it leaves together with its head.
                while *len > 0 {
                    let room = self.tx.get_mut(self.owed..).unwrap_or_default();
                    let most = room.len().min(*len as usize);
                    let room = room.get_mut(..most).unwrap_or_default();
                    let count = self.vfs.read(file, *offset, room).unwrap_or(0);
                    if count == 0 {
                        return Err(SHORT);
                    }
                    self.owed += count;
                    *offset += count as u64;
                    *len -= count as u32;
                    self.send()?;
                }
            }
            Order::Store { file, offset, len } => {
                while *len > 0 {
                    // Up to where a page of the file begins.
                    let page = REPLY_BYTES - (*offset as usize & (PAGE_BYTES - 1));
                    let room = self.tx.get_mut(..page.min(*len as usize));
                    let count = self.wire.receive(room.unwrap_or_default());
                    let count = count.ok_or(OVER)?;
                    *len -= count as u32;
                    let bytes = self.tx.get(..count).unwrap_or_default();
                    let stored = self.vfs.write(file, *offset, bytes);
                    if stored.is_err() {
                        return Ok(stored);
                    }
                    *offset += count as u64;
                }
            }
        }
        Ok(Ok(()))
    }

    /// Sends what is owed.
    #[inline(never)]
    fn send(&mut self) -> Result<(), End> {
        let mut bytes = self.tx.get(..self.owed).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(());
        }
        self.owed = 0;
        while !bytes.is_empty() {
            let count = self.wire.send(bytes).ok_or(OVER)?;
            bytes = bytes.get(count..).unwrap_or_default();
        }
        if let Some(greeted) = self.greeted.take() {
            greeted();
        }
        Ok(())
    }
}
