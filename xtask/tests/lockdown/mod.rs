//! Every role under the profiles of poorer hosts (qemu/hosts), each started by `cargo xtask lockdown`.
//!
//! As `linux-2.4`, for which there are no fallbacks, the roles only say why they do not work.

mod empty_root;
mod mdns;
mod nfs;
mod probe;
mod profiles;
mod sftp;

/// Words that precede a command to run it under a profile.
fn wrapper(profile: &str) -> Vec<String> {
    let workshop = env!("CARGO_BIN_EXE_workshop");
    [workshop, "lockdown", profile, "--"]
        .map(String::from)
        .into()
}

/// For each profile, a module with tests of each role.
macro_rules! hosts {
    ($($host:ident = $profile:literal)*) => {
        $(mod $host {
            hosts!(nfs $profile: nfs_changes_reach_the_disk nfs_files_belong_to_their_users nfs_loops_serve_and_stop);
            hosts!(sftp $profile: sftp_session_uses_every_feature sftp_jail_uses_every_feature sftp_of_openssh_transfers_files);
            hosts!(mdns $profile: mdns_is_seen_by_avahi mdns_name_conflict_is_resolved browse_sees_avahi resolve_finds_avahi);
        })*
    };
    ($role:ident $profile:literal: $($test:ident)*) => {
        $(
            #[test]
            fn $test() -> anyhow::Result<()> {
                super::$role::$test($profile)
            }
        )*
    };
}

hosts! {
    esxi_7 = "esxi-7"
    linux_2_6_18 = "linux-2.6.18"
    freebsd_linuxulator = "freebsd-linuxulator"
    illumos_lx = "illumos-lx"
    gvisor = "gvisor"
    wsl1 = "wsl1"
    container = "container"
    minimal = "minimal"
}
