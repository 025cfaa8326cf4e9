//! The tables of objects, names and file blocks. They are allocated at start; requests allocate nothing.

use super::super::handle::Key;
use super::super::{FsError, FsResult, ObjectType};
use super::bytes::{BLOCK_BYTES, Blocks, growth};
use super::inode::{Content, Directory, Inode, Inodes};
use super::map::Map;
use super::names::Names;
#[cfg(any(test, fuzzing))]
use super::unsynced::Unsynced;

/// The store.
#[derive(Clone, Debug)]
pub(super) struct Store {
    pub(super) inodes: Inodes,
    pub(super) names: Names,
    pub(super) blocks: Blocks,
    /// On-disk content, on the simulated disk, of files with unsynced writes.
    #[cfg(any(test, fuzzing))]
    pub(super) unsynced: Unsynced,
}

/// Capacity of a tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counts {
    /// Number of objects, including the top. As many names fit.
    pub objects: usize,
    /// Number of blocks for contents of files.
    pub blocks: usize,
}

impl Counts {
    const BLOCK_BYTES: usize = Blocks::SLOT_BYTES;
    const OBJECT_BYTES: usize = Inodes::SLOT_BYTES + Names::SLOT_BYTES;

    /// The largest capacity within `capacity_bytes` of memory: as many blocks as objects; once the maximum of objects is reached,
    /// the rest is for blocks.
    pub fn within(capacity_bytes: usize) -> Self {
        let objects = capacity_bytes / (Self::BLOCK_BYTES + Self::OBJECT_BYTES);
        let objects = objects.min(Inodes::COUNT_MAX);
        let blocks = (capacity_bytes - objects * Self::OBJECT_BYTES) / Self::BLOCK_BYTES;
        Self { objects, blocks }
    }

    /// Memory of all tables in bytes.
    pub const fn bytes(self) -> usize {
        self.objects * Self::OBJECT_BYTES + self.blocks * Self::BLOCK_BYTES
    }

    /// Number of blocks of a file of `len` bytes.
    pub const fn blocks_of(len: usize) -> usize {
        len.div_ceil(BLOCK_BYTES)
    }
}

impl Store {
    /// Allocates tables for `counts`, with at most [`Inodes::COUNT_MAX`] objects.
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

    /// Space of the blocks in use, in bytes.
    pub(super) const fn stored_bytes(&self) -> u64 {
        (self.blocks.used() * BLOCK_BYTES) as u64
    }

    /// Space of the free blocks, in bytes.
    pub(super) const fn left_bytes(&self) -> u64 {
        (self.blocks.left() * BLOCK_BYTES) as u64
    }

    /// Space of the blocks that a write would add, in bytes.
    pub(super) fn growth(&self, number: u32, offset: u64, len: usize) -> u64 {
        (growth(&self.blocks, number, offset, len) * BLOCK_BYTES) as u64
    }

    /// The directory of this number.
    pub(super) fn directory(&self, number: u32) -> FsResult<&Directory> {
        self.inodes.at(number)?.directory()
    }

    /// Looks up a name in a directory: the number of its object.
    ///
    /// # Errors
    /// `NoEntry`; `NotDirectory`.
    pub(super) fn named(&self, dir: u32, name: &[u8]) -> FsResult<u32> {
        self.directory(dir)?;
        self.names.get(dir, name).ok_or(FsError::NoEntry)
    }

    /// As [`named`](Self::named), but `None` if the name is absent and can be added.
    ///
    /// # Errors
    /// `NotDirectory`; `NoEntry`: the directory was removed; `NoSpace`: the name's digest collides with that of another name.
    pub(super) fn named_or_free(&self, dir: u32, name: &[u8]) -> FsResult<Option<u32>> {
        match self.named(dir, name) {
            Err(FsError::NoEntry) if self.inodes.at(dir)?.attr.nlink == 0 => Err(FsError::NoEntry),
            Err(FsError::NoEntry) if !self.names.is_free(dir, name) => Err(FsError::NoSpace),
            Err(FsError::NoEntry) => Ok(None),
            named => named.map(Some),
        }
    }

    /// Returns true if `dir` is the directory `number`, or is inside it.
    pub(super) fn lies_in(&self, mut dir: u32, number: u32) -> bool {
        // Bounds the loop: no path has more directories than there are objects.
        for _ in 0..self.inodes.used() {
            match self.directory(dir) {
                Ok(_) if dir == number => return true,
                Ok(directory) if directory.parent != dir => dir = directory.parent,
                _ => break,
            }
        }
        false
    }

    /// Adds a name to an object. The caller has checked that the name is free and that there is space.
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

    /// Removes an existing name. Does not change the object.
    pub(super) fn remove_name(&mut self, dir: u32, name: &[u8]) -> FsResult<()> {
        if let Content::Directory(within) = &mut self.inodes.at_mut(dir)?.content {
            within.name_count -= 1;
        }
        self.names.remove(dir, name);
        Ok(())
    }

    /// Frees an object if it has neither names nor pins.
    pub(super) fn release_unlinked(&mut self, number: u32) {
        let inode = self.inodes.at(number);
        if inode.is_ok_and(|inode| inode.attr.nlink == 0 && inode.pins == 0) {
            #[cfg(any(test, fuzzing))]
            self.unsynced.forget(number);
            self.resize(number, 0);
            self.inodes.remove(number);
        }
    }

    /// Reads a file or the target of a link into `out`. Returns the length.
    ///
    /// # Errors
    /// `Invalid`: the object is not of this `kind`.
    pub(super) fn read(
        &self,
        number: u32,
        kind: ObjectType,
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

    /// Writes all of `bytes` to a file or to the target of a link.
    pub(super) fn write(&mut self, number: u32, offset: u64, bytes: &[u8]) -> FsResult<()> {
        match &mut self.inodes.at_mut(number)?.content {
            Content::Bytes(stored) => stored.write(&mut self.blocks, number, offset, bytes),
            _ => Err(FsError::Invalid),
        }
    }

    /// Sets the length of a file to `size`.
    pub(super) fn resize(&mut self, number: u32, size: u64) {
        if let Ok(inode) = self.inodes.at_mut(number)
            && let Content::Bytes(bytes) = &mut inode.content
        {
            bytes.resize(&mut self.blocks, number, size);
        }
    }
}
