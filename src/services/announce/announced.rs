//! Announced services of a source that is scanned repeatedly: service files, virtual machines.
//!
//! Unchanged services stay announced. Services that are gone or changed are removed with a goodbye.

use super::add;
use crate::engine::mdns::{NameId, Responder};
use crate::mem::Slots;
use crate::time::Instant;
use crate::wire::announce::Service;

/// An announced service.
struct AnnouncedService {
    /// Identifies the source, such as a file; unaffected by changes of its content.
    id: u64,
    /// A hash of the source's content, or its mtime and size. If it differs, the content has changed.
    stamp: u64,
    name: NameId,
    /// True if the current scan has found the source.
    is_present: bool,
}

/// The announced services of one kind of source.
pub(super) struct Announced(Slots<AnnouncedService>);

impl Announced {
    /// Makes an empty table for `count` services.
    pub(super) fn new(count: usize) -> Self {
        Self(Slots::new(count))
    }

    /// Starts a scan of the sources (service files or virtual machines): marks all as not found.
    pub(super) fn start_scan(&mut self) {
        for entry in self.0.iter_mut() {
            entry.is_present = false;
        }
    }

    /// Returns true if a source's content is announced.
    pub(super) fn has(&self, (id, stamp): (u64, u64)) -> bool {
        let is_same = |entry: &AnnouncedService| entry.id == id && entry.stamp == stamp;
        self.0.iter().any(is_same)
    }

    /// Returns true if the current scan has found a source, perhaps with another content.
    pub(super) fn is_present(&self, (id, _): (u64, u64)) -> bool {
        let is_it = |entry: &AnnouncedService| entry.id == id && entry.is_present;
        self.0.iter().any(is_it)
    }

    /// Marks a source as present and returns true if its content is announced. If an older content is announced, removes that.
    pub(super) fn mark_present(
        &mut self,
        now: Instant,
        (id, stamp): (u64, u64),
        responder: &mut Responder,
    ) -> bool {
        let mut old = None;
        for (index, entry) in self.0.iter_mut().enumerate() {
            if entry.id == id {
                if entry.stamp == stamp {
                    entry.is_present = true;
                    return true;
                }
                if !entry.is_present {
                    old = Some(index);
                }
            }
        }
        if let Some(index) = old {
            self.remove(now, index, responder);
        }
        false
    }

    /// Announces a service that is not announced yet. `file` is the file that describes it, for an error message. Returns the
    /// service's name; `None`: the tables are full.
    pub(super) fn announce(
        &mut self,
        now: Instant,
        (id, stamp): (u64, u64),
        service: &Service<'_>,
        file: &[u8],
        responder: &mut Responder,
    ) -> Option<NameId> {
        let name = add(responder, now, service, file)?;
        let _ = self.0.push(AnnouncedService {
            id,
            stamp,
            name,
            is_present: true,
        });
        Some(name)
    }

    /// Probes again for the virtual machines that were left to other hosts.
    pub(super) fn reclaim(&self, now: Instant, responder: &mut Responder) {
        for entry in self.0.iter() {
            responder.reclaim(now, entry.name);
        }
    }

    /// Returns the number of services, and the number of those that were not left to other hosts.
    pub(super) fn counts(&self, responder: &Responder) -> (u32, u32) {
        let ours = self.0.iter().filter(|entry| !responder.is_left(entry.name));
        (self.0.len() as u32, ours.count() as u32)
    }

    /// Ends a scan: removes the services whose sources it has not found, each with a goodbye.
    pub(super) fn finish_scan(&mut self, now: Instant, responder: &mut Responder) {
        let mut index = 0;
        while let Some(entry) = self.0.get(index) {
            if entry.is_present {
                index += 1;
            } else {
                self.remove(now, index, responder);
            }
        }
    }

    fn remove(&mut self, now: Instant, index: usize, responder: &mut Responder) {
        // Moves the last entry to the freed index.
        if let Some(mut last) = self.0.pop() {
            if let Some(entry) = self.0.get_mut(index) {
                core::mem::swap(entry, &mut last);
            }
            responder.remove_service(now, last.name);
        }
    }
}
