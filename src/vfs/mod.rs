//! File trees: the interface between the protocol engines and every kind of storage.
//!
//! A backend names an object in three ways. A [`Node`] is valid for one request. A [`Pin`] is counted and keeps the object open
//! for a transfer. A [`Handle`] is persistent: a client may use its bytes after a restart.
//! Invariant: no name, handle or symbolic link resolves to an object outside its export; a [`Name`] cannot contain a separator.
//! Engines use [`Tree`], which knows the exports, their rules and the backend of each object. Backends: `ram` (files in memory),
//! `host` (the kernel's files by handle), `user` (the kernel's files by path), `images` (contents of images, which `iso`
//! and `udf` read). Every backend implements [`Vfs`] and passes the tests of `conformance`.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(any(test, fuzzing)),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

use crate::config::{HAS_HTTP, HAS_NFS, HAS_SERVE};
use core::ffi::CStr;
use core::ops::ControlFlow;

mod access;
mod attr;
mod bridge;
#[cfg(test)]
mod conformance;
mod error;
mod handle;
pub mod host;
mod images;
pub mod iso;
mod jobs;
mod kernel;
#[cfg(bare)]
pub mod media;
mod name;
mod names;
mod node;
pub mod ram;
mod reading;
pub mod recent;
#[cfg(any(test, fuzzing))]
pub mod shared;
mod stop;
mod tree;
pub mod udf;
pub mod user;
pub mod volume;
pub mod walk;

pub use access::{Access, Caller, GROUP_COUNT_MAX, Peer, share};
pub use attr::{Attr, FileTime, FsStat, NewTime, ObjectType, SetAttr};
pub use error::{FsError, FsResult};
pub use handle::{Form, Handle};
pub use images::{ImageFile, Images};
pub use jobs::{Bytes, Ended, Extent, FileId, Job, JobId, JobKind, Scope, Submitted};
pub use name::{Name, is_image};
pub use names::{Addresses, Known, NamedPeer, Outcome};
pub use node::{Backend, Node, Pin, Rights};
pub use reading::{Client, Export, ExportRoot, Exports, HostName, Room};
pub use stop::{Patience, Stop, Until};
pub use tree::{OpenFault, Rules, Tree};

/// The object to create under a new name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreateWhat<'a> {
    /// An empty regular file.
    File,
    /// An empty directory.
    Directory,
    /// A symbolic link to this target.
    Link(&'a [u8]),
    /// A FIFO, a socket or a device, the latter with its major and minor number.
    Special(ObjectType, (u32, u32)),
}

/// How the object at the end of a path is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OpenFlags {
    /// Union of the bits that this type defines as constants.
    pub bits: u8,
    /// Mode of the regular file that is created if the path does not exist.
    pub create: Option<u32>,
}

impl OpenFlags {
    /// Open for reading or listing.
    pub const READ: u8 = 1;
    /// Open for writing.
    pub const WRITE: u8 = 2;
    /// Every write appends to the file, whatever its offset (O_APPEND).
    pub const APPEND: u8 = 4;
    /// Opens a directory; without this bit, a regular file.
    pub const DIRECTORY: u8 = 8;
    /// Sets the length to 0 (O_TRUNC).
    pub const TRUNCATE: u8 = 16;
    /// With `create`: fails if the name exists, even as a dangling symbolic link (O_EXCL).
    pub const EXCLUSIVE: u8 = 32;

    /// Returns true if one of `bits` is set.
    pub const fn has(&self, bits: u8) -> bool {
        self.bits & bits != 0
    }
}

/// One entry of a directory while it is listed.
pub struct DirEntry<'a> {
    /// The name; "." and ".." are listed too.
    pub name: &'a [u8],
    /// Cookie that continues the listing after this entry.
    pub cookie: u64,
    /// Inode number.
    pub inode: u64,
    /// Kind of the object. `None`: unknown until its attributes are read.
    pub kind: Option<ObjectType>,
    /// The backend's own number of the object, for [`Tree::entry_attr`].
    pub id: u64,
    /// Attributes, and the handle if the backend has handles. `None` if the caller did not request them, or if the object was
    /// removed or is outside the export.
    pub object: Option<(&'a Attr, Option<&'a Handle>)>,
}

