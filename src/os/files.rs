//! Files that a role reads or replaces as a whole: configuration, /proc and /sys, saved state.
//!
//! Only regular files are read, except by `read_at`, so that no read blocks.

#![forbid(unsafe_code)]

use crate::mem::Ends as _;
use crate::sys::Errno;
use crate::sys::linux::fs::{self, AT_FDCWD, File, Stat};
use crate::sys::linux::fsuid;
use core::ffi::CStr;
use core::mem::MaybeUninit;
use core::ops::ControlFlow;
use rustix::fd::{AsRawFd as _, RawFd};
use rustix::fs::{AtFlags, CWD, OFlags};

/// Flags for files that may be reached by a link: open neither blocks nor makes the file a controlling terminal.
const FOLLOW: OFlags = OFlags::NONBLOCK
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC)
    .union(OFlags::LARGEFILE);
/// [`FOLLOW`] without following links.
const READ: OFlags = FOLLOW.union(OFlags::NOFOLLOW);
/// Flags for a file that is created or overwritten.
const WRITE: OFlags = READ
    .union(OFlags::WRONLY)
    .union(OFlags::CREATE)
    .union(OFlags::TRUNC);

/// Attributes of a directory entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Info {
    /// True for a regular file.
    pub is_file: bool,
    /// True for a directory.
    pub is_directory: bool,
    /// True for a character device.
    pub is_device: bool,
    /// Device number of the file system that contains the entry.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Size (bytes).
    pub size: u64,
    /// Modification time in nanoseconds since 1970.
    pub written: u64,
}

impl Info {
    /// Reads the attributes of the entry `path` of `dir`, or of `dir` itself if `path` is empty.
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion)] // The widths differ from one architecture to the next.
    fn of(dir: RawFd, path: &CStr) -> Result<Self, Errno> {
        let mut buffer = MaybeUninit::uninit();
        let stat: &Stat = fs::fstatat::<Errno>(dir, path, AtFlags::SYMLINK_NOFOLLOW, &mut buffer)?;
        let kind = stat.st_mode >> 12 & 0o17;
        // Overflows in the year 2554.
        let written = (stat.st_mtime as u64).wrapping_mul(1_000_000_000);
        Ok(Self {
            is_file: kind == 0o10,
            is_directory: kind == 0o04,
            is_device: kind == 0o02,
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            size: stat.st_size as u64,
            written: written.wrapping_add(stat.st_mtime_nsec as u64),
        })
    }
}

/// An open directory.
#[derive(Debug)]
pub struct Directory(File);

impl Directory {
    /// Opens the directory at `path`, following links: the path is the user's own.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn open(path: &CStr) -> Result<Self, Errno> {
        if crate::sys::is_bare() {
            return Err(Errno::OPNOTSUPP);
        }
        // A file server in the same loop may have set the file-system UID of another user.
        fsuid::restore();
        File::open(path, OFlags::DIRECTORY, 0).map(Self)
    }

    /// The current directory, which is not opened: it may be unreadable.
    pub fn current() -> Self {
        fsuid::restore();
        Self(File::current())
    }

    /// Opens the subdirectory `name`; follows a link if `follows`.
    ///
    /// # Errors
    /// Errors of openat(2). ENOTDIR: `name` is a file, or a link and `follows` is false.
    pub fn directory(&self, name: &[u8], follows: bool) -> Result<Self, Errno> {
        let mut flags = FOLLOW.union(OFlags::DIRECTORY);
        flags.set(OFlags::NOFOLLOW, !follows);
        self.open_entry(name, flags).map(Self)
    }

    /// Reads the directory's own attributes.
    ///
    /// # Errors
    /// Those of fstatat(2).
    pub fn own_info(&self) -> Result<Info, Errno> {
        Info::of(self.0.as_raw_fd(), c"")
    }

    /// Reads the attributes of the entry `name`. A symbolic link is not followed.
    ///
    /// # Errors
    /// Those of fstatat(2).
    pub fn info(&self, name: &CStr) -> Result<Info, Errno> {
        Info::of(self.0.as_raw_fd(), name)
    }

    /// Calls `each` with every name, including "." and "..", until it breaks. Returns true if it did not break.
    ///
    /// # Errors
    /// Those of getdents64(2).
    pub fn list(&self, each: &mut dyn FnMut(&CStr) -> ControlFlow<()>) -> Result<bool, Errno> {
        fs::list(self.0.as_raw_fd(), 0, &mut |found| each(found.name))
    }

    fn open_entry(&self, name: &[u8], flags: OFlags) -> Result<File, Errno> {
        fs::open_entry(self.0.as_raw_fd(), name, flags, 0).map(File::of)
    }

    /// Reads a regular file from its start, up to the length of `out`. Follows links. A character device, such as /dev/null, reads
    /// as an empty file.
    ///
    /// # Errors
    /// EISDIR; EINVAL: neither a file nor a directory; those of open(2) and pread(2).
    pub fn read<'o>(&self, name: &[u8], out: &'o mut [u8]) -> Result<&'o [u8], Errno> {
        let file = self.open_entry(name, FOLLOW).map_err(|errno| match errno {
            // A socket file.
            Errno::NXIO => Errno::INVAL,
            errno => errno,
        })?;
        let info = Info::of(file.as_raw_fd(), c"")?;
        if info.is_device {
            return Ok(&[]);
        }
        read_file(&file, &info, out)
    }

    /// Reads from `offset` of a file of any type. Does not follow links.
    ///
    /// # Errors
    /// Those of open(2) and pread(2).
    pub fn read_at<'o>(
        &self,
        name: &[u8],
        offset: u64,
        out: &'o mut [u8],
    ) -> Result<&'o [u8], Errno> {
        let file = self.open_entry(name, READ)?;
        let len = fs::pread::<Errno>(file.as_raw_fd(), offset, out)?;
        Ok(out.head(len as usize))
    }
}

