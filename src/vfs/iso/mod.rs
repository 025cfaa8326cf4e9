//! Reader of ISO images: the tree as Linux shows it, read from the image for each request without a cache.
//!
//! An entry's permanent ID is the offset of its directory record; of a directory, the offset of its extent. The only state is a
//! buffer of one sector, so memory does not grow with the image. Each request does a bounded amount of work, whatever the image
//! contains. Supports ISO 9660 with Rock Ridge, else Joliet, else plain names, and High Sierra. UDF is detected, but not read:
//! see `vfs::udf`.

mod listing;
mod reader;
#[cfg(any(test, fuzzing))]
pub mod testing;

use super::volume::{Block, Run};
use super::walk::put;
use super::{Attr, FileTime, FsError, FsResult, ObjectType};
use crate::config::IMAGE_LOOK_COUNT_MAX;
use crate::mem;
use crate::wire::iso9660::{
    DESCRIPTORS_END, DESCRIPTORS_START, Descriptor, DirRecord, HIGH_SIERRA, JOLIET, SECTOR_BYTES,
    Volume,
};
use listing::Names;

pub use reader::Reader;

const SECTOR: u64 = SECTOR_BYTES as u64;
/// Cost of each further extent of a file, counted as records read. Every read searches the extents, so a file of 100 extents
/// exhausts a request's budget. Linux refuses such files, too.
const EXTENT_LOOK_COUNT: i32 = IMAGE_LOOK_COUNT_MAX / 100;
/// Most continuation areas of one entry's System Use fields. Bounds a cycle of them.
const AREA_COUNT_MAX: u32 = 32;
/// An offset beyond the end of every image.
const NOWHERE: u64 = u64::MAX;
/// Name of the only file in the ISO 9660 tree of a UDF image, which says that the files are in UDF.
const README: &[u8] = b"readme.txt";

/// A directory entry, parsed.
#[derive(Debug)]
#[repr(C)]
pub struct IsoEntry {
    /// Permanent ID.
    pub id: u64,
    /// Length of the content in bytes.
    size: u64,
    /// Offset, in the content, at which the extent `run` begins.
    before: u64,
    /// One extent of the content. May be beyond the end of a truncated image.
    run: Run,
    /// Largest end offset, in the image, of an extent of the content.
    end: u64,
    /// Offset of the next record.
    next: u64,
    record: DirRecord,
}

impl Default for IsoEntry {
    fn default() -> Self {
        Self::new()
    }
}

impl IsoEntry {
    /// All zeros, so that a static one takes no space in the executable.
    pub const EMPTY: Self = Self {
        id: 0,
        size: 0,
        before: 0,
        run: Run { offset: 0, len: 0 },
        end: 0,
        next: 0,
        record: DirRecord::new(),
    };

    /// An empty entry.
    pub const fn new() -> Self {
        Self::EMPTY
    }

    /// The name.
    pub fn name(&self) -> &[u8] {
        self.record.name()
    }

    /// A symbolic link's target; empty if the image has none, or one that is too long.
    pub fn target(&self) -> &[u8] {
        self.record.target().unwrap_or_default()
    }

    /// Returns true if the content is compressed by zisofs.
    pub const fn is_compressed(&self) -> bool {
        self.record.compressed
    }

    /// Returns true for "." and "..".
    pub const fn is_dots(&self) -> bool {
        self.record.dots
    }

    /// File, directory, link, …
    pub const fn kind(&self) -> ObjectType {
        let [mode, ..] = self.record.posix;
        ObjectType::of_mode(mode)
    }

    /// Largest end offset, in the image, of an extent. An empty extent does not count, because its offset means nothing.
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// Attributes, with this file system ID. Of a directory they are valid only after [`Image::entry`].
    pub fn attr(&self, fsid: u64) -> Attr {
        let [mode, nlink, uid, gid] = self.record.posix;
        let [changed, written, read] = self.record.times;
        let time = |secs| FileTime { secs, nanos: 0 };
        let kind = self.kind();
        Attr {
            kind,
            mode: mode & 0o7777,
            nlink,
            uid,
            gid,
            size: match kind {
                ObjectType::SymbolicLink => self.target().len() as u64,
                _ => self.size,
            },
            used: (self.size + 511) & !511,
            rdev: self.record.device(),
            fsid,
            // As on Linux. Unique, because a record is longer than 32 bytes.
            inode: self.id >> 5,
            atime: time(read),
            mtime: time(written),
            ctime: time(changed),
        }
    }
}

