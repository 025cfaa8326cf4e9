//! The model: a tree in memory, as plain as can be. What it does is what the conformance tests mean.
//!
//! It checks no permissions: where the export is writable, everybody may do everything. Reading moves no times, and time
//! itself moves with each change. A directory has one name and counts no others, as on btrfs. Whatever is asked of it, it
//! stores no more than its capacity. It serves tests only until trees in memory are offered to users.

use super::{
    Access, Attr, Caller, CreateWhat, Detail, DirEntry, Extent, FileTime, FsError, FsResult,
    FsStat, Handle, Handles, Kind, Name, Node, OpenFlags, Paths, Pin, Rules, SetAttr, Vfs,
};
use bytes::{Bytes, SIZE_MAX};
use core::ffi::CStr;
use core::ops::ControlFlow;
pub use inode::TAG;
use inode::{Content, Inode, Inodes, NAME_BYTES, Names};

mod bytes;
mod change;
mod inode;
mod owner;
#[cfg(test)]
mod tests;

/// User and group of what the tree's owner made.
pub const OWNER: (u32, u32) = (1000, 100);
/// Names that an object may have.
pub const LINK_COUNT_MAX: u32 = 1000;
/// When the tree was made.
const BIRTH: FileTime = FileTime {
    secs: 1_000_000_000,
    nanos: 123_456_789,
};
/// What is made in a directory with this bit belongs to the directory's group.
const SET_GROUP: u32 = 0o2000;

/// The tree.
#[derive(Clone, Debug)]
pub struct Ram {
    inodes: Inodes,
    /// What there was before names and attributes were changed that are not durable yet.
    durable: Option<Inodes>,
    /// What it is called by clients who name it by a path.
    path: &'static [u8],
    /// Changes there were.
    clock: u32,
    /// As whom the request is carried out.
    caller: (u32, u32),
    /// Pins that were not given back.
    pub pinned: usize,
    /// Whether clients may change anything.
    pub writable: bool,
    /// Bytes that may be stored, in files, links and names together.
    pub capacity_bytes: u64,
    /// The next write fails so, halfway.
    pub write_fails: Option<FsError>,
    /// The next sync fails so, and what was to be made durable is lost.
    pub sync_fails: Option<FsError>,
}

impl Ram {
    /// An empty tree, exported as `path`, for reading only.
    pub fn new(path: &'static [u8]) -> Self {
        let mut ram = Self {
            inodes: Inodes::default(),
            durable: None,
            path,
            clock: 0,
            caller: (0, 0),
            pinned: 0,
            writable: false,
            capacity_bytes: 1 << 20,
            write_fails: None,
            sync_fails: None,
        };
        let attr = ram.fresh_attr(Kind::Directory, 0o755, OWNER);
        ram.inodes.add(Content::Directory(Names::beneath(1)), attr);
        ram
    }

    fn now(&self) -> FileTime {
        // A second is there for the eye, a nanosecond for who loses it on the way.
        FileTime {
            secs: BIRTH.secs + i64::from(self.clock),
            nanos: BIRTH.nanos + self.clock % 800_000_000,
        }
    }

    /// The attributes of what is made now; the rest follows.
    fn fresh_attr(&self, kind: Kind, mode: u32, (uid, gid): (u32, u32)) -> Attr {
        Attr {
            kind,
            mode,
            nlink: 1,
            uid,
            gid,
            size: 0,
            used: 0,
            rdev: (0, 0),
            fsid: 7,
            inode: 0,
            atime: self.now(),
            mtime: self.now(),
            ctime: self.now(),
        }
    }

    fn get(&self, node: Node) -> FsResult<&Inode> {
        self.inodes.find(node).map(|number| self.inodes.at(number))
    }

    fn get_mut(&mut self, node: Node) -> FsResult<&mut Inode> {
        let number = self.inodes.find(node)?;
        Ok(self.inodes.at_mut(number))
    }

    fn names(&self, dir: Node) -> FsResult<&Names> {
        match &self.get(dir)?.content {
            Content::Directory(names) => Ok(names),
            _ => Err(FsError::NotDirectory),
        }
    }

