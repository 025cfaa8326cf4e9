//! Tests of the responder against RFC 6762, RFC 6763 and hostile peers, in virtual time.
//!
//! `cargo xtask tidy` counts the RFC requirements that the documentation of a test quotes.

mod announcing;
mod answering;
mod bench;
mod chance;
mod conflicts;
mod crowd;
mod headers;
mod hostile;
mod known_answers;
mod links;
mod probing;
mod same_host;
mod script;
mod standard;
