//! System calls that change names and attributes.

use super::super::Errno;
use super::super::optional::{self, Worked};
use super::{AT_FDCWD, Text, act, call_on_entry, text, twice, word};
use core::ffi::CStr;
#[cfg(not(target_arch = "aarch64"))]
use core::mem::MaybeUninit;
use rustix::fd::RawFd;
#[cfg(not(target_arch = "aarch64"))]
use rustix::fs::Timespec;
use rustix::fs::{AtFlags, Timestamps};
use syscalls::Sysno;

/// Sets the size of an open file or, with `path`, of the file at that path.
pub fn truncate<E: From<Errno>>(file: RawFd, path: Option<&CStr>, size: u64) -> Result<(), E> {
    #[cfg(target_pointer_width = "64")]
    let (numbers, size) = ([Sysno::ftruncate, Sysno::truncate], [size as usize, 0, 0]);
    // A 64-bit size is passed as two words, the low one first.
    #[cfg(target_arch = "x86")]
    let (numbers, size) = (
        [Sysno::ftruncate64, Sysno::truncate64],
        [size as usize, (size >> 32) as usize, 0],
    );
    // The ABI wants the pair to begin at an even argument register.
    #[cfg(target_arch = "arm")]
    let (numbers, size) = (
        [Sysno::ftruncate64, Sysno::truncate64],
        [0, size as usize, (size >> 32) as usize],
    );
    let ([by_number, by_path], [second, third, fourth]) = (numbers, size);
    match path {
        // SAFETY: the call takes no pointers.
        None => unsafe { act(word(file), second, third, fourth, 0, by_number) },
        // SAFETY: the kernel reads the path.
        Some(path) => unsafe { act(path.as_ptr() as usize, second, third, fourth, 0, by_path) },
    }
}

/// Removes a name: an empty directory if `directory`, else any other object.
pub fn unlinkat<E: From<Errno>>(dir: RawFd, name: &[u8], directory: bool) -> Result<(), E> {
    let flags = usize::from(directory) * AtFlags::REMOVEDIR.bits() as usize;
    // SAFETY: the kernel reads the name.
    unsafe { call_on_entry(dir, name, flags, 0, Sysno::unlinkat) }.map(drop)
}

/// Creates a directory.
pub fn mkdirat<E: From<Errno>>(dir: RawFd, name: &[u8], mode: u32) -> Result<(), E> {
    // SAFETY: the kernel reads the name.
    unsafe { call_on_entry(dir, name, mode as usize, 0, Sysno::mkdirat) }.map(drop)
}

/// Creates a FIFO, a socket or a device; `mode` includes the type, `device` is major and minor number.
pub fn mknodat<E: From<Errno>>(
    dir: RawFd,
    name: &[u8],
    mode: u32,
    device: (u32, u32),
) -> Result<(), E> {
    let device = device_number(device)?;
    // SAFETY: the kernel reads the name.
    unsafe { call_on_entry(dir, name, mode as usize, device as usize, Sysno::mknodat) }.map(drop)
}

/// Creates a symbolic link.
pub fn symlinkat<E: From<Errno>>(target: &CStr, dir: RawFd, name: &[u8]) -> Result<(), E> {
    let (target, mut buffer) = (target.as_ptr() as usize, Text::uninit());
    let name = text(name, &mut buffer);
    // SAFETY: the kernel reads target and name.
    unsafe { act(target, word(dir), name, 0, 0, Sysno::symlinkat) }
}

/// Renames an object. With `replace`, overwrites a target of the same kind; without it an existing target is EEXIST, and ENOSYS or
/// EINVAL mean that kernel, filter or file system lacks RENAME_NOREPLACE.
pub fn renameat<E: From<Errno>>(
    from: (RawFd, &[u8]),
    to: (RawFd, &[u8]),
    replace: bool,
) -> Result<(), E> {
    const NO_REPLACE: usize = 1;
    static WORKED: Worked = Worked::not_yet();
    if replace {
        // SAFETY: the kernel reads two names.
        return unsafe { twice(Sysno::renameat, from, to, 0) };
    }
    // SAFETY: the kernel reads two names.
    let renamed = unsafe { twice(optional::RENAMEAT2, from, to, NO_REPLACE) };
    Ok(WORKED.judge(renamed)?)
}

/// Creates a hard link.
pub fn link_entry<E: From<Errno>>(from: (RawFd, &[u8]), to: (RawFd, &[u8])) -> Result<(), E> {
    // SAFETY: the kernel reads two names.
    unsafe { twice(Sysno::linkat, from, to, 0) }
}

/// Creates a hard link to the object at `path`, relative to `from`; an empty `path` is `from` itself.
#[inline(always)]
pub fn linkat<E: From<Errno>>(
    from: RawFd,
    path: &CStr,
    dir: RawFd,
    name: &[u8],
    flags: AtFlags,
) -> Result<(), E> {
    let (path, mut buffer) = (path.as_ptr() as usize, Text::uninit());
    let (at, flags) = (text(name, &mut buffer), flags.bits() as usize);
    // SAFETY: the kernel reads path and name.
    unsafe { act(word(from), path, word(dir), at, flags, Sysno::linkat) }
}

/// Changes owner and group of an open file; `None` leaves one unchanged.
pub fn chown<E: From<Errno>>(file: RawFd, user: Option<u32>, group: Option<u32>) -> Result<(), E> {
    let id = |id: Option<u32>| id.unwrap_or(u32::MAX) as usize;
    let (empty, flags) = (c"".as_ptr() as usize, AtFlags::EMPTY_PATH.bits() as usize);
    let (user, group) = (id(user), id(group));
    // SAFETY: the kernel reads an empty string.
    unsafe { act(word(file), empty, user, group, flags, Sysno::fchownat) }
}