    fn names_mut(&mut self, dir: Node) -> FsResult<&mut Names> {
        match &mut self.get_mut(dir)?.content {
            Content::Directory(names) => Ok(names),
            _ => Err(FsError::NotDirectory),
        }
    }

    /// The number of what has this name.
    fn named(&self, dir: Node, name: Name<'_>) -> FsResult<usize> {
        self.names(dir)?.get(name.bytes()).ok_or(FsError::NoEntry)
    }

    fn is_writable(&self) -> FsResult<()> {
        if self.writable {
            Ok(())
        } else {
            Err(FsError::ReadOnly)
        }
    }

    /// What is opened, made if it must be.
    fn found_or_made(&mut self, dir: Node, name: &[u8], how: &OpenFlags) -> FsResult<Node> {
        match (self.entry(dir, name), how.create) {
            (Ok(_), Some(_)) if how.has(OpenFlags::EXCLUSIVE) => Err(FsError::Exists),
            (Err(FsError::NoEntry), Some(mode)) => {
                let change = SetAttr {
                    mode: Some(mode),
                    ..SetAttr::default()
                };
                self.create(dir, Name::new(name)?, CreateWhat::File, &change)
            }
            (found, _) => found,
        }
    }

    /// The object of a name in a directory, "." is the directory itself.
    fn entry(&mut self, dir: Node, name: &[u8]) -> FsResult<Node> {
        if name == b"." {
            return Ok(dir);
        }
        self.lookup(dir, Name::new(name)?)
    }

    fn has_space(&self, bytes: u64) -> FsResult<()> {
        if self.inodes.stored_bytes() + bytes <= self.capacity_bytes {
            Ok(())
        } else {
            Err(FsError::NoSpace)
        }
    }
}

impl Vfs for Ram {
    fn as_handles(&mut self) -> Option<&mut dyn Handles> {
        Some(self)
    }

    fn as_paths(&mut self) -> Option<&mut dyn Paths> {
        Some(self)
    }

    fn handle(&mut self, node: Node) -> FsResult<Handle> {
        let number = self.inodes.find(node)?;
        Ok(self.inodes.handle(number))
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
        let inode = self.get_mut(node)?;
        inode.pins += 1;
        self.pinned += 1;
        Ok(Pin {
            node,
            user: use_of(access),
        })
    }

    fn unpin(&mut self, pin: Pin) {
        let number = self.inodes.find(pin.node).expect("a pin keeps its object");
        self.inodes.at_mut(number).pins -= 1;
        self.pinned -= 1;
        self.inodes.release_unlinked(number);
    }

    fn read(&mut self, pin: &Pin, offset: u64, out: &mut [u8]) -> FsResult<u32> {
        assert_ne!(pin.user, use_of(None), "pinned for another use");
        // To be read or not, a file that was opened by its path is the engine's business.
        match &self.get(pin.node)?.content {
            Content::File(bytes, _) => Ok(bytes.read(offset, out) as u32),
            _ => Err(FsError::Invalid),
        }
    }

    fn extent(&mut self, _: &Pin, _: u64, _: u32) -> Option<Extent> {
        None
    }

    fn write(&mut self, pin: &Pin, offset: u64, bytes: &[u8]) -> FsResult<()> {
        assert!(
            [use_of(Some(Access::Write)), OPENED | 2, OPENED | 3].contains(&pin.user),
            "pinned for another use"
        );
        let number = self.inodes.find(pin.node)?;
        let Content::File(now, _) = &self.inodes.at(number).content else {
            return Err(FsError::Invalid);
        };
        let offset = if pin.user == OPENED | 3 {
            now.size()
        } else {
            offset
        };
        if bytes.is_empty() {
            return Ok(());
        }
        if offset > SIZE_MAX || bytes.len() as u64 > SIZE_MAX - offset {
            return Err(FsError::TooLarge);
        }
        self.has_space(now.growth(offset, bytes.len()))?;
        let failure = self.write_fails.take();
        let bytes = failure.map_or(bytes, |_| &bytes[..bytes.len() / 2]);
        self.touch(number, true);
        if let Content::File(now, durable) = &mut self.inodes.at_mut(number).content {
            durable.get_or_insert_with(|| now.clone());
            now.write(offset, bytes);
        }
        failure.map_or(Ok(()), Err)
    }

