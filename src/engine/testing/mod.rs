//! Tools for tests and fuzzers of the engines: a client, a server without sockets, and a parser of replies as strict as the RFCs.

mod bench;
pub mod calls;
pub mod driver;
pub mod replies;
pub mod tree;

pub use bench::{Bench, EVERYTHING, VERIFIER, connections, programs};
pub use driver::Talk;
