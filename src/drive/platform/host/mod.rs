//! A host with processes: the supervisor and its loops, a process per connection, sessions on standard input and output, the
//! figures of a process.

#[cfg(feature = "nfs")]
pub mod loops;
#[cfg(feature = "sftp-server")]
pub mod per_connection;
#[cfg(any(feature = "figures", test, fuzzing))]
pub(super) mod status;
#[cfg(feature = "sftp-server")]
pub mod stdio;
#[cfg(feature = "serve")]
pub mod supervisor;
