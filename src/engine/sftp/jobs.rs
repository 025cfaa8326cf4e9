//! copy-data and check-file: what may take long is done in slices, between which other requests are answered.
//! draft-ietf-secsh-filexfer-extensions-00 sections 3 and 7.
//!
//! One job is in hand, the others wait for it, in the order in which they came.

use super::check::{Algorithm, Check};
use super::handles::{Handles, READ, TO_READ, WRITE};
use super::requests::{Ask, CHECK, CHECK_NAME, FILE};
use super::status::{Fault, Outcome};
use super::{Request, Session, Sftp};
use crate::config::{JOB_COUNT_MAX, JOB_SLICE_BYTES};
use crate::engine::Cx;
use crate::vfs::{Files, Vfs as _};
use crate::wire::Writer;
use crate::wire::sftp::kind;

/// To copy so many bytes means to copy all there are.
const TO_END: u64 = u64::MAX;

/// What is under way.
#[repr(C)] // What is used most lies first, where short instructions reach it.
pub(super) struct Jobs {
    /// From the first on so many in turn.
    first: usize,
    count: usize,
    /// The hashes of the check in hand, if it is one.
    hashes: &'static mut [u8],
    check: Check,
    ring: [Job; JOB_COUNT_MAX],
}

/// What is to be done.
struct Job {
    /// Where the next bytes are in the file that is read, and how many are left. Of a check that has not begun: as the client
    /// says.
    offset: u64,
    len: u64,
    /// Of a copy: where they go.
    to_offset: u64,
    /// The request.
    id: u32,
    /// Of a check: bytes of a block.
    block_bytes: u32,
    /// The file that is read, and that which is written to; of a check the same.
    from: u16,
    to: u16,
    algorithm: Algorithm,
    copies: bool,
    begun: bool,
    /// The reply begins with the extension's name.
    labelled: bool,
}

impl Job {
    const NONE: Self = Self {
        offset: 0,
        len: 0,
        to_offset: 0,
        id: 0,
        block_bytes: 0,
        from: 0,
        to: 0,
        algorithm: Algorithm::Sha256,
        copies: false,
        begun: false,
        labelled: false,
    };
}

impl Jobs {
    pub(super) const fn new(hashes: &'static mut [u8]) -> Self {
        Self {
            ring: [const { Job::NONE }; JOB_COUNT_MAX],
            first: 0,
            count: 0,
            check: Check::idle(),
            hashes,
        }
    }

    pub(super) const fn clear(&mut self) {
        self.count = 0;
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Goes on with the job in hand until it is done, or `Later`. What is read on the way lies in `room`.
    fn go_on(&mut self, handles: &mut Handles, vfs: &mut Files, room: &mut [u8]) -> Outcome {
        let job = self.ring.get_mut(self.first).ok_or(Fault::Failure)?;
        if !job.begun {
            let pin = handles.pin(job.from).ok_or(Fault::Failure)?;
            let size = vfs.attr(pin.node())?.size;
            job.len = self.check.begin(
                job.algorithm,
                (job.offset, job.len, job.block_bytes),
                size,
                self.hashes.len(),
            )?;
            job.begun = true;
        }
        let mut budget = JOB_SLICE_BYTES;
        while job.len > 0 {
            let len = job.len.min(room.len().min(budget) as u64) as usize;
            if len == 0 {
                return Err(Fault::Later);
            }
            budget = budget.wrapping_sub(len);
            let bytes = room.get_mut(..len).unwrap_or_default();
            let pin = handles.pin(job.from).ok_or(Fault::Failure)?;
            let got = vfs.read(pin, job.offset, bytes)?;
            let bytes = bytes.get(..got).unwrap_or_default();
            if bytes.is_empty() {
                // A file that becomes shorter while it is checked ends there.
                if job.copies && job.len < TO_END / 2 {
                    return Err(Fault::Eof);
                }
                break;
            }
            if job.copies {
                let pin = handles.pin(job.to).ok_or(Fault::Failure)?;
                vfs.write(pin, job.to_offset, bytes)?;
            } else {
                self.check.step(bytes, self.hashes);
            }
            job.offset = job.offset.wrapping_add(got as u64);
            job.to_offset = job.to_offset.wrapping_add(got as u64);
            // As with OpenSSH, the last bytes of a copy need not all be there.
            let passed = if job.copies { len } else { got };
            job.len = job.len.wrapping_sub(passed as u64);
        }
        Ok(())
    }
}

/// Carries the job in hand on by a slice, for which the whole output is room, and answers it when it is done.
#[inline(never)]
pub(super) fn go_on(session: &mut Session, cx: &mut Cx<'_, Files>, reply: &mut Writer<'_>) {
    let Session { handles, jobs, .. } = session;
    if jobs.is_empty() {
        return;
    }
    let fault = match jobs.go_on(handles, cx.vfs, reply.room()) {
        Ok(()) => Fault::Done,
        Err(Fault::Later) => return,
        Err(fault) => fault,
    };
    let Some(job) = jobs.ring.get(jobs.first) else {
        return;
    };
    jobs.first = jobs.first.wrapping_add(1) % JOB_COUNT_MAX;
    jobs.count = jobs.count.wrapping_sub(1);
    handles.release(job.from, cx.vfs);
    handles.release(job.to, cx.vfs);
    if job.copies || fault != Fault::Done {
        return fault.emit(reply, job.id);
    }
    let start = reply.begin(kind::EXTENDED_REPLY, job.id);
    if job.labelled {
        reply.string(CHECK);
    }
    reply.string(job.algorithm.name());
    let len = jobs.check.finish(jobs.hashes);
    reply.put(jobs.hashes.get(..len).unwrap_or_default());
    reply.end(start, 0);
}

impl Request<'_, '_> {
    /// Another job, for which there is room: what is read, and what is written to.
    #[inline(never)]
    fn job(&mut self, from: u16, to: u16) -> Result<&mut Job, Fault> {
        let Session { handles, jobs, .. } = &mut *self.session;
        let place = jobs.first.wrapping_add(jobs.count) % JOB_COUNT_MAX;
        let job = jobs.ring.get_mut(place).ok_or(Fault::Failure)?;
        jobs.count = jobs.count.wrapping_add(1);
        handles.hold(from);
        handles.hold(to);
        (job.id, job.from, job.to) = (self.id, from, to);
        (job.copies, job.begun, job.labelled) = (false, false, false);
        Ok(job)
    }

