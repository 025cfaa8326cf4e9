//! The bounded table of open descriptors: what a `Node` of the host backend names.
//!
//! It caches descriptors, never attributes or names. A descriptor keeps its inode from being used again, so a handle that
//! is found here needs no further proof.

use super::super::{FsError, FsResult, Handle, Kind, Node, Pin};
use alloc::vec::Vec;
use rustix::fd::OwnedFd;

/// Nothing follows in a chain.
const NONE: u16 = u16::MAX;
/// Entries that compete when one must go.
const EVICTION_SAMPLE: usize = 8;

/// One open object.
#[derive(Debug)]
pub(super) struct Entry {
    /// `O_PATH` at first, readable once it was read.
    pub(super) file: OwnedFd,
    pub(super) readable: bool,
    pub(super) export: u16,
    pub(super) kind: Kind,
    pub(super) inode: u64,
    pub(super) handle: Handle,
}

#[derive(Debug)]
struct Slot {
    entry: Option<Entry>,
    /// Counts what was in this slot, so that an old node does not name a new object.
    generation: u16,
    /// Pins on the entry.
    pins: u16,
    /// Tick of the last use.
    used: u32,
    /// The next slot of the same bucket.
    next: u16,
}

/// The table. Its slots are touched only as they are needed.
#[derive(Debug)]
pub(super) struct Table {
    slots: Vec<Slot>,
    buckets: Vec<u16>,
    free: Vec<u16>,
    tick: u32,
    rested: u32,
    hand: usize,
}

impl Table {
    /// A table of at most `count` descriptors.
    pub(super) fn new(count: usize) -> Self {
        let count = count.min(usize::from(NONE));
        let mut buckets = Vec::with_capacity(count.next_power_of_two());
        buckets.resize(count.next_power_of_two(), NONE);
        Self {
            slots: Vec::with_capacity(count),
            buckets,
            free: Vec::with_capacity(count),
            tick: 0,
            rested: 0,
            hand: 0,
        }
    }

    /// The node of a handle, if it is open.
    pub(super) fn find(&mut self, handle: &[u8]) -> Option<Node> {
        let mut at = *self.buckets.get(self.bucket(handle))?;
        while let Some(slot) = self.slots.get_mut(usize::from(at)) {
            if slot
                .entry
                .as_ref()
                .is_some_and(|entry| entry.handle.bytes() == handle)
            {
                self.tick = self.tick.wrapping_add(1);
                slot.used = self.tick;
                return Some(Node {
                    slot: at,
                    generation: slot.generation,
                });
            }
            at = slot.next;
        }
        None
    }

    /// Some open entry that `wanted` accepts.
    pub(super) fn any(&self, wanted: impl Fn(&Entry) -> bool) -> Option<&Entry> {
        self.slots
            .iter()
            .filter_map(|slot| slot.entry.as_ref())
            .find(|entry| wanted(entry))
    }

    /// Takes an entry in. When the table is full, one that was not used for long goes; `TryLater` if all are pinned.
    pub(super) fn insert(&mut self, entry: Entry) -> FsResult<Node> {
        let at = match self.free.pop() {
            Some(at) => at,
            None if self.slots.len() < self.slots.capacity() => {
                self.slots.push(Slot {
                    entry: None,
                    generation: 0,
                    pins: 0,
                    used: 0,
                    next: NONE,
                });
                u16::try_from(self.slots.len() - 1).map_err(|_| FsError::TryLater)?
            }
            None => self.evict().ok_or(FsError::TryLater)?,
        };
        let bucket = self.bucket(entry.handle.bytes());
        self.tick = self.tick.wrapping_add(1);
        let (Some(slot), Some(first)) = (
            self.slots.get_mut(usize::from(at)),
            self.buckets.get_mut(bucket),
        ) else {
            return Err(FsError::TryLater);
        };
        slot.next = core::mem::replace(first, at);
        slot.used = self.tick;
        slot.entry = Some(entry);
        Ok(Node {
            slot: at,
            generation: slot.generation,
        })
    }

    /// The entry of a node; `Stale` when it was let go meanwhile.
    #[inline(never)]
    pub(super) fn get(&self, node: Node) -> FsResult<&Entry> {
        let slot = self
            .slots
            .get(usize::from(node.slot))
            .filter(|slot| slot.generation == node.generation);
        slot.and_then(|slot| slot.entry.as_ref())
            .ok_or(FsError::Stale)
    }

    /// As [`Table::get`], to be changed.
    #[inline(never)]
    pub(super) fn get_mut(&mut self, node: Node) -> FsResult<&mut Entry> {
        let slot = self
            .slots
            .get_mut(usize::from(node.slot))
            .filter(|slot| slot.generation == node.generation);
        slot.and_then(|slot| slot.entry.as_mut())
            .ok_or(FsError::Stale)
    }

    /// Keeps the entry of a node until [`Table::unpin`].
    pub(super) fn pin(&mut self, node: Node) -> FsResult<Pin> {
        self.get(node)?;
        let slot = self
            .slots
            .get_mut(usize::from(node.slot))
            .ok_or(FsError::Stale)?;
        slot.pins = slot.pins.checked_add(1).ok_or(FsError::TryLater)?;
        Ok(Pin(node))
    }

