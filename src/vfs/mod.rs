//! Trees: the one way to files, whatever they lie on.
//!
//! A backend hands out three names for an object. A [`Node`] is valid for one request. A [`Pin`] is counted and keeps the
//! object open for an order. A [`Handle`] lasts: it is bytes that a client may bring back after a restart.
//! Invariant: no name, handle or symbolic link leads outside an export; a path with a separator cannot be written down.
//! `ram` is the model, `host` the kernel's files by handles, `user` the same by paths, `iso` what is
//! inside an image, `conformance` the tests that every backend passes.

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

use core::ops::ControlFlow;

#[cfg(test)]
mod conformance;
mod handle;
pub mod host;
pub mod iso;
mod kernel;
#[cfg(any(test, fuzzing))]
pub mod ram;
pub mod user;
pub mod walk;

/// Why a backend did not do it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FsError {
    /// Not the owner.
    Permission,
    /// No such name.
    NoEntry,
    /// The disk failed.
    Io,
    /// The host does not allow it.
    Access,
    /// Another file system is mounted there; it is not entered.
    OtherFileSystem,
    /// There is such a name already.
    Exists,
    /// The two names do not lie in one export on one file system.
    CrossDevice,
    /// Not a directory.
    NotDirectory,
    /// A directory.
    IsDirectory,
    /// It makes no sense for this kind of object.
    Invalid,
    /// The file would become larger than the host allows.
    TooLarge,
    /// The disk is full.
    NoSpace,
    /// The user has used up what the disk has for it.
    Quota,
    /// The object has as many names as it can have.
    TooManyLinks,
    /// Symbolic links lead to symbolic links without end.
    TooManyFollowed,
    /// The directory has entries.
    NotEmpty,
    /// A name is longer than 255 bytes.
    NameTooLong,
    /// The export cannot be written to.
    ReadOnly,
    /// The object that the handle named is gone.
    Stale,
    /// The handle is none of this server's.
    BadHandle,
    /// The cookie is none of this directory's.
    BadCookie,
    /// The host's file system cannot do it.
    NotSupported,
    /// Not now: descriptors or time ran out. The same request may succeed later.
    TryLater,
}

/// What a backend returns.
pub type FsResult<T> = Result<T, FsError>;

/// One object, for the length of one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Node(u32);

impl Node {
    /// A place in the backend's table, and which of the objects that were in it: a number of 15 bits.
    const fn new(slot: usize, generation: u16) -> Self {
        Self(slot as u32 & 0xffff | (generation as u32) << 16)
    }

    const fn slot(self) -> usize {
        (self.0 & 0xffff) as usize
    }

    const fn generation(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// A place among the objects inside images: negative, as no descriptor is, nor a place in a table.
    const fn inside(place: usize) -> Self {
        Self(place as u32 | 1 << 31)
    }

    /// Whether it lies inside an image.
    const fn is_inside(self) -> bool {
        cfg!(feature = "iso") && (self.0 as i32) < 0
    }
}

/// One object for longer than a request: it stays open until [`Vfs::unpin`].
#[derive(PartialEq, Eq, Debug)]
pub struct Pin {
    node: Node,
    /// As whom it is written to.
    user: u32,
}

impl Pin {
    /// The same pin, for somebody who does not outlast who has it: one of them gives it back.
    pub(crate) const fn lend(&self) -> Self {
        Self { ..*self }
    }

    /// The object. It stays valid while the pin is held.
    pub const fn node(&self) -> Node {
        self.node
    }
}

/// Supplementary groups of a caller: RFC 5531 allows no more.
pub const GROUP_COUNT_MAX: usize = 16;

/// Who asks: what the request says, to be believed as far as the export's rules go.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Caller {
    /// User; [`Caller::NOBODY`] for a caller without a name.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Other groups.
    pub groups: heapless::Vec<u32, GROUP_COUNT_MAX>,
}

impl Caller {
    /// No user and no group has this number: the kernel takes it for "no change".
    pub const NOBODY: u32 = u32::MAX;
}

/// A directory entry's name: never "", ".", "..", longer than 255 bytes, or with a separator or NUL in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Name<'a>(&'a [u8]);

