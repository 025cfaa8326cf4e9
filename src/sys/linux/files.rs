//! Files: what keeps one open, and calls that rustix lacks or that need a ladder: stat, listing, kernel handles, rights.

use super::{Errno, outcome};
use crate::config::DIRECTORY_BUFFER_BYTES;
use core::ffi::{CStr, c_char};
use core::mem::{MaybeUninit, offset_of, transmute};
use core::ops::ControlFlow;
use linux_raw_sys::general::{STATX_ATTR_MOUNT_ROOT, STATX_BASIC_STATS, STATX_BTIME, statx};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd as _, OwnedFd, RawFd};
use rustix::fs::{AtFlags, CWD, OFlags, StatFs};
use syscalls::{Sysno, raw_syscall};

/// A file, directory or socket that is open for as long as this lives.
///
/// rustix' own asks in each call whether it is one.
#[derive(Debug)]
pub struct File(RawFd);

impl File {
    /// What a call made that returns a new descriptor.
    pub(super) fn opened(returned: usize) -> Result<Self, Errno> {
        Ok(Self(outcome(returned)? as RawFd))
    }
}

impl File {
    /// Its number, which nobody closes from now on.
    pub fn leak(self) -> RawFd {
        core::mem::ManuallyDrop::new(self).0
    }
}

impl File {
    /// What has this number, which nobody else closes.
    pub const fn of(number: RawFd) -> Self {
        Self(number)
    }
}

impl From<OwnedFd> for File {
    fn from(file: OwnedFd) -> Self {
        Self(file.into_raw_fd())
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: it has the form of a number, and this one is open and not −1: the kernel has given it, or another owner.
        unsafe { transmute(self.0) }
    }
}

impl AsRawFd for File {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: nobody else owns the number.
        unsafe { raw_syscall!(Sysno::close, self.0) };
    }
}

/// Opens `path`; what is made thereby has the bits of `mode`.
pub fn open(path: &CStr, flags: OFlags, mode: u32) -> Result<File, Errno> {
    open_at(CWD, path, flags, mode)
}

/// Opens the entry `name` of `dir`; what is made thereby has the bits of `mode`.
pub fn open_at(dir: impl AsFd, name: &CStr, flags: OFlags, mode: u32) -> Result<File, Errno> {
    open_from(dir.as_fd().as_raw_fd(), name, flags, mode)
}

#[inline(never)]
fn open_from(dir: RawFd, name: &CStr, flags: OFlags, mode: u32) -> Result<File, Errno> {
    let flags = flags | OFlags::CLOEXEC | OFlags::LARGEFILE;
    // SAFETY: the kernel reads the name.
    File::opened(unsafe { raw_syscall!(Sysno::openat, dir, name.as_ptr(), flags.bits(), mode) })
}

/// What the host says of a file: the fields of statx(2).
pub type Stat = statx;

/// Where [`stat`] writes.
pub const fn blank() -> Stat {
    // SAFETY: a structure of numbers, for which zeros are values.
    unsafe { core::mem::zeroed() }
}

/// Asks for a file by its descriptor.
pub fn stat(file: impl AsFd, out: &mut Stat) -> Result<(), Errno> {
    stat_entry(file, c"", out)
}

/// Asks for the entry `name` of a directory, or for the file itself when `name` is empty. Symbolic links are not followed,
/// automounts not started.
pub fn stat_entry(dir: impl AsFd, name: &CStr, out: &mut Stat) -> Result<(), Errno> {
    stat_at(dir.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW, out)
}

