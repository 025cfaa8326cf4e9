//! Implements handles on the path backend, which has none, so that the tests of objects can run on it.

use super::*;
use crate::vfs::{Access, Caller, CreateWhat, Handles, Rules};

impl Handles for User {
    fn root(&mut self, _: u32) -> FsResult<Node> {
        self.root_dir()
    }

    fn open(&mut self, _: &[u8]) -> FsResult<Node> {
        Err(FsError::NotSupported)
    }

    fn parent(&mut self, _: Node) -> FsResult<Node> {
        Err(FsError::NotSupported)
    }

    fn act_as(&mut self, _: Option<(&Caller, &Rules)>) {}

    fn access(&mut self, _: Node, _: Access) -> FsResult<()> {
        Err(FsError::NotSupported)
    }

    fn create(
        &mut self,
        dir: Node,
        name: Name<'_>,
        make: CreateWhat<'_>,
        change: &SetAttr,
    ) -> FsResult<Node> {
        let (mut flags, mode) = (PATH, change.mode.unwrap_or(0o666));
        match make {
            CreateWhat::File => flags = alter::NEW,
            _ => self.make(dir, name, make, change.mode)?,
        }
        let opened = fs::open_entry(number(dir), name.bytes(), flags, mode);
        let node = self.found.store(opened)?;
        // Creation has already set the mode.
        let left = SetAttr {
            mode: None,
            ..*change
        };
        self.alter(node, &left)?;
        Ok(node)
    }
}

impl User {
    /// Pins a node by opening its descriptor again through /proc.
    pub(super) fn pin_node(&mut self, node: Node, access: Option<Access>) -> FsResult<Pin> {
        let flags = if access == Some(Access::Write) {
            WRITE
        } else {
            READ
        };
        match self.attr(node)?.kind {
            _ if self.pins_left == 0 => Err(FsError::TryLater),
            ObjectType::Regular => {
                let how = OpenFlags::default();
                let mut buffer = [0; 25];
                let path = fs::proc_path(number(node), &mut buffer);
                let file = fs::openat::<FsError>(AT_FDCWD, path, flags, 0)?;
                self.check(file, &how, true)
                    .inspect_err(|_| fs::close(file))?;
                Ok(self.admit(file))
            }
            ObjectType::Directory => Err(FsError::IsDirectory),
            _ => Err(FsError::Invalid),
        }
    }
}
