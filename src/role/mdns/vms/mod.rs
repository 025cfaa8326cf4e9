//! Finds VMware's virtual machines: files `*.vmx` in a directory and its subdirectories. In /vmfs/volumes of ESXi each datastore
//! is a directory named by its UUID and a link named by its label, so a machine may be found twice.
//!
//! No state is kept between scans: the caller compares the identity of a file and its stamp to detect new, changed and duplicate
//! machines. Links to directories are followed in the top directory only, which excludes loops. Hidden names are skipped.

use super::source::{self, Memory};
use crate::drive::platform::host::files::Directory;
use crate::vfs::{FsError, FsResult};
use crate::wire::vmx::{self, Machine};
use crate::wire::{Writer, label};
use core::ffi::CStr;
use core::ops::ControlFlow;

/// Limit of files per scan; a file that is found twice counts twice.
pub(super) const MACHINE_COUNT_MAX: usize = 2000;
/// Limit of directory entries per scan.
const ENTRY_COUNT_MAX: usize = 50_000;
/// Limit of directory levels below the top: a datastore, folders in it, a machine.
const DEPTH_MAX: u8 = 6;
/// Longest path (bytes); longer ones are skipped.
const PATH_BYTES_MAX: usize = 1024;
/// File name extension of a machine.
const EXTENSION: &[u8] = b".vmx";

/// The FNV-1a prime; multiplication spreads similar numbers.
pub(super) const PRIME: u64 = 0x100_0000_01b3;

/// A machine's file.
pub(super) struct Seen<'a> {
    /// Identity of the file, unaffected by renaming, and a stamp that changes when the file is written.
    pub(super) id: (u64, u64),
    /// Path of the file: the directory's path as given, and the path from there.
    pub(super) path: &'a [u8],
    dir: &'a Directory,
    name: &'a [u8],
}

impl Seen<'_> {
    /// Reads the file.
    pub(super) fn read<'m>(&self, memory: &'m mut Memory) -> FsResult<&'m [u8]> {
        source::read(self.dir, self.name, memory)
    }

    /// Parses the content. A machine without a name gets the file's name. `None`: the file does not describe a machine.
    pub(super) fn machine(&self, file: &[u8]) -> Option<Machine> {
        let name = self.name;
        vmx::parse(file, name.strip_suffix(EXTENSION).unwrap_or(name))
    }
}

/// A scan.
struct Look<'e, 'p> {
    each: &'e mut dyn FnMut(&Seen<'_>),
    machines_left: usize,
    entries_left: usize,
    path: Writer<'p>,
}

/// Calls `each` for every machine below `path`. Returns false if a limit was reached.
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
    look.visit_dir(&dir, 0)
}

impl Look<'_, '_> {
    /// Visits all entries of a directory `depth` levels below the top, and of its subdirectories.
    fn visit_dir(&mut self, dir: &Directory, depth: u8) -> FsResult<bool> {
        dir.list(&mut |name| {
            let before = self.path.position();
            let done = self.visit_entry(dir, name, depth);
            self.path.truncate(before);
            done
        })
    }

    fn visit_entry(&mut self, dir: &Directory, entry: &CStr, depth: u8) -> ControlFlow<()> {
        if self.entries_left == 0 {
            return ControlFlow::Break(());
        }
        self.entries_left -= 1;
        let name = entry.to_bytes();
        let is_machine = name.ends_with(EXTENSION);
        label::put_byte(&mut self.path, b'/');
        self.path.put(name);
        let Ok(info) = dir.info(entry) else {
            return ControlFlow::Continue(());
        };
        if name.starts_with(b".") || self.path.written().is_none() {
            return ControlFlow::Continue(());
        }
        match info.is_file {
            true if is_machine => {
                if self.machines_left == 0 {
                    return ControlFlow::Break(());
                }
                self.machines_left -= 1;
                let (device, size) = (
                    info.device.wrapping_mul(PRIME),
                    info.size.wrapping_mul(PRIME),
                );
                (self.each)(&Seen {
                    // Inode numbers are unique only within a device. The size is part of the stamp, because a file moved over
                    // another one may have an older mtime.
                    id: (info.inode ^ device, info.written ^ size),
                    path: self.path.since(0),
                    dir,
                    name,
                });
            }
            // `directory` fails unless the entry is a directory or, in the top directory, a link to one.
            false if depth < DEPTH_MAX => {
                if let Ok(dir) = dir.directory(name, depth == 0)
                    && self.visit_dir(&dir, depth + 1) == Ok(false)
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
