//! The interface of `script` in an executable without network boot: there is no menu of images.

use super::reply::Asked;
use super::{Http, Step};
use crate::engine::Cx;
use crate::wire::Writer;

/// The menu, which is missing.
#[derive(Default)]
pub struct Script;

#[allow(clippy::unused_self, reason = "the interface of script.rs")]
impl Script {
    /// The executable has no menu.
    pub const IS_SERVED: bool = false;

    /// Nothing.
    pub const fn new(_: u16, _: bool) -> Self {
        Self
    }

    pub(super) const fn note(&self, _: &mut Cx<'_>, _: bool, _: u16, _: &[u8]) {}
}

#[allow(clippy::unused_self, reason = "the interface of script.rs")]
impl Http {
    pub(super) const fn answer_script(
        &mut self,
        _: &mut Cx<'_>,
        _: &Asked<'_>,
        _: &mut Writer<'_>,
    ) -> Option<Step> {
        None
    }
}
