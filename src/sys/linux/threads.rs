//! Threads that wait for the disk, so that nobody else need: each carries out one job at a time.
//!
//! A thread has a stack of the arena and a few words of memory, through which it is given jobs and tells of their ends; it knows
//! nothing else of ours. What is in hand is told by a byte in a pipe when it has ended.

use super::fs::{self, File};
use super::{Errno, fsuid, outcome};
use crate::config::{JOB_COUNT, WORKER_COUNT, WORKER_STACK_BYTES};
use crate::mem;
use crate::time::{Duration, Instant};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsRawFd as _, RawFd};
use syscalls::{Sysno, raw_syscall};

/// What is to be done with a file, which is closed after that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// It is made durable (fsync), or all of its file system where it has no way to the disk of its own.
    Sync,
    /// All of its file system is (syncfs).
    SyncSystem,
    /// Bytes of it are read, so that they are in memory.
    Read {
        /// From here on.
        offset: u64,
        /// So many.
        len: u32,
    },
    /// The next bytes of a pipe are stored in it.
    Store {
        /// The pipe, which is not closed.
        pipe: RawFd,
        /// From here on.
        offset: u64,
        /// So many.
        len: u32,
        /// As this user, if the process can act as others.
        user: Option<u32>,
    },
    /// Nothing else: that alone may take long, where it frees what was removed.
    Close,
}

impl Work {
    /// Whether it makes something durable.
    const fn is_sync(self) -> bool {
        matches!(self, Self::Sync | Self::SyncSystem)
    }
}

/// The states of a worker.
const IDLE: u32 = 0;
const GIVEN: u32 = 1;
const ENDED: u32 = 2;

/// What a thread and the loop share. Who may use it is said by `state`: the loop unless a job is [`GIVEN`].
#[derive(Debug)]
struct Worker {
    state: AtomicU32,
    job: UnsafeCell<(Work, RawFd)>,
    /// The number of the error, 0: it went well.
    errno: AtomicI32,
    /// Bytes that were stored.
    stored: AtomicU32,
    /// The pipe that an end is told through.
    pipe: RawFd,
}

// SAFETY: `job` is written and read by turns, which `state` hands over (release, acquire).
unsafe impl Sync for Worker {}

#[derive(Debug)]
struct Job<T> {
    number: u32,
    work: Work,
    file: RawFd,
    tag: T,
    /// The place of the worker that has it, and since when.
    given: Option<(usize, Instant)>,
}

/// How a job ended.
#[derive(Clone, Copy, Debug)]
pub struct End<T> {
    /// What was given with it.
    pub tag: T,
    /// What came of it.
    pub result: Result<(), Errno>,
    /// Of a [`Work::Store`], bytes that were stored, also where it failed.
    pub stored: u32,
    /// How long it took, in whole milliseconds.
    pub took: Duration,
}

/// The threads, and the jobs that have not ended. `T` tells the owner what a job was.
#[derive(Debug)]
pub struct Workers<T> {
    workers: heapless::Vec<&'static Worker, WORKER_COUNT>,
    /// Those that have not ended, oldest first.
    jobs: heapless::Vec<Job<T>, JOB_COUNT>,
    /// How many there ever were.
    taken: u32,
    /// Stacks of threads that are not there yet.
    stacks: &'static mut [u8],
    pipe: (File, File),
}

impl<T: Copy> Workers<T> {
    /// None yet: threads are made when there are jobs. `None`: the host has no pipes, or nothing that they could sleep by.
    pub fn new() -> Option<Self> {
        wake(&AtomicU32::new(IDLE)).ok()?;
        Some(Self {
            workers: heapless::Vec::new(),
            jobs: heapless::Vec::new(),
            taken: 0,
            stacks: mem::bytes(WORKER_COUNT * WORKER_STACK_BYTES),
            pipe: fs::pipe().ok()?,
        })
    }

    /// What is readable when a job has ended.
    pub fn told(&self) -> RawFd {
        self.pipe.0.as_raw_fd()
    }

    /// The number of jobs that were ever taken.
    pub const fn taken(&self) -> u32 {
        self.taken
    }

    /// Whether all of the first so many have ended that make something durable.
    pub fn has_synced(&self, count: u32) -> bool {
        let is_before = |number: u32| (number.wrapping_sub(count) as i32) < 0;
        let mut jobs = self.jobs.iter();
        !jobs.any(|job| job.work.is_sync() && is_before(job.number))
    }

    /// Whether the job of this number, from 0, has ended.
    pub fn has_ended(&self, number: u32) -> bool {
        !self.jobs.iter().any(|job| job.number == number)
    }

    /// Whether something is being closed.
    pub fn is_freeing(&self) -> bool {
        self.jobs.iter().any(|job| job.work == Work::Close)
    }

    /// Whether a job for which `is_same` holds waits for a thread: what was done meanwhile is part of it.
    pub fn waits(&mut self, is_same: impl Fn(&T) -> bool) -> Option<&mut T> {
        let mut waiting = self.jobs.iter_mut();
        let found = waiting.find(|job| job.given.is_none() && is_same(&job.tag));
        found.map(|job| &mut job.tag)
    }

