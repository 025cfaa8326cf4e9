//! A host with processes: the supervisor and its loops, a process per connection, sessions on standard input and output, the
//! figures of a process.

#[cfg(feature = "loops")]
pub mod loops;
#[cfg(feature = "stdio")]
pub mod per_connection;
#[cfg(any(feature = "figures", test, fuzzing))]
pub(super) mod status;
#[cfg(feature = "stdio")]
pub mod stdio;
#[cfg_attr(not(feature = "serve"), path = "no_supervisor.rs")]
pub mod supervisor;
