//! What is inside an image of a disk: its tree as Linux shows it, read where it lies, nothing kept.
//!
//! An entry is named for good by a number: where its directory record begins, of a directory where its extent does. Questions
//! are answered from the bytes of the image each time; beside a window onto it there is no state, and nothing grows with it.
//! Whatever the bytes are, an answer comes after a bounded amount of work.
//! Of file systems there are ISO 9660 with Rock Ridge, else with Joliet, else with plain names; of UDF only its presence.

mod disk;
mod images;
#[cfg(any(test, fuzzing))]
pub mod testing;

use super::{Attr, FileTime, FsError, FsResult, Kind, Name};
use crate::config::IMAGE_LOOK_COUNT_MAX;
use crate::mem;
use crate::wire::iso9660::{
    DESCRIPTORS_END, DESCRIPTORS_START, Descriptor, JOLIET, ROOT_OFFSET, Record, SECTOR_BYTES,
};

pub use disk::{Block, Disk, Disks, sum};
pub use images::{ImageFile, Images};

const SECTOR: u64 = SECTOR_BYTES as u64;
/// What another extent of a file counts for: of 100, as on Linux, no file is read. Where a part of it lies is looked for among
/// them each time.
const EXTENT_LOOK_COUNT: i32 = IMAGE_LOOK_COUNT_MAX / 100;
/// Areas that one entry's fields may go on in: where they go round in a circle, it ends here.
const AREA_COUNT_MAX: u32 = 32;
/// What is no place.
const NOWHERE: u64 = u64::MAX;
/// The only file of images that have all others in UDF says so.
const README: &[u8] = b"readme.txt";

/// Where bytes of a file lie one behind the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Run {
    /// Where in the image.
    pub at: u64,
    /// How many; 0: the file has ended.
    pub len: u64,
}

/// What is known of one entry.
#[derive(Debug)]
#[repr(C)]
pub struct Entry {
    /// What names it for good.
    pub id: u64,
    /// Bytes of its content.
    size: u64,
    /// Bytes of it before `run`.
    before: u64,
    /// Where bytes of it lie, if the image reaches so far.
    run: Run,
    /// Where the next record is.
    next: u64,
    record: Record,
}

impl Default for Entry {
    fn default() -> Self {
        Self::new()
    }
}

impl Entry {
    /// Zeros, which take no bytes of the file.
    pub const EMPTY: Self = Self {
        id: 0,
        size: 0,
        before: 0,
        run: Run { at: 0, len: 0 },
        next: 0,
        record: Record::new(),
    };

    /// Nothing yet.
    #[inline(never)]
    pub const fn new() -> Self {
        Self::EMPTY
    }

    /// Its name.
    pub fn name(&self) -> &[u8] {
        self.record.name.bytes()
    }

    /// A symbolic link's target.
    pub fn target(&self) -> &[u8] {
        self.record.target.bytes()
    }

    /// Whether it is the directory itself, or the one above.
    pub const fn is_dots(&self) -> bool {
        self.record.dots
    }

    /// What it is.
    pub const fn kind(&self) -> Kind {
        let [mode, ..] = self.record.posix;
        Kind::of_mode(mode)
    }

    /// Where in the image the extent ends that was asked for, or the first; 0 of one that is empty, which may be anywhere.
    pub const fn end(&self) -> u64 {
        match self.run.len {
            0 => 0,
            len => self.run.at.saturating_add(len),
        }
    }

    /// Its attributes, in a file system of this number. Those of a directory are known only after [`Image::entry`].
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
                Kind::SymbolicLink => self.record.target.len() as u64,
                _ => self.size,
            },
            used: (self.size + 511) & !511,
            rdev: self.record.device(),
            fsid,
            // As on Linux: no two records begin so near to each other.
            inode: self.id >> 5,
            atime: time(read),
            mtime: time(written),
            ctime: time(changed),
        }
    }
}

/// Where an image's tree is, and how its names are written.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    root: u64,
    skip: u16,
}

impl Layout {
    /// None.
    pub const EMPTY: Self = Self { root: 0, skip: 0 };

    /// What names the top.
    pub const fn root(&self) -> u64 {
        self.root
    }

    /// As long as nothing says more: the fields of Rock Ridge are behind what CD-ROM XA has there.
    const UNKNOWN: Self = Self { root: 0, skip: 14 };
}

