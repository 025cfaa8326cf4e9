//! Clients for tests: NFS, SFTP, HTTP and multicast DNS, fsx and sshfs on mounted trees, and inventories of trees.

pub mod dns;
pub mod fsx;
pub mod http;
pub mod inventory;
pub mod nfs;
pub mod sftp;
pub mod sshfs;
