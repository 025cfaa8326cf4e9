//! A host with processes: the supervisor and its loops, a process per connection, sessions on standard input and output, files
//! that a role reads.

#[cfg(feature = "check")]
pub mod client;
#[cfg(feature = "serve")]
pub use crate::sys::linux::daemon;
#[cfg(feature = "browse")]
pub mod exec;
#[cfg(any(feature = "mdns", feature = "browse", feature = "nfs"))]
pub mod files;
#[cfg(feature = "mdns")]
pub mod helper;
#[cfg(feature = "init")]
pub mod init;
#[cfg(feature = "serve")]
pub mod loops;
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
#[cfg(feature = "mdns")]
pub mod watch;

#[cfg(feature = "sftp-server")]
pub use crate::sys::linux::sandbox::{enter, set_undumpable};
