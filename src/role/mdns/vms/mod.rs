//! Virtual machines where VMware keeps them: `*.vmx` in a directory, and in the directories in it.
//!
//! Nothing is remembered from one look to the next: a caller that follows changes compares what identifies a file, and reads those that
//! are new or changed. Links are not followed, other file systems not entered, names that begin with a dot passed.

use super::source::{self, Memory};
use crate::drive::linux::files::Directory;
use crate::vfs::{FsError, FsResult};
use crate::wire::vmx::{self, Machine};
use crate::wire::{Writer, label};
use core::ffi::CStr;
use core::ops::ControlFlow;

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
    dir: &'a Directory,
    name: &'a [u8],
}

impl Seen<'_> {
    /// The bytes of the file.
    pub(super) fn read<'m>(&self, memory: &'m mut Memory) -> FsResult<&'m [u8]> {
        source::read(self.dir, self.name, memory)
    }

    /// What they say of the machine, which is named as the file is if they do not name it.
    pub(super) fn machine(&self, file: &[u8]) -> Machine {
        let name = self.name;
        vmx::parse(file, name.strip_suffix(END).unwrap_or(name))
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
pub(super) fn list(path: &CStr, each: &mut dyn FnMut(&Seen<'_>)) -> FsResult<bool> {
    let dir = Directory::open(path)?;
    let mut path_buffer = [0; PATH_BYTES_MAX];
    let mut look = Look {
        each,
        machines_left: MACHINE_COUNT_MAX,
        entries_left: ENTRY_COUNT_MAX,
        device: dir.own_info()?.device,
        path: Writer::new(&mut path_buffer),
    };
    let path = path.to_bytes();
    look.path.put(path.strip_suffix(b"/").unwrap_or(path));
    if look.path.written().is_none() {
        return Err(FsError::NameTooLong);
    }
    look.inside(&dir, true)
}

impl Look<'_, '_> {
    /// Looks at the entries of a directory, and at those of the directories in it if `goes_on`.
    fn inside(&mut self, dir: &Directory, goes_on: bool) -> FsResult<bool> {
        dir.list(&mut |name| {
            let before = self.path.position();
            let done = self.entry(dir, name, goes_on);
            self.path.truncate(before);
            done
        })
    }

    fn entry(&mut self, dir: &Directory, entry: &CStr, goes_on: bool) -> ControlFlow<()> {
        if self.entries_left == 0 {
            return ControlFlow::Break(());
        }
        self.entries_left -= 1;
        let name = entry.to_bytes();
        let is_ours = name.ends_with(END);
        label::put_byte(&mut self.path, b'/');
        self.path.put(name);
        if name.starts_with(b".") || !is_ours && !goes_on || self.path.written().is_none() {
            return ControlFlow::Continue(());
        }
        let info = match dir.info(entry) {
            Ok(info) if info.device == self.device => info,
            _ => return ControlFlow::Continue(()),
        };
        match (info.is_file, info.is_directory) {
            (true, _) if is_ours => {
                if self.machines_left == 0 {
                    return ControlFlow::Break(());
                }
                self.machines_left -= 1;
                (self.each)(&Seen {
                    // One that was put in the place of another may be older.
                    id: (info.inode, info.written ^ info.size.wrapping_mul(PRIME)),
                    path: self.path.since(0),
                    dir,
                    name,
                });
            }
            (_, true) if goes_on => {
                if let Ok(dir) = dir.directory(name)
                    && self.inside(&dir, false) == Ok(false)
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
