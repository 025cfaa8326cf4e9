//! Reader of UDF images: the tree as Linux shows it, read from the image for each request without a cache.
//!
//! An object's permanent ID is the place of its ICB: a partition and a block in it. The only state is a few windows of the image, so
//! memory does not grow with the image. Each request does a bounded amount of work, whatever the image contains.

mod open;
mod space;
#[cfg(any(test, fuzzing))]
pub mod testing;
mod window;

use super::volume::{Block, Listed, Run, Volume};
use super::walk::put;
use super::{Attr, FileTime, FsError, FsResult, ObjectType};
use crate::config::{IMAGE_LOOK_COUNT_MAX, UDF_ICB_COUNT_MAX};
use crate::mem::{self, Ends as _};
use crate::wire::udf::{self, FileEntry, NAME_BYTES_MAX, NameEntry, Place};

pub use open::Layout;
use space::{Content, Cursor};
use window::Window;

/// Size of a window of file entries and descriptors (bytes): several blocks, because the file entries of a directory are often
/// contiguous.
const NODES_BYTES: usize = 16 << 10;
/// Size of the part of a directory in memory (bytes). Larger than two entries, which are at most as long as a block.
const PAGE_BYTES: usize = 8 << 10;
/// Maximum length of a symbolic link's target on Linux (bytes).
const TARGET_BYTES_MAX: usize = 4095;
/// Cookie of the entry ".", which is not stored.
const DOT: u64 = 1;

/// A file whose content is read.
#[derive(Clone, Copy, Default)]
struct Open {
    id: u64,
    /// Block of the image in which the ICB is.
    inode: u64,
    content: Content,
    cursor: Cursor,
}

/// A reader of images. One serves many: see [`switch_to`](Self::switch_to).
#[repr(C)] // Frequently used fields first: small offsets make short instructions.
pub struct Reader<B> {
    block: B,
    looks_left: i32,
    /// Length of `name`, and of `target`.
    name_len: usize,
    target_len: usize,
    /// Offset in the directory of the next entry, and the cookie after which the listing began.
    next: u64,
    from: u64,
    /// Offset in the directory of the bytes in `page`, and their count.
    page_at: u64,
    page_len: usize,
    /// Block and place in the image of the metadata partition's extent that was used last.
    extent: (u32, Run),
    /// The object selected last, and its ICB.
    file: Open,
    entry: FileEntry,
    /// The directory that is listed.
    dir: Open,
    layout: Layout,
    /// File entries and allocation descriptors.
    nodes: Window,
    /// Tables of partitions.
    tables: Window,
    page: &'static mut [u8; PAGE_BYTES],
    name: &'static mut [u8; NAME_BYTES_MAX],
    target: &'static mut [u8; TARGET_BYTES_MAX],
}

const fn id_of(place: Place) -> u64 {
    (place.partition as u64) << 32 | place.block as u64
}

const fn place_of(id: u64) -> Place {
    Place {
        partition: (id >> 32) as u16,
        block: id as u32,
    }
}

impl<B: Block> Reader<B> {
    /// A reader. Call [`open`](Self::open) or [`switch_to`](Self::switch_to) before other methods.
    pub fn new(block: B) -> Self {
        Self {
            block,
            looks_left: 0,
            name_len: 0,
            target_len: 0,
            next: 0,
            from: 0,
            page_at: 0,
            page_len: 0,
            extent: (0, Run::default()),
            file: Open::default(),
            entry: FileEntry::default(),
            dir: Open::default(),
            layout: Layout::EMPTY,
            nodes: Window::new(NODES_BYTES),
            tables: Window::new(udf::BLOCK_BYTES_MAX),
            page: mem::array(),
            name: mem::array(),
            target: mem::array(),
        }
    }

    /// The layout of the image that was opened last, for [`switch_to`](Self::switch_to).
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Switches to another image. `layout` is that after [`open`](Self::open).
    pub fn switch_to(&mut self, block: B, layout: &Layout) {
        self.layout = *layout;
        self.replace_block(block);
    }

    /// Replaces the storage, and forgets the bytes read from the one before.
    fn replace_block(&mut self, block: B) {
        self.block = block;
        self.nodes.forget();
        self.tables.forget();
        (self.page_len, self.extent) = (0, (0, Run::default()));
    }