impl<'a> Name<'a> {
    /// Checks `raw`. "." and ".." are [`FsError::Access`], what no name can be is [`FsError::Invalid`].
    pub fn new(raw: &'a [u8]) -> FsResult<Self> {
        match raw {
            b"." | b".." => Err(FsError::Access),
            _ if raw.is_empty() || raw.iter().any(|byte| matches!(byte, 0 | b'/')) => {
                Err(FsError::Invalid)
            }
            _ if raw.len() > 255 => Err(FsError::NameTooLong),
            _ => Ok(Self(raw)),
        }
    }

    /// The bytes of the name.
    pub const fn bytes(self) -> &'a [u8] {
        self.0
    }
}

/// Bytes that name an object for good. At most 64, RFC 1813's limit.
#[derive(Clone, Copy, Debug)]
pub struct Handle {
    len: u8,
    bytes: [u8; Self::BYTES_MAX],
}

impl Handle {
    /// Bytes of the longest handle.
    pub const BYTES_MAX: usize = 64;
    /// No object's handle.
    pub const EMPTY: Self = Self {
        len: 0,
        bytes: [0; Self::BYTES_MAX],
    };

    /// The bytes that go on the wire.
    #[inline(never)]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Appends bytes; false when there is no room for them.
    fn push(&mut self, more: &[u8]) -> bool {
        let room = self
            .bytes
            .get_mut(usize::from(self.len)..)
            .and_then(|rest| rest.get_mut(..more.len()));
        room.map(|room| {
            room.copy_from_slice(more);
            self.len += more.len() as u8;
        })
        .is_some()
    }
}

impl PartialEq for Handle {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

/// Kinds of objects. The numbers are those that modes have above their twelve bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Kind {
    Regular = 0o10,
    Directory = 0o04,
    SymbolicLink = 0o12,
    Fifo = 0o01,
    Socket = 0o14,
    BlockDevice = 0o06,
    CharacterDevice = 0o02,
}

impl Kind {
    /// What a mode has for it.
    pub const fn bits(self) -> u32 {
        (self as u32) << 12
    }
}

/// Seconds and nanoseconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FileTime {
    /// Whole seconds, before 1970 negative.
    pub secs: i64,
    /// Nanoseconds after them.
    pub nanos: u32,
}

/// The attributes of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attr {
    /// What it is.
    pub kind: Kind,
    /// The low twelve bits of the mode.
    pub mode: u32,
    /// Names it has.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// Bytes on the disk.
    pub used: u64,
    /// Major and minor number of a device.
    pub rdev: (u32, u32),
    /// The same for all objects of an export, and for no other export on another file system.
    pub fsid: u64,
    /// Inode number.
    pub inode: u64,
    /// Last read.
    pub atime: FileTime,
    /// Last written.
    pub mtime: FileTime,
    /// Last changed.
    pub ctime: FileTime,
}

/// What a caller may want to do with an object. The numbers are the bits that modes have for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Read the file or list the directory.
    Read = 4,
    /// Write to the file, or make and remove names in the directory.
    Write = 2,
    /// Run the file or look names up in the directory.
    Execute = 1,
}

/// What becomes of one of a file's times.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum NewTime {
    /// It stays.
    #[default]
    Keep,
    /// The host's clock.
    Now,
    /// This.
    At(FileTime),
}

/// What is to change of an object; what is `None` stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SetAttr {
    /// The low twelve bits of the mode.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Bytes: what is beyond is cut off, what is missing reads as zeros.
    pub size: Option<u64>,
    /// Last read.
    pub atime: NewTime,
    /// Last written.
    pub mtime: NewTime,
}

impl SetAttr {
    /// Whether one of the times is to change.
    const fn times(&self) -> bool {
        !matches!((self.atime, self.mtime), (NewTime::Keep, NewTime::Keep))
    }
}

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

