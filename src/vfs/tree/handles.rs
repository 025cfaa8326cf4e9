//! The tree's methods for NFS: objects by handle, for many callers, with checks of a caller's rights.

use super::super::{
    Access, Caller, FsError, FsResult, Handle, Name, Node, ObjectType, Peer, Pin, Purpose, Rights,
    Rules, Tree, Vfs, handle, is_image,
};
use crate::config::{HAS_ISO, HAS_NFS4};

impl Tree {
    /// The top of an export, to read only. The following calls are carried out as the anonymous user of `rules`.
    ///
    /// # Errors
    /// As [`Tree::root`].
    pub(in super::super) fn root_to_read(
        &mut self,
        number: usize,
        rules: &Rules,
    ) -> FsResult<Node> {
        let export = self.exports.get(number).ok_or(FsError::Stale)?;
        let root = export.root.ok_or(FsError::Stale)?;
        let backend = self.handles(root.backend as usize).ok_or(FsError::Stale)?;
        let mut top = backend.root(Some(root.tag))?;
        if root.is_image {
            top = self.root(number)?;
        }
        let backend = self.handles(root.backend as usize).ok_or(FsError::Stale)?;
        backend.act_as(Some((&Caller::ANONYMOUS, rules)));
        Ok(top.limited(Rights::of(false, rules.has(Rules::ISOS))))
    }

    /// Opens the object of a handle for a request of `peer`. The following calls are carried out as `caller`, as far as the host and the export's rules
    /// allow.
    ///
    /// # Errors
    /// `BadHandle`: not a handle of this server; `Stale`: the object was removed; `TryLater`: the search for the object continues;
    /// those of [`Tree::rules`].
    pub fn open(&mut self, bytes: &[u8], caller: &Caller, peer: &Peer) -> FsResult<Node> {
        let bytes = handle::unpadded(bytes);
        let mut buffer = [0; Handle::BYTES_MAX];
        let (mut file, mut inside) = (bytes, None);
        let is_inside = HAS_ISO && handle::is_inside(bytes);
        if is_inside {
            file = handle::outside(bytes, &mut buffer);
            inside = self.images().and_then(|images| images.find(file, bytes));
        }
        let Ok(tag) = handle::tag(file) else {
            return self.open_above(bytes, peer);
        };
        let number = self.tagged(tag).ok_or(FsError::Stale)?;
        let rules = self.rules(number, peer)?;
        let export = self.exports.get(number).ok_or(FsError::Stale)?;
        let root = export.root.ok_or(FsError::Stale)?;
        if is_inside && !rules.has(Rules::ISOS) && !root.is_image {
            // The handle is forged, or was issued when paths could still continue inside images of this export.
            return Err(FsError::Stale);
        }
        let node = match inside {
            Some(node) => node,
            None => {
                let node = self
                    .handles(root.backend as usize)
                    .ok_or(FsError::Stale)?
                    .open(file)?;
                if is_inside {
                    self.open_image(node, None)?;
                    let found = self.images().and_then(|images| images.find(file, bytes));
                    found.ok_or(FsError::Stale)?
                } else if root.is_image {
                    // The server never returns a handle of the image file itself.
                    return Err(FsError::Stale);
                } else {
                    node
                }
            }
        };
        let backend = self.handles(root.backend as usize).ok_or(FsError::Stale)?;
        backend.act_as(Some((caller, &rules)));
        Ok(node.limited(rules.rights()))
    }

    /// Records a change of an object, after it was made or has failed, for the attribute change of NFS 4.
    pub fn record_change(&mut self, node: Node) {
        if HAS_NFS4
            && !self.recent.0.is_empty()
            && let Ok(handle) = self.handle(node)
        {
            self.recent.add(&handle);
        }
    }

    /// Checks that the export of a handle is for `peer`. The object is not looked up.
    ///
    /// # Errors
    /// `BadHandle`: not a handle of this server, or one inside an image; `Stale`: no such export; those of [`Tree::rules`].
    pub fn check_peer(&mut self, handle: &[u8], peer: &Peer) -> FsResult<()> {
        let number = self.tagged(handle::tag(handle)?).ok_or(FsError::Stale)?;
        self.rules(number, peer).map(|_| ())
    }

    /// Returns true if the export of a handle is open.
    pub fn is_export_open(&self, handle: &Handle) -> bool {
        handle::tag(handle.bytes()).is_ok_and(|tag| self.tagged(tag).is_some())
    }

