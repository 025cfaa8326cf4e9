//! The interface of `jobs` where each job is done at once.

use super::task::World;
use crate::net::Ready;
use crate::vfs::Tree;

pub(super) const fn start(_: &mut World<'_>) {}

pub(super) const fn have_ended(_: &Tree) -> bool {
    false
}

pub(super) const fn reap(_: &mut Tree, _: &Ready) -> u32 {
    0
}

pub(super) const fn forget_ended(_: &mut Tree, _: u32) {}
