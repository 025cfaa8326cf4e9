//! Traces for developers: defmt frames, written only to the target of `--log`.
//!
//! Messages for users are [events](crate::event).

pub use defmt::{debug, info, warn};
