//! Worker threads: each carries out one job that may wait for a disk, so that the loop does not wait.
//!
//! A worker has a stack from the arena and shares a few words with the loop, for the job and its result; it touches no other
//! memory. It writes a byte to a pipe when a job has ended. `run` has the code that workers run.

mod run;

pub use run::Work;

use super::fs::{self, File};
use super::{Errno, outcome};
use crate::config::{JOB_COUNT, WORKER_COUNT, WORKER_STACK_BYTES};
use crate::mem;
use crate::time::{Duration, Instant};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use run::{ASSIGNED, ENDED, IDLE, Worker, notify, work};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsRawFd as _, RawFd};
use syscalls::{Sysno, raw_syscall};

impl Work {
    /// Returns true for fsync and syncfs.
    const fn is_sync(self) -> bool {
        matches!(self, Self::Sync | Self::SyncSystem)
    }
}

#[derive(Debug)]
struct Queued<T> {
    number: u32,
    work: Work,
    file: RawFd,
    tag: T,
    phase: Progress,
}

/// Progress of a job.
#[derive(Clone, Copy, Debug)]
enum Progress {
    /// The job waits for an idle worker.
    Waits,
    /// A worker runs the job: the worker's index, and the start time.
    Runs(usize, Instant),
    /// The job has ended and is not popped yet.
    Ended(Completion),
}

/// Result of a job.
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    /// The result of the system call.
    pub result: Result<(), Errno>,
    /// Number of bytes that a [`Work::Write`] stored, even if it failed.
    pub stored: u32,
    /// Duration, in whole milliseconds.
    pub took: Duration,
}

/// A job that has ended.
#[derive(Clone, Copy, Debug)]
pub struct FinishedJob<T> {
    /// Number of the job, from 0.
    pub number: u32,
    /// The owner's record of the job.
    pub tag: T,
    /// Result of the job.
    pub outcome: Completion,
}

/// The worker threads, and the jobs that were not popped yet. `T` is the owner's own record of a job.
#[derive(Debug)]
pub struct Workers<T> {
    workers: heapless::Vec<&'static Worker, WORKER_COUNT>,
    /// Jobs that were not popped, oldest first.
    jobs: heapless::Vec<Queued<T>, JOB_COUNT>,
    /// Number of the next job.
    next: u32,
    /// Stacks of the threads that were not started yet.
    stacks: &'static mut [u8],
    pipe: (File, File),
}

impl<T: Copy> Workers<T> {
    /// Creates no threads yet: they start with the first jobs. `None` if the kernel has no pipe or no futex.
    pub fn new() -> Option<Self> {
        wake(&AtomicU32::new(IDLE)).ok()?;
        Some(Self {
            workers: heapless::Vec::new(),
            jobs: heapless::Vec::new(),
            next: 0,
            stacks: mem::bytes(WORKER_COUNT * WORKER_STACK_BYTES),
            pipe: fs::pipe().ok()?,
        })
    }

    /// The pipe that is readable when a job has ended.
    pub fn wake(&self) -> RawFd {
        self.pipe.0.as_raw_fd()
    }

    /// Number of the next job, from 0.
    pub const fn next(&self) -> u32 {
        self.next
    }

    /// Number of the last sync that was not popped yet.
    pub fn last_sync(&self) -> Option<u32> {
        let mut syncs = self.jobs.iter().filter(|job| job.work.is_sync());
        syncs.next_back().map(|job| job.number)
    }

    /// Returns true if a [`Work::Close`] job has not ended yet.
    pub fn is_freeing(&self) -> bool {
        let mut closing = self
            .jobs
            .iter()
            .filter(|job| matches!(job.work, Work::Close));
        closing.any(|job| !matches!(job.phase, Progress::Ended(_)))
    }

    /// Returns the owner's record of the first job that waits for a worker and that `is_same` accepts.
    pub fn find_waiting(&mut self, is_same: impl Fn(&T) -> bool) -> Option<&mut T> {
        let mut jobs = self.jobs.iter_mut();
        let found = jobs.find(|job| matches!(job.phase, Progress::Waits) && is_same(&job.tag));
        found.map(|job| &mut job.tag)
    }