/// The root directory of an image's tree, the size of its blocks, and the encoding of its names.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    root: u64,
    /// Length of the file system in bytes.
    bytes: u64,
    skip: u16,
    block_bits: u8,
}

impl Layout {
    /// No tree.
    pub const EMPTY: Self = Self {
        root: 0,
        bytes: 0,
        skip: 0,
        block_bits: 11,
    };

    const fn new(volume: Volume, skip: u16) -> Self {
        let Volume {
            root,
            block_bits,
            block_count,
        } = volume;
        Self {
            bytes: (block_count as u64) << block_bits,
            root: (root as u64) << block_bits,
            skip,
            block_bits,
        }
    }

    /// Returns the offset of a block.
    const fn offset(&self, block: u32) -> u64 {
        (block as u64) << self.block_bits
    }
}

/// Bytes before the Rock Ridge fields of the root directory, unless it begins with an SP field: those of CD-ROM XA.
const XA_BYTES: u16 = 14;

/// An image.
#[repr(C)] // Frequently used fields first: small offsets make short instructions.
pub struct Image<B> {
    block: B,
    tree: Layout,
    /// Offset, in the image, of the bytes in `sector`.
    at: u64,
    /// ID of the directory that is listed.
    dir: u64,
    /// Offset at which the listing began.
    from: u64,
    /// Offset of the next record of the listing.
    next: u64,
    /// End offset of the directory.
    end: u64,
    /// True if the listing continues where it stopped, or has begun.
    resumes: bool,
    looks_left: i32,
    /// The event that must come before the last sector can be read.
    stop: Option<FsError>,
    sector: &'static mut [u8; SECTOR_BYTES as usize],
    names: Names,
}

impl<B: Block> Image<B> {
    /// A reader. Call [`open`](Self::open) or [`switch_to`](Self::switch_to) before other methods.
    pub fn new(block: B) -> Self {
        Self {
            block,
            tree: Layout::EMPTY,
            at: 0,
            dir: 0,
            from: 0,
            next: 0,
            end: 0,
            resumes: false,
            looks_left: 0,
            stop: None,
            sector: mem::array(),
            names: Names::new(),
        }
    }

    /// Finds the tree.
    ///
    /// # Errors
    /// `Invalid`: no ISO 9660 file system; `NotSupported`: UDF only, or nothing but a readme beside UDF.
    #[inline(never)] // −157 bytes: one caller, whose frame stays small.
    pub fn open(&mut self, entry: &mut IsoEntry) -> FsResult<()> {
        self.reset_budget();
        let (mut primary, mut joliet, mut udf, mut ended) = (None, None, false, false);
        let mut at = DESCRIPTORS_START * SECTOR;
        // An image that ends here has no more descriptors.
        while at < DESCRIPTORS_END * SECTOR && self.fetch(at).is_some() {
            match Descriptor::parse(self.sector) {
                Descriptor::Udf => udf = true,
                Descriptor::End => ended = true,
                // Descriptors after the terminator may belong to an image inside this one, except those of UDF.
                _ if ended => {}
                Descriptor::Primary(volume) => {
                    primary.get_or_insert(Layout::new(volume, XA_BYTES));
                }
                Descriptor::HighSierra(volume) => {
                    primary.get_or_insert(Layout::new(volume, HIGH_SIERRA));
                }
                Descriptor::Joliet(volume) => {
                    joliet.get_or_insert(volume);
                }
                Descriptor::Other => {}
            }
            at += SECTOR;
        }
        self.check_wait()?;
        let mut opened = self.open_tree(primary, entry);
        // As on Linux, Joliet is used if there is no Rock Ridge, or nothing in its root directory.
        if let Some(mut volume) = joliet
            && (opened.is_err() || !entry.record.extended || !self.has_other(b"", entry))
        {
            self.check_wait()?;
            if let Some(primary) = primary {
                volume.block_bits = primary.block_bits;
            }
            let layout = Layout::new(volume, JOLIET);
            let plain = opened.map(|()| self.tree);
            opened = self.open_tree(Some(layout), entry);
            if let Ok(plain) = plain
                && opened.is_err()
            {
                self.tree = plain;
                opened = self.check_wait();
            }
        }
        // A UDF image has no ISO 9660 tree, or one with only a readme.
        self.check_wait()?;
        if udf
            && (self.open_tree(Some(self.tree), entry).is_err() || !self.has_other(README, entry))
        {
            self.check_wait()?;
            return Err(FsError::NotSupported);
        }
        opened
    }

