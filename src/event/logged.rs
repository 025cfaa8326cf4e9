//! Sinks that may be a server's log.

use super::Sink;
use crate::config::{HAS_LOG, HAS_SERVE};

/// A sink as a log.
pub trait Logged {
    /// Returns true if events of level [`Level::Debug`](super::Level::Debug) are written. Without a level, none are.
    fn shows_debug(&self) -> bool {
        false
    }

    /// Opens the file of the lines again, in case another program has renamed it.
    fn reopen(&mut self) {}
}

pub(super) fn shows_debug(sink: &dyn Sink) -> bool {
    HAS_LOG && sink.shows_debug()
}

pub(super) fn reopen(sink: &mut dyn Sink) {
    if HAS_SERVE {
        sink.reopen();
    }
}
