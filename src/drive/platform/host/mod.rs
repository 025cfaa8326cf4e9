//! A host with processes: the supervisor and its loops, a process per connection, sessions on standard input and output, the
//! figures of a process.

pub mod loops;
pub mod per_connection;
#[cfg_attr(not(any(feature = "figures", test, fuzzing)), path = "no_status.rs")]
pub(super) mod status;
#[cfg(feature = "stdio")]
pub mod stdio;
#[cfg_attr(not(feature = "serve"), path = "no_supervisor.rs")]
pub mod supervisor;