    fn write_from(&mut self, _: &Pin, _: u64, _: i32, _: usize) -> FsResult<()> {
        Err(FsError::NotSupported)
    }

    fn sync(&mut self, pin: &Pin) -> FsResult<()> {
        let failure = self.sync_fails.take();
        if let Content::File(now, durable) = &mut self.get_mut(pin.node)?.content {
            let durable = durable.take();
            if let (Some(durable), Some(_)) = (durable, failure) {
                *now = durable;
            }
        }
        failure.map_or_else(|| self.commit_metadata(), Err)
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
        let number = self.named(dir, name)?;
        Ok(self.inodes.node(number))
    }

    fn readlink(&mut self, node: Node, out: &mut [u8]) -> FsResult<u32> {
        let Content::Link(target) = &self.get(node)?.content else {
            return Err(FsError::Invalid);
        };
        let len = target.len().min(out.len());
        out[..len].copy_from_slice(&target[..len]);
        Ok(len as u32)
    }

    fn readdir(
        &mut self,
        dir: Node,
        from: u64,
        detail: Detail,
        each: &mut dyn FnMut(&DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<bool> {
        let names = self.names(dir)?;
        if from > names.last_cookie {
            return Err(FsError::BadCookie);
        }
        let dots = [(1, &b"."[..], dir.slot()), (2, b"..", names.parent)];
        let list = names.list.iter();
        let all = list.map(|(cookie, (name, number))| (*cookie, &name[..], *number));
        for (cookie, name, number) in dots.into_iter().chain(all) {
            if cookie <= from {
                continue;
            }
            let object = detail == Detail::Objects && cookie > Names::DOT_COUNT;
            let (attr, handle) = (self.inodes.at(number).attr(), self.inodes.handle(number));
            let entry = DirEntry {
                name,
                cookie,
                inode: number as u64,
                object: object.then_some((&attr, Some(&handle))),
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
            .saturating_sub(self.inodes.stored_bytes());
        let files = self.inodes.iter().count() as u64;
        Ok(FsStat {
            unit_bytes: 512,
            id: 7,
            read_only: !self.writable,
            ignores_set_user: false,
            total_bytes: self.capacity_bytes,
            free_bytes: free,
            available_bytes: free / 2,
            total_files: files + free / NAME_BYTES,
            free_files: free / NAME_BYTES,
            name_bytes_max: 255,
        })
    }

    fn set_attr(&mut self, node: Node, change: &SetAttr) -> FsResult<()> {
        self.is_writable()?;
        let kind = self.get(node)?.attr.kind;
        Self::can_change(kind, change)?;
        if kind == Kind::SymbolicLink && change.mode.is_some() {
            return Err(FsError::NotSupported);
        }
        self.keep_durable();
        self.change(self.inodes.find(node)?, change);
        Ok(())
    }

    fn remove(&mut self, dir: Node, name: Name<'_>, directory: bool) -> FsResult<()> {
        self.is_writable()?;
        let number = self.named(dir, name)?;
        match &self.inodes.at(number).content {
            Content::Directory(_) if !directory => return Err(FsError::IsDirectory),
            Content::Directory(names) if !names.list.is_empty() => return Err(FsError::NotEmpty),
            Content::Directory(_) => {}
            _ if directory => return Err(FsError::NotDirectory),
            _ => {}
        }
        self.keep_durable();
        self.take_name(dir.slot(), name.bytes(), number);
        Ok(())
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
        let number = self.named(from, name)?;
        let replaced = self.names(to)?.get(new_name.bytes());
        if !replace && replaced.is_some() {
            return Err(FsError::Exists);
        }
        if replaced == Some(number) {
            // Two names of one object stay what they are.
            return Ok(());
        }
        if self.lies_in(to.slot(), number) {
            return Err(FsError::Invalid);
        }
        if replaced.is_some_and(|replaced| self.lies_in(from.slot(), replaced)) {
            return Err(FsError::NotEmpty);
        }
        if let Some(replaced) = replaced {
            let (moved, replaced) = (self.inodes.at(number), self.inodes.at(replaced));
            match (&replaced.content, moved.is_directory()) {
                (Content::Directory(names), true) if !names.list.is_empty() => {
                    return Err(FsError::NotEmpty);
                }
                (Content::Directory(_), true) => {}
                (Content::Directory(_), false) => return Err(FsError::IsDirectory),
                (_, true) => return Err(FsError::NotDirectory),
                (_, false) => {}
            }
        }
        self.keep_durable();
        if let Some(replaced) = replaced {
            self.take_name(to.slot(), new_name.bytes(), replaced);
        }
        // First the new name, then the old one: an object without a name would be gone.
        self.inodes.at_mut(number).attr.nlink += 1;
        self.give_name(to, new_name.bytes(), number)?;
        self.take_name(from.slot(), name.bytes(), number);
        Ok(())
    }

    fn link(&mut self, node: Node, dir: Node, name: Name<'_>) -> FsResult<()> {
        self.is_writable()?;
        let attr = self.attr(node)?;
        if self.names(dir)?.get(name.bytes()).is_some() {
            return Err(FsError::Exists);
        }
        if attr.kind == Kind::Directory {
            return Err(FsError::Permission);
        }
        if attr.nlink >= LINK_COUNT_MAX {
            return Err(FsError::TooManyLinks);
        }
        self.has_space(NAME_BYTES)?;
        self.keep_durable();
        self.get_mut(node)?.attr.nlink += 1;
        self.give_name(dir, name.bytes(), node.slot())
    }
}

impl Handles for Ram {
    fn create(
        &mut self,
        dir: Node,
        name: Name<'_>,
        make: CreateWhat<'_>,
        change: &SetAttr,
    ) -> FsResult<Node> {
        self.is_writable()?;
        if self.names(dir)?.get(name.bytes()).is_some() {
            return Err(FsError::Exists);
        }
        let within = self.get(dir)?.attr;
        let (kind, mode, content) = match make {
            CreateWhat::File => (Kind::Regular, 0o644, Content::File(Bytes::default(), None)),
            CreateWhat::Directory => {
                let names = Names::beneath(dir.slot());
                (Kind::Directory, 0o755, Content::Directory(names))
            }
            CreateWhat::Link(target) => (Kind::SymbolicLink, 0o777, Content::Link(target.to_vec())),
            CreateWhat::Special(Kind::Regular | Kind::Directory | Kind::SymbolicLink, _) => {
                return Err(FsError::Invalid);
            }
            CreateWhat::Special(kind, _) => (kind, 0o644, Content::Special),
        };
        Self::can_change(kind, change)?;
        let target_bytes = match make {
            CreateWhat::Link(target) => target.len() as u64,
            _ => 0,
        };
        self.has_space(NAME_BYTES + target_bytes)?;
        let mut attr = self.fresh_attr(kind, mode, self.caller);
        if let CreateWhat::Special(Kind::BlockDevice | Kind::CharacterDevice, rdev) = make {
            attr.rdev = rdev;
        }
        if within.mode & SET_GROUP != 0 {
            attr.gid = within.gid;
        }
        self.keep_durable();
        let number = self.inodes.add(content, attr);
        self.give_name(dir, name.bytes(), number)?;
        self.change(number, change);
        let attr = &mut self.inodes.at_mut(number).attr;
        match kind {
            // A link's mode means nothing and never changes.
            Kind::SymbolicLink => attr.mode = mode,
            // As with mkdir: the set-id bits are the parent's business.
            Kind::Directory => attr.mode = attr.mode & 0o1777 | within.mode & SET_GROUP,
            _ => {}
        }
        Ok(self.inodes.node(number))
    }

    fn root(&mut self, tag: u32) -> FsResult<Node> {
        if tag != TAG {
            return Err(FsError::Stale);
        }
        Ok(self.inodes.node(1))
    }

    fn open(&mut self, handle: &[u8]) -> FsResult<Node> {
        let number = self.inodes.open(handle)?;
        Ok(self.inodes.node(number))
    }

    fn act_as(&mut self, caller: Option<(&Caller, &Rules)>) {
        let caller = caller.map_or_else(Caller::default, |(caller, rules)| rules.squash(caller));
        self.caller = (caller.uid, caller.gid);
    }

    fn access(&mut self, node: Node, access: Access) -> FsResult<()> {
        let mode = self.get(node)?.attr.mode;
        let may = match access {
            Access::Read => true,
            Access::Write => self.writable && mode & 0o222 != 0,
            Access::Execute => mode & 0o111 != 0,
        };
        if may { Ok(()) } else { Err(FsError::Access) }
    }

    fn commit_metadata(&mut self) -> FsResult<()> {
        self.durable = None;
        Ok(())
    }
}

impl Paths for Ram {
    fn make(
        &mut self,
        dir: Node,
        name: Name<'_>,
        what: CreateWhat<'_>,
        mode: Option<u32>,
    ) -> FsResult<()> {
        let change = SetAttr {
            mode,
            ..SetAttr::default()
        };
        self.create(dir, name, what, &change).map(drop)
    }

    fn root_path(&self) -> &'static [u8] {
        self.path
    }

    fn root_dir(&mut self) -> FsResult<Node> {
        self.root(TAG)
    }

    fn cwd(&mut self, out: &mut [u8]) -> FsResult<u32> {
        let top = self.path;
        out[..top.len()].copy_from_slice(top);
        Ok(top.len() as u32)
    }

    fn chdir(&mut self, _: &'static CStr) -> FsResult<()> {
        Err(FsError::NotSupported)
    }

    fn resolve(&mut self, dir: Option<Node>, path: &[u8], _: bool) -> FsResult<Node> {
        let dir = dir.ok_or(FsError::CrossDevice)?;
        self.entry(dir, path)
    }

    fn attr_at(&mut self, _: &[u8], _: bool) -> FsResult<Attr> {
        Err(FsError::CrossDevice)
    }

    fn open_at(&mut self, dir: Option<Node>, path: &[u8], how: &OpenFlags) -> FsResult<Pin> {
        let dir = dir.ok_or(FsError::CrossDevice)?;
        let node = self.found_or_made(dir, path, how)?;
        let kind = self.get(node)?.attr.kind;
        match (kind, how.has(OpenFlags::DIRECTORY)) {
            (Kind::Directory, true) | (Kind::Regular, false) => {}
            (_, true) => return Err(FsError::NotDirectory),
            (Kind::Directory, false) => return Err(FsError::IsDirectory),
            (_, false) => return Err(FsError::Access),
        }
        if how.has(OpenFlags::WRITE | OpenFlags::TRUNCATE) {
            self.is_writable()?;
        }
        if how.has(OpenFlags::TRUNCATE) {
            self.set_attr(
                node,
                &SetAttr {
                    size: Some(0),
                    ..SetAttr::default()
                },
            )?;
        }
        self.get_mut(node)?.pins += 1;
        self.pinned += 1;
        let [writes, appends] =
            [OpenFlags::WRITE, OpenFlags::APPEND].map(|bit| u32::from(how.has(bit)));
        let user = OPENED | writes << 1 | appends;
        Ok(Pin { node, user })
    }

    fn clock(&mut self) -> FileTime {
        self.now()
    }
}

/// Set for a pin that was opened by its path; below it whether it may be written to, and whether only at its end.
const OPENED: u32 = 1 << 31;

/// What a pin is for, where the host keeps as whom it was made.
fn use_of(access: Option<Access>) -> u32 {
    access.map_or(0, |access| access as u32 + 1)
}
