//! Linux, and what resembles it: system calls that rustix does not have, or not on every host.
//!
//! Fallbacks live here once: a modern call, what to do where it is missing, and how that is remembered.

pub mod defmt_sink;
pub mod epoll;
pub mod fs;
pub mod fsuid;
#[cfg(feature = "init")]
pub mod init;
pub mod interfaces;
#[cfg(feature = "smol")]
pub mod link;
pub mod memory;
pub mod multicast;
pub mod process;
pub mod sandbox;
#[cfg(feature = "serve")]
pub mod shared;
pub mod sockets;
mod stack;
pub mod start;
pub mod stdio;
pub mod workers;

pub use rustix::event as poll;
pub use rustix::fd;

pub use defmt_sink::trace_to;
pub use memory::region;
pub use process::{descriptor_limit, exit};

use crate::time::{Duration, Instant};
use rustix::event::PollFd;

/// Errors of system calls.
pub use rustix::io::Errno;

/// What a raw system call returned. None of ours returns so much that it would be negative, which takes more to tell apart.
fn outcome(returned: usize) -> Result<usize, Errno> {
    if (returned as isize) < 0 {
        // SAFETY: the kernel has no other errors.
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

/// The clock that files get their times from: seconds and nanoseconds since 1970.
pub fn wall_clock() -> (i64, u32) {
    const CLOCK_REALTIME: usize = 0;
    clock(CLOCK_REALTIME)
}

/// A raw call: rustix' own reads the vDSO, whose parser is larger than the time saved by it once a turn.
fn clock(which: usize) -> (i64, u32) {
    // Kernels since 5.1 have one that passes 2038; new ones may have no other.
    #[cfg(target_pointer_width = "32")]
    {
        let mut time = [0i64; 2];
        // SAFETY: the kernel writes two numbers of 64 bits.
        let told = unsafe {
            syscalls::raw_syscall!(syscalls::Sysno::clock_gettime64, which, time.as_mut_ptr())
        };
        if outcome(told).is_ok() {
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
    // SAFETY: the kernel writes two words, whose size is that of this call's timespec on every architecture.
    unsafe { syscalls::raw_syscall!(syscalls::Sysno::clock_gettime, which, &raw mut time) };
    (time.secs as i64, time.nanos as u32)
}

/// Sleeps until one of `watched` is ready or `timeout` is over. Without a timeout, for ever.
pub fn sleep(watched: &mut [PollFd<'_>], timeout: Option<Duration>) -> Result<(), Errno> {
    let (first, count) = (watched.as_mut_ptr(), watched.len());
    #[cfg(target_pointer_width = "64")]
    let returned = {
        let words = timeout.map(|timeout| {
            let ms = timeout.as_ms();
            [(ms / 1000) as usize, (ms % 1000 * 1_000_000) as usize]
        });
        let at = words
            .as_ref()
            .map_or(core::ptr::null(), |words| words.as_ptr());
        // SAFETY: the kernel reads two words, if there are any, and writes to so many of these structures, which are its own.
        unsafe { syscalls::raw_syscall!(syscalls::Sysno::ppoll, first, count, at, 0) }
    };
    // Of the calls with a timespec, old kernels lack the wide one, and new ones may lack the other.
    #[cfg(target_pointer_width = "32")]
    let returned = {
        let ms = timeout.map_or(-1, |timeout| timeout.as_ms().min(i32::MAX as u64) as i32);
        // SAFETY: the kernel writes to so many of these structures, which are its own.
        unsafe { syscalls::raw_syscall!(syscalls::Sysno::poll, first, count, ms) }
    };
    outcome(returned).map(drop)
}

/// Fills `out` from the kernel's entropy: getrandom, else /dev/urandom, else the 16 bytes that came with the process.
pub fn entropy(out: &mut [u8; 16]) {
    // SAFETY: the kernel writes at most `out.len()` bytes to `out`.
    let got = unsafe {
        syscalls::raw_syscall!(syscalls::Sysno::getrandom, out.as_mut_ptr(), out.len(), 0)
    };
    if outcome(got) == Ok(out.len()) {
        return;
    }
    let device = fs::File::open::<Errno>(c"/dev/urandom", rustix::fs::OFlags::RDONLY, 0);
    let read = device.and_then(|device| rustix::io::read(device, &mut out[..]));
    if read != Ok(out.len()) {
        *out = seed();
    }
}

/// 16 bytes that cannot be known outside this process, for what is no secret but has to differ from one start to the next.
pub fn seed() -> [u8; 16] {
    stack::auxiliary_random()
}

/// Writes to standard error what is taken soon.
pub fn console(bytes: &[u8]) {
    stdio::Stdio::Error.offer(bytes);
}

/// Writes all of `bytes` to standard output; false: it cannot be written.
pub fn print(bytes: &[u8]) -> bool {
    stdio::Stdio::print(bytes)
}

/// The effective user.
pub fn user_id() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// What the environment has behind this name and its "=".
#[inline(never)]
pub fn variable(name: &[u8]) -> Option<&'static [u8]> {
    stack::environment().find_map(|text| text.to_bytes().strip_prefix(name))
}

/// The host's name, as uname(2) has it.
pub fn host_name(out: &mut [u8]) -> usize {
    let system = rustix::system::uname();
    let name = system.nodename().to_bytes();
    out.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
    name.len().min(out.len())
}

/// The address of the first interface that has one of six bytes.
pub fn hardware_address() -> Option<[u8; 6]> {
    let mut all = super::interface::Interfaces::new();
    interfaces::list(&mut all);
    all.iter().find_map(|interface| interface.hardware)
}

/// The path of the current directory. getcwd(2).
pub fn current_dir(out: &mut [u8]) -> Option<usize> {
    fs::getcwd::<Errno>(out).ok().map(|len| len as usize)
}
