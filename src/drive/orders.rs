//! Orders: bytes that go from a file to a peer or from a peer to a file, and syncs. Carried out here for sockets and for
//! standard streams.

use super::connection::CloseReason;
use crate::config::{PAGE_BYTES, SPLICE_BYTES_MIN, STORE_BYTES};
use crate::engine::Order;
use crate::mem::Ends as _;
use crate::net::{FileId, FileRange, Interest, NetError, NetResult};
use crate::vfs::{FsResult, Pin, Vfs};
use core::ops::Range;

/// A byte stream to one peer. A blocking one never says [`NetError::WouldBlock`]. The errors are those of
/// [`Streams`](crate::net::Streams).
pub trait Transport {
    /// Receives at least a byte; 0 is the end.
    fn recv(&mut self, buffer: &mut [u8]) -> NetResult<usize>;
    /// Sends bytes, perhaps not all; `more` follow soon.
    fn send(&mut self, bytes: &[u8], more: bool) -> NetResult<usize>;
    /// Sends the first `head` bytes of `tx` and then what `fill` makes: see [`Streams::send_with`](crate::net::Streams).
    fn send_with(
        &mut self,
        tx: &mut [u8],
        head: usize,
        fill: &mut dyn FnMut(&mut [u8]) -> usize,
    ) -> NetResult<usize> {
        let len = head + fill(tx.tail_mut(head));
        self.send(tx.head(len), false)
    }
    /// Sends bytes of a file without copying them; 0: it is at its end, or this is not possible.
    fn send_file(&mut self, _range: FileRange) -> NetResult<usize> {
        Err(NetError::Unsupported)
    }
    /// Receives at most `len` bytes into an empty pipe.
    fn recv_pipe(&mut self, _len: u32) -> NetResult<(usize, FileId)> {
        Err(NetError::Unsupported)
    }
}

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

/// The bytes that a transport moved; when there are none, what it waits for.
fn moved(count: NetResult<usize>, interest: Interest) -> Result<usize, Blocked> {
    match count {
        Ok(count) => Ok(count),
        Err(NetError::WouldBlock | NetError::Full) => Err(Blocked::Wait(interest)),
        Err(_) => Err(CloseReason::Gone.into()),
    }
}

/// Sends `unsent` of `tx`, which becomes empty unless it has to wait.
pub(super) fn send(
    transport: &mut dyn Transport,
    tx: &[u8],
    unsent: &mut Range<usize>,
    more: bool,
) -> Result<(), Blocked> {
    while !Range::is_empty(unsent) {
        let bytes = tx.head(unsent.end).tail(unsent.start);
        unsent.start += moved(transport.send(bytes, more), Interest::Output)?;
    }
    Ok(())
}

/// Sends `unsent` of `tx`, then moves an order's bytes until all are moved or the transport has to wait; what came of it.
/// What is left to do is in `unsent` and `order`. `moved_bytes` grows by the bytes of files that were moved.
pub(super) fn carry_out(
    order: &mut Order,
    files: &mut (dyn Vfs + 'static),
    transport: &mut dyn Transport,
    tx: &mut [u8],
    unsent: &mut Range<usize>,
    moved_bytes: &mut usize,
) -> Result<FsResult<()>, Blocked> {
    match order {
        Order::Sync { file } => {
            send(transport, tx, unsent, false)?;
            Ok(files.sync(file))
        }
        Order::Send { file, offset, len } => {
            // The first bytes that are copied leave together with what is before them, whose place they have in `tx`.
            let mut by_kernel = extent(files, file, *offset, *len).is_some();
            if by_kernel || *len == 0 {
                send(transport, tx, unsent, *len > 0)?;
            }
            while *len > 0 {
                let count = match extent(files, file, *offset, *len) {
                    Some(range) if by_kernel => match transport.send_file(range) {
                        Ok(0) | Err(NetError::Unsupported) => {
                            by_kernel = false;
                            continue;
                        }
                        count => moved(count, Interest::Output)?,
                    },
                    _ => send_copied(files, file, (*offset, *len), transport, tx, unsent)?,
                };
                *offset += count as u64;
                *len -= count as u32;
                *moved_bytes += count;
            }
            Ok(Ok(()))
        }
        Order::Store { file, offset, len } => {
            send(transport, tx, unsent, false)?;
            let mut by_pipe =
                *len >= SPLICE_BYTES_MIN && extent(files, file, *offset, *len).is_some();
            while *len > 0 {
                let pipe = if by_pipe && *len >= SPLICE_BYTES_MIN {
                    match transport.recv_pipe(*len) {
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
                let buffer = tx.head_mut(page.min(*len as usize));
                let count = match pipe {
                    Some(received) => received.map(|(count, _)| count),
                    None => transport.recv(buffer),
                };
                let count = moved(count, Interest::Input)?;
                if count == 0 {
                    return Err(CloseReason::Gone.into());
                }
                let stored = match pipe {
                    Some(Ok((_, FileId(pipe)))) => files.write_from(file, *offset, pipe, count),
                    _ => files.write(file, *offset, tx.head(count)),
                };
                *len -= count as u32;
                if stored.is_err() {
                    return Ok(stored);
                }
                *offset += count as u64;
                *moved_bytes += count;
            }
            Ok(Ok(()))
        }
    }
}

/// Sends bytes of a file through `tx`, behind what is unsent there; how many of the file.
fn send_copied(
    files: &mut (dyn Vfs + 'static),
    file: &Pin,
    (offset, len): (u64, u32),
    transport: &mut dyn Transport,
    tx: &mut [u8],
    unsent: &mut Range<usize>,
) -> Result<usize, Blocked> {
    let mut is_short = false;
    let mut fill = |space: &mut [u8]| {
        let most = space.len().min(len as usize);
        let got = files.read(file, offset, space.head_mut(most)).unwrap_or(0);
        is_short = got == 0;
        got as usize
    };
    let tx = tx.tail_mut(unsent.start);
    let sent = transport.send_with(tx, unsent.len(), &mut fill);
    let sent = moved(sent, Interest::Output);
    if is_short {
        return Err(CloseReason::Short.into());
    }
    let head = unsent.len().min(sent?);
    unsent.start += head;
    if !Range::is_empty(unsent) {
        return Err(Blocked::Wait(Interest::Output));
    }
    Ok(sent? - head)
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
