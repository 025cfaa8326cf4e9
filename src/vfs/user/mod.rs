//! The host's files by path, for a single peer, with the rights of the process's user.
//!
//! A path is resolved in one system call where the kernel can. There are no handles: a node is a file descriptor, kept for one
//! request in a small ring, or until its pin is released. The backend opens regular files, directories and, without a jail, devices
//! and files of pseudo file systems such as proc. In a jail all paths begin at its directory: `RESOLVE_BENEATH` of openat2 enforces
//! that. If the call is missing, or a path seems to leave the jail, the tree walks it ([`walk`](super::walk)).

use super::kernel::{self, PATH, change, error, stat_path};
use super::walk::Text;
use super::{
    Attr, Backend, DirEntry, FsError, FsResult, Node, ObjectType, OpenFlags, Pin, Rights, Vfs as _,
};
use crate::sys::linux::fs::{self, AT_FDCWD};
use crate::sys::linux::fsuid;
use core::ffi::CStr;
use core::mem::MaybeUninit;
use core::ops::ControlFlow;
use jail::Jail;
use ring::{FOUND_COUNT, NONE, Ring, STEP_COUNT};
use rustix::fd::RawFd;
use rustix::fs::{AtFlags, OFlags};

mod alter;
mod jail;
mod ring;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod vfs;

/// The backend.
#[derive(Debug)]
#[repr(C)] // Frequently used fields first: small offsets make short instructions.
pub struct User {
    /// Descriptor of the directory at which all paths begin.
    top: RawFd,
    /// Number of files that may still be opened.
    pins_left: u32,
    jail: Option<Jail>,
    /// Descriptor of the object to which `text` resolved; [`NONE`]: not resolved. Operations that cannot use an O_PATH descriptor
    /// open the path again.
    named: RawFd,
    /// Umask of created objects; `None`: the process's own.
    umask: Option<u32>,
    /// The current path, with a NUL at its end; in a jail, relative to the jail's top, beginning with ".".
    text: Text,
    /// Directory at which `text` begins: a node's descriptor, AT_FDCWD without a jail, or [`NONE`] for the jail's top.
    at: RawFd,
    /// Descriptors of intermediate lookups of a walk.
    steps: Ring,
    /// Descriptors of resolved paths.
    found: Ring,
}

/// Tests create many backends in one process and would run out of descriptors. In the role, the backend lasts until exit.
#[cfg(test)]
impl Drop for User {
    fn drop(&mut self) {
        self.steps.release_idle();
        self.found.release_idle();
        if self.top > 2 {
            fs::close(self.top);
        }
    }
}

/// A node's descriptor.
const fn number(node: Node) -> RawFd {
    node.number() as RawFd
}

/// The attributes of an object.
fn stat(node: Node) -> FsResult<Attr> {
    stat_path(number(node), c"", AtFlags::empty())
}

/// The node of a descriptor.
const fn node_of(file: RawFd) -> Node {
    Node::of_number(Backend::User, Rights::ALL, file as u32)
}

impl User {
    /// A backend that keeps at most `pin_count` files and directories open, besides a few descriptors of its own.
    pub fn new(pin_count: usize) -> Self {
        Self {
            top: NONE,
            steps: Ring::new(STEP_COUNT),
            found: Ring::new(FOUND_COUNT),
            pins_left: pin_count as u32,
            jail: None,
            text: Text::new(),
            at: AT_FDCWD,
            named: NONE,
            umask: None,
        }
    }

    /// Sets the umask of created objects, instead of the process's own.
    pub const fn set_umask(&mut self, mask: u32) {
        self.umask = Some(mask);
    }

    /// Sets the directory at which all paths begin.
    #[cfg(test)]
    pub(super) fn set_start_directory(&mut self, dir: &CStr) {
        self.top = fs::File::open::<FsError>(dir, PATH, 0).unwrap().leak();
    }

    /// Sets the current path: `path` translated for the kernel, or the name `path` in `dir`.
    fn set_path(&mut self, dir: Option<Node>, path: &[u8]) -> FsResult<()> {
        self.named = NONE;
        self.text.clear();
        let mut path = path;
        self.at = match (dir, &self.jail) {
            (Some(dir), _) => number(dir),
            (None, None) => AT_FDCWD,
            (None, Some(jail)) => {
                path = jail.enter(path, &mut self.text)?;
                NONE
            }
        };
        change::terminate(&mut self.text, path).map(drop)
    }

