//! Code that `host` and `user` share: calls of the kernel, with results and errno translated to the types of [`super::Vfs`].

use super::volume::{self, Disk, Disks};
use super::{Attr, FileTime, FsError, FsResult, FsStat, Name, ObjectType};
use crate::sys::Errno;
use crate::sys::linux::fs::{self, File, Statx};
use core::ffi::CStr;
use core::mem::MaybeUninit;
use rustix::fd::{AsRawFd as _, RawFd};
use rustix::fs::{AtFlags, OFlags, SeekFrom, StatFs};

pub(super) mod change;

/// Flags for reading a regular file. If the file was swapped for a FIFO or a terminal, open(2) neither blocks nor makes it the
/// controlling terminal.
pub(super) const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC)
    .union(OFlags::LARGEFILE);
/// [`READ`] for reading and writing.
pub(super) const WRITE: OFlags = READ.union(OFlags::RDWR);
/// Flags for lookups below an object (O_PATH); a symbolic link is not followed.
pub(super) const PATH: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Magic numbers of pseudo file systems: reading their files can have effects, or never end.
static PSEUDO_FILE_SYSTEMS: [u32; 21] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0x6265_6570, // configfs
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x1cd1,      // devpts
    0xcafe_4a11, // bpf
    0xde5e_81e4, // efivarfs
    0xf97c_ff8c, // selinuxfs
    0x6573_5543, // fusectl
    0x4249_4e4d, // binfmt_misc
    0x6e66_7364, // nfsd
    0x6165_676c, // pstore
    0x1980_0202, // mqueue
    0x6759_6969, // rpc_pipefs
    0x0765_5821, // resctrl
    0x4341_5d53, // smackfs
    0x6e73_6673, // nsfs
];

/// Returns true for a pseudo file system such as proc.
pub(super) fn is_pseudo(system: &StatFs) -> bool {
    for kind in &PSEUDO_FILE_SYSTEMS {
        if *kind == system.f_type as u32 {
            return true;
        }
    }
    false
}

/// Returns true for a tmpfs.
pub(super) const fn is_in_memory(system: &StatFs) -> bool {
    const TMPFS_MAGIC: u32 = 0x0102_1994;
    system.f_type as u32 == TMPFS_MAGIC
}

/// A name with a NUL at its end.
pub(super) fn terminated<'a>(name: Name<'_>, buffer: &'a mut [u8; 256]) -> &'a CStr {
    // A name holds no NUL and is at most 255 bytes long, so the terminator is the zero that follows it.
    buffer
        .iter_mut()
        .zip(name.bytes())
        .for_each(|(buffer, byte)| *buffer = *byte);
    let end = name.bytes().len();
    crate::mem::c_str(buffer.get(..=end).unwrap_or_default())
}

