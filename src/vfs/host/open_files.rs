//! The bounded table of open descriptors. A `Node` of the host backend is a slot of it.
//!
//! Caches descriptors, never attributes or names. An open descriptor keeps the kernel from reusing the inode, so a handle that is
//! in the table needs no verification. The table is set-associative: a handle's hash selects [`WAYS`] slots.

use super::super::{Backend, FsError, FsResult, Handle, Node, ObjectType, Pin, Rights};
use super::volume::Volume;
use crate::mem::{Slots, fx_words};
use crate::sys::linux::fs::{self, File};
use core::cell::Cell;
use rustix::fs::OFlags;

/// Number of slots in which a handle can be.
const WAYS: usize = 8;

/// Mode in which a descriptor was opened.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Opened {
    /// `O_PATH`: for lookups only.
    Path,
    /// For reading.
    Read,
    /// For reading and writing.
    Write,
}

/// One open object.
#[derive(Debug)]
pub(super) struct OpenEntry {
    /// `O_PATH` at first; reopened when a request reads or writes.
    pub(super) file: File,
    pub(super) opened: Opened,
    /// True if the object was written to, or created, since the last release.
    pub(super) written: Cell<bool>,
    /// Count of changes through this entry.
    pub(super) changes: Cell<u32>,
    /// Value of `changes` up to which the changes are on disk.
    pub(super) durable: Cell<u32>,
    /// Bytes written since the last sync. Saturates.
    pub(super) unsynced_bytes: Cell<u32>,
    /// Count of removals by clients when the object had a name, or was spared.
    pub(super) named: Cell<u32>,
    /// True if the file is unlinked, and was kept once although it was idle.
    pub(super) lingers: Cell<bool>,
    pub(super) export_index: u16,
    pub(super) kind: ObjectType,
    /// Number by which path handles of the object, and of entries of it, identify it.
    pub(super) inode: u64,
    pub(super) volume: Volume,
    pub(super) handle: Handle,
}

#[derive(Debug)]
struct Slot {
    entry: Option<OpenEntry>,
    /// Incremented for each entry in this slot, so that an old node does not match a new object.
    generation: u16,
    /// Number of pins of the entry.
    pins: u16,
    /// Value of the table's tick at the last use.
    used: Cell<u32>,
}

/// The table.
#[derive(Debug)]
pub(super) struct OpenFiles {
    /// A hash table in sets of [`WAYS`] places. Each place has the index + 1 of its slot, or 0 if it has no slot.
    places: Slots<u16>,
    /// Slots that were ever used. Grows on demand, so that unused memory is not touched.
    slots: Slots<Slot>,
    tick: Cell<u32>,
    released: u32,
}

impl OpenFiles {
    /// A table of `count` descriptors, rounded up to whole sets.
    pub(super) fn new(count: usize) -> Self {
        let count = count.next_multiple_of(WAYS).min(1 << 15);
        let mut places = Slots::new(count);
        while !places.is_full() {
            places.push(0);
        }
        Self {
            places,
            slots: Slots::new(count),
            tick: Cell::new(0),
            released: 0,
        }
    }

    /// Returns the set of places in which a handle can be.
    fn set(&self, handle: &[u8]) -> core::ops::Range<usize> {
        let hash = fx_words(1, handle);
        let sets = (self.places.len() / WAYS) as u64;
        let first = ((u64::from(hash) * sets) >> 32) as usize * WAYS;
        first..first + WAYS
    }

    /// Returns the slot of a place and the slot's index; `None` if the place has no slot.
    fn slot_at(&self, place: usize) -> Option<(usize, &Slot)> {
        let number = usize::from(*self.places.get(place)?).checked_sub(1)?;
        Some((number, self.slots.get(number)?))
    }

    /// Increments the counter of uses and returns it.
    fn tick(&self) -> u32 {
        let tick = self.tick.get().wrapping_add(1);
        self.tick.set(tick);
        tick
    }

    /// The node of a handle, if it is open.
    pub(super) fn find(&self, handle: &[u8]) -> Option<Node> {
        for place in self.set(handle) {
            if let Some((at, slot)) = self.slot_at(place)
                && let Some(entry) = &slot.entry
                && entry.handle.bytes() == handle
            {
                slot.used.set(self.tick());
                return Some(slot.node(at));
            }
        }
        None
    }

    /// Returns any open entry for which `wanted` returns true.
    pub(super) fn any(&self, wanted: &dyn Fn(&OpenEntry) -> bool) -> Option<&OpenEntry> {
        self.slots
            .iter()
            .filter_map(|slot| slot.entry.as_ref())
            .find(|entry| wanted(entry))
    }

