//! System calls on files. Each function has the name of the call, and takes descriptors as numbers: an invalid one is just an error
//! (EBADF).
//!
//! Generic over the error type, so that errno is mapped in one place. Each call is a jump to one shared function and takes a few
//! bytes where rustix takes dozens. Calls with 64-bit arguments on 32-bit machines use rustix, because their ABI differs by
//! architecture.

mod change;
mod directory;
mod handle;
mod io;
mod stat;
mod watch;

pub use change::{
    chmod, chown, link_entry, linkat, mkdirat, mknodat, renameat, set_times, symlinkat, truncate,
    unlinkat,
};
pub use directory::{DirectoryRecord, list};
pub use handle::{KernelHandle, file_id, name_to_handle_at, open_by_handle_at};
pub use io::{
    append, fsync, is_cached, pipe, pread, pread_cached, pwrite, read, read_into_cache, read_some,
    readlinkat, sendfile, set_pipe_size, splice, sync, syncfs, write,
};
pub use stat::may_write;
pub use stat::{
    Stat, Statx, blank, device, device_numbers, faccessat2, fsid, fstatat, fstatfs, is_mount_root,
    statx,
};
pub use watch::{Events, inotify, watch};

use super::optional;
use super::{Errno, outcome};
use crate::mem::Ends as _;
use core::ffi::CStr;
use core::mem::{MaybeUninit, transmute};
use core::sync::atomic::{AtomicI32, Ordering};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd as _, OwnedFd, RawFd};
use rustix::fs::OFlags;
use syscalls::{Sysno, raw_syscall};

/// Denotes the current directory in a call that takes a directory.
pub const AT_FDCWD: RawFd = -100;

/// An owned descriptor, closed on drop. `OwnedFd` would check at each call that the descriptor is valid.
#[derive(Debug)]
pub struct File(RawFd);

impl File {
    /// Wraps the return value of a call that opens a descriptor.
    #[inline(never)] // −46 bytes: nine callers.
    pub(super) fn opened(returned: usize) -> Result<Self, Errno> {
        Ok(Self(outcome(returned)? as RawFd))
    }

    /// The current directory. Closing it fails with EBADF.
    pub const fn current() -> Self {
        Self(AT_FDCWD)
    }

    /// Returns the descriptor without closing it.
    pub fn leak(self) -> RawFd {
        core::mem::ManuallyDrop::new(self).0
    }

    /// Takes ownership of a descriptor. A negative number becomes one that is never open: [`BorrowedFd`] must not be -1, and calls
    /// fail with EBADF all the same.
    pub const fn of(number: RawFd) -> Self {
        Self(if number < 0 { RawFd::MAX } else { number })
    }
}

impl From<OwnedFd> for File {
    fn from(file: OwnedFd) -> Self {
        Self(file.into_raw_fd())
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: a `BorrowedFd` has the layout of an `i32` and must not be -1: `of` maps negative numbers. `self` owns the descriptor,
        // so it stays open while it is borrowed; if it was never open (see `of`), calls fail with EBADF.
        unsafe { transmute(self.0) }
    }
}

impl AsRawFd for File {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

impl Drop for File {
    #[inline(never)] // −223 bytes: many callers.
    fn drop(&mut self) {
        // AT_FDCWD is not open.
        if self.0 >= 0 {
            // SAFETY: nothing else owns the descriptor.
            unsafe { raw_syscall!(Sysno::close, self.0) };
        }
    }
}

impl File {
    /// Opens `path`; `mode` is for a file that is created.
    pub fn open<E: From<Errno>>(path: &CStr, flags: OFlags, mode: u32) -> Result<Self, E> {
        openat(AT_FDCWD, path, flags, mode).map(Self)
    }

    /// Closes the file when the process runs another program. Calls that open files take the flag O_CLOEXEC instead.
    pub(super) fn end_with_program(&self) -> Result<(), Errno> {
        const SET_DESCRIPTOR_FLAGS: usize = 2;
        const CLOEXEC: usize = 1;
        self.control(SET_DESCRIPTOR_FLAGS, CLOEXEC)
    }

    /// Sets non-blocking mode, and clears the other modes that can be changed.
    pub fn never_block(&self) -> Result<(), Errno> {
        const SET_MODES: usize = 4;
        self.control(SET_MODES, OFlags::NONBLOCK.bits() as usize)
    }

    fn control(&self, request: usize, value: usize) -> Result<(), Errno> {
        // SAFETY: no argument is an address.
        unsafe { act(word(self.0), request, value, 0, 0, Sysno::fcntl) }
    }

