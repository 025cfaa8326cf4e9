//! What a directory must look like after a sequence of calls, as far as the protocol promises it.
//!
//! What nobody promised is spelt out too: an attribute may be anything, and bytes that were written but not committed may be
//! there or not, each by itself.

use std::collections::BTreeMap;

use xtask::clients::nfs::{How, Set, SetTime, stable_how};

use super::content::Content;
use super::op::{Id, Op};

/// One object.
#[derive(Clone, Default)]
pub struct Node {
    pub kind: Kind,
    pub attributes: Attributes,
}

#[derive(Clone)]
pub enum Kind {
    Directory(BTreeMap<String, Id>),
    File(Content),
    SymLink(String),
    Fifo,
}

impl Default for Kind {
    fn default() -> Self {
        Self::Directory(BTreeMap::new())
    }
}

/// Each as it must be, or None if it may be anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    /// Seconds and nanoseconds.
    pub mtime: Option<(u32, u32)>,
}

impl Attributes {
    /// Of an object that root made.
    fn new(mode: Option<u32>) -> Self {
        Self {
            mode,
            uid: Some(0),
            mtime: None,
        }
    }

    fn set(&mut self, set: &Set) {
        self.mode = set.mode.or(self.mode);
        self.uid = set.uid.or(self.uid);
        if set.size.is_some() {
            self.mtime = None;
        }
        if let SetTime::Client(seconds, nanoseconds) = set.mtime {
            self.mtime = Some((seconds, nanoseconds));
        }
    }
}

/// A directory and all beneath it.
#[derive(Clone)]
pub struct Tree {
    nodes: BTreeMap<Id, Node>,
}

impl Tree {
    /// The number of the directory itself.
    pub const ROOT: Id = 0;

    /// An empty directory.
    pub fn new() -> Self {
        Self {
            nodes: BTreeMap::from([(Self::ROOT, Node::default())]),
        }
    }

    /// The object of this number. All that the load speaks of exists.
    pub fn node(&self, id: Id) -> &Node {
        &self.nodes[&id]
    }

    fn node_mut(&mut self, id: Id) -> &mut Node {
        self.nodes
            .get_mut(&id)
            .expect("the load speaks of what exists")
    }

    /// The names in a directory.
    pub fn names(&self, dir: Id) -> &BTreeMap<String, Id> {
        match &self.node(dir).kind {
            Kind::Directory(names) => names,
            _ => panic!("the load takes {dir} for a directory"),
        }
    }

    /// The bytes of a file.
    pub fn content(&self, file: Id) -> &Content {
        match &self.node(file).kind {
            Kind::File(content) => content,
            _ => panic!("the load takes {file} for a file"),
        }
    }

    fn content_mut(&mut self, file: Id) -> &mut Content {
        match &mut self.node_mut(file).kind {
            Kind::File(content) => content,
            _ => panic!("the load takes {file} for a file"),
        }
    }

    /// Every directory, name and object, from the root down.
    pub fn walk(&self) -> Vec<(Id, &str, Id)> {
        let mut found = Vec::new();
        let mut dirs = vec![Self::ROOT];
        while let Some(dir) = dirs.pop() {
            for (name, &id) in self.names(dir) {
                found.push((dir, name.as_str(), id));
                if matches!(self.node(id).kind, Kind::Directory(_)) {
                    dirs.push(id);
                }
            }
        }
        found
    }

    /// How many names lead to each object; to a directory also its own "." and the ".." of those in it.
    pub fn link_counts(&self) -> BTreeMap<Id, u64> {
        let mut counts = BTreeMap::from([(Self::ROOT, 2)]);
        for (dir, _, id) in self.walk() {
            *counts.entry(id).or_default() += 1;
            if matches!(self.node(id).kind, Kind::Directory(_)) {
                *counts.entry(id).or_default() += 1;
                *counts.entry(dir).or_default() += 1;
            }
        }
        counts
    }

    fn change_names<T>(
        &mut self,
        dir: Id,
        change: impl FnOnce(&mut BTreeMap<String, Id>) -> T,
    ) -> T {
        let node = self.node_mut(dir);
        node.attributes.mtime = None;
        match &mut node.kind {
            Kind::Directory(names) => change(names),
            _ => panic!("the load takes {dir} for a directory"),
        }
    }

