//! A host with processes: the supervisor and its loops, a process per connection, sessions on standard input and output, files
//! that a role reads, blocking clients.

#[cfg(any(feature = "check", feature = "nfs"))]
pub mod client;
pub use crate::sys::linux::daemon;
pub mod exec;
pub mod files;
pub mod helper;
pub mod init;
#[cfg(any(feature = "http", test))]
pub mod log_file;
pub mod loops;
#[cfg(feature = "check")]
pub mod one_shot;
#[cfg(feature = "sftp-server")]
pub mod per_connection;
#[cfg(feature = "probe")]
pub mod probe;
#[cfg(feature = "sftp-server")]
pub mod stdio;
#[cfg(feature = "serve")]
pub mod supervisor;
#[cfg(feature = "sftp-server")]
pub mod syslog;
pub mod watch;

pub use crate::sys::linux::sandbox::set_undumpable;
