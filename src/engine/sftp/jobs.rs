//! copy-data and check-file: what may take long is done in slices, between which other requests are answered.
//! draft-ietf-secsh-filexfer-extensions-00 sections 3 and 7.
//!
//! One job is in hand, the others wait for it, in the order in which they came.

use super::check::{Algorithm, Check};
use super::handles::{Handles, Mode};
use super::requests::FILE;
use super::status::{Fault, Outcome};
use super::{Request, Session};
use crate::config::{HASHES_BYTES, JOB_COUNT_MAX};
use crate::vfs::{Opening, Vfs};
use crate::wire::Writer;
use crate::wire::sftp::kind;

/// As paramiko asks for a check, and wants to be answered.
const LABEL: &[u8] = b"check-file";
/// To copy so many bytes means to copy all there are.
const TO_END: u64 = u64::MAX;

/// What is under way.
pub(super) struct Jobs {
    list: heapless::Deque<Job, JOB_COUNT_MAX>,
    /// If a check is in hand, and has begun.
    check: Option<Check>,
    /// Its hashes.
    hashes: &'static mut [u8],
}

/// What is to be done.
#[derive(Clone, Copy)]
struct Job {
    /// The request.
    id: u32,
    /// Of a check: bytes of a block.
    block: u32,
    /// The file that is read, where, and how many bytes are left. Of a check that is what the client says.
    from: u16,
    offset: u64,
    len: u64,
    /// The file that is written, and where; of a check the former, too.
    to: u16,
    to_offset: u64,
    /// How hashes are made, if it is a check …
    algorithm: Option<Algorithm>,
    /// … and whether the reply begins with the extension's name.
    labelled: bool,
}

impl Jobs {
    pub(super) const fn new(hashes: &'static mut [u8]) -> Self {
        Self {
            list: heapless::Deque::new(),
            check: None,
            hashes,
        }
    }