    /// Looks up a name for version 4 or MNT: `IMAGE.iso.d`, unless an object has that name, is the top of the image `IMAGE.iso`.
    ///
    /// # Errors
    /// As [`Tree::lookup`]; `Access`: the caller may not read the image file.
    pub fn lookup_or_enter(&mut self, dir: Node, name: Name<'_>) -> FsResult<Node> {
        match self.lookup(dir, name) {
            Err(FsError::NoEntry) if HAS_NFS4 => {}
            found => return found,
        }
        let image = name.bytes().strip_suffix(b".d");
        let image = image.filter(|image| dir.may_enter() && is_image(image));
        let file = self.lookup(dir, Name(image.ok_or(FsError::NoEntry)?))?;
        self.admit(file, Access::Read)?;
        let top = self.open_image(file, None).map_err(|error| match error {
            FsError::NotDirectory | FsError::Invalid | FsError::NotSupported => FsError::NoEntry,
            error => error,
        })?;
        let holder = self.handle(dir)?;
        if let Some(images) = self.images() {
            images.set_holder(holder);
        }
        Ok(top)
    }

    /// The parent of a directory. The top of an export is its own parent, and so is the top of an image.
    ///
    /// # Errors
    /// `Stale`: the directory is not in its export any more.
    pub fn parent(&mut self, dir: Node) -> FsResult<Node> {
        if dir.is_inside() {
            // In an image every directory has an entry "..", also the top.
            return self.backend(dir)?.lookup(dir, Name(b".."), Purpose::Any);
        }
        if dir.is_above() {
            return Ok(self.parent_above(dir));
        }
        let backend = self.handles(dir.backend()).ok_or(FsError::Stale)?;
        Ok(backend.parent(dir)?.limited_by(dir))
    }

    /// The parent of a directory for a request of `peer`: of an export's top, the directory above it; of an image's top, the directory
    /// in which [`Tree::lookup_or_enter`] entered it. `None`: `dir` is the root.
    ///
    /// # Errors
    /// As [`Tree::parent`] and [`Tree::root_for`]; `NoEntry`: an earlier server has entered the image.
    pub fn parent_in_all(&mut self, dir: Node, peer: &Peer) -> FsResult<Option<Node>> {
        self.peer = *peer;
        if dir.is_above() {
            return self.above_top(dir, None);
        }
        let parent = self.parent(dir)?;
        if parent != dir && !self.is_image_top(dir) {
            return Ok(Some(parent));
        }
        let tag = self.handle(dir)?.export_tag();
        let number = self.tagged(tag).ok_or(FsError::Stale)?;
        if dir.is_inside() && !self.exports_image(number) {
            let holder = self.images().and_then(|images| images.holder());
            let holder = holder.ok_or(FsError::NoEntry)?;
            let opened = self.open(holder.bytes(), &Caller::ANONYMOUS, peer);
            return opened.map(Some);
        }
        self.above_top(dir, Some(number))
    }

    /// Returns true for the top of an image.
    fn is_image_top(&mut self, dir: Node) -> bool {
        dir.is_inside() && self.images().is_some_and(|images| images.is_top(dir))
    }

    /// Returns true if an export is an image.
    fn exports_image(&self, number: usize) -> bool {
        let export = self.exports().get(number);
        export.is_some_and(|export| export.is_image())
    }

    /// The inode number of the entry that a directory with this handle covers: the top of an export, or of an image. `None`: the
    /// directory covers none, or is the root.
    pub fn covered(&mut self, dir: Node, handle: &Handle) -> Option<u64> {
        let mut tag = handle::root_tag(handle.bytes());
        if self.is_image_top(dir) {
            tag = Some(handle.export_tag());
        }
        let number = self.tagged(tag?)?;
        if dir.is_inside() && !self.exports_image(number) {
            return self.images().map(|images| images.identity());
        }
        let root = self.exports.get(number).and_then(|place| place.root);
        match root.map_or(0, |root| root.hook) {
            0 => self.covered_by_export(number),
            hook => Some(hook),
        }
    }

    /// Checks that the caller has this access to the object.
    ///
    /// # Errors
    /// `Access`: the caller has not.
    pub fn access(&mut self, node: Node, access: Access) -> FsResult<()> {
        if access == Access::Write && !node.may_change() {
            return Err(FsError::Access);
        }
        if node.is_above() {
            return Ok(());
        }
        if !node.is_inside() {
            let backend = self.handles(node.backend()).ok_or(FsError::Stale)?;
            return backend.access(node, access, None);
        }
        self.access_inside(node, access)
    }

