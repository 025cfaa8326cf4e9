//! The interface of `logged` in an executable without a server's log.

use super::Sink;

/// A sink that is no log.
pub trait Logged {}

pub(super) const fn shows_debug(_: &dyn Sink) -> bool {
    false
}

pub(super) const fn reopen(_: &mut dyn Sink) {}
