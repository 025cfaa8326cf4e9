//! Volumes: the file system of an export and, on btrfs, its subvolumes. Each has inode numbers of its own.
//!
//! An overlay is one volume, although objects of different layers can have different device numbers and equal inode numbers
//! (Documentation/filesystems/overlayfs.rst, "Inode properties").

use super::super::handle;
use super::super::kernel::{self, PATH};
use super::super::{Attr, FsError, FsResult, ObjectType};
use crate::sys::linux::fs::{self, File, KernelHandle, Statx};
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

impl Volume {
    /// The attributes of an object in this volume. In an overlay, the `fileid` of an object with another device number than the
    /// directories depends on that number: its inode number is unique in its layer only.
    pub(super) fn attr(self, stat: &Statx) -> Attr {
        let mut attr = kernel::attr(stat, self.id);
        attr.inode ^= u64::from(self.layer(stat)) << 32;
        attr
    }

    /// A digest of the object's device number, 0 if it is the volume's.
    fn layer(self, stat: &Statx) -> u32 {
        match fs::device(stat) {
            dev if dev == self.dev => 0,
            dev => handle::digest(dev, 0) | 1,
        }
    }
}

/// The numbers by which a path handle identifies an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Identity {
    /// Inode number; for a directory of an overlay a digest of its kernel handle, if it has one.
    pub(super) inode: u64,
    /// Differs if the inode number is reused.
    pub(super) generation: u32,
}

/// The volumes of an export.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Volumes {
    /// The one of the export's top.
    pub(super) top: Volume,
    /// `f_type` and `f_fsid` of the export's file system.
    system: (u32, u64),
}

const BTRFS_MAGIC: u32 = 0x9123_683e;
const OVERLAYFS_MAGIC: u32 = 0x794c_7630;

/// `f_type` and `f_fsid` of a file system.
fn system_id(system: &StatFs) -> (u32, u64) {
    (system.f_type as u32, fs::fsid(system))
}

/// Returns the word of `f_fsid` that the subvolumes of one btrfs share; `None`: not a btrfs. The ID of the subvolume is added to
/// the other word.
fn family((kind, id): (u32, u64)) -> Option<u32> {
    (kind == BTRFS_MAGIC).then_some(id as u32)
}

impl Volumes {
    pub(super) const NONE: Self = Self {
        top: Volume { dev: 0, id: 0 },
        system: (0, 0),
    };

    /// The volumes of an export: `system` and `stat` describe its top. The caller sets the ID of the top's volume.
    pub(super) fn new(system: &StatFs, stat: &Statx) -> Self {
        Self {
            top: Volume {
                dev: fs::device(stat),
                id: 0,
            },
            system: system_id(system),
        }
    }

