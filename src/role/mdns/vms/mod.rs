//! Virtual machines where VMware keeps them: `*.vmx` in a directory, and in those in it. In /vmfs/volumes each datastore is a
//! directory named by its UUID, and a link named by its label.
//!
//! Nothing is remembered from one look to the next: a caller that follows changes compares what identifies a file, and reads those that
//! are new or changed, and knows by the same what is found twice. Links to directories are followed at the top alone, so that none
//! leads in circles. Names that begin with a dot are passed.

use super::source::{self, Memory};
use crate::drive::platform::host::files::Directory;
use crate::vfs::{FsError, FsResult};
use crate::wire::vmx::{self, Machine};
use crate::wire::{Writer, label};
use core::ffi::CStr;
use core::ops::ControlFlow;

/// Machines that are handed out: each may be found twice.
pub(super) const MACHINE_COUNT_MAX: usize = 2000;
/// Entries of all directories that are looked at.
const ENTRY_COUNT_MAX: usize = 50_000;
/// Levels of directories below the one that is named: a datastore, folders in it, a machine.
const DEPTH_MAX: u8 = 6;
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

    /// What they say of the machine, which is named as the file is if they do not name it. `None`: it describes none.
    pub(super) fn machine(&self, file: &[u8]) -> Option<Machine> {
        let name = self.name;
        vmx::parse(file, name.strip_suffix(END).unwrap_or(name))
    }
}

/// A look around.
struct Look<'e, 'p> {
    each: &'e mut dyn FnMut(&Seen<'_>),
    machines_left: usize,
    entries_left: usize,
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
        path: Writer::new(&mut path_buffer),
    };
    let path = path.to_bytes();
    look.path.put(path.strip_suffix(b"/").unwrap_or(path));
    if look.path.written().is_none() {
        return Err(FsError::NameTooLong);
    }
    look.inside(&dir, 0)
}

impl Look<'_, '_> {
    /// Looks at the entries of a directory so far below the top, and at those of the directories in it.
    fn inside(&mut self, dir: &Directory, depth: u8) -> FsResult<bool> {
        dir.list(&mut |name| {
            let before = self.path.position();
            let done = self.entry(dir, name, depth);
            self.path.truncate(before);
            done
        })
    }

    fn entry(&mut self, dir: &Directory, entry: &CStr, depth: u8) -> ControlFlow<()> {
        if self.entries_left == 0 {
            return ControlFlow::Break(());
        }
        self.entries_left -= 1;
        let name = entry.to_bytes();
        let is_ours = name.ends_with(END);
        label::put_byte(&mut self.path, b'/');
        self.path.put(name);
        let Ok(info) = dir.info(entry) else {
            return ControlFlow::Continue(());
        };
        if name.starts_with(b".") || self.path.written().is_none() {
            return ControlFlow::Continue(());
        }
        match info.is_file {
            true if is_ours => {
                if self.machines_left == 0 {
                    return ControlFlow::Break(());
                }
                self.machines_left -= 1;
                let (device, size) = (
                    info.device.wrapping_mul(PRIME),
                    info.size.wrapping_mul(PRIME),
                );
                (self.each)(&Seen {
                    // On another file system the same number is another file's. One that was put in the place of another may
                    // be older.
                    id: (info.inode ^ device, info.written ^ size),
                    path: self.path.since(0),
                    dir,
                    name,
                });
            }
            // Of what is no directory nothing is opened.
            false if depth < DEPTH_MAX => {
                if let Ok(dir) = dir.directory(name, depth == 0)
                    && self.inside(&dir, depth + 1) == Ok(false)
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
