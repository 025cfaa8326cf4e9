//! OPEN, CLOSE, READ, WRITE and fsync@openssh.com.

use super::attributes::MODE_MASK;
use super::handles::Mode;
use super::{Answer, Fault, Lent, Order, Outcome, Request, Sftp};
use crate::config::{PACKET_DATA_BYTES_MAX, READ_INLINE_BYTES};
use crate::vfs::{FsError, FsResult, Opening, Pin};
use crate::wire::sftp::{Attributes, HANDLE_BYTES_MAX, HEAD_BYTES, Status, kind, open};

const WORD_BYTES: usize = 4;
/// Bytes before a WRITE's data, at most: head, handle, offset, length.
pub(super) const WRITE_HEAD_BYTES: usize =
    HEAD_BYTES + WORD_BYTES + HANDLE_BYTES_MAX as usize + 2 * WORD_BYTES + WORD_BYTES;
/// The mode of a file for which none is asked.
const FILE_MODE: u32 = 0o666;

/// Whether a file has bytes there, or could have.
const fn check_range(offset: u64, len: u32) -> FsResult<()> {
    if offset.saturating_add(len as u64) > i64::MAX as u64 {
        return Err(FsError::Invalid);
    }
    Ok(())
}

impl Request<'_, '_, '_> {
    /// Answers with a handle for what was opened, whose place was free.
    pub(super) fn opened(&mut self, slot: usize, pin: Pin, mode: Mode) -> Outcome {
        let handle = self.session.handles.put(slot, pin, mode);
        let start = self.reply.begin(kind::HANDLE, self.id);
        self.reply.string(&handle);
        self.reply.end(start, 0);
        Ok(Answer::Written)
    }

    /// The pin of a handle goes to an order.
    fn lend(&mut self, slot: usize) -> Result<Pin, Fault> {
        let pin = self.session.handles.lend(slot)?;
        self.session.lent = Some(Lent { slot, id: self.id });
        Ok(pin)
    }
}

pub(super) fn open(sftp: &mut Sftp, request: &mut Request<'_, '_, '_>) -> Outcome {
    let path = request.path();
    let flags = request.args.u32();
    let told = Attributes::parse(&mut request.args);
    request.args.check()?;
    if !sftp.permits.opening(flags) {
        return Err(Status::PermissionDenied.into());
    }
    let has = |flag| flags & flag != 0;
    let mode = told.mode.unwrap_or(FILE_MODE) & MODE_MASK;
    let how = Opening {
        // As with OpenSSH, what is opened for nothing can be read.
        read: has(open::READ) || !has(open::WRITE),
        write: has(open::WRITE),
        append: has(open::APPEND),
        create: has(open::CREATE).then_some(mode),
        exclusive: has(open::CREATE) && has(open::EXCLUSIVE),
        truncate: has(open::TRUNCATE),
        directory: false,
    };
    let slot = request.session.handles.free()?;
    let pin = request.cx.vfs.open_at(path, &how)?;
    let mode = Mode {
        read: how.read,
        write: how.write,
        append: how.append,
        directory: false,
    };
    request.opened(slot, pin, mode)
}

pub(super) fn close(_: &mut Sftp, request: &mut Request<'_, '_, '_>) -> Outcome {
    let handle = request.args.handle();
    request.args.check()?;
    request.session.handles.close(handle, request.cx.vfs)?;
    Ok(Answer::Ok)
}

/// A small READ is exact: the file is read into the reply. A large one promises what the file's size allows and becomes an
/// order; should the file shrink meanwhile, the connection is closed.
pub(super) fn read(sftp: &mut Sftp, request: &mut Request<'_, '_, '_>) -> Outcome {
    let args = &mut request.args;
    let (handle, offset, asked) = (args.handle(), args.u64(), args.u32());
    args.check()?;
    let asked = asked.min(PACKET_DATA_BYTES_MAX);
    let slot = request.session.handles.find(handle, false)?;
    let (pin, mode, _) = request.session.handles.get(slot)?;
    if !mode.read {
        return Err(Status::NoSuchFile.into());
    }
    check_range(offset, asked)?;
    let mut len = asked;
    if len > READ_INLINE_BYTES {
        let left = request.cx.vfs.attr(pin.node())?.size.saturating_sub(offset);
        len = left.min(len.into()) as u32;
    }
    if len > READ_INLINE_BYTES {
        let file = request.lend(slot)?;
        let start = request.reply.begin(kind::DATA, request.id);
        request.reply.u32(len);
        request.reply.end(start, len);
        sftp.order = Some(Order::Send { file, offset, len });
        return Ok(Answer::Written);
    }
    // The data first, to where it will stand: how much there is comes before it.
    let reply = &mut *request.reply;
    let skip = HEAD_BYTES.wrapping_add(WORD_BYTES);
    let len = len as usize;
    if reply.room().len() < skip.wrapping_add(len) {
        return Err(Fault::NoRoom);
    }
    let got = request.cx.vfs.read(pin, offset, reply.ahead(skip, len))?;
    if got == 0 && asked > 0 {
        return Err(Status::Eof.into());
    }
    let start = reply.begin(kind::DATA, request.id);
    reply.u32(got as u32);
    reply.put_ahead(got);
    reply.end(start, 0);
    Ok(Answer::Written)
}

/// What of the data is there is written at once, the rest by an order.
pub(super) fn write(sftp: &mut Sftp, request: &mut Request<'_, '_, '_>) -> Outcome {
    let args = &mut request.args;
    let (handle, offset, len) = (args.handle(), args.u64(), args.u32());
    args.check()?;
    let here = args.rest().len().min(len as usize);
    let data = args.take(here);
    let left = len.wrapping_sub(here as u32);
    let skip = request.session.skip.checked_sub(left);
    let skip = skip.ok_or(Status::BadMessage)?;
    let slot = request.session.handles.find(handle, false)?;
    let (pin, mode, _) = request.session.handles.get(slot)?;
    if !mode.write {
        return Err(Status::NoSuchFile.into());
    }
    // What is appended goes to the end, whatever the offset says.
    let offset = if mode.append { 0 } else { offset };
    check_range(offset, len)?;
    if !data.is_empty() {
        request.cx.vfs.write(pin, offset, data)?;
    }
    if left == 0 {
        return Ok(Answer::Ok);
    }
    sftp.order = Some(Order::Store {
        file: request.lend(slot)?,
        offset: offset.wrapping_add(here as u64),
        len: left,
    });
    request.session.skip = skip;
    Ok(Answer::Later)
}

pub(super) fn sync(sftp: &mut Sftp, request: &mut Request<'_, '_, '_>) -> Outcome {
    let handle = request.args.handle();
    request.args.check()?;
    let slot = request.session.handles.find(handle, false);
    // Here OpenSSH has other words for a handle that it does not know.
    let slot = slot.map_err(|_| Status::NoSuchFile)?;
    let file = request.lend(slot)?;
    sftp.order = Some(Order::Sync { file });
    Ok(Answer::Later)
}
