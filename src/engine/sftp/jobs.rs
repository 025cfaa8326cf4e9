//! copy-data and check-file: long work, done in slices between other requests. draft-ietf-secsh-filexfer-extensions-00 sections 3
//! and 7.
//!
//! One job runs at a time; the others wait in the order of their requests.

use super::check::{Algorithm, Check};
use super::handles::{Handles, READ, TO_READ, WRITE};
use super::requests::{CHECK, CHECK_NAME, FILE};
use super::status::{Fault, Outcome};
use super::{Exchange, Session};
use crate::config::{JOB_COUNT_MAX, SFTP_BATCH_BYTES};
use crate::mem::Ends as _;
use crate::stats::Operation;
use crate::vfs::{Tree, Until};
use crate::wire::sftp::kind;

/// Length (bytes) of a copy up to the end of the file.
const TO_END: u64 = u64::MAX;

/// The queue of jobs.
#[repr(C)] // Most-used fields first, where short instructions reach them.
pub(super) struct Jobs {
    /// Index of the running job in `ring`; `count` jobs are queued from there, itself included.
    first: usize,
    count: usize,
    /// Buffer for the hashes of the running check.
    hashes: &'static mut [u8],
    check: Check,
    ring: [Job; JOB_COUNT_MAX],
}

/// A copy or a check.
struct Job {
    /// Offset of the next bytes to read, and the length left (bytes). For a check that has not begun, both are as the client
    /// requested.
    offset: u64,
    len: u64,
    /// For a copy: the offset of the next bytes to write.
    to_offset: u64,
    /// The id of the request.
    id: u32,
    /// For a check: the block size (bytes).
    block_bytes: u32,
    /// The slots of the source and the destination; for a check they are the same.
    from: u16,
    to: u16,
    algorithm: Algorithm,
    copies: bool,
    begun: bool,
    /// True if the reply begins with the extension's name.
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
    /// Creates an empty queue. `hashes` is the buffer for the hashes of one check.
    pub(super) const fn new(hashes: &'static mut [u8]) -> Self {
        Self {
            ring: const { [const { Job::NONE }; JOB_COUNT_MAX] },
            first: 0,
            count: 0,
            check: Check::IDLE,
            hashes,
        }
    }

    pub(super) const fn clear(&mut self) {
        self.count = 0;
    }

