//! Compares the objects on a disk with the expected tree.

use std::collections::BTreeMap;
use std::fmt;

use super::op::Id;
use super::seen::Seen;
use super::tree::{ObjectType, Tree};

/// A deviation from the expected tree.
pub struct Difference {
    pub id: Id,
    /// Path below the client's directory; empty for the directory itself.
    path: String,
    what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object {} (.{}) {}", self.id, self.path, self.what)
    }
}

/// All missing, surplus and different objects; empty if the promises were kept.
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

fn shown(value: Option<impl fmt::Debug>) -> Option<String> {
    value.map(|value| format!("{value:?}"))
}

struct Comparison<'a> {
    tree: &'a Tree,
    link_counts: BTreeMap<Id, u64>,
    /// Inode number of each object: all its names must have the same one.
    inodes: BTreeMap<Id, u64>,
    found: Vec<Difference>,
}

impl Comparison<'_> {
    fn compare(&mut self, id: Id, seen: &Seen, path: &str) {
        let node = self.tree.node(id);
        let mut report = |what: String| {
            let path = path.to_owned();
            self.found.push(Difference { id, path, what });
        };
        let links = self.link_counts[&id];
        if links != seen.link_count {
            report(format!(
                "has link count {} instead of {links}",
                seen.link_count
            ));
        }
        if *self.inodes.entry(id).or_insert(seen.inode) != seen.inode {
            report("has another inode than its other name".to_owned());
        }
        let (expected, actual) = (&node.attributes, &seen.node.attributes);
        for (what, expected, actual) in [
            ("mode", shown(expected.mode), shown(actual.mode)),
            ("UID", shown(expected.uid), shown(actual.uid)),
            ("mtime", shown(expected.mtime), shown(actual.mtime)),
        ] {
            if expected.is_some() && expected != actual {
                report(format!("has {what} {actual:?} instead of {expected:?}"));
            }
        }
        match (&node.kind, &seen.node.kind) {
            (ObjectType::Directory(names), ObjectType::Directory(_)) => {
                for name in seen
                    .children
                    .keys()
                    .filter(|name| !names.contains_key(*name))
                {
                    report(format!("has an unexpected name: {name}"));
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
            (ObjectType::File(content), ObjectType::File(on_disk)) => {
                let bytes = &on_disk.settled;
                let sizes = content.settled.len()..=content.len_max();
                if !sizes.contains(&bytes.len()) {
                    report(format!("has {} bytes instead of {sizes:?}", bytes.len()));
                } else if let Some(index) = content.wrong_byte(bytes) {
                    report(format!(
                        "has {:#x} at {index}, which was never written there",
                        bytes[index]
                    ));
                }
            }
            (ObjectType::SymLink(target), ObjectType::SymLink(actual)) => {
                if target != actual {
                    report(format!("has the target {actual} instead of {target}"));
                }
            }
            (ObjectType::Fifo, ObjectType::Fifo) => {}
            _ => report("has another type".to_owned()),
        }
    }
}
