//! Parts of files that are sent, by sendfile(2) where the network and the file allow it.

use super::transfer::{Carrier, step, to_send};
use super::turn::Halt;
use crate::config::{READ_INLINE_BYTES, TRANSFER_TURN_BYTES};
use crate::engine::service::{Transfer, Way};
use crate::mem::Ends as _;
use crate::net::{self, FileRange, Interest, NetError, NetResult};
use crate::vfs::{Extent, FsError, FsResult, Job, Pin, Submitted, Tree, Until};

impl Carrier<'_> {
    /// Lets a worker read the next part of a file that is sent. Sends the replies meanwhile.
    ///
    /// # Errors
    /// The job.
    pub(super) fn fetch(
        &mut self,
        transfer: &Option<Transfer>,
        tree: &mut Tree,
    ) -> Result<(), Halt> {
        if let Some(Transfer {
            file,
            offset,
            len,
            way: Way::ToPeer,
        }) = transfer
            && let Some(extent) = tree.extent(file, *offset, step(*len))
            && let Submitted::Pending(id) = tree.submit(Job::Read(extent))
        {
            self.send(true).map_err(to_send)?;
            return Err(Halt::Job(id));
        }
        Ok(())
    }

    /// Sends the next bytes of a file after the replies. Returns their count, or the reason why the file cannot be read; `None`: the
    /// transfer is not one to the peer.
    ///
    /// # Errors
    /// The reason why the transfer has to wait, or the connection is closed.
    pub(super) fn send_part(
        &mut self,
        tree: &mut Tree,
        rest: &Transfer,
    ) -> Result<Option<FsResult<usize>>, Halt> {
        if rest.way != Way::ToPeer {
            return Ok(None);
        }
        let sent = self.send_from(tree, &rest.file, rest.offset, step(rest.len));
        let sent = sent.map_err(to_send)?;
        if let Err(error) = sent
            && let Some(Until::Job(id)) = error.until()
        {
            return Err(Halt::Job(id));
        }
        Ok(Some(sent))
    }

    /// Fails if the connection has moved as many bytes as one turn allows, and the transfer goes on.
    pub(super) const fn check_turn(&self, rest: &Transfer) -> Result<(), Halt> {
        if self.moved_bytes < TRANSFER_TURN_BYTES as usize || rest.len == 0 {
            return Ok(());
        }
        Err(Halt::Socket(match rest.way {
            Way::ToPeer => Interest::Output,
            Way::ToFile => Interest::Input,
        }))
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
}