    /// Removes the objects of an export. Pinned ones remain, but are not found by their handles any more, and are not part of the
    /// next export with this number.
    pub(super) fn forget(&mut self, export_index: u16) {
        for slot in self.slots.iter_mut() {
            let Some(entry) = slot
                .entry
                .as_mut()
                .filter(|entry| entry.export_index == export_index)
            else {
                continue;
            };
            match slot.pins {
                0 => slot.entry = None,
                _ => (entry.handle, entry.export_index) = (Handle::EMPTY, u16::MAX),
            }
        }
    }

    /// Inserts an entry, and evicts the least recently used unpinned entry of its set.
    ///
    /// # Errors
    /// `TryLater`: all entries of the set are pinned.
    pub(super) fn insert(&mut self, entry: OpenEntry) -> FsResult<Node> {
        let tick = self.tick();
        let (mut best, mut longest) = (None, 0);
        for place in self.set(entry.handle.bytes()) {
            let age = match self.slot_at(place) {
                Some((_, slot)) if slot.pins > 0 => 0,
                Some((_, slot)) if slot.entry.is_some() => tick.wrapping_sub(slot.used.get()),
                _ => u32::MAX,
            };
            if age > longest {
                (best, longest) = (Some(place), age);
            }
        }
        let place = best.ok_or(FsError::TryLater)?;
        let at = match self.slot_at(place) {
            Some((at, _)) => at,
            None => self.add_slot(place).ok_or(FsError::TryLater)?,
        };
        let slot = self.slots.get_mut(at).ok_or(FsError::TryLater)?;
        slot.generation = slot.generation.wrapping_add(1) & Node::GENERATION_MASK;
        slot.used.set(tick);
        slot.entry = Some(entry);
        Ok(slot.node(at))
    }

    /// Adds a slot for a place and returns its index. Cannot fail: there are as many slots as places.
    fn add_slot(&mut self, place: usize) -> Option<usize> {
        let at = self.slots.push(Slot {
            entry: None,
            generation: 0,
            pins: 0,
            used: Cell::new(0),
        })?;
        *self.places.get_mut(place)? = at as u16 + 1;
        Some(at)
    }

    fn slot(&mut self, node: Node) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(node.slot())?;
        (slot.generation == node.generation()).then_some(slot)
    }

    /// The entry of a node; `None` if it was evicted.
    pub(super) fn get(&self, node: Node) -> Option<&OpenEntry> {
        let slot = self.slots.get(node.slot())?;
        let entry = slot.entry.as_ref();
        entry.filter(|_| slot.generation == node.generation())
    }

    /// As [`get`](Self::get), but mutable.
    pub(super) fn get_mut(&mut self, node: Node) -> Option<&mut OpenEntry> {
        self.slot(node)?.entry.as_mut()
    }

    /// Protects the entry of a node from eviction until [`OpenFiles::unpin`]. Writes are done as `user`.
    pub(super) fn pin(&mut self, node: Node, user: u32) -> FsResult<Pin> {
        let slot = self.slot(node).ok_or(FsError::Stale)?;
        slot.pins = slot.pins.checked_add(1).ok_or(FsError::TryLater)?;
        Ok(Pin { node, user })
    }

    /// Releases a pin.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a pin that was given back is gone"
    )]
    pub(super) fn unpin(&mut self, pin: Pin) {
        let tick = self.tick.get();
        if let Some(slot) = self.slot(pin.node) {
            slot.pins = slot.pins.saturating_sub(1);
            slot.used.set(tick);
        }
    }

    /// Closes unpinned files that were unlinked, because their blocks are not freed while they are open. Returns true if there were
    /// any.
    #[cold]
    pub(super) fn drop_removed(&mut self) -> bool {
        let (mut any, mut stat) = (false, fs::blank());
        for slot in self.slots.iter_mut() {
            if let Some(entry) = &slot.entry
                && slot.pins == 0
                && fs::statx(&entry.file, c"", &mut stat).is_ok()
                && stat.stx_nlink == 0
            {
                slot.entry = None;
                any = true;
            }
        }
        any
    }

    /// Calls `close` to remove each unpinned entry that was not used since the last release. Reopens used but unwritten files with
    /// O_PATH, because execve of a file that is open for writing fails with ETXTBSY. Returns true if unpinned entries remain.
    pub(super) fn release_idle(&mut self, close: &mut dyn FnMut(&mut Option<OpenEntry>)) -> bool {
        let mut more = false;
        for slot in self.slots.iter_mut() {
            let Some(entry) = &mut slot.entry else {
                continue;
            };
            if slot.pins > 0 {
                continue;
            }
            // Ticks wrap around, so their difference is compared, not their values.
            let mut unused = (slot.used.get().wrapping_sub(self.released) as i32) <= 0;
            if !unused && entry.opened == Opened::Write && !entry.written.get() {
                match entry.file.reopen::<FsError>(OFlags::PATH) {
                    Ok(file) => (entry.file, entry.opened) = (file, Opened::Path),
                    Err(_) => unused = true,
                }
            }
            entry.written.set(false);
            if unused {
                close(&mut slot.entry);
            }
            more |= slot.entry.is_some();
        }
        self.released = self.tick.get();
        more
    }
}

