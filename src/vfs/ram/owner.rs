//! Control of the tree by tests: they build it, remove files, fill it up, inject write errors, and simulate power loss.
//!
//! Simulates a disk: tracks which changes are durable.

use super::super::{FileTime, FsError, FsResult, ObjectType, Pin};
use super::bytes::{BLOCK_BYTES, Block, Bytes};
use super::inode::{Content, Directory};
use super::store::Store;
use super::{Clock, Ram, TOP};
use std::collections::BTreeMap;

/// Tag in the tree's handles.
pub const TAG: u32 = 7;
/// UID and GID of files that tests create.
const OWNER: (u32, u32) = (1000, 100);
/// Memory of the tree in bytes. Larger than every `capacity_bytes` of tests.
const MEMORY_BYTES: usize = 16 << 20;
/// Free space, in bytes, that counts as space for one name.
const NAME_BYTES: u64 = 256;
/// Time of the tree before its first change.
const BIRTH: FileTime = FileTime {
    secs: 1_000_000_000,
    nanos: 123_456_789,
};

/// The time after `count` changes.
pub(super) fn time_after(count: u32) -> FileTime {
    // Seconds make times readable. Nanoseconds reveal code that drops them.
    FileTime {
        secs: BIRTH.secs + i64::from(count),
        nanos: BIRTH.nanos + count % 800_000_000,
    }
}

impl Store {
    /// The length and the stored blocks of a file.
    fn content(&self, number: u32) -> (u64, BTreeMap<u64, Block>) {
        let inode = self.inodes.at(number).expect("it is there");
        let (mut blocks, mut from) = (BTreeMap::new(), 0);
        while let Some((at, block)) = self.blocks.first_of((number, from)) {
            blocks.insert(at, *block);
            from = at + 1;
        }
        (inode.attr().size, blocks)
    }

    /// Replaces the content of a file.
    fn set_content(&mut self, number: u32, (size, blocks): (u64, BTreeMap<u64, Block>)) {
        self.resize(number, 0);
        for (at, block) in blocks {
            let offset = at * BLOCK_BYTES as u64;
            let len = (size - offset).min(BLOCK_BYTES as u64) as usize;
            self.write(number, offset, &block[..len]).expect("it fits");
        }
        self.resize(number, size);
    }

    /// Makes a file's content durable, or restores the on-disk content if `is_lost`.
    fn settle(&mut self, number: u32, is_lost: bool) {
        if let Some(durable) = self.unsynced.0.remove(&number)
            && is_lost
        {
            self.set_content(number, durable);
        }
    }

    /// The names in a directory, with their cookies and objects.
    fn names_in(&self, dir: u32) -> Vec<(u64, Vec<u8>, u32)> {
        let (mut all, mut from) = (Vec::new(), 0);
        while let Some((cookie, entry)) = self.names.entries.first_of((dir, from)) {
            assert_eq!(self.names.get(dir, entry.name()), Some(entry.object));
            all.push((cookie, entry.name().to_vec(), entry.object));
            from = cookie + 1;
        }
        all
    }

    /// Returns true if objects, names and contents equal those of `other`.
    fn is_like(&self, other: &Self) -> bool {
        let numbered = |inode: &super::Inode| inode.attr.inode as u32;
        let generations = |store: &Self| -> Vec<u32> {
            let all = store.inodes.iter().map(numbered);
            all.map(|number| store.inodes.generation(number)).collect()
        };
        let mut all = self.inodes.iter().map(numbered);
        self.inodes.iter().eq(other.inodes.iter())
            && generations(self) == generations(other)
            && self.unsynced == other.unsynced
            && all.all(|number| {
                self.names_in(number) == other.names_in(number)
                    && self.content(number) == other.content(number)
            })
    }
}

/// Bookkeeping of durability.
impl Ram {
    /// Saves the durable state before a change of names or attributes.
    pub(super) fn keep_durable(&mut self) {
        self.durable.get_or_insert_with(|| self.store.clone());
    }

    /// Makes changes of names and attributes durable.
    pub fn end_changes(&mut self) {
        self.durable = None;
    }

    /// Saves a file's durable content before a write. If a write error is injected, writes the first half and returns the error.
    pub(super) fn begin_write(
        &mut self,
        number: u32,
        offset: u64,
        bytes: &[u8],
    ) -> Option<FsError> {
        if !self.store.unsynced.0.contains_key(&number) {
            let durable = self.store.content(number);
            self.store.unsynced.0.insert(number, durable);
        }
        let error = self.write_fails.take()?;
        let half = &bytes[..bytes.len() / 2];
        self.store.write(number, offset, half).expect("it fits");
        Some(error)
    }

    /// Makes a file's writes durable; if a sync error is injected, discards them and fails.
    pub(super) fn end_writes(&mut self, pin: &Pin) -> FsResult<()> {
        let number = self.find(pin.node)?;
        let failure = self.sync_fails.take();
        self.store.settle(number, failure.is_some());
        failure.map_or(Ok(()), Err)
    }
}

