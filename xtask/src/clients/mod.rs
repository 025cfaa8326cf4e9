//! What talks to a server under test: NFS, SFTP and DNS messages, and what a mounted tree looks like.

pub mod dns;
pub mod inventory;
pub mod nfs;
pub mod sftp;
pub mod sshfs;
