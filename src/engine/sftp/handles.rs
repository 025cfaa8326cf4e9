//! Open files and directories, and the four bytes by which a client knows each.
//!
//! A handle that was closed is not known any more, also when its place is taken again. A file that a job still works on stays
//! open until that has ended.

use super::requests::{DIRECTORY, FILE, MISSING};
use super::{Fault, Order};
use crate::vfs::{Pin, Vfs};
use crate::wire::sftp::Status;

/// An open file or directory.
#[derive(Debug)]
pub struct Open {
    /// None while an order has it.
    pin: Option<Pin>,
    /// Of a directory: where its listing goes on.
    cookie: u64,
    /// Which of those that were in this place.
    stamp: u16,
    /// Jobs that work on it, and one more while a client may have a handle for it.
    uses: u8,
    /// A client may.
    known: bool,
    mode: Mode,
}

/// What may be done with what is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Mode {
    pub(super) read: bool,
    pub(super) write: bool,
    pub(super) append: bool,
    pub(super) directory: bool,
}

/// All that a session has open.
pub(super) struct Handles {
    places: &'static mut [Option<Open>],
    last_stamp: u16,
}

impl Handles {
    pub(super) const fn new(places: &'static mut [Option<Open>]) -> Self {
        Self {
            places,
            last_stamp: 0,
        }
    }

    /// How many there may be.
    pub(super) const fn count_max(&self) -> usize {
        self.places.len()
    }

    /// A place for what is about to be opened.
    #[inline(never)]
    pub(super) fn free(&self) -> Result<usize, Fault> {
        let free = self.places.iter().position(Option::is_none);
        // A handle has no bits for more.
        free.filter(|slot| *slot <= usize::from(u16::MAX))
            .ok_or(Fault::Status(Status::Failure))
    }

    /// Takes a place that was free; the handle.
    #[inline(never)]
    pub(super) fn put(&mut self, slot: usize, pin: Pin, mode: Mode) -> [u8; 4] {
        self.last_stamp = self.last_stamp.wrapping_add(1);
        let stamp = self.last_stamp;
        if let Some(place) = self.places.get_mut(slot) {
            *place = Some(Open {
                pin: Some(pin),
                cookie: 0,
                stamp,
                uses: 1,
                known: true,
                mode,
            });
        }
        ((slot as u32) << 16 | u32::from(stamp)).to_be_bytes()
    }

    /// Where what a handle names is, and what may be done with it, if it is of a kind that the request's traits tell.
    #[inline(never)]
    pub(super) fn find(&self, handle: &[u8], traits: u16) -> Result<(usize, Mode), Fault> {
        let handle = handle.first_chunk().filter(|_| handle.len() == 4);
        let handle = handle.map_or(u32::MAX, |handle| u32::from_be_bytes(*handle));
        let slot = (handle >> 16) as usize;
        if let Some(Some(open)) = self.places.get(slot)
            && open.known
            && open.stamp == handle as u16
            && traits & (if open.mode.directory { DIRECTORY } else { FILE }) != 0
        {
            return Ok((slot, open.mode));
        }
        Err(Fault::Status(if traits & MISSING != 0 {
            Status::NoSuchFile
        } else {
            Status::Failure
        }))
    }

    #[inline(never)]
    fn at(&mut self, slot: usize) -> Option<&mut Open> {
        self.places.get_mut(slot)?.as_mut()
    }

    /// The pin in a place, and how far a directory was listed.
    #[inline(never)]
    pub(super) fn get(&mut self, slot: usize) -> Result<(&Pin, &mut u64), Fault> {
        match self.at(slot) {
            Some(Open {
                pin: Some(pin),
                cookie,
                ..
            }) => Ok((pin, cookie)),
            _ => Err(Fault::Status(Status::Failure)),
        }
    }

    /// Takes the pin for an order.
    pub(super) fn lend(&mut self, slot: usize) -> Result<Pin, Fault> {
        let pin = self.at(slot).and_then(|open| open.pin.take());
        pin.ok_or(Fault::Status(Status::Failure))
    }

    /// Takes back what an order had.
    pub(super) fn give_back(&mut self, slot: usize, order: Order, vfs: &mut dyn Vfs) {
        let (Order::Send { file, .. } | Order::Store { file, .. } | Order::Sync { file }) = order;
        match self.at(slot) {
            Some(open) if open.pin.is_none() => open.pin = Some(file),
            _ => vfs.unpin(file),
        }
    }

    /// A job begins to work on it.
    pub(super) fn hold(&mut self, slot: usize) {
        if let Some(open) = self.at(slot) {
            open.uses = open.uses.wrapping_add(1);
        }
    }

    /// No client has, or will have, a handle for it.
    pub(super) fn close(&mut self, slot: usize, vfs: &mut dyn Vfs) {
        if let Some(open) = self.at(slot) {
            open.known = false;
        }
        self.release(slot, vfs);
    }

    /// A client or a job does not need it any more; when nobody does, it is closed.
    #[inline(never)]
    pub(super) fn release(&mut self, slot: usize, vfs: &mut dyn Vfs) {
        if let Some(open) = self.at(slot) {
            open.uses = open.uses.wrapping_sub(1);
            if open.uses == 0
                && let Some(place) = self.places.get_mut(slot)
            {
                unpin(place, vfs);
            }
        }
    }

    /// Closes all.
    pub(super) fn clear(&mut self, vfs: &mut dyn Vfs) {
        for place in self.places.iter_mut() {
            unpin(place, vfs);
        }
    }
}

fn unpin(place: &mut Option<Open>, vfs: &mut dyn Vfs) {
    if let Some(Open { pin: Some(pin), .. }) = place.take() {
        vfs.unpin(pin);
    }
}

const _: () = assert!(crate::config::JOB_COUNT_MAX * 2 < u8::MAX as usize);
