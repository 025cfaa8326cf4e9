//! The interface of `names` in an executable that looks up no host names: exports with names are refused.

use crate::drive::Task;
use crate::mem::Twin;
use crate::vfs::Tree;
use core::ffi::CStr;

pub(super) const fn task(
    _: usize,
    _: bool,
    _: Option<&'static mut Twin>,
    _: Option<&'static CStr>,
    _: bool,
) -> Option<&'static mut dyn Task> {
    None
}

pub(super) const fn test(_: &mut Tree) {}
