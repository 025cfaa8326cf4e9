//! Traces for developers: defmt frames, written where `--log` says and nowhere otherwise.
//!
//! What a person should read is an [event](crate::event) instead.

pub use defmt::{debug, info, warn};
