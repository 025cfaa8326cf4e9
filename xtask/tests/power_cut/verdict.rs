//! Compares what is on a disk with what was promised.

use std::collections::BTreeMap;
use std::fmt;

use super::op::Id;
use super::seen::Seen;
use super::tree::{Kind, Tree};

/// A promise that was not kept.
pub struct Difference {
    pub id: Id,
    /// Beneath the client's directory; empty for that itself.
    path: String,
    what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object {} (.{}) {}", self.id, self.path, self.what)
    }
}

/// Everything that is missing, too much or different; empty when the promise is kept.
pub fn differences(tree: &Tree, seen: &Seen) -> Vec<Difference> {
    let mut comparison = Comparison {
        tree,
        link_counts: tree.link_counts(),
        inodes: BTreeMap::new(),
        found: Vec::new(),
    };
    comparison.compare(Tree::ROOT, seen, "");
    comparison.found
}

struct Comparison<'a> {
    tree: &'a Tree,
    link_counts: BTreeMap<Id, u64>,
    /// By object: two names of one lead to the same file.
    inodes: BTreeMap<Id, u64>,
    found: Vec<Difference>,
}

impl Comparison<'_> {
    fn compare(&mut self, id: Id, seen: &Seen, path: &str) {
        let node = self.tree.node(id);
        let mut say = |what: String| {
            let path = path.to_owned();
            self.found.push(Difference { id, path, what });
        };
        let links = self.link_counts[&id];
        if links != seen.link_count {
            say(format!(
                "has link count {} and not {links}",
                seen.link_count
            ));
        }
        if *self.inodes.entry(id).or_insert(seen.inode) != seen.inode {
            say("is another file than its other name leads to".to_owned());
        }
        let (expected, actual) = (&node.attributes, &seen.node.attributes);
        if expected.mode.is_some_and(|mode| actual.mode != Some(mode)) {
            say(format!(
                "has mode {:?} and not {:?}",
                actual.mode, expected.mode
            ));
        }
        if expected.uid.is_some() && expected.uid != actual.uid {
            say(format!(
                "belongs to {:?} and not {:?}",
                actual.uid, expected.uid
            ));
        }
        if expected.mtime.is_some() && expected.mtime != actual.mtime {
            say(format!(
                "was modified at {:?} and not {:?}",
                actual.mtime, expected.mtime
            ));
        }
        match (&node.kind, &seen.node.kind) {
            (Kind::Directory(names), Kind::Directory(_)) => {
                for name in seen
                    .children
                    .keys()
                    .filter(|name| !names.contains_key(*name))
                {
                    say(format!("has a name too many: {name}"));
                }
                for (name, &child) in names {
                    let path = format!("{path}/{name}");
                    match seen.children.get(name) {
                        Some(seen) => self.compare(child, seen, &path),
                        None => self.found.push(Difference {
                            id: child,
                            path,
                            what: "is missing".to_owned(),
                        }),
                    }
                }
            }
            (Kind::File(content), Kind::File(on_disk)) => {
                let bytes = &on_disk.settled;
                let sizes = content.settled.len()..=content.len_max();
                if !sizes.contains(&bytes.len()) {
                    say(format!("has {} bytes and not {sizes:?}", bytes.len()));
                } else if let Some(at) = content.wrong_byte(bytes) {
                    say(format!(
                        "has {:#x} at {at}, which nobody wrote there",
                        bytes[at]
                    ));
                }
            }
            (Kind::SymLink(target), Kind::SymLink(actual)) => {
                if target != actual {
                    say(format!("leads to {actual} and not to {target}"));
                }
            }
            (Kind::Fifo, Kind::Fifo) => {}
            _ => say("is of another kind".to_owned()),
        }
    }
}
