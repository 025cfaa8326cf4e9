//! Linux system calls that rustix lacks, or that not every supported kernel has.
//!
//! Fallbacks are here and nowhere else: the modern call, the substitute where it is missing, and how the choice is remembered.

pub mod daemon;
pub mod defmt_sink;
pub mod destinations;
pub mod epoll;
pub mod fs;
pub mod fsuid;
pub mod init;
pub mod interfaces;
pub mod link;
pub mod logger;
pub mod memory;
pub mod multicast;
pub mod optional;
pub mod probe;
pub mod process;
mod rows;
pub mod sandbox;
pub mod shared;
pub mod sockets;
mod stack;
pub mod start;
pub mod stdio;
pub mod workers;

use crate::config::HAS_SERVE;
use crate::mem::nth;
pub use rustix::event as poll;
pub use rustix::fd;

pub use defmt_sink::trace_to;
pub use memory::region;
pub use process::{descriptor_limit, exit, hold_streams, raise_descriptor_limit};

use crate::time::{Duration, Instant};
use core::sync::atomic::{AtomicU32, Ordering};
use rustix::event::PollFd;

/// Errors of system calls.
pub use rustix::io::Errno;

/// Converts the return value of a raw system call. Any negative value is an error, which is cheaper to test than the range -4095 to
/// -1; no call used here returns so large a success.
fn outcome(returned: usize) -> Result<usize, Errno> {
    if (returned as isize) < 0 {
        // SAFETY: the kernel returns no errors below -4095.
        unsafe { core::hint::assert_unchecked(returned as isize >= -4095) };
    }
    syscalls::Errno::from_ret(returned).map_err(|errno| Errno::from_raw_os_error(errno.into_raw()))
}

/// The monotonic clock.
pub fn now() -> Instant {
    const CLOCK_MONOTONIC: usize = 1;
    let (secs, nanos) = clock(CLOCK_MONOTONIC);
    Instant::from_ms(secs as u64 * 1000 + u64::from(nanos) / 1_000_000)
}

/// Wall clock, for file times: seconds and nanoseconds since 1970.
pub fn wall_clock() -> (i64, u32) {
    const CLOCK_REALTIME: usize = 0;
    clock(CLOCK_REALTIME)
}

/// Makes the system call clock_gettime. rustix would use the vDSO instead, which needs a parser; that is too much code for one
/// faster call per turn.
fn clock(which: usize) -> (i64, u32) {
    // clock_gettime64 exists since Linux 5.1 and returns times after 2038. A kernel may be built without the older call.
    #[cfg(target_pointer_width = "32")]
    {
        let mut time = [0i64; 2];
        // SAFETY: the kernel writes two numbers of 64 bits.
        let result = unsafe {
            syscalls::raw_syscall!(syscalls::Sysno::clock_gettime64, which, time.as_mut_ptr())
        };
        if outcome(result).is_ok() {
            return (time[0], time[1] as u32);
        }
    }
    #[repr(C)]
    #[derive(Default)]
    struct Timespec {
        secs: isize,
        nanos: isize,
    }
    let mut time = Timespec::default();
    // SAFETY: the kernel writes two words: `struct timespec` has this layout on every architecture.
    unsafe { syscalls::raw_syscall!(syscalls::Sysno::clock_gettime, which, &raw mut time) };
    (time.secs as i64, time.nanos as u32)
}

/// Longest sleep (ms) where the host refuses both ppoll and poll: callers then look at their descriptors again.
const BLIND_SLEEP_MS: u64 = 10;