    /// Adds a job, after which the worker closes `file`. Returns false if the table is full, or if there is no thread and none can
    /// be started.
    pub fn push(&mut self, work: Work, file: RawFd, tag: T, now: Instant) -> bool {
        let job = Queued {
            number: self.next,
            work,
            file,
            tag,
            phase: Progress::Waits,
        };
        if self.jobs.is_full() || !self.has_thread() || self.jobs.push(job).is_err() {
            return false;
        }
        self.next = self.next.wrapping_add(1);
        self.assign_jobs(now);
        true
    }

    /// Returns true if a worker is idle, another was started, or at least one exists.
    fn has_thread(&mut self) -> bool {
        let is_idle = |worker: &&Worker| worker.state.load(Ordering::Acquire) == IDLE;
        self.workers.iter().any(is_idle) || self.start_thread() || !self.workers.is_empty()
    }

    fn start_thread(&mut self) -> bool {
        let (stack, rest) = core::mem::take(&mut self.stacks)
            .split_at_mut_checked(WORKER_STACK_BYTES)
            .unwrap_or_default();
        self.stacks = rest;
        if stack.is_empty() {
            return false;
        }
        let worker: &'static Worker = mem::leak(Worker {
            state: AtomicU32::new(IDLE),
            job: UnsafeCell::new((Work::Sync, -1)),
            errno: AtomicI32::new(0),
            stored: AtomicU32::new(0),
            pipe: self.pipe.1.as_raw_fd(),
        });
        // After a failed clone(2), no further thread is started.
        let started = clone::start(stack, worker).is_ok() && self.workers.push(worker).is_ok();
        if !started {
            self.stacks = &mut [];
        }
        started
    }

    /// Passes waiting jobs to idle workers.
    fn assign_jobs(&mut self, now: Instant) {
        let jobs = self.jobs.iter_mut();
        let mut waiting = jobs.filter(|job| matches!(job.phase, Progress::Waits));
        for (place, worker) in self.workers.iter().enumerate() {
            if worker.state.load(Ordering::Acquire) != IDLE {
                continue;
            }
            let Some(job) = waiting.next() else { return };
            job.phase = Progress::Runs(place, now);
            // SAFETY: the worker is idle and reads `job` only after `state` is ASSIGNED.
            unsafe { *worker.job.get() = (job.work, job.file) };
            worker.state.store(ASSIGNED, Ordering::Release);
            let _ = wake(&worker.state);
        }
    }

    /// Empties the pipe. Call it before [`collect`](Self::collect), so that no end of a job is missed.
    pub fn drain(&self) {
        let _ = fs::read(self.wake(), &mut [0; JOB_COUNT]);
    }

    /// Makes the pipe readable, as the end of a job does.
    pub fn notify(&self) {
        notify(self.pipe.1.as_raw_fd());
    }

    /// Marks the jobs that their workers have finished, and passes these workers the next jobs.
    pub fn collect(&mut self, now: Instant) {
        for job in &mut self.jobs {
            let Progress::Runs(place, begun) = job.phase else {
                continue;
            };
            let Some(worker) = self.workers.get(place) else {
                continue;
            };
            if worker.state.load(Ordering::Acquire) != ENDED {
                continue;
            }
            let result = match worker.errno.load(Ordering::Relaxed) {
                0 => Ok(()),
                errno => Err(Errno::from_raw_os_error(errno)),
            };
            job.phase = Progress::Ended(Completion {
                result,
                stored: worker.stored.load(Ordering::Relaxed),
                took: now.since(begun),
            });
            worker.state.store(IDLE, Ordering::Relaxed);
        }
        self.assign_jobs(now);
    }

    /// Removes the oldest job that has ended; a sync only after all syncs before it.
    pub fn pop_ended(&mut self) -> Option<FinishedJob<T>> {
        let mut has_older_sync = false;
        let at = self.jobs.iter().position(|job| {
            let is_sync = job.work.is_sync();
            let is_next = matches!(job.phase, Progress::Ended(_)) && !(is_sync && has_older_sync);
            has_older_sync |= is_sync;
            is_next
        })?;
        let Queued {
            number, tag, phase, ..
        } = self.jobs.remove(at);
        let Progress::Ended(outcome) = phase else {
            return None;
        };
        Some(FinishedJob {
            number,
            tag,
            outcome,
        })
    }

    /// Sleeps until the pipe is readable.
    pub fn wait(&self) {
        let _ = super::sleep(&mut [PollFd::new(&self.pipe.0, PollFlags::IN)], None);
    }
}

const FUTEX_WAKE_PRIVATE: usize = 129;

