//! Calls on files by numbers and names, in the words of who calls: what one error means is said once.
//!
//! A number that is no file's is an error, nothing worse. Each call is a jump to one place, which is a few bytes where rustix'
//! own are dozens; those that it makes from wide numbers are left to it, for they differ from one architecture to the next.

use super::{Errno, outcome};
use core::ffi::CStr;
use core::mem::MaybeUninit;
use rustix::fd::{BorrowedFd, RawFd};
use rustix::fs::{AtFlags, OFlags, Timestamps};
use syscalls::{Sysno, raw_syscall};

/// The current directory, where a call wants a directory.
pub const CURRENT: RawFd = -100;

/// One for all: with fewer arguments, the kernel does not look at the others. They are in the order in which it wants them.
///
/// # Safety
///
/// As that of the call.
#[inline(never)]
unsafe fn call<E: From<Errno>>(
    first: usize,
    second: usize,
    third: usize,
    fourth: usize,
    fifth: usize,
    what: Sysno,
) -> Result<RawFd, E> {
    loop {
        // SAFETY: the caller's.
        let returned = unsafe { raw_syscall!(what, first, second, third, fourth, fifth) };
        match outcome(returned) {
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(value) => return Ok(value as RawFd),
        }
    }
}

/// One that returns nothing.
///
/// # Safety
///
/// As that of the call.
#[inline(never)]
unsafe fn act<E: From<Errno>>(
    first: usize,
    second: usize,
    third: usize,
    fourth: usize,
    fifth: usize,
    what: Sysno,
) -> Result<(), E> {
    // SAFETY: the caller's.
    unsafe { call(first, second, third, fourth, fifth, what) }.map(drop)
}

/// One that begins with a name in a directory.
///
/// # Safety
///
/// As that of the call.
#[inline(never)]
unsafe fn call_on_entry<E: From<Errno>>(
    dir: RawFd,
    name: &[u8],
    third: usize,
    fourth: usize,
    what: Sysno,
) -> Result<RawFd, E> {
    let mut room = Text::uninit();
    let name = text(name, &mut room);
    // SAFETY: the caller's, and the name ends.
    unsafe { call(word(dir), name, third, fourth, 0, what) }
}

/// One with a name in each of two directories.
///
/// # Safety
///
/// As that of the call.
#[inline(never)]
unsafe fn twice<E: From<Errno>>(
    what: Sysno,
    (dir, name): (RawFd, &[u8]),
    (other, other_name): (RawFd, &[u8]),
    flags: usize,
) -> Result<(), E> {
    let (mut room, mut other_room) = (Text::uninit(), Text::uninit());
    let (at, other_at) = (text(name, &mut room), text(other_name, &mut other_room));
    // SAFETY: the caller's, and the names end.
    unsafe { act(word(dir), at, word(other), other_at, flags, what) }
}

const fn word(number: RawFd) -> usize {
    number as u32 as usize
}

/// Room for a name.
type Text = MaybeUninit<[u8; 256]>;

/// Where a name lies in `room`, with a NUL behind it: cut to 255 bytes.
#[inline(never)]
fn text(name: &[u8], room: &mut Text) -> usize {
    let (len, at) = (name.len().min(255), room.as_mut_ptr().cast::<u8>());
    // SAFETY: the name is so long, and the room is one byte longer.
    unsafe {
        at.copy_from_nonoverlapping(name.as_ptr(), len);
        at.add(len).write(0);
    }
    at as usize
}

/// A number as rustix wants it.
pub const fn lend<'a>(file: RawFd) -> BorrowedFd<'a> {
    // SAFETY: the number is not −1, which is all that the type asks for; it closes nothing.
    unsafe { core::mem::transmute(if file == -1 { i32::MAX } else { file }) }
}

/// Closes a file.
#[inline(never)]
pub fn close(file: RawFd) {
    // SAFETY: a number.
    unsafe { raw_syscall!(Sysno::close, file) };
}

/// A number for the same file that lasts when that of the other is given back.
pub fn duplicate<E: From<Errno>>(file: RawFd) -> Result<RawFd, E> {
    const DUPLICATE_CLOEXEC: usize = 1030;
    // SAFETY: a number.
    unsafe { call(word(file), DUPLICATE_CLOEXEC, 0, 0, 0, Sysno::fcntl) }
}

/// Opens what `path` leads to from `dir`; what is made thereby has the bits of `mode`.
pub fn open<E: From<Errno>>(dir: RawFd, path: &CStr, flags: OFlags, mode: u32) -> Result<RawFd, E> {
    let (flags, mode) = (flags.bits() as usize, mode as usize);
    let path = path.as_ptr() as usize;
    // SAFETY: the kernel reads the path.
    unsafe { call(word(dir), path, flags, mode, 0, Sysno::openat) }
}

