//! Files in memory: a tree as plain as can be. What it does is what the conformance tests mean.
//!
//! All of its memory is taken at start: what does not fit is `NoSpace`, and what is removed makes space for what comes. It lasts as
//! long as the process, and so do its handles. It checks no permissions: where the export is writable, everybody may do everything.
//! Reading moves no times. A directory has one name and counts no others, as on btrfs.

use super::{
    Access, Attr, Backend, Detail, DirEntry, FileTime, FsError, FsResult, FsStat, Handle, Handles,
    Kind, Name, Node, Paths, Pin, Rights, Rules, SetAttr, Top, Vfs, handle,
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

/// Names that an object may have.
pub const LINK_COUNT_MAX: u32 = 1000;
/// Inode number of the top.
const TOP: u32 = 1;
/// Set for a pin that was opened by its path; below it whether it may be written to, and whether only at its end.
const OPENED: u32 = 1 << 31;

/// Where times come from.
#[derive(Clone, Copy, Debug)]
enum Clock {
    Given(fn() -> FileTime),
    /// The changes that there were.
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

    /// When what is changed is changed.
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
    /// What it is called by clients who name it by a path.
    path: &'static [u8],
    /// In its handles. It differs from that of yesterday's tree.
    tag: u32,
    /// What its nodes begin with.
    pub backend: Backend,
    clock: Clock,
    /// As whom the request is carried out.
    caller: (u32, u32),
    /// Pins that were not given back.
    pub pinned: usize,
    /// Whether clients may change anything.
    pub writable: bool,
    /// Bytes that may be stored in files and links together.
    pub capacity_bytes: u64,
    /// What there was before names and attributes were changed that are not durable yet.
    #[cfg(any(test, fuzzing))]
    durable: Option<Store>,
    /// The next write fails so, halfway.
    #[cfg(any(test, fuzzing))]
    pub write_fails: Option<FsError>,
    /// The next sync fails so, and what was to be made durable is lost.
    #[cfg(any(test, fuzzing))]
    pub sync_fails: Option<FsError>,
}

impl Ram {
    /// An empty tree, which clients who name it by a path call `path`, with space for `counts`. `instance` comes from a source of
    /// entropy, if it is to be written to: handles of another instance are stale here. Called at start only: where there is too
    /// little memory, the process ends.
    pub fn new(
        path: &'static [u8],
        counts: Counts,
        instance: u64,
        clock: fn() -> FileTime,
    ) -> Self {
        let key = u128::from(instance).to_le_bytes();
        // Handles tell nothing of the key.
        let [tag, generation] = [&b"tag"[..], b"generation"].map(|of| handle::mac(&key, of) as u32);
        let store = Store::new(counts, key, generation);
        Self::begun(store, path, tag, Clock::Given(clock), (0, 0))
    }

    /// A tree of nothing but its top.
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
        let attr = ram.fresh_attr(Kind::Directory, 0o755, owner);
        let directory = Content::Directory(Directory::beneath(TOP));
        // If there is no space for it, the tree is stale in all that is done with it.
        let _ = ram.store.inodes.add(directory, attr);
        ram
    }

    /// The top, to be exported by these rules.
    pub const fn export(&mut self, rules: &Rules) -> Top {
        self.writable = rules.writable;
        Top {
            backend: self.backend,
            tag: self.tag,
            is_image: false,
            real: b"",
        }
    }

    /// The attributes of what is made now; the rest follows.
    fn fresh_attr(&self, kind: Kind, mode: u32, (uid, gid): (u32, u32)) -> Attr {
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

    /// The object of this number, for a request.
    fn node(&self, number: u32) -> Node {
        Node::new(
            self.backend,
            Rights::of(self.writable, false),
            number as usize,
            self.store.inodes.generation(number) as u16,
        )
    }

    /// The handle of the object of this number.
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
    fn keep(&mut self, node: Node, user: u32) -> FsResult<Pin> {
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

    /// Whether there is space for one more name.
    const fn has_space_for_name(&self) -> FsResult<()> {
        match self.store.names.left() {
            0 => Err(FsError::NoSpace),
            _ => Ok(()),
        }
    }

    /// Whether an object may lose its name to one that is a directory or not.
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

    /// Tests name them by paths; in the file, where there is a host, paths lead through its files alone.
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
            Kind::Regular => {}
            Kind::Directory => return Err(FsError::IsDirectory),
            _ => return Err(FsError::Invalid),
        }
        if access == Some(Access::Write) {
            self.is_writable()?;
        }
        self.keep(node, use_of(access))
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
        // To be read or not, a file that was opened by its path is the engine's business.
        let fits = pin.user != use_of(None);
        debug_assert!(fits, "pinned for another use");
        if !fits {
            return Err(FsError::Invalid);
        }
        let number = self.find(pin.node)?;
        self.store.read(number, Kind::Regular, offset, out)
    }

    fn write(&mut self, pin: &Pin, offset: u64, bytes: &[u8]) -> FsResult<()> {
        let appends = pin.user == OPENED | 3;
        let fits = appends || [use_of(Some(Access::Write)), OPENED | 2].contains(&pin.user);
        debug_assert!(fits, "pinned for another use");
        let number = self.find(pin.node)?;
        let inode = self.store.inodes.at(number)?;
        if !fits || inode.attr.kind != Kind::Regular {
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
        // Removed, though a pin still keeps it.
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
        self.store.read(number, Kind::SymbolicLink, 0, out)
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
        if kind == Kind::SymbolicLink && change.mode.is_some() {
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
        self.take_name(dir, name.bytes(), number)
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
            // Two names of one object stay what they are.
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
            self.take_name(to, new_name.bytes(), replaced)?;
        }
        // The old name makes space for the new one. What it names is still said to have a name, so that it stays.
        self.store.remove_name(from, name.bytes())?;
        self.touch(from, true);
        self.give_name(to, new_name.bytes(), number)
    }

    fn link(&mut self, node: Node, dir: Node, name: Name<'_>) -> FsResult<()> {
        self.is_writable()?;
        let attr = self.attr(node)?;
        let (number, dir) = (self.find(node)?, self.find(dir)?);
        if self.store.named_or_free(dir, name.bytes())?.is_some() {
            return Err(FsError::Exists);
        }
        if attr.kind == Kind::Directory {
            return Err(FsError::Permission);
        }
        if attr.nlink >= LINK_COUNT_MAX {
            return Err(FsError::TooManyLinks);
        }
        self.has_space_for_name()?;
        #[cfg(any(test, fuzzing))]
        self.keep_durable();
        self.store.inodes.at_mut(number)?.attr.nlink += 1;
        self.give_name(dir, name.bytes(), number)
    }
}

/// What a pin is for, where the host keeps as whom it was made.
fn use_of(access: Option<Access>) -> u32 {
    access.map_or(0, |access| access as u32 + 1)
}