    fn add(&mut self, dir: Id, name: &str, new: Id, kind: Kind, mode: Option<u32>) {
        let attributes = Attributes::new(mode);
        self.nodes.insert(new, Node { kind, attributes });
        self.change_names(dir, |names| names.insert(name.to_owned(), new));
    }

    /// The call has been answered, and with success.
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Create {
                dir,
                name,
                new,
                how,
            } => match (self.names(*dir).get(name).copied(), how) {
                // Of a file that exists only the size is set.
                (Some(file), How::Unchecked(set)) => {
                    if let Some(size) = set.size {
                        self.set_attr(file, &Set::size(size));
                    }
                }
                (_, How::Unchecked(set) | How::Guarded(set)) => {
                    self.add(*dir, name, *new, Kind::File(Content::default()), set.mode);
                }
                // The client is to set the attributes afterwards.
                _ => self.add(*dir, name, *new, Kind::File(Content::default()), None),
            },
            Op::MkDir {
                dir,
                name,
                new,
                mode,
            } => {
                self.add(*dir, name, *new, Kind::default(), Some(*mode));
            }
            Op::SymLink {
                dir,
                name,
                new,
                target,
            } => {
                self.add(*dir, name, *new, Kind::SymLink(target.clone()), None);
            }
            Op::Fifo {
                dir,
                name,
                new,
                mode,
            } => self.add(*dir, name, *new, Kind::Fifo, Some(*mode)),
            Op::Remove { dir, name } | Op::RmDir { dir, name } => {
                self.change_names(*dir, |names| names.remove(name));
            }
            Op::Rename {
                from,
                from_name,
                to,
                to_name,
            } => {
                let moved = self.change_names(*from, |names| names.remove(from_name));
                let moved = moved.expect("the load renames what exists");
                self.change_names(*to, |names| names.insert(to_name.clone(), moved));
                if matches!(self.node(moved).kind, Kind::Directory(_)) && from != to {
                    // Its ".." changes.
                    self.node_mut(moved).attributes.mtime = None;
                }
            }
            Op::Link { file, dir, name } => {
                self.change_names(*dir, |names| names.insert(name.clone(), *file));
            }
            Op::SetAttr { object, set } => self.set_attr(*object, set),
            Op::Write {
                file,
                offset,
                data,
                committed,
            } => {
                self.node_mut(*file).attributes.mtime = None;
                self.content_mut(*file).write(*offset, data, *committed);
            }
            Op::Commit {
                file,
                offset,
                count,
            } => {
                let end = if *count == 0 {
                    usize::MAX
                } else {
                    offset + count
                };
                self.content_mut(*file).commit(*offset, end);
            }
        }
    }

    fn set_attr(&mut self, object: Id, set: &Set) {
        self.node_mut(object).attributes.set(set);
        if let Some(size) = set.size {
            self.content_mut(object).resize(size as usize);
        }
    }

    /// All that may be while the call is under way, besides what was before.
    pub fn during(&self, op: &Op) -> Vec<Self> {
        let after = |op: &Op| {
            let mut tree = self.clone();
            tree.apply(op);
            tree
        };
        match op {
            Op::Commit { .. } => Vec::new(),
            // As if it had not been asked to be stable: any part of it may be there.
            Op::Write {
                file, offset, data, ..
            } => vec![after(&Op::Write {
                file: *file,
                offset: *offset,
                data: data.clone(),
                committed: stable_how::UNSTABLE,
            })],
            // A server may have to set one attribute after the other, in an order of its own.
            Op::SetAttr { object, set } => (0..16)
                .map(|choice: u32| {
                    let keep = |bit: u32| choice & 1 << bit != 0;
                    let mut tree = after(&Op::SetAttr {
                        object: *object,
                        set: Set {
                            mode: set.mode.filter(|_| keep(0)),
                            uid: set.uid.filter(|_| keep(1)),
                            size: set.size.filter(|_| keep(2)),
                            mtime: if keep(3) { set.mtime } else { SetTime::Keep },
                            ..Set::default()
                        },
                    });
                    if let Some(size) = set.size.filter(|_| !keep(2)) {
                        tree.content_mut(*object).blot(size as usize);
                    }
                    tree
                })
                .collect(),
            // It may be there before its attributes are.
            Op::Create { new, .. }
            | Op::MkDir { new, .. }
            | Op::SymLink { new, .. }
            | Op::Fifo { new, .. } => {
                let mut tree = after(op);
                if let Some(node) = tree.nodes.get_mut(new) {
                    node.attributes = Attributes::default();
                }
                vec![tree]
            }
            Op::Remove { .. } | Op::RmDir { .. } | Op::Rename { .. } | Op::Link { .. } => {
                vec![after(op)]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: Id = 1;

    /// A file whose bytes are promised to be `settled`.
    fn tree(settled: &[u8]) -> Tree {
        let mut tree = Tree::new();
        tree.apply(&Op::Create {
            dir: Tree::ROOT,
            name: "file".into(),
            new: FILE,
            how: How::Guarded(Set::mode(0o600)),
        });
        tree.apply(&write(0, settled, stable_how::FILE_SYNC));
        tree
    }

    fn write(offset: usize, data: &[u8], committed: stable_how) -> Op {
        Op::Write {
            file: FILE,
            offset,
            data: data.to_vec(),
            committed,
        }
    }

    #[test]
    fn old_and_new_bytes_may_mix_until_a_commit() {
        let mut tree = tree(b"old old");
        tree.apply(&write(4, b"new new", stable_how::UNSTABLE));
        let content = tree.content(FILE);
        assert_eq!((content.settled.len(), content.len_max()), (7, 11));
        for possible in [&b"old old"[..], b"old new", b"old new\0new", b"old oew new"] {
            assert_eq!(content.wrong_byte(possible), None, "{possible:?}");
        }
        assert_eq!(content.wrong_byte(b"old xld"), Some(4));
        assert_eq!(content.wrong_byte(b"old old\0old"), Some(8));
        let (file, offset) = (FILE, 4);
        tree.apply(&Op::Commit {
            file,
            offset,
            count: 3,
        });
        let content = tree.content(FILE);
        assert_eq!(content.settled, b"old new");
        assert_eq!(content.pending, [(7, b" new".to_vec())]);
        assert_eq!(content.wrong_byte(b"old old"), Some(4));
    }

    #[test]
    fn what_was_overwritten_to_stay_cannot_come_back() {
        let mut tree = tree(b"");
        tree.apply(&write(0, b"aaaa", stable_how::UNSTABLE));
        tree.apply(&write(1, b"bb", stable_how::DATA_SYNC));
        let content = tree.content(FILE);
        assert_eq!(content.wrong_byte(b"abba"), None);
        assert_eq!(content.wrong_byte(b"aaba"), Some(1));
    }

    #[test]
    fn a_write_under_way_may_be_there_in_part() {
        let tree = tree(b"1234");
        let during = tree.during(&write(2, b"xy", stable_how::FILE_SYNC));
        let content = during[0].content(FILE);
        assert_eq!(content.wrong_byte(b"123y"), None);
        assert_eq!(content.wrong_byte(b"x234"), Some(0));
    }

    #[test]
    fn attributes_under_way_are_each_old_or_new() {
        let tree = tree(b"1234");
        let set = Set {
            mode: Some(0o777),
            uid: Some(5),
            ..Set::size(1)
        };
        let during = tree.during(&Op::SetAttr { object: FILE, set });
        let modes: Vec<_> = during
            .iter()
            .map(|tree| {
                let Attributes { mode, uid, .. } = tree.node(FILE).attributes;
                (mode, uid, tree.content(FILE).settled.len())
            })
            .collect();
        for one in [
            (Some(0o600), Some(0), 4),
            (Some(0o777), Some(0), 1),
            (Some(0o600), Some(5), 4),
        ] {
            assert!(modes.contains(&one), "{one:?} in {modes:?}");
        }
        // The tail of a file that is to be cut may be zero before the size is less.
        assert!(during.iter().any(|tree| {
            let content = tree.content(FILE);
            content.settled.len() == 4 && content.wrong_byte(b"1\0\0\0").is_none()
        }));
    }
}
