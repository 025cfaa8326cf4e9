//! An object, and the table of all of them.

use super::super::{Attr, FsError, FsResult, Node};
use super::bytes::Bytes;
use alloc::vec::Vec;

/// What an object consists of, besides what is stored elsewhere by its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Content {
    /// A regular file's bytes, or the target of a symbolic link.
    Bytes(Bytes),
    Directory(Directory),
    Special,
}

/// A directory. Its names are found by its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Directory {
    /// Where ".." leads.
    pub(super) parent: u32,
    /// How many names there are in it.
    pub(super) name_count: u32,
    /// That of the name that was made last. None is given out twice.
    pub(super) last_cookie: u64,
}

impl Directory {
    /// "." and ".." have the first two cookies.
    pub(super) const DOT_COUNT: u64 = 2;

    /// An empty one in the directory `parent`.
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
    /// Size and bytes on the disk follow from the content.
    pub(super) attr: Attr,
    pub(super) pins: u32,
}

impl Inode {
    /// The attributes, as they are now.
    pub(super) const fn attr(&self) -> Attr {
        let (size, used) = match &self.content {
            Content::Bytes(bytes) if matches!(self.attr.kind, super::Kind::SymbolicLink) => {
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

    /// The directory that it is.
    pub(super) const fn directory(&self) -> FsResult<&Directory> {
        match &self.content {
            Content::Directory(directory) => Ok(directory),
            _ => Err(FsError::NotDirectory),
        }
    }
}

#[derive(Clone, Debug)]
struct Place {
    /// Counts the objects that were here, so that an old handle does not name a new one.
    generation: u32,
    /// The number of the next place that is free, if this one is.
    next: u32,
    inode: Option<Inode>,
}

/// All objects. An inode number is a place in the table, from 1.
#[derive(Clone, Debug)]
pub(super) struct Inodes {
    /// Those that were ever used: memory is touched when it is used first.
    places: Vec<Place>,
    count_max: usize,
    used: usize,
    /// The number of the first place that is free, 0 if none of those in use is.
    free: u32,
    /// Generations begin behind this.
    generation: u32,
}

impl Inodes {
    /// What an object takes, in bytes.
    pub(super) const PLACE_BYTES: usize = size_of::<Place>();
    /// As many as nodes can tell apart.
    pub(super) const COUNT_MAX: usize = u16::MAX as usize;

    /// A table of at most `count` objects. Called at start only.
    pub(super) fn new(count: usize, generation: u32) -> Self {
        Self {
            places: Vec::with_capacity(count),
            count_max: count,
            used: 0,
            free: 0,
            generation,
        }
    }

    /// How many objects there are.
    pub(super) const fn used(&self) -> usize {
        self.used
    }

    /// How many more there is space for.
    pub(super) const fn left(&self) -> usize {
        self.count_max.saturating_sub(self.used)
    }

    /// Adds an object; its number, if there was space for it.
    pub(super) fn add(&mut self, content: Content, attr: Attr) -> FsResult<u32> {
        if self.left() == 0 {
            return Err(FsError::NoSpace);
        }
        let mut number = self.free;
        if number == 0 {
            self.places.push(Place {
                generation: self.generation,
                next: 0,
                inode: None,
            });
            number = self.places.len() as u32;
        }
        let place = self.place_mut(number).ok_or(FsError::NoSpace)?;
        let next = place.next;
        place.generation = place.generation.wrapping_add(1);
        place.inode = Some(Inode {
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

    /// Forgets an object.
    pub(super) fn remove(&mut self, number: u32) {
        let free = self.free;
        if let Some(place) = self.place_mut(number)
            && place.inode.take().is_some()
        {
            place.next = free;
            self.free = number;
            self.used -= 1;
        }
    }

    /// The object of a number.
    pub(super) fn at(&self, number: u32) -> FsResult<&Inode> {
        let place = self.place(number).ok_or(FsError::Stale)?;
        place.inode.as_ref().ok_or(FsError::Stale)
    }

    /// The same, to be changed.
    pub(super) fn at_mut(&mut self, number: u32) -> FsResult<&mut Inode> {
        let place = self.place_mut(number).ok_or(FsError::Stale)?;
        place.inode.as_mut().ok_or(FsError::Stale)
    }

    /// The number of an object that is still there, be it without a name.
    pub(super) fn find(&self, node: Node) -> FsResult<u32> {
        let number = node.slot() as u32;
        self.at(number)?;
        if self.generation(number) as u16 & Node::GENERATION_MASK != node.generation() {
            return Err(FsError::Stale);
        }
        Ok(number)
    }

    /// Which of the objects of this number it is.
    pub(super) fn generation(&self, number: u32) -> u32 {
        self.place(number).map_or(0, |place| place.generation)
    }

    /// All objects.
    #[cfg(any(test, fuzzing))]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Inode> {
        self.places.iter().filter_map(|place| place.inode.as_ref())
    }

    fn place(&self, number: u32) -> Option<&Place> {
        self.places.get((number as usize).checked_sub(1)?)
    }

    fn place_mut(&mut self, number: u32) -> Option<&mut Place> {
        self.places.get_mut((number as usize).checked_sub(1)?)
    }
}