    /// Takes a job; whether it could: there is a place, and a thread. The file is a number of the job's own.
    pub fn take(&mut self, work: Work, file: RawFd, tag: T, now: Instant) -> bool {
        let job = Job {
            number: self.taken,
            work,
            file,
            tag,
            given: None,
        };
        if self.jobs.is_full() || !self.has_thread() || self.jobs.push(job).is_err() {
            return false;
        }
        self.taken = self.taken.wrapping_add(1);
        self.give(now);
        true
    }

    /// Whether there is a thread that is idle, or can be; or one at all.
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
        // Where one cannot be made no other is tried.
        let started = clone::start(stack, worker).is_ok() && self.workers.push(worker).is_ok();
        if !started {
            self.stacks = &mut [];
        }
        started
    }

    /// Gives jobs that wait to threads that are idle.
    fn give(&mut self, now: Instant) {
        let waiting = self.jobs.iter_mut();
        let mut waiting = waiting.filter(|job| job.given.is_none());
        for (place, worker) in self.workers.iter().enumerate() {
            if worker.state.load(Ordering::Acquire) != IDLE {
                continue;
            }
            let Some(job) = waiting.next() else { return };
            job.given = Some((place, now));
            // SAFETY: the thread is idle, and does not look until it is given a job.
            unsafe { *worker.job.get() = (job.work, job.file) };
            worker.state.store(GIVEN, Ordering::Release);
            let _ = wake(&worker.state);
        }
    }

    /// Takes what was told, or all but what is told again. Only then are ends collected by whom it is told to, so that none is missed.
    pub fn take_told(&self) {
        let _ = fs::read(self.told(), &mut [0; JOB_COUNT]);
    }

    /// Tells the loop to look.
    pub fn tell(&self) {
        tell(self.pipe.1.as_raw_fd());
    }

    /// Calls `each` for every job that has ended since the last time, and its number in the order of all.
    pub fn collect(&mut self, now: Instant, each: &mut dyn FnMut(u32, &End<T>)) {
        let Self { workers, jobs, .. } = self;
        jobs.retain(|job| {
            let given = job
                .given
                .and_then(|(place, begun)| Some((workers.get(place)?, begun)));
            let Some((worker, begun)) = given else {
                return true;
            };
            if worker.state.load(Ordering::Acquire) != ENDED {
                return true;
            }
            let result = match worker.errno.load(Ordering::Relaxed) {
                0 => Ok(()),
                errno => Err(Errno::from_raw_os_error(errno)),
            };
            let stored = worker.stored.load(Ordering::Relaxed);
            worker.state.store(IDLE, Ordering::Relaxed);
            let (tag, took) = (job.tag, now.since(begun));
            let end = End {
                tag,
                result,
                stored,
                took,
            };
            each(job.number, &end);
            false
        });
        self.give(now);
    }

    /// Sleeps until a job has ended.
    pub fn wait(&self) {
        let _ = super::sleep(&mut [PollFd::new(&self.pipe.0, PollFlags::IN)], None);
    }
}

/// What a thread does: jobs, for as long as the process lives.
extern "C" fn work(worker: &Worker) -> ! {
    loop {
        while worker.state.load(Ordering::Acquire) != GIVEN {
            sleep_unless_changed(&worker.state);
        }
        // SAFETY: it was given, and stays as it is until it has ended.
        let (work, file) = unsafe { *worker.job.get() };
        let mut stored = 0;
        let result = match work {
            Work::Sync => fs::sync(file),
            Work::SyncSystem => fs::syncfs(file),
            Work::Read { offset, len } => fs::read_into_cache(file, offset, len),
            Work::Store {
                pipe,
                offset,
                len,
                user,
            } => store(pipe, file, offset, len, user, &mut stored),
            Work::Close => Ok(()),
        };
        fs::close(file);
        let errno = result.map_or_else(Errno::raw_os_error, |()| 0);
        worker.errno.store(errno, Ordering::Relaxed);
        worker.stored.store(stored, Ordering::Relaxed);
        worker.state.store(ENDED, Ordering::Release);
        tell(worker.pipe);
    }
}

