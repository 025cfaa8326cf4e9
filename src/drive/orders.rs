//! Orders: bytes that go from a file to a peer or from a peer to a file, and syncs. Carried out here for sockets and for
//! standard streams.

use super::connection::CloseReason;
use crate::config::{PAGE_BYTES, SPLICE_BYTES_MIN, STORE_BYTES};
use crate::engine::Order;
use crate::mem::Ends as _;
use crate::net::{Connections, FileId, FileRange, Interest, NetError, NetResult, Socket};
use crate::vfs::{FsResult, Pin, Vfs};
use core::ops::Range;

/// Why a connection does not go on for now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Blocked {
    /// It waits for this.
    Wait(Interest),
    /// It ends.
    End(CloseReason),
}

impl From<CloseReason> for Blocked {
    fn from(reason: CloseReason) -> Self {
        Self::End(reason)
    }
}

/// A connection, and bytes that are to be sent to it.
pub(super) struct Carrier<'a> {
    pub(super) net: &'a mut dyn Connections,
    pub(super) socket: Socket,
    /// Beside what is unsent, space for what orders copy.
    pub(super) tx: &'a mut [u8],
    /// The bytes of `tx` to send.
    pub(super) unsent: Range<usize>,
    /// Bytes that were moved.
    pub(super) moved_bytes: usize,
}

impl Carrier<'_> {
    /// The bytes that were moved; when there are none, what they wait for.
    fn moved(&mut self, count: NetResult<usize>, interest: Interest) -> Result<usize, Blocked> {
        match count {
            Ok(count) => {
                self.moved_bytes += count;
                Ok(count)
            }
            Err(NetError::WouldBlock | NetError::Full) => Err(Blocked::Wait(interest)),
            Err(_) => Err(CloseReason::Gone.into()),
        }
    }

    /// Sends what is unsent, all of it unless it has to wait; `more` follow soon.
    pub(super) fn send(&mut self, more: bool) -> Result<(), Blocked> {
        while !self.unsent.is_empty() {
            let bytes = self.tx.head(self.unsent.end).tail(self.unsent.start);
            let sent = self.net.send(self.socket, bytes, more);
            self.unsent.start += self.moved(sent, Interest::Output)?;
        }
        Ok(())
    }

    /// Sends what is unsent, then moves an order's bytes, if there is one, until all are moved or the connection has to wait;
    /// what came of it. What is left to do is in `unsent` and `order`.
    pub(super) fn carry_out(
        &mut self,
        order: &mut Option<Order>,
        files: &mut (dyn Vfs + 'static),
    ) -> Result<FsResult<()>, Blocked> {
        match order {
            None => {
                self.send(false)?;
                Ok(Ok(()))
            }
            Some(Order::Sync { file }) => {
                self.send(false)?;
                Ok(files.sync(file))
            }
            Some(Order::Send { file, offset, len }) => {
                // The first bytes that are copied leave together with what is before them, whose place they have in `tx`.
                let mut by_kernel = extent(files, file, *offset, *len).is_some();
                if by_kernel || *len == 0 {
                    self.send(*len > 0)?;
                }
                while *len > 0 {
                    let count = match extent(files, file, *offset, *len) {
                        Some(range) if by_kernel => match self.net.send_file(self.socket, range) {
                            Ok(0) | Err(NetError::Unsupported) => {
                                by_kernel = false;
                                continue;
                            }
                            count => self.moved(count, Interest::Output)?,
                        },
                        _ => self.send_copied(files, file, *offset, *len)?,
                    };
                    *offset += count as u64;
                    *len -= count as u32;
                }
                Ok(Ok(()))
            }
            Some(Order::Store { file, offset, len }) => {
                self.send(false)?;
                let mut by_pipe =
                    *len >= SPLICE_BYTES_MIN && extent(files, file, *offset, *len).is_some();
                while *len > 0 {
                    let pipe = if by_pipe && *len >= SPLICE_BYTES_MIN {
                        match self.net.recv_pipe(self.socket, *len) {
                            Err(NetError::Unsupported) => {
                                by_pipe = false;
                                continue;
                            }
                            received => Some(received),
                        }
                    } else {
                        None
                    };
                    // Up to where a page of the file begins.
                    let page = STORE_BYTES - (*offset as usize & (PAGE_BYTES - 1));
                    let buffer = self.tx.head_mut(page.min(*len as usize));
                    let count = match pipe {
                        Some(received) => received.map(|(count, _)| count),
                        None => self.net.recv(self.socket, buffer),
                    };
                    let count = self.moved(count, Interest::Input)?;
                    if count == 0 {
                        return Err(CloseReason::Gone.into());
                    }
                    let stored = match pipe {
                        Some(Ok((_, FileId(pipe)))) => files.write_from(file, *offset, pipe, count),
                        _ => files.write(file, *offset, self.tx.head(count)),
                    };
                    *len -= count as u32;
                    if stored.is_err() {
                        return Ok(stored);
                    }
                    *offset += count as u64;
                }
                Ok(Ok(()))
            }
        }
    }

    /// Sends bytes of a file through `tx`, behind what is unsent there; how many of the file.
    fn send_copied(
        &mut self,
        files: &mut (dyn Vfs + 'static),
        file: &Pin,
        offset: u64,
        len: u32,
    ) -> Result<usize, Blocked> {
        let mut is_short = false;
        let mut fill = |space: &mut [u8]| {
            let most = space.len().min(len as usize);
            let got = files.read(file, offset, space.head_mut(most)).unwrap_or(0);
            is_short = got == 0;
            got as usize
        };
        let tx = self.tx.tail_mut(self.unsent.start);
        let sent = self
            .net
            .send_with(self.socket, tx, self.unsent.len(), &mut fill);
        let sent = self.moved(sent, Interest::Output);
        if is_short {
            return Err(CloseReason::Short.into());
        }
        let head = self.unsent.len().min(sent?);
        self.unsent.start += head;
        if !self.unsent.is_empty() {
            return Err(Blocked::Wait(Interest::Output));
        }
        Ok(sent? - head)
    }
}

/// Where the bytes of a file lie for the network, if they do.
fn extent(files: &mut (dyn Vfs + 'static), file: &Pin, offset: u64, len: u32) -> Option<FileRange> {
    let extent = files.extent(file, offset, len)?;
    Some(FileRange {
        file: FileId(extent.file),
        offset: extent.offset,
        len: extent.len,
    })
}
