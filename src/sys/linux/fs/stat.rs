//! File attributes: statx, fstatat, statfs, faccessat2.

use super::super::optional::{self, Worked};
use super::super::{Errno, outcome};
#[cfg(target_pointer_width = "32")]
use super::borrow;
#[cfg(target_pointer_width = "64")]
use super::{act, word};
use core::ffi::CStr;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use linux_raw_sys::general::{
    STATX_ATTR_MOUNT_ROOT, STATX_BASIC_STATS, STATX_BTIME, statx_timestamp,
};
use rustix::fd::{AsFd, AsRawFd as _, BorrowedFd, RawFd};
use rustix::fs::{AtFlags, StatFs};
use syscalls::{Sysno, raw_syscall};

/// Result of statx(2).
pub type Statx = linux_raw_sys::general::statx;

/// An all-zero structure, for [`statx`] to write to.
pub const fn blank() -> Statx {
    // SAFETY: the structure consists of integers, for which zeros are valid.
    unsafe { core::mem::zeroed() }
}

/// AT_NO_AUTOMOUNT; 0 after the host refused the flag with EINVAL, as gVisor does, which has no automounts.
static NO_AUTOMOUNT: AtomicU32 = AtomicU32::new(AtFlags::NO_AUTOMOUNT.bits());

/// Calls statx or fstatat with `flags` and AT_NO_AUTOMOUNT, or without that flag if the host refuses it.
#[inline(always)]
fn without_automount(
    flags: AtFlags,
    mut stat: impl FnMut(AtFlags) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let more = NO_AUTOMOUNT.load(Relaxed);
    match stat(flags | AtFlags::from_bits_retain(more)) {
        Err(Errno::INVAL) if more != 0 => {}
        answer => return answer,
    }
    let answer = stat(flags);
    if answer != Err(Errno::INVAL) {
        NO_AUTOMOUNT.store(0, Relaxed);
    }
    answer
}

/// Reads the attributes of the entry `name` of a directory, or of `dir` itself if `name` is empty. Does not follow symbolic links,
/// does not trigger automounts.
///
/// Falls back to fstatat, which has neither birth time nor the mount root flag; both are then zero.
fn statx_from(dir: BorrowedFd<'_>, name: &CStr, out: &mut Statx) -> Result<(), Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    let (file, wanted) = (dir.as_raw_fd(), STATX_BASIC_STATS | STATX_BTIME);
    let at = core::ptr::from_mut(out);
    let answer = without_automount(flags, |flags| {
        let (name, flags) = (name.as_ptr(), flags.bits());
        // SAFETY: the kernel reads the name and writes the structure.
        outcome(unsafe { raw_syscall!(optional::STATX, file, name, flags, wanted, at) }).map(drop)
    });
    match answer {
        // Some seccomp policies that predate statx return EPERM.
        Err(Errno::NOSYS | Errno::PERM) => {
            let mut buffer = MaybeUninit::uninit();
            from_stat(
                fstatat(file, name, AtFlags::SYMLINK_NOFOLLOW, &mut buffer)?,
                out,
            );
            Ok(())
        }
        answer => answer,
    }
}

/// Reads the attributes of the entry `name` of a directory, or of `dir` itself if `name` is empty. Does not follow symbolic links,
/// does not trigger automounts.
pub fn statx(dir: impl AsFd, name: &CStr, out: &mut Statx) -> Result<(), Errno> {
    statx_from(dir.as_fd(), name, out)
}

#[allow(clippy::unnecessary_cast, clippy::useless_conversion)] // Field widths differ by architecture.
#[cold]
fn from_stat(stat: &Stat, out: &mut Statx) {
    *out = blank();
    (out.stx_dev_major, out.stx_dev_minor) = device_numbers(stat.st_dev as u32);
    (out.stx_rdev_major, out.stx_rdev_minor) = device_numbers(stat.st_rdev as u32);
    out.stx_ino = stat.st_ino as _;
    out.stx_mode = stat.st_mode as _;
    out.stx_nlink = stat.st_nlink as _;
    (out.stx_uid, out.stx_gid) = (stat.st_uid, stat.st_gid);
    (out.stx_size, out.stx_blocks) = (stat.st_size as _, stat.st_blocks as _);
    let set = |time: &mut statx_timestamp, secs, nanos| (time.tv_sec, time.tv_nsec) = (secs, nanos);
    set(
        &mut out.stx_atime,
        stat.st_atime as i64,
        stat.st_atime_nsec as u32,
    );
    set(
        &mut out.stx_mtime,
        stat.st_mtime as i64,
        stat.st_mtime_nsec as u32,
    );
    set(
        &mut out.stx_ctime,
        stat.st_ctime as i64,
        stat.st_ctime_nsec as u32,
    );
}