    /// What was read is all there, and there is room for another job.
    #[inline(never)]
    fn check_job(&self) -> Outcome {
        self.args.check()?;
        if self.session.jobs.count == JOB_COUNT_MAX {
            return Err(Fault::Busy);
        }
        Ok(())
    }

    /// Which file is open there.
    #[inline(never)]
    fn file(&mut self, slot: u16) -> Result<(u64, u64), Fault> {
        let pin = self.session.handles.pin(slot).ok_or(Fault::Failure)?;
        let attr = self.vfs.attr(pin.node())?;
        Ok((attr.fsid, attr.inode))
    }

    /// Whether that may be done with what is open there.
    fn may(&mut self, slot: u16, mode: u8) -> bool {
        let open = self.session.handles.at(slot);
        open.is_some_and(|open| open.mode & mode > 0)
    }
}

impl Sftp {
    /// copy-data. A file is not copied to itself: there might be no end.
    pub(super) fn copy(&mut self, request: &mut Request<'_, '_>, _: Ask) -> Outcome {
        let args = &mut request.args;
        let (len, handle, to_offset) = (args.u64(), args.handle(), args.u64());
        request.check_job()?;
        let to = request.session.handles.find(handle, FILE);
        let (from, to) = (request.slot, to.ok_or(Fault::Failure)?);
        if request.file(from)? == request.file(to)? {
            return Err(Fault::Failure);
        }
        if !request.may(from, READ) || !request.may(to, WRITE) {
            return Err(Fault::Missing);
        }
        let end = request.offset.max(to_offset).saturating_add(len);
        if end > i64::MAX as u64 {
            return Err(Fault::BadMessage);
        }
        let offset = request.offset;
        let job = request.job(from, to)?;
        (job.offset, job.to_offset) = (offset, to_offset);
        job.len = if len == 0 { TO_END } else { len };
        (job.copies, job.begun) = (true, true);
        Err(Fault::Later)
    }

    /// check-file-handle and check-file-name; and check-file, as paramiko asks for the former.
    pub(super) fn check(&mut self, request: &mut Request<'_, '_>, _: Ask) -> Outcome {
        // Among these three, its length tells a name.
        let by_name = request.name.len() == CHECK_NAME.len();
        let args = &mut request.args;
        let target = if by_name { args.path() } else { args.handle() };
        let list = args.string();
        let (offset, len, block_bytes) = (args.u64(), args.u64(), args.u32());
        request.check_job()?;
        let algorithm = Algorithm::choose(list).ok_or(Fault::Failure)?;
        let handles = &mut request.session.handles;
        let from = if by_name {
            let slot = handles.free()?;
            let pin = request.vfs.open_at(target, &TO_READ)?;
            handles.put(slot, pin, READ);
            slot
        } else {
            let slot = handles.find(target, FILE).ok_or(Fault::Failure)?;
            if !request.may(slot, READ) {
                return Err(Fault::Missing);
            }
            slot
        };
        let labelled = request.name.len() == CHECK.len();
        let job = request.job(from, from)?;
        (job.offset, job.len, job.block_bytes) = (offset, len, block_bytes);
        (job.algorithm, job.labelled) = (algorithm, labelled);
        if by_name {
            request.session.handles.close(from, request.vfs);
        }
        Err(Fault::Later)
    }
}
