//! Orders: bytes that go from a file to a peer or from a peer to a file, and syncs. Carried out here for sockets and for
//! standard streams.

use crate::config::{PAGE_BYTES, SPLICE_BYTES_MIN, STORE_BYTES};
use crate::engine::Order;
use crate::mem::Ends as _;
use crate::net::{Connections, FileId, FileRange, Interest, NetError, NetResult, Socket};
use crate::vfs::{Bytes, FsError, FsResult, Pin, Tree};
use core::ops::Range;

/// A connection, and bytes that are to be sent to it.
pub(super) struct Carrier<'a> {
    net: &'a mut dyn Connections,
    socket: Socket,
    /// Beside what is unsent, space for what orders copy.
    tx: &'a mut [u8],
    /// The bytes of `tx` to send.
    pub(super) unsent: Range<usize>,
    /// Bytes that were moved.
    pub(super) moved_bytes: usize,
    /// What it waits for when it says [`NetError::WouldBlock`].
    pub(super) interest: Interest,
    /// Bytes are copied: the network moves none by itself.
    copies: bool,
}

impl<'a> Carrier<'a> {
    /// One that has nothing to send but `unsent` of `tx`.
    pub(super) const fn new(
        net: &'a mut dyn Connections,
        socket: Socket,
        tx: &'a mut [u8],
        unsent: Range<usize>,
    ) -> Self {
        Self {
            net,
            socket,
            tx,
            unsent,
            moved_bytes: 0,
            interest: Interest::Output,
            copies: false,
        }
    }

    /// Sends what is unsent, all of it unless it has to wait; `more` follow soon.
    pub(super) fn send(&mut self, more: bool) -> NetResult<()> {
        while !self.unsent.is_empty() {
            let bytes = self.tx.head(self.unsent.end).tail(self.unsent.start);
            let count = self.net.send(self.socket, bytes, more)?;
            self.unsent.start += count;
            self.moved_bytes += count;
        }
        Ok(())
    }

    /// Sends what is unsent and moves an order's bytes, if there is one, until all are moved or the connection has to wait; what
    /// came of it. What is left to do is in `unsent` and `order`; if that has a job, its end is what has to be waited for.
    #[inline(never)]
    pub(super) fn carry_out(
        &mut self,
        order: &mut Option<Order>,
        tree: &mut Tree,
    ) -> NetResult<FsResult<()>> {
        loop {
            let mut stored = Ok(None);
            let (count, offset, len) = match order {
                Some(Order::Send { file, offset, len }) if *len > 0 => {
                    let Some(count) = self.send_from(tree, file, *offset, *len)? else {
                        // It has become shorter.
                        return Ok(Err(FsError::Io));
                    };
                    (count, offset, len)
                }
                Some(Order::Store { job: Some(_), .. }) => {
                    self.send(false)?;
                    self.interest = Interest::None;
                    return Err(NetError::WouldBlock);
                }
                Some(Order::Store {
                    file,
                    offset,
                    len,
                    job,
                }) if *len > 0 => {
                    self.send(false)?;
                    self.interest = Interest::Input;
                    let count = self.store_from(tree, file, *offset, *len, &mut stored)?;
                    if let Ok(by) = stored {
                        *job = by;
                    }
                    if count == 0 {
                        return Err(NetError::Gone);
                    }
                    (count, offset, len)
                }
                order => {
                    self.send(false)?;
                    return Ok(match order {
                        Some(Order::Sync { file }) => tree.sync(file),
                        _ => Ok(()),
                    });
                }
            };
            *offset += count as u64;
            *len -= count as u32;
            self.moved_bytes += count;
            if let Err(error) = stored {
                return Ok(Err(error));
            }
        }
    }

    /// Sends bytes of a file, behind what is unsent; how many, `None`: it has no more.
    fn send_from(
        &mut self,
        tree: &mut Tree,
        file: &Pin,
        offset: u64,
        len: u32,
    ) -> NetResult<Option<usize>> {
        if !self.copies
            && let Some(range) = extent(tree, file, offset, len)
        {
            self.send(true)?;
            match self.net.send_file(self.socket, range) {
                Ok(0) | Err(NetError::Unsupported) => self.copies = true,
                sent => return sent.map(Some),
            }
        }
        // Bytes that are copied leave together with what is before them, whose place they have in `tx`.
        let mut is_short = false;
        let mut fill = |space: &mut [u8]| {
            let most = space.len().min(len as usize);
            let got = tree.read(file, offset, space.head_mut(most)).unwrap_or(0);
            is_short = got == 0;
            got as usize
        };
        let head = self.unsent.len();
        let tx = self.tx.tail_mut(self.unsent.start);
        let sent = self.net.send_with(self.socket, tx, head, &mut fill);
        if is_short {
            return Ok(None);
        }
        let sent = sent?;
        let head = head.min(sent);
        self.unsent.start += head;
        self.moved_bytes += head;
        // What is left of it goes before any byte of the file, or has to wait.
        self.send(true)?;
        Ok(Some(sent - head))
    }

    /// Receives bytes and stores them in a file, or has a thread do so: how many were received, and whether they are `stored`, or
    /// the job. 0: it is the end.
    fn store_from(
        &mut self,
        tree: &mut Tree,
        file: &Pin,
        offset: u64,
        len: u32,
        stored: &mut FsResult<Option<u32>>,
    ) -> NetResult<usize> {
        if !self.copies && len >= SPLICE_BYTES_MIN && extent(tree, file, offset, len).is_some() {
            match self.net.recv_pipe(self.socket, len) {
                Err(NetError::Unsupported) => self.copies = true,
                received => {
                    let (count, FileId(pipe)) = received?;
                    let job = tree.store_by_thread(file, offset, Bytes::Piped(pipe, count));
                    *stored = match job {
                        None => tree.write_from(file, offset, pipe, count).map(|()| None),
                        job => Ok(job),
                    };
                    return Ok(count);
                }
            }
        }
        // Up to where a page of the file begins.
        let page = STORE_BYTES - (offset as usize & (PAGE_BYTES - 1));
        let buffer = self.tx.head_mut(page.min(len as usize));
        let count = self.net.recv(self.socket, buffer)?;
        let bytes = self.tx.head(count);
        *stored = match tree.store_by_thread(file, offset, Bytes::Here(bytes)) {
            None => tree.write(file, offset, bytes).map(|()| None),
            job => Ok(job),
        };
        Ok(count)
    }
}

/// Where the bytes of a file lie for the network, if they do.
fn extent(tree: &mut Tree, file: &Pin, offset: u64, len: u32) -> Option<FileRange> {
    let extent = tree.extent(file, offset, len)?;
    Some(FileRange {
        file: FileId(extent.file),
        offset: extent.offset,
        len: extent.len,
    })
}