/// Device number of the file system of an object.
pub const fn device(stat: &Statx) -> u64 {
    (stat.stx_dev_major as u64) << 32 | stat.stx_dev_minor as u64
}

/// Space, limits and type of the file system of an open file.
pub fn fstatfs(file: RawFd) -> Result<StatFs, Errno> {
    rustix::fs::fstatfs(super::borrow(file))
}

/// File system id (`f_fsid`), 0 if none; rustix does not expose the field.
pub fn fsid(system: &StatFs) -> u64 {
    // SAFETY: the field consists of two 32-bit numbers.
    unsafe { (&raw const system.f_fsid).cast::<u64>().read_unaligned() }
}

/// Returns true if the object is the root of a mount; `None`: the kernel does not report it (before 5.8, or without statx).
pub const fn is_mount_root(stat: &Statx) -> Option<bool> {
    const MOUNT_ROOT: u64 = STATX_ATTR_MOUNT_ROOT as u64;
    match stat.stx_attributes_mask & MOUNT_ROOT {
        0 => None,
        _ => Some(stat.stx_attributes & MOUNT_ROOT != 0),
    }
}

/// Splits a device number into major and minor.
#[inline(never)] // −40 bytes: three callers.
pub const fn device_numbers(number: u32) -> (u32, u32) {
    (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xf_ff00)
}

/// Result of stat(2).
pub type Stat = rustix::fs::Stat;

/// Reads the attributes of `path` relative to `dir`, or of `dir` itself if `path` is empty. Does not trigger automounts.
pub fn fstatat<'a, E: From<Errno>>(
    dir: RawFd,
    path: &CStr,
    follow: AtFlags,
    out: &'a mut MaybeUninit<Stat>,
) -> Result<&'a Stat, E> {
    without_automount(follow | AtFlags::EMPTY_PATH, |flags| {
        #[cfg(target_pointer_width = "64")]
        {
            #[cfg(target_arch = "x86_64")]
            const STAT: Sysno = Sysno::newfstatat;
            #[cfg(target_arch = "aarch64")]
            const STAT: Sysno = Sysno::fstatat;
            let (path, at) = (path.as_ptr() as usize, out.as_mut_ptr() as usize);
            // SAFETY: the kernel reads the path and writes the structure.
            unsafe { act(word(dir), path, at, flags.bits() as usize, 0, STAT) }
        }
        #[cfg(target_pointer_width = "32")]
        {
            out.write(rustix::fs::statat(borrow(dir), path, flags)?);
            Ok(())
        }
    })?;
    // SAFETY: the kernel has written it, because the call succeeded.
    Ok(unsafe { out.assume_init_ref() })
}

/// Checks whether the real user may write to `path`. access(2).
pub fn may_write(path: &CStr) -> Result<(), Errno> {
    const WRITE: usize = 2;
    // SAFETY: the kernel reads the path.
    outcome(unsafe { raw_syscall!(Sysno::faccessat, super::AT_FDCWD, path.as_ptr(), WRITE) })
        .map(drop)
}

/// Checks the effective user's access to an open file, including ACLs; `bits` are R_OK, W_OK, X_OK.
///
/// # Errors
/// ENOSYS: the host lacks the call (Linux before 5.8), a filter refuses it, or the host lacks AT_EMPTY_PATH (EINVAL).
pub fn faccessat2(file: impl AsFd, bits: u32) -> Result<(), Errno> {
    static WORKED: Worked = Worked::not_yet();
    let flags = (AtFlags::EMPTY_PATH | AtFlags::EACCESS).bits();
    // SAFETY: the kernel reads an empty string.
    let answer = unsafe {
        raw_syscall!(
            optional::FACCESSAT2,
            file.as_fd().as_raw_fd(),
            c"".as_ptr(),
            bits,
            flags
        )
    };
    match outcome(answer) {
        Err(Errno::INVAL) => Err(Errno::NOSYS),
        answer => WORKED.judge(answer.map(drop)),
    }
}
