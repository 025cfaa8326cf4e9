//! The backend as a tree of handles, which it does not know: so that tests of objects reach it.

use super::*;
use crate::vfs::{Access, Caller, CreateWhat, Export, Handles};

impl Handles for User {
    fn exports(&self) -> &[Export] {
        &[]
    }

    fn root(&mut self, _: usize) -> FsResult<Node> {
        self.root_dir()
    }

    fn open(&mut self, _: &[u8], _: &Caller) -> FsResult<Node> {
        Err(FsError::NotSupported)
    }

    fn handle(&mut self, _: Node) -> FsResult<Handle> {
        Err(FsError::NotSupported)
    }

    fn access(&mut self, _: Node, _: Access) -> FsResult<bool> {
        Err(FsError::NotSupported)
    }

    fn commit_metadata(&mut self) -> FsResult<()> {
        Ok(())
    }

    fn pin(&mut self, node: Node, access: Option<Access>) -> FsResult<Pin> {
        let flags = if access == Some(Access::Write) {
            WRITE
        } else {
            READ
        };
        match self.attr(node)?.kind {
            _ if self.pins_left == 0 => Err(FsError::TryLater),
            Kind::Regular if node.is_inside() => self.pin_inside(node, false),
            Kind::Regular => {
                let mut buffer = [0; 25];
                let path = fs::proc_path(number(node), &mut buffer);
                let file = fs::openat::<FsError>(AT_FDCWD, path, flags, 0)?;
                self.admit(file, false, false)
            }
            Kind::Directory => Err(FsError::IsDirectory),
            _ => Err(FsError::Invalid),
        }
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
        exports::check_changeable(dir, dir)?;
        let opened = fs::open_entry(number(dir), name.bytes(), flags, mode);
        let node = self.found.keep(opened)?;
        // It was made with its mode.
        let left = SetAttr {
            mode: None,
            ..*change
        };
        self.alter(node, &left)?;
        Ok(node)
    }
}
