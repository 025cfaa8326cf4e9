//! A regular file of the host, to be looked into.

use super::super::iso::Block;
use super::super::{Descriptor, FsError, FsResult, Kind};
use super::{READ, SHORT, kind};
use crate::sys::Errno;
use crate::sys::named::{self, CURRENT};
use core::ffi::CStr;
use rustix::fd::RawFd;
use rustix::fs::AtFlags;

/// A file that is open until this is dropped.
#[derive(Debug)]
pub struct Disk {
    file: RawFd,
    size: u64,
}

impl Disk {
    /// Opens what a path leads to. `IsDirectory`, `Invalid`: it is no regular file.
    #[allow(clippy::unnecessary_cast)] // The widths differ from one architecture to the next.
    #[inline(never)]
    pub fn open(path: &CStr) -> FsResult<Self> {
        let file = named::open::<FsError>(CURRENT, path, READ, 0)?;
        let mut disk = Self { file, size: 0 };
        let mut stat = named::blank();
        named::stat::<FsError>(file, c"", AtFlags::empty(), &mut stat)?;
        disk.size = stat.st_size as u64;
        match kind(stat.st_mode as u32) {
            Kind::Regular => Ok(disk),
            Kind::Directory => Err(FsError::IsDirectory),
            _ => Err(FsError::Invalid),
        }
    }

    /// Its number.
    pub const fn descriptor(&self) -> Descriptor {
        Descriptor(self.file)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        named::close(self.file);
    }
}

impl Block for Disk {
    fn read(&mut self, offset: u64, out: &mut [u8]) -> FsResult<()> {
        let (mut rest, mut at) = (out, offset);
        while !rest.is_empty() {
            let len = named::read_at::<FsError>(self.file, at, rest)?;
            // It has become shorter.
            rest = rest.get_mut(len..).filter(|_| len > 0).ok_or(FsError::Io)?;
            at = at.wrapping_add(len as u64);
        }
        Ok(())
    }

    fn size(&self) -> u64 {
        self.size
    }
}

/// The host's number for an error, for who has words for those.
pub fn number(error: FsError) -> u8 {
    for (known, meaning) in &SHORT {
        if *meaning == error {
            return *known;
        }
    }
    Errno::IO.raw_os_error() as u8
}