    /// Selects a tree, and begins to list its root directory.
    fn open_tree(&mut self, tree: Option<Layout>, entry: &mut IsoEntry) -> FsResult<()> {
        self.tree = tree.ok_or(FsError::Invalid)?;
        let root = self.tree.root;
        if self.tree.skip == XA_BYTES {
            self.read(root, 0, entry)?;
            self.tree.skip = entry.record.skip.into();
        }
        self.entry(root, entry)?;
        self.list(0, entry)
    }

    /// The image's layout, for [`switch_to`](Self::switch_to).
    pub const fn layout(&self) -> Layout {
        self.tree
    }

    /// Switches to another image, so that one reader serves many. `tree` is the layout after [`open`](Self::open).
    pub fn switch_to(&mut self, block: B, tree: Layout) {
        (self.at, self.tree) = (NOWHERE, tree);
        self.names.clear();
        self.block = block;
    }

    /// The disk of the image.
    pub const fn block(&mut self) -> &mut B {
        &mut self.block
    }

    /// Begins a request: resets the number of records that it may read.
    pub const fn reset_budget(&mut self) {
        self.looks_left = IMAGE_LOOK_COUNT_MAX;
    }

    /// ID of the top directory.
    pub const fn root(&self) -> u64 {
        self.tree.root
    }

    /// Reads the entry with this ID.
    ///
    /// # Errors
    /// `Stale`: no such entry; `Io`: the record is damaged, or beyond the end of the image.
    pub fn entry(&mut self, id: u64, out: &mut IsoEntry) -> FsResult<()> {
        self.entry_at(id, 0, out)
    }

    /// The contiguous part at `offset` of a regular file. `entry` is from [`entry`](Self::entry).
    pub fn run(&mut self, offset: u64, entry: &mut IsoEntry) -> FsResult<Run> {
        match entry.kind() {
            ObjectType::Regular if entry.record.interleaved => return Err(FsError::Io),
            ObjectType::Regular => {}
            ObjectType::Directory => return Err(FsError::IsDirectory),
            _ => return Err(FsError::Invalid),
        }
        let past = offset.checked_sub(entry.before);
        if past.is_none_or(|past| past >= entry.run.len) {
            self.entry_at(entry.id, offset, entry)?;
        }
        // Cannot underflow: the extent read for this offset does not begin after it.
        let past = offset.saturating_sub(entry.before);
        let at = entry.run.offset.saturating_add(past);
        let rest = self.block.size().saturating_sub(at);
        let len = entry.run.len.saturating_sub(past).min(rest);
        if len == 0 && offset < entry.size {
            return Err(FsError::Io);
        }
        Ok(Run { offset: at, len })
    }

    fn entry_at(&mut self, id: u64, offset: u64, out: &mut IsoEntry) -> FsResult<()> {
        if id >= self.block.size() {
            // The ID may be from a forged handle.
            return Err(match id < self.tree.bytes {
                true => FsError::Io,
                false => FsError::Stale,
            });
        }
        self.read(id, offset, out)?;
        if out.id != id {
            return Err(FsError::Stale);
        }
        if out.record.malformed {
            return Err(FsError::Io);
        }
        Ok(())
    }

