//! The reader of ISO 9660 images, with the entries that it has read last.

use super::super::volume::{Disk, Listed, Run, Volume};
use super::super::{Attr, FsError, FsResult};
use super::{Block as _, Image, IsoEntry, Layout};
use crate::mem;

/// A reader of images. One serves many: see [`switch_to`](Self::switch_to).
#[repr(C)] // Frequently used fields first: small offsets make short instructions.
pub struct Reader {
    /// The object selected last.
    entry: &'static mut IsoEntry,
    /// The directory entry read last.
    listed: &'static mut IsoEntry,
    image: Image<Disk>,
}

/// A reader that was turned to no image yet.
impl Default for Reader {
    fn default() -> Self {
        Self {
            entry: mem::leak(IsoEntry::EMPTY),
            listed: mem::leak(IsoEntry::EMPTY),
            image: Image::new(Disk::NONE),
        }
    }
}

impl Reader {
    /// Finds the file system of an image and selects its root directory.
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn open(&mut self, disk: Disk) -> FsResult<()> {
        self.image.switch_to(disk, Layout::EMPTY);
        self.image.open(self.entry)?;
        self.select(self.image.root())
    }

    /// The image's layout, for [`switch_to`](Self::switch_to).
    pub const fn layout(&self) -> Layout {
        self.image.layout()
    }

    /// Returns true if the selected root directory says that the tree has Rock Ridge.
    pub const fn has_rock_ridge(&self) -> bool {
        self.entry.record.extended
    }

    /// Switches to another image.
    pub fn switch_to(&mut self, disk: Disk, layout: Layout) {
        self.image.switch_to(disk, layout);
    }
}

impl Volume for Reader {
    fn reset_budget(&mut self) {
        self.image.reset_budget();
    }

    fn root(&self) -> u64 {
        self.image.root()
    }

    fn volume_bytes(&self) -> u64 {
        self.image.layout().bytes
    }

    fn select(&mut self, id: u64) -> FsResult<()> {
        self.image.entry(id, self.entry)
    }

    fn attr(&self, fsid: u64) -> Attr {
        self.entry.attr(fsid)
    }

    fn target(&self) -> &[u8] {
        self.entry.target()
    }

    fn is_compressed(&self) -> bool {
        self.entry.is_compressed()
    }

    fn check_content(&mut self) -> FsResult<()> {
        if self.entry.end() > self.image.block().size() {
            return Err(FsError::Io);
        }
        Ok(())
    }

    fn run(&mut self, offset: u64) -> FsResult<Run> {
        self.image.run(offset, self.entry)
    }

    fn list(&mut self, from: u64) -> FsResult<()> {
        self.image.list(from, self.entry)
    }

    fn next(&mut self) -> FsResult<Listed> {
        self.image.next(self.listed)?;
        Ok(Listed {
            id: self.listed.id,
            // As on Linux. Unique, because a record is longer than 32 bytes.
            inode: self.listed.id >> 5,
            kind: Some(self.listed.kind()),
            cookie: self.image.cookie(),
        })
    }

    fn name(&self) -> &[u8] {
        self.listed.name()
    }

    fn lookup(&mut self, name: &[u8]) -> FsResult<u64> {
        self.image.list(0, self.entry)?;
        self.image.lookup(name, self.listed)?;
        Ok(self.listed.id)
    }
}