/// The attributes of an object in the export of `tag`.
pub(super) fn attr(stat: &Statx, tag: u32) -> Attr {
    let time = |(secs, nanos)| FileTime { secs, nanos };
    Attr {
        kind: ObjectType::of_mode(stat.stx_mode as u32),
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

/// The attributes of the object at `path` relative to `dir`, or of the open object `dir` if `path` is empty (fstatat).
#[allow(clippy::unnecessary_cast, clippy::useless_conversion)] // The widths differ from one architecture to the next.
pub(super) fn stat_path(dir: RawFd, path: &CStr, flags: AtFlags) -> FsResult<Attr> {
    let mut buffer = MaybeUninit::uninit();
    let stat = fs::fstatat::<FsError>(dir, path, flags, &mut buffer)?;
    let time = |secs, nanos| FileTime { secs, nanos };
    Ok(Attr {
        kind: ObjectType::of_mode(stat.st_mode as u32),
        mode: stat.st_mode as u32 & 0o7777,
        nlink: stat.st_nlink as u32,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: stat.st_size as u64,
        used: (stat.st_blocks as u64).saturating_mul(512),
        rdev: fs::device_numbers(stat.st_rdev as u32),
        fsid: stat.st_dev as u64,
        inode: stat.st_ino as u64,
        atime: time(stat.st_atime as i64, stat.st_atime_nsec as u32),
        mtime: time(stat.st_mtime as i64, stat.st_mtime_nsec as u32),
        ctime: time(stat.st_ctime as i64, stat.st_ctime_nsec as u32),
    })
}

/// Space and limits of the file system of `file`.
pub(super) fn statfs(file: RawFd) -> FsResult<FsStat> {
    const READ_ONLY: u64 = 1;
    const NO_SET_USER: u64 = 2;
    let system = fs::fstatfs(file).map_err(error)?;
    let unit = if system.f_frsize == 0 {
        system.f_bsize
    } else {
        system.f_frsize
    };
    let bytes = |blocks: u64| blocks.saturating_mul(unit as u64);
    let flags = system.f_flags as u64;
    Ok(FsStat {
        unit_bytes: unit as u32,
        id: fs::fsid(&system),
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

const ERROR_COUNT: usize = 30;
/// Translation of errno to [`FsError`]. Any errno that is not listed becomes `Io`.
const ERRORS: [(Errno, FsError); ERROR_COUNT] = [
    (Errno::PERM, FsError::Permission),
    (Errno::NOENT, FsError::NoEntry),
    (Errno::ACCESS, FsError::Access),
    // ETXTBSY: a running program. EBUSY: a mount point.
    (Errno::TXTBSY, FsError::Access),
    (Errno::BUSY, FsError::Access),
    (Errno::EXIST, FsError::Exists),
    (Errno::XDEV, FsError::CrossDevice),
    (Errno::NOTDIR, FsError::NotDirectory),
    (Errno::ISDIR, FsError::IsDirectory),
    (Errno::INVAL, FsError::Invalid),
    // ELOOP: also returned for a symbolic link if O_NOFOLLOW is set.
    (Errno::LOOP, FsError::TooManyFollowed),
    // ENXIO: a FIFO without a reader, or a socket.
    (Errno::NXIO, FsError::Access),
    (Errno::FBIG, FsError::TooLarge),
    (Errno::NOSPC, FsError::NoSpace),
    (Errno::DQUOT, FsError::Quota),
    (Errno::MLINK, FsError::TooManyLinks),
    (Errno::NOTEMPTY, FsError::NotEmpty),
    (Errno::NAMETOOLONG, FsError::NameTooLong),
    // ERANGE: a path is longer than the buffer.
    (Errno::RANGE, FsError::NameTooLong),
    (Errno::STALE, FsError::Stale),
    // EBADF: the descriptor is O_PATH.
    (Errno::BADF, FsError::Stale),
    (Errno::NOSYS, FsError::NotSupported),
    (Errno::OPNOTSUPP, FsError::NotSupported),
    (Errno::OVERFLOW, FsError::NotSupported),
    (Errno::MFILE, FsError::TryLater),
    (Errno::NFILE, FsError::TryLater),
    (Errno::NOMEM, FsError::TryLater),
    (Errno::AGAIN, FsError::TryLater),
    (Errno::INTR, FsError::TryLater),
    (Errno::ROFS, FsError::ReadOnly),
];

/// [`ERRORS`] in fewer bytes: errno as `u8`, and the errors.
#[allow(clippy::indexing_slicing)] // Evaluated at compile time.
static SHORT: ([u8; ERROR_COUNT], [FsError; ERROR_COUNT]) = {
    let mut short = ([0; ERROR_COUNT], [FsError::Io; ERROR_COUNT]);
    let mut at = 0;
    while at < ERROR_COUNT {
        let (errno, meaning) = ERRORS[at];
        assert!(errno.raw_os_error() < 256);
        (short.0[at], short.1[at]) = (errno.raw_os_error() as u8, meaning);
        at += 1;
    }
    short
};

/// Calls statx(2) for an open file.
pub(super) fn stat(file: &File, out: &mut Statx) -> FsResult<()> {
    fs::statx(file, c"", out).map_err(error)
}

impl fs::DirectoryRecord<'_> {
    /// Kind of the object; `None` if the file system does not store it in the directory.
    pub(super) fn kind(&self) -> Option<ObjectType> {
        (self.kind != 0).then(|| ObjectType::of_mode(u32::from(self.kind) << 12))
    }
}

/// Opens the entry `name` of a directory.
pub(super) fn open(dir: &File, name: &CStr, flags: OFlags, mode: u32) -> FsResult<File> {
    fs::openat(dir.as_raw_fd(), name, flags, mode).map(File::of)
}

/// Translates an errno.
pub(super) fn error(errno: Errno) -> FsError {
    for (known, meaning) in SHORT.0.iter().zip(&SHORT.1) {
        if u16::from(*known) == errno.raw_os_error() as u16 {
            return *meaning;
        }
    }
    FsError::Io
}

impl FsError {
    /// The errno of this error, for protocols with a message for each errno.
    pub fn number(self) -> u8 {
        for (known, meaning) in SHORT.0.iter().zip(&SHORT.1) {
            if *meaning == self {
                return *known;
            }
        }
        Errno::IO.raw_os_error() as u8
    }
}

impl From<Errno> for FsError {
    fn from(errno: Errno) -> Self {
        error(errno)
    }
}

/// Fills `out` from `offset` of a file.
pub(super) fn read(file: &File, offset: u64, out: &mut [u8]) -> FsResult<u32> {
    fs::pread(file.as_raw_fd(), offset, out)
}

const _: () = assert!(READ.bits() & OFlags::NONBLOCK.bits() != 0);

/// Open files as disks that contain images.
struct Files;

/// An open file as a disk. The last user closes the file.
pub(super) fn disk(file: RawFd) -> Disk {
    Disk::new(&Files, file)
}

impl Disks for Files {
    fn read(&self, number: i32, offset: u64, out: &mut [u8]) -> FsResult<u32> {
        fs::pread(number, offset, out)
    }

    fn attr(&self, number: i32) -> FsResult<Attr> {
        let mut attr = stat_path(number, c"", AtFlags::empty())?;
        if attr.kind == ObjectType::BlockDevice {
            attr.kind = ObjectType::Regular;
            attr.size = rustix::fs::seek(fs::borrow(number), SeekFrom::End(0)).map_err(error)?;
            // The device node may be created at each boot, so its inode and mtime identify nothing. Use device number and a
            // checksum.
            attr.inode = u64::from(attr.rdev.0) << 32 | u64::from(attr.rdev.1);
            attr.mtime = FileTime {
                secs: volume::sum(&|offset, out| self.read(number, offset, out)).into(),
                nanos: 0,
            };
        }
        Ok(attr)
    }

    fn close(&self, number: i32) {
        fs::close(number);
    }
}