    /// Gives a pin back.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a pin that was given back is gone"
    )]
    pub(super) fn unpin(&mut self, pin: Pin) {
        self.tick = self.tick.wrapping_add(1);
        if let Some(slot) = self.slots.get_mut(usize::from(pin.0.slot)) {
            slot.pins = slot.pins.saturating_sub(1);
            slot.used = self.tick;
        }
    }

    /// Lets go of every entry that was not used since the last rest. True: others are still open and unpinned.
    pub(super) fn rest(&mut self) -> bool {
        let mut more = false;
        for at in 0..self.slots.len() {
            let Some(slot) = self.slots.get(at) else {
                break;
            };
            if slot.entry.is_none() || slot.pins > 0 {
                continue;
            }
            // Ticks wrap: "before" is a difference, not an order.
            if (slot.used.wrapping_sub(self.rested) as i32) <= 0 {
                self.remove(at);
                self.free.extend(u16::try_from(at));
            } else {
                more = true;
            }
        }
        self.rested = self.tick;
        more
    }

    /// Frees the slot of the least recently used of a few unpinned entries.
    fn evict(&mut self) -> Option<u16> {
        let count = self.slots.len();
        let mut victim: Option<(u32, usize)> = None;
        let mut seen = 0;
        for step in 0..count {
            let at = (self.hand + step) % count;
            let slot = self.slots.get(at)?;
            if slot.pins > 0 {
                continue;
            }
            let age = self.tick.wrapping_sub(slot.used);
            if victim.is_none_or(|(oldest, _)| age > oldest) {
                victim = Some((age, at));
            }
            seen += 1;
            if seen == EVICTION_SAMPLE {
                self.hand = (at + 1) % count;
                break;
            }
        }
        let (_, at) = victim?;
        self.remove(at);
        u16::try_from(at).ok()
    }

    /// Closes an entry and takes its slot out of its chain.
    fn remove(&mut self, at: usize) {
        let Some(slot) = self.slots.get_mut(at) else {
            return;
        };
        let Some(entry) = slot.entry.take() else {
            return;
        };
        slot.generation = slot.generation.wrapping_add(1);
        let after = slot.next;
        let bucket = self.bucket(entry.handle.bytes());
        let Some(first) = self.buckets.get_mut(bucket) else {
            return;
        };
        if usize::from(*first) == at {
            *first = after;
            return;
        }
        let mut before = usize::from(*first);
        while let Some(slot) = self.slots.get_mut(before) {
            if usize::from(slot.next) == at {
                slot.next = after;
                return;
            }
            before = usize::from(slot.next);
        }
    }

    fn bucket(&self, handle: &[u8]) -> usize {
        let mut words = handle.chunks_exact(8);
        let mut sum = 0u64;
        for word in words.by_ref() {
            sum = mix(sum, word);
        }
        // The first word is nearly the same in all handles, the last ones differ most.
        (mix(sum, words.remainder()) >> 40) as usize & (self.buckets.len() - 1)
    }
}

fn mix(sum: u64, bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    if let Some(room) = word.get_mut(..bytes.len()) {
        room.copy_from_slice(bytes);
    }
    (sum ^ u64::from_le_bytes(word))
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(23)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u8) -> Entry {
        Entry {
            file: rustix::fs::open("/", rustix::fs::OFlags::PATH, rustix::fs::Mode::empty())
                .unwrap(),
            readable: false,
            export: 0,
            kind: Kind::Directory,
            inode: number.into(),
            handle: {
                let mut handle = Handle::EMPTY;
                handle.push(&[number; 30]);
                handle
            },
        }
    }

    #[test]
    fn a_full_table_lets_the_oldest_go_and_old_nodes_with_it() {
        let mut table = Table::new(4);
        let nodes: Vec<Node> = (0..4)
            .map(|number| table.insert(entry(number)).unwrap())
            .collect();
        assert_eq!(table.find(&[0; 30]), Some(nodes[0]));
        let fresh = table.insert(entry(9)).unwrap();
        assert_eq!(table.get(nodes[1]).unwrap_err(), FsError::Stale);
        assert_eq!(table.find(&[1; 30]), None);
        for (number, node) in [(0, nodes[0]), (2, nodes[2]), (3, nodes[3]), (9, fresh)] {
            assert_eq!(table.find(&[number; 30]), Some(node));
        }
    }

    #[test]
    fn pinned_entries_stay_and_a_table_full_of_them_says_later() {
        let mut table = Table::new(2);
        let pins: Vec<Pin> = (0..2)
            .map(|number| {
                let node = table.insert(entry(number)).unwrap();
                table.pin(node).unwrap()
            })
            .collect();
        assert_eq!(table.insert(entry(7)).unwrap_err(), FsError::TryLater);
        assert!(!table.rest() && !table.rest());
        assert!(table.get(pins[0].node()).is_ok());
        pins.into_iter().for_each(|pin| table.unpin(pin));
        assert!(table.insert(entry(7)).is_ok());
    }

    #[test]
    fn rest_frees_what_was_not_used_since_the_last_rest() {
        let mut table = Table::new(8);
        (0..3).for_each(|number| assert!(table.insert(entry(number)).is_ok()));
        assert!(table.rest());
        assert!(table.find(&[1; 30]).is_some());
        assert!(table.rest());
        assert!(table.find(&[0; 30]).is_none());
        assert!(table.find(&[1; 30]).is_some());
        assert!(table.rest());
        assert!(!table.rest());
        assert!(table.find(&[1; 30]).is_none());
    }
}
