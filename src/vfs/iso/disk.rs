//! What an image lies on: a file of a host, a device of a machine.

use super::super::{Attr, FsError, FsResult};

/// Something of a known size that can be read at any place.
pub trait Block {
    /// Fills `out` from `offset`.
    ///
    /// # Errors
    /// `Io`: there is not so much, or it cannot be read.
    fn read(&mut self, offset: u64, out: &mut [u8]) -> FsResult<()>;
    /// How many bytes there are.
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

/// Where disks are: among the open files of a host, the devices of a machine. Each has a number there.
pub trait Disks: Sync {
    /// Reads from `offset` of a disk; fewer bytes mean its end.
    ///
    /// # Errors
    /// `Io`.
    fn read(&self, number: i32, offset: u64, out: &mut [u8]) -> FsResult<u32>;
    /// The attributes of a disk as they are now: one that is written to, or has no name any more, is not what it was.
    ///
    /// # Errors
    /// `Io`.
    fn attr(&self, number: i32) -> FsResult<Attr>;
    /// Gives a disk back.
    fn close(&self, number: i32);
}

/// What tells an image on a disk of a machine from another one of its size: a sum of its descriptor (FNV-1a), 0 where there is none.
#[inline(never)]
pub fn sum(read: &dyn Fn(u64, &mut [u8]) -> FsResult<u32>) -> u32 {
    const DESCRIPTOR_AT: u64 = 0x8000;
    let mut descriptor = [0; 2048];
    if read(DESCRIPTOR_AT, &mut descriptor).is_err() {
        return 0;
    }
    let mix = |sum: u32, byte: &u8| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    descriptor.iter().fold(0, mix)
}

/// A disk, which its last user closes.
#[derive(Clone, Copy)]
pub struct Disk {
    /// `None`: there is none.
    disks: Option<&'static dyn Disks>,
    number: i32,
    size: u64,
}

impl Disk {
    /// None.
    pub(super) const NONE: Self = Self {
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

    /// Its number: that of a host's file a network may send from.
    pub(super) const fn number(&self) -> i32 {
        self.number
    }

    /// Says how large it is.
    pub(super) const fn resize(&mut self, size: u64) {
        self.size = size;
    }

    /// Its attributes, as they are now.
    pub(super) fn attr(&self) -> FsResult<Attr> {
        self.disks.ok_or(FsError::Stale)?.attr(self.number)
    }

    /// Closes it.
    pub(super) fn close(&self) {
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
            // It has become shorter.
            _ => Err(FsError::Io),
        }
    }

    fn size(&self) -> u64 {
        self.size
    }
}
