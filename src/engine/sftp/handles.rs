//! Open files and directories, and the four bytes by which a client knows each.
//!
//! A handle that was closed is not known any more, also when its place is taken again. A file that a job still works on stays
//! open until that has ended.

use super::requests::{DIRECTORY, FILE};
use crate::mem::Slots;
use crate::vfs::{OpenFlags, Pin, Tree};

/// How what is only read is opened.
pub(super) static TO_READ: OpenFlags = OpenFlags {
    how: READ,
    create: None,
};

/// An open file or directory.
#[derive(Debug)]
#[repr(align(16))] // A power of two: to find one is a shift then.
pub struct Open {
    /// An order may have it too.
    pub(super) pin: Pin,
    /// Its place, and which of those that were there.
    pub(super) slot: u16,
    stamp: u16,
    /// Jobs that work on it, and one more while a client may have a handle for it.
    uses: u8,
    /// Whether the client may still use that handle.
    pub(super) known: bool,
    pub(super) mode: u8,
    /// Of a directory, where its listing goes on; of a file, bytes that were read from it.
    pub(super) cookie: u64,
    /// Bytes that were written to it.
    pub(super) written: u64,
}

/// As much of a handle's path as a line has, with NULs behind it.
pub type LoggedPath = [u8; 512];

/// What may be done with what is open: bits of [`OpenFlags`].
pub(super) const READ: u8 = OpenFlags::READ;
pub(super) const WRITE: u8 = OpenFlags::WRITE;
pub(super) const APPEND: u8 = OpenFlags::APPEND;
/// No slot.
pub(super) const NONE: u16 = u16::MAX;
/// It is a directory.
pub(super) const LIST: u8 = OpenFlags::DIRECTORY;

/// All that a session has open.
pub(super) struct Handles {
    places: Slots<Option<Open>>,
    last_stamp: u16,
    /// All places below this one are taken.
    first_free: u16,
    /// Their paths, if they are logged.
    pub(super) paths: &'static mut [LoggedPath],
}

impl Handles {
    /// Nothing is open. There may be as many as there are places.
    pub(super) const fn new(places: Slots<Option<Open>>, paths: &'static mut [LoggedPath]) -> Self {
        Self {
            places,
            last_stamp: 0,
            first_free: 0,
            paths,
        }
    }

    #[inline(always)]
    fn place(&mut self, slot: u16) -> Option<&mut Option<Open>> {
        self.places.get_mut(usize::from(slot))
    }

    /// How many there may be.
    pub(super) const fn count_max(&self) -> usize {
        self.places.count()
    }

    /// A place for what is about to be opened.
    pub(super) fn free(&mut self) -> Option<u16> {
        while self.at(self.first_free).is_some() {
            self.first_free += 1;
        }
        // A page of places is in memory once one of them was used.
        if usize::from(self.first_free) == self.places.len() {
            self.places.push(None)?;
        }
        Some(self.first_free)
    }

    /// Takes a place that was free; the handle.
    pub(super) fn put(&mut self, slot: u16, pin: Pin, mode: u8, path: &[u8]) -> u32 {
        if let Some(logged) = self.paths.get_mut(usize::from(slot)) {
            for (place, byte) in logged.iter_mut().enumerate() {
                *byte = path.get(place).copied().unwrap_or_default();
            }
        }
        self.last_stamp = self.last_stamp.wrapping_add(1);
        let stamp = self.last_stamp;
        if let Some(place) = self.place(slot) {
            *place = Some(Open {
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

    /// What a handle names, if it is of a kind that the request's traits tell.
    pub(super) fn find(&mut self, handle: &[u8], traits: u16) -> Option<&mut Open> {
        let handle = u32::from_be_bytes(*handle.as_array()?);
        let open = self.at((handle >> 16) as u16)?;
        let kind = if open.mode & LIST > 0 {
            DIRECTORY
        } else {
            FILE
        };
        let named = open.known && open.stamp == handle as u16 && traits & kind != 0;
        named.then_some(open)
    }

    /// What is open there.
    #[inline(never)]
    pub(super) fn at(&mut self, slot: u16) -> Option<&mut Open> {
        self.place(slot)?.as_mut()
    }

    /// A job begins to work on it.
    pub(super) fn hold(&mut self, slot: u16) {
        if let Some(open) = self.at(slot) {
            open.uses += 1;
        }
    }

    /// A job, or the client, does not need it any more; unless `known`, its handle is gone. After the last of them it is closed.
    #[inline(never)]
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

    /// Counts bytes that were read from the file there, or written to it.
    #[inline(never)]
    pub(super) fn count(&mut self, slot: u16, read: u32, written: u32) {
        if let Some(open) = self.at(slot) {
            open.cookie += u64::from(read);
            open.written += u64::from(written);
        }
    }

    /// Closes all.
    pub(super) fn clear(&mut self, vfs: &mut Tree) {
        for place in &mut *self.places {
            unpin(place, vfs);
        }
        self.first_free = 0;
    }

    /// What is open there was given back by the driver that had it.
    pub(super) fn forget(&mut self, slot: u16) {
        if let Some(place) = self.place(slot) {
            *place = None;
            self.first_free = 0;
        }
    }
}

#[inline(never)]
fn unpin(place: &mut Option<Open>, vfs: &mut Tree) {
    if let Some(open) = place.take() {
        vfs.unpin(open.pin);
    }
}

// A handle has no bits for more.
const _: () = assert!(crate::config::HANDLE_COUNT_MAX <= NONE as usize);
const _: () = assert!(crate::config::JOB_COUNT_MAX * 2 < u8::MAX as usize);
