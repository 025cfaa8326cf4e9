//! The interface of `groups` in an executable without `--manage-gids`.

use super::Wanted;
use super::file_user::FileUser;
use crate::event::Fatal;
use crate::vfs::Tree;
use crate::vfs::host::Host;

/// No table exists.
pub(super) enum Groups {}

pub(super) const fn watch_refusals(_: &Wanted, _: FileUser, _: &mut Tree) {}

impl Groups {
    pub(super) const fn start(
        _: &Wanted,
        _: FileUser,
        _: &mut Host,
    ) -> Result<Option<&'static mut Self>, Fatal> {
        Ok(None)
    }

    pub(super) const fn load(&self) -> Result<(), Fatal> {
        match *self {}
    }
}
