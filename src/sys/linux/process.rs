//! Processes and signals: fork, exec, wait, signalfd or a pipe in its place.

use super::fs::{self, File};
use super::optional;
use super::{Errno, outcome};
use crate::mem::Ends as _;
use crate::time::Duration;
use core::ffi::CStr;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, Ordering};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use rustix::fs::OFlags;
use syscalls::{Sysno, raw_syscall};

/// Ends the process with all its threads.
pub fn exit(code: i32) -> ! {
    // SAFETY: the call does not return.
    unsafe { raw_syscall!(Sysno::exit_group, code) };
    loop {
        core::hint::spin_loop();
    }
}

const SIGPIPE: usize = 13;
const SIGXFSZ: usize = 25;

/// Effect of a write to a closed pipe or socket (SIGPIPE), or beyond the file size limit (SIGXFSZ).
#[derive(Clone, Copy)]
#[repr(usize)]
pub(super) enum FailedWrite {
    /// SIG_DFL: the signal ends the process.
    Ends = 0,
    /// SIG_IGN: the write fails with EPIPE or EFBIG.
    Fails = 1,
}

/// Sets the actions of SIGPIPE and SIGXFSZ.
pub(super) fn on_failed_write(what: FailedWrite) {
    act_on(SIGPIPE, what as usize, 0);
    act_on(SIGXFSZ, what as usize, 0);
}

/// Opens `O_PATH` descriptors until the standard streams from `first` to 2 are in use. Otherwise a file opened later would become
/// one of them: messages would be written into that file, and a daemon would close it. Returns false if the kernel lacks openat.
pub fn hold_streams(first: i32) -> bool {
    let mut stream = first;
    while stream <= 2 {
        // ENOTDIR: the descriptor is open. EBADF: it is closed.
        match fs::openat(stream, c".", OFlags::PATH, 0).map(File::of) {
            Err(Errno::NOSYS) => return false,
            Err(Errno::BADF) => match File::open::<Errno>(c"/", OFlags::PATH, 0) {
                Ok(held) => core::mem::forget(held),
                Err(_) => return true,
            },
            _ => stream += 1,
        }
    }
    true
}

/// Sets the action of a signal: SIG_DFL, SIG_IGN, or the address of a handler.
fn act_on(signal: usize, handler: usize, flags: usize) {
    // The kernel's sigaction: handler, flags, restorer, mask. Eight words are enough on every architecture.
    let action = [handler, flags | RESTORER, return_address(), 0, 0, 0, 0, 0];
    // SAFETY: the kernel only reads the structure. A handler is a function of ours.
    unsafe { raw_syscall!(Sysno::rt_sigaction, signal, action.as_ptr(), 0, 8) };
}

/// SA_RESTORER: `sigaction` has a return address. x86_64 requires one; the other kernels supply their own.
const RESTORER: usize = if cfg!(target_arch = "x86_64") {
    0x0400_0000
} else {
    0
};

/// Address to which signal handlers return.
#[cfg(target_arch = "x86_64")]
fn return_address() -> usize {
    /// Makes the system call rt_sigreturn, which continues the interrupted code.
    #[unsafe(naked)]
    extern "C" fn continue_interrupted() {
        core::arch::naked_asm!("mov eax, {}", "syscall", const Sysno::rt_sigreturn as u32)
    }
    continue_interrupted as extern "C" fn() as usize
}

#[cfg(not(target_arch = "x86_64"))]
const fn return_address() -> usize {
    0
}

/// How to change the signal mask: block or unblock signals, or block only these.
#[derive(Clone, Copy, Debug)]
#[repr(usize)]
enum Block {
    On = 0,
    Off = 1,
    Only = 2,
}

/// Empties the signal mask, which exec(2) keeps: a parent that blocks SIGTERM must not make this process deaf to it.
pub(super) fn unblock_signals() {
    mask(Block::Only, 0);
}

