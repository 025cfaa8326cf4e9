//! Trees: the one way to files, whatever they lie on.
//!
//! A backend hands out three names for an object. A [`Node`] is valid for one request. A [`Pin`] is counted and keeps the
//! object open for an order. A [`Handle`] lasts: it is bytes that a client may bring back after a restart.
//! Invariant: no name, handle or symbolic link leads outside an export; a path with a separator cannot be written down.
//! [`Tree`] is what engines see: exports, their rules, and the backend of each object. `ram` is files in memory, `host` the kernel's
//! files by handles, `user` the same by paths, `iso` what is inside images, `conformance` the tests that every backend passes.

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

use core::ffi::CStr;
use core::ops::ControlFlow;

mod access;
mod attr;
mod by_handle;
mod by_path;
#[cfg(test)]
mod conformance;
#[cfg(bare)]
pub mod disks;
mod error;
mod exports;
mod handle;
pub mod host;
pub mod iso;
mod jobs;
mod kernel;
mod name;
mod node;
pub mod ram;
#[cfg(any(test, fuzzing))]
pub mod shared;
pub mod user;
pub mod walk;

pub use access::{Access, Caller, GROUP_COUNT_MAX};
pub use attr::{Attr, FileTime, FsStat, Kind, NewTime, SetAttr};
pub use error::{FsError, FsResult};
pub use exports::{Export, Rules, Top, Tree};
pub use handle::Handle;
pub use iso::{ImageFile, Images};
pub use jobs::{Bytes, Ended, Extent, FileId, Job, JobId, JobKind, Scope, Storage, Submitted};
pub use name::{Name, is_image};
pub use node::{Backend, Node, Pin, Rights};

/// What a new name is to stand for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreateWhat<'a> {
    /// An empty regular file.
    File,
    /// An empty directory.
    Directory,
    /// A symbolic link to this target.
    Link(&'a [u8]),
    /// A FIFO, a socket or a device, the latter with its major and minor number.
    Special(Kind, (u32, u32)),
}

/// How the object at the end of a path is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OpenFlags {
    /// What for: the bits below.
    pub how: u8,
    /// An empty regular file is made with this mode if nothing is there.
    pub create: Option<u32>,
}

impl OpenFlags {
    /// To be read, or listed.
    pub const READ: u8 = 1;
    /// To be written to.
    pub const WRITE: u8 = 2;
    /// Everything is written to its end, whatever the offset.
    pub const APPEND: u8 = 4;
    /// It must be a directory, else it must be a regular file.
    pub const DIRECTORY: u8 = 8;
    /// What was in it is cut off.
    pub const TRUNCATE: u8 = 16;
    /// If it is made, nothing may be there, not even a symbolic link that leads nowhere.
    pub const EXCLUSIVE: u8 = 32;

    /// Whether it is opened for one of these.
    pub const fn has(&self, bits: u8) -> bool {
        self.how & bits != 0
    }
}

/// One entry of a directory while it is listed.
pub struct DirEntry<'a> {
    /// The name; "." and ".." are listed too.
    pub name: &'a [u8],
    /// Where the listing goes on after this entry.
    pub cookie: u64,
    /// Inode number.
    pub inode: u64,
    /// Attributes, and the handle if the backend has handles, if they were asked for and the object is still there and within
    /// the export.
    pub object: Option<(&'a Attr, Option<&'a Handle>)>,
}

/// How much [`Tree::readdir`] tells of each entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Detail {
    /// Names, cookies and inode numbers.
    Names,
    /// Attributes and handles too.
    Objects,
}

