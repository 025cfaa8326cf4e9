//! The expected contents of a directory after a sequence of calls.
//!
//! Attributes that are not promised are unspecified, and each byte of an uncommitted write may be present or not.

use std::collections::BTreeMap;

use xtask::clients::nfs::stable_how::{DATA_SYNC, FILE_SYNC, UNSTABLE};
use xtask::clients::nfs::{How, Set, SetTime, stable_how};

use super::content::Content;
use super::op::{Id, New, Op};

/// An object's type, contents and attributes.
#[derive(Clone, Default)]
pub struct Node {
    pub kind: ObjectType,
    pub attributes: Attributes,
}

#[derive(Clone)]
pub enum ObjectType {
    Directory(BTreeMap<String, Id>),
    File(Content),
    SymLink(String),
    Fifo,
}

impl Default for ObjectType {
    fn default() -> Self {
        Self::Directory(BTreeMap::new())
    }
}

/// Expected attributes; None stands for any value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    /// Modification time: seconds since 1970, and nanoseconds.
    pub mtime: Option<(u32, u32)>,
}

impl Attributes {
    /// Attributes of an object that root created.
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

/// A directory and everything in it.
#[derive(Clone)]
pub struct Tree {
    nodes: BTreeMap<Id, Node>,
}

impl Tree {
    /// Number of the top directory.
    pub const ROOT: Id = 0;

    pub fn new() -> Self {
        Self {
            nodes: BTreeMap::from([(Self::ROOT, Node::default())]),
        }
    }

    /// The object with this number, which must exist.
    pub fn node(&self, id: Id) -> &Node {
        &self.nodes[&id]
    }

    fn node_mut(&mut self, id: Id) -> &mut Node {
        self.nodes.get_mut(&id).expect("the object exists")
    }

    pub fn names(&self, dir: Id) -> &BTreeMap<String, Id> {
        match &self.node(dir).kind {
            ObjectType::Directory(names) => names,
            _ => panic!("{dir} is not a directory"),
        }
    }

    pub fn content(&self, file: Id) -> &Content {
        match &self.node(file).kind {
            ObjectType::File(content) => content,
            _ => panic!("{file} is not a file"),
        }
    }

    fn content_mut(&mut self, file: Id) -> &mut Content {
        match &mut self.node_mut(file).kind {
            ObjectType::File(content) => content,
            _ => panic!("{file} is not a file"),
        }
    }

    /// Directory, name and object of every entry, from the top down.
    pub fn walk(&self) -> Vec<(Id, &str, Id)> {
        let mut found = Vec::new();
        let mut dirs = vec![Self::ROOT];
        while let Some(dir) = dirs.pop() {
            for (name, &id) in self.names(dir) {
                found.push((dir, name.as_str(), id));
                if matches!(self.node(id).kind, ObjectType::Directory(_)) {
                    dirs.push(id);
                }
            }
        }
        found
    }

