//! The place of our own network stack in an executable without it.

#![forbid(unsafe_code)]

use crate::event::{Fatal, Sink};
use crate::net::Net;
use crate::sys::linux::fs::File;
use core::ffi::CStr;

/// The type of a link. No link exists.
#[derive(Clone, Copy, Debug)]
pub enum LinkKind {}

/// Configuration of our own stack, which is never used.
#[derive(Clone, Copy, Default, Debug)]
pub struct Stack {
    /// Always `None`.
    pub link: Option<(LinkKind, &'static CStr)>,
    /// Unused.
    pub name: &'static [u8],
}

impl Stack {
    /// Does nothing.
    pub const fn use_card(&mut self, _: Option<&'static CStr>) {}

    /// Cannot be called without a link.
    ///
    /// # Errors
    /// None.
    pub(super) const fn open(
        &self,
        (kind, _): (LinkKind, &'static CStr),
        _: Option<File>,
        _: &mut dyn Sink,
    ) -> Result<&'static mut dyn Net, Fatal> {
        match kind {}
    }
}
