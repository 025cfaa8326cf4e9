//! SFTP (version 3): requests, and replies parsed strictly. The crate `ssh-encoding`, which shares no code with stowaway, encodes
//! and decodes the values.

pub mod reply;
pub mod request;
mod samples;
pub mod table;

pub use reply::{
    AccountNames, Attrs, Limits, NameEntry, Reply, Space, StatVfs, Status, Sums, Version,
};
pub use request::{Ids, Request, kind, open};
pub use samples::{Opened, with_path};
