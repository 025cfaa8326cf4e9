//! OPEN, READ and WRITE.

use super::attributes::MODE_MASK;
use super::handles::{APPEND, LIST, Open, READ, WRITE};
use super::requests::Ask;
use super::status::{Fault, Outcome};
use super::{Lent, Order, Request, Sftp};
use crate::config::{PACKET_DATA_BYTES_MAX, READ_INLINE_BYTES};
use crate::vfs::{FsError, FsResult, Opening, Pin, Vfs as _};
use crate::wire::sftp::{HANDLE_BYTES_MAX, HEAD_BYTES, open};

const WORD_BYTES: usize = 4;
/// Bytes before a WRITE's data, at most: head, handle, offset, length.
pub(super) const WRITE_HEAD_BYTES: usize =
    HEAD_BYTES + WORD_BYTES + HANDLE_BYTES_MAX as usize + 2 * WORD_BYTES + WORD_BYTES;
/// The mode of a file for which none is asked.
const FILE_MODE: u32 = 0o666;

impl Request<'_, '_> {
    /// The pin of the handle goes to an order.
    #[inline(never)]
    pub(super) fn lend(&mut self) -> Option<Pin> {
        let (slot, id) = (self.slot, self.id);
        self.session.lent = Some(Lent { slot, id });
        self.session.handles.at(slot)?.pin.take()
    }

    /// Whether a file can have so many bytes from the offset on.
    pub(super) const fn check_range(&self, len: u32) -> FsResult<()> {
        if self.offset.saturating_add(len as u64) > i64::MAX as u64 {
            return Err(FsError::Invalid);
        }
        Ok(())
    }
}

impl Sftp {
    /// OPEN and OPENDIR.
    #[inline(never)]
    pub(super) fn open(&mut self, request: &mut Request<'_, '_>, ask: Ask) -> Outcome {
        let flags = request.word;
        if !self.permits.opening(flags) {
            return Err(Fault::Denied);
        }
        let has = |flag| flags & flag != 0;
        let mut mode = flags as u8 & (READ | WRITE | APPEND);
        // As with OpenSSH, what is opened for nothing can be read.
        if !has(open::WRITE) {
            mode |= READ;
        }
        if ask == Ask::OpenDirectory {
            mode |= LIST;
        }
        let create = request.attributes.mode.unwrap_or(FILE_MODE) & MODE_MASK;
        let how = Opening {
            read: mode & READ > 0,
            write: mode & WRITE > 0,
            append: mode & APPEND > 0,
            create: has(open::CREATE).then_some(create),
            exclusive: has(open::CREATE) && has(open::EXCLUSIVE),
            truncate: has(open::TRUNCATE),
            directory: mode & LIST > 0,
        };
        let handles = &mut request.session.handles;
        let slot = handles.free()?;
        let pin = request.vfs.open_at(request.path, &how)?;
        request.reply.string(&handles.put(slot, pin, mode));
        Ok(())
    }

    /// A small READ is exact: the file is read into the reply. A large one promises what the file's size allows and becomes an
    /// order; should the file shrink meanwhile, the connection is closed.
    #[inline(never)]
    pub(super) fn read(&mut self, request: &mut Request<'_, '_>, _: Ask) -> Outcome {
        let offset = request.offset;
        let asked = request.word.min(PACKET_DATA_BYTES_MAX);
        request.check_range(asked)?;
        let Some(Open {
            pin: Some(pin),
            mode,
            ..
        }) = request.session.handles.at(request.slot)
        else {
            return Err(Fault::Missing);
        };
        if *mode & READ == 0 {
            return Err(Fault::Missing);
        }
        let mut len = asked;
        if len > READ_INLINE_BYTES {
            let left = request.vfs.attr(pin.node())?.size.saturating_sub(offset);
            len = left.min(len.into()) as u32;
        }
        if len > READ_INLINE_BYTES {
            request.reply.u32(len);
            let file = request.lend().ok_or(Fault::Failure)?;
            self.order = Some(Order::Send { file, offset, len });
            return Ok(());
        }
        // The data first, to where it will stand: how much there is comes before it.
        let reply = &mut *request.reply;
        let room = reply.room().get_mut(WORD_BYTES..).unwrap_or_default();
        let Some(room) = room.get_mut(..len as usize) else {
            return Err(Fault::NoRoom);
        };
        let got = request.vfs.read(pin, offset, room)?;
        if got == 0 && asked > 0 {
            return Err(Fault::Eof);
        }
        reply.u32(got as u32);
        reply.put_ahead(got);
        Ok(())
    }

    /// What of the data is there is written at once, the rest by an order.
    #[inline(never)]
    pub(super) fn write(&mut self, request: &mut Request<'_, '_>, _: Ask) -> Outcome {
        let len = request.word;
        let here = request.args.rest().len().min(len as usize);
        let data = request.args.take(here);
        let left = len.wrapping_sub(here as u32);
        let skip = request.session.skip.checked_sub(left);
        let skip = skip.ok_or(Fault::BadMessage)?;
        let mut offset = request.offset;
        let in_range = request.check_range(len);
        let Some(Open {
            pin: Some(pin),
            mode,
            ..
        }) = request.session.handles.at(request.slot)
        else {
            return Err(Fault::Missing);
        };
        if *mode & WRITE == 0 {
            return Err(Fault::Missing);
        }
        if *mode & APPEND > 0 {
            // It goes to the end, whatever the offset says.
            offset = 0;
        } else {
            in_range?;
        }
        if !data.is_empty() {
            request.vfs.write(pin, offset, data)?;
        }
        if left == 0 {
            return Ok(());
        }
        self.order = Some(Order::Store {
            file: request.lend().ok_or(Fault::Failure)?,
            offset: offset.wrapping_add(here as u64),
            len: left,
        });
        request.session.skip = skip;
        Err(Fault::Later)
    }
}
