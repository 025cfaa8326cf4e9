//! Objects (inodes) and their table.

use super::super::{Attr, FsError, FsResult, Node};
use super::bytes::Bytes;
use alloc::vec::Vec;

/// The part of an object that depends on its kind. Blocks and names are in other tables, by the object's number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Content {
    /// A regular file's bytes, or the target of a symbolic link.
    Bytes(Bytes),
    Directory(Directory),
    Special,
}

/// A directory. Its names are in [`super::names`], by its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Directory {
    /// Number of the parent (".."); the top is its own parent.
    pub(super) parent: u32,
    /// Number of names.
    pub(super) name_count: u32,
    /// Cookie of the newest name. Cookies are never reused.
    pub(super) last_cookie: u64,
}

impl Directory {
    /// Number of cookies that "." and ".." use: the first two.
    pub(super) const DOT_COUNT: u64 = 2;

    /// An empty directory in `parent`.
    pub(super) const fn beneath(parent: u32) -> Self {
        Self {
            parent,
            name_count: 0,
            last_cookie: Self::DOT_COUNT,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Inode {
    pub(super) content: Content,
    /// `size` and `used` are ignored: [`Inode::attr`] computes them from the content.
    pub(super) attr: Attr,
    pub(super) pins: u32,
}

impl Inode {
    /// The current attributes.
    pub(super) const fn attr(&self) -> Attr {
        let (size, used) = match &self.content {
            Content::Bytes(bytes) if matches!(self.attr.kind, super::ObjectType::SymbolicLink) => {
                (bytes.size, bytes.size)
            }
            Content::Bytes(bytes) => (bytes.size, bytes.used()),
            Content::Directory(_) => (4096, 4096),
            Content::Special => (0, 0),
        };
        Attr {
            size,
            used,
            ..self.attr
        }
    }

    /// The content of a directory.
    pub(super) const fn directory(&self) -> FsResult<&Directory> {
        match &self.content {
            Content::Directory(directory) => Ok(directory),
            _ => Err(FsError::NotDirectory),
        }
    }
}

#[derive(Clone, Debug)]
struct InodeSlot {
    /// Incremented for each object in this slot, so that an old handle does not match a new object.
    generation: u32,
    /// Number of the next free slot, if this one is free.
    next: u32,
    inode: Option<Inode>,
}

/// The table of objects. An inode number is the index of a slot + 1.
#[derive(Clone, Debug)]
pub(super) struct Inodes {
    /// Slots that were ever used. Grows on demand, so that unused memory is not touched.
    slots: Vec<InodeSlot>,
    count_max: usize,
    used: usize,
    /// Number of the first free slot, 0 if none is free.
    free: u32,
    /// Generation of a new slot, before its first object is added.
    generation: u32,
}

impl Inodes {
    /// Memory per object in bytes.
    pub(super) const SLOT_BYTES: usize = size_of::<InodeSlot>();
    /// Most objects: a node has 16 bits for the number.
    pub(super) const COUNT_MAX: usize = u16::MAX as usize;

    /// A table of at most `count` objects. Call at start only.
    pub(super) fn new(count: usize, generation: u32) -> Self {
        Self {
            slots: Vec::with_capacity(count),
            count_max: count,
            used: 0,
            free: 0,
            generation,
        }
    }

    /// Number of objects.
    pub(super) const fn used(&self) -> usize {
        self.used
    }

    /// Number of objects that can be added.
    pub(super) const fn left(&self) -> usize {
        self.count_max.saturating_sub(self.used)
    }

    /// Adds an object. Returns its number.
    ///
    /// # Errors
    /// `NoSpace`.
    pub(super) fn add(&mut self, content: Content, attr: Attr) -> FsResult<u32> {
        if self.left() == 0 {
            return Err(FsError::NoSpace);
        }
        let mut number = self.free;
        if number == 0 {
            self.slots.push(InodeSlot {
                generation: self.generation,
                next: 0,
                inode: None,
            });
            number = self.slots.len() as u32;
        }
        let slot = self.slot_mut(number).ok_or(FsError::NoSpace)?;
        let next = slot.next;
        slot.generation = slot.generation.wrapping_add(1);
        slot.inode = Some(Inode {
            content,
            attr: Attr {
                inode: number.into(),
                ..attr
            },
            pins: 0,
        });
        self.free = next;
        self.used += 1;
        Ok(number)
    }

    /// Removes an object.
    pub(super) fn remove(&mut self, number: u32) {
        let free = self.free;
        if let Some(slot) = self.slot_mut(number)
            && slot.inode.take().is_some()
        {
            slot.next = free;
            self.free = number;
            self.used -= 1;
        }
    }

    /// The object with this number.
    pub(super) fn at(&self, number: u32) -> FsResult<&Inode> {
        let slot = self.slot(number).ok_or(FsError::Stale)?;
        slot.inode.as_ref().ok_or(FsError::Stale)
    }

    /// As [`at`](Self::at), but mutable.
    pub(super) fn at_mut(&mut self, number: u32) -> FsResult<&mut Inode> {
        let slot = self.slot_mut(number).ok_or(FsError::Stale)?;
        slot.inode.as_mut().ok_or(FsError::Stale)
    }

    /// The number of a node's object. An unlinked object that is pinned still exists.
    ///
    /// # Errors
    /// `Stale`: the object was removed.
    pub(super) fn find(&self, node: Node) -> FsResult<u32> {
        let number = node.slot() as u32;
        self.at(number)?;
        if self.generation(number) as u16 & Node::GENERATION_MASK != node.generation() {
            return Err(FsError::Stale);
        }
        Ok(number)
    }

    /// Generation of the object with this number.
    pub(super) fn generation(&self, number: u32) -> u32 {
        self.slot(number).map_or(0, |slot| slot.generation)
    }

    /// All objects.
    #[cfg(any(test, fuzzing))]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Inode> {
        self.slots.iter().filter_map(|slot| slot.inode.as_ref())
    }

    fn slot(&self, number: u32) -> Option<&InodeSlot> {
        self.slots.get((number as usize).checked_sub(1)?)
    }

    fn slot_mut(&mut self, number: u32) -> Option<&mut InodeSlot> {
        self.slots.get_mut((number as usize).checked_sub(1)?)
    }
}
