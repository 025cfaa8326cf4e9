//! The jail: a directory that all paths begin at, and outside of which there is nothing.

use super::super::kernel::{self, error, terminated};
use super::super::walk::{self, End, Path};
use super::super::{Export, FsError, FsResult, Kind, Name, Vfs as _};
use super::User;
use crate::config::PATH_BYTES_MAX;
use crate::sys::files::{self, File};
use crate::sys::heap::Slots;
use crate::sys::{self, Errno};
use core::cell::Cell;
use core::ffi::CStr;
use rustix::fd::{AsRawFd as _, RawFd};
use rustix::fs::OFlags;

/// Bytes of the path that is being opened.
type Text = heapless::Vec<u8, PATH_BYTES_MAX>;

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

/// Copies bytes to `out`, as far as they fit.
fn put<'a>(bytes: impl Iterator<Item = &'a u8>, out: &mut [u8]) -> usize {
    let copied = out.iter_mut().zip(bytes);
    copied.map(|(to, from)| *to = *from).count()
}

impl Jail {
    /// What lies beneath the top of a path: the beginning of that goes to `text`, the rest is returned.
    pub(super) fn enter<'a>(&self, path: &'a [u8], text: &mut Text) -> FsResult<&'a [u8]> {
        let mut below = path;
        if path.first() == Some(&b'/') {
            below = without_separators(walk::beneath(self.at, path)?);
        } else if !self.start.is_empty() {
            // Shorter than a path can be: it was opened.
            let _ = text.extend_from_slice(self.start);
            let _ = text.push(b'/');
        }
        if text.is_empty() && below.is_empty() {
            below = b".";
        }
        Ok(below)
    }

    /// The path that relative ones begin with.
    pub(super) fn start(&self, out: &mut [u8]) -> usize {
        let separator: &[u8] = if self.at.is_empty() || !self.start.is_empty() {
            b"/"
        } else {
            b""
        };
        put(self.at.iter().chain(separator).chain(self.start), out)
    }

    /// The target of a link, which may have been made by who sees more: what lies in the jail is shown as it is seen from there.
    pub(super) fn show(&self, link: &File, out: &mut [u8]) -> FsResult<usize> {
        let mut room = [0; PATH_BYTES_MAX];
        let len = rustix::fs::readlinkat_raw(link, c"", &mut room[..]).map_err(error)?;
        let target = room.get(..len).unwrap_or_default();
        let Ok(below) = walk::beneath(self.real, target) else {
            return Ok(put(target.iter(), out));
        };
        let top = if self.at.is_empty() && below.is_empty() {
            b"/"
        } else {
            self.at
        };
        Ok(put(top.iter().chain(below), out))
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
            match files::open_beneath(top, sys::c_str(&self.text), flags, mode) {
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
        let (text, mut done) = (self.text.clone(), Path::default());
        let path = text.strip_suffix(b"\0").unwrap_or_default();
        let found = walk::walk_beneath(self, path, end, &mut done)?;
        let mut room = [0; 256];
        let name = match done.name() {
            b"" => c".",
            name => terminated(Name::new(name)?, &mut room),
        };
        let parent = self.table.get(found.parent)?;
        kernel::open(parent, name, flags | OFlags::NOFOLLOW, mode)
    }
}
