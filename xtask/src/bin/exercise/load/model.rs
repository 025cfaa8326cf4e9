//! The expected tree: what must exist according to the operations that returned success.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use crate::manifest::{directory_line, file_line, special_line, symlink_line};

/// A regular file, independent of its names.
#[derive(Default)]
pub struct Inode {
    /// Permission bits.
    pub mode: u32,
    /// Content that was synced.
    pub content: Vec<u8>,
}

/// The object that a path refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// Number of an inode. Hard links share it.
    File(u64),
    Directory,
    Symlink(String),
    Fifo,
}

/// The objects by path, relative to the worker's directory.
#[derive(Default)]
pub struct Model {
    nodes: BTreeMap<String, Node>,
    inodes: BTreeMap<u64, Inode>,
    inodes_made: u64,
}

impl Model {
    /// Paths of the objects for which `is` returns true.
    pub fn paths(&self, is: impl Fn(&Node) -> bool) -> Vec<&str> {
        let right = self.nodes.iter().filter(|(_, node)| is(node));
        right.map(|(path, _)| path.as_str()).collect()
    }

    /// Number of paths.
    pub fn count(&self) -> usize {
        self.nodes.len()
    }

    /// The object at `path`.
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// Adds a new empty file.
    pub fn create(&mut self, path: &str, mode: u32) {
        self.inodes_made += 1;
        let content = Vec::new();
        self.inodes
            .insert(self.inodes_made, Inode { mode, content });
        self.insert(path, Node::File(self.inodes_made));
    }

    /// The file at `path`.
    pub fn file(&mut self, path: &str) -> Result<&mut Inode> {
        let number = match self.nodes.get(path) {
            Some(Node::File(number)) => self.inodes.get_mut(number),
            _ => None,
        };
        number.with_context(|| format!("the model has no file {path}"))
    }

    /// Adds a node, replacing any node at `path`.
    pub fn insert(&mut self, path: &str, node: Node) {
        self.nodes.insert(path.to_owned(), node);
        self.forget_nameless();
    }

    /// Removes a path.
    pub fn remove(&mut self, path: &str) {
        self.nodes.remove(path);
        self.forget_nameless();
    }

    /// Drops the content of files without a name, because the virtual machine has little memory.
    fn forget_nameless(&mut self) {
        let nodes = &self.nodes;
        let is_named = |number: u64| nodes.values().any(|node| *node == Node::File(number));
        self.inodes.retain(|&number, _| is_named(number));
    }

    /// Returns true if no other path is below `path`.
    pub fn is_empty(&self, path: &str) -> bool {
        let below = format!("{path}/");
        !self.nodes.keys().any(|other| other.starts_with(&below))
    }

    /// Moves `from` and all paths below it.
    pub fn rename(&mut self, from: &str, to: &str) {
        let below = format!("{from}/");
        let moves = |path: &&String| *path == from || path.starts_with(&below);
        let moving: Vec<String> = self.nodes.keys().filter(moves).cloned().collect();
        for path in moving {
            if let Some(node) = self.nodes.remove(&path) {
                self.insert(&format!("{to}{}", &path[from.len()..]), node);
            }
        }
    }

    /// The expected output of `exercise manifest`, with `prefix` before each path.
    pub fn lines(&self, prefix: &str) -> Vec<String> {
        let nobody = Inode::default();
        let line = |(path, node): (&String, &Node)| {
            let name = format!("{prefix}/{path}");
            match node {
                Node::File(number) => {
                    let links = self.nodes.values().filter(|other| *other == node).count();
                    let inode = self.inodes.get(number).unwrap_or(&nobody);
                    file_line(&name, inode.mode, links as u64, &inode.content)
                }
                Node::Directory => directory_line(&name),
                Node::Symlink(target) => symlink_line(&name, target),
                Node::Fifo => special_line(&name),
            }
        };
        std::iter::once(directory_line(prefix))
            .chain(self.nodes.iter().map(line))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renamed_directory_keeps_its_contents() {
        let mut model = Model::default();
        model.insert("a", Node::Directory);
        model.insert("ab", Node::Fifo);
        model.create("a/file", 0o644);
        let inode = model.get("a/file").cloned();
        model.insert("link", inode.clone().unwrap());
        model.rename("a", "b");
        assert_eq!(model.paths(|_| true), ["ab", "b", "b/file", "link"]);
        assert_eq!(model.get("b/file").cloned(), inode);
        assert!(!model.is_empty("b") && model.is_empty("a"));
        assert!(
            model.lines("x")[3].contains("links 2"),
            "{:?}",
            model.lines("x")
        );
        model.remove("link");
        assert!(model.file("b/file").is_ok());
        model.insert("b/file", Node::Fifo);
        assert!(model.inodes.is_empty());
    }
}
