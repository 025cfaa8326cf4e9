//! A regular file of the host, to be looked into.

use super::super::iso::Block;
use super::super::{Descriptor, FsError, FsResult, Kind};
use super::{READ, SHORT, kind, read, stat};
use crate::sys::Errno;
use crate::sys::files::{self, File};
use core::ffi::CStr;
use rustix::fd::AsRawFd as _;

/// A file that is open until this is dropped.
#[derive(Debug)]
pub struct Disk {
    file: File,
    size: u64,
}

impl Disk {
    /// Opens what a path leads to. `IsDirectory`, `Invalid`: it is no regular file.
    pub fn open(path: &CStr) -> FsResult<Self> {
        let file = files::open(path, READ, 0)?;
        let mut about = files::blank();
        stat(&file, &mut about)?;
        match kind(about.stx_mode.into()) {
            Kind::Regular => Ok(Self {
                file,
                size: about.stx_size,
            }),
            Kind::Directory => Err(FsError::IsDirectory),
            _ => Err(FsError::Invalid),
        }
    }

    /// Its number.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor(self.file.as_raw_fd())
    }
}

impl Block for Disk {
    fn read(&mut self, offset: u64, out: &mut [u8]) -> FsResult<()> {
        if (read(&self.file, offset, out)? as usize) < out.len() {
            // It has become shorter.
            return Err(FsError::Io);
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