/// Wakes the thread, and tries again once if that fails.
fn wake(state: &AtomicU32) -> Result<(), Errno> {
    let wake = || {
        // SAFETY: the kernel uses only the address, to find the sleeping thread.
        outcome(unsafe { raw_syscall!(Sysno::futex, state.as_ptr(), FUTEX_WAKE_PRIVATE, 1) })
    };
    wake().or_else(|_| wake()).map(drop)
}

/// clone(2) on each architecture. The new thread returns from the call with the same registers but its own, empty stack, and calls
/// [`work`], which never returns.
mod clone {
    use super::{Errno, Worker, outcome, work};
    use core::arch::asm;

    /// CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM: a thread as POSIX has them.
    const FLAGS: usize = 0x100 | 0x200 | 0x400 | 0x800 | 0x1_0000 | 0x4_0000;

    /// Starts the thread of `worker` on `stack`.
    pub(super) fn start(stack: &'static mut [u8], worker: &'static Worker) -> Result<(), Errno> {
        // Stack alignment of all ABIs at a call, with room for an argument.
        let top = (stack.as_mut_ptr_range().end as usize & !15) - 16;
        // SAFETY: the word at `top` is within the stack, and aligned.
        unsafe { (top as *mut &Worker).write(worker) };
        // SAFETY: the stack and `worker` are never freed, and `worker` is at `top`.
        outcome(unsafe { clone(top) }).map(drop)
    }

    /// Starts a thread with the stack that ends at `top`. The word there is the address of the thread's worker.
    ///
    /// # Safety
    /// The stack and the worker must never be freed.
    #[cfg(target_arch = "x86_64")]
    unsafe fn clone(top: usize) -> usize {
        let returned: usize;
        // SAFETY: neither the stack nor the worker is ever freed; registers that change are declared as outputs.
        unsafe {
            asm!(
                "syscall",
                "test rax, rax",
                "jnz 2f",
                "xor ebp, ebp",
                "mov rdi, [rsp]",
                "call {work}",
                "ud2",
                "2:",
                work = sym work,
                inlateout("rax") 56_usize => returned,
                in("rdi") FLAGS,
                in("rsi") top,
                in("rdx") 0,
                in("r10") 0,
                in("r8") 0,
                out("rcx") _,
                out("r11") _,
            );
        }
        returned
    }

    #[cfg(target_arch = "x86")]
    unsafe fn clone(top: usize) -> usize {
        let returned: usize;
        // SAFETY: neither the stack nor the worker is ever freed; the compiler reserves ebx, so the code swaps and restores it.
        unsafe {
            asm!(
                "xchg ebx, edi",
                "int 0x80",
                "test eax, eax",
                "jnz 2f",
                "xor ebp, ebp",
                "call {work}",
                "ud2",
                "2:",
                "xchg ebx, edi",
                work = sym work,
                inlateout("eax") 120_usize => returned,
                in("edi") FLAGS,
                in("ecx") top,
                in("edx") 0,
            );
        }
        returned
    }

    #[cfg(target_arch = "aarch64")]
    unsafe fn clone(top: usize) -> usize {
        let returned: usize;
        // SAFETY: neither the stack nor the worker is ever freed; registers that change are declared as outputs.
        unsafe {
            asm!(
                "svc #0",
                "cbnz x0, 2f",
                "mov x29, xzr",
                "ldr x0, [sp]",
                "bl {work}",
                "brk #1",
                "2:",
                work = sym work,
                in("x8") 220_usize,
                inlateout("x0") FLAGS => returned,
                in("x1") top,
                in("x2") 0,
                in("x3") 0,
                in("x4") 0,
            );
        }
        returned
    }

    #[cfg(target_arch = "arm")]
    unsafe fn clone(top: usize) -> usize {
        let returned: usize;
        // SAFETY: neither the stack nor the worker is ever freed; the compiler may reserve r7, so the code saves it.
        unsafe {
            asm!(
                "mov {kept}, r7",
                "mov r7, #120",
                "svc #0",
                "mov r7, {kept}",
                "cmp r0, #0",
                "bne 2f",
                "ldr r0, [sp]",
                "bl {work}",
                "udf #0",
                "2:",
                kept = out(reg) _,
                work = sym work,
                inlateout("r0") FLAGS => returned,
                in("r1") top,
                in("r2") 0,
                in("r3") 0,
                in("r4") 0,
            );
        }
        returned
    }
}

#[cfg(test)]
mod tests;
