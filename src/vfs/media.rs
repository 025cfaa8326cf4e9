//! Disks of a machine without an operating system. Each is exported as a read-only image, whose contents are in the backend of
//! images.

use super::volume::{Disk, Disks};
use super::{Backend, ExportRoot, FsError, FsResult, ImageFile, Name, Node, Rights, Vfs, handle};

/// Tag of the first disk in handles; disk n has `TAG + n`. The same at each start.
const TAG: u32 = u32::from_le_bytes(*b"disk");

/// The backend of all disks.
pub struct Media {
    disks: &'static dyn Disks,
}

impl Media {
    /// A backend for a machine's disks.
    pub const fn new(disks: &'static dyn Disks) -> Self {
        Self { disks }
    }

    /// The contents of a disk, to be exported.
    pub const fn export(number: u32) -> ExportRoot {
        ExportRoot::fixed(Backend::Media, TAG + number, true)
    }
}

impl Vfs for Media {
    fn image(&mut self, dir: Node, _: Option<Name<'_>>) -> FsResult<ImageFile> {
        let number = dir.number();
        Ok(ImageFile {
            disk: Disk::new(self.disks, number as i32),
            handle: handle::root(TAG + number),
        })
    }

    fn root(&mut self, tag: Option<u32>) -> FsResult<Node> {
        let number = tag
            .and_then(|tag| tag.checked_sub(TAG))
            .ok_or(FsError::Stale)?;
        Ok(Node::of_number(Backend::Media, Rights::NONE, number))
    }

    fn open(&mut self, handle: &[u8]) -> FsResult<Node> {
        self.root(Some(handle::tag(handle)?))
    }
}
