//! The workshop: everything that builds, runs, tests and measures stowaway. One command per file.
//!
//! A command module has `Args` and `main(Args)`. `setup`, `server`, `client`, `sftp` and `dns` serve the others and the tests in
//! `xtask/tests/`; `bin/exercise` is what a guest does in those. Nothing here links stowaway's own library: what is tested
//! is the file.

pub mod bench;
pub mod build;
pub mod client;
pub mod dns;
pub mod faulty;
pub mod fuzz;
pub mod hello;
pub mod image;
pub mod inventory;
pub mod iso;
pub mod lockdown;
pub mod log;
pub mod mounts;
pub mod nbd;
pub mod qemu;
pub mod random;
pub mod run;
pub mod scorecard;
pub mod server;
pub mod setup;
pub mod sftp;
pub mod size;
pub mod sshd;
pub mod sshfs;
pub mod test;
pub mod tidy;