/// A backend: its objects, what is read of them and changed, whatever they were named by. Object-safe.
///
/// A node is valid until the request that it came from is answered; one that is not any more is `Stale`. Any method
/// fails with `Io` where the disk does, with `TryLater` where descriptors or memory ran out for now, and where the host checks
/// rights with `Access` or `Permission`. What changes something fails with `NoSpace` or `Quota` where the disk is full, and
/// with `ReadOnly` where nothing can be changed; the rules of exports are the tree's business.
///
/// No change is durable at once: data is after [`sync`](Vfs::sync), everything after [`Job::Sync`].
pub trait Vfs {
    /// This backend, if its objects have handles.
    fn as_handles(&mut self) -> Option<&mut dyn Handles> {
        None
    }
    /// This backend, if its files lie on a disk.
    fn as_storage(&mut self) -> Option<&mut dyn Storage> {
        None
    }
    /// This backend, if it is that of images.
    fn as_images(&mut self) -> Option<&mut Images> {
        None
    }
    /// This backend, if paths lead through it.
    fn as_paths(&mut self) -> Option<&mut dyn Paths> {
        None
    }
    /// Opens the file of this name in `dir`, or `dir` itself, to be read as an image.
    ///
    /// # Errors
    /// `NotDirectory`: it is no regular file, or nothing here is entered.
    fn image(&mut self, _dir: Node, _name: Option<Name<'_>>) -> FsResult<ImageFile> {
        Err(FsError::NotDirectory)
    }
    /// The handle that names `node`, if it has one.
    ///
    /// # Errors
    /// `NotSupported`: there are none here.
    fn handle(&mut self, _node: Node) -> FsResult<Handle> {
        Err(FsError::NotSupported)
    }
    /// Keeps a regular file that was found otherwise than by its path open for longer than this request.
    ///
    /// # Errors
    /// As [`Tree::pin`]; `NotSupported`: files are opened by their paths here.
    fn pin(&mut self, _node: Node, _access: Option<Access>) -> FsResult<Pin> {
        Err(FsError::NotSupported)
    }
    /// Gives a pin back.
    fn unpin(&mut self, pin: Pin);
    /// Fills `out`, at most 2 GiB, from `offset` of a file that was pinned for it; fewer bytes mean the end of the file.
    ///
    /// # Errors
    /// None of its own.
    fn read(&mut self, pin: &Pin, offset: u64, out: &mut [u8]) -> FsResult<u32>;
    /// As [`read`](Self::read), where that waits for no disk.
    ///
    /// # Errors
    /// `TryLater`: it would have to wait; [`Job::Read`] waits instead.
    fn read_cached(&mut self, pin: &Pin, offset: u64, out: &mut [u8]) -> FsResult<u32> {
        self.read(pin, offset, out)
    }
    /// Where at most `len` bytes from `offset` on of a file that was pinned to be read lie; `None`: only [`read`](Self::read) knows.
    /// Nothing is promised of what lies there once the file was changed.
    fn extent(&mut self, _pin: &Pin, _offset: u64, _len: u32) -> Option<Extent> {
        None
    }
    /// Writes all of `bytes` at `offset` of a file that was pinned for it.
    ///
    /// # Errors
    /// `TooLarge`: no file reaches so far. After any some may be written.
    fn write(&mut self, pin: &Pin, offset: u64, bytes: &[u8]) -> FsResult<()>;
    /// Waits until the data of a file, and its name, are durable.
    ///
    /// # Errors
    /// After any, earlier WRITEs may be lost. `NotSupported`: use [`Storage::stage`] and [`Job::Sync`].
    fn sync(&mut self, _pin: &Pin) -> FsResult<()> {
        Err(FsError::NotSupported)
    }
    /// Lets go of what was not used since the last call. True: there is more to let go of later.
    fn release_idle(&mut self) -> bool;
    /// The object's attributes, as they are now.
    ///
    /// # Errors
    /// `Stale`: it has no name any more.
    fn attr(&mut self, node: Node) -> FsResult<Attr>;
    /// The object of this name in `dir`. A symbolic link is itself.
    ///
    /// # Errors
    /// `NoEntry`; `NotDirectory`: `dir` is none; `OtherFileSystem`: another one is mounted there, which a handle cannot name.
    fn lookup(&mut self, dir: Node, name: Name<'_>) -> FsResult<Node>;
    /// Returns true unless `dir` has no such name: also if the caller may not see it.
    fn has_name(&mut self, dir: Node, name: Name<'_>) -> bool {
        self.lookup(dir, name) != Err(FsError::NoEntry)
    }
    /// A symbolic link's target, cut to `out`; its length.
    ///
    /// # Errors
    /// `Invalid`: it is no symbolic link.
    fn readlink(&mut self, node: Node, out: &mut [u8]) -> FsResult<u32>;
    /// Calls `each` with the entries that follow the cookie `from` (0: all) until it breaks. True: that was the last.
    ///
    /// # Errors
    /// `NotDirectory`; `BadCookie`: this directory never gave it.
    fn readdir(
        &mut self,
        dir: Node,
        from: u64,
        detail: Detail,
        each: &mut dyn FnMut(&DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<bool>;
    /// How full the file system of `node` is.
    ///
    /// # Errors
    /// None of its own.
    fn statfs(&mut self, node: Node) -> FsResult<FsStat>;
    /// Changes attributes, perhaps none: they and, of a directory, its names are what the next [`Job::Sync`] makes durable.
    ///
    /// # Errors
    /// `Invalid`: this kind of object has no such attribute; `TooLarge`. After any some may be changed.
    fn set_attr(&mut self, node: Node, change: &SetAttr) -> FsResult<()>;
    /// Removes a name: that of an empty directory if `directory`, else that of anything else.
    ///
    /// # Errors
    /// `NoEntry`; `NotEmpty`; `NotDirectory` and `IsDirectory`: it is the name of the other.
    fn remove(&mut self, dir: Node, name: Name<'_>, directory: bool) -> FsResult<()>;
    /// Gives an object another name, which is taken from another object of its kind if `replace`.
    ///
    /// # Errors
    /// `NoEntry`; `Exists`: there is such a name and it is not to be replaced; `NotEmpty`, `NotDirectory`, `IsDirectory`: it cannot
    /// be; `CrossDevice`: the directories have no file system or no export in common; `Invalid`: a directory would be inside itself.
    fn rename(
        &mut self,
        from: Node,
        name: Name<'_>,
        to: Node,
        new_name: Name<'_>,
        replace: bool,
    ) -> FsResult<()>;
    /// Gives an object one more name.
    ///
    /// # Errors
    /// `Exists`; `CrossDevice` as in [`rename`](Self::rename); `Permission`: it is a directory; `TooManyLinks`.
    fn link(&mut self, node: Node, dir: Node, name: Name<'_>) -> FsResult<()>;
}

/// What a [`Vfs`] has besides whose objects are named by handles, for callers that differ: what NFS needs. Object-safe. Where [`Tree`] has a
/// method of the same name and says nothing else here, that tells what it does.
pub trait Handles {
    /// The top of the export with this tag.
    ///
    /// # Errors
    /// `Stale`: there is no such export, or its directory is gone.
    fn root(&mut self, tag: u32) -> FsResult<Node>;
    /// The object that a handle names, whose tag is that of an export. As the server itself.
    ///
    /// # Errors
    /// As [`Tree::open`].
    fn open(&mut self, handle: &[u8]) -> FsResult<Node>;
    /// The directory that a directory lies in; of an export's top that itself. As the server itself.
    ///
    /// # Errors
    /// `Stale`: it does not lie in its export any more.
    fn parent(&mut self, dir: Node) -> FsResult<Node>;
    /// What follows is done as this caller, if the rules believe it; `None`: as the server itself.
    fn act_as(&mut self, caller: Option<(&Caller, &Rules)>);
    /// Whether the caller may use the object so.
    ///
    /// # Errors
    /// `Access`: it may not.
    fn access(&mut self, node: Node, access: Access) -> FsResult<()>;
    /// Whether the caller may use an object with these attributes so, which lies inside an image in this backend.
    ///
    /// # Errors
    /// `Access`: it may not.
    fn access_by_mode(&mut self, _attr: &Attr, _access: Access) -> FsResult<()> {
        Ok(())
    }
    /// The user whose rights are to be asked for before something is opened; `None`: what is opened is opened as the caller, or
    /// the caller may all.
    fn caller(&self) -> Option<u32> {
        None
    }
    /// Makes an object that was not there.
    ///
    /// # Errors
    /// As [`Tree::create`].
    fn create(
        &mut self,
        dir: Node,
        name: Name<'_>,
        what: CreateWhat<'_>,
        change: &SetAttr,
    ) -> FsResult<Node>;
}

/// What a [`Vfs`] has besides whose objects are named by paths, for one peer: what SFTP needs. Object-safe. Paths are as clients write them;
/// [`walk`] has their rules.
pub trait Paths {
    /// What follows is done as the process itself and with this backend's umask: another backend of the process may have left
    /// others.
    fn begin(&mut self) {}
    /// The absolute path of the root directory: absolute paths begin with it, and outside of it there is nothing.
    fn root_path(&self) -> &'static [u8];
    /// The root directory.
    ///
    /// # Errors
    /// None of its own.
    fn root_dir(&mut self) -> FsResult<Node>;
    /// The absolute path of the working directory, which all paths begin with that are not absolute, cut to `out`; its length.
    ///
    /// # Errors
    /// `NoEntry`: it was removed.
    fn cwd(&mut self, out: &mut [u8]) -> FsResult<u32>;
    /// Has relative paths begin at the directory `dir`.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    fn chdir(&mut self, dir: &'static CStr) -> FsResult<()>;
    /// The object at the end of a path, through directories and symbolic links; a link at the end is followed if `follow`. Or
    /// that of a name in `dir`, where nothing is followed and "." is `dir` itself.
    ///
    /// # Errors
    /// `NoEntry`, `NotDirectory`, `NameTooLong`; `TooManyFollowed`: links lead to links without end; `Invalid`: there is a NUL in it;
    /// `CrossDevice`: where this path leads the backend does not know by itself, so that it has to be walked.
    fn resolve(&mut self, dir: Option<Node>, path: &[u8], follow: bool) -> FsResult<Node>;
    /// The attributes of the object at the end of a path.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    fn attr_at(&mut self, path: &[u8], follow: bool) -> FsResult<Attr>;
    /// Opens the object at the end of a path, or of a name in `dir`, for longer than this request.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve); `IsDirectory`, `NotDirectory`: `how` wants the other; `Exists`; `Access`: it is neither a file
    /// nor a directory.
    fn open_at(&mut self, dir: Option<Node>, path: &[u8], how: &OpenFlags) -> FsResult<Pin>;
    /// Makes an object that was not there, with this mode or the host's default.
    ///
    /// # Errors
    /// `Exists`; `NotDirectory`; `NotSupported`: there are no such objects here.
    fn make(
        &mut self,
        dir: Node,
        name: Name<'_>,
        what: CreateWhat<'_>,
        mode: Option<u32>,
    ) -> FsResult<()>;
    /// The clock that files get their times from.
    fn clock(&mut self) -> FileTime;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traversal_cannot_be_written_down() {
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
    fn small_things_stay_small() {
        assert_eq!(size_of::<FsResult<()>>(), 4);
        assert_eq!(size_of::<Pin>(), 8);
        let mut handle = Handle::EMPTY;
        assert!(!handle.push(&[0; 65]) && handle.push(&[1; 64]) && !handle.push(&[0]));
        assert_eq!(handle.bytes(), [1; 64]);
    }
}
