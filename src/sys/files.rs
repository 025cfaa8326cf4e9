//! Calls on files that rustix lacks or that need a ladder: stat, kernel handles, rights.

use super::{Errno, outcome};
use core::ffi::CStr;
use rustix::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use rustix::fs::{AtFlags, OFlags, Statx, StatxAttributes, StatxFlags};
use syscalls::{Sysno, raw_syscall};

/// What the host says of a file.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // stat(2)'s own words.
pub struct Stat {
    pub dev: u64,
    pub inode: u64,
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev: (u32, u32),
    pub size: u64,
    /// In units of 512 bytes.
    pub blocks: u64,
    /// Seconds and nanoseconds.
    pub atime: (i64, u32),
    pub mtime: (i64, u32),
    pub ctime: (i64, u32),
    /// When the inode was made, where the file system keeps it.
    pub birth: Option<(i64, u32)>,
    /// Another file system begins here.
    pub mounted_on: bool,
}

/// Asks for a file by its descriptor.
pub fn stat(file: impl AsFd) -> Result<Stat, Errno> {
    stat_at(file.as_fd(), c"", AtFlags::EMPTY_PATH)
}

/// Asks for the entry `name` of a directory. Symbolic links are not followed, automounts not started.
pub fn stat_entry(dir: impl AsFd, name: &CStr) -> Result<Stat, Errno> {
    stat_at(
        dir.as_fd(),
        name,
        AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT,
    )
}

/// statx, else fstatat: the latter knows neither birth nor mount points, so both are as if there were none.
fn stat_at(dir: BorrowedFd<'_>, name: &CStr, flags: AtFlags) -> Result<Stat, Errno> {
    match rustix::fs::statx(
        dir,
        name,
        flags,
        StatxFlags::BASIC_STATS | StatxFlags::BTIME,
    ) {
        Ok(stat) => Ok(from_statx(&stat)),
        Err(Errno::NOSYS) => Ok(from_stat(&rustix::fs::statat(dir, name, flags)?)),
        Err(error) => Err(error),
    }
}

fn from_statx(stat: &Statx) -> Stat {
    let time = |time: rustix::fs::StatxTimestamp| (time.tv_sec, time.tv_nsec);
    Stat {
        dev: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
        inode: stat.stx_ino,
        mode: stat.stx_mode.into(),
        nlink: stat.stx_nlink,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        rdev: (stat.stx_rdev_major, stat.stx_rdev_minor),
        size: stat.stx_size,
        blocks: stat.stx_blocks,
        atime: time(stat.stx_atime),
        mtime: time(stat.stx_mtime),
        ctime: time(stat.stx_ctime),
        birth: (stat.stx_mask & StatxFlags::BTIME.bits() != 0).then(|| time(stat.stx_btime)),
        mounted_on: stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
    }
}

#[allow(clippy::unnecessary_cast, clippy::useless_conversion)] // The widths differ from one architecture to the next.
fn from_stat(stat: &rustix::fs::Stat) -> Stat {
    Stat {
        dev: stat.st_dev as u64,
        inode: stat.st_ino as u64,
        mode: stat.st_mode as u32,
        nlink: stat.st_nlink as u32,
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: (
            rustix::fs::major(stat.st_rdev as u64),
            rustix::fs::minor(stat.st_rdev as u64),
        ),
        size: stat.st_size as u64,
        blocks: stat.st_blocks as u64,
        atime: (stat.st_atime as i64, stat.st_atime_nsec as u32),
        mtime: (stat.st_mtime as i64, stat.st_mtime_nsec as u32),
        ctime: (stat.st_ctime as i64, stat.st_ctime_nsec as u32),
        birth: None,
        mounted_on: false,
    }
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
    /// A handle from its parts, if they can be one.
    pub fn new(kind: u8, from: &[u8]) -> Option<Self> {
        let mut bytes = [0; HANDLE_BYTES_MAX];
        bytes.get_mut(..from.len())?.copy_from_slice(from);
        Some(Self {
            len: u32::try_from(from.len()).ok()?,
            kind: kind.into(),
            bytes,
        })
    }

    /// The type and the bytes; `None` for a type that does not fit a byte, which no file system in Linux has.
    pub fn parts(&self) -> Option<(u8, &[u8])> {
        Some((
            u8::try_from(self.kind).ok()?,
            self.bytes.get(..self.len as usize)?,
        ))
    }
}

/// The kernel's handle for the entry `name` of `dir`, or for `dir` itself when `name` is empty; and its mount's number.
pub fn name_to_handle(dir: impl AsFd, name: &CStr) -> Result<(KernelHandle, u32), Errno> {
    let mut handle = KernelHandle {
        len: HANDLE_BYTES_MAX as u32,
        kind: 0,
        bytes: [0; HANDLE_BYTES_MAX],
    };
    let mut mount = 0u32;
    let flags = if name.is_empty() {
        AtFlags::EMPTY_PATH.bits()
    } else {
        0
    };
    // SAFETY: the kernel writes at most `handle.len` bytes behind the two words, and one number to `mount`.
    outcome(unsafe {
        raw_syscall!(
            Sysno::name_to_handle_at,
            dir.as_fd().as_raw_fd(),
            name.as_ptr(),
            &raw mut handle,
            &raw mut mount,
            flags
        )
    })?;
    Ok((handle, mount))
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

/// Bits of `access`.
pub const MAY_EXECUTE: u32 = 1;
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
    outcome(unsafe { raw_syscall!(Sysno::getcwd, room.as_mut_ptr(), room.len()) })?;
    CStr::from_bytes_until_nul(room).map_err(|_| Errno::RANGE)
}
