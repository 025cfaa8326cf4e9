//! Processes and signals: fork, wait, and signals as something to read.

use super::files::File;
use super::{Errno, outcome};
use crate::time::Duration;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Resource, Rlimit, Signal};
use syscalls::{Sysno, raw_syscall};

/// Ends the process, all of it.
pub fn exit(code: i32) -> ! {
    // SAFETY: takes a number, returns never.
    unsafe { raw_syscall!(Sysno::exit_group, code) };
    loop {
        core::hint::spin_loop();
    }
}

/// A reader that is gone and a file that may not grow are errors of the write, never the end of the process.
pub(super) fn ignore_failed_writes() {
    const SIGPIPE: usize = 13;
    const SIGXFSZ: usize = 25;
    // The kernel's sigaction: handler (1 = ignore), flags, restorer, mask. Eight words are enough on every architecture.
    let ignore: [usize; 8] = [1, 0, 0, 0, 0, 0, 0, 0];
    for signal in [SIGPIPE, SIGXFSZ] {
        // SAFETY: the kernel reads the structure and writes nothing.
        unsafe { raw_syscall!(Sysno::rt_sigaction, signal, ignore.as_ptr(), 0, 8) };
    }
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
pub fn signals(children: bool) -> Option<File> {
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
    let signalled = File::opened(made).ok();
    if signalled.is_none() {
        mask(Block::Off, signals);
    }
    signalled
}

/// Sleeps until `listener` has something, a signal comes or `timeout` is over; true when a signal asks the process to stop.
pub fn wait_for_guest(
    signals: Option<&File>,
    listener: Option<&File>,
    timeout: Option<Duration>,
) -> bool {
    // Where there is but one, it is watched twice.
    let _ = match (signals.or(listener), listener.or(signals)) {
        (Some(one), Some(other)) => {
            let mut watched = [one, other].map(|file| PollFd::new(file, PollFlags::IN));
            super::sleep(&mut watched, timeout)
        }
        _ => super::sleep(&mut [], timeout),
    };
    signals.is_some_and(asks_to_stop)
}

/// Takes a signal that may have come; whether it asks the process to stop.
fn asks_to_stop(signals: &File) -> bool {
    let mut info = [MaybeUninit::<u8>::uninit(); 128];
    let read = rustix::io::read(signals, &mut info[..]);
    // The signal's number comes first.
    let number = read.ok().and_then(|(info, _)| info.first_chunk().copied());
    number.is_some_and(|number| u32::from_ne_bytes(number) != SIGCHLD)
}

/// Sleeps until a signal comes or `timeout` is over; true when the signal asks the process to stop.
pub fn wait_for_stop(signals: Option<&File>, timeout: Option<Duration>) -> bool {
    wait_for_guest(signals, None, timeout)
}

const SIGCHLD: u32 = 17;

/// The number of a process that this one made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Child(i32);

/// Whether [`fork`] made this process.
static HAS_SUPERVISOR: AtomicBool = AtomicBool::new(false);

/// Has this process end when the one does that made it by [`fork`]. The kernel forgets it whenever a process changes as whom
/// it touches files.
pub(super) fn follow_supervisor() {
    if HAS_SUPERVISOR.load(Ordering::Relaxed) {
        let _ = rustix::process::set_parent_process_death_signal(Some(Signal::TERM));
    }
}

/// Splits the process in two. The new one gets `None`, and ends when the old one does.
pub fn fork() -> Result<Option<Child>, Errno> {
    let parent = rustix::process::getpid();
    // SAFETY: one thread and a copied address space: the child goes on with everything as it was.
    let made = outcome(unsafe { raw_syscall!(Sysno::clone, SIGCHLD, 0, 0, 0, 0) })?;
    if made != 0 {
        return Ok(Some(Child(made as i32)));
    }
    mask(Block::Off, STOP_SIGNALS | CHILD_SIGNAL);
    HAS_SUPERVISOR.store(true, Ordering::Relaxed);
    follow_supervisor();
    if rustix::process::getppid() != Some(parent) {
        exit(1); // The parent died before the line above.
    }
    Ok(None)
}

/// A child that has ended: the status it exited with, or −1 when it was killed. Does not wait.
pub fn reap_any() -> Option<(Child, i32)> {
    const WNOHANG: usize = 1;
    let mut status = 0i32;
    // SAFETY: the kernel writes one number.
    let ended = unsafe { raw_syscall!(Sysno::wait4, -1isize, &raw mut status, WNOHANG, 0) };
    let child = outcome(ended).ok().filter(|child| *child > 0)?;
    let status = if status & 0x7f == 0 {
        status >> 8 & 0xff
    } else {
        -1
    };
    Some((Child(child as i32), status))
}

/// Whether `child` has ended, as [`reap_any`].
///
/// Takes leave of others too that have ended: the first process of a container inherits those of all its descendants.
pub fn reap(child: Child) -> Option<i32> {
    core::iter::from_fn(reap_any).find_map(|(ended, status)| (ended == child).then_some(status))
}

/// Asks a child to stop, or ends it.
pub fn stop(child: Child, at_once: bool) {
    let signal = if at_once { 9 } else { 15 };
    // SAFETY: two numbers.
    unsafe { raw_syscall!(Sysno::kill, child.0, signal) };
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
