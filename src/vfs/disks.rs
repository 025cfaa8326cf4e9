//! Disks of a machine without an operating system. Each is exported as a read-only ISO image, whose contents are in the backend of
//! images. For clients that use paths, this backend has the root directory, which lists all exports.

use super::volume::{Disk, Disks};
use super::{
    Attr, Backend, DirEntry, ExportRoot, FileTime, FsError, FsResult, FsStat, ImageFile, Name,
    Node, ObjectType, OpenFlags, Peer, Pin, Rights, Tree, Vfs, handle,
};
use core::ffi::CStr;
use core::ops::ControlFlow;

/// The root directory.
pub(super) const TOP: Node = Node::of_number(Backend::ByPath, Rights::NONE, u16::MAX as u32);
/// Path of the root directory.
const TOP_PATH: &[u8] = b"/";

/// Tag of the first disk in handles; disk n has `TAG + n`. The same at each start.
const TAG: u32 = u32::from_le_bytes(*b"disk");

/// The backend of all disks.
pub struct MachineDisks {
    disks: &'static dyn Disks,
    clock: fn() -> FileTime,
}

impl MachineDisks {
    /// A backend for a machine's disks; `clock` returns the current time.
    pub const fn new(disks: &'static dyn Disks, clock: fn() -> FileTime) -> Self {
        Self { disks, clock }
    }

    /// The contents of a disk, to be exported.
    pub const fn export(number: u32) -> ExportRoot {
        ExportRoot::fixed(Backend::ByPath, TAG + number, true)
    }
}

/// The root directory that lists all exports: its names are the exports' paths without the leading "/".
impl Tree {
    pub(super) fn lookup_export(&mut self, name: Name<'_>) -> FsResult<Node> {
        let named = |path: &CStr| path.to_bytes().strip_prefix(TOP_PATH) == Some(name.bytes());
        let number = self.exports().iter().position(|export| named(export.path));
        self.root_for_peer(number.ok_or(FsError::NoEntry)?)
    }

    /// The top of an export with the rights of the current request's peer.
    fn root_for_peer(&mut self, number: usize) -> FsResult<Node> {
        let peer = self.peer.unwrap_or(Peer::NONE);
        let rules = self.rules(number, &peer).map_err(|_| FsError::Access)?;
        let root = self.root(number)?;
        Ok(root.limited(rules.rights()))
    }

    pub(super) fn list_exports(
        &mut self,
        from: u64,
        each: &mut dyn FnMut(&DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<bool> {
        let mut number = from as usize;
        while number < self.exports().len() {
            let attr = self.root_for_peer(number).and_then(|root| self.attr(root));
            let path = self.path(number).to_bytes();
            let name = path.strip_prefix(TOP_PATH).unwrap_or_default();
            number += 1;
            let entry = DirEntry {
                name,
                cookie: number as u64,
                inode: number as u64,
                object: attr.as_ref().ok().map(|attr| (attr, None)),
            };
            if each(&entry).is_break() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Vfs for MachineDisks {
    fn image(&mut self, dir: Node, _: Option<Name<'_>>) -> FsResult<ImageFile> {
        let number = dir.number();
        Ok(ImageFile {
            disk: Disk::new(self.disks, number as i32),
            handle: handle::root(TAG + number),
        })
    }

    fn attr(&mut self, _: Node) -> FsResult<Attr> {
        Ok(Attr {
            kind: ObjectType::Directory,
            mode: 0o555,
            nlink: 1,
            uid: 0,
            gid: 0,
            size: 0,
            used: 0,
            rdev: (0, 0),
            fsid: 0,
            inode: 0,
            atime: FileTime::default(),
            mtime: FileTime::default(),
            ctime: FileTime::default(),
        })
    }

    fn statfs(&mut self, _: Node) -> FsResult<FsStat> {
        Ok(FsStat {
            read_only: true,
            name_bytes_max: 255,
            ..FsStat::default()
        })
    }

    fn root(&mut self, tag: u32) -> FsResult<Node> {
        let number = tag.checked_sub(TAG).ok_or(FsError::Stale)?;
        Ok(Node::of_number(Backend::ByPath, Rights::NONE, number))
    }

    fn open(&mut self, handle: &[u8]) -> FsResult<Node> {
        self.root(handle::tag(handle)?)
    }

    fn root_dir(&mut self) -> FsResult<Node> {
        Ok(TOP)
    }

    fn resolve(&mut self, dir: Option<Node>, _: &[u8], _: bool) -> FsResult<Node> {
        dir.ok_or(FsError::CrossDevice)
    }

    fn open_at(&mut self, dir: Option<Node>, name: &[u8], how: &OpenFlags) -> FsResult<Pin> {
        let node = dir.ok_or(FsError::CrossDevice)?;
        match (name, how.has(OpenFlags::DIRECTORY)) {
            (b".", true) => Ok(Pin { node, user: 0 }),
            (b".", false) => Err(FsError::IsDirectory),
            // A name in the root directory is an export, so creating a name here would create an export.
            _ => Err(FsError::ReadOnly),
        }
    }

    fn clock(&mut self) -> FileTime {
        (self.clock)()
    }
}
