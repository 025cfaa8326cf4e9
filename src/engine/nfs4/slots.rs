//! The slot of a request that is carried out.

use super::tables::{Slot, Tables, Words as _, slot};
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
    /// Returns true if the reply is kept.
    pub(super) const fn keeps(&self) -> bool {
        self.keeps
    }

    /// Stores the outcome of a request that was carried out, and lets the slot go. `reply` are the results; `failed` has the second
    /// operation and its status if the request ended with that.
    pub(super) fn settle(&self, tables: &Tables, reply: &[u8], failed: Option<(u32, Status)>) {
        match self.keeps {
            true => tables.keep_reply(self.slot, reply),
            false => tables.drop_reply(self.slot),
        }
        let failed = failed.map_or(0, |(number, status)| number << 16 | u32::from(status.0));
        self.slot.set(slot::FAILED, failed);
        self.slot.set(slot::REQUEST, self.request);
        self.slot.set(slot::SEQUENCE, self.sequence);
        self.slot.set_all(slot::CONNECTION, &[0; 2]);
    }

    /// Lets the slot of a request go that was not carried out.
    pub(super) fn release(&self) {
        self.slot.set_all(slot::CONNECTION, &[0; 2]);
    }
}