    /// Returns the volume of the entry `name` of `file`, or of `file` itself if `name` is empty. `near` is that of its directory.
    ///
    /// # Errors
    /// `OtherFileSystem`: no subvolume of the export's btrfs; those of openat(2).
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
        let system = system_id(&fs::fstatfs(file.as_raw_fd()).map_err(kernel::error)?);
        if family(system) != family(self.system) {
            return Err(FsError::OtherFileSystem);
        }
        let dev = fs::device(stat);
        let id = match dev == self.top.dev {
            true => self.top.id,
            false => handle::digest(self.top.id.into(), system.1),
        };
        Ok(Volume { dev, id })
    }

    /// As [`Volumes::find`], but a mount point is not part of any volume, whatever its file system.
    ///
    /// # Errors
    /// As [`Volumes::find`].
    pub(super) fn enter(
        &self,
        near: Volume,
        file: &File,
        name: &CStr,
        stat: &Statx,
    ) -> FsResult<Volume> {
        let volume = self.find(near, file, name, stat)?;
        let is_inside = match fs::is_mount_root(stat) {
            Some(is_root) => !is_root,
            None => fs::device(stat) == volume.dev || self.is_of_layer(file, name, stat)?,
        };
        is_inside.then_some(volume).ok_or(FsError::OtherFileSystem)
    }

    /// Returns true if an object with another device number than its directory is on the export's file system, according to
    /// statfs. For kernels before 5.8, where statx does not report mount points.
    #[cold]
    fn is_of_layer(&self, file: &File, name: &CStr, stat: &Statx) -> FsResult<bool> {
        if !name.is_empty() {
            return self.is_of_layer(&kernel::open(file, name, PATH, 0)?, c"", stat);
        }
        // All directories of an overlay have the same device number.
        if ObjectType::of_mode(stat.stx_mode.into()) == ObjectType::Directory {
            return Ok(false);
        }
        let system = system_id(&fs::fstatfs(file.as_raw_fd()).map_err(kernel::error)?);
        // An overlay has the ID of its upper layer's file system, which is 0 for a tmpfs of Linux before 5.19.
        Ok(system == self.system && (self.is_overlay() || system.1 != 0))
    }

    /// Returns true if getdents64 can return other inode numbers than statx: for copied-up files and for directories of an overlay,
    /// and for the tops of subvolumes.
    pub(super) fn can_list_as(&self, is_likely: &dyn Fn(u64) -> bool) -> bool {
        self.is_overlay() || family(self.system).is_some() && is_likely(SUBVOLUME_TOP)
    }

    fn is_overlay(&self) -> bool {
        self.system.0 == OVERLAYFS_MAGIC
    }

    /// Returns true if an object of the export is in the volume `near`. All objects are if the file system is not a btrfs.
    pub(super) fn is_in(&self, near: Volume, stat: &Statx) -> bool {
        family(self.system).is_none() || fs::device(stat) == near.dev
    }

    /// Identifies the entry `name` of `file`, or `file` itself if `name` is empty.
    ///
    /// The generation is a digest of the birth time, which differs if the inode number is reused, and of the subvolume: a snapshot
    /// has the inode numbers and birth times of its origin.
    ///
    /// In an overlay, copying a file up changes its birth time, but neither its inode number nor its kernel handle, which is the
    /// origin's. If the layers are on different file systems, directories get new inode numbers when the kernel drops them from its
    /// cache, but no new kernel handles. Linux before 6.6 returns kernel handles only if the overlay was mounted with nfs_export=on.
    pub(super) fn identify(
        &self,
        volume: Volume,
        file: &File,
        name: &CStr,
        stat: &Statx,
    ) -> Identity {
        let inode = stat.stx_ino;
        if !self.is_overlay() {
            let born = handle::digest(stat.stx_btime.tv_sec as u64, stat.stx_btime.tv_nsec as u64);
            let generation = born ^ volume.id ^ self.top.id;
            return Identity { inode, generation };
        }
        let mut kernel = KernelHandle::EMPTY;
        let digest = match fs::file_id(file, name, &mut kernel) {
            Ok(()) => handle::mac(&handle::Key::default(), kernel.parts().1),
            Err(_) => u64::from(volume.layer(stat)) << 32,
        };
        let generation = (digest >> 32) as u32;
        match ObjectType::of_mode(stat.stx_mode.into()) {
            ObjectType::Directory if digest != 0 => Identity {
                inode: digest,
                generation: 0,
            },
            _ => Identity { inode, generation },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reused_inode_number_is_another_object() {
        let file = File::current();
        let made = |seconds, nanoseconds, id| {
            let mut stat = fs::blank();
            stat.stx_btime.tv_sec = seconds;
            stat.stx_btime.tv_nsec = nanoseconds;
            Volumes::NONE.identify(Volume { dev: 0, id }, &file, c"", &stat)
        };
        let made = [made(0, 0, 0), made(0, 1, 0), made(1, 0, 0), made(0, 0, 9)];
        for (at, one) in made.iter().enumerate() {
            assert!(!made[..at].contains(one));
        }
    }
}