/// The same of a name.
pub fn open_entry<E: From<Errno>>(
    dir: RawFd,
    name: &[u8],
    flags: OFlags,
    mode: u32,
) -> Result<RawFd, E> {
    let (flags, mode) = (flags.bits() as usize, mode as usize);
    // SAFETY: the kernel reads the name.
    unsafe { call_on_entry(dir, name, flags, mode, Sysno::openat) }
}

/// Opens what `path` leads to from `dir` if that is nowhere above it or elsewhere, and not by the kernel's own links to what is
/// open: else `XDEV` and `LOOP`. `AGAIN`: something is moved meanwhile. `NOSYS` on kernels before 5.6.
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
    unsafe { call(word(dir), path, at, size_of_val(&how), 0, Sysno::openat2) }
}

/// One that moves bytes at an offset, until all are moved or no more are; how many.
///
/// # Safety
///
/// As that of the call.
#[cfg(target_pointer_width = "64")]
#[inline(never)]
unsafe fn carry<E: From<Errno>>(
    file: RawFd,
    at: usize,
    len: usize,
    offset: u64,
    what: Sysno,
) -> Result<u32, E> {
    let mut done = 0;
    while done < len {
        let (at, left) = (at.wrapping_add(done), len - done);
        let offset = (offset as usize).wrapping_add(done);
        // SAFETY: the caller's.
        match unsafe { call::<E>(word(file), at, left, offset, 0, what) }? {
            0 => break,
            more => done += more as usize,
        }
    }
    Ok(done as u32)
}

/// The same where an offset is two words, the order of which differs from one architecture to the next.
#[cfg(target_pointer_width = "32")]
fn carry<E: From<Errno>>(
    len: usize,
    offset: u64,
    mut step: impl FnMut(usize, u64) -> Result<usize, Errno>,
) -> Result<u32, E> {
    let mut done = 0;
    while done < len {
        match step(done, offset.wrapping_add(done as u64)) {
            Ok(0) => break,
            Ok(more) => done += more,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(done as u32)
}

/// Reads from `offset` of a file until its end or that of `out`; how many bytes.
pub fn read_at<E: From<Errno>>(file: RawFd, offset: u64, out: &mut [u8]) -> Result<u32, E> {
    #[cfg(target_pointer_width = "64")]
    {
        let (at, len) = (out.as_mut_ptr() as usize, out.len());
        // SAFETY: the kernel writes at most so many bytes.
        unsafe { carry(file, at, len, offset, Sysno::pread64) }
    }
    #[cfg(target_pointer_width = "32")]
    carry(out.len(), offset, |done, offset| {
        rustix::io::pread(lend(file), &mut out[done..], offset)
    })
}

/// Writes at `offset` of a file; how many bytes, which are fewer only if it never takes all of them.
pub fn write_at<E: From<Errno>>(file: RawFd, offset: u64, bytes: &[u8]) -> Result<u32, E> {
    #[cfg(target_pointer_width = "64")]
    {
        let (at, len) = (bytes.as_ptr() as usize, bytes.len());
        // SAFETY: the kernel reads at most so many bytes.
        unsafe { carry(file, at, len, offset, Sysno::pwrite64) }
    }
    #[cfg(target_pointer_width = "32")]
    carry(bytes.len(), offset, |done, offset| {
        rustix::io::pwrite(lend(file), &bytes[done..], offset)
    })
}

/// Cuts an open file, or what a path leads to, or makes it longer.
pub fn cut<E: From<Errno>>(file: RawFd, path: Option<&CStr>, size: u64) -> Result<(), E> {
    #[cfg(target_pointer_width = "64")]
    let (numbers, size) = ([Sysno::ftruncate, Sysno::truncate], [size as usize, 0, 0]);
    // A size is two words there, the low one first.
    #[cfg(target_arch = "x86")]
    let (numbers, size) = (
        [Sysno::ftruncate64, Sysno::truncate64],
        [size as usize, (size >> 32) as usize, 0],
    );
    // The first of the two has an even place.
    #[cfg(target_arch = "arm")]
    let (numbers, size) = (
        [Sysno::ftruncate64, Sysno::truncate64],
        [0, size as usize, (size >> 32) as usize],
    );
    let ([by_number, by_path], [second, third, fourth]) = (numbers, size);
    match path {
        // SAFETY: numbers.
        None => unsafe { act(word(file), second, third, fourth, 0, by_number) },
        // SAFETY: the kernel reads the path.
        Some(path) => unsafe { act(path.as_ptr() as usize, second, third, fourth, 0, by_path) },
    }
}

/// What the host says of a file, as it always has.
pub type Stat = rustix::fs::Stat;

/// Asks for what `path` leads to from `dir`, or for `dir` itself when it is empty. Automounts are not started.
pub fn stat<'a, E: From<Errno>>(
    dir: RawFd,
    path: &CStr,
    follow: AtFlags,
    out: &'a mut MaybeUninit<Stat>,
) -> Result<&'a Stat, E> {
    let flags = follow | AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
    #[cfg(target_pointer_width = "64")]
    {
        #[cfg(target_arch = "x86_64")]
        const STAT: Sysno = Sysno::newfstatat;
        #[cfg(target_arch = "aarch64")]
        const STAT: Sysno = Sysno::fstatat;
        let (path, at) = (path.as_ptr() as usize, out.as_mut_ptr() as usize);
        // SAFETY: the kernel reads the path and writes the structure.
        let done = unsafe { act(word(dir), path, at, flags.bits() as usize, 0, STAT) };
        // SAFETY: it was written, if all went well.
        done.map(|()| unsafe { out.assume_init_ref() })
    }
    #[cfg(target_pointer_width = "32")]
    {
        Ok(out.write(rustix::fs::statat(lend(dir), path, flags)?))
    }
}

