//! Every role under the profiles of poorer hosts (qemu/hosts), each started by `cargo xtask lockdown`.
//!
//! A profile has a module with the tests that pass there. A test that needs a fallback which the program lacks is not listed.

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

/// A module for a profile: its name, and for each role the tests to run there.
macro_rules! host {
    ($host:ident = $profile:literal, $($role:ident: $($test:ident)*;)*) => {
        mod $host {
            $($(
                #[test]
                fn $test() -> anyhow::Result<()> {
                    super::$role::$test($profile)
                }
            )*)*
        }
    };
}

host! {
    esxi_7 = "esxi-7",
    nfs: nfs_changes_reach_the_disk nfs_files_belong_to_their_users nfs_loops_serve_and_stop;
    sftp: sftp_session_uses_every_feature sftp_jail_uses_every_feature sftp_of_openssh_transfers_files;
    mdns: mdns_is_seen_by_avahi mdns_name_conflict_is_resolved browse_sees_avahi resolve_finds_avahi;
}

host! {
    linux_2_6_18 = "linux-2.6.18",
    nfs: nfs_changes_reach_the_disk nfs_files_belong_to_their_users nfs_loops_serve_and_stop;
    sftp: sftp_session_uses_every_feature sftp_jail_uses_every_feature sftp_of_openssh_transfers_files;
    mdns: mdns_is_seen_by_avahi mdns_name_conflict_is_resolved browse_sees_avahi resolve_finds_avahi;
}

host! {
    freebsd_linuxulator = "freebsd-linuxulator",
    nfs: nfs_changes_reach_the_disk nfs_files_belong_to_their_users nfs_loops_serve_and_stop;
    sftp: sftp_session_uses_every_feature sftp_jail_uses_every_feature sftp_of_openssh_transfers_files;
    mdns: mdns_is_seen_by_avahi mdns_name_conflict_is_resolved browse_sees_avahi resolve_finds_avahi;
}

host! {
    illumos_lx = "illumos-lx",
    nfs: nfs_changes_reach_the_disk nfs_files_belong_to_their_users nfs_loops_serve_and_stop;
    sftp: sftp_session_uses_every_feature sftp_jail_uses_every_feature sftp_of_openssh_transfers_files;
    mdns: mdns_is_seen_by_avahi mdns_name_conflict_is_resolved browse_sees_avahi resolve_finds_avahi;
}

host! {
    gvisor = "gvisor",
    nfs: nfs_changes_reach_the_disk nfs_files_belong_to_their_users nfs_loops_serve_and_stop;
    sftp: sftp_session_uses_every_feature sftp_jail_uses_every_feature sftp_of_openssh_transfers_files;
    mdns: mdns_is_seen_by_avahi mdns_name_conflict_is_resolved browse_sees_avahi resolve_finds_avahi;
}

host! {
    wsl1 = "wsl1",
    nfs: nfs_changes_reach_the_disk nfs_files_belong_to_their_users nfs_loops_serve_and_stop;
    sftp: sftp_session_uses_every_feature sftp_jail_uses_every_feature sftp_of_openssh_transfers_files;
    mdns: mdns_is_seen_by_avahi mdns_name_conflict_is_resolved browse_sees_avahi resolve_finds_avahi;
}

host! {
    container = "container",
    nfs: nfs_changes_reach_the_disk nfs_files_belong_to_their_users nfs_loops_serve_and_stop;
    sftp: sftp_session_uses_every_feature sftp_jail_uses_every_feature sftp_of_openssh_transfers_files;
    mdns: mdns_is_seen_by_avahi mdns_name_conflict_is_resolved browse_sees_avahi resolve_finds_avahi;
}

host! {
    minimal = "minimal",
    nfs: nfs_changes_reach_the_disk nfs_files_belong_to_their_users nfs_loops_serve_and_stop;
    sftp: sftp_session_uses_every_feature sftp_jail_uses_every_feature sftp_of_openssh_transfers_files;
    mdns: mdns_is_seen_by_avahi mdns_name_conflict_is_resolved browse_sees_avahi resolve_finds_avahi;
}
