//! Processes and signals: fork, wait, and signals as something to read.

use super::{Errno, outcome};
use core::mem::MaybeUninit;
use rustix::fd::{FromRawFd as _, OwnedFd};
use rustix::process::{Pid, Resource, Rlimit, Signal};
use syscalls::{Sysno, raw_syscall};

/// Ends the process, all of it.
pub fn exit(code: i32) -> ! {
    // SAFETY: takes a number, returns never.
    unsafe { raw_syscall!(Sysno::exit_group, code) };
    loop {
        core::hint::spin_loop();
    }
}

/// A peer or reader that is gone is an error of the write, never the end of the process.
pub(super) fn ignore_broken_pipes() {
    const SIGPIPE: usize = 13;
    // The kernel's sigaction: handler (1 = ignore), flags, restorer, mask. Eight words are enough on every architecture.
    let ignore: [usize; 8] = [1, 0, 0, 0, 0, 0, 0, 0];
    // SAFETY: the kernel reads the structure and writes nothing.
    unsafe { raw_syscall!(Sysno::rt_sigaction, SIGPIPE, ignore.as_ptr(), 0, 8) };
}

/// Signals that wait to be read.
#[derive(Clone, Copy, Debug)]
#[repr(usize)]
enum Block {
    On = 0,
    Off = 1,
}

const STOP_SIGNALS: u64 = 1 << (2 - 1) | 1 << (15 - 1); // SIGINT, SIGTERM
const CHILD_SIGNAL: u64 = 1 << (17 - 1); // SIGCHLD

fn mask(how: Block, signals: u64) {
    // SAFETY: the kernel reads eight bytes and writes nothing.
    unsafe {
        raw_syscall!(
            Sysno::rt_sigprocmask,
            how as usize,
            &raw const signals,
            0,
            8
        )
    };
}

/// A descriptor that becomes readable when the process should stop, or with `children` also when a child has ended.
///
/// Where the host has no signalfd there is none, and SIGTERM and SIGINT end the process as they always do.
pub fn signals(children: bool) -> Option<OwnedFd> {
    const CLOEXEC_NONBLOCK: usize = 0o2_004_000;
    let signals = STOP_SIGNALS | if children { CHILD_SIGNAL } else { 0 };
    mask(Block::On, signals);
    // SAFETY: the kernel reads eight bytes.
    let made = unsafe {
        raw_syscall!(
            Sysno::signalfd4,
            usize::MAX,
            &raw const signals,
            8,
            CLOEXEC_NONBLOCK
        )
    };
    match outcome(made) {
        // SAFETY: a new descriptor that nobody else knows.
        Ok(raw) => Some(unsafe { OwnedFd::from_raw_fd(raw as i32) }),
        Err(_) => {
            mask(Block::Off, signals);
            None
        }
    }
}

/// Reads one signal; true when it asks the process to stop.
pub fn asked_to_stop(signals: &OwnedFd) -> bool {
    const SIGCHLD: u32 = 17;
    let mut info = [MaybeUninit::<u8>::uninit(); 128];
    let read = rustix::io::read(signals, &mut info[..]);
    // The signal's number comes first.
    let number = read.ok().and_then(|(info, _)| info.first_chunk().copied());
    number.is_some_and(|number| u32::from_ne_bytes(number) != SIGCHLD)
}

/// Which side of a fork this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fork {
    /// The new process. It ends when its parent does.
    Child,
    /// The old one, and the number of the new one.
    Parent(Pid),
}

/// Splits the process in two.
pub fn fork() -> Result<Fork, Errno> {
    const SIGCHLD: usize = 17;
    let parent = rustix::process::getpid();
    // SAFETY: one thread and a copied address space: the child goes on with everything as it was.
    let made = outcome(unsafe { raw_syscall!(Sysno::clone, SIGCHLD, 0, 0, 0, 0) })?;
    if let Some(child) = Pid::from_raw(made as i32) {
        return Ok(Fork::Parent(child));
    }
    mask(Block::Off, STOP_SIGNALS | CHILD_SIGNAL);
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::TERM));
    if rustix::process::getppid() != Some(parent) {
        exit(1); // The parent died before the line above.
    }
    Ok(Fork::Child)
}

/// Descriptors the process may have, after asking for as many as the host allows.
pub fn descriptor_limit() -> usize {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let allowed = match rustix::process::setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    allowed.map_or(usize::MAX, |count| {
        usize::try_from(count).unwrap_or(usize::MAX)
    })
}
