//! The descriptors that nodes and pins stand for: the top, a ring of those that one request needs, and a table of pinned ones.

use super::super::{FsError, FsResult, Node, Pin};
use crate::sys::files::File;
use crate::sys::heap::Slots;

/// Places of each ring: more than a request takes. Laws take longer.
const RING_COUNT: u16 = if cfg!(test) { 64 } else { 8 };
/// The first place of a pin: behind the top and two rings.
const PIN_FIRST: u16 = 1 + 2 * RING_COUNT;

/// What was opened on the way to something else gives way to its like only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ring {
    /// Names that were looked up.
    Steps,
    /// Where a path led.
    Found,
}

#[derive(Debug)]
struct Slot {
    file: Option<File>,
    /// Counts what was in this slot, so that an old node does not name a new object.
    generation: u16,
    /// Of a place that is free again, the next such place; 0: no more.
    next: u16,
}

impl Slot {
    const EMPTY: Self = Self {
        file: None,
        generation: 0,
        next: 0,
    };
}

/// The table.
#[derive(Debug)]
pub(super) struct Table {
    /// What all paths begin at.
    pub(super) top: Option<File>,
    /// Two rings.
    kept: [Slot; 2 * RING_COUNT as usize],
    /// Where the next one goes in each.
    turn: [u16; 2],
    /// What is pinned, and places that were used before.
    pins: Slots<Slot>,
    /// The first place that is free again; 0: none.
    free: u16,
}

impl Table {
    /// The top's node.
    pub(super) const TOP: Node = Node::new(0, 0);

    /// A table of `pin_count` pins, fewer where numbers run out.
    pub(super) fn new(pin_count: usize) -> Self {
        Self {
            top: None,
            kept: [const { Slot::EMPTY }; 2 * RING_COUNT as usize],
            turn: [0; 2],
            pins: Slots::new(pin_count.clamp(1, usize::from(u16::MAX - PIN_FIRST))),
            free: 0,
        }
    }

    /// Whether a node is that of a pin: open for more than its path.
    pub(super) const fn is_pinned(node: Node) -> bool {
        node.slot() >= PIN_FIRST as usize
    }

    fn slot(&self, node: Node) -> Option<&Slot> {
        let at = node.slot().checked_sub(1)?;
        let kept = self.kept.get(at);
        kept.or_else(|| self.pins.get(node.slot() - usize::from(PIN_FIRST)))
    }

    /// The descriptor of a node; `Stale` when it was let go meanwhile.
    #[inline(never)]
    pub(super) fn get(&self, node: Node) -> FsResult<&File> {
        let file = if node == Self::TOP {
            self.top.as_ref()
        } else {
            let slot = self.slot(node);
            slot.filter(|slot| slot.generation == node.generation())
                .and_then(|slot| slot.file.as_ref())
        };
        file.ok_or(FsError::Stale)
    }

    /// Takes a descriptor in for this request; the oldest in its ring gives way.
    pub(super) fn keep(&mut self, file: File, ring: Ring) -> Node {
        let [steps, found] = &mut self.turn;
        let turn = match ring {
            Ring::Steps => steps,
            Ring::Found => found,
        };
        let at = ring as u16 * RING_COUNT + *turn;
        *turn = (*turn + 1) % RING_COUNT;
        let Some(slot) = self.kept.get_mut(usize::from(at)) else {
            return Self::TOP;
        };
        slot.generation = slot.generation.wrapping_add(1);
        slot.file = Some(file);
        Node::new(usize::from(at) + 1, slot.generation)
    }

    /// Whether there is no place for another pin.
    pub(super) const fn is_full(&self) -> bool {
        self.free == 0 && self.pins.is_full()
    }

    /// Takes a descriptor in until [`Table::unpin`]; `TryLater`: the table is full.
    pub(super) fn pin(&mut self, file: File) -> FsResult<Pin> {
        let mut at = usize::from(self.free.wrapping_sub(PIN_FIRST));
        if self.free == 0 {
            at = self.pins.push(Slot::EMPTY).ok_or(FsError::TryLater)?;
        }
        let slot = self.pins.get_mut(at).ok_or(FsError::TryLater)?;
        self.free = slot.next;
        (slot.file, slot.next) = (Some(file), 0);
        Ok(Pin {
            node: Node::new(at + usize::from(PIN_FIRST), slot.generation),
            user: 0,
        })
    }

    /// Closes what was pinned.
    pub(super) fn unpin(&mut self, pin: &Pin) {
        let at = pin.node.slot().wrapping_sub(PIN_FIRST.into());
        if let Some(slot) = self.pins.get_mut(at)
            && slot.generation == pin.node.generation()
        {
            slot.file = None;
            slot.generation = slot.generation.wrapping_add(1);
            slot.next = self.free;
            self.free = pin.node.slot() as u16;
        }
    }

    /// Closes what the rings hold.
    pub(super) fn rest(&mut self) {
        for slot in &mut self.kept {
            slot.file = None;
        }
    }
}