    /// As [`Tree::access`], for an object inside an image.
    #[inline(never)] // Its attributes take a frame, which a READ does not need.
    fn access_inside(&mut self, node: Node, access: Access) -> FsResult<()> {
        let attr = self.attr(node);
        let attr = attr.as_ref().map_err(|error| *error)?;
        match self.access_checker(node) {
            Some(backend) => backend.access(node, access, Some(attr)),
            None => Ok(()),
        }
    }

    /// Returns true once for each image: at the first file in it whose content is compressed.
    pub fn finds_compressed(&mut self, node: Node) -> bool {
        let images = if node.is_inside() {
            self.images()
        } else {
            None
        };
        images.is_some_and(|images| images.finds_compressed(node))
    }

    /// Length of the image that was read last, and of its file system (bytes). `None`: that image could not be opened.
    pub fn image_sizes(&mut self) -> Option<[u64; 2]> {
        self.images()?.sizes()
    }

    /// Keeps a regular file open for longer than this request, for reading or writing; with `None`, only for a sync, and also a
    /// directory, whose node stays valid while others are looked up. A file's owner may always read and write it.
    ///
    /// # Errors
    /// `IsDirectory`; `Invalid`: neither file nor directory; `TryLater`: the maximum of files is pinned.
    pub fn pin(&mut self, node: Node, access: Option<Access>) -> FsResult<Pin> {
        if access == Some(Access::Write)
            && let Err(error) = Self::check_changeable(node)
        {
            // If the object is not a regular file, report that rather than `ReadOnly`.
            return Err(match self.attr(node)?.kind {
                ObjectType::Regular => error,
                ObjectType::Directory => FsError::IsDirectory,
                _ => FsError::Invalid,
            });
        }
        match access {
            Some(access) => self.admit(node, access)?,
            None if node.is_above() => return Ok(Pin { node, user: 0 }),
            None => {}
        }
        self.backend(node)?.pin(node, access)
    }

    /// Keeps a regular file open as [`Tree::pin`] does, for a caller that was admitted before: an open by version 4 of NFS outlives a
    /// change of the mode.
    ///
    /// # Errors
    /// As [`Tree::pin`].
    pub fn pin_opened(&mut self, node: Node, access: Access) -> FsResult<Pin> {
        if access == Access::Write {
            Self::check_changeable(node)?;
        }
        self.backend(node)?.pin(node, Some(access))
    }

    /// Checks that the caller may open a file for this access, as open(2) does: its owner by the mode, too, unless `again`.
    ///
    /// # Errors
    /// `Access`: the caller may not; `ReadOnly`.
    pub fn check_open(&mut self, node: Node, access: Access, again: bool) -> FsResult<()> {
        if access == Access::Write {
            Self::check_changeable(node)?;
        }
        if again {
            return self.admit(node, access);
        }
        match self.access(node, access) {
            Err(FsError::Access) if access == Access::Read => self.access(node, Access::Execute),
            done => done,
        }
    }

    /// Checks that the caller may open an object for this access. A file's owner may always read and write it, because the client's
    /// kernel checked the mode at open(2). Execute permission implies reading, because clients run a file by READ.
    ///
    /// # Errors
    /// `Access`: the caller may not.
    pub(super) fn admit(&mut self, node: Node, access: Access) -> FsResult<()> {
        let backend = self.access_checker(node);
        let Some(uid) = backend.and_then(|backend| backend.caller()) else {
            return Ok(());
        };
        match self.access(node, access) {
            Err(FsError::Access) => {}
            done => return done,
        }
        let attr = self.attr(node);
        let attr = attr.as_ref().map_err(|error| *error)?;
        match (attr.kind, access) {
            (ObjectType::Regular, _) if attr.uid == uid => Ok(()),
            (ObjectType::Regular, Access::Read) => self.access(node, Access::Execute),
            _ => Err(FsError::Access),
        }
    }

    /// As [`Tree::admit`], for a call that needs a directory.
    ///
    /// # Errors
    /// `Access`: the caller may not; `NotDirectory`: the caller may not, and the object is no directory.
    pub(super) fn admit_to_directory(&mut self, dir: Node, access: Access) -> FsResult<()> {
        match self.admit(dir, access) {
            Err(FsError::Access) if self.attr(dir)?.kind != ObjectType::Directory => {
                Err(FsError::NotDirectory)
            }
            admitted => admitted,
        }
    }

    /// The backend that checks the caller's rights; for an object inside an image, the backend of the image file. `None`: no
    /// checks, because the caller is the process itself.
    fn access_checker(&mut self, node: Node) -> Option<&mut dyn Vfs> {
        let mut number = node.backend();
        if node.is_inside() {
            number = self.images()?.within(node)?;
        }
        self.handles(number)
    }
}
