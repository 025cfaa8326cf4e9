//! What changes names and attributes, one call each wherever the kernel has one.

use super::super::{CreateWhat, FileTime, FsError, FsResult, Name, NewTime, SetAttr};
use super::{error, terminated};
use crate::sys::Errno;
use crate::sys::linux::fs::{self, File};
use core::ffi::CStr;
use rustix::fd::AsRawFd as _;
use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, Uid};

/// Bytes of the longest target of a symbolic link, and its NUL.
const TARGET_BYTES: usize = crate::config::LINK_BYTES_MAX + 1;

/// Gives an object to its new owner and group, if it is to have any.
pub(in super::super) fn own(file: &File, change: &SetAttr) -> FsResult<()> {
    if change.uid.is_none() && change.gid.is_none() {
        return Ok(());
    }
    let (uid, gid) = (change.uid.map(Uid::from_raw), change.gid.map(Gid::from_raw));
    rustix::fs::chownat(file, c"", uid, gid, AtFlags::EMPTY_PATH).map_err(error)
}

/// Two times for the kernel.
pub(in super::super) fn times(atime: NewTime, mtime: NewTime) -> Timestamps {
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

/// Makes anything but a regular file, which is made by opening it.
pub(in super::super) fn make(
    dir: &File,
    name: &CStr,
    make: CreateWhat<'_>,
    mode: Option<u32>,
) -> FsResult<()> {
    let bits = |default| mode.unwrap_or(default);
    match make {
        CreateWhat::File => Ok(()),
        CreateWhat::Directory => {
            rustix::fs::mkdirat(dir, name, Mode::from_bits_retain(bits(0o777)))
        }
        CreateWhat::Link(target) => {
            let mut buffer = [0; TARGET_BYTES];
            rustix::fs::symlinkat(target_text(target, &mut buffer)?, dir, name)
        }
        CreateWhat::Special(kind, device) => {
            let mode = kind.bits() | bits(0o666);
            fs::mknodat(dir.as_raw_fd(), name.to_bytes(), mode, device)
        }
    }
    .map_err(error)
}

/// The target of a symbolic link as text. It is never followed here, so it may be anything but empty.
fn target_text<'a>(target: &[u8], buffer: &'a mut [u8; TARGET_BYTES]) -> FsResult<&'a CStr> {
    let buffer = buffer
        .get_mut(..=target.len())
        .ok_or(FsError::NameTooLong)?;
    for (buffer, byte) in buffer.iter_mut().zip(target) {
        if *byte == 0 {
            return Err(FsError::Invalid);
        }
        *buffer = *byte;
    }
    if target.is_empty() {
        return Err(FsError::Invalid);
    }
    Ok(crate::mem::c_str(buffer))
}

/// Removes a name: that of an empty directory if `directory`, else that of anything else.
pub(in super::super) fn remove(dir: &File, name: Name<'_>, directory: bool) -> FsResult<()> {
    let mut text = [0; 256];
    let flags = if directory {
        AtFlags::REMOVEDIR
    } else {
        AtFlags::empty()
    };
    rustix::fs::unlinkat(dir, terminated(name, &mut text), flags).map_err(error)
}

/// Gives an object one more name.
pub(in super::super) fn link(file: &File, dir: &File, name: Name<'_>) -> FsResult<()> {
    let (mut text, mut buffer) = ([0; 256], [0; 25]);
    let name = terminated(name, &mut text);
    let path = fs::proc_path(file.as_raw_fd(), &mut buffer);
    match rustix::fs::linkat(CWD, path, dir, name, AtFlags::SYMLINK_FOLLOW) {
        // Without /proc only root can, and since Linux 6.10 the process that opened it.
        Err(Errno::NOENT | Errno::NOTDIR) => {
            rustix::fs::linkat(file, c"", dir, name, AtFlags::EMPTY_PATH)
        }
        linked => linked,
    }
    .map_err(error)
}
