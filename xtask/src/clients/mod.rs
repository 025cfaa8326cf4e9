//! What talks to a server under test: NFS, SFTP and DNS messages, programs on what is mounted, and what that looks like.

pub mod dns;
pub mod fsx;
pub mod inventory;
pub mod nfs;
pub mod sftp;
pub mod sshfs;
