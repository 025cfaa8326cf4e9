//! Virtual machines where VMware keeps them: `*.vmx` in a directory, and in the directories in it.
//!
//! Nothing is remembered from one look to the next: who follows changes compares what identifies a file, and reads those that
//! are new or changed. Links are not followed, other file systems not entered, names that begin with a dot passed.

use super::source::{self, Memory};
use crate::sys::Errno;
use crate::sys::files::{self, Found};
use crate::sys::named;
use crate::wire::vmx::{self, Machine};
use core::ffi::CStr;
use core::mem::MaybeUninit;
use core::ops::ControlFlow;
use rustix::fd::{AsRawFd as _, RawFd};
use rustix::fs::{AtFlags, OFlags};

/// Machines that are handed out.
pub(super) const MACHINE_COUNT_MAX: usize = 1000;
/// Entries of all directories that are looked at.
const ENTRY_COUNT_MAX: usize = 20_000;
/// Bytes of the longest path; what is longer is passed.
const PATH_BYTES_MAX: usize = 1024;
/// What their files' names end with.
const END: &[u8] = b".vmx";

/// A file, whatever it is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Id {
    device: u64,
    inode: u64,
}

/// What differs once a file was written to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stamp {
    size: u64,
    written: (i64, u32),
}

/// A machine's file that was found.
pub(super) struct Seen<'a> {
    pub(super) id: Id,
    pub(super) stamp: Stamp,
    /// The directory's path as it was given, and what leads to the file from there.
    pub(super) path: &'a [u8],
    dir: RawFd,
    name: &'a [u8],
}

impl Seen<'_> {
    /// Reads the file. What it does not name is named as the file is.
    #[inline(never)]
    pub(super) fn read<'r>(
        &self,
        memory: &mut Memory,
        room: &'r mut [u8; vmx::ROOM_BYTES],
    ) -> Result<Machine<'r>, Errno> {
        let file = source::read(self.dir, self.name, memory)?;
        let name = self.name;
        Ok(vmx::parse(
            file,
            name.strip_suffix(END).unwrap_or(name),
            room,
        ))
    }
}

/// A look around.
struct Look<'e> {
    each: &'e mut dyn FnMut(&Seen<'_>),
    machines_left: usize,
    entries_left: usize,
    /// The file system.
    device: u64,
    path: heapless::Vec<u8, PATH_BYTES_MAX>,
}

/// Hands out the machines in `path`. True: these are all.
#[allow(clippy::unnecessary_cast, clippy::useless_conversion)] // The widths differ from one architecture to the next.
#[inline(never)]
pub(super) fn list(path: &CStr, each: &mut dyn FnMut(&Seen<'_>)) -> Result<bool, Errno> {
    let dir = files::open(path, OFlags::DIRECTORY, 0)?;
    let mut room = MaybeUninit::uninit();
    let stat = named::stat::<Errno>(dir.as_raw_fd(), c"", AtFlags::empty(), &mut room)?;
    let mut look = Look {
        each,
        machines_left: MACHINE_COUNT_MAX,
        entries_left: ENTRY_COUNT_MAX,
        device: stat.st_dev as u64,
        path: heapless::Vec::new(),
    };
    let path = path.to_bytes();
    let path = path.strip_suffix(b"/").unwrap_or(path);
    if look.path.extend_from_slice(path).is_err() {
        return Err(Errno::NAMETOOLONG);
    }
    look.inside(dir.as_raw_fd(), true)
}

impl Look<'_> {
    /// Looks at the entries of a directory, and at those of the directories in it if `goes_on`.
    fn inside(&mut self, dir: RawFd, goes_on: bool) -> Result<bool, Errno> {
        files::list(dir, 0, &mut |found| {
            let before = self.path.len();
            let done = self.entry(dir, found, goes_on);
            self.path.truncate(before);
            done
        })
    }

    #[allow(clippy::unnecessary_cast, clippy::useless_conversion)] // The widths differ from one architecture to the next.
    #[inline(never)]
    fn entry(&mut self, dir: RawFd, found: &Found<'_>, goes_on: bool) -> ControlFlow<()> {
        if self.entries_left == 0 {
            return ControlFlow::Break(());
        }
        self.entries_left -= 1;
        let name = found.name.to_bytes();
        let is_ours = name.ends_with(END);
        let mut room = MaybeUninit::uninit();
        if name.starts_with(b".")
            || !is_ours && !goes_on
            || self.path.push(b'/').is_err()
            || self.path.extend_from_slice(name).is_err()
        {
            return ControlFlow::Continue(());
        }
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let stat = match named::stat::<Errno>(dir, found.name, flags, &mut room) {
            Ok(stat) if stat.st_dev as u64 == self.device => stat,
            _ => return ControlFlow::Continue(()),
        };
        match source::kind(stat) {
            (true, _) if is_ours => {
                if self.machines_left == 0 {
                    return ControlFlow::Break(());
                }
                self.machines_left -= 1;
                (self.each)(&Seen {
                    id: Id {
                        device: self.device,
                        inode: stat.st_ino as u64,
                    },
                    stamp: Stamp {
                        size: stat.st_size as u64,
                        written: (stat.st_mtime as i64, stat.st_mtime_nsec as u32),
                    },
                    path: &self.path,
                    dir,
                    name,
                });
            }
            (_, true) if goes_on => {
                if let Ok(dir) = source::open_directory(dir, name)
                    && self.inside(dir.as_raw_fd(), false) == Ok(false)
                {
                    return ControlFlow::Break(());
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests;
