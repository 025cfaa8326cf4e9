//! The disk of an image, and the interface of the readers of file systems, by which [`Images`](super::Images) uses them.

mod disk;

use super::{Attr, FsResult, ObjectType};

pub use disk::{Block, Disk, Disks, sum};

/// A contiguous part of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Run {
    /// Offset in the image; [`Self::HOLE`] if the part is not stored there.
    pub offset: u64,
    /// Bytes; 0: end of the file.
    pub len: u64,
}

impl Run {
    /// Offset of a part that is not stored. It reads as zeros.
    pub const HOLE: u64 = u64::MAX;

    /// Returns true if the part is not stored.
    pub const fn is_hole(&self) -> bool {
        self.offset == Self::HOLE
    }
}

/// A directory entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Permanent ID of the object.
    pub id: u64,
    /// Inode number.
    pub inode: u64,
    /// Kind of the object. `None`: unknown until it is selected.
    pub kind: Option<ObjectType>,
    /// Cookie that continues the listing after this entry.
    pub cookie: u64,
}

/// A reader of one kind of file system. It reads the image that it was last turned to, remembers the object that was selected last
/// and the directory that was listed last, and does a bounded amount of work for each request. Object-safe.
///
/// Any method that reads can fail with `Io`: the image is damaged, or the request's budget is used up.
pub trait Volume {
    /// Begins a request: resets the number of records that it may read.
    fn reset_budget(&mut self);
    /// ID of the root directory.
    fn root(&self) -> u64;
    /// Length of the file system in bytes; 0: unknown. An image that is shorter was cut.
    fn volume_bytes(&self) -> u64;
    /// Selects the object with this ID.
    ///
    /// # Errors
    /// `Stale`: no such object.
    fn select(&mut self, id: u64) -> FsResult<()>;
    /// Attributes of the selected object, with this file system ID.
    fn attr(&self, fsid: u64) -> Attr;
    /// Target of the selected object if it is a symbolic link; empty if it cannot be read.
    fn target(&self) -> &[u8];
    /// Returns true if the content of the selected file is stored compressed. It is read as it is stored.
    fn is_compressed(&self) -> bool {
        false
    }
    /// Checks that the content of the selected file is inside the image.
    ///
    /// # Errors
    /// `Io`: it is not.
    fn check_content(&mut self) -> FsResult<()>;
    /// The contiguous part at `offset` of the selected regular file.
    ///
    /// # Errors
    /// `IsDirectory`; `Invalid`: neither file nor directory.
    fn run(&mut self, offset: u64) -> FsResult<Run>;
    /// Begins to list the selected directory after the cookie `from` (0: from the start). Selecting another object does not end
    /// the listing.
    ///
    /// # Errors
    /// `NotDirectory`.
    fn list(&mut self, from: u64) -> FsResult<()>;
    /// Reads the next entry of the listing; "." and ".." are included.
    ///
    /// # Errors
    /// `NoEntry`: the end.
    fn next(&mut self) -> FsResult<Listed>;
    /// Name of the entry read last.
    fn name(&self) -> &[u8];
    /// Finds an entry of the selected directory, and returns its object's ID. Ends the listing.
    ///
    /// # Errors
    /// `NotDirectory`; `NoEntry`.
    fn lookup(&mut self, name: &[u8]) -> FsResult<u64> {
        self.list(0)?;
        loop {
            let Listed { id, .. } = self.next()?;
            if self.name() == name {
                return Ok(id);
            }
        }
    }
}
