//! What is inside an image of a disk: its tree as Linux shows it, read where it lies, nothing kept.
//!
//! An entry is named for good by a number: where its directory record begins, of a directory where its extent does. Questions
//! are answered from the bytes of the image each time; beside a window onto it there is no state, and nothing grows with it.
//! Whatever the bytes are, an answer comes after a bounded amount of work.
//! Of file systems there are ISO 9660 with Rock Ridge, else with Joliet, else with plain names; of UDF only its presence.

mod resolve;
#[cfg(any(test, fuzzing))]
pub mod trial;

use super::{Attr, FileTime, FsError, FsResult, Kind, Name, kernel};
use crate::config::IMAGE_WORK_BYTES;
use crate::wire::iso9660::{
    DESCRIPTOR_BYTES, DESCRIPTORS_END, DESCRIPTORS_START, Descriptor, RECORD_BYTES_MAX, Record,
    SECTOR_BYTES, top,
};

pub use super::kernel::disk::{Disk, number};

/// Something of a known size that can be read at any place.
pub trait Block {
    /// Fills `out` from `offset`; `Io` where there is not so much.
    fn read(&mut self, offset: u64, out: &mut [u8]) -> FsResult<()>;
    /// How many bytes there are.
    fn size(&self) -> u64;
}

impl Block for &[u8] {
    fn read(&mut self, offset: u64, out: &mut [u8]) -> FsResult<()> {
        let rest = usize::try_from(offset).ok().and_then(|at| self.get(at..));
        let bytes = rest.and_then(|rest| rest.get(..out.len()));
        out.copy_from_slice(bytes.ok_or(FsError::Io)?);
        Ok(())
    }

    fn size(&self) -> u64 {
        self.len() as u64
    }
}

const SECTOR: u64 = SECTOR_BYTES as u64;
/// Areas that one entry's fields may go on in: where they go round in a circle, it ends here.
const AREA_COUNT_MAX: u32 = 32;
/// What reading a few bytes counts for, so that a question that needs many of them ends too.
const WORK_BYTES_MIN: u32 = 512;
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
    /// What was asked for lies there, if the image reaches so far.
    run: Run,
    /// Where the next record is.
    next: u64,
    /// It has a place in a listing.
    shown: bool,
    record: Record,
}

impl Default for Entry {
    fn default() -> Self {
        Self::new()
    }
}

impl Entry {
    /// Zeros, which take no room in the file.
    const EMPTY: Self = Self {
        id: 0,
        size: 0,
        run: Run { at: 0, len: 0 },
        next: 0,
        shown: false,
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
        kernel::kind(mode)
    }

    /// Its attributes, without `fsid`. Those of a directory are known only after [`Image::entry`].
    pub fn attr(&self) -> Attr {
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
                Kind::SymbolicLink => self.target().len() as u64,
                _ => self.size,
            },
            used: (self.size + 511) & !511,
            rdev: (0, 0),
            fsid: 0,
            // As on Linux: no two records begin so near to each other.
            inode: self.id >> 5,
            atime: time(read),
            mtime: time(written),
            ctime: time(changed),
        }
    }
}

/// A directory while it is listed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Listing {
    dir: u64,
    at: u64,
    end: u64,
}

impl Listing {
    /// Where it goes on.
    pub const fn cookie(&self) -> u64 {
        self.at - self.dir
    }
}

/// Where an image's tree is, and how its names are written.
#[derive(Clone, Copy, Debug)]
pub struct Tree {
    root: u64,
    joliet: bool,
    skip: u8,
}

/// An image.
pub struct Image<'a, B> {
    block: B,
    tree: Tree,
    work_left: u32,
    /// A part of the image that was read begins here …
    at: u64,
    /// … and is so long.
    len: usize,
    window: &'a mut [u8],
}

impl<'a, B: Block> Image<'a, B> {
    /// What may be an image, and a few sectors of room for it.
    pub const fn new(block: B, window: &'a mut [u8]) -> Self {
        Self {
            block,
            tree: Tree {
                root: 0,
                joliet: false,
                // As long as nobody says so: behind what CD-ROM XA has there.
                skip: 14,
            },
            work_left: IMAGE_WORK_BYTES,
            at: 0,
            len: 0,
            window,
        }
    }