/// Detail of the entries that [`Tree::readdir`] returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Detail {
    /// Names, cookies and inode numbers.
    Names,
    /// Attributes and handles too.
    Objects,
}

/// The next use of an object that is looked up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Any.
    Any,
    /// The object is read next, unless it is not a file.
    Read,
}

/// The kind of object whose name is removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An empty directory (rmdir).
    Directory,
    /// Any other object (unlink).
    Other,
}

/// Treatment of an object that already has the new name of a rename.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// The rename fails with `Exists`.
    Keep,
    /// The object is overwritten if it is of the same kind.
    Replace,
}

/// A backend: reads and changes objects. A backend has methods for its abilities, and the defaults for all others. Object-safe.
///
/// A node is valid until the request that looked it up is answered; later uses fail with `Stale`. Any method can fail with `Io`
/// (the disk failed), `TryLater` (descriptors or memory ran out for now), and `Access` or `Permission` (the host denied it).
/// Methods that change something can fail with `NoSpace` or `Quota` (the disk is full) and `ReadOnly` (the backend is read-only).
/// [`Tree`] enforces the rules of exports, not the backend.
///
/// A change is not durable when its method returns: [`sync`](Vfs::sync) makes data durable, [`Job::Sync`] everything.
pub trait Vfs {
    /// The object's current attributes.
    ///
    /// # Errors
    /// `Stale`: the object was removed.
    fn attr(&mut self, _node: Node) -> FsResult<Attr> {
        Err(FsError::Stale)
    }
    /// Looks up `name` in `dir`. Does not follow symbolic links. With [`Purpose::Read`], a file may be opened for reading at once.
    ///
    /// # Errors
    /// `NoEntry`; `NotDirectory`: `dir` is not a directory; `OtherFileSystem`: a mount point, because handles cannot name the
    /// objects of the mounted file system.
    fn lookup(&mut self, _dir: Node, _name: Name<'_>, _purpose: Purpose) -> FsResult<Node> {
        Err(FsError::Stale)
    }
    /// Attributes of the object `name` in `dir`. No node is used up. `id`: that of the entry, if [`readdir`](Self::readdir) listed it.
    ///
    /// # Errors
    /// As [`lookup`](Self::lookup).
    fn entry_attr(&mut self, dir: Node, name: Name<'_>, _id: Option<u64>) -> FsResult<Attr> {
        if !HAS_HTTP && !HAS_SERVE {
            return Err(FsError::NotSupported);
        }
        let node = self.lookup(dir, name, Purpose::Any)?;
        self.attr(node)
    }
    /// Reads a symbolic link's target, truncated to `out`. Returns the length.
    ///
    /// # Errors
    /// `Invalid`: not a symbolic link.
    fn readlink(&mut self, _node: Node, _out: &mut [u8]) -> FsResult<u32> {
        Err(FsError::Stale)
    }
    /// Calls `each` with the entries after the cookie `from` (0: from the start) until it breaks. Returns true at the end of the
    /// directory.
    ///
    /// # Errors
    /// `NotDirectory`; `BadCookie`: not a cookie of this directory.
    fn readdir(
        &mut self,
        _dir: Node,
        _from: u64,
        _detail: Detail,
        _each: &mut dyn FnMut(&DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<bool> {
        Err(FsError::Stale)
    }
    /// Space and limits of the file system of `node`.
    ///
    /// # Errors
    /// None of its own.
    fn statfs(&mut self, _node: Node) -> FsResult<FsStat> {
        Err(FsError::Stale)
    }
    /// Changes attributes. Even without a change, the next [`Job::Sync`] makes the object's attributes durable, and the names in it
    /// if it is a directory.
    ///
    /// # Errors
    /// `Invalid`: this kind of object has no such attribute; `NotSupported`: symbolic links have no mode; `TooLarge`; `Permission`:
    /// not the owner. These change nothing. After `Io` or `Quota`, some attributes may have changed.
    fn set_attr(&mut self, _node: Node, _change: &SetAttr) -> FsResult<()> {
        Err(FsError::ReadOnly)
    }
    /// Creates an object, owned by the caller. Without a mode in `change`, it has the backend's default.
    ///
    /// # Errors
    /// As [`Tree::create`].
    fn create(
        &mut self,
        _dir: Node,
        _name: Name<'_>,
        _what: CreateWhat<'_>,
        _change: &SetAttr,
    ) -> FsResult<Node> {
        Err(FsError::ReadOnly)
    }
    /// Removes the name of an object of this kind.
    ///
    /// # Errors
    /// `NoEntry`; `NotEmpty`; `NotDirectory` and `IsDirectory`: the object is not of this kind.
    fn remove(&mut self, _dir: Node, _name: Name<'_>, _kind: Kind) -> FsResult<()> {
        Err(FsError::ReadOnly)
    }
    /// Renames an object.
    ///
    /// # Errors
    /// `NoEntry`; `Exists`: the target exists, and is kept; `NotEmpty`, `NotDirectory`, `IsDirectory`: the target cannot be
    /// overwritten; `CrossDevice`: not the same file system and export; `Invalid`: a directory would be inside itself.
    fn rename(
        &mut self,
        _from: Node,
        _name: Name<'_>,
        _to: Node,
        _new_name: Name<'_>,
        _target: Target,
    ) -> FsResult<()> {
        Err(FsError::ReadOnly)
    }
    /// Creates a hard link to an object.
    ///
    /// # Errors
    /// `Exists`; `CrossDevice` as in [`rename`](Self::rename); `Permission`: the object is a directory; `TooManyLinks`.
    fn link(&mut self, _node: Node, _dir: Node, _name: Name<'_>) -> FsResult<()> {
        Err(FsError::ReadOnly)
    }
    /// Opens the file `name` in `dir`, or `dir` itself, as an image.
    ///
    /// # Errors
    /// `NotDirectory`: not a regular file, or this backend enters no images.
    fn image(&mut self, _dir: Node, _name: Option<Name<'_>>) -> FsResult<ImageFile> {
        Err(FsError::NotDirectory)
    }

    // Open files.

    /// Keeps a regular file, or without an access also a directory, open for longer than this request or while other objects are
    /// looked up. For objects that were not opened by path (see [`open_at`](Self::open_at)).
    ///
    /// # Errors
    /// As [`Tree::pin`]; `NotSupported`: this backend opens files by path only.
    fn pin(&mut self, _node: Node, _access: Option<Access>) -> FsResult<Pin> {
        Err(FsError::NotSupported)
    }
    /// Releases a pin.
    fn unpin(&mut self, _pin: Pin) {}
    /// Reads from `offset` of a pinned file into `out` (at most 2 GiB). A short count means the end of the file.
    ///
    /// # Errors
    /// `Again`: with [`Patience::Now`], a job reads the bytes into memory; the file must stay pinned until it has ended.
    fn read(
        &mut self,
        _pin: &Pin,
        _offset: u64,
        _out: &mut [u8],
        _patience: Patience,
    ) -> Result<u32, Stop> {
        Err(FsError::Stale.into())
    }
    /// The extent of at most `len` bytes at `offset` of a file that is pinned for reading. `None`: use [`read`](Self::read).
    /// If the file changes later, the extent may contain other bytes.
    fn extent(&mut self, _pin: &Pin, _offset: u64, _len: u32) -> Option<Extent> {
        None
    }
    /// Writes all of `bytes` at `offset` of a file that is pinned for writing.
    ///
    /// # Errors
    /// `TooLarge`: the offset is beyond the largest file. After any error, some bytes may be written.
    fn write(&mut self, _pin: &Pin, _offset: u64, _bytes: &[u8]) -> FsResult<()> {
        Err(FsError::ReadOnly)
    }
    /// Waits until a file's data and its name are durable.
    ///
    /// # Errors
    /// After any error, earlier WRITEs may be lost. `NotSupported`: use [`Job::Stage`] and [`Job::Sync`].
    fn sync(&mut self, _pin: &Pin) -> FsResult<()> {
        Err(FsError::NotSupported)
    }
    /// Releases resources that were not used since the last call. Returns true if a later call can release more.
    fn release_idle(&mut self) -> bool {
        false
    }

    // Exports, and objects by handle, for many callers.

    /// Opens the directory or image at `path` as the top of the export with this number, again if it was opened before. Objects of
    /// an earlier top that is not the same object are forgotten. The tag is the option `fsid`, or a hash of file system and inode.
    ///
    /// # Errors
    /// A number of [`OpenFault`], or of an errno: `OPNOTSUPP`: no kernel handles there; else those of open(2) and statx(2).
    fn open_top(&mut self, _number: usize, _path: &CStr, _rules: &Rules) -> Result<ExportRoot, u8> {
        Err(OpenFault::NOT_MOUNTED)
    }
    /// Closes the top of an export, and its objects.
    fn close_top(&mut self, _number: usize) {}
    /// A digest of the device and inode number of an object: of `dir`, else of the one at this absolute path.
    ///
    /// # Errors
    /// Those of statx(2); `Stale`: not an object of the host.
    fn digest(&mut self, _dir: Option<Node>, _path: &CStr) -> FsResult<u32> {
        Err(FsError::Stale)
    }
    /// See [`Tree::real_path`].
    fn real_path(&mut self, _number: usize, _out: &mut [u8]) -> usize {
        0
    }
    /// The top of the export with this tag; `None`: the root directory, at which absolute paths begin.
    ///
    /// # Errors
    /// `Stale`: no such export, or its directory was removed; this backend resolves no paths.
    fn root(&mut self, _tag: Option<u32>) -> FsResult<Node> {
        Err(FsError::Stale)
    }
    /// The handle of `node`.
    ///
    /// # Errors
    /// `NotSupported`: this backend has no handles.
    fn handle(&mut self, _node: Node) -> FsResult<Handle> {
        Err(FsError::NotSupported)
    }
    /// Opens the object of a handle with the server's own rights. The caller has checked that the handle's tag is that of an
    /// export.
    ///
    /// # Errors
    /// As [`Tree::open`].
    fn open(&mut self, _handle: &[u8]) -> FsResult<Node> {
        Err(FsError::Stale)
    }
    /// The parent of a directory, with the server's own rights. The top of an export is its own parent.
    ///
    /// # Errors
    /// `Stale`: the directory is not in its export any more.
    fn parent(&mut self, _dir: Node) -> FsResult<Node> {
        Err(FsError::Stale)
    }
    /// Carries out the following calls as this caller, squashed by the rules. `None`: with the rights and the umask of the server,
    /// which another backend of the process may have changed.
    fn act_as(&mut self, _caller: Option<(&Caller, &Rules)>) {}
    /// Checks that the caller has this access to the object. `inside`: the attributes of an object inside an image of this backend,
    /// which decide instead of `node`.
    ///
    /// # Errors
    /// `Access`: the caller has not.
    fn access(&mut self, _node: Node, _access: Access, inside: Option<&Attr>) -> FsResult<()> {
        inside.map(drop).ok_or(FsError::Stale)
    }
    /// UID whose access must be checked before a file is opened. `None`: no check is needed, because the kernel checks when the
    /// file is opened as the caller, or because the caller may do everything.
    fn caller(&self) -> Option<u32> {
        None
    }

    // Objects by path, for a single peer. Paths are as clients write them; [`walk`] has their rules.

    /// Writes the absolute path of the working directory, at which relative paths begin, truncated to `out`. Returns the length.
    ///
    /// # Errors
    /// `NoEntry`: the directory was removed.
    fn cwd(&mut self, _out: &mut [u8]) -> FsResult<u32> {
        Err(FsError::Stale)
    }
    /// Sets the working directory.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    fn chdir(&mut self, _dir: &'static CStr) -> FsResult<()> {
        Err(FsError::NotSupported)
    }
    /// Resolves a path through directories and symbolic links; a link at the end is followed if `follow`. With `dir`, `path` is one
    /// name in it, which is not followed ("." is `dir` itself).
    ///
    /// # Errors
    /// `NoEntry`, `NotDirectory`, `NameTooLong`; `TooManyFollowed`: a loop of links; `Invalid`: the path contains a NUL;
    /// `CrossDevice`: the backend cannot resolve this path in one call, so the tree must walk it.
    fn resolve(&mut self, _dir: Option<Node>, _path: &[u8], _follow: bool) -> FsResult<Node> {
        Err(FsError::CrossDevice)
    }
    /// The attributes of the object at the end of a path.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    fn attr_at(&mut self, _path: &[u8], _follow: bool) -> FsResult<Attr> {
        Err(FsError::CrossDevice)
    }
    /// Opens the object at the end of a path, or the name `path` in `dir`, for longer than this request.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve); `IsDirectory`, `NotDirectory`: not the kind that `how` asks for; `Exists`; `Access`: neither
    /// a regular file nor a directory.
    fn open_at(&mut self, _dir: Option<Node>, _path: &[u8], _how: &OpenFlags) -> FsResult<Pin> {
        Err(FsError::CrossDevice)
    }

