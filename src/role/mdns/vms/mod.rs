//! Virtual machines where VMware keeps them: `*.vmx` in a directory, and in the directories in it.
//!
//! Nothing is remembered from one look to the next: who follows changes compares what identifies a file, and reads those that
//! are new or changed. Links are not followed, other file systems not entered, names that begin with a dot passed.

use super::source::{self, Memory};
use crate::sys::Errno;
use crate::sys::linux::fs::{self, File, Found};
use crate::wire::vmx::{self, Machine};
use crate::wire::{Writer, label};
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

/// Numbers far from each other for those that are near.
pub(super) const PRIME: u64 = 0x100_0000_01b3;

/// A machine's file that was found.
pub(super) struct Seen<'a> {
    /// The file, whatever it is called, and what differs once it was written to.
    pub(super) id: (u64, u64),
    /// The directory's path as it was given, and what leads to the file from there.
    pub(super) path: &'a [u8],
    dir: RawFd,
    name: &'a [u8],
}

impl Seen<'_> {
    /// Reads the file. What it does not name is named as the file is.
    #[inline(never)]
    pub(super) fn read(&self, memory: &mut Memory) -> Result<Machine, Errno> {
        let file = source::read(self.dir, self.name, memory)?;
        let name = self.name;
        Ok(vmx::parse(file, name.strip_suffix(END).unwrap_or(name)))
    }
}

/// A look around.
struct Look<'e, 'p> {
    each: &'e mut dyn FnMut(&Seen<'_>),
    machines_left: usize,
    entries_left: usize,
    /// The file system.
    device: u64,
    path: Writer<'p>,
}

/// Hands out the machines in `path`. True: these are all.
#[allow(clippy::unnecessary_cast, clippy::useless_conversion)] // The widths differ from one architecture to the next.
#[inline(never)]
pub(super) fn list(path: &CStr, each: &mut dyn FnMut(&Seen<'_>)) -> Result<bool, Errno> {
    let dir = File::open(path, OFlags::DIRECTORY, 0)?;
    let mut room = MaybeUninit::uninit();
    let stat = fs::fstatat::<Errno>(dir.as_raw_fd(), c"", AtFlags::empty(), &mut room)?;
    let mut path_room = [0; PATH_BYTES_MAX];
    let mut look = Look {
        each,
        machines_left: MACHINE_COUNT_MAX,
        entries_left: ENTRY_COUNT_MAX,
        device: stat.st_dev as u64,
        path: Writer::new(&mut path_room),
    };
    let path = path.to_bytes();
    look.path.put(path.strip_suffix(b"/").unwrap_or(path));
    if look.path.written().is_none() {
        return Err(Errno::NAMETOOLONG);
    }
    look.inside(dir.as_raw_fd(), true)
}

impl Look<'_, '_> {
    /// Looks at the entries of a directory, and at those of the directories in it if `goes_on`.
    fn inside(&mut self, dir: RawFd, goes_on: bool) -> Result<bool, Errno> {
        fs::list(dir, 0, &mut |found| {
            let before = self.path.position();
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
        label::put_byte(&mut self.path, b'/');
        self.path.put(name);
        if name.starts_with(b".") || !is_ours && !goes_on || self.path.written().is_none() {
            return ControlFlow::Continue(());
        }
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let stat = match fs::fstatat::<Errno>(dir, found.name, flags, &mut room) {
            Ok(stat) if stat.st_dev as u64 == self.device => stat,
            _ => return ControlFlow::Continue(()),
        };
        match source::kind(stat) {
            (true, _) if is_ours => {
                if self.machines_left == 0 {
                    return ControlFlow::Break(());
                }
                self.machines_left -= 1;
                let written = (stat.st_mtime as u64)
                    .wrapping_mul(1_000_000_000)
                    .wrapping_add(stat.st_mtime_nsec as u64);
                (self.each)(&Seen {
                    id: (
                        stat.st_ino as u64,
                        // One that was put in the place of another may be older.
                        written ^ (stat.st_size as u64).wrapping_mul(PRIME),
                    ),
                    path: self.path.since(0),
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