/// Changes the mode of an open file or, with `path`, of the file at that path.
pub fn chmod<E: From<Errno>>(file: RawFd, path: Option<&CStr>, mode: u32) -> Result<(), E> {
    let mode = mode as usize;
    match path {
        // SAFETY: the call takes no pointers.
        None => unsafe { act(word(file), mode, 0, 0, 0, Sysno::fchmod) },
        Some(path) => {
            let path = path.as_ptr() as usize;
            // SAFETY: the kernel reads the path.
            unsafe { act(word(AT_FDCWD), path, mode, 0, 0, Sysno::fchmodat) }
        }
    }
}

/// Changes the times of an open file or, with `path`, of the file at that path, which is the same file.
pub fn set_times<E: From<Errno>>(
    file: RawFd,
    path: Option<&CStr>,
    times: &Timestamps,
) -> Result<(), E> {
    let set = match path {
        Some(path) => utimensat(AT_FDCWD, Some(path), times, AtFlags::empty()),
        None => utimensat(file, Some(c""), times, AtFlags::EMPTY_PATH),
    };
    let set = match set {
        // Linux before 5.8 does not accept an empty path.
        Err(Errno::INVAL) if path.is_none() => utimensat(file, None, times, AtFlags::empty()),
        // Linux before 2.6.22. aarch64 has no futimesat.
        #[cfg(not(target_arch = "aarch64"))]
        Err(Errno::NOSYS) => futimesat(file, times),
        set => set,
    };
    Ok(set?)
}

fn utimensat(
    dir: RawFd,
    path: Option<&CStr>,
    times: &Timestamps,
    flags: AtFlags,
) -> Result<(), Errno> {
    #[cfg(target_pointer_width = "64")]
    {
        let path = path.map_or(0, |path| path.as_ptr() as usize);
        let (times, flags) = (core::ptr::from_ref(times) as usize, flags.bits() as usize);
        // SAFETY: the kernel reads the path, if any, and the times, whose layout is the kernel's.
        unsafe { act(word(dir), path, times, flags, 0, optional::UTIMENSAT) }
    }
    #[cfg(target_pointer_width = "32")]
    {
        static WORKED: Worked = Worked::not_yet();
        let path = path.map_or(0, |path| path.as_ptr() as usize);
        let (at, flags) = (core::ptr::from_ref(times) as usize, flags.bits() as usize);
        // SAFETY: the kernel reads the path, if any, and the times, whose layout is the kernel's.
        let set = unsafe { act(word(dir), path, at, flags, 0, Sysno::utimensat_time64) };
        if WORKED.judge(set) != Err(Errno::NOSYS) {
            return set;
        }
        // Linux before 5.1, or a filter that is older. The other call has no times after 2038.
        let time = |time: &Timespec| {
            let secs = isize::try_from(time.tv_sec).map_err(|_| Errno::OVERFLOW)?;
            Ok([secs, time.tv_nsec as isize])
        };
        let times = [time(&times.last_access)?, time(&times.last_modification)?];
        let at = times.as_ptr() as usize;
        // SAFETY: the kernel reads the path, if any, and four words.
        unsafe { act(word(dir), path, at, flags, 0, optional::UTIMENSAT) }
    }
}

/// Changes the times of an open file, in microseconds, as only its owner may do. ENOENT if /proc is not mounted.
#[cfg(not(target_arch = "aarch64"))]
#[allow(clippy::unnecessary_cast, reason = "32-bit machines have other types")]
fn futimesat(file: RawFd, times: &Timestamps) -> Result<(), Errno> {
    const UTIME_NOW: u32 = 0x3fff_ffff;
    const UTIME_OMIT: u32 = 0x3fff_fffe;
    let stat = &mut MaybeUninit::uninit();
    let stat = super::fstatat::<Errno>(file, c"", AtFlags::EMPTY_PATH, stat)?;
    let (now, now_nanos) = super::super::wall_clock();
    let time = |new: &Timespec, secs: i64, nanos: u32| {
        let (secs, nanos) = match new.tv_nsec as u32 {
            UTIME_OMIT => (secs, nanos),
            UTIME_NOW => (now, now_nanos),
            nanos => (new.tv_sec, nanos),
        };
        // On 32-bit machines: a time after 2038.
        let secs = isize::try_from(secs).map_err(|_| Errno::OVERFLOW)?;
        Ok([secs, (nanos / 1000) as isize])
    };
    let [atime, mtime] = [&times.last_access, &times.last_modification];
    let values = [
        time(atime, stat.st_atime as i64, stat.st_atime_nsec as u32)?,
        time(mtime, stat.st_mtime as i64, stat.st_mtime_nsec as u32)?,
    ];
    let mut buffer = [0; 25];
    let path = super::proc_path(file, &mut buffer).as_ptr() as usize;
    let values = values.as_ptr() as usize;
    // SAFETY: the kernel reads the path, and four words.
    unsafe { act(word(AT_FDCWD), path, values, 0, 0, Sysno::futimesat) }
}

const fn device_number((major, minor): (u32, u32)) -> Result<u32, Errno> {
    if major >> 12 | minor >> 20 != 0 {
        return Err(Errno::INVAL);
    }
    Ok(minor & 0xff | major << 8 | (minor & !0xff) << 12)
}
