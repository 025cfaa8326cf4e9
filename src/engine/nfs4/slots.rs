//! The slot of a request that is carried out.

use super::tables::{Slot, Tables, Words as _, slot};
use crate::mem::fx_words;
use crate::wire::nfs4::Status;

/// A request that holds a slot.
#[derive(Clone, Copy)]
pub(super) struct Held {
    pub(super) slot: Slot,
    /// The sequence number.
    pub(super) sequence: u32,
    /// The hash of the request.
    pub(super) request: u32,
    /// True if the client asks to keep the reply.
    pub(super) keeps: bool,
}

impl Held {
    /// A number of the request that no other one has.
    pub(super) fn id(&self) -> u32 {
        let place = core::ptr::from_ref(self.slot).addr() as u32;
        fx_words(self.request ^ place, &self.sequence.to_ne_bytes())
    }

    /// Returns true if the reply is kept.
    pub(super) const fn keeps(&self) -> bool {
        self.keeps
    }

    /// Stores the outcome of a request that was carried out, and lets the slot go. `reply` are the results; `failed` has the second
    /// operation and its status if the request ended with that; `promised` is that of its COMPOUND.
    pub(super) fn settle(
        &self,
        tables: &Tables,
        reply: &[u8],
        failed: Option<(u32, Status)>,
        promised: u32,
    ) {
        match self.keeps {
            true => tables.keep_reply(self.slot, reply),
            false => tables.drop_reply(self.slot),
        }
        let failed = failed.map_or(0, |(number, status)| number << 16 | u32::from(status.0));
        self.slot.set_all(slot::FAILED, &[failed, promised]);
        self.slot.set(slot::REQUEST, self.request);
        self.slot.set(slot::SEQUENCE, self.sequence);
        self.slot.set_all(slot::CONNECTION, &[0; 2]);
    }

    /// Lets the slot of a request go that was not carried out.
    pub(super) fn release(&self) {
        self.slot.set_all(slot::CONNECTION, &[0; 2]);
    }
}
