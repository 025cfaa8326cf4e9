//! Orders: transfers between a file and a peer, over sockets or standard streams.

use crate::config::{
    HAS_NAMES, HAS_NFS, PAGE_BYTES, READ_INLINE_BYTES, SPLICE_BYTES_MIN, STORE_BYTES,
};
use crate::engine::Order;
use crate::mem::Ends as _;
use crate::net::{self, Connections, FileRange, Interest, NetError, NetResult, Socket};
use crate::vfs::{Bytes, Extent, FileId, FsError, FsResult, Job, JobId, Pin, Submitted, Tree};
use core::ops::Range;

/// True if the protocols may return orders to send or read. SFTP returns none: the engine copies the data of its READs.
const HAS_READS: bool = HAS_NFS;

/// Number of the job that stands for work outside of jobs: reads of the disks of a machine without an operating system, and look-ups
/// of host names.
pub(in super::super) const OUTSIDE: JobId = JobId(u32::MAX);

/// Result of a step of an order.
pub(in super::super) enum OrderResult {
    /// The order has ended with this result.
    Done(FsResult<()>),
    /// The order waits for a job.
    Pending(JobId),
}

/// A connection with its unsent replies, which precede an order's data, and the received input.
pub(in super::super) struct OrderContext<'a> {
    net: &'a mut dyn Connections,
    socket: Socket,
    /// The replies, then space for copied data.
    tx: &'a mut [u8],
    /// Range of the unsent replies in `tx`.
    pub(in super::super) unsent: Range<usize>,
    /// Received bytes.
    input: &'a [u8],
    /// Count of bytes of `input` that were written to the file.
    pub(in super::super) used: usize,
    /// Count of bytes that were sent or received.
    pub(in super::super) moved_bytes: usize,
    /// The socket's event to wait for after [`NetError::WouldBlock`].
    pub(in super::super) interest: Interest,
    /// True if data is copied: the network lacks sendfile or splice.
    copies: bool,
}