/// An image.
#[repr(C)] // Frequently used fields first: small offsets make short instructions.
pub struct Image<B> {
    block: B,
    tree: Layout,
    /// The sector that was read begins here.
    at: u64,
    /// The directory that is listed.
    dir: u64,
    /// The place in it that is listed from.
    from: u64,
    /// Where the listing goes on.
    next: u64,
    /// Where it ends.
    end: u64,
    looks_left: i32,
    sector: &'static mut [u8; SECTOR_BYTES as usize],
}

impl<B: Block> Image<B> {
    /// What will [turn to](Self::turn_to) an image.
    pub fn new(block: B) -> Self {
        Self {
            block,
            tree: Layout::EMPTY,
            at: 0,
            dir: 0,
            from: 0,
            next: 0,
            end: 0,
            looks_left: 0,
            sector: mem::array(),
        }
    }

    /// Finds the tree, before anything else. `Invalid`: there is none; `NotSupported`: there is UDF instead.
    #[inline(never)]
    pub fn open(&mut self, entry: &mut Entry) -> FsResult<()> {
        self.begin();
        self.tree = Layout::UNKNOWN;
        // The first of their kinds are taken, and none once there is a better one, or behind the last, where those of an image
        // inside may be.
        let (mut next, mut udf) = (Descriptor::Primary, false);
        let mut at = DESCRIPTORS_START * SECTOR;
        // What ends before they do has none.
        while at < DESCRIPTORS_END * SECTOR && self.fetch(at).is_some() {
            match Descriptor::parse(self.sector) {
                Descriptor::Udf => udf = true,
                Descriptor::End => next = Descriptor::End,
                found if found < next || found == Descriptor::Other => {}
                found => {
                    self.read(at + ROOT_OFFSET, 0, entry)?;
                    self.tree.root = entry.id;
                    self.tree.skip = JOLIET;
                    next = Descriptor::End;
                    if found == Descriptor::Primary {
                        self.tree.skip = Layout::UNKNOWN.skip;
                        self.read(entry.id, 0, entry)?;
                        self.tree.skip = entry.record.skip.into();
                        if !entry.record.extended {
                            next = Descriptor::Joliet;
                        }
                    }
                }
            }
            at += SECTOR;
        }
        let root = self.tree.root;
        if root != 0 {
            self.entry(root, entry)?;
            self.list(0, entry)?;
        }
        // With UDF there is nothing here, or a file that says so.
        if udf && (root == 0 || self.find(README, true, entry).is_err()) {
            return Err(FsError::NotSupported);
        }
        if root == 0 {
            return Err(FsError::Invalid);
        }
        Ok(())
    }

    /// Where its tree is.
    pub const fn layout(&self) -> Layout {
        self.tree
    }

    /// Becomes another image, which was open before or will be opened. So one is enough for many.
    pub fn turn_to(&mut self, block: B, tree: Layout) {
        (self.at, self.tree) = (NOWHERE, tree);
        self.block = block;
    }

    /// What it lies on.
    pub const fn block(&mut self) -> &mut B {
        &mut self.block
    }

    /// Lets another question be asked: what is done for one is bounded.
    pub const fn begin(&mut self) {
        self.looks_left = IMAGE_LOOK_COUNT_MAX;
    }

    /// What names the top.
    pub const fn root(&self) -> u64 {
        self.tree.root
    }

    /// Reads all about what a number names. `Stale`: it names nothing; `Io`: what is there is damaged, or beyond the end.
    pub fn entry(&mut self, id: u64, out: &mut Entry) -> FsResult<()> {
        self.entry_at(id, 0, out)
    }

    /// Where the bytes of a regular file of which all is known lie from `offset` on.
    pub fn run(&mut self, offset: u64, entry: &mut Entry) -> FsResult<Run> {
        match entry.kind() {
            Kind::Regular => {}
            Kind::Directory => return Err(FsError::IsDirectory),
            _ => return Err(FsError::Invalid),
        }
        let past = offset.checked_sub(entry.before);
        if past.is_none_or(|past| past >= entry.run.len) {
            self.entry_at(entry.id, offset, entry)?;
        }
        // What was read for this offset does not begin behind it.
        let past = offset.saturating_sub(entry.before);
        let at = entry.run.at.saturating_add(past);
        let rest = self.block.size().saturating_sub(at);
        let len = entry.run.len.saturating_sub(past).min(rest);
        if len == 0 && offset < entry.size {
            return Err(FsError::Io);
        }
        Ok(Run { at, len })
    }