    /// Link count of each object; for directories, "." and the ".." of subdirectories count, too.
    pub fn link_counts(&self) -> BTreeMap<Id, u64> {
        let mut counts = BTreeMap::from([(Self::ROOT, 2)]);
        for (dir, _, id) in self.walk() {
            *counts.entry(id).or_default() += 1;
            if matches!(self.node(id).kind, ObjectType::Directory(_)) {
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
            ObjectType::Directory(names) => change(names),
            _ => panic!("{dir} is not a directory"),
        }
    }

    fn make(&mut self, dir: Id, name: &str, new: Id, what: &New) {
        // For an existing file, UNCHECKED sets the size only.
        if let (Some(&file), New::File(How::Unchecked(set))) = (self.names(dir).get(name), what) {
            if let Some(size) = set.size {
                self.set_attr(file, &Set::size(size));
            }
            return;
        }
        let file = ObjectType::File(Content::default());
        let (kind, mode) = match what {
            New::File(How::Unchecked(set) | How::Guarded(set)) => (file, set.mode),
            // EXCLUSIVE leaves the attributes to a later SETATTR.
            New::File(How::Exclusive(_)) => (file, None),
            New::Directory(mode) => (ObjectType::default(), Some(*mode)),
            New::SymLink(target) => (ObjectType::SymLink(target.clone()), None),
            New::Fifo(mode) => (ObjectType::Fifo, Some(*mode)),
        };
        let attributes = Attributes::new(mode);
        self.nodes.insert(new, Node { kind, attributes });
        self.change_names(dir, |names| names.insert(name.to_owned(), new));
    }

    /// Applies a call that succeeded.
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Make {
                dir,
                name,
                new,
                what,
            } => self.make(*dir, name, *new, what),
            Op::Remove { dir, name, .. } => {
                self.change_names(*dir, |names| names.remove(name));
            }
            Op::Rename {
                from,
                from_name,
                to,
                to_name,
            } => {
                let moved = self.change_names(*from, |names| names.remove(from_name));
                let moved = moved.expect("the renamed object exists");
                self.change_names(*to, |names| names.insert(to_name.clone(), moved));
                if matches!(self.node(moved).kind, ObjectType::Directory(_)) && from != to {
                    // The entry ".." of the moved directory changes, so its mtime is unspecified.
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
                committed,
                data,
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

    /// States in which a power cut may leave the directory while the call is in flight, except the state before the call.
    pub fn possible_during(&self, op: &Op) -> Vec<Self> {
        let after = |op: &Op| {
            let mut tree = self.clone();
            tree.apply(op);
            tree
        };
        match op {
            Op::Commit { .. } => Vec::new(),
            // Any part of the data may be present, as after an UNSTABLE WRITE.
            Op::Write {
                file, offset, data, ..
            } => vec![after(&Op::Write {
                file: *file,
                offset: *offset,
                data: data.clone(),
                committed: UNSTABLE,
            })],
            // A server may have to set the attributes one after another, in any order.
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
                        tree.content_mut(*object).zero_tail(size as usize);
                    }
                    tree
                })
                .collect(),
            // The object may exist before its attributes are set.
            Op::Make { new, .. } => {
                let mut tree = after(op);
                if let Some(node) = tree.nodes.get_mut(new) {
                    node.attributes = Attributes::default();
                }
                vec![tree]
            }
            Op::Remove { .. } | Op::Rename { .. } | Op::Link { .. } => {
                vec![after(op)]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: Id = 1;

    /// A tree with a file whose durable contents are `settled`.
    fn tree(settled: &[u8]) -> Tree {
        let mut tree = Tree::new();
        let what = New::File(How::Guarded(Set::mode(0o600)));
        tree.make(Tree::ROOT, "file", FILE, &what);
        tree.apply(&write(0, settled, FILE_SYNC));
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
    fn uncommitted_bytes_may_be_old_or_new() {
        let mut tree = tree(b"old old");
        tree.apply(&write(4, b"new new", UNSTABLE));
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
    fn stable_write_discards_older_unstable_bytes() {
        let mut tree = tree(b"");
        tree.apply(&write(0, b"aaaa", UNSTABLE));
        tree.apply(&write(1, b"bb", DATA_SYNC));
        let content = tree.content(FILE);
        assert_eq!(content.wrong_byte(b"abba"), None);
        assert_eq!(content.wrong_byte(b"aaba"), Some(1));
    }

    #[test]
    fn write_in_flight_may_be_partial() {
        let tree = tree(b"1234");
        let states = tree.possible_during(&write(2, b"xy", FILE_SYNC));
        let content = states[0].content(FILE);
        assert_eq!(content.wrong_byte(b"123y"), None);
        assert_eq!(content.wrong_byte(b"x234"), Some(0));
    }

    #[test]
    fn attributes_in_flight_are_old_or_new() {
        let tree = tree(b"1234");
        let set = Set {
            mode: Some(0o777),
            uid: Some(5),
            ..Set::size(1)
        };
        let states = tree.possible_during(&Op::SetAttr { object: FILE, set });
        let modes: Vec<_> = states
            .iter()
            .map(|tree| {
                let Attributes { mode, uid, .. } = tree.node(FILE).attributes;
                (mode, uid, tree.content(FILE).settled.len())
            })
            .collect();
        for expected in [
            (Some(0o600), Some(0), 4),
            (Some(0o777), Some(0), 1),
            (Some(0o600), Some(5), 4),
        ] {
            assert!(modes.contains(&expected), "{expected:?} in {modes:?}");
        }
        // The tail may be zero before the size is reduced.
        assert!(states.iter().any(|tree| {
            let content = tree.content(FILE);
            content.settled.len() == 4 && content.wrong_byte(b"1\0\0\0").is_none()
        }));
    }
}
