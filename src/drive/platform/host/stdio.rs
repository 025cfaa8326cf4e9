//! One session over a pair of byte streams: standard input and output, or a connection.
//!
//! The process blocks only in its calls for these streams, since there is no other peer. All requests received together are answered
//! before the next read, and their replies are sent together. While the engine has long work, input is only read if it is ready.
//! Replies that the client does not read wait in memory, while further requests are read.

#![forbid(unsafe_code)]

use crate::config::{
    PAGE_BYTES, REPLY_PIPE_BYTES, REPLY_QUEUE_BYTES, REPLY_QUEUE_DELAY, SFTP_BATCH_BYTES,
    SFTP_REPLY_BYTES, STORE_BYTES, TALK_INPUT_BYTES,
};
use crate::engine::Cx;
use crate::engine::service::{ConnectionId, Health, Io, Local, Moved, Next, Service, Transfer};
use crate::event::Events;
use crate::mem;
use crate::mem::Ends as _;
use crate::stats::Meter;
use crate::sys::linux::process;
use crate::sys::linux::stdio::Stdio;
use crate::text::{Text, text};
use crate::time::{Duration, Instant};
use crate::vfs::Peer;
use crate::vfs::Tree;
use core::ops::Range;
use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write};

/// Puts the terminal on standard input into raw mode until the returned value is dropped. `None`: not a terminal.
pub fn pass_all_bytes() -> Option<impl Drop> {
    Stdio::pass_all_bytes()
}

/// The only session.
const ONLY: ConnectionId = ConnectionId(0);
const NO_TIME: Option<Duration> = Some(Duration::from_ms(0));

/// The client has closed its end of the stream.
#[derive(Clone, Copy, Debug)]
pub struct Gone;

impl core::fmt::Display for Gone {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.write_str("the client is gone")
    }
}

impl core::error::Error for Gone {}

impl embedded_io::Error for Gone {
    fn kind(&self) -> ErrorKind {
        ErrorKind::BrokenPipe
    }
}

/// Standard input and output.
#[derive(Debug)]
pub struct Standard {
    /// Memory for replies that the client does not read yet.
    queue: &'static mut [u8],
    /// Range of these replies in `queue`.
    queued: Range<usize>,
}

impl Default for Standard {
    fn default() -> Self {
        Self {
            queue: mem::bytes(mem::scaled(1, REPLY_QUEUE_BYTES)),
            queued: 0..0,
        }
    }
}

impl Standard {
    /// Sends queued replies, as many as standard output accepts at once; if that is none, waits up to `timeout`. Drops them if the
    /// client is gone.
    fn send_queued(&mut self, timeout: Option<Duration>) {
        let bytes = self.queue.head(self.queued.end).tail(self.queued.start);
        if !bytes.is_empty() {
            let count = Stdio::Output.write_some(bytes, timeout);
            self.queued.start += count.unwrap_or(bytes.len());
        }
        if self.queued.is_empty() {
            self.queued = 0..0;
        }
    }

    /// Queues replies, as many as there is space for, at least one byte; returns their number.
    fn enqueue(&mut self, bytes: &[u8]) -> usize {
        if self.queued.end == self.queue.len() {
            if self.queued.start == 0 {
                self.send_queued(None);
            }
            let queued = self.queue.head_mut(self.queued.end);
            self.queued = 0..mem::shift(queued, self.queued.start);
        }
        let space = self.queue.tail_mut(self.queued.end);
        let count = bytes.len().min(space.len());
        mem::copy_into(space, bytes);
        self.queued.end += count;
        count
    }
}

impl ErrorType for Standard {
    type Error = Gone;
}

impl Read for Standard {
    /// Returns 0 also if the client is gone.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Gone> {
        let mut received = 0;
        loop {
            let has_input = self.queued.is_empty() || Stdio::wait_for_input_or_space();
            self.send_queued(NO_TIME);
            // While the queue has no space for the replies, requests wait in `buffer`.
            let is_full = self.queued.len() + SFTP_BATCH_BYTES > self.queue.len();
            if received > 0 && !is_full {
                return Ok(received);
            }
            if has_input {
                let count = Stdio::Input.receive(buffer.tail_mut(received));
                received += count;
                if count == 0 || !is_full {
                    return Ok(received);
                }
            }
        }
    }
}

impl ReadReady for Standard {
    fn read_ready(&mut self) -> Result<bool, Gone> {
        self.send_queued(NO_TIME);
        // Not known: false, because long work must not wait for input.
        Ok(Stdio::Input.is_ready(NO_TIME).unwrap_or(false))
    }
}

impl Write for Standard {
    /// Takes all bytes.
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Gone> {
        process::mark_reply();
        let mut rest = bytes;
        while !rest.is_empty() {
            self.send_queued(NO_TIME);
            let mut count = 0;
            if self.queued.is_empty() {
                let Some(written) = Stdio::Output.write_some(rest, Some(REPLY_QUEUE_DELAY)) else {
                    return Err(Gone);
                };
                count = written;
                if count < rest.len() {
                    // A pipe of default capacity cannot hold some replies: client and server would wait for each other in each batch.
                    Stdio::Output.set_pipe_size(REPLY_PIPE_BYTES);
                }
            }
            if count == 0 {
                count = self.enqueue(rest);
            }
            rest = rest.tail(count);
        }
        Ok(bytes.len())
    }

    /// Sends the queued replies. Blocks until the client has taken them, or is gone.
    fn flush(&mut self) -> Result<(), Gone> {
        while !self.queued.is_empty() {
            self.send_queued(None);
        }
        Ok(())
    }
}