    /// Opens the file of a descriptor again with other flags, by /proc/self/fd. ENOENT if /proc is not mounted.
    pub fn reopen<E: From<Errno>>(&self, flags: OFlags) -> Result<Self, E> {
        let mut buffer = [0; 25];
        Self::open(proc_path(self.0, &mut buffer), flags, 0)
    }
}

/// Makes any system call, repeating it on EINTR. The kernel ignores surplus arguments. Parameters are in the order of the system
/// call, which needs no moves between registers.
///
/// # Safety
///
/// The requirements of the system call `what`.
unsafe fn call<E: From<Errno>>(
    first: usize,
    second: usize,
    third: usize,
    fourth: usize,
    fifth: usize,
    what: Sysno,
) -> Result<RawFd, E> {
    loop {
        // SAFETY: required of the caller.
        let returned = unsafe { raw_syscall!(what, first, second, third, fourth, fifth) };
        match outcome(returned) {
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(value) => return Ok(value as RawFd),
        }
    }
}

/// Makes a system call without a result.
///
/// # Safety
///
/// The requirements of the system call `what`.
unsafe fn act<E: From<Errno>>(
    first: usize,
    second: usize,
    third: usize,
    fourth: usize,
    fifth: usize,
    what: Sysno,
) -> Result<(), E> {
    // SAFETY: required of the caller.
    unsafe { call(first, second, third, fourth, fifth, what) }.map(drop)
}

/// Makes a system call whose first two arguments are a directory and a name.
///
/// # Safety
///
/// The requirements of the system call `what`.
unsafe fn call_on_entry<E: From<Errno>>(
    dir: RawFd,
    name: &[u8],
    third: usize,
    fourth: usize,
    what: Sysno,
) -> Result<RawFd, E> {
    let mut buffer = Text::uninit();
    let name = text(name, &mut buffer);
    // SAFETY: required of the caller; `text` has added a NUL to the name.
    unsafe { call(word(dir), name, third, fourth, 0, what) }
}

/// Makes a system call with two pairs of directory and name.
///
/// # Safety
///
/// The requirements of the system call `what`.
unsafe fn twice<E: From<Errno>>(
    what: Sysno,
    (dir, name): (RawFd, &[u8]),
    (other, other_name): (RawFd, &[u8]),
    flags: usize,
) -> Result<(), E> {
    let (mut buffer, mut other_buffer) = (Text::uninit(), Text::uninit());
    let (at, other_at) = (text(name, &mut buffer), text(other_name, &mut other_buffer));
    // SAFETY: required of the caller; `text` has added a NUL to each name.
    unsafe { act(word(dir), at, word(other), other_at, flags, what) }
}

const fn word(number: RawFd) -> usize {
    number as u32 as usize
}

/// A buffer for a name and its NUL.
type Text = MaybeUninit<[u8; 256]>;

/// Copies a name and a NUL to `buffer`, truncated to 255 bytes; returns its address.
#[inline(never)] // −236 bytes: 11 callers.
fn text(name: &[u8], buffer: &mut Text) -> usize {
    let (len, at) = (name.len().min(255), buffer.as_mut_ptr().cast::<u8>());
    // SAFETY: the name has at least `len` bytes, and the buffer at least one more.
    unsafe {
        at.copy_from_nonoverlapping(name.as_ptr(), len);
        at.add(len).write(0);
    }
    at as usize
}

/// Converts a descriptor to the type that rustix requires.
pub const fn borrow<'a>(file: RawFd) -> BorrowedFd<'a> {
    // SAFETY: the number is never -1, which the type forbids, and a `BorrowedFd` closes nothing.
    unsafe { core::mem::transmute(if file == -1 { i32::MAX } else { file }) }
}

/// Closes a file.
#[inline(never)] // −26 bytes: 11 callers.
pub fn close(file: RawFd) {
    // SAFETY: no argument is an address.
    unsafe { raw_syscall!(Sysno::close, file) };
}

/// Duplicates a descriptor.
pub fn dup<E: From<Errno>>(file: RawFd) -> Result<RawFd, E> {
    const DUPLICATE_CLOEXEC: usize = 1030;
    /// For Linux before 2.6.24.
    const DUPLICATE: usize = 0;
    // SAFETY: no argument is an address.
    let duplicate = |how| unsafe { call(word(file), how, 0, 0, 0, Sysno::fcntl) };
    duplicate(DUPLICATE_CLOEXEC).or_else(|_: E| duplicate(DUPLICATE))
}

/// Descriptor of the current directory, or AT_FDCWD until [`hold_current_directory`].
static CURRENT: AtomicI32 = AtomicI32::new(AT_FDCWD);

/// Opens the current directory, because a sandbox refuses openat of AT_FDCWD.
pub(super) fn hold_current_directory() {
    let held = File::open::<Errno>(c".", OFlags::PATH, 0);
    // Paths relative to an unreachable directory fail in any case.
    if let Ok(held) = held.or_else(|_| File::open::<Errno>(c"/", OFlags::PATH, 0)) {
        CURRENT.store(held.leak(), Ordering::Relaxed);
    }
}

/// Replaces AT_FDCWD by the descriptor of [`hold_current_directory`].
fn held(dir: RawFd) -> RawFd {
    match dir {
        AT_FDCWD => CURRENT.load(Ordering::Relaxed),
        dir => dir,
    }
}

/// Opens `path` relative to `dir`; `mode` is for a file that is created.
pub fn openat<E: From<Errno>>(
    dir: RawFd,
    path: &CStr,
    flags: OFlags,
    mode: u32,
) -> Result<RawFd, E> {
    let flags = flags | OFlags::CLOEXEC | OFlags::LARGEFILE;
    let (flags, mode) = (flags.bits() as usize, mode as usize);
    let path = path.as_ptr() as usize;
    // SAFETY: the kernel reads the path.
    unsafe { call(word(held(dir)), path, flags, mode, 0, optional::OPENAT) }
}

/// Opens the entry `name` of `dir`. `name` needs no NUL.
pub fn open_entry<E: From<Errno>>(
    dir: RawFd,
    name: &[u8],
    flags: OFlags,
    mode: u32,
) -> Result<RawFd, E> {
    let (flags, mode) = (flags.bits() as usize, mode as usize);
    // SAFETY: the kernel reads the name.
    unsafe { call_on_entry(held(dir), name, flags, mode, optional::OPENAT) }
}

/// Opens `path` relative to `dir` with RESOLVE_BENEATH and RESOLVE_NO_MAGICLINKS: EXDEV if it leaves `dir`, ELOOP at a link in
/// /proc. EAGAIN: a rename raced. ENOSYS: kernel before 5.6.
#[doc(alias = "openat2")]
pub fn open_beneath<E: From<Errno>>(
    dir: RawFd,
    path: &CStr,
    flags: OFlags,
    mode: u32,
) -> Result<RawFd, E> {
    const NO_MAGIC_LINKS: u64 = 2;
    const BENEATH: u64 = 8;
    let how = [
        flags.bits().into(),
        u64::from(mode),
        NO_MAGIC_LINKS | BENEATH,
    ];
    let (path, at) = (path.as_ptr() as usize, how.as_ptr() as usize);
    // SAFETY: the kernel reads the path and three numbers.
    unsafe { call(word(dir), path, at, size_of_val(&how), 0, optional::OPENAT2) }
}

/// Builds the path "/proc/self/fd/N" of a descriptor, without looking it up.
pub fn proc_path(mut rest: RawFd, buffer: &mut [u8; 25]) -> &CStr {
    *buffer = *b"/proc/self/fd/\0\0\0\0\0\0\0\0\0\0\0";
    let (mut end, mut more) = (14, rest);
    while more > 9 {
        more /= 10;
        end += 1;
    }
    while let Some(digit) = buffer.get_mut(end).filter(|_| end > 13) {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        end -= 1;
    }
    crate::mem::c_str(buffer)
}

/// Reads the path of an open file from /proc; empty if /proc is not mounted or `out` is too short.
pub fn path_of(file: RawFd, out: &mut [u8]) -> &[u8] {
    let mut buffer = [0; 25];
    let (path, at) = (proc_path(file, &mut buffer).as_ptr(), out.as_mut_ptr());
    // SAFETY: the kernel reads a path and writes at most `out.len()` bytes.
    let len = unsafe { raw_syscall!(Sysno::readlinkat, AT_FDCWD, path, at, out.len()) };
    // The kernel returns an error as a number above `out.len()`.
    if len < out.len() { out.head(len) } else { b"" }
}

/// Reads the path of the current directory; returns its length.
pub fn getcwd<E: From<Errno>>(out: &mut [u8]) -> Result<u32, E> {
    let (at, len) = (out.as_mut_ptr() as usize, out.len());
    // SAFETY: the kernel writes at most `len` bytes.
    let len = unsafe { call(at, len, 0, 0, 0, Sysno::getcwd) };
    // The kernel counts the NUL.
    len.map(|len| len as u32 - 1)
}

/// Changes the current directory to `dir` and reads its path, free of symbolic links; returns its length.
pub fn real_path(dir: RawFd, out: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: no argument is an address.
    outcome(unsafe { raw_syscall!(Sysno::fchdir, dir) })?;
    // SAFETY: the kernel writes at most `out.len()` bytes.
    let len = outcome(unsafe { raw_syscall!(Sysno::getcwd, out.as_mut_ptr(), out.len()) })?;
    // The kernel counts the NUL.
    Ok(len - 1)
}
