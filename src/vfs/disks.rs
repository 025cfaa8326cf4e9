//! Disks of a machine without an operating system, each exported as what is inside it: a backend of which clients never see an
//! object of its own. Nothing of them is written to.

use super::iso::{Disk, Disks};
use super::{
    Access, Attr, Backend, Caller, CreateWhat, Detail, DirEntry, Extent, FsError, FsResult, FsStat,
    Handles, ImageFile, Name, Node, Pin, Rights, Rules, SetAttr, Ticket, Top, Vfs, handle,
};
use core::ops::ControlFlow;

/// The tag of the first disk in handles; the others follow. It is the same at each start.
const TAG: u32 = u32::from_le_bytes(*b"disk");

/// The disks.
pub struct MachineDisks {
    disks: &'static dyn Disks,
}

impl MachineDisks {
    /// Those of a machine.
    pub const fn new(disks: &'static dyn Disks) -> Self {
        Self { disks }
    }

    /// What is inside the disk of this number, to be exported.
    pub const fn export(number: u32) -> Top {
        Top {
            backend: Backend::Disks,
            tag: TAG + number,
            is_image: true,
            real: b"",
        }
    }
}

/// There is nothing but images.
const NOTHING: FsError = FsError::Stale;

impl Vfs for MachineDisks {
    fn as_handles(&mut self) -> Option<&mut dyn Handles> {
        Some(self)
    }

    fn image(&mut self, dir: Node, _: Option<Name<'_>>) -> FsResult<ImageFile> {
        let number = dir.number();
        Ok(ImageFile {
            disk: Disk::new(self.disks, number as i32),
            handle: handle::root(TAG + number),
        })
    }

    fn unpin(&mut self, _: Pin) {}

    fn read(&mut self, _: &Pin, _: u64, _: &mut [u8]) -> FsResult<u32> {
        Err(NOTHING)
    }

    fn extent(&mut self, _: &Pin, _: u64, _: u32) -> Option<Extent> {
        None
    }

    fn write(&mut self, _: &Pin, _: u64, _: &[u8]) -> FsResult<()> {
        Err(NOTHING)
    }

    fn write_from(&mut self, _: &Pin, _: u64, _: i32, _: usize) -> FsResult<()> {
        Err(NOTHING)
    }

    fn sync(&mut self, _: &Pin) -> FsResult<()> {
        Err(NOTHING)
    }

    fn release_idle(&mut self) -> bool {
        false
    }

    fn attr(&mut self, _: Node) -> FsResult<Attr> {
        Err(NOTHING)
    }

    fn lookup(&mut self, _: Node, _: Name<'_>) -> FsResult<Node> {
        Err(NOTHING)
    }

    fn readlink(&mut self, _: Node, _: &mut [u8]) -> FsResult<u32> {
        Err(NOTHING)
    }

    fn readdir(
        &mut self,
        _: Node,
        _: u64,
        _: Detail,
        _: &mut dyn FnMut(&DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<bool> {
        Err(NOTHING)
    }

    fn statfs(&mut self, _: Node) -> FsResult<FsStat> {
        Err(NOTHING)
    }

    fn set_attr(&mut self, _: Node, _: &SetAttr) -> FsResult<()> {
        Err(NOTHING)
    }

    fn remove(&mut self, _: Node, _: Name<'_>, _: bool) -> FsResult<()> {
        Err(NOTHING)
    }

    fn rename(&mut self, _: Node, _: Name<'_>, _: Node, _: Name<'_>, _: bool) -> FsResult<()> {
        Err(NOTHING)
    }

    fn link(&mut self, _: Node, _: Node, _: Name<'_>) -> FsResult<()> {
        Err(NOTHING)
    }
}

impl Handles for MachineDisks {
    fn root(&mut self, tag: u32) -> FsResult<Node> {
        let number = tag.checked_sub(TAG).ok_or(NOTHING)?;
        Ok(Node::of_number(Backend::Disks, Rights::NONE, number))
    }

    fn open(&mut self, handle: &[u8]) -> FsResult<Node> {
        self.root(handle::tag(handle)?)
    }

    fn parent(&mut self, _: Node) -> FsResult<Node> {
        Err(NOTHING)
    }

    fn act_as(&mut self, _: Option<(&Caller, &Rules)>) {}

    fn access(&mut self, _: Node, _: Access) -> FsResult<()> {
        Err(NOTHING)
    }

    fn create(&mut self, _: Node, _: Name<'_>, _: CreateWhat<'_>, _: &SetAttr) -> FsResult<Node> {
        Err(NOTHING)
    }

    fn commit(&mut self, _: bool) -> FsResult<Option<Ticket>> {
        Ok(None)
    }
}