/// A session with its buffers. It is connection 0 of its service. Each call of `peer` blocks; a `write` takes all bytes.
pub struct StdioSession<'a, P> {
    service: &'a mut dyn Service,
    tree: &'a mut Tree,
    /// Input, followed by the replies. One buffer, so that a page used for input and later for replies is in memory only once.
    buffer: &'static mut [u8; TALK_INPUT_BYTES + SFTP_REPLY_BYTES],
    /// Length (bytes) of the input, at most [`TALK_INPUT_BYTES`].
    have: usize,
    peer: &'a mut P,
    events: &'a mut Events,
    /// Counts nothing: the session's process ends with it.
    stats: &'static mut Meter,
}

impl<'a, P: Read + ReadReady + Write> StdioSession<'a, P> {
    /// A session with `peer`.
    pub fn new(
        peer: &'a mut P,
        service: &'a mut dyn Service,
        tree: &'a mut Tree,
        events: &'a mut Events,
    ) -> Self {
        Self {
            peer,
            service,
            tree,
            events,
            stats: mem::leak(Meter::IDLE),
            buffer: mem::array(),
            have: 0,
        }
    }

    /// Serves the session until its end. Returns the reason; empty if the peer closed the connection or is gone.
    pub fn run(&mut self) -> Text {
        self.service.open(ONLY, Local::of(0));
        let mut is_busy = false;
        let end = loop {
            // While the engine is busy, read only if there is space and reading does not block.
            if !is_busy || self.have < TALK_INPUT_BYTES && self.peer.read_ready().unwrap_or(false) {
                let buffer = self.buffer.head_mut(TALK_INPUT_BYTES).tail_mut(self.have);
                if buffer.is_empty() {
                    break text!("a request does not fit");
                }
                match self.peer.read(buffer).unwrap_or(0) {
                    0 => break Text::NOTHING,
                    count => self.have += count,
                }
            }
            match self.turn() {
                Next::Close(end) => break end,
                Next::Drain => break Text::NOTHING,
                next => is_busy = matches!(next, Next::Soon),
            }
            if !is_busy {
                self.tree.release_idle();
            }
        };
        let mut cx = lend(self.tree, self.events, self.stats);
        self.service.close(ONLY, &mut cx, &[]);
        // The queued replies; nothing is lost that a client still waits for.
        let _ = self.peer.flush();
        end
    }

    /// Answers the received requests. Returns the service's next need: more input, or another call soon.
    fn turn(&mut self) -> Next {
        loop {
            let start = self.have.min(TALK_INPUT_BYTES);
            let (input, output) = self.buffer.split_at_mut(start);
            let output = output.head_mut(SFTP_REPLY_BYTES);
            let mut cx = lend(self.tree, self.events, self.stats);
            let io = Io {
                input,
                output,
                held: 0,
            };
            let progress = self.service.advance(ONLY, &mut cx, io);
            self.have = mem::shift(input, progress.used);
            let is_sent = self.peer.write(output.head(progress.produced)).is_ok();
            let next = match progress.next {
                Next::Move(transfer) => match self.carry_out(transfer, start) {
                    Next::Close(end) => Next::Close(end),
                    // More requests may follow the one with the transfer.
                    _ => Next::Output,
                },
                next => next,
            };
            if !is_sent {
                return Next::Close(Text::NOTHING);
            }
            if !matches!(next, Next::Output) {
                return next;
            }
        }
    }

    /// Stores the data of a WRITE: first the input that has arrived, then what the peer sends, which is received at `start` in the
    /// buffer. Then answers the request.
    fn carry_out(&mut self, mut transfer: Transfer, start: usize) -> Next {
        let mut result = Ok(());
        let (rx, tx) = self.buffer.split_at_mut(start);
        let Transfer {
            file, offset, len, ..
        } = &mut transfer;
        while *len > 0 && result.is_ok() {
            let used = self.have.min(*len as usize);
            let mut bytes: &[u8] = rx.head(used);
            if used == 0 {
                // Limits the bytes so that the write ends at a page boundary of the file.
                let page = STORE_BYTES - (*offset as usize & (PAGE_BYTES - 1));
                let count = self
                    .peer
                    .read(tx.head_mut(page.min(*len as usize)))
                    .unwrap_or(0);
                bytes = tx.head(count);
            }
            if bytes.is_empty() {
                transfer.abandon(self.tree);
                return Next::Close(Text::NOTHING);
            }
            result = self.tree.write(file, *offset, bytes);
            *offset += bytes.len() as u64;
            *len -= bytes.len() as u64;
            self.have = mem::shift(rx.head_mut(self.have), used);
        }
        let mut cx = lend(self.tree, self.events, self.stats);
        let io = Io {
            input: &[],
            output: tx,
            held: 0,
        };
        let progress = self
            .service
            .moved(ONLY, &mut cx, Moved { transfer, result }, io);
        // If the client is gone, the next read or write says so.
        let _ = self.peer.write(tx.head(progress.produced));
        progress.next
    }
}

/// Context of a service's call. Time and peer are not used here.
#[inline(never)] // −29 bytes: three callers.
fn lend<'a>(tree: &'a mut Tree, events: &'a mut Events, stats: &'a mut Meter) -> Cx<'a> {
    Cx {
        now: Instant::default(),
        wall: Duration::default(),
        health: Health::Fine,
        peer: Peer::NONE,
        vfs: tree,
        events,
        stats,
    }
}