/// Asks for what `name` leads to from a directory, or for the file itself when `name` is empty. Automounts are not started.
///
/// statx, else fstatat: the latter knows neither birth nor mount points, so both are as if there were none.
#[inline(never)]
pub fn stat_at(
    dir: BorrowedFd<'_>,
    name: &CStr,
    follow: AtFlags,
    out: &mut Stat,
) -> Result<(), Errno> {
    let flags = follow | AtFlags::NO_AUTOMOUNT | AtFlags::EMPTY_PATH;
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

/// The kernel's own name for a file, which outlives renames and restarts.
#[doc(alias = "file_handle")]
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct KernelHandle {
    len: u32,
    kind: i32,
    bytes: [u8; Self::BYTES_MAX],
}

impl KernelHandle {
    /// Bytes of the longest that there is room for; for longer ones the kernel says `OVERFLOW`.
    pub const BYTES_MAX: usize = 48;
    /// Room for the kernel to write one.
    pub const ROOM: Self = Self {
        len: Self::BYTES_MAX as u32,
        kind: 0,
        bytes: [0; Self::BYTES_MAX],
    };

    /// A handle from its parts, as far as there is room for them.
    pub fn new(kind: u8, from: &[u8]) -> Self {
        let mut handle = Self::ROOM;
        handle.len = 0;
        handle.kind = kind.into();
        for (to, from) in handle.bytes.iter_mut().zip(from) {
            *to = *from;
            handle.len += 1;
        }
        handle
    }

    /// The type, of which every file system in Linux uses one byte, and the bytes.
    pub fn parts(&self) -> (u8, &[u8]) {
        let len = Self::BYTES_MAX.min(self.len as usize);
        (self.kind as u8, self.bytes.split_at(len).0)
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
    out.len = KernelHandle::BYTES_MAX as u32;
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
) -> Result<File, Errno> {
    let flags = flags | OFlags::LARGEFILE;
    // SAFETY: the kernel reads the structure.
    File::opened(unsafe {
        raw_syscall!(
            Sysno::open_by_handle_at,
            mount.as_fd().as_raw_fd(),
            core::ptr::from_ref(handle),
            flags.bits()
        )
    })
}

pub(super) const fn device_number((major, minor): (u32, u32)) -> Result<u32, Errno> {
    if major >> 12 | minor >> 20 != 0 {
        return Err(Errno::INVAL);
    }
    Ok(minor & 0xff | major << 8 | (minor & !0xff) << 12)
}

/// Major and minor number of a device.
pub(crate) const fn device_parts(number: u32) -> (u32, u32) {
    (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xf_ff00)
}

/// Makes the entry `name` of a directory, a FIFO, a socket or a device with these bits and numbers. `INVAL`: the kernel has 12
/// bits for the major number and 20 for the minor.
pub fn make_node(dir: impl AsFd, name: &CStr, mode: u32, device: (u32, u32)) -> Result<(), Errno> {
    let (dir, device) = (dir.as_fd().as_raw_fd(), device_number(device)?);
    // SAFETY: the kernel reads the name.
    outcome(unsafe { raw_syscall!(Sysno::mknodat, dir, name.as_ptr(), mode, device) }).map(drop)
}

/// Gives what has a name in a directory another, which nothing has: else `EXIST`. `NOSYS` and `INVAL`: the kernel, or the file
/// system, cannot.
#[doc(alias = "renameat2")]
pub fn rename_new(
    from: impl AsFd,
    name: &CStr,
    to: impl AsFd,
    new_name: &CStr,
) -> Result<(), Errno> {
    const NO_REPLACE: usize = 1;
    let (from, to) = (from.as_fd().as_raw_fd(), to.as_fd().as_raw_fd());
    // SAFETY: the kernel reads two names.
    outcome(unsafe {
        raw_syscall!(
            Sysno::renameat2,
            from,
            name.as_ptr(),
            to,
            new_name.as_ptr(),
            NO_REPLACE
        )
    })
    .map(drop)
}

/// Changes the mode of what a descriptor stands for, also of one that is open only as a path. `NOSYS` on kernels before 6.6.
#[doc(alias = "fchmodat2")]
pub fn change_mode(file: impl AsFd, mode: u32) -> Result<(), Errno> {
    let (file, flags) = (file.as_fd().as_raw_fd(), AtFlags::EMPTY_PATH.bits());
    // SAFETY: the kernel reads an empty string.
    outcome(unsafe { raw_syscall!(Sysno::fchmodat2, file, c"".as_ptr(), mode, flags) }).map(drop)
}

/// The path of what a descriptor stands for, where there is /proc; nothing is looked up on the way.
pub fn path(file: impl AsFd, room: &mut [u8; 25]) -> &CStr {
    path_of(file.as_fd().as_raw_fd(), room)
}

/// The same for its number.
#[inline(never)]
pub fn path_of(mut rest: RawFd, room: &mut [u8; 25]) -> &CStr {
    *room = *b"/proc/self/fd/\0\0\0\0\0\0\0\0\0\0\0";
    let (mut end, mut more) = (14, rest);
    while more > 9 {
        more /= 10;
        end += 1;
    }
    while let Some(digit) = room.get_mut(end).filter(|_| end > 13) {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        end -= 1;
    }
    crate::mem::c_str(room)
}

/// Opens what a descriptor stands for once more, with other flags. `NOENT` where there is no /proc.
pub fn reopen(file: impl AsFd, flags: OFlags) -> Result<File, Errno> {
    let mut room = [0; 25];
    open(path(file, &mut room), flags, 0)
}

/// An entry of a directory while it is listed.
#[derive(Debug)]
pub struct Found<'a> {
    /// Its name.
    pub name: &'a CStr,
    /// Inode number.
    pub inode: u64,
    /// Where the listing goes on after it.
    pub cookie: u64,
}

impl Found<'_> {
    /// Whether it is "." or "..".
    pub fn is_dots(&self) -> bool {
        matches!(self.name.to_bytes(), b"." | b"..")
    }
}

