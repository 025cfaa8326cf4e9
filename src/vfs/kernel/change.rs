//! Changes of names and attributes, with one system call each where the kernel has one.

use super::super::walk::{Text, add};
use super::super::{CreateWhat, FileTime, FsError, FsResult, NewTime, SetAttr};
use crate::sys::linux::fs::{self, AT_FDCWD};
use core::ffi::CStr;
use rustix::fd::RawFd;
use rustix::fs::{AtFlags, Timespec, Timestamps};

/// The times as utimensat(2) takes them.
fn times(atime: NewTime, mtime: NewTime) -> Timestamps {
    Timestamps {
        last_access: time(atime),
        last_modification: time(mtime),
    }
}

fn time(time: NewTime) -> Timespec {
    const NOW: i64 = 0x3fff_ffff;
    const OMIT: i64 = 0x3fff_fffe;
    let (tv_sec, nanos) = match time {
        NewTime::Keep => (0, OMIT),
        NewTime::Now => (0, NOW),
        NewTime::At(FileTime { secs, nanos }) => (secs, nanos.into()),
    };
    Timespec {
        tv_sec,
        tv_nsec: nanos as _,
    }
}

/// Changes attributes of an open file, or of the object at `path`. The owner first: only chown(2) can be refused to an owner. None
/// undoes another: chown and truncate clear set-user-ID. The owner is always changed through the descriptor.
pub(in super::super) fn set_attr(
    file: RawFd,
    path: Option<&CStr>,
    change: &SetAttr,
) -> FsResult<()> {
    if change.uid.is_some() || change.gid.is_some() {
        fs::chown::<FsError>(file, change.uid, change.gid)?;
    }
    if let Some(size) = change.size {
        fs::truncate::<FsError>(file, path, size)?;
    }
    if let Some(mode) = change.mode {
        fs::chmod::<FsError>(file, path, mode)?;
    }
    if change.times() {
        fs::set_times::<FsError>(file, path, &times(change.atime, change.mtime))?;
    }
    Ok(())
}

/// Creates any object but a regular file, which open(2) creates.
pub(in super::super) fn make(
    dir: RawFd,
    name: &[u8],
    make: CreateWhat<'_>,
    mode: Option<u32>,
) -> FsResult<()> {
    match make {
        CreateWhat::File => Ok(()),
        CreateWhat::Directory => fs::mkdirat(dir, name, mode.unwrap_or(0o777)),
        CreateWhat::Link(target) => {
            // The server does not follow the target, so every target is valid unless it is empty.
            if target.is_empty() {
                return Err(FsError::Invalid);
            }
            let mut text = Text::new();
            fs::symlinkat(terminate(&mut text, target)?, dir, name)
        }
        CreateWhat::Special(kind, device) => {
            fs::mknodat(dir, name, kind.bits() | mode.unwrap_or(0o666), device)
        }
    }
}

/// Appends `bytes` and a NUL to a path. `Invalid`: the path contains another NUL.
pub(in super::super) fn terminate<'a>(text: &'a mut Text, bytes: &[u8]) -> FsResult<&'a CStr> {
    add(text, bytes)?;
    add(text, b"\0")?;
    let path = crate::mem::c_str(text);
    if path.count_bytes() + 1 == text.len() {
        Ok(path)
    } else {
        Err(FsError::Invalid)
    }
}

/// Creates a hard link to an open object.
pub(in super::super) fn link(file: RawFd, dir: RawFd, name: &[u8]) -> FsResult<()> {
    let mut buffer = [0; 25];
    let path = fs::proc_path(file, &mut buffer);
    match fs::linkat(AT_FDCWD, path, dir, name, AtFlags::SYMLINK_FOLLOW) {
        // Without /proc: AT_EMPTY_PATH, which needs root, or since Linux 6.10 the process that opened the file.
        Err(FsError::NoEntry | FsError::NotDirectory) => {
            fs::linkat(file, c"", dir, name, AtFlags::EMPTY_PATH)
        }
        linked => linked,
    }
}
