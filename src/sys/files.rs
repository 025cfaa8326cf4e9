//! Calls on files that rustix lacks or that need a ladder: stat, kernel handles, rights.

use super::{Errno, outcome};
use core::ffi::CStr;
use linux_raw_sys::general::{STATX_ATTR_MOUNT_ROOT, STATX_BASIC_STATS, STATX_BTIME, statx};
use rustix::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use rustix::fs::{AtFlags, OFlags, StatFs};
use syscalls::{Sysno, raw_syscall};

/// What the host says of a file: the fields of statx(2).
pub type Stat = statx;

/// Where [`stat`] writes.
pub const fn blank() -> Stat {
    // SAFETY: a structure of numbers, for which zeros are values.
    unsafe { core::mem::zeroed() }
}

/// Asks for a file by its descriptor.
pub fn stat(file: impl AsFd, out: &mut Stat) -> Result<(), Errno> {
    stat_at(file.as_fd(), c"", AtFlags::EMPTY_PATH, out)
}

/// Asks for the entry `name` of a directory. Symbolic links are not followed, automounts not started.
pub fn stat_entry(dir: impl AsFd, name: &CStr, out: &mut Stat) -> Result<(), Errno> {
    stat_at(
        dir.as_fd(),
        name,
        AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT,
        out,
    )
}

/// statx, else fstatat: the latter knows neither birth nor mount points, so both are as if there were none.
#[inline(never)]
fn stat_at(dir: BorrowedFd<'_>, name: &CStr, flags: AtFlags, out: &mut Stat) -> Result<(), Errno> {
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
        Err(Errno::NOSYS) => {
            from_stat(&rustix::fs::statat(dir, name, flags)?, out);
            Ok(())
        }
        answer => answer.map(drop),
    }
}

#[allow(clippy::unnecessary_cast, clippy::useless_conversion)] // The widths differ from one architecture to the next.
#[cold]
fn from_stat(stat: &rustix::fs::Stat, out: &mut Stat) {
    *out = blank();
    (out.stx_dev_major, out.stx_dev_minor) = (
        rustix::fs::major(stat.st_dev as _),
        rustix::fs::minor(stat.st_dev as _),
    );
    (out.stx_rdev_major, out.stx_rdev_minor) = (
        rustix::fs::major(stat.st_rdev as _),
        rustix::fs::minor(stat.st_rdev as _),
    );
    out.stx_ino = stat.st_ino as _;
    out.stx_mode = stat.st_mode as _;
    out.stx_nlink = stat.st_nlink as _;
    (out.stx_uid, out.stx_gid) = (stat.st_uid, stat.st_gid);
    (out.stx_size, out.stx_blocks) = (stat.st_size as _, stat.st_blocks as _);
    for (time, secs, nanos) in [
        (
            &mut out.stx_atime,
            stat.st_atime as i64,
            stat.st_atime_nsec as u32,
        ),
        (
            &mut out.stx_mtime,
            stat.st_mtime as i64,
            stat.st_mtime_nsec as u32,
        ),
        (
            &mut out.stx_ctime,
            stat.st_ctime as i64,
            stat.st_ctime_nsec as u32,
        ),
    ] {
        (time.tv_sec, time.tv_nsec) = (secs, nanos);
    }
}

/// The file system that the object lies on.
pub const fn device(stat: &Stat) -> (u32, u32) {
    (stat.stx_dev_major, stat.stx_dev_minor)
}

/// The number that a file system has for itself, 0 if none. rustix keeps it to itself.
pub fn system_id(system: &StatFs) -> u64 {
    // SAFETY: the field is two 32-bit numbers.
    unsafe { (&raw const system.f_fsid).cast::<u64>().read_unaligned() }
}

/// Whether another file system begins at the object.
pub const fn is_mounted_on(stat: &Stat) -> bool {
    stat.stx_attributes & STATX_ATTR_MOUNT_ROOT as u64 != 0
}

/// Bytes of the longest kernel handle.
const HANDLE_BYTES_MAX: usize = 128;

/// The kernel's own name for a file, which outlives renames and restarts.
#[doc(alias = "file_handle")]
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct KernelHandle {
    len: u32,
    kind: i32,
    bytes: [u8; HANDLE_BYTES_MAX],
}

impl KernelHandle {
    /// Room for the kernel to write one.
    pub const ROOM: Self = Self {
        len: HANDLE_BYTES_MAX as u32,
        kind: 0,
        bytes: [0; HANDLE_BYTES_MAX],
    };

