//! Files in memory: the simplest backend, and the reference for the conformance tests.
//!
//! All memory is allocated at start. If it is used up, changes fail with `NoSpace` until files are removed. Files and handles last
//! as long as the process. Checks no permissions: in a writable export, every caller may do everything. Reading does not change
//! atime. The link count of a directory is 1, as on btrfs.

use super::{
    Access, Attr, Backend, ExportRoot, FileTime, FsError, FsResult, Handle, Kind, Node, ObjectType,
    Pin, Rights, Rules, handle,
};
use inode::{Content, Directory, Inode};
#[cfg(any(test, fuzzing))]
pub use owner::TAG;
pub use store::Counts;
use store::Store;

#[cfg(any(bare, test))]
pub mod archive;
mod bytes;
mod change;
mod inode;
mod map;
mod named;
mod names;
#[cfg(any(test, fuzzing))]
mod owner;
mod store;
#[cfg(test)]
mod tests;
#[cfg(any(test, fuzzing))]
mod unsynced;
mod vfs;

/// Most hard links of an object.
pub const LINK_COUNT_MAX: u32 = 1000;
/// Inode number of the top.
const TOP: u32 = 1;
/// Bit of `Pin::user` for a pin opened by path. Further bits: 2 if the file may be written to, 1 if every write appends.
const OPENED: u32 = 1 << 31;

/// The source of file times.
#[derive(Clone, Copy, Debug)]
enum Clock {
    Given(fn() -> FileTime),
    /// Number of changes, from which the time is computed.
    #[cfg(any(test, fuzzing))]
    Changes(u32),
}

impl Clock {
    fn now(self) -> FileTime {
        match self {
            Self::Given(clock) => clock(),
            #[cfg(any(test, fuzzing))]
            Self::Changes(count) => owner::time_after(count),
        }
    }

    /// The time of a change. Advances a clock that counts changes.
    fn of_change(&mut self) -> FileTime {
        #[cfg(any(test, fuzzing))]
        if let Self::Changes(count) = self {
            *count += 1;
        }
        self.now()
    }
}

/// The tree.
#[derive(Clone, Debug)]
pub struct Ram {
    store: Store,
    /// Path of the top for clients that use paths.
    #[cfg(any(test, fuzzing))]
    path: &'static [u8],
    /// Tag in handles. Differs from that of an earlier process.
    tag: u32,
    /// Backend number of nodes.
    pub backend: Backend,
    clock: Clock,
    /// UID and GID of the caller.
    caller: (u32, u32),
    /// Number of pins that were not released.
    pub pinned: usize,
    /// True if clients may change files.
    pub writable: bool,
    /// Most bytes stored in files and link targets.
    pub capacity_bytes: u64,
    /// State before the first change of names or attributes that is not durable yet.
    #[cfg(any(test, fuzzing))]
    durable: Option<Store>,
    /// Error with which the next write fails, halfway.
    #[cfg(any(test, fuzzing))]
    pub write_fails: Option<FsError>,
    /// Error with which the next sync fails. Changes that it should have made durable are lost.
    #[cfg(any(test, fuzzing))]
    pub sync_fails: Option<FsError>,
}

impl Ram {
    /// An empty tree with space for `counts`. `instance` must be random if the tree is writable: handles of another instance are stale. Call at start only, because the process exits if memory runs out.
    pub fn new(counts: Counts, instance: u64, clock: fn() -> FileTime) -> Self {
        let key = u128::from(instance).to_le_bytes();
        // Derived by a MAC, so that handles do not reveal the key.
        let [tag, generation] = [&b"tag"[..], b"generation"].map(|of| handle::mac(&key, of) as u32);
        let store = Store::new(counts, key, generation);
        Self::begun(store, tag, Clock::Given(clock), (0, 0))
    }