const STOP_SIGNALS: u64 = 1 << (2 - 1) | 1 << (15 - 1); // SIGINT, SIGTERM
const CHILD_SIGNAL: u64 = 1 << (17 - 1); // SIGCHLD
const HANG_UP_SIGNAL: u64 = 1; // SIGHUP
const ASK_SIGNAL: u64 = 1 << (23 - 1); // SIGURG
const FIGURES_SIGNAL: u64 = 1 << (10 - 1); // SIGUSR1
/// Signals that would end a process and mean nothing to a server: SIGUSR2, SIGALRM, SIGSTKFLT, SIGVTALRM, SIGPROF, SIGIO, SIGPWR,
/// and the real-time signals from 34 on. Those of faults, of limits and of the terminal keep their meaning.
const OTHER_SIGNALS: u64 =
    1 << (12 - 1) | 1 << (14 - 1) | 1 << (16 - 1) | 0b11 << (26 - 1) | 0b11 << (29 - 1) | !0 << 33;

fn mask(how: Block, signals: u64) {
    // SAFETY: the kernel only reads the eight bytes of the signal set.
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

/// A signalfd for SIGINT, SIGTERM and SIGURG; with `reload` also SIGHUP, with `children` SIGCHLD. The signals are blocked. If the
/// kernel has no signalfd (Linux before 2.6.27, VMkernel, FreeBSD), the read end of a pipe to which a signal handler writes.
///
/// Without `children`, SIGCHLD is ignored: the kernel then reaps this process's children, and the orphans that PID 1 inherits.
///
/// `None` if there is no pipe either; signals then keep their default actions, except that SIGHUP is ignored with `reload`.
pub fn signals(reload: bool, children: bool) -> Option<File> {
    let mut signals = STOP_SIGNALS | ASK_SIGNAL;
    if reload {
        signals |= HANG_UP_SIGNAL | FIGURES_SIGNAL;
        mask(Block::On, OTHER_SIGNALS);
        let mut before = [0usize; 8];
        // SAFETY: the kernel writes a sigaction, whose first word is the handler.
        unsafe { raw_syscall!(Sysno::rt_sigaction, SIGHUP, 0, before.as_mut_ptr(), 8) };
        IS_NOHUP.store(before[0] == HangUp::Ignored as usize, Ordering::Relaxed);
        act_on_hang_up(HangUp::Ignored);
    }
    if children {
        signals |= CHILD_SIGNAL;
    }
    act_on(SIGCHLD as usize, usize::from(!children), 0);
    signalfd(signals).or_else(|| handled(signals))
}

fn signalfd(signals: u64) -> Option<File> {
    const CLOEXEC_NONBLOCK: usize = 0o2_004_000;
    mask(Block::On, signals);
    // SAFETY: the kernel reads the eight bytes of the signal set.
    let made = unsafe {
        raw_syscall!(
            optional::SIGNALFD4,
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

/// Size of `struct signalfd_siginfo`, in words. Its first word is the number of the signal.
const SIGNAL_WORD_COUNT: usize = 32;

/// Write end of the pipe of [`handled`], or -1.
static SIGNAL_PIPE: AtomicI32 = AtomicI32::new(-1);

/// Installs a handler for `signals` that writes to a pipe; returns the pipe's read end, which behaves like a signalfd.
fn handled(signals: u64) -> Option<File> {
    /// SA_RESTART: interrupted calls are repeated.
    const RESTART: usize = 0x1000_0000;
    extern "C" fn write_signal(number: u32) {
        let (pipe, info) = (
            SIGNAL_PIPE.load(Ordering::Relaxed),
            [number; SIGNAL_WORD_COUNT],
        );
        // SAFETY: the kernel reads the words. A full pipe does not block.
        unsafe { raw_syscall!(Sysno::write, pipe, info.as_ptr(), size_of_val(&info)) };
    }
    let (from, to) = super::fs::pipe().ok()?;
    SIGNAL_PIPE.store(to.leak(), Ordering::Relaxed);
    act_on_all(
        signals,
        write_signal as extern "C" fn(u32) as usize,
        RESTART,
    );
    Some(from)
}

fn act_on_all(signals: u64, handler: usize, flags: usize) {
    for signal in (1..u64::BITS).filter(|signal| signals >> (signal - 1) & 1 != 0) {
        act_on(signal as usize, handler, flags);
    }
}

/// Gives a child process the default actions of the signals that its parent watches: unblocked, and not written to its pipe.
fn forget_signals() {
    unblock_signals();
    if SIGNAL_PIPE.load(Ordering::Relaxed) >= 0 {
        let handled = STOP_SIGNALS | CHILD_SIGNAL | ASK_SIGNAL | FIGURES_SIGNAL;
        act_on_all(handled, SIG_DFL, 0);
    }
}

const SIG_DFL: usize = 0;

/// Meaning of a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignalRequest {
    /// No signal, SIGCHLD or SIGURG.
    Nothing,
    /// SIGHUP: read files again.
    Reload,
    /// SIGUSR1: report the figures. A server without figures does nothing.
    Figures,
    /// SIGINT, SIGTERM.
    Stop,
}

/// Sleeps until a signal arrives or `timeout` is over.
pub fn wait_for_signal(signals: Option<&File>, timeout: Option<Duration>) -> SignalRequest {
    let mut watched = signals.map(|signals| PollFd::new(signals, PollFlags::IN));
    let _ = super::sleep(watched.as_mut_slice(), timeout);
    signals.map_or(SignalRequest::Nothing, |signals| {
        read_signal(signals.as_fd())
    })
}

/// Reads one signal from a signalfd, or from the pipe in its place.
pub fn read_signal(signals: BorrowedFd<'_>) -> SignalRequest {
    let mut info = MaybeUninit::<[u32; SIGNAL_WORD_COUNT]>::uninit();
    let number = info.as_mut_ptr().cast::<u32>();
    // SAFETY: the kernel writes at most the size of `info`.
    let read =
        unsafe { raw_syscall!(Sysno::read, signals.as_raw_fd(), number, size_of_val(&info)) };
    match outcome(read) {
        Err(_) => return SignalRequest::Nothing,
        // The end of a file: the kernel gave another descriptor, which never reports a signal.
        Ok(0) => return SignalRequest::Stop,
        Ok(_) => {}
    }
    // SAFETY: a read of a signalfd returns whole `signalfd_siginfo` structures; the signal number is their first field.
    match unsafe { number.read() } {
        SIGCHLD => SignalRequest::Nothing,
        SIGURG => {
            count_turn();
            SignalRequest::Nothing
        }
        SIGUSR1 => SignalRequest::Figures,
        SIGHUP => SignalRequest::Reload,
        _ => SignalRequest::Stop,
    }
}

/// Effect of SIGHUP.
#[derive(Clone, Copy)]
#[repr(usize)]
enum HangUp {
    /// SIG_DFL: the signal ends the process.
    Ends = 0,
    /// SIG_IGN. A signalfd still reports the signal while it is blocked.
    Ignored = 1,
}

/// True if this process was started with SIGHUP ignored, by nohup(1).
static IS_NOHUP: AtomicBool = AtomicBool::new(false);

fn act_on_hang_up(what: HangUp) {
    act_on(SIGHUP as usize, what as usize, 0);
}

/// Ignores SIGHUP, blocks signals that mean nothing to a server, and installs handlers for SIGINT and SIGTERM that exit with 0. They are needed in a container, where process 1 ignores signals
/// without a handler. The handler also closes the listening socket, except in a child process made by [`fork`]. SIGCHLD interrupts
/// poll(2).
pub fn stop_when_asked() {
    extern "C" fn stop(_: i32) -> ! {
        if !HAS_SUPERVISOR.load(Ordering::Relaxed) {
            super::sockets::stop_listening();
        }
        exit(0)
    }
    extern "C" fn wake(_: i32) {}
    let handler = stop as extern "C" fn(i32) -> ! as usize;
    mask(Block::On, OTHER_SIGNALS | FIGURES_SIGNAL);
    act_on(SIGCHLD as usize, wake as extern "C" fn(i32) as usize, 0);
    act_on_hang_up(HangUp::Ignored);
    act_on(2, handler, 0);
    act_on(15, handler, 0);
}

const SIGHUP: u32 = 1;
const SIGUSR1: u32 = 10;
const SIGCHLD: u32 = 17;
const SIGURG: u32 = 23;

/// PID of a child process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Child(i32);

impl Child {
    /// Returns the PID.
    pub const fn number(self) -> u32 {
        self.0 as u32
    }
}

/// True in a process made by [`fork`].
static HAS_SUPERVISOR: AtomicBool = AtomicBool::new(false);

/// The counter that a supervisor watches, or the time (seconds) that the listener of an SFTP session watches; or null.
static TURNS: AtomicPtr<AtomicU32> = AtomicPtr::new(core::ptr::null_mut());

/// Makes [`count_turn`] increment `turns`, which the supervisor reads.
pub fn count_turns_in(turns: Option<&'static AtomicU32>) {
    if let Some(turns) = turns {
        TURNS.store((&raw const *turns).cast_mut(), Ordering::Relaxed);
    }
}

/// Shows the supervisor, if there is one, that this process answered a client, or SIGURG.
pub fn count_turn() {
    // SAFETY: the pointer is null or was a static reference.
    if let Some(turns) = unsafe { TURNS.load(Ordering::Relaxed).as_ref() } {
        turns.fetch_add(1, Ordering::Relaxed);
    }
}

/// Makes [`mark_reply`] store times in `replied`, which the listener reads.
pub fn mark_replies_in(replied: &'static AtomicU32) {
    count_turns_in(Some(replied));
}

/// Shows the process that listens for this one's connection, if there is one, the time of a reply.
pub fn mark_reply() {
    // SAFETY: the pointer is null or was a static reference.
    if let Some(replied) = unsafe { TURNS.load(Ordering::Relaxed).as_ref() } {
        replied.store(super::now().secs(), Ordering::Relaxed);
    }
}

/// Returns true in the processes that a supervisor has started.
pub fn has_supervisor() -> bool {
    HAS_SUPERVISOR.load(Ordering::Relaxed)
}

/// Makes the kernel send SIGTERM to this process when its parent ends (PR_SET_PDEATHSIG). The kernel clears this setting at each
/// setfsuid(2).
pub(super) fn follow_supervisor() {
    if HAS_SUPERVISOR.load(Ordering::Relaxed) {
        follow_parent();
    }
}

fn follow_parent() {
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM));
}

/// Forks. Returns `None` in the child. The parent can wait for the child's status, also if it was started by a program that ignores
/// SIGCHLD, which exec(2) keeps.
pub fn split() -> Result<Option<Child>, Errno> {
    act_on(SIGCHLD as usize, SIG_DFL, 0);
    clone()
}

fn clone() -> Result<Option<Child>, Errno> {
    // SAFETY: the child has a copy of the process's memory, and none of its other threads, which hold no locks.
    let made = outcome(unsafe { raw_syscall!(Sysno::clone, SIGCHLD, 0, 0, 0, 0) })?;
    Ok((made != 0).then_some(Child(made as i32)))
}

/// Forks. Returns `None` in the child, which receives SIGTERM when the parent ends.
pub fn fork() -> Result<Option<Child>, Errno> {
    let parent = rustix::process::getpid();
    if let Some(child) = clone()? {
        return Ok(Some(child));
    }
    forget_signals();
    HAS_SUPERVISOR.store(true, Ordering::Relaxed);
    follow_parent();
    if rustix::process::getppid() != Some(parent) {
        exit(1); // The parent has ended before PR_SET_PDEATHSIG was set.
    }
    Ok(None)
}

/// Closes all descriptors but one, as a child that may hang must not hold those of its parent.
pub fn close_all_but(file: &File) {
    /// Descriptors that are closed one by one if the kernel has no close_range (before 5.9).
    const COUNT: usize = 1024;
    let kept = file.as_fd().as_raw_fd() as usize;
    for (first, last) in [(0, kept.saturating_sub(1)), (kept + 1, u32::MAX as usize)] {
        // SAFETY: nothing uses the descriptors any more.
        let closed = unsafe { raw_syscall!(optional::CLOSE_RANGE, first, last, 0) };
        if outcome(closed).is_err() {
            (first..=last.min(COUNT)).for_each(|number| super::fs::close(number as i32));
        }
    }
}

/// Runs the program at `path` without arguments. Its environment is `more` (NUL-terminated strings), then this process's variables,
/// except those that begin with `but`.
pub fn start(path: &CStr, more: &[u8], but: &[u8]) -> Result<Child, Errno> {
    if let Some(child) = clone()? {
        return Ok(child);
    }
    become_program(path, &[], more, but);
    exit(CANNOT_RUN)
}

/// Replaces this process by the program at `path`, with `words` as arguments after its name. The environment is that of [`start`].
/// Returns only if execve fails, with its error.
#[doc(alias = "execve")]
pub fn become_program(path: &CStr, words: &[&CStr], more: &[u8], but: &[u8]) -> Errno {
    forget_signals();
    on_failed_write(FailedWrite::Ends);
    if !IS_NOHUP.load(Ordering::Relaxed) {
        act_on_hang_up(HangUp::Ends);
    }
    let mut environment = [core::ptr::null(); ENVIRONMENT_COUNT_MAX];
    // Leaves the last pointer null, which ends the list.
    let (places, _) = environment.split_at_mut(ENVIRONMENT_COUNT_MAX - 1);
    let mut more = more;
    let more = core::iter::from_fn(|| {
        let text = crate::mem::c_str(more);
        more = more.tail(text.to_bytes_with_nul().len());
        Some(text.as_ptr()).filter(|_| !text.is_empty())
    });
    let own = super::stack::environment().filter(|text| !text.to_bytes().starts_with(but));
    for (place, text) in places.iter_mut().zip(more.chain(own.map(CStr::as_ptr))) {
        *place = text;
    }
    let mut arguments = [core::ptr::null(); ARGUMENT_COUNT_MAX + 1];
    let (places, _) = arguments.split_at_mut(ARGUMENT_COUNT_MAX);
    let words = words.iter().map(|word| word.as_ptr());
    let words = core::iter::once(path.as_ptr()).chain(words);
    for (place, word) in places.iter_mut().zip(words) {
        *place = word;
    }
    // SAFETY: the kernel reads NUL-terminated strings, and null-terminated lists of them.
    let result = unsafe {
        raw_syscall!(
            Sysno::execve,
            path.as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr()
        )
    };
    outcome(result).err().unwrap_or(Errno::NOEXEC)
}

/// Environment variables of a started program, at most.
const ENVIRONMENT_COUNT_MAX: usize = 512;
/// Arguments of a program that replaces this process, at most, with its name.
pub const ARGUMENT_COUNT_MAX: usize = 18;
/// Exit status of a child if execve failed, as in shells.
pub const CANNOT_RUN: i32 = 127;

/// Reaps a child that has ended; returns its exit status, or -1 if a signal killed it. With `waits`, blocks until a child ends.
pub fn reap_any(waits: bool) -> Option<(Child, i32)> {
    wait(-1, waits).ok()?
}

/// Reaps `child` if it has ended; returns its status like [`reap_any`], or -1 if it is no child of this process any more (ECHILD).
pub fn reap(child: Child) -> Option<i32> {
    match wait(child.0, false) {
        Ok(ended) => ended.map(|(_, status)| status),
        Err(errno) => (errno == Errno::CHILD).then_some(-1),
    }
}

/// Waits for the child with the PID `which`, -1: for any.
#[doc(alias = "wait4")]
fn wait(which: i32, blocks: bool) -> Result<Option<(Child, i32)>, Errno> {
    const WNOHANG: usize = 1;
    let (which, how, mut status) = (which as isize, if blocks { 0 } else { WNOHANG }, 0i32);
    // SAFETY: the kernel writes one number to `status`.
    let ended = outcome(unsafe { raw_syscall!(Sysno::wait4, which, &raw mut status, how, 0) })?;
    let status = if status & 0x7f == 0 {
        status >> 8 & 0xff
    } else {
        -1
    };
    Ok((ended > 0).then_some((Child(ended as i32), status)))
}

/// A signal to a child.
#[derive(Clone, Copy, Debug)]
#[repr(usize)]
pub enum Signal {
    /// SIGHUP: read files again.
    Reload = 1,
    /// SIGUSR1: report the figures.
    Figures = 10,
    /// SIGKILL.
    Kill = 9,
    /// SIGTERM.
    Stop = 15,
    /// SIGURG, which a process without a handler ignores: asks whether the child still runs its loop.
    Ask = 23,
}

/// Sends a child a signal. If it has ended, reaps it instead, and returns its status like [`reap`]: its PID may be that of another
/// process by now.
pub fn send_signal(child: Child, signal: Signal) -> Option<i32> {
    // SAFETY: no argument is an address.
    let held = File::opened(unsafe { raw_syscall!(optional::PIDFD_OPEN, child.0, 0) }).ok();
    // The PID is that of the child before and after pidfd_open, so the descriptor is the child's, too.
    let ended = reap(child);
    if ended.is_some() {
        return ended;
    }
    if let Some(held) = held {
        let (call, held) = (Sysno::pidfd_send_signal, held.as_raw_fd());
        // SAFETY: the null pointer stands for the usual information about a signal.
        let sent = outcome(unsafe { raw_syscall!(call, held, signal as usize, 0, 0) });
        if !matches!(sent, Err(Errno::NOSYS | Errno::PERM)) {
            return None;
        }
    }
    // SAFETY: the call takes no pointers.
    unsafe { raw_syscall!(Sysno::kill, child.0, signal as usize) };
    None
}

/// Sends SIGKILL to a child that was not reaped.
pub fn kill(child: u32) {
    // SAFETY: the call takes no pointers.
    unsafe { raw_syscall!(Sysno::kill, child, Signal::Kill as usize) };
}

/// RLIMIT_NOFILE.
const OPEN_FILES: usize = 7;

/// The soft and the hard limit of open descriptors. The call is older than prlimit64, which Linux before 2.6.36 and WSL 1 lack.
fn descriptor_limits() -> [usize; 2] {
    /// The limit that most hosts set, if it cannot be read.
    const USUAL: usize = 1024;
    #[cfg(any(target_arch = "x86", target_arch = "arm"))]
    const READ: Sysno = Sysno::ugetrlimit;
    #[cfg(not(any(target_arch = "x86", target_arch = "arm")))]
    const READ: Sysno = Sysno::getrlimit;
    let mut soft_and_hard = [USUAL; 2];
    // SAFETY: the kernel writes two words.
    unsafe { raw_syscall!(READ, OPEN_FILES, soft_and_hard.as_mut_ptr()) };
    soft_and_hard
}

/// The soft limit of open descriptors.
pub fn descriptor_limit() -> usize {
    let [soft, _] = descriptor_limits();
    soft
}

/// Raises the soft limit of open descriptors to the hard limit; returns the limit in effect.
pub fn raise_descriptor_limit() -> usize {
    let [soft, hard] = descriptor_limits();
    let (raised, set) = ([hard; 2], Sysno::setrlimit);
    // SAFETY: the kernel reads two words.
    let result = outcome(unsafe { raw_syscall!(set, OPEN_FILES, raised.as_ptr()) });
    if result.is_ok() { hard } else { soft }
}