    /// Finds the tree, before anything else. `Invalid`: there is none; `NotSupported`: there is UDF instead.
    #[inline(never)]
    pub fn open(&mut self, entry: &mut Entry) -> FsResult<()> {
        let (mut primary, mut joliet, mut udf, mut ended) = (0, 0, false, false);
        let mut bytes = [0; DESCRIPTOR_BYTES];
        for sector in DESCRIPTORS_START..DESCRIPTORS_END {
            let at = u64::from(sector) * SECTOR;
            if at >= self.block.size() {
                break;
            }
            self.fetch(at, &mut bytes, false)?;
            let place = match Descriptor::parse(&bytes) {
                Descriptor::Udf => {
                    udf = true;
                    continue;
                }
                // Behind the last, there may be those of an image inside.
                _ if ended => continue,
                Descriptor::Primary => &mut primary,
                Descriptor::Joliet => &mut joliet,
                Descriptor::End => {
                    ended = true;
                    continue;
                }
                Descriptor::Other => continue,
            };
            if *place == 0 {
                let block = top(&bytes, &mut entry.record).ok_or(FsError::Invalid)?;
                *place = u64::from(block) * SECTOR;
            }
        }
        self.tree.root = primary;
        let mut extended = false;
        if primary != 0 {
            self.read(primary, 0, entry, false)?;
            extended = entry.record.extended;
            self.tree.skip = entry.record.skip;
        }
        if joliet != 0 && !extended {
            // Its records have no fields of ours.
            self.tree = Tree {
                root: joliet,
                joliet: true,
                skip: u8::MAX,
            };
        }
        if self.tree.root == 0 {
            return Err(if udf {
                FsError::NotSupported
            } else {
                FsError::Invalid
            });
        }
        let mut listing = Listing::default();
        self.list(self.tree.root, 0, &mut listing, entry)?;
        while udf {
            if !self.next(&mut listing, entry)? {
                return Err(FsError::NotSupported);
            }
            udf = entry.is_dots() || entry.name() == README;
        }
        Ok(())
    }

    /// Where its tree is.
    pub const fn tree(&self) -> Tree {
        self.tree
    }

    /// Becomes another image, which was open before; what it lay on. So one window is enough for many.
    pub fn turn_to(&mut self, block: B, tree: Tree) -> B {
        self.len = 0;
        self.tree = tree;
        core::mem::replace(&mut self.block, block)
    }

    /// What it lies on.
    pub const fn block(&mut self) -> &mut B {
        &mut self.block
    }

    /// What names the top.
    pub const fn root(&self) -> u64 {
        self.tree.root
    }

    /// Reads all about what a number names. `Stale`: it names nothing; `Io`: what is there is damaged, or beyond the end.
    pub fn entry(&mut self, id: u64, out: &mut Entry) -> FsResult<()> {
        self.entry_at(id, 0, out)
    }

    /// Where the bytes of a regular file lie from `offset` on; also reads all about it.
    pub fn run(&mut self, id: u64, offset: u64, out: &mut Entry) -> FsResult<Run> {
        self.entry_at(id, offset, out)?;
        match out.kind() {
            Kind::Regular => {}
            Kind::Directory => return Err(FsError::IsDirectory),
            _ => return Err(FsError::Invalid),
        }
        let rest = self.block.size().saturating_sub(out.run.at);
        out.run.len = out.run.len.min(rest);
        if out.run.len == 0 && offset < out.size {
            return Err(FsError::Io);
        }
        Ok(out.run)
    }

    /// Begins to list a directory behind the cookie `from`, or with all when that is 0. `entry` is room.
    #[inline(never)]
    pub fn list(
        &mut self,
        dir: u64,
        from: u64,
        listing: &mut Listing,
        entry: &mut Entry,
    ) -> FsResult<()> {
        self.entry(dir, entry)?;
        if entry.kind() != Kind::Directory {
            return Err(FsError::NotDirectory);
        }
        let from = dir.saturating_add(from);
        // Records begin where sectors do: whatever the cookie is, the walk stays on them.
        listing.dir = dir;
        listing.at = from & !(SECTOR - 1);
        listing.end = dir + entry.size;
        while listing.at < from && self.next(listing, entry)? {}
        if listing.at > from {
            return Err(FsError::BadCookie);
        }
        Ok(())
    }

