//! Services of DNS-SD, as roles announce and list them.

#[cfg(feature = "mdns")]
pub mod announce;
#[cfg(any(feature = "browse", feature = "resolve"))]
pub mod browse;