    /// The entry for the next job, or `None` if the queue is full.
    fn next(&mut self) -> Option<&mut Job> {
        if self.count == JOB_COUNT_MAX {
            return None;
        }
        let place = (self.first + self.count) % JOB_COUNT_MAX;
        self.ring.get_mut(place)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// Continues a job by one slice through `buffer`. Returns `Later` if the job is not complete.
fn continue_job(
    job: &mut Job,
    check: &mut Check,
    hashes: &mut [u8],
    handles: &mut Handles,
    vfs: &mut Tree,
    buffer: &mut [u8],
) -> Outcome {
    let open = handles.at(job.from).ok_or(Fault::FAILURE)?;
    let pin = &open.pin;
    if !job.begun {
        let size = vfs.attr(pin.node())?.size;
        let range = (job.offset, job.len, job.block_bytes);
        job.len = check.start(job.algorithm, range, size, hashes.len())?;
        job.begun = true;
    }
    // Longer slices would make the loop's other connections wait.
    let len = job.len.min(buffer.len().min(SFTP_BATCH_BYTES) as u64);
    let buffer = buffer.head_mut(len as usize);
    let got = vfs.read(pin, job.offset, buffer)? as usize;
    open.cookie += got as u64;
    let bytes = buffer.head(got);
    if !job.copies {
        check.step(bytes, hashes);
    } else if got > 0 {
        let open = handles.at(job.to).ok_or(Fault::FAILURE)?;
        vfs.write(&open.pin, job.to_offset, bytes)?;
        open.written += got as u64;
    } else if job.len < TO_END / 2 {
        return Err(Fault::Eof);
    }
    let got = got as u64;
    job.offset += got;
    job.to_offset += got;
    // As with OpenSSH, a copy may end early at the end of the file.
    job.len -= if job.copies { len } else { got };
    // If a file becomes shorter during a check, the check ends there.
    if job.len > 0 && got > 0 {
        return Err(Fault::Later);
    }
    Ok(())
}

impl Exchange<'_> {
    /// Continues the running job by a slice, with the output's space as its buffer, and answers it when it is complete. Returns the event
    /// until which the job must wait.
    #[inline(never)] // −44 bytes: one caller, whose frame stays small.
    pub(super) fn continue_job(&mut self) -> Option<Until> {
        let Session { handles, jobs, .. } = &mut *self.session;
        if jobs.is_empty() {
            return None;
        }
        let Jobs { check, hashes, .. } = jobs;
        let job = jobs.ring.get_mut(jobs.first)?;
        let reply = &mut self.reply;
        let fault = match continue_job(job, check, hashes, handles, self.vfs, reply.space()) {
            Ok(()) => Fault::Done,
            Err(Fault::Later) => return None,
            Err(Fault::Files(error)) if error.stops() => return error.until(),
            Err(fault) => fault,
        };
        jobs.first = (jobs.first + 1) % JOB_COUNT_MAX;
        jobs.count -= 1;
        handles.release(job.from, true, self.vfs);
        handles.release(job.to, true, self.vfs);
        self.stats
            .called(Operation::sftp(kind::EXTENDED), fault.outcome());
        if job.copies || fault != Fault::Done {
            fault.emit(reply, job.id, self.sftp.level, self.events);
            return None;
        }
        let start = reply.start_packet(kind::EXTENDED_REPLY, job.id);
        if job.labelled {
            reply.string(CHECK);
        }
        reply.string(job.algorithm.name());
        let len = check.finish(hashes);
        reply.put(hashes.head(len));
        reply.finish(start);
        None
    }

    /// Queues the job that the caller has filled in at [`Jobs::next`], and holds its two files open.
    fn start_job(&mut self, from: u16, to: u16) -> Outcome {
        let Session { handles, jobs, .. } = &mut *self.session;
        if let Some(job) = jobs.next() {
            (job.id, job.from, job.to) = (self.request.id, from, to);
            handles.add_use(from);
            handles.add_use(to);
            jobs.count += 1;
        }
        Err(Fault::Later)
    }

    /// Answers copy-data. Refuses to copy a file to itself, because that might not end.
    pub(super) fn copy(&mut self) -> Outcome {
        let job = self.session.jobs.next().ok_or(Fault::Busy)?;
        (job.copies, job.begun) = (true, true);
        job.offset = self.request.offset;
        let len = self.request.args.u64();
        job.len = if len == 0 { TO_END } else { len };
        let handle = self.request.args.handle();
        job.to_offset = self.request.args.u64();
        self.request.args.check()?;
        let end = job.offset.max(job.to_offset).saturating_add(len);
        let (from, readable, node) = (
            self.request.slot,
            self.request.mode & READ,
            self.request.node,
        );
        self.find(handle, FILE)?;
        let one = self.vfs.attr(node)?;
        let other = self.vfs.attr(self.request.node)?;
        if one.fsid == other.fsid && one.inode == other.inode {
            return Err(Fault::FAILURE);
        }
        if readable == 0 || self.request.mode & WRITE == 0 {
            return Err(Fault::MISSING);
        }
        if end > i64::MAX as u64 {
            return Err(Fault::BAD_MESSAGE);
        }
        self.start_job(from, self.request.slot)
    }

    /// Answers check-file-handle and check-file-name; also check-file, which paramiko sends for check-file-handle.
    pub(super) fn check(&mut self) -> Outcome {
        // The three names differ in length.
        let by_name = self.request.extension_name_len == CHECK_NAME.len();
        let job = self.session.jobs.next().ok_or(Fault::Busy)?;
        (job.copies, job.begun) = (false, false);
        job.labelled = self.request.extension_name_len == CHECK.len();
        let args = &mut self.request.args;
        let target = if by_name { args.path() } else { args.handle() };
        let list = args.string();
        job.offset = args.u64();
        job.len = args.u64();
        job.block_bytes = args.u32();
        args.check()?;
        job.algorithm = Algorithm::choose(list).ok_or(Fault::FAILURE)?;
        if by_name {
            self.pin(target, &TO_READ)?;
        } else {
            self.find(target, FILE)?;
            if self.request.mode & READ == 0 {
                return Err(Fault::MISSING);
            }
        }
        let begun = self.start_job(self.request.slot, self.request.slot);
        if by_name {
            self.session
                .handles
                .release(self.request.slot, false, self.vfs);
        }
        begun
    }
}