    /// Begins to list a directory of which all is known behind the cookie `from`, or with all when that is 0.
    #[inline(never)]
    pub fn list(&mut self, from: u64, dir: &Entry) -> FsResult<()> {
        if !dir.record.is_directory() {
            return Err(FsError::NotDirectory);
        }
        self.dir = dir.id;
        self.from = dir.id.saturating_add(from);
        // Records begin where sectors do: whatever the cookie is, the walk stays on them.
        self.next = self.from & !(SECTOR - 1);
        self.end = dir.id + dir.size;
        Ok(())
    }

    /// The next entry of the directory, "." and ".." among them. `NoEntry`: there is none.
    #[inline(never)]
    pub fn next(&mut self, out: &mut Entry) -> FsResult<()> {
        while self.next < self.end {
            self.read(self.next, 0, out)?;
            self.next = out.next;
            let record = &out.record;
            if out.next > self.from
                && !record.is_elsewhere()
                && (record.dots || Name::new(out.name()).is_ok())
            {
                return Ok(());
            }
        }
        Err(FsError::NoEntry)
    }

    /// Where the listing goes on.
    pub const fn cookie(&self) -> u64 {
        self.next - self.dir
    }

    /// The next entry of this name in the directory that is listed. `NoEntry`: there is none.
    pub fn lookup(&mut self, name: &[u8], out: &mut Entry) -> FsResult<()> {
        self.find(name, false, out)
    }

    /// The next entry of this name, or of any other but this one, "." and "..".
    #[inline(never)]
    fn find(&mut self, name: &[u8], other: bool, out: &mut Entry) -> FsResult<()> {
        loop {
            self.next(out)?;
            if (out.name() == name) != other && !(other && out.is_dots()) {
                return Ok(());
            }
        }
    }

    #[inline(never)]
    fn entry_at(&mut self, id: u64, offset: u64, out: &mut Entry) -> FsResult<()> {
        // It may come from anywhere.
        if id >= self.block.size() {
            return Err(FsError::Stale);
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

    /// Reads what the record at `at` says, and those that follow it when the file goes on in them.
    #[inline(never)]
    fn read(&mut self, at: u64, offset: u64, out: &mut Entry) -> FsResult<()> {
        (out.id, out.size, out.next) = (NOWHERE, 0, at);
        let record = &mut out.record;
        record.clear();
        let skip = self.tree.skip;
        loop {
            let rest = self.fetch(out.next).ok_or(FsError::Io)?;
            if let [0, ..] = rest {
                // There is none in the rest of the sector.
                out.next += rest.len() as u64;
                if record.is_continued() {
                    continue;
                }
                return Ok(());
            }
            if !record.begin(rest, skip) {
                return Err(FsError::Io);
            }
            let [block, size] = record.extent.map(u64::from);
            // The last that begins no later has it.
            if out.size <= offset {
                out.before = out.size;
                out.run = Run {
                    at: block * SECTOR,
                    len: size,
                };
            }
            out.size += size;
            out.next += u64::from(record.len);
            if !record.is_continued() {
                break;
            }
            self.looks_left -= EXTENT_LOOK_COUNT;
        }
        let mut areas_left = AREA_COUNT_MAX;
        while let [block, offset, len @ 1..=u32::MAX] = &mut record.more {
            let at = u64::from(*block) * SECTOR + u64::from(*offset);
            let len = core::mem::take(len) as usize;
            areas_left -= 1;
            if areas_left > 0
                && let Some(rest) = self.fetch(at)
                && let Some(area) = rest.get(..len)
            {
                record.read(area);
            } else {
                record.malformed = true;
            }
        }
        record.finish();
        out.id = at;
        if record.is_directory() {
            let [block, _] = record.extent;
            out.id = u64::from(block) * SECTOR;
        }
        Ok(())
    }

    /// The rest of the sector that a place is in.
    #[inline(never)]
    fn fetch(&mut self, at: u64) -> Option<&[u8]> {
        self.looks_left -= 1;
        if self.looks_left < 0 {
            return None;
        }
        let (offset, start) = (at & (SECTOR - 1), at & !(SECTOR - 1));
        if self.at != start {
            self.at = NOWHERE;
            self.block.read(start, self.sector).ok()?;
            self.at = start;
        }
        self.sector.get(offset as usize..)
    }
}

#[cfg(test)]
mod tests;
