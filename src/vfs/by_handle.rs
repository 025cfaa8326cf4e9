//! The tree's objects by their handles, for callers that differ: what NFS needs. And which of them a caller may open.

use super::{
    Access, Caller, CreateWhat, Export, FsError, FsResult, Handle, Handles, Kind, Name, Node, Pin,
    SetAttr, Tree, handle,
};

impl Tree {
    /// The top of an export. What follows is done as the server itself.
    ///
    /// # Errors
    /// `Stale`: there is no such export, or its directory is gone.
    pub fn root(&mut self, number: usize) -> FsResult<Node> {
        let Export { top, .. } = *self.exports.get(number).ok_or(FsError::Stale)?;
        let backend = self.handles(top.backend as usize).ok_or(FsError::Stale)?;
        backend.act_as(None);
        let node = backend.root(top.tag)?;
        if top.is_image {
            return self.open_image(node, None);
        }
        Ok(node)
    }

    /// The object that a handle names. What follows is done as `caller`, as far as the host and the export's rules allow.
    ///
    /// # Errors
    /// `BadHandle`: no server of this kind made it; `Stale`: what it named is gone; `TryLater`: that is still being looked for.
    pub fn open(&mut self, bytes: &[u8], caller: &Caller) -> FsResult<Node> {
        let bytes = handle::unpadded(bytes);
        let mut buffer = [0; Handle::BYTES_MAX];
        let (mut file, mut inside) = (bytes, None);
        let is_inside = cfg!(feature = "iso") && handle::is_inside(bytes);
        if is_inside {
            file = handle::outside(bytes, &mut buffer);
            inside = self.images().and_then(|images| images.find(file, bytes));
        }
        let number = self.tagged(handle::tag(file)?).ok_or(FsError::Stale)?;
        let Export { top, rules, .. } = *self.exports.get(number).ok_or(FsError::Stale)?;
        if is_inside && !rules.isos && !top.is_image {
            // Made up, or from before the option was taken away.
            return Err(FsError::Stale);
        }
        let node = match inside {
            Some(node) => node,
            None => {
                let node = self
                    .handles(top.backend as usize)
                    .ok_or(FsError::Stale)?
                    .open(file)?;
                if is_inside {
                    self.open_image(node, None)?;
                    let found = self.images().and_then(|images| images.find(file, bytes));
                    found.ok_or(FsError::Stale)?
                } else if top.is_image {
                    // Of the image itself no handle was ever given.
                    return Err(FsError::Stale);
                } else {
                    node
                }
            }
        };
        let backend = self.handles(top.backend as usize).ok_or(FsError::Stale)?;
        backend.act_as(Some((caller, &rules)));
        Ok(node)
    }

    /// The directory that a directory lies in. Above the top of an export there is nothing, nor above that of an image: they lie in
    /// themselves.
    ///
    /// # Errors
    /// `Stale`: it does not lie in its export any more.
    pub fn parent(&mut self, dir: Node) -> FsResult<Node> {
        if dir.is_inside() {
            // Images have an entry of this name in each directory, also in their top.
            return self.backend(dir)?.lookup(dir, Name(b".."));
        }
        let backend = self.handles(dir.backend()).ok_or(FsError::Stale)?;
        backend.parent(dir)
    }

    /// The handle that names `node`: the same bytes every time, also after a restart.
    ///
    /// # Errors
    /// None of its own.
    pub fn handle(&mut self, node: Node) -> FsResult<Handle> {
        self.backend(node)?.handle(node)
    }

    /// Whether the caller may use the object so.
    ///
    /// # Errors
    /// `Access`: it may not.
    pub fn access(&mut self, node: Node, access: Access) -> FsResult<()> {
        if access == Access::Write && !node.may_change() {
            return Err(FsError::Access);
        }
        if !node.is_inside() {
            let backend = self.handles(node.backend()).ok_or(FsError::Stale)?;
            return backend.access(node, access);
        }
        let attr = self.attr(node);
        let attr = attr.as_ref().map_err(|error| *error)?;
        match self.asked(node) {
            Some(backend) => backend.access_by_mode(attr, access),
            None => Ok(()),
        }
    }

    /// Keeps a regular file open for longer than this request, to be used so; `None`: only to be made durable.
    /// Its owner may always read and write.
    ///
    /// # Errors
    /// `IsDirectory`; `Invalid`: it is neither; `TryLater`: as many are pinned as can be.
    pub fn pin(&mut self, node: Node, access: Option<Access>) -> FsResult<Pin> {
        if access == Some(Access::Write)
            && let Err(error) = Self::check_changeable(node)
        {
            // What it is comes first.
            return Err(match self.attr(node)?.kind {
                Kind::Regular => error,
                Kind::Directory => FsError::IsDirectory,
                _ => FsError::Invalid,
            });
        }
        if let Some(access) = access {
            self.admit(node, access)?;
        }
        self.backend(node)?.pin(node, access)
    }

    /// Makes an object that was not there: with `change`, owned by the caller otherwise.
    ///
    /// # Errors
    /// `Exists`; `NotDirectory`; `NotSupported`: there are no such objects here. After any it is not there.
    pub fn create(
        &mut self,
        dir: Node,
        name: Name<'_>,
        what: CreateWhat<'_>,
        change: &SetAttr,
    ) -> FsResult<Node> {
        Self::check_changeable(dir)?;
        self.handles(dir.backend())
            .ok_or(FsError::Stale)?
            .create(dir, name, what, change)
    }

    /// Whether the caller may open an object, to use it so. The owner of a file may always read and write it: the client's own system
    /// has asked already when the file was opened. Who may run a file must be able to read it.
    ///
    /// # Errors
    /// `Access`: it may not.
    #[inline(never)]
    pub(super) fn admit(&mut self, node: Node, access: Access) -> FsResult<()> {
        let backend = self.asked(node);
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
            (Kind::Regular, _) if attr.uid == uid => Ok(()),
            (Kind::Regular, Access::Read) => self.access(node, Access::Execute),
            _ => Err(FsError::Access),
        }
    }

    /// The backend that knows whether the caller may use an object: its own, or that of the image in which it lies. `None`: the caller
    /// is the process itself.
    fn asked(&mut self, node: Node) -> Option<&mut dyn Handles> {
        let mut number = node.backend();
        if node.is_inside() {
            number = self.images()?.within(node)?;
        }
        self.handles(number)
    }
}