    /// Counts a step of a request.
    ///
    /// # Errors
    /// `Io`: the request's budget is used up.
    fn look(&mut self) -> FsResult<()> {
        self.looks_left -= 1;
        if self.looks_left < 0 {
            return Err(FsError::Io);
        }
        Ok(())
    }

    /// Reads a file entry, the newest of a chain, and returns its content.
    fn read_entry(&mut self, mut place: Place) -> FsResult<Content> {
        for _ in 0..UDF_ICB_COUNT_MAX {
            let at = self.resolve(place, false)?.offset;
            let unit = self.layout.block_bytes();
            let block = self.nodes.fetch(&mut self.block, at, unit)?;
            let entry = FileEntry::parse(block, place.block).ok_or(FsError::Io)?;
            self.entry = entry;
            self.look()?;
            let next = Place {
                block: place.block.wrapping_add(1),
                ..place
            };
            if entry.is_old
                && let Ok(Run { offset, .. }) = self.resolve(next, false)
                && let Some(newer) = udf::indirect_entry(
                    self.nodes.fetch(&mut self.block, offset, unit)?,
                    next.block,
                )
            {
                place = newer;
                continue;
            }
            let (start, len) = entry.descriptors;
            return Ok(Content {
                at: at + u64::from(start),
                len,
                form: entry.form,
                partition: place.partition,
                size: entry.size,
            });
        }
        Err(FsError::Io)
    }

    /// Reads the target of the symbolic link that was selected.
    fn read_target(&mut self) -> FsResult<()> {
        let run = self.find_in_file(0)?;
        let bytes = match run.len {
            // Linux reads one block.
            len if len < self.file.content.size => return Err(FsError::Io),
            0 => &[],
            _ => {
                let unit = self.layout.block_bytes();
                self.nodes.fetch(&mut self.block, run.offset, unit)?
            }
        };
        let components = bytes.head(run.len as usize);
        if components.len() as u64 != run.len {
            return Err(FsError::NameTooLong);
        }
        let len = udf::target(components, self.target);
        self.target_len = len.ok_or(FsError::Io)?;
        Ok(())
    }

    /// The contiguous part at `offset` of the selected file.
    fn find_in_file(&mut self, offset: u64) -> FsResult<Run> {
        let Open {
            content,
            mut cursor,
            ..
        } = self.file;
        let run = self.find(&content, &mut cursor, offset, false);
        self.file.cursor = cursor;
        run
    }

    /// Reads the part of the directory that begins at `at` into `page`.
    fn read_page(&mut self, at: u64) -> FsResult<()> {
        let Open {
            content,
            mut cursor,
            ..
        } = self.dir;
        (self.page_at, self.page_len) = (at, 0);
        loop {
            let offset = at.saturating_add(self.page_len as u64);
            let run = match self.find(&content, &mut cursor, offset, false) {
                // An error is reported once the listing is there.
                Err(error) if self.page_len == 0 || error.stops() => return Err(error),
                Err(_) => break,
                Ok(run) => run,
            };
            let space = self.page.tail_mut(self.page_len);
            let len = run.len.min(space.len() as u64) as usize;
            if len == 0 || run.is_hole() {
                break;
            }
            self.block.read(run.offset, space.head_mut(len))?;
            self.page_len += len;
        }
        self.dir.cursor = cursor;
        Ok(())
    }

    /// Makes the directory entry at `next` available. Returns its offset in the page. `None`: the end of the directory.
    fn find_entry(&mut self) -> FsResult<Option<usize>> {
        if self.next >= self.dir.content.size {
            return Ok(None);
        }
        self.look()?;
        let past = self.next.wrapping_sub(self.page_at).min(PAGE_BYTES as u64);
        let rest = self.page.head(self.page_len).tail(past as usize);
        if rest.len() < NameEntry::len(rest) && (past > 0 || rest.is_empty()) {
            self.read_page(self.next)?;
        }
        Ok(Some((self.next - self.page_at) as usize))
    }

    /// The inode number of an object: the block of its ICB, as on Linux.
    fn inode_of(&mut self, place: Place) -> FsResult<u64> {
        match self.resolve(place, false) {
            Err(error) if error.stops() => Err(error),
            run => Ok(run.map_or(u32::MAX.into(), |run| run.offset >> self.layout.shift)),
        }
    }
}