impl Ram {
    /// The path of the export.
    pub const fn path(&self) -> &'static [u8] {
        self.path
    }

    /// An empty read-only tree, exported as `path`. Its clock advances with each change.
    pub fn model(path: &'static [u8]) -> Self {
        let store = Store::new(super::Counts::within(MEMORY_BYTES), [7; 16], 0);
        let mut ram = Self::begun(store, TAG, Clock::Changes(0), OWNER);
        (ram.capacity_bytes, ram.path) = (1 << 20, path);
        ram
    }

    /// Adds a regular file.
    pub fn file(&mut self, path: &str, content: &[u8]) {
        self.sparse(path, content.len() as u64, 0, content);
    }

    /// Adds a file of `size` zeros with `bytes` at `offset`.
    pub fn sparse(&mut self, path: &str, size: u64, offset: u64, bytes: &[u8]) {
        let content = Content::Bytes(Bytes::default());
        let number = self.add(path, ObjectType::Regular, 0o644, content);
        self.store.write(number, offset, bytes).expect("it fits");
        self.store.resize(number, size);
    }

    /// Replaces the content of a file, or adds the file.
    pub fn overwrite(&mut self, path: &str, bytes: &[u8]) {
        let (dir, name) = self.split(path);
        let Ok(number) = self.store.named(dir, name) else {
            return self.file(path, bytes);
        };
        self.touch(number, true);
        self.store.settle(number, false);
        self.store.resize(number, 0);
        self.store.write(number, 0, bytes).expect("it fits");
    }

    /// Adds a directory.
    pub fn dir(&mut self, path: &str) {
        let (parent, _) = self.split(path);
        let directory = Content::Directory(Directory::beneath(parent));
        self.add(path, ObjectType::Directory, 0o755, directory);
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: &str, target: &[u8]) {
        let content = Content::Bytes(Bytes::default());
        let number = self.add(path, ObjectType::SymbolicLink, 0o777, content);
        self.store.write(number, 0, target).expect("it fits");
    }

    /// Adds a FIFO.
    pub fn fifo(&mut self, path: &str) {
        self.add(path, ObjectType::Fifo, 0o600, Content::Special);
    }

    /// Removes the object at `path`, even if a test still holds a handle of it.
    pub fn unlink(&mut self, path: &str) {
        let (dir, name) = self.split(path);
        let number = self.store.named(dir, name).expect("the path exists");
        self.remove_name(dir, name, number).expect("it is there");
    }

    /// Simulates power loss: discards changes that are not durable. Panics if something is pinned.
    pub fn lose_power(&mut self) {
        assert_eq!(self.pinned, 0);
        if let Some(durable) = self.durable.take() {
            self.store = durable;
        }
        let unsynced: Vec<u32> = self.store.unsynced.0.keys().copied().collect();
        for number in unsynced {
            self.store.settle(number, true);
        }
    }

    /// Sets the free space to `bytes`.
    pub fn set_free_bytes(&mut self, bytes: u64) {
        self.capacity_bytes = self.store.stored_bytes() + bytes;
        let names = (bytes / NAME_BYTES) as usize;
        self.store.names.entries.limit_items(names);
    }

    /// Returns true if power loss would discard nothing.
    pub fn is_durable(&self) -> bool {
        self.durable.is_none() && self.store.unsynced.0.is_empty()
    }

    /// Returns true if objects, names and contents equal those of `other`.
    pub fn is_like(&self, other: &Self) -> bool {
        self.store.is_like(&other.store)
    }

    /// Panics if the tree is inconsistent: checks that every name has an object, link counts are right, directories have one name,
    /// and no block or name belongs to no object.
    pub fn check(&self) {
        let Store { inodes, blocks, .. } = &self.store;
        let mut names = BTreeMap::from([(TOP, 1)]);
        let (mut name_count, mut block_count) = (0, 0);
        for inode in inodes.iter() {
            let number = inode.attr.inode as u32;
            let here = self.store.names_in(number);
            name_count += here.len();
            if let Ok(directory) = inode.directory() {
                assert_eq!(directory.name_count as usize, here.len());
            }
            for (.., object) in here {
                *names.entry(object).or_insert(0) += 1;
                if let Ok(below) = self.store.directory(object) {
                    assert_eq!(below.parent, number);
                }
            }
            if let Content::Bytes(bytes) = inode.content {
                let (_, stored) = self.store.content(number);
                assert_eq!(bytes.block_count, stored.len() as u64);
                block_count += stored.len();
            }
        }
        for inode in inodes.iter() {
            let count = names.remove(&(inode.attr.inode as u32)).unwrap_or(0);
            assert_eq!(inode.attr.nlink, count, "inode {}", inode.attr.inode);
            assert!(count > 0 || inode.pins > 0);
            assert!(inode.attr.kind != ObjectType::Directory || count == 1 || inode.pins > 0);
        }
        assert!(names.is_empty(), "names of nothing: {names:?}");
        assert_eq!(self.store.names.entries.used(), name_count);
        assert_eq!(blocks.used(), block_count);
        assert_eq!(inodes.used(), inodes.iter().count());
        let pins: u32 = inodes.iter().map(|inode| inode.pins).sum();
        assert_eq!(self.pinned, pins as usize);
    }

    fn add(&mut self, path: &str, kind: ObjectType, mode: u32, content: Content) -> u32 {
        let (parent, name) = self.split(path);
        let attr = self.fresh_attr(kind, mode, OWNER);
        let number = self.store.inodes.add(content, attr).expect("it fits");
        self.store.add_name(parent, name, number).expect("it fits");
        number
    }

    /// Splits a path: the number of its directory, and the name in it.
    fn split<'a>(&self, path: &'a str) -> (u32, &'a [u8]) {
        let (dirs, name) = path.rsplit_once('/').unwrap_or(("", path));
        let names = dirs.split('/').filter(|name| !name.is_empty());
        let dir = names.fold(TOP, |dir, name| {
            let named = self.store.named(dir, name.as_bytes());
            named.expect("the directory exists")
        });
        (dir, name.as_bytes())
    }
}