/// A file that is overwritten as a whole.
#[derive(Debug)]
pub struct StateFile(File);

impl StateFile {
    /// Opens or creates the file `name` in `dir`, for this user alone. Each write to it is durable when it ends.
    ///
    /// # Errors
    /// Those of openat(2).
    pub fn open(dir: &Directory, name: &[u8]) -> Result<Self, Errno> {
        let flags = READ.union(OFlags::RDWR | OFlags::CREATE | OFlags::DSYNC);
        fs::open_entry(dir.0.as_raw_fd(), name, flags, 0o600).map(|file| Self(File::of(file)))
    }

    /// The number of its descriptor.
    pub fn number(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Locks it against other servers as long as the process has its descriptor.
    ///
    /// # Errors
    /// EBUSY: another server has locked it. A file system without locks is no error.
    pub fn lock(&self) -> Result<(), Errno> {
        match super::pid_file::lock(&self.0) {
            Err(Errno::BUSY) => Err(Errno::BUSY),
            _ => Ok(()),
        }
    }

    /// Reads it from the start, up to the length of `out`.
    ///
    /// # Errors
    /// As [`Directory::read`].
    pub fn read<'o>(&self, out: &'o mut [u8]) -> Result<&'o [u8], Errno> {
        read_file(&self.0, &Info::of(self.number(), c"")?, out)
    }

    /// Overwrites its start. Errors are ignored.
    pub fn write(&self, bytes: &[u8]) {
        let _ = fs::pwrite::<Errno>(self.number(), 0, bytes);
    }
}

/// Reads an open file if it is a regular file.
fn read_file<'o>(file: &File, info: &Info, out: &'o mut [u8]) -> Result<&'o [u8], Errno> {
    if info.is_directory {
        return Err(Errno::ISDIR);
    }
    if !info.is_file {
        return Err(Errno::INVAL);
    }
    let len = fs::pread::<Errno>(file.as_raw_fd(), 0, out)?;
    Ok(out.head(len as usize))
}

/// Reads the regular file at `path`, up to the length of `out`. Does not follow a link.
///
/// # Errors
/// As [`Directory::read`].
pub fn read<'o>(path: &CStr, out: &'o mut [u8]) -> Result<&'o [u8], Errno> {
    fsuid::restore();
    let file = File::open::<Errno>(path, READ, 0)?;
    read_file(&file, &Info::of(file.as_raw_fd(), c"")?, out)
}

/// Returns true if there is an object at `path`.
pub fn exists(path: &CStr) -> bool {
    find(path).is_ok()
}

/// Checks that there is an object at `path`. Links are followed.
///
/// # Errors
/// EOPNOTSUPP without an operating system; those of open(2).
pub fn find(path: &CStr) -> Result<(), Errno> {
    if crate::sys::is_bare() {
        return Err(Errno::OPNOTSUPP);
    }
    fsuid::restore();
    File::open(path, OFlags::PATH, 0).map(drop)
}

/// Replaces the file at `path` atomically: writes `bytes` to `new_path`, syncs and renames it.
///
/// # Errors
/// Those of open(2), pwrite(2), fsync(2) and rename(2). `new_path` is then removed.
pub fn replace(path: &CStr, new_path: &CStr, bytes: &[u8]) -> Result<(), Errno> {
    let file = File::open::<Errno>(new_path, WRITE, 0o644)?;
    let done = fill(&file, bytes).and_then(|()| rustix::fs::renameat(CWD, new_path, CWD, path));
    if done.is_err() {
        let _ = rustix::fs::unlinkat(CWD, new_path, AtFlags::empty());
    }
    done
}

fn fill(file: &File, bytes: &[u8]) -> Result<(), Errno> {
    let file = file.as_raw_fd();
    let written = fs::pwrite::<Errno>(file, 0, bytes)?;
    if written as usize != bytes.len() {
        return Err(Errno::NOSPC);
    }
    fs::fsync(file)
}

/// Creates a directory with mode 0700 unless it exists.
pub fn make_private_directory(path: &CStr) {
    let _ = fs::mkdirat::<Errno>(AT_FDCWD, path.to_bytes(), 0o700);
}
