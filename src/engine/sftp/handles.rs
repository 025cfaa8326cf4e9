//! Open files and directories, and the four bytes by which a client knows each.
//!
//! A handle that was closed is not known any more, also when its place is taken again. A file that a job still works on stays
//! open until that has ended.

use super::{Fault, Order};
use crate::vfs::{Pin, Vfs};
use crate::wire::sftp::Status;

/// An open file or directory.
#[derive(Debug)]
pub struct Open {
    /// None while an order has it.
    pub(super) pin: Option<Pin>,
    /// Of a directory: where its listing goes on.
    pub(super) cookie: u64,
    /// Which of those that were in this place.
    stamp: u16,
    /// Jobs that work on it.
    jobs: u8,
    pub(super) mode: Mode,
    /// The client has no handle for it.
    closed: bool,
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
    pub(super) fn put(&mut self, slot: usize, pin: Pin, mode: Mode) -> [u8; 4] {
        self.last_stamp = self.last_stamp.wrapping_add(1);
        let stamp = self.last_stamp;
        if let Some(place) = self.places.get_mut(slot) {
            *place = Some(Open {
                pin: Some(pin),
                cookie: 0,
                stamp,
                jobs: 0,
                mode,
                closed: false,
            });
        }
        ((slot as u32) << 16 | u32::from(stamp)).to_be_bytes()
    }

    /// Where a handle's file or directory is. To OpenSSH, others are only a failure.
    #[inline(never)]
    pub(super) fn find(&self, handle: &[u8], directory: bool) -> Result<usize, Fault> {
        let slot = self.known(handle);
        slot.filter(|slot| {
            let open = self.places.get(*slot).and_then(Option::as_ref);
            open.is_some_and(|open| open.mode.directory == directory)
        })
        .ok_or(Fault::Status(Status::Failure))
    }

    fn known(&self, handle: &[u8]) -> Option<usize> {
        let handle = u32::from_be_bytes(handle.try_into().ok()?);
        let slot = (handle >> 16) as usize;
        let open = self.places.get(slot)?.as_ref()?;
        (open.stamp == handle as u16 && !open.closed).then_some(slot)
    }

    /// What is open in a place, and its pin.
    #[inline(never)]
    pub(super) fn get(&mut self, slot: usize) -> Result<(&Pin, Mode, &mut u64), Fault> {
        match self.places.get_mut(slot) {
            Some(Some(Open {
                pin: Some(pin),
                mode,
                cookie,
                ..
            })) => Ok((pin, *mode, cookie)),
            _ => Err(Fault::Status(Status::Failure)),
        }
    }

    /// Takes the pin for an order.
    pub(super) fn lend(&mut self, slot: usize) -> Result<Pin, Fault> {
        let open = self.places.get_mut(slot).and_then(Option::as_mut);
        open.and_then(|open| open.pin.take())
            .ok_or(Fault::Status(Status::Failure))
    }

    /// Takes back what an order had.
    pub(super) fn give_back(&mut self, slot: usize, order: Order, vfs: &mut dyn Vfs) {
        let (Order::Send { file, .. } | Order::Store { file, .. } | Order::Sync { file }) = order;
        match self.places.get_mut(slot) {
            Some(Some(open)) if open.pin.is_none() => open.pin = Some(file),
            _ => vfs.unpin(file),
        }
    }

    /// The client needs it no longer.
    #[inline(never)]
    pub(super) fn close(&mut self, handle: &[u8], vfs: &mut dyn Vfs) -> Result<(), Fault> {
        let slot = self
            .known(handle)
            .ok_or(Fault::Status(Status::NoSuchFile))?;
        self.hide(slot);
        self.settle(slot, vfs);
        Ok(())
    }

    /// No client has, or will have, a handle for it.
    pub(super) fn hide(&mut self, slot: usize) {
        if let Some(Some(open)) = self.places.get_mut(slot) {
            open.closed = true;
        }
    }

    /// A job begins to work on it.
    pub(super) fn hold(&mut self, slot: usize) {
        if let Some(Some(open)) = self.places.get_mut(slot) {
            open.jobs = open.jobs.wrapping_add(1);
        }
    }

    /// A job has ended.
    pub(super) fn release(&mut self, slot: usize, vfs: &mut dyn Vfs) {
        if let Some(Some(open)) = self.places.get_mut(slot) {
            open.jobs = open.jobs.saturating_sub(1);
        }
        self.settle(slot, vfs);
    }

    /// Closes what nobody needs.
    #[inline(never)]
    fn settle(&mut self, slot: usize, vfs: &mut dyn Vfs) {
        let Some(place) = self.places.get_mut(slot) else {
            return;
        };
        if place
            .as_ref()
            .is_some_and(|open| open.closed && open.jobs == 0)
            && let Some(Open { pin: Some(pin), .. }) = place.take()
        {
            vfs.unpin(pin);
        }
    }

    /// Closes all.
    pub(super) fn clear(&mut self, vfs: &mut dyn Vfs) {
        for place in self.places.iter_mut() {
            if let Some(Open { pin: Some(pin), .. }) = place.take() {
                vfs.unpin(pin);
            }
        }
    }
}

const _: () = assert!(crate::config::JOB_COUNT_MAX * 2 < u8::MAX as usize);
