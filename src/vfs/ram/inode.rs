//! An object of the model, and the list of all of them.

use super::super::{Attr, Backend, FsError, FsResult, Handle, Kind, Node, Rights, handle};
use super::bytes::Bytes;
use std::collections::BTreeMap;

/// What a name takes of the tree's capacity, in bytes: as much as the longest one.
pub(super) const NAME_BYTES: u64 = 256;
/// The tag in its handles.
pub const TAG: u32 = 7;

/// What an object consists of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Content {
    /// A regular file: its bytes, and, if they are not durable yet, those that are.
    File(Bytes, Option<Bytes>),
    Directory(Names),
    Link(Vec<u8>),
    Special,
}

/// The names in a directory, in the order in which they were made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Names {
    /// Where ".." leads.
    pub(super) parent: usize,
    /// Names and their objects by cookie. A cookie is never given out again.
    pub(super) list: BTreeMap<u64, (Vec<u8>, usize)>,
    pub(super) last_cookie: u64,
}

impl Names {
    /// "." and ".." have the first two cookies.
    pub(super) const DOT_COUNT: u64 = 2;

    pub(super) const fn beneath(parent: usize) -> Self {
        Self {
            parent,
            list: BTreeMap::new(),
            last_cookie: Self::DOT_COUNT,
        }
    }

    pub(super) fn get(&self, name: &[u8]) -> Option<usize> {
        let mut all = self.list.values();
        all.find(|(known, _)| known == name)
            .map(|(_, number)| *number)
    }

    pub(super) fn add(&mut self, name: &[u8], number: usize) {
        self.last_cookie += 1;
        self.list.insert(self.last_cookie, (name.to_vec(), number));
    }

    pub(super) fn take(&mut self, name: &[u8]) {
        self.list.retain(|_, (known, _)| known != name);
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Inode {
    pub(super) content: Content,
    /// Size and bytes on the disk follow from the content.
    pub(super) attr: Attr,
    pub(super) pins: usize,
}

impl Inode {
    /// The attributes, as they are now.
    pub(super) fn attr(&self) -> Attr {
        let (size, used) = match &self.content {
            Content::File(bytes, _) => (bytes.size(), bytes.used()),
            Content::Directory(_) => (4096, 4096),
            Content::Link(target) => (target.len() as u64, target.len() as u64),
            Content::Special => (0, 0),
        };
        Attr {
            size,
            used,
            ..self.attr
        }
    }

    pub(super) const fn is_directory(&self) -> bool {
        matches!(self.content, Content::Directory(_))
    }

    /// What it takes of the tree's capacity, in bytes.
    fn stored_bytes(&self) -> u64 {
        match &self.content {
            Content::File(bytes, _) => bytes.used(),
            Content::Directory(names) => names.list.len() as u64 * NAME_BYTES,
            Content::Link(target) => target.len() as u64,
            Content::Special => 0,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Place {
    /// Counts the objects that were here, so that an old handle does not name a new one.
    generation: u32,
    inode: Option<Inode>,
}

/// All objects. An inode number is a place in the list, from 1; the lowest that is free is taken first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Inodes(Vec<Place>);

impl Inodes {
    pub(super) fn add(&mut self, content: Content, attr: Attr) -> usize {
        let free = self.0.iter().position(|place| place.inode.is_none());
        let at = free.unwrap_or_else(|| {
            self.0.push(Place::default());
            self.0.len() - 1
        });
        let inode = at as u64 + 1;
        self.0[at].generation += 1;
        self.0[at].inode = Some(Inode {
            content,
            attr: Attr { inode, ..attr },
            pins: 0,
        });
        at + 1
    }

    /// The object of a number that a directory or a pin holds.
    pub(super) fn at(&self, number: usize) -> &Inode {
        self.0[number - 1].inode.as_ref().expect("it is there")
    }

    pub(super) fn at_mut(&mut self, number: usize) -> &mut Inode {
        self.0[number - 1].inode.as_mut().expect("it is there")
    }

    /// Forgets an object that has neither names nor pins.
    pub(super) fn release_unlinked(&mut self, number: usize) {
        let inode = self.at(number);
        if inode.attr.nlink == 0 && inode.pins == 0 {
            self.0[number - 1].inode = None;
        }
    }

    /// The number of an object that is still there, be it without a name.
    pub(super) fn find(&self, node: Node) -> FsResult<usize> {
        let place = node.slot().checked_sub(1).and_then(|at| self.0.get(at));
        place
            .filter(|place| {
                place.inode.is_some()
                    && place.generation as u16 & Node::GENERATION_MASK == node.generation()
            })
            .map(|_| node.slot())
            .ok_or(FsError::Stale)
    }

    pub(super) fn node(&self, number: usize) -> Node {
        Node::new(
            Backend::Ram,
            Rights::ALL,
            number,
            self.0[number - 1].generation as u16,
        )
    }

    pub(super) fn handle(&self, number: usize) -> Handle {
        handle::ram(TAG, number as u32, self.0[number - 1].generation)
    }

    /// The number of the object that a handle names, if it still has a name.
    pub(super) fn open(&self, handle: &[u8]) -> FsResult<usize> {
        let (tag, number, generation) = handle::ram_parts(handle).ok_or(FsError::BadHandle)?;
        if tag != TAG {
            return Err(FsError::Stale);
        }
        let number = number as usize;
        let place = number.checked_sub(1).and_then(|at| self.0.get(at));
        place
            .filter(|place| place.generation == generation)
            .and_then(|place| place.inode.as_ref())
            .filter(|inode| inode.attr.nlink > 0)
            .map(|_| number)
            .ok_or(FsError::Stale)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Inode> {
        self.0.iter().filter_map(|place| place.inode.as_ref())
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Inode> {
        self.0.iter_mut().filter_map(|place| place.inode.as_mut())
    }

    /// Bytes of the tree's capacity that are taken.
    pub(super) fn stored_bytes(&self) -> u64 {
        self.iter().map(Inode::stored_bytes).sum()
    }

    /// The tree is one: every name leads to an object, every object has as many names as it says, and directories have one.
    pub(super) fn check(&self) {
        let mut names = BTreeMap::from([(1, 1)]);
        for inode in self.iter() {
            let Content::Directory(here) = &inode.content else {
                continue;
            };
            for (_, number) in here.list.values() {
                *names.entry(*number as u64).or_insert(0) += 1;
                if let Content::Directory(below) = &self.at(*number).content {
                    assert_eq!(below.parent as u64, inode.attr.inode);
                }
            }
        }
        for inode in self.iter() {
            let count = names.remove(&inode.attr.inode).unwrap_or(0);
            assert_eq!(inode.attr.nlink, count, "inode {}", inode.attr.inode);
            assert!(count > 0 || inode.pins > 0);
            assert!(inode.attr.kind != Kind::Directory || count == 1);
        }
        assert!(names.is_empty(), "names of nothing: {names:?}");
    }
}
