//! What is announced of what may change: the services that files describe, virtual machines.
//!
//! Each look shows all that are there. Those that are as they were are left alone; of those that are gone, or have
//! become something else, leave is taken.

use super::add;
use crate::engine::mdns::{NameId, Responder};
use crate::mem::Slots;
use crate::time::Instant;
use crate::wire::announce::Service;

/// One that is announced.
struct Entry {
    /// What stays while it changes.
    id: u64,
    /// What differs when it has changed.
    stamp: u64,
    name: NameId,
    /// It was shown in this look.
    is_there: bool,
}

/// All of a kind.
pub(super) struct Announced(Slots<Entry>);

impl Announced {
    /// None yet.
    pub(super) fn new(count: usize) -> Self {
        Self(Slots::new(count))
    }

    /// A look begins.
    pub(super) fn begin(&mut self) {
        for entry in self.0.iter_mut() {
            entry.is_there = false;
        }
    }

    /// Whether this one is announced as it is. If it is announced otherwise, it is not any more.
    pub(super) fn has(
        &mut self,
        now: Instant,
        (id, stamp): (u64, u64),
        responder: &mut Responder,
    ) -> bool {
        let mut old = None;
        for (at, entry) in self.0.iter_mut().enumerate() {
            if entry.id == id {
                if entry.stamp == stamp {
                    entry.is_there = true;
                    return true;
                }
                if !entry.is_there {
                    old = Some(at);
                }
            }
        }
        if let Some(at) = old {
            self.remove(now, at, responder);
        }
        false
    }

    /// Announces this one, which was not, and which `file` describes.
    pub(super) fn announce(
        &mut self,
        now: Instant,
        (id, stamp): (u64, u64),
        service: &Service<'_>,
        file: &[u8],
        responder: &mut Responder,
    ) {
        if let Some(name) = add(responder, now, service, file) {
            let _ = self.0.push(Entry {
                id,
                stamp,
                name,
                is_there: true,
            });
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// The look ends: those that were not shown are gone.
    pub(super) fn end(&mut self, now: Instant, responder: &mut Responder) {
        let mut at = 0;
        while let Some(entry) = self.0.get(at) {
            if entry.is_there {
                at += 1;
            } else {
                self.remove(now, at, responder);
            }
        }
    }

    fn remove(&mut self, now: Instant, at: usize, responder: &mut Responder) {
        // The last one takes its place.
        if let Some(mut last) = self.0.pop() {
            if let Some(place) = self.0.get_mut(at) {
                core::mem::swap(place, &mut last);
            }
            responder.remove_service(now, last.name);
        }
    }
}
