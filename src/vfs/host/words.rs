//! What the host says, in the words of the trait.

use super::super::{Attr, FileTime, FsError, FsResult, Kind, Space, handle};
use crate::sys::Errno;
use crate::sys::files::{self, File, Stat};
use core::ffi::CStr;
use rustix::fs::OFlags;

/// Tells an inode from a later one of the same number: when it was made.
pub(super) const fn generation(stat: &Stat) -> u32 {
    handle::digest(stat.stx_btime.tv_sec as u64, stat.stx_btime.tv_nsec as u64)
}

/// What kind of object it is.
#[inline(never)]
pub(super) const fn kind(stat: &Stat) -> Kind {
    match stat.stx_mode & 0o170_000 {
        0o040_000 => Kind::Directory,
        0o120_000 => Kind::SymbolicLink,
        0o010_000 => Kind::Fifo,
        0o140_000 => Kind::Socket,
        0o060_000 => Kind::BlockDevice,
        0o020_000 => Kind::CharacterDevice,
        _ => Kind::Regular,
    }
}

/// The attributes of an object in the export of `tag`.
#[inline(never)]
pub(super) fn attr(stat: &Stat, tag: u32) -> Attr {
    let time = |(secs, nanos)| FileTime { secs, nanos };
    Attr {
        kind: kind(stat),
        mode: u32::from(stat.stx_mode) & 0o7777,
        nlink: stat.stx_nlink,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        size: stat.stx_size,
        used: stat.stx_blocks.saturating_mul(512),
        rdev: (stat.stx_rdev_major, stat.stx_rdev_minor),
        fsid: tag.into(),
        inode: stat.stx_ino,
        atime: time((stat.stx_atime.tv_sec, stat.stx_atime.tv_nsec)),
        mtime: time((stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec)),
        ctime: time((stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec)),
    }
}

/// How full the file system is that `file` lies on.
pub(super) fn space(file: &File) -> FsResult<Space> {
    const READ_ONLY: u64 = 1;
    const NO_SET_USER: u64 = 2;
    let system = rustix::fs::fstatfs(file).map_err(error)?;
    let unit = if system.f_frsize == 0 {
        system.f_bsize
    } else {
        system.f_frsize
    };
    let bytes = |blocks: u64| blocks.saturating_mul(unit as u64);
    let flags = system.f_flags as u64;
    Ok(Space {
        unit_bytes: unit as u32,
        id: files::system_id(&system),
        read_only: flags & READ_ONLY != 0,
        ignores_set_user: flags & NO_SET_USER != 0,
        total_bytes: bytes(system.f_blocks),
        free_bytes: bytes(system.f_bfree),
        available_bytes: bytes(system.f_bavail),
        total_files: system.f_files,
        free_files: system.f_ffree,
        name_bytes_max: system.f_namelen as u32,
    })
}

/// What errors of the host mean to a client. All others are `Io`, the last.
const ERRORS: [(Errno, FsError); 29] = [
    (Errno::PERM, FsError::Permission),
    (Errno::NOENT, FsError::NoEntry),
    (Errno::ACCESS, FsError::Access),
    // A program that is running, a directory that something is mounted on.
    (Errno::TXTBSY, FsError::Access),
    (Errno::BUSY, FsError::Access),
    (Errno::EXIST, FsError::Exists),
    (Errno::XDEV, FsError::CrossDevice),
    (Errno::NOTDIR, FsError::NotDirectory),
    (Errno::ISDIR, FsError::IsDirectory),
    (Errno::INVAL, FsError::Invalid),
    // A link where a file was: O_NOFOLLOW says so.
    (Errno::LOOP, FsError::Invalid),
    (Errno::NXIO, FsError::Invalid),
    (Errno::FBIG, FsError::TooLarge),
    (Errno::NOSPC, FsError::NoSpace),
    (Errno::DQUOT, FsError::Quota),
    (Errno::MLINK, FsError::TooManyLinks),
    (Errno::NOTEMPTY, FsError::NotEmpty),
    (Errno::NAMETOOLONG, FsError::NameTooLong),
    (Errno::STALE, FsError::Stale),
    (Errno::NOSYS, FsError::NotSupported),
    (Errno::OPNOTSUPP, FsError::NotSupported),
    (Errno::OVERFLOW, FsError::NotSupported),
    (Errno::MFILE, FsError::TryLater),
    (Errno::NFILE, FsError::TryLater),
    (Errno::NOMEM, FsError::TryLater),
    (Errno::AGAIN, FsError::TryLater),
    (Errno::INTR, FsError::TryLater),
    (Errno::ROFS, FsError::ReadOnly),
    (Errno::IO, FsError::Io),
];

/// Asks for the attributes of a file.
#[inline(never)]
pub(super) fn stat(file: &File, out: &mut Stat) -> FsResult<()> {
    files::stat(file, out).map_err(error)
}

/// Opens the entry `name` of a directory.
#[inline(never)]
pub(super) fn open(dir: &File, name: &CStr, flags: OFlags, mode: u32) -> FsResult<File> {
    files::open_at(dir, name, flags, mode).map_err(error)
}

/// What an error of the host means to a client.
#[inline(never)]
pub(super) fn error(errno: Errno) -> FsError {
    let meaning = ERRORS.iter().find(|(known, _)| *known == errno);
    meaning.map_or(FsError::Io, |(_, meaning)| *meaning)
}