    /// Parses the record at `at`, and the records after it if they are more extents of the same file.
    fn read(&mut self, at: u64, offset: u64, out: &mut IsoEntry) -> FsResult<()> {
        (out.id, out.size, out.next, out.end) = (NOWHERE, 0, at, 0);
        let record = &mut out.record;
        record.clear();
        let tree = self.tree;
        loop {
            let is_parsed = match self.fetch(out.next) {
                None => return Err(self.fault()),
                Some([0, ..]) => {
                    // A zero length: no more records in this block.
                    out.next = ((out.next >> tree.block_bits) + 1) << tree.block_bits;
                    if record.is_continued() {
                        continue;
                    }
                    return Ok(());
                }
                Some(rest @ [len, ..]) if rest.len() >= usize::from(*len) => {
                    record.parse(rest, tree.skip)
                }
                Some(_) => self.parse_crossing(out.next, record)?,
            };
            if !is_parsed {
                return Err(FsError::Io);
            }
            let [block, size] = record.extent;
            let extent = Run {
                offset: tree.offset(block),
                len: size.into(),
            };
            // `offset` is in the last extent that begins at or before it.
            if out.size <= offset {
                (out.before, out.run) = (out.size, extent);
            }
            if size > 0 {
                out.end = out.end.max(extent.offset + extent.len);
            }
            out.size += extent.len;
            out.next += u64::from(record.len);
            if !record.is_continued() {
                break;
            }
            self.looks_left -= EXTENT_LOOK_COUNT;
        }
        let mut areas_left = AREA_COUNT_MAX;
        while let [block, offset, len @ 1..=u32::MAX] = &mut record.more {
            let at = tree.offset(*block) + u64::from(*offset);
            let len = core::mem::take(len) as usize;
            areas_left -= 1;
            if areas_left == 0 || at >= self.block.size() {
                break;
            }
            let area = self.fetch(at).map(|rest| rest.get(..len));
            match area {
                None => return Err(self.fault()),
                // As on Linux, an area that crosses the end of a sector is ignored.
                Some(None) => break,
                Some(Some(area)) => record.read(area),
            }
        }
        record.finish();
        out.id = at;
        if record.is_directory() {
            let [block, _] = record.extent;
            out.id = tree.offset(block);
        }
        Ok(())
    }

    /// Parses a record that crosses the end of a sector. Returns false if it is malformed.
    #[cold]
    fn parse_crossing(&mut self, at: u64, record: &mut DirRecord) -> FsResult<bool> {
        let mut joined = [0; 255];
        let mut len = 0;
        for at in [at, (at | (SECTOR - 1)) + 1] {
            let Some(part) = self.fetch(at) else {
                return Err(self.fault());
            };
            len = put(&mut joined, len, part);
        }
        Ok(record.parse(&joined, self.tree.skip))
    }

    /// Returns the error of a failed [`Self::fetch`].
    fn fault(&self) -> FsError {
        self.check_wait().err().unwrap_or(FsError::Io)
    }

    /// Fails if the request needs a sector that a disk of a machine without an operating system reads now.
    fn check_wait(&self) -> FsResult<()> {
        self.stop.map_or(Ok(()), Err)
    }

    /// Returns the sector that contains `at`, from there to its end. `None`: a read error, or the request's budget is used up.
    fn fetch(&mut self, at: u64) -> Option<&[u8]> {
        self.looks_left -= 1;
        self.stop = None;
        if self.looks_left < 0 {
            return None;
        }
        let (offset, start) = (at & (SECTOR - 1), at & !(SECTOR - 1));
        if self.at != start {
            self.at = NOWHERE;
            // The last sector may be shorter.
            let len = self.block.size().checked_sub(start)?.min(SECTOR) as usize;
            let (part, missing) = self.sector.split_at_mut_checked(len).filter(|_| len > 0)?;
            missing.fill(0);
            let read = self.block.read(start, part);
            self.stop = read.err().filter(|error| error.stops());
            read.ok()?;
            self.at = start;
        }
        self.sector.get(offset as usize..)
    }
}

#[cfg(test)]
mod tests;