/// The path of the current directory; how long it is.
pub fn current_dir<E: From<Errno>>(out: &mut [u8]) -> Result<u32, E> {
    let (at, len) = (out.as_mut_ptr() as usize, out.len());
    // SAFETY: the kernel writes at most so many bytes.
    let len = unsafe { call(at, len, 0, 0, 0, Sysno::getcwd) };
    // It counts the NUL.
    len.map(|len| (len as u32).wrapping_sub(1))
}

/// The target of a symbolic link, cut to `out`. `NOENT`: it is none.
pub fn read_link<E: From<Errno>>(link: RawFd, out: &mut [u8]) -> Result<u32, E> {
    let (empty, at) = (c"".as_ptr() as usize, out.as_mut_ptr() as usize);
    // SAFETY: the kernel writes at most so many bytes.
    unsafe { call(word(link), empty, at, out.len(), 0, Sysno::readlinkat) }.map(|len| len as u32)
}

/// Has a directory be listed from a place that it told, or from its beginning, which is 0.
pub fn list_from<E: From<Errno>>(dir: RawFd, place: u64) -> Result<(), E> {
    #[cfg(target_pointer_width = "64")]
    // SAFETY: numbers.
    unsafe {
        act(word(dir), place as usize, 0, 0, 0, Sysno::lseek)
    }
    #[cfg(target_pointer_width = "32")]
    {
        rustix::fs::seek(lend(dir), rustix::fs::SeekFrom::Start(place))?;
        Ok(())
    }
}

/// Writes the next entries of a directory to `out`; how many bytes, 0 at the end.
#[doc(alias = "getdents64")]
pub fn list<E: From<Errno>>(dir: RawFd, out: &mut [MaybeUninit<u64>]) -> Result<usize, E> {
    let (at, len) = (out.as_mut_ptr() as usize, size_of_val(out));
    // SAFETY: the kernel writes at most so many bytes.
    unsafe { call(word(dir), at, len, 0, 0, Sysno::getdents64) }.map(|len| len as usize)
}

/// Makes what was written durable.
pub fn sync<E: From<Errno>>(file: RawFd) -> Result<(), E> {
    // SAFETY: a number.
    unsafe { act(word(file), 0, 0, 0, 0, Sysno::fsync) }
}

/// Removes a name: that of an empty directory if `directory`, else that of anything else.
pub fn remove<E: From<Errno>>(dir: RawFd, name: &[u8], directory: bool) -> Result<(), E> {
    let flags = usize::from(directory) * AtFlags::REMOVEDIR.bits() as usize;
    // SAFETY: the kernel reads the name.
    unsafe { call_on_entry(dir, name, flags, 0, Sysno::unlinkat) }.map(drop)
}

/// Makes a directory.
pub fn make_directory<E: From<Errno>>(dir: RawFd, name: &[u8], mode: u32) -> Result<(), E> {
    // SAFETY: the kernel reads the name.
    unsafe { call_on_entry(dir, name, mode as usize, 0, Sysno::mkdirat) }.map(drop)
}

