//! Files in memory: the simplest backend, and the reference for the conformance tests.
//!
//! All memory is allocated at start. If it is used up, changes fail with `NoSpace` until files are removed. Files and handles last
//! as long as the process. Checks no permissions: in a writable export, every caller may do everything. Reading does not change
//! atime. The link count of a directory is 1, as on btrfs.

use super::{
    Access, Attr, Backend, Detail, DirEntry, ExportRoot, FileTime, FsError, FsResult, FsStat,
    Handle, Handles, Name, Node, ObjectType, Paths, Pin, Rights, Rules, SetAttr, Vfs, handle,
};
use bytes::SIZE_MAX;
use core::ops::ControlFlow;
use inode::{Content, Directory, Inode};
#[cfg(any(test, fuzzing))]
pub use owner::TAG;
pub use store::Counts;
use store::Store;

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
    /// An empty tree with space for `counts`; `path` is its top for clients that use paths. `instance` must be random if the tree
    /// is writable: handles of another instance are stale. Call at start only, because the process exits if memory runs out.
    pub fn new(
        path: &'static [u8],
        counts: Counts,
        instance: u64,
        clock: fn() -> FileTime,
    ) -> Self {
        let key = u128::from(instance).to_le_bytes();
        // Derived by a MAC, so that handles do not reveal the key.
        let [tag, generation] = [&b"tag"[..], b"generation"].map(|of| handle::mac(&key, of) as u32);
        let store = Store::new(counts, key, generation);
        Self::begun(store, path, tag, Clock::Given(clock), (0, 0))
    }

    /// A tree that contains only its top.
    fn begun(store: Store, path: &'static [u8], tag: u32, clock: Clock, owner: (u32, u32)) -> Self {
        let mut ram = Self {
            capacity_bytes: store.left_bytes(),
            store,
            path,
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

    /// Checks that a rename may overwrite `replaced` with a directory (`by_directory`) or another object.
    fn can_replace(&self, replaced: u32, by_directory: bool) -> FsResult<()> {
        match (&self.store.inodes.at(replaced)?.content, by_directory) {
            (Content::Directory(directory), true) if directory.name_count > 0 => {
                Err(FsError::NotEmpty)
            }
            (Content::Directory(_), false) => Err(FsError::IsDirectory),
            (Content::Directory(_), true) => Ok(()),
            (_, true) => Err(FsError::NotDirectory),
            (_, false) => Ok(()),
        }
    }
}

impl Vfs for Ram {
    fn as_handles(&mut self) -> Option<&mut dyn Handles> {
        Some(self)
    }

    /// Paths are for tests and machines without a kernel. On a host, paths resolve only to the host's files.
    fn as_paths(&mut self) -> Option<&mut dyn Paths> {
        if cfg!(any(test, fuzzing, bare)) {
            return Some(self);
        }
        None
    }

    fn handle(&mut self, node: Node) -> FsResult<Handle> {
        let number = self.find(node)?;
        Ok(self.handle_of(number))
    }

    fn pin(&mut self, node: Node, access: Option<Access>) -> FsResult<Pin> {
        match self.get(node)?.attr.kind {
            ObjectType::Regular => {}
            ObjectType::Directory => return Err(FsError::IsDirectory),
            _ => return Err(FsError::Invalid),
        }
        if access == Some(Access::Write) {
            self.is_writable()?;
        }
        self.add_pin(node, use_of(access))
    }

    fn unpin(&mut self, pin: Pin) {
        let Ok(number) = self.find(pin.node) else {
            return;
        };
        if let Ok(inode) = self.store.inodes.at_mut(number) {
            inode.pins = inode.pins.saturating_sub(1);
            self.pinned = self.pinned.saturating_sub(1);
        }
        self.store.release_unlinked(number);
    }

    fn read(&mut self, pin: &Pin, offset: u64, out: &mut [u8]) -> FsResult<u32> {
        // For a file that was opened by path, the engine checks that it was opened for reading.
        let fits = pin.user != use_of(None);
        debug_assert!(fits, "pinned for another use");
        if !fits {
            return Err(FsError::Invalid);
        }
        let number = self.find(pin.node)?;
        self.store.read(number, ObjectType::Regular, offset, out)
    }

    fn write(&mut self, pin: &Pin, offset: u64, bytes: &[u8]) -> FsResult<()> {
        let appends = pin.user == OPENED | 3;
        let fits = appends || [use_of(Some(Access::Write)), OPENED | 2].contains(&pin.user);
        debug_assert!(fits, "pinned for another use");
        let number = self.find(pin.node)?;
        let inode = self.store.inodes.at(number)?;
        if !fits || inode.attr.kind != ObjectType::Regular {
            return Err(FsError::Invalid);
        }
        let offset = if appends { inode.attr().size } else { offset };
        if bytes.is_empty() {
            return Ok(());
        }
        if offset > SIZE_MAX || bytes.len() as u64 > SIZE_MAX - offset {
            return Err(FsError::TooLarge);
        }
        self.has_space(self.store.growth(number, offset, bytes.len()))?;
        self.touch(number, true);
        #[cfg(any(test, fuzzing))]
        if let Some(error) = self.begin_write(number, offset, bytes) {
            return Err(error);
        }
        self.store.write(number, offset, bytes)
    }

    fn sync(&mut self, pin: &Pin) -> FsResult<()> {
        self.get(pin.node)?;
        #[cfg(any(test, fuzzing))]
        self.end_writes(pin)?;
        #[cfg(any(test, fuzzing))]
        self.end_changes();
        Ok(())
    }

    fn release_idle(&mut self) -> bool {
        false
    }

    fn attr(&mut self, node: Node) -> FsResult<Attr> {
        let attr = self.get(node)?.attr();
        // The object was removed; only a pin keeps it.
        if attr.nlink == 0 {
            return Err(FsError::Stale);
        }
        Ok(attr)
    }

    fn lookup(&mut self, dir: Node, name: Name<'_>) -> FsResult<Node> {
        let number = self.store.named(self.find(dir)?, name.bytes())?;
        Ok(self.node(number))
    }

    fn readlink(&mut self, node: Node, out: &mut [u8]) -> FsResult<u32> {
        let number = self.find(node)?;
        self.store.read(number, ObjectType::SymbolicLink, 0, out)
    }

    fn readdir(
        &mut self,
        dir: Node,
        mut from: u64,
        detail: Detail,
        each: &mut dyn FnMut(&DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<bool> {
        let number = self.find(dir)?;
        let directory = self.store.directory(number)?;
        if from > directory.last_cookie {
            return Err(FsError::BadCookie);
        }
        for (cookie, name, inode) in [(1, &b"."[..], number), (2, b"..", directory.parent)] {
            let entry = DirEntry {
                name,
                cookie,
                inode: inode.into(),
                object: None,
            };
            if cookie > from && each(&entry).is_break() {
                return Ok(false);
            }
        }
        while let Some((cookie, name)) = self.store.names.entries.first_of((number, from + 1)) {
            from = cookie;
            let attr = self.store.inodes.at(name.object)?.attr();
            let handle = self.handle_of(name.object);
            let entry = DirEntry {
                name: name.name(),
                cookie,
                inode: attr.inode,
                object: (detail == Detail::Objects).then_some((&attr, Some(&handle))),
            };
            if each(&entry).is_break() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn statfs(&mut self, node: Node) -> FsResult<FsStat> {
        self.get(node)?;
        let free = self
            .capacity_bytes
            .saturating_sub(self.store.stored_bytes());
        let (files, free_files) = (self.store.inodes.used(), self.store.inodes.left());
        Ok(FsStat {
            unit_bytes: 512,
            id: self.tag.into(),
            read_only: !self.writable,
            ignores_set_user: false,
            total_bytes: self.capacity_bytes,
            free_bytes: free,
            available_bytes: free,
            total_files: (files + free_files) as u64,
            free_files: free_files as u64,
            name_bytes_max: 255,
        })
    }

    fn set_attr(&mut self, node: Node, change: &SetAttr) -> FsResult<()> {
        self.is_writable()?;
        let number = self.find(node)?;
        let kind = self.store.inodes.at(number)?.attr.kind;
        Self::can_change(kind, change)?;
        if kind == ObjectType::SymbolicLink && change.mode.is_some() {
            return Err(FsError::NotSupported);
        }
        #[cfg(any(test, fuzzing))]
        self.keep_durable();
        self.change(number, change)
    }

    fn remove(&mut self, dir: Node, name: Name<'_>, directory: bool) -> FsResult<()> {
        self.is_writable()?;
        let dir = self.find(dir)?;
        let number = self.store.named(dir, name.bytes())?;
        self.can_replace(number, directory)?;
        #[cfg(any(test, fuzzing))]
        self.keep_durable();
        self.remove_name(dir, name.bytes(), number)
    }

    fn rename(
        &mut self,
        from: Node,
        name: Name<'_>,
        to: Node,
        new_name: Name<'_>,
        replace: bool,
    ) -> FsResult<()> {
        self.is_writable()?;
        let (from, to) = (self.find(from)?, self.find(to)?);
        let number = self.store.named(from, name.bytes())?;
        let replaced = self.store.named_or_free(to, new_name.bytes())?;
        if !replace && replaced.is_some() {
            return Err(FsError::Exists);
        }
        if replaced == Some(number) {
            // rename(2) of a hard link to another link of the same object does nothing.
            return Ok(());
        }
        if self.store.lies_in(to, number) {
            return Err(FsError::Invalid);
        }
        if replaced.is_some_and(|replaced| self.store.lies_in(from, replaced)) {
            return Err(FsError::NotEmpty);
        }
        if let Some(replaced) = replaced {
            let is_directory = self.store.directory(number).is_ok();
            self.can_replace(replaced, is_directory)?;
        }
        #[cfg(any(test, fuzzing))]
        self.keep_durable();
        if let Some(replaced) = replaced {
            self.remove_name(to, new_name.bytes(), replaced)?;
        }
        // Removing the old name frees space for the new one. The link count stays, so the object is not released.
        self.store.remove_name(from, name.bytes())?;
        self.touch(from, true);
        self.add_name(to, new_name.bytes(), number)
    }

    fn link(&mut self, node: Node, dir: Node, name: Name<'_>) -> FsResult<()> {
        self.is_writable()?;
        let attr = self.attr(node)?;
        let (number, dir) = (self.find(node)?, self.find(dir)?);
        if self.store.named_or_free(dir, name.bytes())?.is_some() {
            return Err(FsError::Exists);
        }
        if attr.kind == ObjectType::Directory {
            return Err(FsError::Permission);
        }
        if attr.nlink >= LINK_COUNT_MAX {
            return Err(FsError::TooManyLinks);
        }
        self.has_space_for_name()?;
        #[cfg(any(test, fuzzing))]
        self.keep_durable();
        self.store.inodes.at_mut(number)?.attr.nlink += 1;
        self.add_name(dir, name.bytes(), number)
    }
}

/// The value of `Pin::user` for an access. (`host` stores a UID there.)
fn use_of(access: Option<Access>) -> u32 {
    access.map_or(0, |access| access as u32 + 1)
}
