//! The interface of `names` in an executable that looks up no host names: exports with names are refused.

use crate::drive::World;
use crate::mem::Twin;
use crate::sys::Errno;
use crate::sys::Needs;
use crate::time::Instant;
use crate::vfs::Tree;
use core::ffi::CStr;

/// The resolver, which is missing.
pub(super) struct HostNames;

#[allow(clippy::unused_self, reason = "the interface of names.rs")]
impl HostNames {
    pub(super) const fn new(_: usize, _: bool, _: Option<&'static mut Twin>) -> Self {
        Self
    }

    pub(super) const fn start(&mut self, _: &mut World<'_>) {}

    pub(super) const fn restore(&mut self, _: Option<&'static CStr>, _: &mut World<'_>) {}

    pub(super) const fn stop(&mut self, _: &mut World<'_>) {}

    pub(super) const fn reload(&mut self, _: &mut World<'_>) -> Result<(), Errno> {
        Ok(())
    }

    pub(super) const fn add_needs(&self, _: &mut Needs) {}

    pub(super) const fn ready(&mut self, _: &mut World<'_>, _: u32) -> bool {
        false
    }

    pub(super) const fn turn(&mut self, _: &mut World<'_>) -> bool {
        false
    }

    pub(super) const fn poll_at(&self) -> Instant {
        Instant::NEVER
    }
}

pub(super) const fn test(_: &mut Tree) {}
