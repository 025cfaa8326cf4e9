//! The jail: a directory that all paths begin at, and outside of which there is nothing.

use super::super::kernel::{self, error};
use super::super::walk::{self, End, Path, Rest};
use super::super::{Export, FsError, FsResult, Kind, Vfs as _};
use super::{User, put};
use crate::config::PATH_BYTES_MAX;
use crate::sys::files::{self, File};
use crate::sys::heap::Slots;
use crate::sys::{self, Errno};
use core::cell::Cell;
use core::ffi::CStr;
use rustix::fd::{AsRawFd as _, RawFd};
use rustix::fs::OFlags;

/// Where a client believes to be, and where it is.
#[derive(Debug)]
pub(super) struct Jail {
    /// The path that the top is shown as, without the "/" at its end.
    at: &'static [u8],
    /// The true path of the top, without the "/" at its end.
    real: &'static [u8],
    /// What lies beneath the top of the path that relative ones begin with.
    start: &'static [u8],
    /// Whether the kernel stays beneath a directory when it is asked to.
    stays_beneath: Cell<bool>,
}

/// Without the "/"s at its beginning.
fn without_separators(path: &[u8]) -> &[u8] {
    let begin = path.iter().position(|byte| *byte != b'/');
    begin.and_then(|at| path.get(at..)).unwrap_or_default()
}

impl Jail {
    /// What lies beneath the top of a path: the beginning of that goes to `text`, and ends there; the rest is returned.
    pub(super) fn enter<'a>(&self, path: &'a [u8], text: &mut [u8]) -> FsResult<(&'a [u8], usize)> {
        if path.first() != Some(&b'/') && !self.start.is_empty() {
            let len = put(text, 0, self.start);
            return Ok((path, put(text, len, b"/")));
        }
        let below = match path.first() {
            Some(b'/') => without_separators(walk::beneath(self.at, path)?),
            _ => path,
        };
        Ok((if below.is_empty() { b"." } else { below }, 0))
    }

    /// The path that relative ones begin with.
    pub(super) fn start(&self, out: &mut [u8]) -> usize {
        let mut len = put(out, 0, self.at);
        if len == 0 || !self.start.is_empty() {
            len = put(out, len, b"/");
        }
        put(out, len, self.start)
    }

    /// The target of a link, which may have been made by who sees more: what lies in the jail is shown as it is seen from
    /// there. The beginning of that goes to `out`, and ends there; the rest is returned.
    pub(super) fn show<'a>(&self, target: &'a [u8], out: &mut [u8]) -> (usize, &'a [u8]) {
        match walk::beneath(self.real, target) {
            Err(_) => (0, target),
            Ok(b"") if self.at.is_empty() => (0, b"/"),
            Ok(below) => (put(out, 0, self.at), below),
        }
    }
}

impl User {
    /// Has all paths begin at the directory `dir`, which is shown as `at`. `INVAL`: that is not absolute.
    pub fn jail(&mut self, dir: &CStr, at: &'static [u8]) -> Result<(), Errno> {
        if at.first() != Some(&b'/') {
            return Err(Errno::INVAL);
        }
        // The owner's own path: links in it are followed.
        let top = files::open(dir, super::path_flags(true) | OFlags::DIRECTORY, 0)?;
        let room = Slots::zeroed(PATH_BYTES_MAX).leak();
        let len = files::true_path(&top, room)?;
        let real = room.get(..len).unwrap_or_default();
        let ended = |path: &'static [u8]| path.strip_suffix(b"/").unwrap_or(path);
        self.table.top = Some(top);
        self.exports = [Export { path: at }];
        self.jail = Some(Jail {
            at: ended(at),
            real: ended(real),
            start: b"",
            stays_beneath: Cell::new(true),
        });
        Ok(())
    }

    /// Has relative paths begin at the directory `dir`, a path like all others.
    pub fn start_at(&mut self, dir: &'static CStr) -> FsResult<()> {
        let path = dir.to_bytes();
        if self.jail.is_none() {
            return rustix::process::chdir(dir).map_err(error);
        }
        if self.attr_at(path, true)?.kind != Kind::Directory {
            return Err(FsError::NotDirectory);
        }
        if let Some(jail) = &mut self.jail {
            let below = walk::beneath(jail.at, path).unwrap_or(path);
            jail.start = without_separators(below);
        }
        Ok(())
    }

    /// The descriptor of the jail's directory, for who raises walls around it.
    pub fn jail_descriptor(&self) -> Option<RawFd> {
        self.jail.as_ref()?;
        self.table.top.as_ref().map(File::as_raw_fd)
    }

    /// Opens what the path that was taken leads to, if that is beneath the top.
    pub(super) fn open_beneath(&mut self, flags: OFlags, mode: u32) -> FsResult<File> {
        if let (Some(jail), Some(top)) = (&self.jail, &self.table.top)
            && jail.stays_beneath.get()
        {
            match files::open_beneath(top, self.taken(), flags, mode) {
                // A path that leads out, or an absolute link, or something was moved: the law knows what it means. Some
                // sandboxes know no better word for a call that they do not know.
                Err(Errno::XDEV | Errno::AGAIN | Errno::PERM) => {}
                Err(Errno::NOSYS) => jail.stays_beneath.set(false),
                opened => return opened.map_err(error),
            }
        }
        let end = if flags.contains(OFlags::EXCL) {
            End::New
        } else if flags.contains(OFlags::CREATE) {
            End::Absent
        } else if flags.contains(OFlags::NOFOLLOW) {
            End::Keep
        } else {
            End::Follow
        };
        let (mut rest, mut done) = (Rest::end(), Path::default());
        rest.put_before(self.taken().to_bytes())?;
        let found = rest.walk(self, end, &mut done)?;
        let mut name = [0; 256];
        // A name is shorter than that, or was not found.
        let len = put(&mut name, 0, done.name());
        let name = match name.get(..=len) {
            Some(name) if len > 0 => sys::c_str(name),
            _ => c".",
        };
        let parent = self.table.get(found.parent)?;
        kernel::open(parent, name, flags | OFlags::NOFOLLOW, mode)
    }
}
