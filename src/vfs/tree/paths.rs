//! The tree's methods for SFTP: objects by path, for a single peer. Paths are as clients write them; [`walk`](super::super::walk) has
//! their rules. The backend tries to resolve a path in one call. If it cannot, or an image is in the path, the tree walks it. Without
//! a backend for paths, the tree walks every path from the pseudo root.

use super::super::walk::{BUFFER_BYTES, End, Path, next_name, put};
use super::super::{
    Attr, FsError, FsResult, Node, ObjectType, OpenFlags, Peer, Pin, Tree, is_image,
};
use super::root;
use crate::config::HAS_NFS;
use core::ffi::CStr;

/// The result of a walk: a directory, a name in it, and the object of that name if it exists.
#[derive(Default)]
struct WalkEnd {
    parent: Node,
    node: Option<Node>,
    name: heapless::Vec<u8, 255>,
}

impl Tree {
    /// Begins a request of the SFTP peer, which is carried out with the process's own UID and the backend's umask. Both stay set
    /// until a handle is opened for a caller.
    pub fn act_as_process(&mut self, peer: &Peer) {
        if HAS_NFS {
            self.peer = *peer;
        }
        if let Some(paths) = self.paths() {
            paths.act_as(None);
        }
    }

    /// The absolute path of the root directory. All absolute paths begin with it; others do not exist.
    pub const fn root_path(&self) -> &'static [u8] {
        match self.root_path {
            [] => b"/",
            path => path,
        }
    }

    /// The root directory, at which absolute paths begin.
    ///
    /// # Errors
    /// As [`super::Vfs::root`].
    pub fn root_dir(&mut self) -> FsResult<Node> {
        match self.paths() {
            None if HAS_NFS => self.enter(root::ROOT),
            paths => paths.ok_or(FsError::Stale)?.root(None),
        }
    }

    /// See [`super::Vfs::cwd`].
    pub fn cwd(&mut self, out: &mut [u8]) -> FsResult<u32> {
        match self.paths() {
            None if HAS_NFS => Ok(put(out, 0, b"/") as u32),
            paths => paths.ok_or(FsError::Stale)?.cwd(out),
        }
    }

    /// Sets the working directory.
    ///
    /// # Errors
    /// As [`Tree::resolve`]; `NotDirectory`.
    pub fn chdir(&mut self, dir: &'static CStr) -> FsResult<()> {
        if self.attr_at(dir.to_bytes(), true)?.kind != ObjectType::Directory {
            return Err(FsError::NotDirectory);
        }
        self.paths().ok_or(FsError::Stale)?.chdir(dir)
    }

    /// Resolves a path through directories, symbolic links and images; a link at the end is followed if `follow`.
    ///
    /// # Errors
    /// As [`super::Vfs::resolve`].
    pub fn resolve(&mut self, path: &[u8], follow: bool) -> FsResult<Node> {
        let found = self
            .paths()
            .ok_or(FsError::CrossDevice)
            .and_then(|paths| paths.resolve(None, path, follow));
        let Err(error) = found else { return found };
        let end = if follow { End::Follow } else { End::Keep };
        let mut last = WalkEnd::default();
        self.walk(path, end, error, &mut last)?;
        let node = last.node.ok_or(FsError::NoEntry)?;
        if node.is_inside() || node.is_above() {
            return Ok(node);
        }
        // Opened again, because the nodes of a walk are valid only during the walk.
        let backend = self.backend(last.parent)?;
        backend.resolve(Some(last.parent), &last.name, false)
    }

    /// The attributes of the object at the end of a path.
    ///
    /// # Errors
    /// As [`Tree::resolve`].
    pub fn attr_at(&mut self, path: &[u8], follow: bool) -> FsResult<Attr> {
        let paths = self.paths().ok_or(FsError::CrossDevice);
        let attr = paths.and_then(|paths| paths.attr_at(path, follow));
        match attr {
            Err(FsError::NotDirectory | FsError::CrossDevice) => {
                let node = self.resolve(path, follow)?;
                self.attr(node)
            }
            attr => attr,
        }
    }

    /// Opens the object at the end of a path for longer than this request.
    ///
    /// # Errors
    /// As [`super::Vfs::open_at`].
    pub fn open_at(&mut self, path: &[u8], how: &OpenFlags) -> FsResult<Pin> {
        let paths = self.paths().ok_or(FsError::CrossDevice);
        let opened = paths.and_then(|paths| paths.open_at(None, path, how));
        let Err(error) = opened else { return opened };
        let end = match how.create {
            Some(_) if how.has(OpenFlags::EXCLUSIVE) => End::New,
            Some(_) => End::Absent,
            None => End::Follow,
        };
        let mut last = WalkEnd::default();
        self.walk(path, end, error, &mut last)?;
        let object = last.node.unwrap_or(last.parent);
        if object.is_above() {
            return root::open(object, &last.name, how);
        }
        if !object.is_inside() {
            let backend = self.backend(last.parent)?;
            return backend.open_at(Some(last.parent), &last.name, how);
        }
        if how.has(OpenFlags::WRITE | OpenFlags::TRUNCATE) || how.create.is_some() {
            return Err(FsError::ReadOnly);
        }
        let node = last.node.ok_or(FsError::NoEntry)?;
        let images = self.images().ok_or(FsError::Stale)?;
        images.pin_as(node, how.has(OpenFlags::DIRECTORY))
    }

    /// Walks a path after the backend returned `error`, if that can mean an image in the path (`NotDirectory`) or a path that the
    /// backend cannot resolve (`CrossDevice`). Else returns `error`.
    fn walk(&mut self, path: &[u8], end: End, error: FsError, last: &mut WalkEnd) -> FsResult<()> {
        let follows = crate::config::HAS_ISO && self.enters_all_images;
        let (mut rest, mut may) = (path, error == FsError::CrossDevice);
        while let Some(name) = next_name(&mut rest) {
            may |= error == FsError::NotDirectory && (follows || is_image(name));
        }
        if !may {
            return Err(error);
        }
        let mut done = Path::new(self);
        done.follows = follows;
        done.walk(path, &mut [0; BUFFER_BYTES], end)?;
        (last.parent, last.node) = (done.parent, done.node());
        let name = match (done.name(), last.node) {
            (b"", _) => b".",
            // Opens an export's top as "." of itself, because no backend has the directories above the exports.
            (_, Some(top)) if last.parent.is_above() => {
                last.parent = top;
                b"."
            }
            (name, _) => name,
        };
        let _ = last.name.extend_from_slice(name);
        Ok(())
    }
}
