//! copy-data and check-file: what may take long is done in slices, between which other requests are answered.
//! draft-ietf-secsh-filexfer-extensions-00 sections 3 and 7.
//!
//! One job is in hand, the others wait for it, in the order in which they came.

use super::check::{Algorithm, Check};
use super::handles::{Handles, Mode};
use super::requests::FILE;
use super::status::{Fault, Outcome};
use super::{Request, Session};
use crate::config::{HASHES_BYTES, JOB_COUNT_MAX, JOB_SLICE_BYTES};
use crate::engine::Cx;
use crate::vfs::Opening;
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
    /// The file that is read.
    from: u16,
    offset: u64,
    /// Bytes of it that are left. Of a check that has not begun: as the client says.
    len: u64,
    work: Work,
}

#[derive(Clone, Copy)]
enum Work {
    /// To copy to this file, and where.
    Copy(u16, u64),
    /// To hash in blocks of so many bytes; whether the reply begins with the extension's name.
    Check(Algorithm, u32, bool),
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
    fn begin_job(&mut self, job: Job) -> Outcome {
        let Session { handles, jobs, .. } = &mut *self.session;
        handles.hold(job.from);
        if let Work::Copy(to, _) = job.work {
            handles.hold(to);
        }
        let _ = jobs.list.push_back(job);
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
    #[inline(never)]
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
        self.begin_job(Job {
            id: self.id,
            from,
            offset: self.offset,
            len: if len == 0 { TO_END } else { len },
            work: Work::Copy(to, to_offset),
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
        let labelled = self.name == LABEL;
        let begun = self.begin_job(Job {
            id: self.id,
            from,
            offset,
            len,
            work: Work::Check(algorithm, block, labelled),
        });
        if by_name {
            self.session.handles.close(from, self.vfs);
        }
        begun
    }
}

/// Carries the job in hand on by a slice, for which the whole output is room, and answers it when it is done.
#[inline(never)]
pub(super) fn go_on(session: &mut Session, cx: &mut Cx<'_>, reply: &mut Writer<'_>) {
    let Session { handles, jobs, .. } = session;
    let Some(job) = jobs.list.front_mut() else {
        return;
    };
    let mut budget = JOB_SLICE_BYTES;
    let fault = loop {
        match job.slice(
            handles,
            &mut jobs.check,
            jobs.hashes,
            cx,
            reply.room(),
            &mut budget,
        ) {
            Ok(true) if budget > 0 => {}
            Ok(true) => return,
            Ok(false) => break Fault::Done,
            Err(fault) => break fault,
        }
    };
    let Job { id, from, work, .. } = *job;
    jobs.list.pop_front();
    handles.release(from, cx.vfs);
    let check = jobs.check.take();
    match work {
        Work::Copy(to, _) => handles.release(to, cx.vfs),
        Work::Check(algorithm, _, labelled) => {
            if let (Some(mut check), Fault::Done) = (check, fault) {
                let start = reply.begin(kind::EXTENDED_REPLY, id);
                if labelled {
                    reply.string(LABEL);
                }
                reply.string(algorithm.name());
                let len = check.finish(jobs.hashes);
                reply.put(jobs.hashes.get(..len).unwrap_or_default());
                reply.end(start, 0);
                return;
            }
        }
    }
    fault.emit(reply, id);
}

impl Job {
    /// Reads some bytes into `room`, and does with them what is to be done; whether there are more.
    fn slice(
        &mut self,
        handles: &mut Handles,
        check: &mut Option<Check>,
        hashes: &mut [u8],
        cx: &mut Cx<'_>,
        room: &mut [u8],
        budget: &mut usize,
    ) -> Result<bool, Fault> {
        let pin = handles.pin(self.from)?;
        if let (Work::Check(algorithm, block, _), None) = (self.work, &*check) {
            let size = cx.vfs.attr(pin.node())?.size;
            let room = hashes.len().min(HASHES_BYTES);
            *check = Some(Check::new(
                algorithm,
                self.offset,
                self.len,
                block,
                size,
                room,
            )?);
        }
        if let Some(check) = check {
            (self.offset, self.len) = check.wants();
        }
        if self.len == 0 {
            return Ok(false);
        }
        let len = room.len().min(*budget);
        let len = self.len.min(len as u64) as usize;
        *budget = budget.saturating_sub(len);
        let room = room.get_mut(..len).unwrap_or_default();
        let got = cx.vfs.read(pin, self.offset, room)?;
        let bytes = room.get(..got).unwrap_or_default();
        if bytes.is_empty() {
            // A file that becomes shorter while it is checked ends there.
            return if check.is_some() || self.len > TO_END / 2 {
                Ok(false)
            } else {
                Err(Fault::Eof)
            };
        }
        match &mut self.work {
            Work::Copy(to, to_offset) => {
                let pin = handles.pin(*to)?;
                cx.vfs.write(pin, *to_offset, bytes)?;
                *to_offset = to_offset.wrapping_add(got as u64);
                self.offset = self.offset.wrapping_add(got as u64);
                // As with OpenSSH, the last bytes need not all be there.
                self.len = self.len.saturating_sub(len as u64);
            }
            Work::Check(..) => {
                if let Some(check) = check {
                    check.step(bytes, hashes);
                }
            }
        }
        Ok(true)
    }
}
