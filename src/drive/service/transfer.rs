//! Transfers between a file and a peer.

use super::connection::CloseReason;
use super::turn::Halt;
use crate::config::{PAGE_BYTES, SPLICE_BYTES_MIN, STORE_BYTES, TRANSFER_TURN_BYTES};
use crate::engine::service::Transfer;
use crate::mem::Ends as _;
use crate::net::{self, Connections, Interest, NetError, NetResult, Socket};
use crate::vfs::{Bytes, FileId, FsResult, Job, Pin, Submitted, Tree};
use core::ops::Range;

/// A connection with its unsent replies, which precede a transfer's data, and the received input.
pub(super) struct Carrier<'a> {
    pub(super) net: &'a mut dyn Connections,
    pub(super) socket: Socket,
    /// The replies, then space for copied data.
    pub(super) tx: &'a mut [u8],
    /// Range of the unsent replies in `tx`.
    pub(super) unsent: Range<usize>,
    /// Received bytes.
    input: &'a [u8],
    /// Count of bytes of `input` that were written to the file.
    pub(super) used: usize,
    /// Count of bytes that were sent or received.
    pub(super) moved_bytes: usize,
    /// True if data is copied: the network lacks sendfile or splice.
    pub(super) copies: bool,
}

impl<'a> Carrier<'a> {
    /// Creates a context that first sends the replies `tx[unsent]` and then carries out a transfer.
    pub(super) const fn new(
        net: &'a mut dyn Connections,
        socket: Socket,
        tx: &'a mut [u8],
        unsent: Range<usize>,
        input: &'a [u8],
    ) -> Self {
        Self {
            net,
            socket,
            tx,
            unsent,
            input,
            used: 0,
            moved_bytes: 0,
            copies: false,
        }
    }

    /// Sends the unsent replies until the socket would block. With `more`, data follows soon (MSG_MORE).
    pub(super) fn send(&mut self, more: bool) -> NetResult<()> {
        while !self.unsent.is_empty() {
            let bytes = self.tx.head(self.unsent.end).tail(self.unsent.start);
            let count = self.net.send(self.socket, bytes, more)?;
            self.unsent.start += count;
            self.moved_bytes += count;
        }
        Ok(())
    }

    /// Sends the replies and carries out the transfer, if there is one, until it ends. The rest stays in `unsent` and `transfer`.
    /// `ended` is the result of the job that the transfer waited for.
    ///
    /// # Errors
    /// The reason why the transfer has to wait, or the connection is closed.
    #[inline(never)] // −58 bytes: one caller, whose frame stays small.
    pub(super) fn carry_out(
        &mut self,
        transfer: &mut Option<Transfer>,
        ended: Option<FsResult<()>>,
        tree: &mut Tree,
    ) -> Result<FsResult<()>, Halt> {
        if let Some(Err(error)) = ended {
            return Ok(Err(error));
        }
        if ended.is_none() {
            self.fetch(transfer, tree)?;
        }
        loop {
            let Some(rest) = transfer.as_mut().filter(|rest| rest.len > 0) else {
                self.send(false).map_err(to_send)?;
                return Ok(Ok(()));
            };
            let (count, submitted) = match self.send_part(tree, rest)? {
                Some(Ok(count)) => (count, Submitted::Done(Ok(()))),
                Some(Err(error)) => return Ok(Err(error)),
                None => {
                    // Data is received into the space of earlier replies, so these are sent first.
                    self.send(false).map_err(to_send)?;
                    let stored = self.store(tree, &rest.file, rest.offset, step(rest.len));
                    match stored.map_err(|error| Halt::by(error, Interest::Input))? {
                        (0, _) => return Err(CloseReason::Gone.into()),
                        stored => stored,
                    }
                }
            };
            rest.offset += count as u64;
            rest.len -= count as u64;
            match submitted {
                Submitted::Done(Ok(())) => {}
                Submitted::Done(error) => return Ok(error),
                Submitted::Pending(id) => return Err(Halt::Job(id)),
            }
            self.check_turn(rest)?;
        }
    }

    /// Writes the next bytes of the stream to a file: first input, then data from the socket. Returns their count (0: end of stream)
    /// and the write.
    fn store(
        &mut self,
        tree: &mut Tree,
        file: &Pin,
        offset: u64,
        len: u32,
    ) -> NetResult<(usize, Submitted)> {
        let bytes = self.input.tail(self.used);
        let bytes = bytes.head(bytes.len().min(len as usize));
        if !bytes.is_empty() {
            self.used += bytes.len();
            let job = Job::Write(file, offset, Bytes::Here(bytes));
            return Ok((bytes.len(), tree.submit(job)));
        }
        if !self.copies && len >= SPLICE_BYTES_MIN && tree.extent(file, offset, len).is_some() {
            match self.net.recv_pipe(self.socket, len) {
                Err(NetError::Unsupported) => self.copies = true,
                received => {
                    let (count, net::FileId(pipe)) = received?;
                    self.moved_bytes += count;
                    let job = Job::Write(file, offset, Bytes::Piped(FileId(pipe), count));
                    return Ok((count, tree.submit(job)));
                }
            }
        }
        // Limits the bytes so that the write ends at a page boundary of the file.
        let page = STORE_BYTES - (offset as usize & (PAGE_BYTES - 1));
        let buffer = self.tx.head_mut(page.min(len as usize));
        let count = self.net.recv(self.socket, buffer)?;
        self.moved_bytes += count;
        let job = Job::Write(file, offset, Bytes::Here(self.tx.head(count)));
        Ok((count, tree.submit(job)))
    }
}

/// The reason why a connection that sends has to wait, or is closed.
pub(super) fn to_send(error: NetError) -> Halt {
    Halt::by(error, Interest::Output)
}

/// Most bytes of a transfer that one call moves, for a transfer of `len` bytes.
pub(super) const fn step(len: u64) -> u32 {
    if len < TRANSFER_TURN_BYTES as u64 {
        len as u32
    } else {
        TRANSFER_TURN_BYTES
    }
}
