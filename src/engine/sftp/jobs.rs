//! copy-data and check-file: what may take long is done in slices, between which other requests are answered.
//!
//! One is in hand, the others wait for it, in the order in which they came.

use super::check::{Algorithm, Check};
use super::handles::{Handles, Mode};
use super::{Answer, Fault, Outcome, Request, Session, Sftp, status};
use crate::config::{HASHES_BYTES, JOB_COUNT_MAX, JOB_SLICE_BYTES};
use crate::engine::Cx;
use crate::vfs::Opening;
use crate::wire::Writer;
use crate::wire::sftp::{Status, kind};

/// What is under way.
pub(super) struct Jobs {
    list: heapless::Deque<Job, JOB_COUNT_MAX>,
    /// Those of the check in hand.
    hashes: &'static mut [u8],
}

impl Jobs {
    pub(super) const fn new(hashes: &'static mut [u8]) -> Self {
        Self {
            list: heapless::Deque::new(),
            hashes,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.list.clear();
    }
}

struct Job {
    /// The request.
    id: u32,
    /// The file that is read.
    from: usize,
    work: Work,
}

enum Work {
    Copy(Copy),
    Check {
        check: Check,
        /// Whether the reply begins with the extension's name.
        labelled: bool,
    },
}

struct Copy {
    to: usize,
    from_offset: u64,
    to_offset: u64,
    /// Bytes that are not copied yet …
    left: u64,
    /// … or all that there are.
    to_end: bool,
}

/// What a slice led to.
enum Slice {
    More,
    Done,
}

impl Request<'_, '_, '_> {
    fn check_room(&self) -> Result<(), Fault> {
        if self.session.jobs.list.is_full() {
            return Err(Fault::Busy);
        }
        Ok(())
    }

    /// Begins a job, for which there is room.
    fn begin(&mut self, from: usize, work: Work) -> Outcome {
        let Session { handles, jobs, .. } = &mut *self.session;
        handles.hold(from);
        if let Work::Copy(copy) = &work {
            handles.hold(copy.to);
        }
        let id = self.id;
        let _ = jobs.list.push_back(Job { id, from, work });
        Ok(Answer::Later)
    }
}

/// copy-data: draft-ietf-secsh-filexfer-extensions-00 section 7. A file is not copied to itself: there might be no end.
pub(super) fn copy(_: &mut Sftp, request: &mut Request<'_, '_, '_>) -> Outcome {
    let args = &mut request.args;
    let (from, from_offset, len) = (args.handle(), args.u64(), args.u64());
    let (to, to_offset) = (args.handle(), args.u64());
    args.check()?;
    request.check_room()?;
    let Session { handles, .. } = &mut *request.session;
    let (from, to) = (handles.find(from, false)?, handles.find(to, false)?);
    let (pin, mode, _) = handles.get(from)?;
    let (source, can_read) = (request.cx.vfs.attr(pin.node())?, mode.read);
    let (pin, mode, _) = handles.get(to)?;
    let target = request.cx.vfs.attr(pin.node())?;
    if from == to || (source.fsid, source.inode) == (target.fsid, target.inode) {
        return Err(Status::Failure.into());
    }
    if !can_read || !mode.write {
        return Err(Status::NoSuchFile.into());
    }
    let end = |offset: u64| {
        offset
            .checked_add(len)
            .filter(|end| *end <= i64::MAX as u64)
    };
    if end(from_offset).is_none() || end(to_offset).is_none() {
        return Err(Status::BadMessage.into());
    }
    let copy = Copy {
        to,
        from_offset,
        to_offset,
        left: len,
        to_end: len == 0,
    };
    request.begin(from, Work::Copy(copy))
}

/// check-file-handle and check-file-name, section 3 of the same draft; and check-file, as paramiko asks for the former.
pub(super) fn check(_: &mut Sftp, request: &mut Request<'_, '_, '_>) -> Outcome {
    let by_name = request.name == b"check-file-name";
    let labelled = request.name == b"check-file";
    let target = if by_name {
        request.path()
    } else {
        request.args.handle()
    };
    let args = &mut request.args;
    let (list, offset, len, block) = (args.string(), args.u64(), args.u64(), args.u32());
    args.check()?;
    request.check_room()?;
    let algorithm = Algorithm::choose(list).ok_or(Status::Failure)?;
    let Session { handles, jobs, .. } = &mut *request.session;
    let slot = if by_name {
        let free = handles.free()?;
        let how = Opening {
            read: true,
            ..Opening::default()
        };
        let pin = request.cx.vfs.open_at(target, &how)?;
        let mode = Mode {
            read: true,
            ..Mode::default()
        };
        handles.put(free, pin, mode);
        handles.hide(free);
        free
    } else {
        handles.find(target, false)?
    };
    // Held already, so that it is closed if there is nothing to do.
    handles.hold(slot);
    let room = jobs.hashes.len().min(HASHES_BYTES);
    let begun = start(handles, request.cx, slot, &|size| {
        Check::new(algorithm, offset, len, block, size, room)
    });
    let outcome = begun.and_then(|check| request.begin(slot, Work::Check { check, labelled }));
    request.session.handles.release(slot, request.cx.vfs);
    outcome
}

