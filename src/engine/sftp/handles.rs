//! Open files and directories, and the four-byte handles by which clients name them.
//!
//! A closed handle stays invalid after its slot is reused. A file stays open until the last job on it has ended.

use super::requests::{Arg, Args};
use crate::mem::Slots;
use crate::vfs::{OpenFlags, Pin, Tree};

/// Flags to open a file for reading.
pub(super) static TO_READ: OpenFlags = OpenFlags {
    bits: READ,
    create: None,
};

/// An open file or directory.
#[derive(Debug)]
#[repr(align(16))] // A power of two, so that indexing is a shift.
pub struct OpenHandle {
    /// The pinned object. A transfer in progress may use the same pin.
    pub(super) pin: Pin,
    /// Index of the slot. `stamp` is the number of the handle in the session (modulo 65,536): it invalidates older handles of the
    /// slot.
    pub(super) slot: u16,
    stamp: u16,
    /// Number of jobs that use the object, plus one until the client closes the handle.
    uses: u8,
    /// True until the client closes the handle.
    pub(super) known: bool,
    pub(super) mode: u8,
    /// For a directory, the cookie of the next entry; for a file, the number of bytes read.
    pub(super) cookie: u64,
    /// Number of bytes written to the file.
    pub(super) written: u64,
}

/// A handle's path as it is logged: cut to this length, padded with NULs.
pub type LoggedPath = [u8; 512];

/// Access modes of an open file: bits of [`OpenFlags`].
pub(super) const READ: u8 = OpenFlags::READ;
pub(super) const WRITE: u8 = OpenFlags::WRITE;
pub(super) const APPEND: u8 = OpenFlags::APPEND;
/// A slot number that stands for "no slot".
pub(super) const NONE: u16 = u16::MAX;
/// Bit of `mode`: the open object is a directory.
pub(super) const LIST: u8 = OpenFlags::DIRECTORY;

/// The open files and directories of a session.
pub(super) struct Handles {
    places: Slots<Option<OpenHandle>>,
    last_stamp: u16,
    /// All slots below this one are in use. This one may be free.
    first_free: u16,
    /// The paths of the open objects; empty unless they are logged.
    pub(super) paths: &'static mut [LoggedPath],
}

impl Handles {
    /// Creates the table without open files. `places` is its capacity.
    pub(super) const fn new(
        places: Slots<Option<OpenHandle>>,
        paths: &'static mut [LoggedPath],
    ) -> Self {
        Self {
            places,
            last_stamp: 0,
            first_free: 0,
            paths,
        }
    }

    #[inline(always)]
    fn place(&mut self, slot: u16) -> Option<&mut Option<OpenHandle>> {
        self.places.get_mut(usize::from(slot))
    }

    /// Maximum number of open files and directories.
    pub(super) const fn count_max(&self) -> usize {
        self.places.count()
    }

    /// Returns a free slot.
    pub(super) fn free(&mut self) -> Option<u16> {
        while self.at(self.first_free).is_some() {
            self.first_free += 1;
        }
        // The table grows only when needed: the kernel allocates a page at its first use.
        if usize::from(self.first_free) == self.places.len() {
            self.places.push(None)?;
        }
        Some(self.first_free)
    }

    /// Fills a free slot. Returns the handle.
    pub(super) fn put(&mut self, slot: u16, pin: Pin, mode: u8, path: &[u8]) -> u32 {
        if let Some(logged) = self.paths.get_mut(usize::from(slot)) {
            for (place, byte) in logged.iter_mut().enumerate() {
                *byte = path.get(place).copied().unwrap_or_default();
            }
        }
        self.last_stamp = self.last_stamp.wrapping_add(1);
        let stamp = self.last_stamp;
        if let Some(place) = self.place(slot) {
            *place = Some(OpenHandle {
                pin,
                slot,
                stamp,
                uses: 1,
                known: true,
                mode,
                cookie: 0,
                written: 0,
            });
        }
        u32::from(slot) << 16 | u32::from(stamp)
    }

    /// Returns the open object of a valid handle, if `args` has its kind of handle.
    pub(super) fn find(&mut self, handle: &[u8], args: Args) -> Option<&mut OpenHandle> {
        let handle = u32::from_be_bytes(*handle.as_array()?);
        let open = self.at((handle >> 16) as u16)?;
        let kind = match open.mode & LIST {
            0 => Arg::File,
            _ => Arg::Directory,
        };
        let named = open.known && open.stamp == handle as u16 && args.has(kind);
        named.then_some(open)
    }

    /// The open object in a slot.
    pub(super) fn at(&mut self, slot: u16) -> Option<&mut OpenHandle> {
        self.place(slot)?.as_mut()
    }

    /// Counts one more job that uses the object in a slot.
    pub(super) fn add_use(&mut self, slot: u16) {
        if let Some(open) = self.at(slot) {
            open.uses += 1;
        }
    }

    /// Ends one use of the object in a slot. With `known`, a job ends; without it, the client closes its handle, which becomes
    /// invalid. The end of the last use closes the object.
    pub(super) fn release(&mut self, slot: u16, known: bool, vfs: &mut Tree) {
        if let Some(place) = self.place(slot)
            && let Some(open) = place
        {
            open.known &= known;
            open.uses -= 1;
            if open.uses == 0 {
                unpin(place, vfs);
                self.first_free = self.first_free.min(slot);
            }
        }
    }

    /// Adds to the numbers of bytes read from and written to the file in a slot.
    pub(super) fn count(&mut self, slot: u16, read: u32, written: u32) {
        if let Some(open) = self.at(slot) {
            open.cookie += u64::from(read);
            open.written += u64::from(written);
        }
    }

    /// Closes all files and directories.
    pub(super) fn clear(&mut self, vfs: &mut Tree) {
        for place in &mut *self.places {
            unpin(place, vfs);
        }
        self.first_free = 0;
    }

    /// Empties a slot whose file the driver has already released.
    pub(super) fn forget(&mut self, slot: u16) {
        if let Some(place) = self.place(slot) {
            *place = None;
            self.first_free = 0;
        }
    }
}

fn unpin(place: &mut Option<OpenHandle>, vfs: &mut Tree) {
    if let Some(open) = place.take() {
        vfs.unpin(open.pin);
    }
}

// A handle has 16 bits for the slot.
const _: () = assert!(crate::config::HANDLE_COUNT_MAX <= NONE as usize);
const _: () = assert!(crate::config::JOB_COUNT_MAX * 2 < u8::MAX as usize);
