//! The tree: the files of a backend, and what is inside the images that lie among them.
//!
//! Whether an object lies inside an image is asked here, once for every call and for every backend: a backend knows its own
//! files alone, and says which of them may be entered. Nothing inside can be changed.

use super::iso::{ImageFile, Images};
use super::{
    Access, Attr, Content, Detail, DirEntry, Extent, FsError, FsResult, FsStat, Name, Node, Pin,
    SetAttr, Vfs,
};
use core::ops::ControlFlow;

/// Files that images may lie among. What is not said here is as in [`Content`] and [`Vfs`], for objects outside of images.
pub trait Backend {
    /// Whether an image stays open while nothing keeps it, until it was not used between two calls of `release_idle`.
    const KEEPS_IMAGES: bool;
    /// The images that are open.
    fn images(&mut self) -> &mut Images;
    /// Opens the file of this name in `dir` to be read as an image, as the server itself.
    ///
    /// # Errors
    /// `NotDirectory`: it is not one that is entered.
    fn open_image(&mut self, dir: Node, name: Name<'_>) -> FsResult<ImageFile>;
    /// Lets the caller use an object so, also one inside an image, as far as the host does not say so by itself.
    ///
    /// # Errors
    /// `Access`: it may not.
    fn admit(&mut self, _node: Node, _access: Access) -> FsResult<()> {
        Ok(())
    }
    /// Whether the network may send from files without copying.
    fn lends(&self) -> bool {
        true
    }
    /// See [`Content`].
    fn begin(&mut self) {}
    /// See [`Vfs`].
    fn attr(&mut self, node: Node) -> FsResult<Attr>;
    /// See [`Vfs`].
    fn lookup(&mut self, dir: Node, name: Name<'_>) -> FsResult<Node>;
    /// See [`Vfs`].
    fn readlink(&mut self, node: Node, out: &mut [u8]) -> FsResult<u32>;
    /// See [`Vfs`].
    fn readdir(
        &mut self,
        dir: Node,
        from: u64,
        detail: Detail,
        each: &mut dyn FnMut(&DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<bool>;
    /// See [`Vfs`].
    fn statfs(&mut self, node: Node) -> FsResult<FsStat>;
    /// See [`Content`].
    fn unpin(&mut self, pin: Pin);
    /// See [`Content`].
    fn read(&mut self, pin: &Pin, offset: u64, out: &mut [u8]) -> FsResult<u32>;
    /// See [`Content`].
    fn extent(&mut self, pin: &Pin, offset: u64, len: u32) -> Option<Extent>;
    /// See [`Content`].
    fn write(&mut self, pin: &Pin, offset: u64, bytes: &[u8]) -> FsResult<()>;
    /// See [`Content`].
    fn write_from(&mut self, pin: &Pin, offset: u64, pipe: i32, len: usize) -> FsResult<()>;
    /// See [`Content`].
    fn sync(&mut self, pin: &Pin) -> FsResult<()>;
    /// See [`Vfs`].
    fn set_attr(&mut self, node: Node, change: &SetAttr) -> FsResult<()>;
    /// See [`Vfs`].
    fn remove(&mut self, dir: Node, name: Name<'_>, directory: bool) -> FsResult<()>;
    /// See [`Vfs`].
    fn rename(
        &mut self,
        from: Node,
        name: Name<'_>,
        to: Node,
        new_name: Name<'_>,
        replace: bool,
    ) -> FsResult<()>;
    /// See [`Vfs`].
    fn link(&mut self, node: Node, dir: Node, name: Name<'_>) -> FsResult<()>;
    /// See [`Content`].
    fn release_idle(&mut self) -> bool;
}

/// Whether objects may be changed, as far as that is known from where they lie.
///
/// # Errors
/// `ReadOnly`: one of them lies inside an image.
#[inline(always)]
pub(super) const fn check_changeable(one: Node, other: Node) -> FsResult<()> {
    if one.is_inside() | other.is_inside() {
        return Err(FsError::ReadOnly);
    }
    Ok(())
}

/// Keeps a file inside an image open, to be used so; `None`: for the server itself.
///
/// # Errors
/// As [`Handles::pin`](super::Handles::pin).
pub(super) fn pin_inside<B: Backend>(
    tree: &mut B,
    node: Node,
    access: Option<Access>,
) -> FsResult<Pin> {
    match access {
        Some(Access::Write) => return Err(FsError::ReadOnly),
        Some(access) => tree.admit(node, access)?,
        None => {}
    }
    let iso = tree.images().of(node).ok_or(FsError::Stale)?;
    iso.pin(node, false)
}

/// Asks the image that an object lies in, or the backend.
macro_rules! route {
    ($tree:ident, $node:expr, $call:ident ( $($argument:expr),* )) => {
        match $tree.images().of($node) {
            Some(iso) => iso.$call($($argument),*),
            None => Backend::$call($tree, $($argument),*),
        }
    };
}

impl<B: Backend> Content for B {
    fn begin(&mut self) {
        Backend::begin(self);
    }

    fn unpin(&mut self, pin: Pin) {
        route!(self, pin.node, unpin(pin));
    }

    fn read(&mut self, pin: &Pin, offset: u64, out: &mut [u8]) -> FsResult<u32> {
        route!(self, pin.node, read(pin, offset, out))
    }

    fn extent(&mut self, pin: &Pin, offset: u64, len: u32) -> Option<Extent> {
        if !self.lends() {
            return None;
        }
        route!(self, pin.node, extent(pin, offset, len))
    }

    fn write(&mut self, pin: &Pin, offset: u64, bytes: &[u8]) -> FsResult<()> {
        Backend::write(self, pin, offset, bytes)
    }

    fn write_from(&mut self, pin: &Pin, offset: u64, pipe: i32, len: usize) -> FsResult<()> {
        Backend::write_from(self, pin, offset, pipe, len)
    }

    fn sync(&mut self, pin: &Pin) -> FsResult<()> {
        Backend::sync(self, pin)
    }

    fn release_idle(&mut self) -> bool {
        let more = Backend::release_idle(self);
        // Once to see what was used since, and once more.
        let images = self.images();
        let left = images.release_idle();
        if B::KEEPS_IMAGES {
            return more | left;
        }
        images.release_idle();
        more
    }
}

impl<B: Backend> Vfs for B {
    fn attr(&mut self, node: Node) -> FsResult<Attr> {
        route!(self, node, attr(node))
    }

    fn lookup(&mut self, dir: Node, name: Name<'_>) -> FsResult<Node> {
        if dir.is_inside() {
            self.admit(dir, Access::Execute)?;
        }
        route!(self, dir, lookup(dir, name))
    }

    fn enter_image(&mut self, dir: Node, name: Name<'_>) -> FsResult<Node> {
        if dir.is_inside() {
            return Err(FsError::NotDirectory);
        }
        let image = self.open_image(dir, name)?;
        self.images().open(&image)
    }

    fn readlink(&mut self, node: Node, out: &mut [u8]) -> FsResult<u32> {
        route!(self, node, readlink(node, out))
    }

    fn readdir(
        &mut self,
        dir: Node,
        from: u64,
        detail: Detail,
        each: &mut dyn FnMut(&DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<bool> {
        self.admit(dir, Access::Read)?;
        route!(self, dir, readdir(dir, from, detail, each))
    }

    fn statfs(&mut self, node: Node) -> FsResult<FsStat> {
        route!(self, node, statfs(node))
    }

    fn set_attr(&mut self, node: Node, change: &SetAttr) -> FsResult<()> {
        check_changeable(node, node)?;
        Backend::set_attr(self, node, change)
    }

    fn remove(&mut self, dir: Node, name: Name<'_>, directory: bool) -> FsResult<()> {
        check_changeable(dir, dir)?;
        Backend::remove(self, dir, name, directory)
    }

    fn rename(
        &mut self,
        from: Node,
        name: Name<'_>,
        to: Node,
        new_name: Name<'_>,
        replace: bool,
    ) -> FsResult<()> {
        check_changeable(from, to)?;
        Backend::rename(self, from, name, to, new_name, replace)
    }

    fn link(&mut self, node: Node, dir: Node, name: Name<'_>) -> FsResult<()> {
        check_changeable(node, dir)?;
        Backend::link(self, node, dir, name)
    }
}
