//! What a server under test runs on: processes, network namespaces, poorer kernels, disks that fail, guests of QEMU.

pub mod faulty;
pub mod iso;
pub mod lockdown;
pub mod mounts;
pub mod nbd;
pub mod qemu;
pub mod server;
pub mod sshd;