    /// The next entry of a directory, "." and ".." among them; false: there is none.
    pub fn next(&mut self, listing: &mut Listing, out: &mut Entry) -> FsResult<bool> {
        while listing.at < listing.end {
            self.read(listing.at, 0, out, true)?;
            listing.at = out.next;
            if out.shown {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The entry of this name in a directory.
    #[inline(never)]
    pub fn lookup(&mut self, dir: u64, name: &[u8], out: &mut Entry) -> FsResult<()> {
        let mut listing = Listing::default();
        self.list(dir, 0, &mut listing, out)?;
        while self.next(&mut listing, out)? {
            if out.name() == name {
                return Ok(());
            }
        }
        Err(FsError::NoEntry)
    }

    #[inline(never)]
    fn entry_at(&mut self, id: u64, offset: u64, out: &mut Entry) -> FsResult<()> {
        self.work_left = IMAGE_WORK_BYTES;
        // It may come from anywhere.
        if id >= self.block.size() {
            return Err(FsError::Stale);
        }
        self.read(id, offset, out, false)?;
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
    fn read(&mut self, at: u64, offset: u64, out: &mut Entry, walk: bool) -> FsResult<()> {
        let mut bytes = [0; RECORD_BYTES_MAX];
        let mut size = 0;
        out.next = at;
        (out.shown, out.id) = (false, u64::MAX);
        let record = &mut out.record;
        loop {
            let rest = SECTOR - out.next % SECTOR;
            let sector = bytes.get_mut(..RECORD_BYTES_MAX.min(rest as usize));
            let sector = sector.unwrap_or_default();
            self.fetch(out.next, sector, walk)?;
            let first = out.next == at;
            if let [0, ..] = sector {
                // There is none in the rest of the sector.
                out.next += rest;
                if first {
                    return Ok(());
                }
                continue;
            }
            let formed = if first {
                record.begin(sector, self.tree.skip)
            } else {
                record.extent(sector)
            };
            if !formed {
                return Err(FsError::Io);
            }
            // The last that begins no later has it.
            if size <= offset {
                out.run.at = (u64::from(record.block) * SECTOR).wrapping_add(offset - size);
                out.run.len = (size + u64::from(record.size)).saturating_sub(offset);
            }
            size += u64::from(record.size);
            out.next += u64::from(record.len);
            if !record.is_continued() {
                break;
            }
        }
        let mut room = [0; SECTOR_BYTES as usize];
        let mut areas_left = AREA_COUNT_MAX;
        while record.more.len > 0 {
            let (block, offset) = (record.more.block, record.more.offset);
            let area = room.get_mut(offset as usize..).unwrap_or_default();
            let area = area.get_mut(..record.more.len as usize);
            let area = area.unwrap_or_default();
            record.more.len = 0;
            let at = u64::from(block) * SECTOR + u64::from(offset);
            if area.is_empty() || areas_left == 0 || self.fetch(at, area, false).is_err() {
                record.malformed = true;
                break;
            }
            areas_left -= 1;
            record.read(area);
        }
        record.finish(&bytes, self.tree.joliet);
        out.id = at;
        if record.is_directory() {
            out.id = u64::from(record.block) * SECTOR;
        }
        let named = record.dots || Name::new(record.name.bytes()).is_ok();
        out.shown = named && !record.is_elsewhere();
        out.size = size;
        Ok(())
    }

    /// Copies bytes, when walking through the window, for what comes next lies behind them.
    #[inline(never)]
    fn fetch(&mut self, at: u64, out: &mut [u8], walk: bool) -> FsResult<()> {
        let (len, mut work) = (out.len(), WORK_BYTES_MIN);
        if !walk {
            self.block.read(at, out)?;
        } else {
            if at < self.at || at + len as u64 > self.at + self.len as u64 {
                self.at = at;
                self.len = 0;
                let rest = self.block.size().saturating_sub(at);
                let len = rest.min(self.window.len() as u64) as usize;
                let room = self.window.get_mut(..len).unwrap_or_default();
                self.block.read(at, room)?;
                self.len = len;
                work += len as u32;
            }
            let bytes = self.window.get((at - self.at) as usize..);
            let bytes = bytes.unwrap_or_default().get(..len);
            out.copy_from_slice(bytes.ok_or(FsError::Io)?);
        }
        let work_left = self.work_left.checked_sub(work + len as u32);
        self.work_left = work_left.ok_or(FsError::Io)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
