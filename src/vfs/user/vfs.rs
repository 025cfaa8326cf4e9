//! The backend's methods.

#[cfg(test)]
use super::super::Access;
use super::super::kernel::{self, PATH, READ, WRITE, change};
use super::super::{
    Attr, Caller, CreateWhat, Detail, DirEntry, FsError, FsResult, FsStat, Handle, ImageFile, Kind,
    Name, Node, ObjectType, OpenFlags, Patience, Pin, Purpose, Rules, SetAttr, Stop, Target, Vfs,
};
use super::ring::NONE;
use super::{User, node_of, number, stat};
use crate::sys::linux::fs::{self, AT_FDCWD};
use core::ffi::CStr;
use core::ops::ControlFlow;
use rustix::fs::{AtFlags, OFlags};

impl Vfs for User {
    fn image(&mut self, dir: Node, name: Option<Name<'_>>) -> FsResult<ImageFile> {
        let (true, Some(name)) = (crate::config::HAS_ISO, name) else {
            return Err(FsError::NotDirectory);
        };
        let flags = READ | OFlags::NOFOLLOW;
        let file = fs::open_entry::<FsError>(number(dir), name.bytes(), flags, 0)?;
        Ok(ImageFile {
            disk: kernel::disk(file),
            handle: Handle::EMPTY,
        })
    }

    #[cfg(test)]
    fn pin(&mut self, node: Node, access: Option<Access>) -> FsResult<Pin> {
        self.pin_node(node, access)
    }

    fn attr(&mut self, node: Node) -> FsResult<Attr> {
        stat(node)
    }

    fn lookup(&mut self, dir: Node, name: Name<'_>, _: Purpose) -> FsResult<Node> {
        self.steps
            .store(fs::open_entry(number(dir), name.bytes(), PATH, 0))
    }

    fn readlink(&mut self, node: Node, out: &mut [u8]) -> FsResult<u32> {
        let read = fs::readlinkat::<FsError>(number(node), out);
        let len = read.map_err(|error| match error {
            // ENOENT of readlinkat(2) with an empty path: not a symbolic link.
            FsError::NoEntry => FsError::Invalid,
            error => error,
        })?;
        self.refuse_system(number(node))?;
        Ok(self.show(out, len))
    }