    pub(super) fn clear(&mut self) {
        self.list.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl Request<'_, '_> {
    /// Another job, for which there is room.
    fn begin_job(&mut self, job: &Job) -> Outcome {
        let Session { handles, jobs, .. } = &mut *self.session;
        handles.hold(job.from);
        handles.hold(job.to);
        let _ = jobs.list.push_back(*job);
        Err(Fault::Later)
    }

    /// Which file is open there, and whether it can be read and written.
    #[inline(never)]
    fn file(&mut self, slot: u16) -> Result<((u64, u64), bool, bool), Fault> {
        let open = self.session.handles.at(slot).ok_or(Fault::Failure)?;
        let pin = open.pin.as_ref().ok_or(Fault::Failure)?;
        let attr = self.vfs.attr(pin.node())?;
        Ok(((attr.fsid, attr.inode), open.mode.read, open.mode.write))
    }

    /// copy-data. A file is not copied to itself: there might be no end.
    pub(super) fn copy(&mut self) -> Outcome {
        let args = &mut self.args;
        let (len, handle, to_offset) = (args.u64(), args.handle(), args.u64());
        args.check()?;
        if self.session.jobs.list.is_full() {
            return Err(Fault::Busy);
        }
        let to = self.session.handles.find(handle, FILE);
        let (from, to) = (self.slot, to.ok_or(Fault::Failure)?);
        let ((source, can_read, _), (target, _, can_write)) = (self.file(from)?, self.file(to)?);
        if source == target {
            return Err(Fault::Failure);
        }
        if !can_read || !can_write {
            return Err(Fault::Missing);
        }
        let end = self.offset.max(to_offset).saturating_add(len);
        if end > i64::MAX as u64 {
            return Err(Fault::BadMessage);
        }
        self.begin_job(&Job {
            id: self.id,
            block: 0,
            from,
            offset: self.offset,
            len: if len == 0 { TO_END } else { len },
            to,
            to_offset,
            algorithm: None,
            labelled: false,
        })
    }

    /// check-file-handle and check-file-name; and check-file, as paramiko asks for the former.
    #[inline(never)]
    pub(super) fn check(&mut self) -> Outcome {
        let by_name = self.name == b"check-file-name";
        let args = &mut self.args;
        let target = if by_name { args.path() } else { args.handle() };
        let list = args.string();
        let (offset, len, block) = (args.u64(), args.u64(), args.u32());
        args.check()?;
        if self.session.jobs.list.is_full() {
            return Err(Fault::Busy);
        }
        let algorithm = Algorithm::choose(list).ok_or(Fault::Failure)?;
        let handles = &mut self.session.handles;
        let from = if by_name {
            let slot = handles.free()?;
            let how = Opening {
                read: true,
                ..Opening::default()
            };
            let pin = self.vfs.open_at(target, &how)?;
            handles.put(slot, pin, Mode::default());
            slot
        } else {
            let slot = handles.find(target, FILE).ok_or(Fault::Failure)?;
            if !handles.at(slot).is_some_and(|open| open.mode.read) {
                return Err(Fault::Missing);
            }
            slot
        };
        let begun = self.begin_job(&Job {
            id: self.id,
            block,
            from,
            offset,
            len,
            to: from,
            to_offset: 0,
            algorithm: Some(algorithm),
            labelled: self.name == LABEL,
        });
        if by_name {
            self.session.handles.close(from, self.vfs);
        }
        begun
    }
}

/// Carries the job in hand on by a slice, for which the whole output is room, and answers it when it is done.
#[inline(never)]
pub(super) fn go_on(session: &mut Session, vfs: &mut dyn Vfs, reply: &mut Writer<'_>) {
    let Session { handles, jobs, .. } = session;
    let Some(job) = jobs.list.front_mut() else {
        return;
    };
    let went = match job.algorithm {
        Some(_) => job.check(handles, vfs, reply.room(), &mut jobs.check, jobs.hashes),
        None => job.copy(handles, vfs, reply.room()),
    };
    let Err(fault) = went else {
        return;
    };
    handles.release(job.from, vfs);
    handles.release(job.to, vfs);
    match &mut jobs.check {
        Some(check) if fault == Fault::Done => {
            let start = reply.begin(kind::EXTENDED_REPLY, job.id);
            if job.labelled {
                reply.string(LABEL);
            }
            reply.string(check.algorithm().name());
            let len = check.finish(jobs.hashes);
            reply.put(jobs.hashes.get(..len).unwrap_or_default());
            reply.end(start, 0);
        }
        _ => fault.emit(reply, job.id),
    }
    jobs.check = None;
    jobs.list.pop_front();
}

impl Job {
    /// Reads the next bytes into `room`, as many as that has and are left. Those that are missing end it with this fault.
    #[inline(never)]
    fn read<'a>(
        &self,
        handles: &mut Handles,
        vfs: &mut dyn Vfs,
        room: &'a mut [u8],
        end: Fault,
    ) -> Result<&'a [u8], Fault> {
        let len = self.len.min(room.len() as u64) as usize;
        let room = room.get_mut(..len).unwrap_or_default();
        if room.is_empty() {
            return Err(Fault::Done);
        }
        match vfs.read(handles.pin(self.from)?, self.offset, room)? {
            0 => Err(end),
            got => Ok(room.get(..got).unwrap_or_default()),
        }
    }

    /// Copies a slice.
    #[inline(never)]
    fn copy(&mut self, handles: &mut Handles, vfs: &mut dyn Vfs, room: &mut [u8]) -> Outcome {
        let wanted = room.len() as u64;
        // As with OpenSSH, the last bytes need not all be there.
        let end = if self.len > wanted && self.len < TO_END / 2 {
            Fault::Eof
        } else {
            Fault::Done
        };
        let bytes = self.read(handles, vfs, room, end)?;
        vfs.write(handles.pin(self.to)?, self.to_offset, bytes)?;
        let len = bytes.len() as u64;
        self.offset = self.offset.wrapping_add(len);
        self.to_offset = self.to_offset.wrapping_add(len);
        self.len = self.len.saturating_sub(wanted);
        Ok(())
    }

    /// Checks a slice. A file that becomes shorter meanwhile ends there.
    #[inline(never)]
    fn check(
        &mut self,
        handles: &mut Handles,
        vfs: &mut dyn Vfs,
        room: &mut [u8],
        check: &mut Option<Check>,
        hashes: &mut [u8],
    ) -> Outcome {
        if let (None, Some(algorithm)) = (&check, self.algorithm) {
            let size = vfs.attr(handles.pin(self.from)?.node())?.size;
            let room = hashes.len().min(HASHES_BYTES);
            let begun = Check::new(algorithm, self.offset, self.len, self.block, size, room);
            *check = Some(begun?);
        }
        if let Some(check) = check {
            (self.offset, self.len) = check.wants();
            check.step(self.read(handles, vfs, room, Fault::Done)?, hashes);
        }
        Ok(())
    }
}
