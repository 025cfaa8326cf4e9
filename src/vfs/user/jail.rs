//! The jail: the directory at which all paths begin. Clients cannot name objects outside of it.

use super::super::kernel::error;
use super::super::walk::{Text, add, beneath, front, join, put, without_slash};
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

/// The jail's directory: the path that the client sees, and the true path.
#[derive(Debug)]
pub(super) struct Jail {
    /// Path of the top as the client sees it.
    root: &'static [u8],
    /// The true path of the top, without the "/" at its end.
    real: &'static [u8],
    /// Working directory, relative to the top: empty, or begins with "/".
    cwd: &'static [u8],
}

impl Jail {
    /// Translates a client's path to one relative to the top: appends the beginning to `text` and returns the rest.
    pub(super) fn enter<'a>(&self, path: &'a [u8], text: &mut Text) -> FsResult<&'a [u8]> {
        // If this does not fit, the caller's next append fails and reports the error.
        let _ = add(text, b".");
        if path.first() == Some(&b'/') {
            return beneath(without_slash(self.root), path).ok_or(FsError::NoEntry);
        }
        let _ = add(text, self.cwd);
        let _ = add(text, b"/");
        Ok(path)
    }

    /// Writes the path of the working directory as the client sees it.
    pub(super) fn cwd(&self, out: &mut [u8]) -> u32 {
        join(out, without_slash(self.root), self.cwd) as u32
    }
}

impl User {
    /// Jails the client in the directory `dir`, which the client sees as `at`.
    ///
    /// # Errors
    /// `INVAL`: `at` is not absolute; else those of open(2).
    pub fn jail(&mut self, dir: &CStr, at: &'static [u8]) -> Result<(), Errno> {
        if at.first() != Some(&b'/') {
            return Err(Errno::INVAL);
        }
        // The administrator's path: links in it are followed.
        let top = File::open(dir, super::path_flags(true) | OFlags::DIRECTORY, 0)?.leak();
        let buffer = mem::bytes(PATH_BYTES_MAX);
        let len = fs::real_path(top, buffer)?;
        let real = front(buffer, len);
        self.top = top;
        self.jail = Some(Jail {
            root: at,
            real: without_slash(real),
            cwd: b"",
        });
        Ok(())
    }

    /// Sets the working directory.
    pub(super) fn set_jail(&mut self, dir: &'static CStr) -> FsResult<()> {
        if self.jail.is_none() {
            return rustix::process::chdir(dir).map_err(error);
        }
        self.set_path(None, dir.to_bytes())?;
        // The text is "." for the top, the path below it, and a NUL.
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

    /// Rewrites a link's target for the client: if it begins with the top's real path, replaces that with the path the client sees.
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
        join(target, without_slash(jail.root), &self.text) as u32
    }
}