/// Sleeps until a descriptor of `watched` is ready or `timeout` is over; without a timeout, indefinitely. If the host refuses ppoll
/// and poll, fails after `BLIND_SLEEP_MS` at most.
pub fn sleep(watched: &mut [PollFd<'_>], timeout: Option<Duration>) -> Result<(), Errno> {
    #[cfg(target_pointer_width = "64")]
    let returned = {
        let (first, count) = (watched.as_mut_ptr(), watched.len());
        let words = timeout.map(|timeout| {
            let ms = timeout.as_ms();
            [(ms / 1000) as usize, (ms % 1000 * 1_000_000) as usize]
        });
        let at = words
            .as_ref()
            .map_or(core::ptr::null(), |words| words.as_ptr());
        // SAFETY: the kernel reads the timeout, if any, and writes to `count` structures, whose layout is the kernel's.
        unsafe { syscalls::raw_syscall!(optional::PPOLL, first, count, at, 0) }
    };
    // Some sandboxes refuse ppoll.
    #[cfg(target_arch = "x86_64")]
    let returned = match outcome(returned) {
        Err(Errno::NOSYS | Errno::PERM) => poll_ms(watched, timeout),
        _ => returned,
    };
    // Old kernels lack the ppoll with a 64-bit timespec, and new kernels may lack the ppoll with a 32-bit one.
    #[cfg(target_pointer_width = "32")]
    let returned = poll_ms(watched, timeout);
    let slept = outcome(returned).map(drop);
    if matches!(slept, Err(Errno::NOSYS | Errno::PERM)) {
        let ms = timeout.map_or(BLIND_SLEEP_MS, |timeout| {
            timeout.as_ms().min(BLIND_SLEEP_MS)
        });
        let pause = [0, ms as usize * 1_000_000];
        // SAFETY: the kernel reads two words.
        unsafe { syscalls::raw_syscall!(syscalls::Sysno::nanosleep, pause.as_ptr(), 0) };
    }
    slept
}

/// Makes the system call poll, whose timeout is a number of milliseconds. aarch64 lacks the call.
#[cfg(not(target_arch = "aarch64"))]
fn poll_ms(watched: &mut [PollFd<'_>], timeout: Option<Duration>) -> usize {
    let (first, count) = (watched.as_mut_ptr(), watched.len());
    let ms = timeout.map_or(-1, |timeout| timeout.as_ms().min(i32::MAX as u64) as i32);
    // SAFETY: the kernel writes to `count` structures, whose layout is the kernel's.
    unsafe { syscalls::raw_syscall!(syscalls::Sysno::poll, first, count, ms) }
}

/// Fills `out` by getrandom, else from /dev/urandom, else by [`seed`].
pub fn entropy(out: &mut [u8; 16]) {
    // SAFETY: the kernel writes at most `out.len()` bytes to `out`.
    let got =
        unsafe { syscalls::raw_syscall!(optional::GETRANDOM, out.as_mut_ptr(), out.len(), 0) };
    if outcome(got) == Ok(out.len()) {
        return;
    }
    let device = fs::File::open::<Errno>(c"/dev/urandom", rustix::fs::OFlags::RDONLY, 0);
    let read = device.and_then(|device| rustix::io::read(device, &mut out[..]));
    if read != Ok(out.len()) {
        *out = seed();
    }
}

/// The bytes of AT_RANDOM, else the time and the PID: they differ at every start, but are not for secrets.
pub fn seed() -> [u8; 16] {
    stack::auxiliary_random().unwrap_or_else(|| {
        let (secs, nanos) = wall_clock();
        let process = rustix::process::getpid().as_raw_pid() as u32;
        let high = secs as u64 ^ u64::from(process) << 32;
        (u128::from(high) << 64 | u128::from(nanos)).to_ne_bytes()
    })
}

/// Writes to standard error; output that the reader does not accept soon is dropped.
pub fn console(bytes: &[u8]) {
    let _ = log(bytes, bytes);
}

/// Writes a line to the log, and its message to the process that has started this daemon and still waits.
///
/// # Errors
/// The first error of a logger or a log file since its last success.
pub fn log(line: &[u8], message: &[u8]) -> Result<(), Errno> {
    if HAS_SERVE {
        return daemon::write(line, message);
    }
    stdio::Stdio::Error.offer(line);
    Ok(())
}

/// Opens a log file again, in case another program has renamed it.
///
/// # Errors
/// Those of open(2): lines still go to the old file.
pub fn reopen_log() -> Result<(), Errno> {
    if HAS_SERVE {
        return daemon::reopen();
    }
    Ok(())
}

/// Path of the log file, else of the socket of the system logger; empty: the log is standard error or another host's.
pub fn log_path() -> &'static [u8] {
    daemon::path().to_bytes()
}

/// Writes a message about the log itself to the standard error that the log has replaced.
pub fn report(message: &[u8]) {
    if HAS_SERVE {
        daemon::report(message);
    }
}

/// Writes all of `bytes` to standard output. Returns false if the write fails.
pub fn print(bytes: &[u8]) -> bool {
    stdio::Stdio::print(bytes)
}

/// Returns true if standard error is a terminal.
pub fn is_terminal() -> bool {
    // SAFETY: the descriptor 2 is open for the whole life of the process (`hold_streams`).
    rustix::termios::isatty(unsafe { rustix::fd::BorrowedFd::borrow_raw(2) })
}

/// Returns true if standard error is systemd's journal: JOURNAL_STREAM has its device and inode. sd-daemon(3).
pub fn is_journal() -> bool {
    let Some(text) = variable(b"JOURNAL_STREAM=") else {
        return false;
    };
    let number = |part| {
        let digits = nth(text, b':', part).iter();
        digits.fold(0_u64, |number, digit| {
            let digit = u64::from(digit.wrapping_sub(b'0'));
            number.wrapping_mul(10).wrapping_add(digit)
        })
    };
    daemon::standard_error_id() == Some([number(0), number(1)])
}

/// UID and GID of [`became`]; [`SAME`]: those of the start.
static OWN_IDS: [AtomicU32; 2] = [const { AtomicU32::new(SAME) }; 2];
const SAME: u32 = u32::MAX;

/// Records the UID and GID that this process has from now on.
fn became(user: u32, group: u32) {
    let [own_user, own_group] = &OWN_IDS;
    own_user.store(user, Ordering::Relaxed);
    own_group.store(group, Ordering::Relaxed);
}

/// The effective UID.
pub fn user_id() -> u32 {
    const AT_EUID: usize = 12;
    #[cfg(any(target_arch = "x86", target_arch = "arm"))]
    const READ: syscalls::Sysno = syscalls::Sysno::geteuid32;
    #[cfg(not(any(target_arch = "x86", target_arch = "arm")))]
    const READ: syscalls::Sysno = syscalls::Sysno::geteuid;
    let [own, _] = &OWN_IDS;
    id(own, AT_EUID, READ)
}

/// The effective GID.
pub fn group_id() -> u32 {
    const AT_EGID: usize = 14;
    #[cfg(any(target_arch = "x86", target_arch = "arm"))]
    const READ: syscalls::Sysno = syscalls::Sysno::getegid32;
    #[cfg(not(any(target_arch = "x86", target_arch = "arm")))]
    const READ: syscalls::Sysno = syscalls::Sysno::getegid;
    let [_, own] = &OWN_IDS;
    id(own, AT_EGID, READ)
}

/// An id of the process: the one that it became, else from the auxiliary vector, else by the system call `call`, which fails on
/// some hosts. If all lack it, 65534: the process then does not act as root.
fn id(own: &AtomicU32, kind: usize, call: syscalls::Sysno) -> u32 {
    const UNKNOWN: usize = 65534;
    let own = own.load(Ordering::Relaxed);
    if own != SAME {
        return own;
    }
    let found = stack::auxiliary(kind).map_or_else(
        // SAFETY: the call takes no arguments.
        || outcome(unsafe { syscalls::raw_syscall!(call) }),
        Ok,
    );
    found.unwrap_or(UNKNOWN) as u32
}

/// The name by which the process was started (`argv[0]`); empty if there is none.
pub fn program_name() -> &'static core::ffi::CStr {
    stack::program_name()
}

/// Value of the environment variable `name`, which ends with "=".
pub fn variable(name: &[u8]) -> Option<&'static [u8]> {
    stack::environment().find_map(|text| text.to_bytes().strip_prefix(name))
}

/// Copies the host name of uname(2) to `out`, truncated; returns the number of bytes.
pub fn host_name(out: &mut [u8]) -> usize {
    let system = rustix::system::uname();
    let name = system.nodename().to_bytes();
    out.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
    name.len().min(out.len())
}

/// MAC address of the first interface that has one of six bytes.
pub fn hardware_address() -> Option<[u8; 6]> {
    let mut all = super::interface::Interfaces::default();
    interfaces::list(&mut all);
    all.iter().find_map(|interface| interface.hardware)
}

/// The path of the current directory. getcwd(2).
pub fn current_dir(out: &mut [u8]) -> Option<usize> {
    fs::getcwd::<Errno>(out).ok().map(|len| len as usize)
}
