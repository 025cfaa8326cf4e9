//! Storage of an image: a file of the host, or a device of a machine.

use super::super::{Attr, FsError, FsResult};

/// Random-access storage of a known size.
pub trait Block {
    /// Fills `out` from `offset`.
    ///
    /// # Errors
    /// `Io`: beyond the end, or a read error.
    fn read(&mut self, offset: u64, out: &mut [u8]) -> FsResult<()>;
    /// Size in bytes.
    fn size(&self) -> u64;
}

impl Block for &[u8] {
    fn read(&mut self, offset: u64, out: &mut [u8]) -> FsResult<()> {
        let rest = usize::try_from(offset).ok().and_then(|at| self.get(at..));
        let bytes = rest.and_then(|rest| rest.get(..out.len()));
        out.copy_from_slice(bytes.ok_or(FsError::Io)?);
        Ok(())
    }

    fn size(&self) -> u64 {
        self.len() as u64
    }
}

/// A set of numbered disks: open files of a host, or devices of a machine.
pub trait Disks: Sync {
    /// Reads from `offset` of a disk. A short count means its end.
    ///
    /// # Errors
    /// `Io`.
    fn read(&self, number: i32, offset: u64, out: &mut [u8]) -> FsResult<u32>;
    /// The current attributes of a disk. They show if the image was changed or removed.
    ///
    /// # Errors
    /// `Io`.
    fn attr(&self, number: i32) -> FsResult<Attr>;
    /// Closes a disk.
    fn close(&self, number: i32);
}

/// Checksum (FNV-1a) of the first volume descriptor, to distinguish images of the same size; 0 if it cannot be read.
pub fn sum(read: &dyn Fn(u64, &mut [u8]) -> FsResult<u32>) -> u32 {
    const DESCRIPTOR_AT: u64 = 0x8000;
    let mut descriptor = [0; 2048];
    if read(DESCRIPTOR_AT, &mut descriptor).is_err() {
        return 0;
    }
    let mix = |sum: u32, byte: &u8| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    descriptor.iter().fold(0, mix)
}

/// A disk. The last user must close it.
#[derive(Clone, Copy)]
pub struct Disk {
    /// `None`: no disk.
    disks: Option<&'static dyn Disks>,
    number: i32,
    size: u64,
}

impl Disk {
    /// No disk.
    pub(in super::super) const NONE: Self = Self {
        disks: None,
        number: 0,
        size: 0,
    };

    /// The disk of this number.
    pub(in super::super) const fn new(disks: &'static dyn Disks, number: i32) -> Self {
        Self {
            disks: Some(disks),
            number,
            size: 0,
        }
    }

    /// The number; for a file of the host, the descriptor, for sendfile(2).
    pub(in super::super) const fn number(&self) -> i32 {
        self.number
    }

    /// Sets the size.
    pub(in super::super) const fn resize(&mut self, size: u64) {
        self.size = size;
    }

    /// The current attributes.
    pub(in super::super) fn attr(&self) -> FsResult<Attr> {
        self.disks.ok_or(FsError::Stale)?.attr(self.number)
    }

    /// Closes the disk.
    pub(in super::super) fn close(&self) {
        if let Some(disks) = self.disks {
            disks.close(self.number);
        }
    }
}

impl Block for Disk {
    fn read(&mut self, offset: u64, out: &mut [u8]) -> FsResult<()> {
        let disks = self.disks.ok_or(FsError::Stale)?;
        match disks.read(self.number, offset, out)? {
            len if len as usize == out.len() => Ok(()),
            // The disk became shorter.
            _ => Err(FsError::Io),
        }
    }

    fn size(&self) -> u64 {
        self.size
    }
}
