//! What tests and fuzzers try the engines with: a client, a server without sockets, and a reader as strict as the RFCs write.

pub mod calls;
pub mod replies;
pub mod tree;
mod world;

pub use world::{EVERYTHING, Talk, VERIFIER, World, programs};