impl<'a> OrderContext<'a> {
    /// Creates a context that first sends the replies `tx[unsent]` and then carries out an order.
    pub(in super::super) const fn new(
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
            interest: Interest::Output,
            copies: false,
        }
    }

    /// Sends the unsent replies until the socket would block. With `more`, data follows soon (MSG_MORE).
    pub(in super::super) fn send(&mut self, more: bool) -> NetResult<()> {
        while !self.unsent.is_empty() {
            let bytes = self.tx.head(self.unsent.end).tail(self.unsent.start);
            let count = self.net.send(self.socket, bytes, more)?;
            self.unsent.start += count;
            self.moved_bytes += count;
        }
        Ok(())
    }

    /// Sends the replies and carries out the order, if there is one, until it ends or has to wait. The rest stays in `unsent` and
    /// `order`. `ended` is the result of the job that the order waited for.
    #[inline(never)]
    pub(in super::super) fn carry_out(
        &mut self,
        order: &mut Option<Order>,
        ended: Option<FsResult<()>>,
        tree: &mut Tree,
    ) -> NetResult<OrderResult> {
        if let Some(Err(error)) = ended {
            return Ok(OrderResult::Done(Err(error)));
        }
        if (cfg!(bare) || HAS_NAMES)
            && let (Some(Order::Wait), None) = (&order, ended)
        {
            self.send(false)?;
            return Ok(OrderResult::Pending(OUTSIDE));
        }
        if HAS_READS
            && let Some(Order::Send { file, offset, len } | Order::Read { file, offset, len }) =
                order
            && ended.is_none()
            && let Some(extent) = tree.extent(file, *offset, *len)
            && let Submitted::Pending(id) = tree.submit(Job::Read(extent))
        {
            self.send(true)?;
            return Ok(OrderResult::Pending(id));
        }
        loop {
            let mut submitted = Submitted::Done(Ok(()));
            let (count, offset, len) = match order {
                Some(Order::Send { file, offset, len }) if HAS_READS && *len > 0 => {
                    match self.send_from(tree, file, *offset, *len)? {
                        Ok(count) => (count, offset, len),
                        Err(error) if error.waits() => return Ok(OrderResult::Pending(OUTSIDE)),
                        Err(error) => return Ok(OrderResult::Done(Err(error))),
                    }
                }
                Some(Order::Store { file, offset, len }) if *len > 0 => {
                    // Data is received into the space of earlier replies, so these are sent first.
                    self.send(false)?;
                    self.interest = Interest::Input;
                    let count = self.store(tree, file, *offset, *len, &mut submitted)?;
                    if count == 0 {
                        return Err(NetError::Gone);
                    }
                    (count, offset, len)
                }
                _ => {
                    self.send(false)?;
                    return Ok(OrderResult::Done(Ok(())));
                }
            };
            *offset += count as u64;
            *len -= count as u32;
            match submitted {
                Submitted::Done(Ok(())) => {}
                Submitted::Done(error) => return Ok(OrderResult::Done(error)),
                Submitted::Pending(id) => return Ok(OrderResult::Pending(id)),
            }
        }
    }

    /// Sends bytes of a file after the replies. Returns their count; `Io`: the file was truncated.
    fn send_from(
        &mut self,
        tree: &mut Tree,
        file: &Pin,
        offset: u64,
        len: u32,
    ) -> NetResult<FsResult<usize>> {
        if !self.copies
            && let Some(Extent { file, offset, len }) = tree.extent(file, offset, len)
        {
            let range = FileRange {
                file: net::FileId(file.0),
                offset,
                len,
            };
            self.send(true)?;
            match self.net.send_file(self.socket, range) {
                Ok(0) | Err(NetError::Unsupported) => self.copies = true,
                sent => {
                    let sent = sent?;
                    self.moved_bytes += sent;
                    return Ok(Ok(sent));
                }
            }
        }
        // Copied data follows the replies in `tx`, so that one call sends both.
        let mut read = Ok(());
        let mut fill = |space: &mut [u8]| {
            // A few lines of a disk's cache: see `drive::platform::machine`.
            let most = space.len().min(len.min(READ_INLINE_BYTES) as usize);
            let got = tree.read(file, offset, space.head_mut(most));
            match got {
                Ok(0) => read = Err(FsError::Io),
                _ => read = got.map(drop),
            }
            got.unwrap_or(0) as usize
        };
        let head = self.unsent.len();
        let tx = self.tx.tail_mut(self.unsent.start);
        let sent = self.net.send_with(self.socket, tx, head, &mut fill);
        let sent = match (sent, read) {
            (Ok(sent), _) => sent,
            // There were no replies to send.
            (Err(NetError::WouldBlock), Err(error)) => return Ok(Err(error)),
            (Err(error), _) => return Err(error),
        };
        let head = head.min(sent);
        self.unsent.start += head;
        self.moved_bytes += sent;
        if let Err(error) = read {
            return Ok(Err(error));
        }
        // The rest of the replies must be sent before the next data of the file.
        self.send(true)?;
        Ok(Ok(sent - head))
    }

    /// Writes the next bytes of the stream to a file: first input, then data from the socket. Returns their count; 0: end of
    /// stream.
    fn store(
        &mut self,
        tree: &mut Tree,
        file: &Pin,
        offset: u64,
        len: u32,
        submitted: &mut Submitted,
    ) -> NetResult<usize> {
        let bytes = self.input.tail(self.used);
        let bytes = bytes.head(bytes.len().min(len as usize));
        if !bytes.is_empty() {
            self.used += bytes.len();
            *submitted = tree.submit(Job::Write(file, offset, Bytes::Here(bytes)));
            return Ok(bytes.len());
        }
        if !self.copies && len >= SPLICE_BYTES_MIN && tree.extent(file, offset, len).is_some() {
            match self.net.recv_pipe(self.socket, len) {
                Err(NetError::Unsupported) => self.copies = true,
                received => {
                    let (count, net::FileId(pipe)) = received?;
                    let bytes = Bytes::Piped(FileId(pipe), count);
                    self.moved_bytes += count;
                    *submitted = tree.submit(Job::Write(file, offset, bytes));
                    return Ok(count);
                }
            }
        }
        // Limits the bytes so that the write ends at a page boundary of the file.
        let page = STORE_BYTES - (offset as usize & (PAGE_BYTES - 1));
        let buffer = self.tx.head_mut(page.min(len as usize));
        let count = self.net.recv(self.socket, buffer)?;
        self.moved_bytes += count;
        let bytes = self.tx.head(count);
        *submitted = tree.submit(Job::Write(file, offset, Bytes::Here(bytes)));
        Ok(count)
    }
}