    /// A handle from its parts, if they can be one.
    pub fn new(kind: u8, from: &[u8]) -> Option<Self> {
        let mut handle = Self {
            len: from.len() as u32,
            kind: kind.into(),
            ..Self::ROOM
        };
        handle.bytes.get_mut(..from.len())?.copy_from_slice(from);
        Some(handle)
    }

    /// The type and the bytes; `None` for a type that does not fit a byte, which no file system in Linux has.
    pub fn parts(&self) -> Option<(u8, &[u8])> {
        Some((
            u8::try_from(self.kind).ok()?,
            self.bytes.get(..self.len as usize)?,
        ))
    }
}

/// The kernel's handle for the entry `name` of `dir`, or for `dir` itself when `name` is empty. Returns its mount's number.
pub fn name_to_handle(dir: impl AsFd, name: &CStr, out: &mut KernelHandle) -> Result<u32, Errno> {
    let mut mount = 0u32;
    let flags = if name.is_empty() {
        AtFlags::EMPTY_PATH.bits()
    } else {
        0
    };
    let dir = dir.as_fd().as_raw_fd();
    *out = KernelHandle::ROOM;
    // SAFETY: the kernel writes at most `out.len` bytes behind the two words, and one number to `mount`.
    outcome(unsafe {
        raw_syscall!(
            Sysno::name_to_handle_at,
            dir,
            name.as_ptr(),
            core::ptr::from_mut(out),
            &raw mut mount,
            flags
        )
    })?;
    Ok(mount)
}

/// Opens what a kernel handle names on the file system of `mount`, which must not be an `O_PATH` descriptor.
pub fn open_by_handle(
    mount: impl AsFd,
    handle: &KernelHandle,
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::LARGEFILE;
    // SAFETY: the kernel reads the structure.
    let opened = outcome(unsafe {
        raw_syscall!(
            Sysno::open_by_handle_at,
            mount.as_fd().as_raw_fd(),
            core::ptr::from_ref(handle),
            flags.bits()
        )
    })?;
    // SAFETY: a new descriptor that nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(opened as i32) })
}

/// The path of what a descriptor stands for, where there is /proc; nothing is looked up on the way.
pub fn path(file: impl AsFd, room: &mut [u8; 25]) -> &CStr {
    *room = *b"/proc/self/fd/\0\0\0\0\0\0\0\0\0\0\0";
    let (_, digits) = room.split_at_mut(14);
    let mut rest = file.as_fd().as_raw_fd();
    for at in (0..rest.max(1).ilog10() as usize + 1).rev() {
        if let Some(digit) = digits.get_mut(at) {
            *digit = b'0' + (rest % 10) as u8;
        }
        rest /= 10;
    }
    super::c_str(room)
}

/// Opens what a descriptor stands for once more, with other flags. `NOENT` where there is no /proc.
pub fn reopen(file: impl AsFd, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut room = [0; 25];
    rustix::fs::open(path(file, &mut room), flags, rustix::fs::Mode::empty())
}

/// Bits of `access`.
pub const MAY_EXECUTE: u32 = 1;
/// Bits of `access`.
pub const MAY_WRITE: u32 = 2;
/// Bits of `access`.
pub const MAY_READ: u32 = 4;

/// Whether the process may use a file so, access lists included. `NOSYS` on kernels before 5.8.
pub fn access(file: impl AsFd, bits: u32) -> Result<(), Errno> {
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

/// Sends a range of a file to a socket without copying it here; 0 is the end of the file.
pub fn send_file(socket: impl AsFd, file: i32, offset: u64, len: u32) -> Result<usize, Errno> {
    #[cfg(target_pointer_width = "64")]
    const SENDFILE: Sysno = Sysno::sendfile;
    #[cfg(target_pointer_width = "32")]
    const SENDFILE: Sysno = Sysno::sendfile64;
    let mut offset = offset;
    // SAFETY: the kernel reads and writes the offset; a number that is no file's is an error, nothing worse.
    outcome(unsafe {
        raw_syscall!(
            SENDFILE,
            socket.as_fd().as_raw_fd(),
            file,
            &raw mut offset,
            len
        )
    })
}

/// The current directory's path.
pub fn current_dir(room: &mut [u8]) -> Result<&CStr, Errno> {
    // SAFETY: the kernel writes at most `room.len()` bytes.
    let len = outcome(unsafe { raw_syscall!(Sysno::getcwd, room.as_mut_ptr(), room.len()) })?;
    Ok(super::c_str(room.get(..len).unwrap_or_default()))
}
