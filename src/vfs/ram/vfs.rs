//! The backend's methods.

use super::super::{
    Access, Attr, Caller, CreateWhat, Detail, DirEntry, FsError, FsResult, FsStat, Handle, Kind,
    Name, Node, ObjectType, OpenFlags, Patience, Pin, Purpose, Rules, SetAttr, Stop, Target, Vfs,
    handle,
};
use super::bytes::SIZE_MAX;
use super::{LINK_COUNT_MAX, OPENED, Ram, TOP, use_of};
use core::ops::ControlFlow;

impl Vfs for Ram {
    fn handle(&mut self, node: Node) -> FsResult<Handle> {
        let number = self.find(node)?;
        Ok(self.handle_of(number))
    }

    fn pin(&mut self, node: Node, access: Option<Access>) -> FsResult<Pin> {
        match self.get(node)?.attr.kind {
            ObjectType::Regular => {}
            ObjectType::Directory if access.is_none() => {}
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

    fn read(&mut self, pin: &Pin, offset: u64, out: &mut [u8], _: Patience) -> Result<u32, Stop> {
        // For a file that was opened by path, the engine checks that it was opened for reading.
        let fits = pin.user != use_of(None);
        debug_assert!(fits, "pinned for another use");
        if !fits {
            return Err(FsError::Invalid.into());
        }
        let number = self.find(pin.node)?;
        Ok(self.store.read(number, ObjectType::Regular, offset, out)?)
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

    fn attr(&mut self, node: Node) -> FsResult<Attr> {
        let attr = self.get(node)?.attr();
        // The object was removed; only a pin keeps it.
        if attr.nlink == 0 {
            return Err(FsError::Stale);
        }
        Ok(attr)
    }

    fn lookup(&mut self, dir: Node, name: Name<'_>, _: Purpose) -> FsResult<Node> {
        self.named(dir, name)
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
                kind: Some(ObjectType::Directory),
                id: 0,
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
                kind: Some(attr.kind),
                id: 0,
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
        self.alter(node, change)
    }

    fn remove(&mut self, dir: Node, name: Name<'_>, kind: Kind) -> FsResult<()> {
        self.is_writable()?;
        let dir = self.find(dir)?;
        let number = self.store.named(dir, name.bytes())?;
        self.can_replace(number, kind)?;
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
        target: Target,
    ) -> FsResult<()> {
        self.is_writable()?;
        let (from, to) = (self.find(from)?, self.find(to)?);
        let number = self.store.named(from, name.bytes())?;
        let replaced = self.store.named_or_free(to, new_name.bytes())?;
        if target == Target::Keep && replaced.is_some() {
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
            let kind = match self.store.directory(number) {
                Ok(_) => Kind::Directory,
                Err(_) => Kind::Other,
            };
            self.can_replace(replaced, kind)?;
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

    fn root(&mut self, tag: Option<u32>) -> FsResult<Node> {
        if tag.is_some_and(|tag| tag != self.tag) {
            return Err(FsError::Stale);
        }
        self.store.inodes.at(TOP)?;
        Ok(self.node(TOP))
    }

    fn open(&mut self, handle: &[u8]) -> FsResult<Node> {
        let (tag, number, generation) = handle::ram_parts(handle).ok_or(FsError::BadHandle)?;
        let inode = self.store.inodes.at(number)?;
        let is_it = self.store.inodes.generation(number) == generation;
        if tag != self.tag || !is_it || inode.attr.nlink == 0 {
            return Err(FsError::Stale);
        }
        Ok(self.node(number))
    }

    fn parent(&mut self, dir: Node) -> FsResult<Node> {
        let parent = self.store.directory(self.find(dir)?)?.parent;
        Ok(self.node(parent))
    }

    fn act_as(&mut self, caller: Option<(&Caller, &Rules)>) {
        let mut squashed = Caller::default();
        if let Some((caller, rules)) = caller {
            rules.squash(caller, &mut squashed);
        }
        self.caller = (squashed.uid, squashed.gid);
    }

    fn access(&mut self, node: Node, access: Access, inside: Option<&Attr>) -> FsResult<()> {
        if inside.is_some() {
            return Ok(());
        }
        let mode = self.get(node)?.attr.mode;
        let may = match access {
            Access::Read => true,
            Access::Write => self.writable && mode & 0o222 != 0,
            Access::Execute => mode & 0o111 != 0,
        };
        if may { Ok(()) } else { Err(FsError::Access) }
    }

    fn create(
        &mut self,
        dir: Node,
        name: Name<'_>,
        what: CreateWhat<'_>,
        change: &SetAttr,
    ) -> FsResult<Node> {
        self.make(dir, name, what, change)
    }

    #[cfg(any(test, fuzzing))]
    fn cwd(&mut self, out: &mut [u8]) -> FsResult<u32> {
        Ok(super::super::walk::put(out, 0, self.path) as u32)
    }

    fn resolve(&mut self, dir: Option<Node>, path: &[u8], _: bool) -> FsResult<Node> {
        let dir = dir.ok_or(FsError::CrossDevice)?;
        self.entry(dir, path)
    }

    fn open_at(&mut self, dir: Option<Node>, path: &[u8], how: &OpenFlags) -> FsResult<Pin> {
        self.open_name(dir.ok_or(FsError::CrossDevice)?, path, how)
    }
}