    /// Opens the current path. `CrossDevice`: the path leaves the jail, or the kernel cannot exclude that.
    fn open_taken(&mut self, flags: OFlags, mode: u32) -> FsResult<RawFd> {
        if self.at == NONE {
            return match fs::open_beneath(self.top, self.text(), flags, mode) {
                // EAGAIN: a rename raced. ENOSYS: old kernel without openat2; some seccomp policies return EPERM instead.
                Err(FsError::TryLater | FsError::Permission | FsError::NotSupported) => {
                    Err(FsError::CrossDevice)
                }
                opened => opened,
            };
        }
        // A name in a directory must not follow a symbolic link.
        let is_name = self.at != AT_FDCWD;
        let kept = if is_name {
            OFlags::NOFOLLOW
        } else {
            OFlags::empty()
        };
        fs::openat(self.at, self.text(), flags | kept, mode)
    }

    /// The current path.
    fn text(&self) -> &CStr {
        crate::mem::c_str(&self.text)
    }

    /// Counts an open file against the limit and returns its pin.
    const fn admit(&mut self, file: RawFd) -> Pin {
        self.pins_left -= 1;
        Pin {
            node: node_of(file),
            user: 0,
        }
    }

    /// Checks an open object: a client may open neither a FIFO nor, in a jail, a device or a file of a pseudo file system. A local
    /// user may have swapped the object after `attr_taken`. Then truncates a regular file if `how` says so.
    #[allow(clippy::unnecessary_cast)] // The widths differ from one architecture to the next.
    fn check(&mut self, file: RawFd, how: &OpenFlags, is_new: bool) -> FsResult<()> {
        let mut buffer = MaybeUninit::uninit();
        let stat = fs::fstatat::<FsError>(file, c"", AtFlags::empty(), &mut buffer)?;
        let kind = ObjectType::of_mode(stat.st_mode as u32);
        self.check_kind(kind, how.has(OpenFlags::DIRECTORY))?;
        // Files of pseudo file systems have no blocks.
        if stat.st_blocks == 0 {
            self.refuse_system(file)?;
        }
        let is_cut = is_new && stat.st_size == 0;
        if how.has(OpenFlags::TRUNCATE) && kind == ObjectType::Regular && !is_cut {
            fs::truncate::<FsError>(file, None, 0)?;
        }
        Ok(())
    }

    /// Checks that objects of this kind may be opened. A FIFO may not: open(2) would wait for another process, or wake one. A
    /// device may not in a jail.
    fn check_kind(&self, kind: ObjectType, directory: bool) -> FsResult<()> {
        match kind {
            ObjectType::Directory if !directory => Err(FsError::IsDirectory),
            ObjectType::Directory | ObjectType::Regular => Ok(()),
            ObjectType::CharacterDevice | ObjectType::BlockDevice if self.jail.is_none() => Ok(()),
            _ => Err(FsError::Access),
        }
    }

    /// Refuses an object of a pseudo file system in a jail, because it may show or change processes outside. Without a jail, the
    /// client opens what its user may open.
    fn refuse_system(&self, file: RawFd) -> FsResult<()> {
        if self.jail.is_some() && kernel::is_pseudo(&fs::fstatfs(file).map_err(error)?) {
            return Err(FsError::Access);
        }
        Ok(())
    }

    fn act_as_process(&self) {
        fsuid::restore();
        match self.umask {
            Some(mask) => fsuid::set_umask(mask),
            None => fsuid::restore_umask(),
        }
    }

    /// Opens the current path as a node.
    fn resolve_taken(&mut self, follow: bool) -> FsResult<Node> {
        let opened = self.open_taken(path_flags(follow), 0);
        let node = self.found.store(opened);
        self.named = node.map_or(NONE, number);
        node
    }

    /// The attributes of the object at the current path.
    fn attr_taken(&mut self, follow: bool) -> FsResult<Attr> {
        if self.at == NONE {
            let node = self.resolve_taken(follow)?;
            return self.attr(node);
        }
        stat_path(self.at, self.text(), end_flags(follow))
    }

    fn list(
        &self,
        dir: RawFd,
        from: u64,
        each: &mut dyn FnMut(&DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<bool> {
        fs::list(dir, from, &mut |found| {
            // The parent may be outside of the jail.
            let attr = if self.jail.is_some() && found.name.to_bytes() == b".." {
                Err(FsError::Access)
            } else {
                stat_path(dir, found.name, AtFlags::SYMLINK_NOFOLLOW)
            };
            each(&DirEntry {
                name: found.name.to_bytes(),
                cookie: found.cookie,
                inode: found.inode,
                kind: found.kind(),
                id: 0,
                object: attr.as_ref().ok().map(|attr| (attr, None)),
            })
        })
    }
}

/// Flags of fstatat(2): a link at the end of the path is followed if `follow`.
const fn end_flags(follow: bool) -> AtFlags {
    if follow {
        AtFlags::empty()
    } else {
        AtFlags::SYMLINK_NOFOLLOW
    }
}

/// Flags of open(2) with O_PATH: a link at the end of the path is followed if `follow`.
const fn path_flags(follow: bool) -> OFlags {
    if follow {
        PATH.difference(OFlags::NOFOLLOW)
    } else {
        PATH
    }
}
