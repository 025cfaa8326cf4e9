//! Files that a role reads as a whole, or replaces as a whole: configuration, what the host tells of itself, what is remembered.
//!
//! Nothing is read that blocks or is no file.

#![forbid(unsafe_code)]

use crate::mem::Ends as _;
use crate::sys::linux::fs::{self, AT_FDCWD, File, Stat};
use crate::sys::linux::fsuid;
use crate::vfs::{FsError, FsResult};
use core::ffi::CStr;
use core::mem::MaybeUninit;
use core::ops::ControlFlow;
use rustix::fd::{AsRawFd as _, RawFd};
use rustix::fs::{AtFlags, CWD, OFlags};

/// How what a name leads to is opened: it neither blocks nor becomes a terminal, whatever it is.
const FOLLOW: OFlags = OFlags::NONBLOCK
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC)
    .union(OFlags::LARGEFILE);
/// The same of what is no link.
const READ: OFlags = FOLLOW.union(OFlags::NOFOLLOW);
/// A file that is made, or written over.
const WRITE: OFlags = READ
    .union(OFlags::WRONLY)
    .union(OFlags::CREATE)
    .union(OFlags::TRUNC);

/// What is known of an entry of a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Info {
    /// It is an ordinary file.
    pub is_file: bool,
    /// It is a directory.
    pub is_directory: bool,
    /// The file system it lies on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// When it was written to last, in nanoseconds since 1970.
    pub written: u64,
}

impl Info {
    /// What is known of what `path` leads to from `dir`, or of `dir` itself when it is empty.
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion)] // The widths differ from one architecture to the next.
    fn of(dir: RawFd, path: &CStr) -> FsResult<Self> {
        let mut buffer = MaybeUninit::uninit();
        let stat: &Stat =
            fs::fstatat::<FsError>(dir, path, AtFlags::SYMLINK_NOFOLLOW, &mut buffer)?;
        let kind = stat.st_mode >> 12 & 0o17;
        // It lasts until the year 2554.
        let written = (stat.st_mtime as u64).wrapping_mul(1_000_000_000);
        Ok(Self {
            is_file: kind == 0o10,
            is_directory: kind == 0o04,
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            size: stat.st_size as u64,
            written: written.wrapping_add(stat.st_mtime_nsec as u64),
        })
    }
}

/// A directory that is open.
#[derive(Debug)]
pub struct Directory(File);

impl Directory {
    /// The directory that `path` leads to; links are followed, as it is the user's own.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn open(path: &CStr) -> FsResult<Self> {
        if crate::sys::is_bare() {
            return Err(FsError::NotSupported);
        }
        // In one loop with a server of files, the last request may have been another user's.
        fsuid::restore();
        File::open(path, OFlags::DIRECTORY, 0).map(Self)
    }

    /// The directory in it that has this name, or, if it `follows`, that which a link leads to.
    ///
    /// # Errors
    /// Those of openat(2); `NotDirectory` if it is a link that is not followed, or a file.
    pub fn directory(&self, name: &[u8], follows: bool) -> FsResult<Self> {
        let mut flags = FOLLOW.union(OFlags::DIRECTORY);
        flags.set(OFlags::NOFOLLOW, !follows);
        self.open_entry(name, flags).map(Self)
    }

    /// What is known of the directory itself.
    ///
    /// # Errors
    /// Those of fstatat(2).
    pub fn own_info(&self) -> FsResult<Info> {
        Info::of(self.0.as_raw_fd(), c"")
    }

    /// What is known of the entry of this name, which may be a link.
    ///
    /// # Errors
    /// Those of fstatat(2).
    pub fn info(&self, name: &CStr) -> FsResult<Info> {
        Info::of(self.0.as_raw_fd(), name)
    }

    /// Hands out the names in it, "." and ".." among them, until `each` breaks. True: these were all.
    ///
    /// # Errors
    /// Those of getdents64(2).
    pub fn list(&self, each: &mut dyn FnMut(&CStr) -> ControlFlow<()>) -> FsResult<bool> {
        fs::list(self.0.as_raw_fd(), 0, &mut |found| each(found.name))
    }

    fn open_entry(&self, name: &[u8], flags: OFlags) -> FsResult<File> {
        fs::open_entry(self.0.as_raw_fd(), name, flags, 0).map(File::of)
    }

    /// Reads an ordinary file, or that which a link leads to, from its beginning, as far as `out` has space for it.
    ///
    /// # Errors
    /// `IsDirectory`; `Invalid`: it is neither a file nor a directory; those of open(2) and pread(2).
    pub fn read<'o>(&self, name: &[u8], out: &'o mut [u8]) -> FsResult<&'o [u8]> {
        read_file(&self.open_entry(name, FOLLOW)?, out)
    }

    /// Reads from `offset` of a file of whatever kind.
    ///
    /// # Errors
    /// Those of open(2) and pread(2).
    pub fn read_at<'o>(&self, name: &[u8], offset: u64, out: &'o mut [u8]) -> FsResult<&'o [u8]> {
        let file = self.open_entry(name, READ)?;
        let len = fs::pread::<FsError>(file.as_raw_fd(), offset, out)?;
        Ok(out.head(len as usize))
    }
}

/// Reads what is open, if it is an ordinary file.
fn read_file<'o>(file: &File, out: &'o mut [u8]) -> FsResult<&'o [u8]> {
    let info = Info::of(file.as_raw_fd(), c"")?;
    if info.is_directory {
        return Err(FsError::IsDirectory);
    }
    if !info.is_file {
        return Err(FsError::Invalid);
    }
    let len = fs::pread::<FsError>(file.as_raw_fd(), 0, out)?;
    Ok(out.head(len as usize))
}

/// Reads the ordinary file at `path`, which is no link, as far as `out` has space for it.
///
/// # Errors
/// As [`Directory::read`].
pub fn read<'o>(path: &CStr, out: &'o mut [u8]) -> FsResult<&'o [u8]> {
    fsuid::restore();
    read_file(&File::open::<FsError>(path, READ, 0)?, out)
}

/// Puts a file with these bytes in the place of what is at `path`: it is written at `new_path` and renamed, so that one of both
/// is there whole whatever happens.
///
/// # Errors
/// Those of open(2), pwrite(2), fsync(2) and rename(2). There is nothing at `new_path` then.
pub fn replace(path: &CStr, new_path: &CStr, bytes: &[u8]) -> FsResult<()> {
    let file = File::open::<FsError>(new_path, WRITE, 0o644)?;
    let done =
        fill(&file, bytes).and_then(|()| Ok(rustix::fs::renameat(CWD, new_path, CWD, path)?));
    if done.is_err() {
        let _ = rustix::fs::unlinkat(CWD, new_path, AtFlags::empty());
    }
    done
}

fn fill(file: &File, bytes: &[u8]) -> FsResult<()> {
    let file = file.as_raw_fd();
    let written = fs::pwrite::<FsError>(file, 0, bytes)?;
    if written as usize != bytes.len() {
        return Err(FsError::NoSpace);
    }
    fs::fsync(file)
}

/// Makes a directory that only its owner uses, if it is not there.
pub fn make_private_directory(path: &CStr) {
    let _ = fs::mkdirat::<FsError>(AT_FDCWD, path.to_bytes(), 0o700);
}
