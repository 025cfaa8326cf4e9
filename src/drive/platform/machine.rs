//! What a machine without an operating system has: its disks, and the module that was loaded beside the file.

use crate::mem::{self, Ends as _};
use crate::net::link::FRAME_BYTES_MAX;
use crate::sys::bare::{self, virtio};
use crate::vfs::iso::{Disks, sum};
use crate::vfs::{Attr, FileTime, FsError, FsResult, Kind};

/// What can be exported, with those that are not there: the module, then the disks.
const PATHS: [&str; 1 + virtio::DISK_COUNT_MAX] = [
    "/initrd", "/vda", "/vdb", "/vdc", "/vdd", "/vde", "/vdf", "/vdg", "/vdh",
];

/// Finds all devices, also at the addresses and pins that the command line tells. Where memory is small, frames are ordinary ones.
pub fn find_devices(told: &mut dyn Iterator<Item = (usize, u32)>, is_small: bool) {
    let frame_bytes = match is_small {
        true => virtio::ORDINARY_BYTES,
        false => FRAME_BYTES_MAX,
    };
    virtio::find(told, frame_bytes);
}

/// The paths of what is there, and its bytes.
pub fn found() -> impl Iterator<Item = (&'static str, u64)> {
    let all = PATHS.into_iter().enumerate();
    let all = all.map(|(number, path)| (path, bytes_of(number)));
    all.filter(|(_, bytes)| *bytes > 0)
}

/// The bytes of the medium of this number; 0: it is not there.
fn bytes_of(number: usize) -> u64 {
    match number.checked_sub(1) {
        None => bare::module().len() as u64,
        Some(disk) => virtio::disk_bytes(disk).unwrap_or(0),
    }
}

/// The module and the disks. Of each, what tells it from another one of its size: of an image, a sum of its descriptor.
pub struct Media([u32; PATHS.len()]);

impl Media {
    /// Looks at all of them.
    pub fn open() -> &'static Self {
        let sums = core::array::from_fn(|number| sum(&|offset, out| read(number, offset, out)));
        mem::leak(Self(sums))
    }

    /// The number of the one that is there by this path.
    pub fn number_of(path: &[u8]) -> Option<usize> {
        let number = PATHS.iter().position(|other| other.as_bytes() == path)?;
        (bytes_of(number) > 0).then_some(number)
    }
}

fn read(number: usize, offset: u64, out: &mut [u8]) -> FsResult<u32> {
    let len = bytes_of(number).saturating_sub(offset);
    let len = len.min(out.len() as u64) as usize;
    let out = out.head_mut(len);
    let done = match number.checked_sub(1) {
        Some(disk) => virtio::read_disk(disk, offset, out),
        None => {
            out.copy_from_slice(bare::module().tail(offset as usize).head(len));
            true
        }
    };
    match done {
        true => Ok(len as u32),
        false => Err(FsError::Io),
    }
}

impl Disks for Media {
    fn read(&self, number: i32, offset: u64, out: &mut [u8]) -> FsResult<u32> {
        read(number as usize, offset, out)
    }

    fn attr(&self, number: i32) -> FsResult<Attr> {
        let (Self(sums), place) = (self, number as usize);
        let bytes = bytes_of(place);
        let time = FileTime {
            secs: (*sums.get(place).ok_or(FsError::Io)?).into(),
            nanos: 0,
        };
        Ok(Attr {
            kind: Kind::Regular,
            mode: 0o444,
            nlink: 1,
            uid: 0,
            gid: 0,
            size: bytes,
            used: bytes,
            rdev: (0, 0),
            fsid: 0,
            inode: number as u64,
            atime: time,
            mtime: time,
            ctime: time,
        })
    }

    fn close(&self, _: i32) {}
}
