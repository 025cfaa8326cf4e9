//! The interface of `http` in an executable without HTTP.

use super::{Options, Report};
use crate::time::Instant;

/// Checks nothing.
pub(super) const fn check(_: &Options, _: &mut Report, _: Instant) {}
