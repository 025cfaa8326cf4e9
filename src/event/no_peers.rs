//! Executables without connections report nothing about clients.

/// No counters.
pub(super) type Counters = [(); 0];

pub(super) const UNUSED: Counters = [];