/// Begins to check a file, if it can be read.
fn start(
    handles: &mut Handles,
    cx: &mut Cx<'_>,
    slot: usize,
    check: &dyn Fn(u64) -> crate::vfs::FsResult<Check>,
) -> Result<Check, Fault> {
    let (pin, mode, _) = handles.get(slot)?;
    if !mode.read {
        return Err(Status::NoSuchFile.into());
    }
    Ok(check(cx.vfs.attr(pin.node())?.size)?)
}

/// Carries the job in hand on by a slice, for which the whole output is room, and answers it when it is done.
#[inline(never)]
pub(super) fn go_on(session: &mut Session, cx: &mut Cx<'_>, reply: &mut Writer<'_>) {
    let Session { handles, jobs, .. } = session;
    let Some(job) = jobs.list.front_mut() else {
        return;
    };
    let (id, from) = (job.id, job.from);
    let mut left = JOB_SLICE_BYTES;
    let done = loop {
        let slice = job.slice(handles, jobs.hashes, cx, reply.room(), &mut left);
        match slice {
            Ok(Slice::More) if left > 0 => {}
            Ok(Slice::More) => return,
            Ok(Slice::Done) => break Fault::Status(Status::Ok),
            Err(fault) => break fault,
        }
    };
    match jobs.list.pop_front().map(|job| job.work) {
        Some(Work::Check {
            mut check,
            labelled,
        }) if done == Fault::Status(Status::Ok) => {
            let len = check.finish(jobs.hashes);
            let start = reply.begin(kind::EXTENDED_REPLY, id);
            if labelled {
                reply.string(b"check-file");
            }
            reply.string(check.algorithm().name());
            reply.put(jobs.hashes.get(..len).unwrap_or_default());
            reply.end(start, 0);
        }
        work => {
            status::emit(reply, id, done);
            if let Some(Work::Copy(copy)) = work {
                handles.release(copy.to, cx.vfs);
            }
        }
    }
    handles.release(from, cx.vfs);
}

impl Job {
    /// Reads some bytes into `room`, and does with them what is to be done.
    fn slice(
        &mut self,
        handles: &mut Handles,
        hashes: &mut [u8],
        cx: &mut Cx<'_>,
        room: &mut [u8],
        budget: &mut usize,
    ) -> Result<Slice, Fault> {
        let (offset, wanted) = match &self.work {
            Work::Check { check, .. } => check.wants(),
            Work::Copy(copy) if copy.to_end => (copy.from_offset, u64::MAX),
            Work::Copy(copy) => (copy.from_offset, copy.left),
        };
        if wanted == 0 {
            return Ok(Slice::Done);
        }
        let len = room.len().min(*budget) as u64;
        let len = len.min(wanted) as usize;
        *budget = budget.saturating_sub(len);
        let room = room.get_mut(..len).unwrap_or_default();
        let (pin, ..) = handles.get(self.from)?;
        let got = cx.vfs.read(pin, offset, room)?;
        let bytes = room.get(..got).unwrap_or_default();
        match &mut self.work {
            // The file has become shorter.
            Work::Check { .. } if bytes.is_empty() => return Ok(Slice::Done),
            Work::Check { check, .. } => check.step(bytes, hashes),
            Work::Copy(copy) => {
                if bytes.is_empty() {
                    return if copy.to_end {
                        Ok(Slice::Done)
                    } else {
                        Err(Status::Eof.into())
                    };
                }
                let (pin, ..) = handles.get(copy.to)?;
                cx.vfs.write(pin, copy.to_offset, bytes)?;
                copy.from_offset = copy.from_offset.wrapping_add(got as u64);
                copy.to_offset = copy.to_offset.wrapping_add(got as u64);
                // As with OpenSSH, the last bytes need not all be there.
                copy.left = copy.left.saturating_sub(len as u64);
            }
        }
        Ok(Slice::More)
    }
}