impl Slot {
    fn node(&self, at: usize) -> Node {
        Node::new(Backend::Host, Rights::ALL, at, self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn entry(number: u8) -> OpenEntry {
        OpenEntry {
            file: File::open::<FsError>(c"/", OFlags::PATH, 0).unwrap(),
            opened: Opened::Path,
            written: Cell::default(),
            changes: Cell::default(),
            durable: Cell::default(),
            unsynced_bytes: Cell::default(),
            named: Cell::default(),
            lingers: Cell::default(),
            export_index: 0,
            kind: ObjectType::Directory,
            inode: number.into(),
            volume: super::super::volume::Volumes::NONE.top,
            handle: {
                let mut handle = Handle::EMPTY;
                handle.push(&[number; 30]);
                handle
            },
        }
    }

    #[test]
    fn full_table_evicts_the_oldest_entry() {
        let mut table = OpenFiles::new(WAYS);
        let nodes: Vec<Node> = (0..8)
            .map(|number| table.insert(entry(number)).unwrap())
            .collect();
        for number in [0, 2, 3, 4, 5, 6, 7] {
            assert_eq!(table.find(&[number; 30]), Some(nodes[usize::from(number)]));
        }
        let fresh = table.insert(entry(9)).unwrap();
        assert!(table.get(nodes[1]).is_none());
        assert_eq!(table.find(&[1; 30]), None);
        assert_eq!(table.find(&[9; 30]), Some(fresh));
        assert_eq!(table.find(&[0; 30]), Some(nodes[0]));
    }

    #[test]
    fn set_full_of_pinned_entries_returns_try_later() {
        let mut table = OpenFiles::new(WAYS);
        let pins: Vec<Pin> = (0..8)
            .map(|number| {
                let node = table.insert(entry(number)).unwrap();
                table.pin(node, 0).unwrap()
            })
            .collect();
        assert_eq!(table.insert(entry(9)).unwrap_err(), FsError::TryLater);
        assert!(
            !table.release_idle(&mut |place| *place = None)
                && !table.release_idle(&mut |place| *place = None)
        );
        assert!(table.get(pins[0].node()).is_some());
        pins.into_iter().for_each(|pin| table.unpin(pin));
        assert!(table.insert(entry(9)).is_ok());
    }

    #[test]
    fn release_idle_frees_entries_unused_since_last_call() {
        let mut table = OpenFiles::new(64);
        (0..3).for_each(|number| assert!(table.insert(entry(number)).is_ok()));
        assert!(table.find(&[0; 30]).is_some());
        assert!(table.release_idle(&mut |place| *place = None));
        assert!(table.find(&[1; 30]).is_some());
        assert!(table.release_idle(&mut |place| *place = None));
        assert!(table.find(&[0; 30]).is_none());
        assert!(table.find(&[1; 30]).is_some());
        assert!(table.release_idle(&mut |place| *place = None));
        assert!(!table.release_idle(&mut |place| *place = None));
        assert!(table.find(&[1; 30]).is_none());
    }

    #[test]
    fn only_unlinked_files_are_dropped() {
        let mut table = OpenFiles::new(WAYS);
        let path = std::env::temp_dir().join(format!("stowaway-table-{}", std::process::id()));
        std::fs::write(&path, b"").unwrap();
        let text = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        let mut file = entry(1);
        file.file = File::open::<FsError>(&text, OFlags::PATH, 0).unwrap();
        let (file, dir) = (table.insert(file).unwrap(), table.insert(entry(2)).unwrap());
        assert!(!table.drop_removed());
        assert!(table.get(file).is_some());
        std::fs::remove_file(&path).unwrap();
        assert!(table.drop_removed());
        assert!(table.get(file).is_none() && table.get(dir).is_some());
    }

    #[test]
    fn nodes_do_not_repeat_for_10_000_inserts() {
        let mut table = OpenFiles::new(WAYS);
        let mut nodes = HashSet::new();
        for number in 0..10_000_u32 {
            let node = table.insert(entry(number as u8)).unwrap();
            assert!(
                !node.is_inside() && nodes.insert((node.slot(), node.generation())),
                "{number}"
            );
        }
    }
}
