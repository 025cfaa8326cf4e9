//! Every role under the profiles of poorer hosts (qemu/hosts), each started by `cargo xtask lockdown`.
//!
//! As `linux-2.4`, for which there are no fallbacks, the roles only say why they do not work.

mod empty_root;
mod emulated;
mod mdns;
mod nfs;
mod probe;
mod profiles;
mod sftp;

use xtask::build::Arch;

/// A profile, and the architecture of our program under it.
#[derive(Clone, Copy)]
struct Host {
    profile: &'static str,
    arch: Arch,
}

/// Words that precede a command to run it under a profile.
fn wrapper(profile: &str) -> Vec<String> {
    let workshop = env!("CARGO_BIN_EXE_workshop");
    [workshop, "lockdown", profile, "--"]
        .map(String::from)
        .into()
}

/// For each profile and architecture, a module with tests of each role.
macro_rules! hosts {
    ($($host:ident = $profile:literal $arch:ident)*) => {
        $(mod $host {
            const HOST: super::Host = super::Host { profile: $profile, arch: super::Arch::$arch };
            hosts!(nfs: nfs_changes_reach_the_disk nfs_files_belong_to_their_users nfs_squashes_everybody nfs_loops_serve_and_stop);
            hosts!(sftp: sftp_session_uses_every_feature sftp_jail_uses_every_feature sftp_of_openssh_transfers_files);
            hosts!(mdns: mdns_is_seen_by_avahi mdns_name_conflict_is_resolved browse_sees_avahi resolve_finds_avahi);
        })*
    };
    ($role:ident: $($test:ident)*) => {
        $(
            #[test]
            fn $test() -> anyhow::Result<()> {
                super::$role::$test(HOST)
            }
        )*
    };
}

hosts! {
    esxi_7 = "esxi-7" X86_64
    linux_2_6_18 = "linux-2.6.18" X86_64
    freebsd_linuxulator = "freebsd-linuxulator" X86_64
    illumos_lx = "illumos-lx" X86_64
    gvisor = "gvisor" X86_64
    wsl1 = "wsl1" X86_64
    container = "container" X86_64
    minimal = "minimal" X86_64
    esxi_7_i686 = "esxi-7" I686
    linux_2_6_18_i686 = "linux-2.6.18" I686
    container_i686 = "container" I686
    minimal_i686 = "minimal" I686
}
