//! Files that are installed on a host: compared, replaced atomically, removed. Programs that install runs.
//!
//! The content is bytes, or the executable of this process. No path is read or written through a link at its end.

#![forbid(unsafe_code)]

use crate::mem::{self, Ends as _, parts};
use crate::sys::linux::fs::{self, AT_FDCWD, File};
use crate::sys::linux::process;
use crate::sys::{self, Errno};
use crate::wire::Writer;
use core::ffi::CStr;
use rustix::fd::AsRawFd as _;
use rustix::fs::{CWD, OFlags};

/// Longest path (bytes, with its NUL).
pub const PATH_BYTES_MAX: usize = 256;
/// Length (bytes) of a read for comparing and copying.
const CHUNK_BYTES: usize = 4096;
/// Directories that are searched for programs if PATH is not set.
const DEFAULT_PATH: &[u8] = b"/bin:/sbin:/usr/bin:/usr/sbin";
/// Flags for a file that is read: not through a link, and without waiting for the writer of a FIFO.
const READ: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// A path in a buffer.
pub type PathBuffer = [u8; PATH_BYTES_MAX];

/// Joins `pieces` to a path. Empty if they are too long.
pub fn join<'b>(pieces: &[&[u8]], buffer: &'b mut PathBuffer) -> &'b CStr {
    let mut path = Writer::new(buffer);
    for piece in pieces {
        path.put(piece);
    }
    path.put(b"\0");
    let len = path.written().unwrap_or(0);
    mem::c_str(buffer.head(len))
}

/// The executable of this process.
#[derive(Debug)]
pub struct Program(File);

impl Program {
    /// Opens it: by /proc, else by the name that it was started by.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn own() -> Result<Self, Errno> {
        // ESXi has no /proc/self/exe: EINVAL.
        let file = File::open(c"/proc/self/exe", OFlags::NOCTTY, 0).or_else(|_: Errno| {
            let mut buffer = [0; PATH_BYTES_MAX];
            let name = sys::linux::program_name().to_bytes();
            let path = find_program(name, &mut buffer).ok_or(Errno::NOENT)?;
            File::open(path, OFlags::NOCTTY, 0)
        });
        file.map(Self)
    }
}

/// The content of a file.
#[derive(Debug)]
pub enum Content<'c> {
    /// The bytes of the executable.
    Copy(&'c Program),
    /// These bytes.
    Bytes(&'c [u8]),
}

impl Content<'_> {
    /// Reads from `offset` into `buffer`; empty at the end.
    fn chunk<'b>(&'b self, offset: u64, buffer: &'b mut [u8]) -> Result<&'b [u8], Errno> {
        match self {
            Self::Copy(Program(file)) => {
                let len = fs::pread::<Errno>(file.as_raw_fd(), offset, buffer)?;
                Ok(buffer.head(len as usize))
            }
            Self::Bytes(bytes) => {
                let rest = bytes.tail(offset as usize);
                Ok(rest.head(rest.len().min(buffer.len())))
            }
        }
    }
}

/// The object at a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// No object.
    Missing,
    /// A file with the compared content, or a link with the compared target.
    Same,
    /// A file that has the mark.
    Marked,
    /// Another object.
    Other,
}

/// Compares the file at `path` with `content`. A different file that contains `mark` is `Marked`.
///
/// # Errors
/// Those of open(2) and pread(2).
pub fn compare(path: &CStr, content: &Content<'_>, mark: &[u8]) -> Result<Found, Errno> {
    let file = match File::open(path, READ, 0) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Found::Missing),
        // A link; a socket.
        Err(Errno::LOOP | Errno::NXIO) => return Ok(Found::Other),
        Err(errno) => return Err(errno),
    };
    let (mut one, mut other, mut offset) = ([0; CHUNK_BYTES], [0; CHUNK_BYTES], 0);
    loop {
        let read = match fs::pread::<Errno>(file.as_raw_fd(), offset, &mut one) {
            Ok(len) => one.head(len as usize),
            // A directory; a FIFO.
            Err(Errno::ISDIR | Errno::SPIPE | Errno::AGAIN) => return Ok(Found::Other),
            Err(errno) => return Err(errno),
        };
        if read != content.chunk(offset, &mut other)? {
            return Ok(match has_mark(&file, mark)? {
                true => Found::Marked,
                false => Found::Other,
            });
        }
        if read.is_empty() {
            return Ok(Found::Same);
        }
        offset += read.len() as u64;
    }
}

/// Returns true if `file` contains `mark`.
fn has_mark(file: &File, mark: &[u8]) -> Result<bool, Errno> {
    let (mut buffer, mut offset) = ([0; CHUNK_BYTES], 0);
    loop {
        let len = fs::pread::<Errno>(file.as_raw_fd(), offset, &mut buffer)? as usize;
        let read = buffer.head(len);
        if read.windows(mark.len().max(1)).any(|part| part == mark) {
            return Ok(true);
        }
        if len < CHUNK_BYTES {
            return Ok(false);
        }
        // The mark may be in two reads.
        offset += (CHUNK_BYTES - mark.len()) as u64;
    }
}

/// Compares the target of the link at `path`. `Other`: not a link, or one with another target.
///
/// # Errors
/// Those of readlink(2).
pub fn compare_link(path: &CStr, target: &[u8]) -> Result<Found, Errno> {
    let mut buffer = [0u8; PATH_BYTES_MAX];
    match rustix::fs::readlinkat_raw(CWD, path, &mut buffer[..]) {
        Ok(len) if buffer.head(len) == target => Ok(Found::Same),
        Ok(_) | Err(Errno::INVAL) => Ok(Found::Other),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(Found::Missing),
        Err(errno) => Err(errno),
    }
}

