//! Clients for tests: NFS, SFTP and multicast DNS, fsx and sshfs on mounted trees, and inventories of trees.

pub mod dns;
pub mod fsx;
pub mod inventory;
pub mod nfs;
pub mod sftp;
pub mod sshfs;
