//! OPEN, READ and WRITE.

use super::attributes::MODE_MASK;
use super::handles::{APPEND, LIST, READ, WRITE};
use super::requests::{Args, Operation, Refusal};
use super::status::{Fault, Outcome};
use super::{Exchange, LentHandle, Transfer};
use crate::config::PACKET_DATA_BYTES_MAX;
use crate::engine::service::Way;
use crate::vfs::{FsError, FsResult, OpenFlags};
use crate::wire::sftp::{HANDLE_BYTES_MAX, HEAD_BYTES, open};

const WORD_BYTES: usize = 4;
/// Maximum length of a WRITE before its data (bytes): head, handle, offset, length.
pub(super) const WRITE_HEAD_BYTES: usize =
    HEAD_BYTES + WORD_BYTES + HANDLE_BYTES_MAX as usize + 2 * WORD_BYTES + WORD_BYTES;
/// The mode of a new file if the client requests none.
pub(super) const FILE_MODE: u32 = 0o666;

/// The open flags that have the same bits on the wire and in a backend.
const FROM_WIRE: u8 = READ | WRITE | APPEND | OpenFlags::TRUNCATE | OpenFlags::EXCLUSIVE;
const _: () = assert!(
    FROM_WIRE as u32 == open::READ | open::WRITE | open::APPEND | open::TRUNCATE | open::EXCLUSIVE
);

impl Exchange<'_> {
    /// Has the driver store the rest of a WRITE's data. `None`: the handle has no file.
    fn store_rest(&mut self, offset: u64, len: u32) -> Option<()> {
        let (slot, id) = (self.request.slot, self.request.id);
        let file = self.request.pin.as_ref()?.lend();
        self.session.lent = Some(LentHandle {
            slot,
            id,
            len: self.request.uint32,
        });
        self.request.transfer = Some(Transfer {
            file,
            offset,
            len: len.into(),
            way: Way::ToFile,
        });
        Some(())
    }

    /// Fails if the end of the range, `len` bytes from the request's offset, exceeds the largest file size.
    const fn check_range(&self, len: u32) -> FsResult<()> {
        if self.request.offset.saturating_add(len as u64) > i64::MAX as u64 {
            return Err(FsError::Invalid);
        }
        Ok(())
    }

    /// Opens the object at a path. Sets the request's `slot` to its slot and `uint32` to its handle.
    pub(super) fn pin(&mut self, path: &[u8], how: &OpenFlags) -> Outcome {
        let handles = &mut self.session.handles;
        self.request.slot = handles.free().ok_or(Fault::FAILURE)?;
        let pin = self.vfs.open_at(path, how)?;
        self.request.uint32 = handles.put(self.request.slot, pin, how.bits, path);
        Ok(())
    }

    /// Sets the request's `node` to the object at a path.
    pub(super) fn resolve(&mut self, path: &[u8], follow: bool) -> Outcome {
        self.request.node = self.vfs.resolve(path, follow)?;
        Ok(())
    }

    /// Sets the request's slot, mode, node and pin to those of a handle.
    pub(super) fn find(&mut self, handle: &[u8], args: Args) -> Outcome {
        let open = self.session.handles.find(handle, args);
        let open = open.ok_or(Fault::FAILURE)?;
        (self.request.slot, self.request.mode) = (open.slot, open.mode);
        self.request.node = open.pin.node();
        self.request.pin = Some(open.pin.lend());
        Ok(())
    }

    /// Answers OPEN and OPENDIR.
    pub(super) fn open(&mut self) -> Outcome {
        let mut flags = self.request.uint32;
        let mut how = flags as u8 & FROM_WIRE;
        // As with OpenSSH, a file that is opened neither for reading nor for writing can be read.
        if how & WRITE == 0 {
            how |= READ;
        }
        if self.request.operation == Operation::OpenDirectory {
            (flags, how) = (0, READ | LIST);
        }
        if !self.sftp.permits.opening(flags) {
            self.log_refusal(Refusal::ReadOnly, b"open");
            return Err(Fault::DENIED);
        }
        let mode = self.request.attributes.mode.unwrap_or(FILE_MODE);
        let opening = OpenFlags {
            bits: how,
            create: (flags & open::CREATE != 0).then_some(mode & MODE_MASK),
        };
        self.pin(self.request.path, &opening)?;
        self.reply.words(&[
            size_of_val(&self.request.uint32) as u32,
            self.request.uint32,
        ]);
        Ok(())
    }

    /// Answers READ. The reply is a copy, so later changes of the file do not affect it. It has fewer bytes than requested at the
    /// end of the file, and if the output buffer is small for lack of memory.
    pub(super) fn read(&mut self) -> Outcome {
        let asked = self.request.uint32.min(PACKET_DATA_BYTES_MAX);
        self.check_range(asked)?;
        if self.request.mode & READ == 0 {
            return Err(Fault::MISSING);
        }
        let offset = self.request.offset;
        let pin = self.request.pin.as_ref().ok_or(Fault::MISSING)?;
        let reply = &mut self.reply;
        let mut len = asked as usize;
        if reply.position() == HEAD_BYTES {
            len = len.min(reply.space().len() - WORD_BYTES);
        }
        // Read the data to its final position first, because its length, which comes before it, is not known yet.
        let buffer = reply.ahead(WORD_BYTES, len);
        if buffer.len() < len {
            return Err(Fault::NeedOutput);
        }
        let got = self.vfs.read(pin, offset, buffer)? as usize;
        if got == 0 && asked > 0 {
            return Err(Fault::Eof);
        }
        reply.string_ahead(got);
        let handles = &mut self.session.handles;
        handles.count(self.request.slot, got as u32, 0);
        Ok(())
    }

    /// Answers WRITE. Stores the data that has arrived; a transfer stores the rest.
    pub(super) fn write(&mut self) -> Outcome {
        let len = self.request.uint32;
        let here = self.request.args.rest().len().min(len as usize);
        let data = self.request.args.take(here);
        let left = len - here as u32;
        if left > self.session.skip {
            return Err(Fault::BAD_MESSAGE);
        }
        let in_range = self.check_range(len);
        if self.request.mode & WRITE == 0 {
            return Err(Fault::MISSING);
        }
        if self.request.mode & APPEND > 0 {
            // The file is open for appending: the kernel ignores the offset.
            self.request.offset = 0;
        } else {
            in_range?;
        }
        if !data.is_empty() {
            let pin = self.request.pin.as_ref().ok_or(Fault::MISSING)?;
            self.vfs.write(pin, self.request.offset, data)?;
        }
        if left == 0 {
            let handles = &mut self.session.handles;
            handles.count(self.request.slot, 0, len);
            return Err(Fault::Done);
        }
        let offset = self.request.offset + here as u64;
        let begun = self.store_rest(offset, left);
        begun.ok_or(Fault::FAILURE)?;
        self.session.skip -= left;
        Err(Fault::Later)
    }
}