/// Replaces the file at `path` atomically and durably, by a file beside it whose name ends with `.new`. Makes the directory if it is
/// missing.
///
/// # Errors
/// Those of mkdir(2), open(2), pwrite(2), fsync(2) and rename(2). The new file is then removed.
pub fn replace(path: &CStr, content: &Content<'_>, mode: u32) -> Result<(), Errno> {
    let mut buffer = [0; PATH_BYTES_MAX];
    let new_path = join(&[path.to_bytes(), b".new"], &mut buffer);
    let flags = READ | OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
    let file = match File::open(new_path, flags, mode) {
        Err(Errno::NOENT) => {
            fs::mkdirat::<Errno>(AT_FDCWD, parent(path), 0o755)?;
            File::open::<Errno>(new_path, flags, mode)?
        }
        file => file?,
    };
    let (from, to) = ((AT_FDCWD, new_path.to_bytes()), (AT_FDCWD, path.to_bytes()));
    let done = fill(&file, content)
        // The umask may have removed bits.
        .and_then(|()| fs::chmod(file.as_raw_fd(), None, mode))
        .and_then(|()| fs::fsync(file.as_raw_fd()))
        .and_then(|()| fs::renameat(from, to, true));
    if done.is_err() {
        let _ = fs::unlinkat::<Errno>(AT_FDCWD, new_path.to_bytes(), false);
    }
    done.and_then(|()| sync_parent(path))
}

/// Overwrites the file at `path` in place, so that its mode, owner and inode stay.
///
/// # Errors
/// Those of open(2), pwrite(2), ftruncate(2) and fsync(2).
pub fn overwrite(path: &CStr, bytes: &[u8]) -> Result<(), Errno> {
    let file = File::open::<Errno>(path, READ | OFlags::WRONLY, 0)?;
    fill(&file, &Content::Bytes(bytes))?;
    fs::truncate(file.as_raw_fd(), None, bytes.len() as u64)?;
    fs::fsync(file.as_raw_fd())
}

fn fill(file: &File, content: &Content<'_>) -> Result<(), Errno> {
    let (mut buffer, mut offset) = ([0; CHUNK_BYTES], 0);
    loop {
        let chunk = content.chunk(offset, &mut buffer)?;
        if chunk.is_empty() {
            return Ok(());
        }
        let written = fs::pwrite::<Errno>(file.as_raw_fd(), offset, chunk)?;
        if written as usize != chunk.len() {
            return Err(Errno::NOSPC);
        }
        offset += u64::from(written);
    }
}

/// Makes a symbolic link.
///
/// # Errors
/// EPERM: the file system has no links. Those of symlink(2) and of unlink(2), for a link to replace.
pub fn link(path: &CStr, target: &CStr) -> Result<(), Errno> {
    fs::symlinkat(target, AT_FDCWD, path.to_bytes()).and_then(|()| sync_parent(path))
}

/// Removes the file or link at `path`.
///
/// # Errors
/// Those of unlink(2).
pub fn remove(path: &CStr) -> Result<(), Errno> {
    fs::unlinkat(AT_FDCWD, path.to_bytes(), false).and_then(|()| sync_parent(path))
}

/// Removes the directory of `path` if it is empty.
pub fn remove_parent(path: &CStr) {
    let _ = fs::unlinkat::<Errno>(AT_FDCWD, parent(path), true);
}

/// Returns the path of the directory of an absolute path.
pub fn parent(path: &CStr) -> &[u8] {
    let path = path.to_bytes();
    let len = path.iter().rposition(|byte| *byte == b'/');
    path.head(len.unwrap_or(0).max(1))
}

/// Makes the change of a name durable.
fn sync_parent(path: &CStr) -> Result<(), Errno> {
    let mut buffer = [0; PATH_BYTES_MAX];
    let dir = join(&[parent(path)], &mut buffer);
    let dir = File::open::<Errno>(dir, OFlags::DIRECTORY, 0)?;
    // Some file systems cannot sync a directory.
    let _ = fs::sync(dir.as_raw_fd());
    Ok(())
}

/// Returns the path of the program `name`: itself if it has a slash, else the first one in a directory of PATH.
fn find_program<'b>(name: &[u8], buffer: &'b mut PathBuffer) -> Option<&'b CStr> {
    let has_slash = name.contains(&b'/');
    let path = sys::variable(b"PATH=").unwrap_or(DEFAULT_PATH);
    let dirs = if has_slash { b"" } else { path };
    let separator = if has_slash { &b""[..] } else { b"/" };
    for dir in parts(dirs, b':') {
        let path = join(&[dir, separator, name], buffer);
        if super::files::exists(path) {
            let len = path.count_bytes() + 1;
            return Some(mem::c_str(buffer.head(len)));
        }
    }
    None
}

/// Runs the program `name` with `words`, and waits for its end. Returns its exit status, -1 if a signal killed it.
///
/// # Errors
/// ENOENT: not found; those of fork(2).
pub fn run(name: &CStr, words: &[&CStr]) -> Result<i32, Errno> {
    let mut buffer = [0; PATH_BYTES_MAX];
    let path = find_program(name.to_bytes(), &mut buffer).ok_or(Errno::NOENT)?;
    if process::split()?.is_none() {
        // No variable begins with "=": the program gets all.
        process::become_program(path, words, b"", b"=");
    }
    Ok(process::reap_any(true).map_or(-1, |(_, status)| status))
}
