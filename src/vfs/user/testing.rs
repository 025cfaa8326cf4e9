//! Pins on the path backend, which opens files by path only, so that the tests of objects can run on it.

use super::super::kernel::{READ, WRITE};
use super::*;
use crate::vfs::Access;

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