/// Makes a FIFO, a socket or a device with these bits and numbers.
pub fn make_node<E: From<Errno>>(
    dir: RawFd,
    name: &[u8],
    mode: u32,
    device: (u32, u32),
) -> Result<(), E> {
    let device = super::files::device_number(device)?;
    // SAFETY: the kernel reads the name.
    unsafe { call_on_entry(dir, name, mode as usize, device as usize, Sysno::mknodat) }.map(drop)
}

/// Makes a symbolic link.
pub fn make_link<E: From<Errno>>(target: &CStr, dir: RawFd, name: &[u8]) -> Result<(), E> {
    let (target, mut room) = (target.as_ptr() as usize, Text::uninit());
    let name = text(name, &mut room);
    // SAFETY: the kernel reads target and name.
    unsafe { act(target, word(dir), name, 0, 0, Sysno::symlinkat) }
}

/// Gives what has a name in a directory another, which is taken from another object if `replace`, else that `EXIST`; `NOSYS`
/// and `INVAL` if the kernel or the file system cannot do that.
pub fn rename<E: From<Errno>>(
    from: (RawFd, &[u8]),
    to: (RawFd, &[u8]),
    replace: bool,
) -> Result<(), E> {
    const NO_REPLACE: usize = 1;
    let call = if replace {
        Sysno::renameat
    } else {
        Sysno::renameat2
    };
    // SAFETY: the kernel reads two names; the older call knows no flags.
    unsafe { twice(call, from, to, NO_REPLACE) }
}

/// Gives what has a name in a directory one more.
pub fn link_entry<E: From<Errno>>(from: (RawFd, &[u8]), to: (RawFd, &[u8])) -> Result<(), E> {
    // SAFETY: the kernel reads two names.
    unsafe { twice(Sysno::linkat, from, to, 0) }
}

/// Gives what `path` leads to from `from`, or `from` itself when it is empty, a name in a directory.
#[inline(always)]
pub fn link<E: From<Errno>>(
    from: RawFd,
    path: &CStr,
    dir: RawFd,
    name: &[u8],
    flags: AtFlags,
) -> Result<(), E> {
    let (path, mut room) = (path.as_ptr() as usize, Text::uninit());
    let (at, flags) = (text(name, &mut room), flags.bits() as usize);
    // SAFETY: the kernel reads path and name.
    unsafe { act(word(from), path, word(dir), at, flags, Sysno::linkat) }
}

/// Gives a file to its new owner and group; `None` stays.
pub fn own<E: From<Errno>>(file: RawFd, user: Option<u32>, group: Option<u32>) -> Result<(), E> {
    let id = |id: Option<u32>| id.unwrap_or(u32::MAX) as usize;
    let (empty, flags) = (c"".as_ptr() as usize, AtFlags::EMPTY_PATH.bits() as usize);
    let (user, group) = (id(user), id(group));
    // SAFETY: the kernel reads an empty string.
    unsafe { act(word(file), empty, user, group, flags, Sysno::fchownat) }
}

/// Changes the mode of an open file, or of what a path leads to.
pub fn change_mode<E: From<Errno>>(file: RawFd, path: Option<&CStr>, mode: u32) -> Result<(), E> {
    let mode = mode as usize;
    match path {
        // SAFETY: two numbers.
        None => unsafe { act(word(file), mode, 0, 0, 0, Sysno::fchmod) },
        Some(path) => {
            let path = path.as_ptr() as usize;
            // SAFETY: the kernel reads the path.
            unsafe { act(word(CURRENT), path, mode, 0, 0, Sysno::fchmodat) }
        }
    }
}

/// Changes the times of what `path` leads to from `dir`, or of `dir` itself when it is empty; before Linux 5.8 of an open file
/// only when there is no path at all.
pub fn change_times<E: From<Errno>>(
    dir: RawFd,
    path: Option<&CStr>,
    times: &Timestamps,
    flags: AtFlags,
) -> Result<(), E> {
    #[cfg(target_pointer_width = "64")]
    {
        let path = path.map_or(0, |path| path.as_ptr() as usize);
        let (times, flags) = (core::ptr::from_ref(times) as usize, flags.bits() as usize);
        // SAFETY: the kernel reads the path, if there is one, and the times, which are as rustix gives them to it.
        unsafe { act(word(dir), path, times, flags, 0, Sysno::utimensat) }
    }
    #[cfg(target_pointer_width = "32")]
    match path {
        Some(path) => Ok(rustix::fs::utimensat(lend(dir), path, times, flags)?),
        None => Ok(rustix::fs::futimens(lend(dir), times)?),
    }
}