impl<B: Block> Volume for Reader<B> {
    fn reset_budget(&mut self) {
        self.looks_left = IMAGE_LOOK_COUNT_MAX;
    }

    fn root(&self) -> u64 {
        self.layout.root()
    }

    fn volume_bytes(&self) -> u64 {
        self.layout.volume_bytes()
    }

    fn select(&mut self, id: u64) -> FsResult<()> {
        let place = place_of(id);
        if !self.layout.contains(place) {
            return Err(FsError::Stale);
        }
        let inode = self.inode_of(place)?;
        let content = self.read_entry(place)?;
        if self.entry.links == 0 {
            return Err(FsError::Stale);
        }
        self.file = Open {
            id,
            inode,
            cursor: content.start(),
            content,
        };
        if ObjectType::of_mode(self.entry.mode) == ObjectType::SymbolicLink {
            self.read_target()?;
        }
        Ok(())
    }

    fn attr(&self, fsid: u64) -> Attr {
        let entry = &self.entry;
        let [changed, written, read] = entry.times.map(|(secs, nanos)| FileTime { secs, nanos });
        let kind = ObjectType::of_mode(entry.mode);
        let stored = entry.block_count << self.layout.shift;
        Attr {
            kind,
            mode: entry.mode & 0o7777,
            // The entry ".." of a directory is not counted in the image for the directory itself.
            nlink: entry.links + u32::from(kind == ObjectType::Directory),
            uid: entry.uid,
            gid: entry.gid,
            size: match kind {
                ObjectType::SymbolicLink => self.target_len as u64,
                _ => entry.size,
            },
            used: stored,
            rdev: entry.device,
            fsid,
            inode: self.file.inode,
            atime: read,
            mtime: written,
            ctime: changed,
        }
    }

    fn target(&self) -> &[u8] {
        self.target.head(self.target_len)
    }

    fn check_content(&mut self) -> FsResult<()> {
        let content = self.file.content;
        self.check_extents(&content)
    }

    fn run(&mut self, offset: u64) -> FsResult<Run> {
        match ObjectType::of_mode(self.entry.mode) {
            ObjectType::Regular => self.find_in_file(offset),
            ObjectType::Directory => Err(FsError::IsDirectory),
            _ => Err(FsError::Invalid),
        }
    }

    fn list(&mut self, from: u64) -> FsResult<()> {
        if ObjectType::of_mode(self.entry.mode) != ObjectType::Directory {
            return Err(FsError::NotDirectory);
        }
        if self.dir.id != self.file.id {
            self.page_len = 0;
        }
        self.dir = self.file;
        (self.from, self.next) = (from, 0);
        if from > DOT {
            self.next = from;
            // The cookie may be made up: only an intact entry is read as one.
            if let Some(past) = self.find_entry()?
                && !NameEntry::is_intact(self.page.head(self.page_len).tail(past))
            {
                self.next = 0;
            }
        }
        Ok(())
    }

    fn next(&mut self) -> FsResult<Listed> {
        if self.from < DOT {
            self.from = DOT;
            self.name_len = put(self.name, 0, b".");
            return Ok(Listed {
                id: self.dir.id,
                inode: self.dir.inode,
                kind: Some(ObjectType::Directory),
                cookie: DOT,
            });
        }
        loop {
            let past = self.find_entry()?.ok_or(FsError::NoEntry)?;
            let bytes = self.page.head(self.page_len).tail(past);
            let entry = NameEntry::parse(bytes).ok_or(FsError::Io)?;
            self.next += NameEntry::len(bytes) as u64;
            if entry.is_absent || self.next <= self.from {
                continue;
            }
            let (place, is_directory) = (entry.icb, entry.is_directory);
            self.name_len = match entry.is_parent {
                true => put(self.name, 0, b".."),
                false => udf::decode(entry.name, self.name),
            };
            return Ok(Listed {
                id: id_of(place),
                inode: self.inode_of(place)?,
                kind: is_directory.then_some(ObjectType::Directory),
                cookie: self.next,
            });
        }
    }

    fn name(&self) -> &[u8] {
        self.name.head(self.name_len)
    }
}

#[cfg(test)]
mod tests;
