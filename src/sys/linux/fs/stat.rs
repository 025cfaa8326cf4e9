//! What the kernel says of a file.

use super::super::{Errno, outcome};
#[cfg(target_pointer_width = "32")]
use super::borrow;
#[cfg(target_pointer_width = "64")]
use super::{act, word};
use core::ffi::CStr;
use core::mem::MaybeUninit;
use linux_raw_sys::general::{
    STATX_ATTR_MOUNT_ROOT, STATX_BASIC_STATS, STATX_BTIME, statx_timestamp,
};
use rustix::fd::{AsFd, AsRawFd as _, BorrowedFd, RawFd};
use rustix::fs::{AtFlags, StatFs};
use syscalls::{Sysno, raw_syscall};

/// What statx(2) tells of a file.
pub type Statx = linux_raw_sys::general::statx;

/// Where [`statx`] writes.
pub const fn blank() -> Statx {
    // SAFETY: a structure of numbers, for which zeros are values.
    unsafe { core::mem::zeroed() }
}

/// Asks for the entry `name` of a directory, or for the file itself when `name` is empty. Symbolic links are not followed,
/// automounts not started.
///
/// statx, else fstatat: the latter knows neither birth nor mount points, so both are as if there were none.
#[inline(never)]
fn statx_from(dir: BorrowedFd<'_>, name: &CStr, out: &mut Statx) -> Result<(), Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::EMPTY_PATH;
    let (file, wanted) = (dir.as_raw_fd(), STATX_BASIC_STATS | STATX_BTIME);
    // SAFETY: the kernel reads the name and writes the structure.
    let answer = unsafe {
        raw_syscall!(
            Sysno::statx,
            file,
            name.as_ptr(),
            flags.bits(),
            wanted,
            core::ptr::from_mut(out)
        )
    };
    match outcome(answer) {
        // Sandboxes that are older than the call forbid it.
        Err(Errno::NOSYS | Errno::PERM) => {
            let mut buffer = MaybeUninit::uninit();
            from_stat(
                fstatat(file, name, AtFlags::SYMLINK_NOFOLLOW, &mut buffer)?,
                out,
            );
            Ok(())
        }
        answer => answer.map(drop),
    }
}

/// Asks for the entry `name` of a directory, or for the file itself when `name` is empty. Symbolic links are not followed,
/// automounts not started.
pub fn statx(dir: impl AsFd, name: &CStr, out: &mut Statx) -> Result<(), Errno> {
    statx_from(dir.as_fd(), name, out)
}

#[allow(clippy::unnecessary_cast, clippy::useless_conversion)] // The widths differ from one architecture to the next.
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

/// The file system that the object lies on.
pub const fn device(stat: &Statx) -> (u32, u32) {
    (stat.stx_dev_major, stat.stx_dev_minor)
}

/// The file system that a file lies on.
pub fn fstatfs(file: RawFd) -> Result<StatFs, Errno> {
    rustix::fs::fstatfs(super::borrow(file))
}

/// The number that a file system has for itself, 0 if none. rustix keeps it to itself.
pub fn fsid(system: &StatFs) -> u64 {
    // SAFETY: the field is two 32-bit numbers.
    unsafe { (&raw const system.f_fsid).cast::<u64>().read_unaligned() }
}

/// Whether another file system begins at the object.
pub const fn is_mount_root(stat: &Statx) -> bool {
    stat.stx_attributes & STATX_ATTR_MOUNT_ROOT as u64 != 0
}

/// Major and minor number of a device.
#[inline(never)]
pub const fn device_numbers(number: u32) -> (u32, u32) {
    (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xf_ff00)
}

/// What stat(2) tells of a file.
pub type Stat = rustix::fs::Stat;

/// Asks for what `path` leads to from `dir`, or for `dir` itself when it is empty. Automounts are not started.
pub fn fstatat<'a, E: From<Errno>>(
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
        Ok(out.write(rustix::fs::statat(borrow(dir), path, flags)?))
    }
}

/// Whether the process may use a file so, access lists included: `bits` are those of modes. `NOSYS` on kernels before 5.8.
pub fn faccessat2(file: impl AsFd, bits: u32) -> Result<(), Errno> {
    let flags = (AtFlags::EMPTY_PATH | AtFlags::EACCESS).bits();
    // SAFETY: the kernel reads an empty string.
    let answer = unsafe {
        raw_syscall!(
            Sysno::faccessat2,
            file.as_fd().as_raw_fd(),
            c"".as_ptr(),
            bits,
            flags
        )
    };
    outcome(answer).map(drop)
}
