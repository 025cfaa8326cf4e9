//! Disks and boot module of a machine without an operating system.

use crate::mem::{self, Ends as _};
use crate::net::link::FRAME_BYTES_MAX;
use crate::sys::bare::{self, virtio};
use crate::vfs::iso::{Disks, sum};
use crate::vfs::{Attr, FileTime, FsError, FsResult, ObjectType};

/// Paths of all possible media: the boot module, then the disks.
const PATHS: [&str; 1 + virtio::DISK_COUNT_MAX] = [
    "/initrd", "/vda", "/vdb", "/vdc", "/vdd", "/vde", "/vdf", "/vdg", "/vdh",
];

/// Probes for virtio devices, also at the addresses and interrupt pins in `declared` (from the boot command line). With `is_small`,
/// the card's frames have normal size, without offloads.
pub fn find_devices(declared: &mut dyn Iterator<Item = (usize, u32)>, is_small: bool) {
    let frame_bytes = match is_small {
        true => virtio::ORDINARY_BYTES,
        false => FRAME_BYTES_MAX,
    };
    virtio::find(declared, frame_bytes);
}

/// Returns the path and size (bytes) of each medium that is present.
pub fn found() -> impl Iterator<Item = (&'static str, u64)> {
    let all = PATHS.into_iter().enumerate();
    let all = all.map(|(number, path)| (path, bytes_of(number)));
    all.filter(|(_, bytes)| *bytes > 0)
}

/// Size (bytes) of medium `number`; 0: not present.
fn bytes_of(number: usize) -> u64 {
    match number.checked_sub(1) {
        None => bare::module().len() as u64,
        Some(disk) => virtio::disk_bytes(disk).unwrap_or(0),
    }
}

/// The media, each with a checksum of its ISO 9660 descriptor. The checksum distinguishes an exchanged image of the same size.
pub struct Media([u32; PATHS.len()]);

impl Media {
    /// Reads the ISO 9660 descriptor of each medium and stores its checksum.
    pub fn open() -> &'static Self {
        let sums = core::array::from_fn(|number| sum(&|offset, out| read(number, offset, out)));
        mem::leak(Self(sums))
    }

    /// Returns the number of the medium at `path`, if it is present.
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
            kind: ObjectType::Regular,
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
