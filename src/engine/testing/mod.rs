//! Tools for tests and fuzzers of the engines: a client, a server without sockets, and a parser of replies as strict as the RFCs.

pub mod calls;
pub mod replies;
pub mod tree;
mod world;

pub use world::{EVERYTHING, Talk, VERIFIER, World, connections, programs};