    fn readdir(
        &mut self,
        dir: Node,
        from: u64,
        _: Detail,
        each: &mut dyn FnMut(&DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<bool> {
        match self.list(number(dir), from, each) {
            // EBADF: the descriptor is O_PATH.
            Err(FsError::Stale) => {}
            listed => return listed,
        }
        let opened = fs::open_entry(number(dir), b".", READ | OFlags::DIRECTORY, 0);
        let again = number(self.found.store(opened)?);
        self.refuse_system(again)?;
        self.list(again, from, each)
    }

    fn statfs(&mut self, node: Node) -> FsResult<FsStat> {
        kernel::statfs(number(node))
    }

    fn unpin(&mut self, pin: Pin) {
        self.pins_left += 1;
        fs::close(number(pin.node));
    }

    fn read(&mut self, pin: &Pin, offset: u64, out: &mut [u8], _: Patience) -> Result<u32, Stop> {
        Ok(fs::read_some::<FsError>(number(pin.node), offset, out)?)
    }

    fn write(&mut self, pin: &Pin, offset: u64, bytes: &[u8]) -> FsResult<()> {
        self.act_as_process();
        match fs::pwrite::<FsError>(number(pin.node), offset, bytes)? {
            done if done as usize == bytes.len() => Ok(()),
            // A short write without an errno. No file system does this; retrying could loop.
            _ => Err(FsError::Io),
        }
    }

    fn sync(&mut self, pin: &Pin) -> FsResult<()> {
        fs::fsync(number(pin.node))
    }

    fn set_attr(&mut self, node: Node, change: &SetAttr) -> FsResult<()> {
        self.alter(node, change)
    }

    fn remove(&mut self, dir: Node, name: Name<'_>, kind: Kind) -> FsResult<()> {
        fs::unlinkat(number(dir), name.bytes(), kind == Kind::Directory)
    }

    fn rename(
        &mut self,
        from: Node,
        name: Name<'_>,
        to: Node,
        new_name: Name<'_>,
        target: Target,
    ) -> FsResult<()> {
        let replace = target == Target::Replace;
        let old = (number(from), name.bytes());
        let new = (number(to), new_name.bytes());
        match fs::renameat(old, new, replace) {
            Err(FsError::NotSupported | FsError::Invalid) if !replace => {}
            renamed => return renamed,
        }
        // No RENAME_NOREPLACE: Linux before 3.15, or the file system lacks it. linkat(2) never overwrites a name.
        if fs::link_entry::<FsError>(old, new).is_ok() {
            let removed = self.remove(from, name, Kind::Other);
            if removed.is_err() {
                let _ = self.remove(to, new_name, Kind::Other);
            }
            return removed;
        }
        // Directories have no hard links, and some file systems have none at all.
        match self.lookup(to, new_name, Purpose::Any) {
            Ok(_) => Err(FsError::Exists),
            Err(FsError::NoEntry) => fs::renameat(old, new, true),
            Err(error) => Err(error),
        }
    }

    fn link(&mut self, node: Node, dir: Node, name: Name<'_>) -> FsResult<()> {
        let (file, dir) = (number(node), number(dir));
        match change::link(file, dir, name.bytes()) {
            // Without /proc, link by the path. Not in a jail, where the path could be redirected.
            Err(FsError::NoEntry) if self.named == file && self.at == AT_FDCWD => {
                fs::linkat(AT_FDCWD, self.text(), dir, name.bytes(), AtFlags::empty())
            }
            linked => linked,
        }
    }

    fn release_idle(&mut self) -> bool {
        self.named = NONE;
        self.steps.release_idle();
        self.found.release_idle();
        false
    }

    fn act_as(&mut self, _: Option<(&Caller, &Rules)>) {
        self.act_as_process();
    }

    /// Sets only the mode, as SFTP asks for no other attribute.
    fn create(
        &mut self,
        dir: Node,
        name: Name<'_>,
        make: CreateWhat<'_>,
        change: &SetAttr,
    ) -> FsResult<Node> {
        let made = self.make(dir, name, make, change.mode)?;
        #[cfg(test)]
        self.alter(
            made,
            &SetAttr {
                mode: None,
                ..*change
            },
        )?;
        Ok(made)
    }

    fn root(&mut self, _: Option<u32>) -> FsResult<Node> {
        if self.top == NONE {
            self.top = fs::openat::<FsError>(AT_FDCWD, c"/", PATH, 0)?;
        }
        Ok(node_of(self.top))
    }

    fn cwd(&mut self, out: &mut [u8]) -> FsResult<u32> {
        match &self.jail {
            Some(jail) => Ok(jail.cwd(out)),
            None => fs::getcwd(out),
        }
    }

    fn chdir(&mut self, dir: &'static CStr) -> FsResult<()> {
        self.set_jail(dir)
    }

    fn resolve(&mut self, dir: Option<Node>, path: &[u8], follow: bool) -> FsResult<Node> {
        self.set_path(dir, path)?;
        self.resolve_taken(follow)
    }

    fn attr_at(&mut self, path: &[u8], follow: bool) -> FsResult<Attr> {
        self.set_path(None, path)?;
        self.attr_taken(follow)
    }

    fn open_at(&mut self, dir: Option<Node>, path: &[u8], how: &OpenFlags) -> FsResult<Pin> {
        // Check the limit before a file is created or truncated.
        if self.pins_left == 0 {
            return Err(FsError::TryLater);
        }
        let writes = how.has(OpenFlags::WRITE | OpenFlags::TRUNCATE);
        let mut flags = match (how.has(OpenFlags::READ), writes) {
            (_, false) => READ,
            (true, true) => WRITE,
            (false, true) => READ.union(OFlags::WRONLY),
        };
        if how.has(OpenFlags::APPEND) {
            flags |= OFlags::APPEND;
        }
        if how.has(OpenFlags::DIRECTORY) {
            flags |= OFlags::DIRECTORY;
        }
        let mut mode = 0;
        if let Some(bits) = how.create {
            mode = bits & 0o7777;
            flags |= OFlags::CREATE;
            if how.has(OpenFlags::EXCLUSIVE) {
                flags |= OFlags::EXCL;
            }
        }
        self.set_path(dir, path)?;
        // Checks the kind before opening, because open(2) can have effects. With O_DIRECTORY or O_EXCL the kernel checks.
        let (mut is_new, mut is_plain) = (flags.contains(OFlags::EXCL), false);
        if !flags.intersects(OFlags::DIRECTORY | OFlags::EXCL) {
            match self.attr_taken(dir.is_none()) {
                Ok(Attr { kind, .. }) => {
                    self.check_kind(kind, false)?;
                    is_plain = kind == ObjectType::Regular && self.jail.is_none();
                }
                Err(error) => is_new = error == FsError::NoEntry,
            }
        }
        let file = self.open_taken(flags, mode)?;
        // A local user may have swapped the object after `attr_taken`. Without a jail, that user could open the new object anyway.
        if !is_plain || how.has(OpenFlags::TRUNCATE) {
            self.check(file, how, is_new)
                .inspect_err(|_| fs::close(file))?;
        }
        Ok(self.admit(file))
    }
}