/// How full a file system is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FsStat {
    /// Bytes that are given out at once.
    pub unit_bytes: u32,
    /// The number that the file system has for itself, 0 if none.
    pub id: u64,
    /// Nothing can be written to it.
    pub read_only: bool,
    /// Set-user-id bits mean nothing on it.
    pub ignores_set_user: bool,
    /// Bytes there are.
    pub total_bytes: u64,
    /// Bytes free.
    pub free_bytes: u64,
    /// Bytes free for the user who started the server.
    pub available_bytes: u64,
    /// Inodes there are.
    pub total_files: u64,
    /// Inodes free.
    pub free_files: u64,
    /// Bytes of the longest name.
    pub name_bytes_max: u32,
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

/// How much [`Vfs::readdir`] tells of each entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Detail {
    /// Names, cookies and inode numbers.
    Names,
    /// Attributes and handles too.
    Objects,
}

/// A directory that clients may mount.
#[derive(Clone, Copy, Debug)]
pub struct Export {
    /// Absolute path as clients write it.
    pub path: &'static [u8],
}

/// The kernel's number of an open file, for a net that can send from it without copying.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Descriptor(pub i32);

/// A backend. Object-safe, compiled once.
///
/// Nothing that changes a tree is durable at once: data is after [`Vfs::sync`], names and attributes after [`Vfs::commit_metadata`].
pub trait Vfs {
    /// What is exported. An export's number is its place here.
    fn exports(&self) -> &[Export];
    /// The top of an export. What follows is done as the server itself.
    fn root(&mut self, export: usize) -> FsResult<Node>;
    /// The object that a handle names. What follows is done as `caller`, as far as the host and the export's rules allow.
    /// `TryLater` while the object is still being looked for.
    fn open(&mut self, handle: &[u8], caller: &Caller) -> FsResult<Node>;
    /// The handle that names `node`: the same bytes every time, also after a restart.
    fn handle(&mut self, node: Node) -> FsResult<Handle>;
    /// The object's attributes, as they are now.
    fn attr(&mut self, node: Node) -> FsResult<Attr>;
    /// Whether the caller may use the object so.
    fn access(&mut self, node: Node, access: Access) -> FsResult<bool>;
    /// The object of this name in `dir`. A symbolic link is itself.
    fn lookup(&mut self, dir: Node, name: Name<'_>) -> FsResult<Node>;
    /// Keeps a regular file open for longer than this request, to be used so; `None`: only to be made durable.
    /// Its owner may always read and write.
    fn pin(&mut self, node: Node, access: Option<Access>) -> FsResult<Pin>;
    /// Gives a pin back.
    fn unpin(&mut self, pin: Pin);
    /// Fills `out`, at most 2 GiB, from `offset` of a file that was pinned for it; fewer bytes mean the end of the file.
    fn read(&mut self, pin: &Pin, offset: u64, out: &mut [u8]) -> FsResult<u32>;
    /// Writes all of `bytes` at `offset` of a file that was pinned for it. After an error some may be written.
    fn write(&mut self, pin: &Pin, offset: u64, bytes: &[u8]) -> FsResult<()>;
    /// The attributes of the object at the end of a path.
    fn attr_at(&mut self, path: &[u8], follow: bool) -> FsResult<Attr>;
    /// Opens the object at the end of a path for longer than this request.
    fn open_at(&mut self, path: &[u8], how: &OpenFlags) -> FsResult<Pin>;
    /// The absolute path that all others begin with which are not absolute, cut to `out`.
    fn cwd(&mut self, out: &mut [u8]) -> FsResult<u32>;
    /// The object at the end of a path, through directories and symbolic links; one at the end is followed if `follow`. What
    /// follows is done as the server itself. [`walk`] has the rules.
    fn resolve(&mut self, path: &[u8], follow: bool) -> FsResult<Node>;
    /// The top of what is inside the image of this name in `dir`. `NotDirectory`: it is none, or one that is not entered;
    /// `Invalid`, `NotSupported`: it has no file system, or one that is not known.
    fn enter_image(&mut self, _dir: Node, _name: Name<'_>) -> FsResult<Node> {
        Err(FsError::NotDirectory)
    }
    /// The clock that files get their times from.
    fn clock(&mut self) -> FileTime;
    /// A symbolic link's target, cut to `out`.
    fn readlink(&mut self, node: Node, out: &mut [u8]) -> FsResult<u32>;
    /// Calls `each` with the entries that follow the cookie `from` (0: all) until it breaks. True: that was the last.
    fn readdir(
        &mut self,
        dir: Node,
        from: u64,
        detail: Detail,
        each: &mut dyn FnMut(&DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<bool>;
    /// How full the file system of `node` is.
    fn statfs(&mut self, node: Node) -> FsResult<FsStat>;
    /// As [`Vfs::write`], the next `len` bytes of a pipe, which is empty then even after an error.
    fn write_from(&mut self, pin: &Pin, offset: u64, pipe: Descriptor, len: usize) -> FsResult<()>;
    /// Makes durable what was written to a file, and its name. After an error what was written before may be lost.
    fn sync(&mut self, pin: &Pin) -> FsResult<()>;
    /// Makes durable what names and attributes were changed: before anybody is told. After an error they may be lost.
    fn commit_metadata(&mut self) -> FsResult<()>;
    /// Changes attributes, perhaps none: they and, of a directory, its names are what [`Vfs::commit_metadata`] makes durable. After an
    /// error some may be changed.
    fn set_attr(&mut self, node: Node, change: &SetAttr) -> FsResult<()>;
    /// Makes an object that was not there: with `change`, owned by the caller otherwise.
    fn create(
        &mut self,
        dir: Node,
        name: Name<'_>,
        make: CreateWhat<'_>,
        change: &SetAttr,
    ) -> FsResult<Node>;
    /// The same with this mode, for who wants nothing more of it.
    fn make(
        &mut self,
        dir: Node,
        name: Name<'_>,
        make: CreateWhat<'_>,
        mode: Option<u32>,
    ) -> FsResult<()> {
        let change = SetAttr {
            mode,
            ..SetAttr::default()
        };
        self.create(dir, name, make, &change).map(drop)
    }
    /// Removes a name: that of an empty directory if `directory`, else that of anything else.
    fn remove(&mut self, dir: Node, name: Name<'_>, directory: bool) -> FsResult<()>;
    /// Gives an object another name, which is taken from another object of its kind if `replace`; else that `Exists`.
    fn rename(
        &mut self,
        from: Node,
        name: Name<'_>,
        to: Node,
        new_name: Name<'_>,
        replace: bool,
    ) -> FsResult<()>;
    /// Gives an object one more name.
    fn link(&mut self, node: Node, dir: Node, name: Name<'_>) -> FsResult<()>;
    /// Where the bytes of a pinned file lie for the kernel, if they do: in the file of this number, from `offset` on, which is
    /// changed to what it is there, and `len` of them at most, which becomes less where they lie in several places.
    fn extent(&mut self, pin: &Pin, offset: &mut u64, len: &mut u32) -> Option<Descriptor>;
    /// Lets go of what was not used since the last call. True: there is more to let go of later.
    fn release_idle(&mut self) -> bool;
}

/// Whether a name is that of an image, which paths may lead through.
pub fn is_image(name: &[u8]) -> bool {
    let Some((_, end)) = name.split_last_chunk() else {
        return false;
    };
    // Letters differ from their capitals by one bit, which the dot has.
    cfg!(feature = "iso") && u32::from_be_bytes(*end) | 0x20_2020 == u32::from_be_bytes(*b".iso")
}

/// The backend of protocols that know paths. There is one in the file, so that what they ask for is called directly, and what
/// nobody asks for is left out; tests put others in its place.
#[cfg(not(any(test, fuzzing)))]
pub type Files = user::User;
/// Any backend.
#[cfg(any(test, fuzzing))]
pub type Files = dyn Vfs;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traversal_cannot_be_written_down() {
        for (raw, expect) in [
            (&b""[..], Err(FsError::Invalid)),
            (b".", Err(FsError::Access)),
            (b"..", Err(FsError::Access)),
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
        assert_eq!(size_of::<FsResult<()>>(), 1);
        assert_eq!(size_of::<Pin>(), 8);
        let mut handle = Handle::EMPTY;
        assert!(!handle.push(&[0; 65]) && handle.push(&[1; 64]) && !handle.push(&[0]));
        assert_eq!(handle.bytes(), [1; 64]);
    }
}
