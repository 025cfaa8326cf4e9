//! All that is stored: objects, names and blocks of files, in tables that are made at start, so that no request needs memory.

use super::super::handle::Key;
use super::super::{FsError, FsResult, Kind};
use super::bytes::{BLOCK_BYTES, Blocks, growth};
use super::inode::{Content, Directory, Inode, Inodes};
use super::map::Map;
use super::names::Names;
#[cfg(any(test, fuzzing))]
use super::owner::Unsynced;

/// The store.
#[derive(Clone, Debug)]
pub(super) struct Store {
    pub(super) inodes: Inodes,
    pub(super) names: Names,
    pub(super) blocks: Blocks,
    /// What the disk would still have.
    #[cfg(any(test, fuzzing))]
    pub(super) unsynced: Unsynced,
}

/// How much there may be in a tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counts {
    /// Objects, the top among them, and names.
    pub objects: usize,
    /// Blocks of files.
    pub blocks: usize,
}

impl Counts {
    const BLOCK_BYTES: usize = Blocks::PLACE_BYTES;
    const OBJECT_BYTES: usize = Inodes::PLACE_BYTES + Names::PLACE_BYTES;

    /// What takes no more than `capacity_bytes` together: as many blocks as objects and names, as long as objects can be told apart.
    pub fn within(capacity_bytes: usize) -> Self {
        let objects = capacity_bytes / (Self::BLOCK_BYTES + Self::OBJECT_BYTES);
        let objects = objects.min(Inodes::COUNT_MAX);
        let blocks = (capacity_bytes - objects * Self::OBJECT_BYTES) / Self::BLOCK_BYTES;
        Self { objects, blocks }
    }

    /// The bytes that all of it takes.
    pub const fn bytes(self) -> usize {
        self.objects * Self::OBJECT_BYTES + self.blocks * Self::BLOCK_BYTES
    }

    /// The blocks of a file of `len` bytes.
    pub const fn blocks_of(len: usize) -> usize {
        len.div_ceil(BLOCK_BYTES)
    }
}

impl Store {
    /// Tables for so much, and for no more objects than can be told apart.
    pub(super) fn new(counts: Counts, key: Key, generation: u32) -> Self {
        let Counts { objects, blocks } = counts;
        let objects = objects.min(Inodes::COUNT_MAX);
        Self {
            inodes: Inodes::new(objects, generation),
            names: Names::new(objects, key),
            blocks: Map::new(blocks, key),
            #[cfg(any(test, fuzzing))]
            unsynced: Unsynced::default(),
        }
    }

    /// Bytes that are stored in files and links.
    pub(super) const fn stored_bytes(&self) -> u64 {
        (self.blocks.used() * BLOCK_BYTES) as u64
    }

    /// How many more there is space for.
    pub(super) const fn left_bytes(&self) -> u64 {
        (self.blocks.left() * BLOCK_BYTES) as u64
    }

    /// How many more are stored after a write.
    pub(super) fn growth(&self, number: u32, offset: u64, len: usize) -> u64 {
        (growth(&self.blocks, number, offset, len) * BLOCK_BYTES) as u64
    }

    /// The directory of this number.
    pub(super) fn directory(&self, number: u32) -> FsResult<&Directory> {
        self.inodes.at(number)?.directory()
    }

    /// The number of what has this name in a directory.
    ///
    /// # Errors
    /// `NoEntry`; `NotDirectory`: it is none.
    pub(super) fn named(&self, dir: u32, name: &[u8]) -> FsResult<u32> {
        self.directory(dir)?;
        self.names.get(dir, name).ok_or(FsError::NoEntry)
    }

    /// The same, or that there is nothing of this name, and may be.
    ///
    /// # Errors
    /// `NotDirectory`; `NoEntry`: the directory was removed; `NoSpace`: another name there is in the way.
    pub(super) fn named_or_free(&self, dir: u32, name: &[u8]) -> FsResult<Option<u32>> {
        match self.named(dir, name) {
            Err(FsError::NoEntry) if self.inodes.at(dir)?.attr.nlink == 0 => Err(FsError::NoEntry),
            Err(FsError::NoEntry) if !self.names.is_free(dir, name) => Err(FsError::NoSpace),
            Err(FsError::NoEntry) => Ok(None),
            named => named.map(Some),
        }
    }

    /// Whether `dir` is the directory of this number, or lies beneath it.
    pub(super) fn lies_in(&self, mut dir: u32, number: u32) -> bool {
        // No way up is longer than this.
        for _ in 0..self.inodes.used() {
            match self.directory(dir) {
                Ok(_) if dir == number => return true,
                Ok(directory) if directory.parent != dir => dir = directory.parent,
                _ => break,
            }
        }
        false
    }

    /// Adds a name that is free, and for which there is space, to the object of this number.
    pub(super) fn add_name(&mut self, dir: u32, name: &[u8], number: u32) -> FsResult<()> {
        let Content::Directory(within) = &mut self.inodes.at_mut(dir)?.content else {
            return Err(FsError::NotDirectory);
        };
        within.last_cookie += 1;
        within.name_count += 1;
        self.names.add(dir, within.last_cookie, name, number);
        if let Content::Directory(moved) = &mut self.inodes.at_mut(number)?.content {
            moved.parent = dir;
        }
        Ok(())
    }

    /// Removes a name that is there, whatever becomes of what had it.
    pub(super) fn remove_name(&mut self, dir: u32, name: &[u8]) -> FsResult<()> {
        if let Content::Directory(within) = &mut self.inodes.at_mut(dir)?.content {
            within.name_count -= 1;
        }
        self.names.remove(dir, name);
        Ok(())
    }

    /// Forgets an object that has neither names nor pins.
    pub(super) fn release_unlinked(&mut self, number: u32) {
        let inode = self.inodes.at(number);
        if inode.is_ok_and(|inode| inode.attr.nlink == 0 && inode.pins == 0) {
            #[cfg(any(test, fuzzing))]
            self.unsynced.forget(number);
            self.resize(number, 0);
            self.inodes.remove(number);
        }
    }

    /// Fills `out` as far as a file or the target of a link goes.
    ///
    /// # Errors
    /// `Invalid`: it is of another kind.
    pub(super) fn read(
        &self,
        number: u32,
        kind: Kind,
        offset: u64,
        out: &mut [u8],
    ) -> FsResult<u32> {
        match self.inodes.at(number)? {
            Inode {
                content: Content::Bytes(bytes),
                attr,
                ..
            } if attr.kind == kind => Ok(bytes.read(&self.blocks, number, offset, out) as u32),
            _ => Err(FsError::Invalid),
        }
    }

    /// Writes all of `bytes` to a file or as the target of a link.
    pub(super) fn write(&mut self, number: u32, offset: u64, bytes: &[u8]) -> FsResult<()> {
        match &mut self.inodes.at_mut(number)?.content {
            Content::Bytes(stored) => stored.write(&mut self.blocks, number, offset, bytes),
            _ => Err(FsError::Invalid),
        }
    }

    /// Makes a file so long.
    pub(super) fn resize(&mut self, number: u32, size: u64) {
        if let Ok(inode) = self.inodes.at_mut(number)
            && let Content::Bytes(bytes) = &mut inode.content
        {
            bytes.resize(&mut self.blocks, number, size);
        }
    }
}
