//! The jail: a directory that all paths begin at, and outside of which there is nothing.

use super::super::kernel::error;
use super::super::walk::{Text, add, beneath, ended, front, join, put};
use super::super::{FsError, FsResult};
use super::User;
use super::ring::NONE;
use crate::config::PATH_BYTES_MAX;
use crate::mem;
use crate::sys::Errno;
use crate::sys::linux::fs::{self, File};
use core::ffi::CStr;
use rustix::fd::RawFd;
use rustix::fs::OFlags;

/// Where a client believes to be, and where it is.
#[derive(Debug)]
pub(super) struct Jail {
    /// The path that the top is shown as.
    root: &'static [u8],
    /// The true path of the top, without the "/" at its end.
    real: &'static [u8],
    /// What lies beneath the top of the path that relative ones begin with: nothing, or it begins with "/".
    cwd: &'static [u8],
}

impl Jail {
    /// What lies beneath the top of a path: the beginning of that goes to `text`, the rest is returned.
    pub(super) fn enter<'a>(&self, path: &'a [u8], text: &mut Text) -> FsResult<&'a [u8]> {
        // What does not fit is told of what follows, which does not fit either.
        let _ = add(text, b".");
        if path.first() == Some(&b'/') {
            return beneath(ended(self.root), path).ok_or(FsError::NoEntry);
        }
        let _ = add(text, self.cwd);
        let _ = add(text, b"/");
        Ok(path)
    }

    /// The path that its directory is shown as.
    pub(super) const fn root_path(&self) -> &'static [u8] {
        self.root
    }

    /// The path that relative ones begin with.
    pub(super) fn cwd(&self, out: &mut [u8]) -> u32 {
        join(out, ended(self.root), self.cwd) as u32
    }
}

impl User {
    /// Has all paths begin at the directory `dir`, which is shown as `at`. `INVAL`: that is not absolute.
    pub fn jail(&mut self, dir: &CStr, at: &'static [u8]) -> Result<(), Errno> {
        if at.first() != Some(&b'/') {
            return Err(Errno::INVAL);
        }
        // The owner's own path: links in it are followed.
        let top = File::open(dir, super::path_flags(true) | OFlags::DIRECTORY, 0)?.leak();
        let buffer = mem::bytes(PATH_BYTES_MAX);
        let len = fs::real_path(top, buffer)?;
        let real = front(buffer, len);
        self.top = top;
        self.jail = Some(Jail {
            root: at,
            real: ended(real),
            cwd: b"",
        });
        Ok(())
    }

    /// Has relative paths begin at the directory `dir`.
    pub(super) fn begin_in(&mut self, dir: &'static CStr) -> FsResult<()> {
        if self.jail.is_none() {
            return rustix::process::chdir(dir).map_err(error);
        }
        self.take(None, dir.to_bytes())?;
        // In place of the top there is a ".".
        if let (Some(jail), [_, below @ .., _]) = (&mut self.jail, &self.text[..]) {
            let buffer = mem::bytes(PATH_BYTES_MAX);
            let len = put(buffer, 0, below);
            jail.cwd = front(buffer, len);
        }
        Ok(())
    }

    /// The descriptor of the jail's directory, for the sandbox.
    pub fn jail_descriptor(&self) -> Option<RawFd> {
        self.jail.as_ref().map(|_| self.top)
    }

    /// The target of a link, which may have been made outside of the jail: what lies in the jail is shown as it is seen from there.
    pub(super) fn show(&mut self, target: &mut [u8], len: u32) -> u32 {
        let Some(jail) = &self.jail else {
            return len;
        };
        let Some(below) = beneath(jail.real, front(target, len as usize)) else {
            return len;
        };
        self.named = NONE;
        self.text.clear();
        let _ = add(&mut self.text, below);
        join(target, ended(jail.root), &self.text) as u32
    }
}