    // Jobs of a backend whose files are on a disk. Others carry out every job in place.

    /// Enables workers if `watch` accepts the descriptor that is readable when [`reap`](Self::reap) has something to report.
    /// Without this call, every job is [`Submitted::Done`].
    fn start(&mut self, _watch: &mut dyn FnMut(FileId) -> bool) {}
    /// Carries out a job, or queues it for a worker. Nothing of a backend in memory waits for a disk.
    fn submit(&mut self, job: Job<'_>) -> Submitted {
        Submitted::Done(match job {
            Job::Write(file, offset, Bytes::Here(bytes)) if HAS_NFS => {
                self.write(file, offset, bytes)
            }
            Job::Write(..) => Err(FsError::NotSupported),
            Job::Stage(file) if HAS_NFS => self.sync(file),
            _ => Ok(()),
        })
    }
    /// Calls `each` for every job that has ended since the last call. Syncs are reported in the order of their numbers. With
    /// [`Patience::Forever`], sleeps until a job has ended.
    fn reap(&mut self, _patience: Patience, _each: &mut dyn FnMut(Ended)) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_traversal_are_rejected() {
        for (raw, expect) in [
            (&b""[..], Err(FsError::Access)),
            (b".", Err(FsError::Exists)),
            (b"..", Err(FsError::Exists)),
            (b"a/b", Err(FsError::Invalid)),
            (b"a\0b", Err(FsError::Invalid)),
            (&[b'x'; 256], Err(FsError::NameTooLong)),
            (&[b'x'; 255], Ok(255)),
            (b"...", Ok(3)),
        ] {
            assert_eq!(Name::new(raw).map(|name| name.bytes().len()), expect);
        }
    }

    #[test]
    fn core_types_stay_small() {
        assert_eq!(size_of::<FsResult<()>>(), 4);
        assert_eq!(size_of::<Pin>(), 8);
        let mut handle = Handle::EMPTY;
        assert!(!handle.push(&[0; 65]) && handle.push(&[1; 64]) && !handle.push(&[0]));
        assert_eq!(handle.bytes(), [1; 64]);
    }
}
