//! Disks and boot module of a machine without an operating system.

use crate::config::{CACHE_BYTES, CACHE_BYTES_MIN, READ_INLINE_BYTES};
use crate::mem::{self, Ends as _};
use crate::net::link::FRAME_BYTES_MAX;
use crate::sys::bare;
use crate::sys::bare::virtio::{self, DiskRead};
use crate::vfs::volume::{Disks, sum};
use crate::vfs::{Attr, FileTime, FsError, FsResult, ObjectType};
use core::sync::atomic::{AtomicU32, Ordering};

/// Number of media: the boot module, then the disks.
const COUNT: usize = 1 + virtio::DISK_COUNT_MAX;
/// Path of the boot module.
pub const MODULE: &[u8] = b"/initrd";

/// Path of a medium: that of the boot module, or `/vda` to `/vdx`.
pub type Path = heapless::Vec<u8, 8>;

fn path_of(number: usize) -> Path {
    let mut path = Path::new();
    let Some(disk) = number.checked_sub(1) else {
        let _ = path.extend_from_slice(MODULE);
        return path;
    };
    let _ = path.extend_from_slice(b"/vd");
    let _ = path.push(b'a' + disk as u8);
    path
}

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
pub fn found() -> impl Iterator<Item = (Path, u64)> {
    let all = (0..COUNT).map(|number| (path_of(number), bytes_of(number)));
    all.filter(|(_, bytes)| *bytes > 0)
}

/// Returns the path of a disk that has not answered for 10 s. Each is returned once, until it answers.
pub fn stalled_disk() -> Option<Path> {
    const LIMIT_MS: u64 = 10_000;
    Some(path_of(1 + virtio::stalled_disk(LIMIT_MS)?))
}

/// Size (bytes) of medium `number`; 0: not present.
fn bytes_of(number: usize) -> u64 {
    match number.checked_sub(1) {
        None => bare::module().len() as u64,
        Some(disk) => virtio::disk_bytes(disk).unwrap_or(0),
    }
}

/// The media, each with a checksum of its ISO 9660 descriptor. The checksum distinguishes an exchanged image of the same size.
pub struct Media([u32; COUNT]);

/// Lines of a disk's cache, at least. A read of the engine or the driver has at most [`READ_INLINE_BYTES`]; if it is not aligned, it
/// needs three.
const LINE_COUNT_MIN: usize = 4;
const _: () = assert!(READ_INLINE_BYTES as usize <= (LINE_COUNT_MIN - 2) * virtio::LINE_BYTES);

/// Time (milliseconds) for which a call waits for a request of a disk before it is repeated later: at the start, and while serving.
const START_PATIENCE_MS: u32 = 10_000;
const PATIENCE_MS: u32 = 2;

static PATIENCE: AtomicU32 = AtomicU32::new(START_PATIENCE_MS);

impl Media {
    /// Reads the ISO 9660 descriptor of each medium and stores its checksum.
    pub fn open() -> &'static Self {
        let lines = mem::scaled(CACHE_BYTES_MIN, CACHE_BYTES) / virtio::LINE_BYTES;
        virtio::start_disks((lines / found().count().max(1)).max(LINE_COUNT_MIN));
        let sums = core::array::from_fn(|number| sum(&|offset, out| read(number, offset, out)));
        mem::leak(Self(sums))
    }

    /// Returns the number of the medium at `path`, if it is present.
    pub fn number_of(path: &[u8]) -> Option<usize> {
        let number = (0..COUNT).position(|number| path_of(number) == path)?;
        (bytes_of(number) > 0).then_some(number)
    }

    /// From now on, calls that need a slow disk are repeated later.
    pub fn start() {
        PATIENCE.store(PATIENCE_MS, Ordering::Relaxed);
    }
}

fn read(number: usize, offset: u64, out: &mut [u8]) -> FsResult<u32> {
    let len = bytes_of(number).saturating_sub(offset);
    let len = len.min(out.len() as u64) as usize;
    let out = out.head_mut(len);
    let patience = PATIENCE.load(Ordering::Relaxed);
    let read = match number.checked_sub(1) {
        Some(disk) => virtio::read_disk(disk, offset, out, patience.into()),
        None => {
            out.copy_from_slice(bare::module().tail(offset as usize).head(len));
            DiskRead::Done
        }
    };
    match read {
        DiskRead::Done => Ok(len as u32),
        DiskRead::Pending if patience == PATIENCE_MS => Err(FsError::AwaitsDisk),
        _ => Err(FsError::Io),
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