/// An entry as the kernel writes it; the name goes on to its NUL.
#[doc(alias = "linux_dirent64")]
#[repr(C)]
struct RawEntry {
    inode: u64,
    cookie: u64,
    len: u16,
    kind: u8,
    name: [c_char; 0],
}

/// Calls `each` with the entries of a directory that follow the cookie `from` (0: all) until it breaks. True: that was the
/// last.
#[doc(alias = "getdents64")]
pub fn list<E: From<Errno>>(
    dir: RawFd,
    from: u64,
    each: &mut dyn FnMut(&Found<'_>) -> ControlFlow<()>,
) -> Result<bool, E> {
    super::named::list_from::<E>(dir, from)?;
    let mut buffer = [const { MaybeUninit::<u64>::uninit() }; DIRECTORY_BUFFER_BYTES / 8];
    let start = buffer.as_mut_ptr();
    loop {
        let len = super::named::list::<E>(dir, &mut buffer)?;
        if len == 0 {
            return Ok(true);
        }
        let mut at = 0;
        while at < len {
            // SAFETY: the kernel has written whole entries, one behind the other and aligned, and a NUL behind each name.
            let (entry, name) = unsafe {
                let entry = start.byte_add(at).cast::<RawEntry>();
                let name = entry.byte_add(offset_of!(RawEntry, name)).cast();
                (&*entry, CStr::from_ptr(name))
            };
            at += usize::from(entry.len);
            let found = Found {
                name,
                inode: entry.inode,
                cookie: entry.cookie,
            };
            if each(&found).is_break() {
                return Ok(false);
            }
        }
    }
}

/// Whether the process may use a file so, access lists included: `bits` are those of modes. `NOSYS` on kernels before 5.8.
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

/// The call that takes a wide offset.
#[cfg(target_pointer_width = "64")]
pub(super) const SENDFILE: Sysno = Sysno::sendfile;
#[cfg(target_pointer_width = "32")]
pub(super) const SENDFILE: Sysno = Sysno::sendfile64;

/// Sends a range of a file to a socket without copying it here; 0 is the end of the file.
pub fn send_file(socket: impl AsFd, file: i32, offset: u64, len: u32) -> Result<usize, Errno> {
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

/// A pipe as large as the host lets it be: the end to read from, and the other.
pub fn pipe() -> Result<(File, File), Errno> {
    const CLOEXEC_NONBLOCK: usize = 0o2_004_000;
    const SET_SIZE: usize = 1031;
    let mut ends = [0i32; 2];
    // SAFETY: the kernel writes two numbers.
    outcome(unsafe { raw_syscall!(Sysno::pipe2, ends.as_mut_ptr(), CLOEXEC_NONBLOCK) })?;
    let [from, to] = ends.map(File);
    // A pipe of the usual size moves less at once.
    // SAFETY: three numbers.
    unsafe { raw_syscall!(Sysno::fcntl, to.0, SET_SIZE, 1usize << 20) };
    Ok((from, to))
}

/// Moves bytes to or from a pipe without copying them here; 0 is the end. `offset` is that of a file that is written to.
pub fn splice(from: i32, to: i32, offset: Option<&mut u64>, len: usize) -> Result<usize, Errno> {
    const MOVE_NONBLOCK: usize = 1 | 2;
    let offset = offset.map_or(core::ptr::null_mut(), core::ptr::from_mut);
    // SAFETY: the kernel reads and writes the offset, if there is one.
    outcome(unsafe { raw_syscall!(Sysno::splice, from, 0, to, offset, len, MOVE_NONBLOCK) })
}

/// Reads from a pipe.
pub fn read_pipe(pipe: i32, out: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the kernel writes at most so many bytes.
    outcome(unsafe { raw_syscall!(Sysno::read, pipe, out.as_mut_ptr(), out.len()) })
}

/// The true path of a directory, which the current directory becomes; how long it is.
pub fn true_path(dir: RawFd, out: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: a number.
    outcome(unsafe { raw_syscall!(Sysno::fchdir, dir) })?;
    // SAFETY: the kernel writes at most `out.len()` bytes.
    let len = outcome(unsafe { raw_syscall!(Sysno::getcwd, out.as_mut_ptr(), out.len()) })?;
    // It counts the NUL.
    Ok(len.wrapping_sub(1))
}

/// The current directory's path.
pub fn current_dir(room: &mut [u8]) -> Result<&CStr, Errno> {
    // SAFETY: the kernel writes at most `room.len()` bytes.
    let len = outcome(unsafe { raw_syscall!(Sysno::getcwd, room.as_mut_ptr(), room.len()) })?;
    Ok(crate::mem::c_str(room.get(..len).unwrap_or_default()))
}