    /// A tree that contains only its top.
    fn begun(store: Store, tag: u32, clock: Clock, owner: (u32, u32)) -> Self {
        let mut ram = Self {
            capacity_bytes: store.left_bytes(),
            store,
            #[cfg(any(test, fuzzing))]
            path: b"/",
            tag,
            backend: Backend::Ram,
            clock,
            caller: (0, 0),
            pinned: 0,
            writable: false,
            #[cfg(any(test, fuzzing))]
            durable: None,
            #[cfg(any(test, fuzzing))]
            write_fails: None,
            #[cfg(any(test, fuzzing))]
            sync_fails: None,
        };
        let attr = ram.fresh_attr(ObjectType::Directory, 0o755, owner);
        let directory = Content::Directory(Directory::beneath(TOP));
        // If there is no space for the top, all operations on the tree return `Stale`.
        let _ = ram.store.inodes.add(directory, attr);
        ram
    }

    /// Returns the top for an export with these rules. Stores in `writable` if the rules allow changes.
    pub const fn export(&mut self, rules: &Rules) -> ExportRoot {
        self.writable = rules.has(Rules::WRITABLE);
        ExportRoot::fixed(self.backend, self.tag, false)
    }

    /// Initial attributes of an object that is created now.
    fn fresh_attr(&self, kind: ObjectType, mode: u32, (uid, gid): (u32, u32)) -> Attr {
        let now = self.clock.now();
        Attr {
            kind,
            mode,
            nlink: 1,
            uid,
            gid,
            size: 0,
            used: 0,
            rdev: (0, 0),
            fsid: self.tag.into(),
            inode: 0,
            atime: now,
            mtime: now,
            ctime: now,
        }
    }

    /// The node of an object.
    fn node(&self, number: u32) -> Node {
        Node::new(
            self.backend,
            Rights::of(self.writable, false),
            number as usize,
            self.store.inodes.generation(number) as u16,
        )
    }

    /// The handle of an object.
    fn handle_of(&self, number: u32) -> Handle {
        handle::ram(self.tag, number, self.store.inodes.generation(number))
    }

    fn find(&self, node: Node) -> FsResult<u32> {
        self.store.inodes.find(node)
    }

    fn get(&self, node: Node) -> FsResult<&Inode> {
        self.store.inodes.at(self.find(node)?)
    }

    /// Counts one more pin of an object.
    fn add_pin(&mut self, node: Node, user: u32) -> FsResult<Pin> {
        let number = self.find(node)?;
        self.store.inodes.at_mut(number)?.pins += 1;
        self.pinned += 1;
        Ok(Pin { node, user })
    }

    const fn is_writable(&self) -> FsResult<()> {
        if self.writable {
            Ok(())
        } else {
            Err(FsError::ReadOnly)
        }
    }

    const fn has_space(&self, bytes: u64) -> FsResult<()> {
        if self.store.stored_bytes() + bytes <= self.capacity_bytes {
            Ok(())
        } else {
            Err(FsError::NoSpace)
        }
    }

    /// Checks that there is space for one more name.
    const fn has_space_for_name(&self) -> FsResult<()> {
        match self.store.names.left() {
            0 => Err(FsError::NoSpace),
            _ => Ok(()),
        }
    }

    /// Checks that `number` may be removed as an object of this kind, or be overwritten by one.
    fn can_replace(&self, number: u32, kind: Kind) -> FsResult<()> {
        match (&self.store.inodes.at(number)?.content, kind) {
            (Content::Directory(directory), Kind::Directory) if directory.name_count > 0 => {
                Err(FsError::NotEmpty)
            }
            (Content::Directory(_), Kind::Other) => Err(FsError::IsDirectory),
            (Content::Directory(_), Kind::Directory) => Ok(()),
            (_, Kind::Directory) => Err(FsError::NotDirectory),
            (_, Kind::Other) => Ok(()),
        }
    }
}

/// The value of `Pin::user` for an access. (`host` stores a UID there.)
fn use_of(access: Option<Access>) -> u32 {
    access.map_or(0, |access| access as u32 + 1)
}