/// Moves bytes from a pipe to a file; how many is `stored`, also after an error.
fn store(
    pipe: RawFd,
    file: RawFd,
    offset: u64,
    len: u32,
    user: Option<u32>,
    stored: &mut u32,
) -> Result<(), Errno> {
    if !user.is_none_or(fsuid::set_thread_user) {
        return Err(Errno::ACCESS);
    }
    while *stored < len {
        let mut at = offset + u64::from(*stored);
        match fs::splice(pipe, None, file, Some(&mut at), (len - *stored) as usize) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => *stored += count as u32,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn tell(pipe: RawFd) {
    // SAFETY: the kernel reads a byte. A pipe that is full has told enough.
    unsafe { raw_syscall!(Sysno::write, pipe, c"".as_ptr(), 1) };
}

const FUTEX_WAIT_PRIVATE: usize = 128;
const FUTEX_WAKE_PRIVATE: usize = 129;

/// Sleeps until [`wake`] is called, if `state` is not [`GIVEN`]; perhaps shorter.
fn sleep_unless_changed(state: &AtomicU32) {
    let seen = state.load(Ordering::Acquire);
    if seen != GIVEN {
        // SAFETY: the kernel reads the number, whose state outlives the call; no timeout.
        unsafe { raw_syscall!(Sysno::futex, state.as_ptr(), FUTEX_WAIT_PRIVATE, seen, 0) };
    }
}

fn wake(state: &AtomicU32) -> Result<(), Errno> {
    // SAFETY: the kernel looks for who sleeps at this address, and reads nothing.
    outcome(unsafe { raw_syscall!(Sysno::futex, state.as_ptr(), FUTEX_WAKE_PRIVATE, 1) }).map(drop)
}

/// clone(2): the calls of each processor. The new thread begins behind the call with the same registers, but on its own stack,
/// which has nothing to return to: it calls [`work`] there, for ever.
mod clone {
    use super::{Errno, Worker, outcome, work};
    use core::arch::asm;

    /// CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM: a thread as POSIX has them.
    const FLAGS: usize = 0x100 | 0x200 | 0x400 | 0x800 | 0x1_0000 | 0x4_0000;

    /// Starts a thread that works for `worker` on `stack`.
    pub(super) fn start(stack: &'static mut [u8], worker: &'static Worker) -> Result<(), Errno> {
        // As the ABI of each wants it at a call, with room for an argument.
        let top = (stack.as_mut_ptr_range().end as usize & !15) - 16;
        // SAFETY: the word lies in the stack.
        unsafe { (top as *mut &Worker).write(worker) };
        let returned: usize;
        // SAFETY: the stack is the thread's own for ever, and so is what it needs; the caller's registers are as they were.
        #[cfg(target_arch = "x86_64")]
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
        #[cfg(target_arch = "x86")]
        // SAFETY: as above. ebx is the compiler's own, so it is lent.
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
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
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
        #[cfg(target_arch = "arm")]
        // SAFETY: as above. r7 may be the compiler's own, so it is kept.
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
        outcome(returned).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys;
    use std::fs as files;
    use std::os::fd::IntoRawFd as _;

    fn file(name: &str) -> (RawFd, std::path::PathBuf) {
        let path = std::env::temp_dir().join(format!("stowaway-{name}-{}", std::process::id()));
        files::write(&path, b"data").unwrap();
        (files::File::open(&path).unwrap().into_raw_fd(), path)
    }

    /// Waits until all have ended; what is told of them, by their numbers.
    fn ends(workers: &mut Workers<u32>) -> Vec<(u32, u32, Result<(), Errno>)> {
        let mut ends = Vec::new();
        while !workers.jobs.is_empty() {
            workers.wait();
            workers.take_told();
            workers.collect(sys::now(), &mut |number, end| {
                ends.push((number, end.tag, end.result));
            });
        }
        ends.sort_unstable_by_key(|end| end.0);
        ends
    }

    #[test]
    fn jobs_are_carried_out_and_told_of() {
        let mut workers = Workers::new().unwrap();
        let (own, path) = file("jobs");
        let open = |_| files::File::open(&path).unwrap().into_raw_fd();
        let read = Work::Read {
            offset: 1,
            len: 1 << 20,
        };
        let kinds = [Work::Sync, Work::SyncSystem, read, Work::Close];
        for (tag, work) in (0..).zip(kinds) {
            assert!(workers.take(work, open(()), tag, sys::now()));
        }
        // No file at all.
        assert!(workers.take(Work::Sync, -1, 9, sys::now()));
        assert_eq!(workers.taken(), 5);
        let told = ends(&mut workers);
        assert!((0..5).all(|number| workers.has_ended(number)) && workers.has_synced(5));
        let results = [Ok(()), Ok(()), Ok(()), Ok(()), Err(Errno::BADF)];
        for (at, (number, tag, result)) in told.into_iter().enumerate() {
            assert_eq!((number as usize, result), (at, results[at]));
            assert_eq!(tag, if at == 4 { 9 } else { at as u32 });
        }
        fs::close(own);
        files::remove_file(path).unwrap();
    }

    #[test]
    fn thousands_come_and_go_and_too_many_are_refused() {
        let mut workers = Workers::new().unwrap();
        // It has no way to a disk.
        let own = files::File::open("/proc/self/stat").unwrap().into_raw_fd();
        let (mut taken, mut refused) = (0, 0);
        while taken < 5000 {
            let duplicate = fs::dup::<Errno>(own).unwrap();
            if workers.take(Work::Sync, duplicate, taken, sys::now()) {
                taken += 1;
            } else {
                fs::close(duplicate);
                refused += 1;
                workers.wait();
                workers.take_told();
                workers.collect(sys::now(), &mut |_, _| {});
            }
        }
        ends(&mut workers);
        assert_eq!(workers.taken(), taken);
        assert!(refused > 0, "there is room for all");
        fs::close(own);
    }
}
