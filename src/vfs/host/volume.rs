//! Volumes: the file system of an export and, on btrfs, its subvolumes. Each has inode numbers of its own.

use super::super::handle;
use super::super::kernel::{self, PATH};
use super::super::{FsError, FsResult};
use crate::sys::linux::fs::{self, File, Statx};
use core::ffi::CStr;
use rustix::fd::AsRawFd as _;
use rustix::fs::StatFs;

/// Inode number of the top directory of every subvolume (statx). `BTRFS_FIRST_FREE_OBJECTID` of btrfs.
pub(super) const SUBVOLUME_TOP: u64 = 256;

/// A file system, or a subvolume of btrfs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Volume {
    /// Device number of its objects.
    pub(super) dev: u64,
    /// Its `fsid` in attributes, the same after a restart: the export's tag, or for a subvolume a digest of that and its `f_fsid`.
    pub(super) id: u32,
}

/// The volumes of an export.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Volumes {
    /// The one of the export's top.
    pub(super) top: Volume,
    /// The word of `f_fsid` that the subvolumes of one btrfs share; `None`: not a btrfs.
    family: Option<u32>,
}

/// Returns the word of `f_fsid` that the subvolumes of one btrfs share. The ID of the subvolume is added to the other word.
#[inline(never)]
fn family(system: &StatFs) -> Option<u32> {
    const BTRFS_MAGIC: u32 = 0x9123_683e;
    (system.f_type as u32 == BTRFS_MAGIC).then(|| fs::fsid(system) as u32)
}

impl Volumes {
    pub(super) const NONE: Self = Self {
        top: Volume { dev: 0, id: 0 },
        family: None,
    };

    /// The volumes of an export: `system` and `stat` describe its top.
    pub(super) fn new(tag: u32, system: &StatFs, stat: &Statx) -> Self {
        Self {
            top: Volume {
                dev: fs::device(stat),
                id: tag,
            },
            family: family(system),
        }
    }

    /// Returns the volume of the entry `name` of `file`, or of `file` itself if `name` is empty. `near` is that of its directory.
    ///
    /// # Errors
    /// `OtherFileSystem`: no subvolume of the export's btrfs; those of openat(2).
    #[inline(never)]
    pub(super) fn find(
        &self,
        near: Volume,
        file: &File,
        name: &CStr,
        stat: &Statx,
    ) -> FsResult<Volume> {
        if self.is_in(near, stat) {
            return Ok(near);
        }
        if !name.is_empty() {
            return self.find(near, &kernel::open(file, name, PATH, 0)?, c"", stat);
        }
        let system = fs::fstatfs(file.as_raw_fd()).map_err(kernel::error)?;
        if family(&system) != self.family {
            return Err(FsError::OtherFileSystem);
        }
        let dev = fs::device(stat);
        let id = match dev == self.top.dev {
            true => self.top.id,
            false => handle::digest(self.top.id.into(), fs::fsid(&system)),
        };
        Ok(Volume { dev, id })
    }

    /// As [`Volumes::find`], but a mount point is no part of any volume, whatever its file system.
    ///
    /// # Errors
    /// As [`Volumes::find`].
    #[inline(never)]
    pub(super) fn enter(
        &self,
        near: Volume,
        file: &File,
        name: &CStr,
        stat: &Statx,
    ) -> FsResult<Volume> {
        let volume = self.find(near, file, name, stat)?;
        if fs::device(stat) != volume.dev || fs::is_mount_root(stat) {
            return Err(FsError::OtherFileSystem);
        }
        Ok(volume)
    }

    /// Returns true if the export can contain subvolumes.
    pub(super) const fn has_subvolumes(&self) -> bool {
        self.family.is_some()
    }

    /// Returns true if an object of the export is in the volume `near`. All objects are if the file system is not a btrfs; an
    /// overlay has objects with several device numbers.
    pub(super) fn is_in(&self, near: Volume, stat: &Statx) -> bool {
        self.family.is_none() || fs::device(stat) == near.dev
    }

    /// The generation of an inode: a digest of its birth time, which differs if the inode number is reused, and of its subvolume:
    /// a snapshot has the inode numbers and birth times of its origin.
    pub(super) const fn generation(&self, volume: Volume, stat: &Statx) -> u32 {
        let born = handle::digest(stat.stx_btime.tv_sec as u64, stat.stx_btime.tv_nsec as u64);
        born ^ volume.id ^ self.top.id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reused_inode_number_is_another_object() {
        let made = |seconds, nanoseconds, id| {
            let mut stat = fs::blank();
            stat.stx_btime.tv_sec = seconds;
            stat.stx_btime.tv_nsec = nanoseconds;
            Volumes::NONE.generation(Volume { dev: 0, id }, &stat)
        };
        let made = [made(0, 0, 0), made(0, 1, 0), made(1, 0, 0), made(0, 0, 9)];
        for (at, one) in made.iter().enumerate() {
            assert!(!made[..at].contains(one));
        }
    }
}
