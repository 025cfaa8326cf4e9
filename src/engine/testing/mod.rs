//! Tools for tests and fuzzers of the engines: a client, a server without sockets, and a parser of replies as strict as the RFCs.

pub mod calls;
pub mod driver;
pub mod replies;
pub mod tree;
mod world;

pub use driver::Talk;
pub use world::{EVERYTHING, VERIFIER, World, connections, programs};
