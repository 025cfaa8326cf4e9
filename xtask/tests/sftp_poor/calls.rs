//! Kernels without some calls, sandboxes that forbid them, and calls that lie.

use super::play;
use anyhow::{Context, Result};
use nix::libc::{
    EACCES, EINVAL, EPERM, SYS_copy_file_range, SYS_faccessat2, SYS_fadvise64, SYS_fchmodat2,
    SYS_getegid, SYS_geteuid, SYS_getgid, SYS_getrandom, SYS_getuid, SYS_landlock_add_rule,
    SYS_landlock_create_ruleset, SYS_landlock_restrict_self, SYS_openat2, SYS_prctl, SYS_renameat2,
    SYS_seccomp, SYS_splice, SYS_statx, SYS_syslog,
};
use xtask::clients::sftp::{Sftp, SftpOptions};
use xtask::machines::lockdown;
use xtask::machines::server::root_for;

/// Calls that an old or small kernel has not got, and whose work has to be done in another way.
const YOUNG: [(&str, i64); 13] = [
    ("statx", SYS_statx),
    ("openat2", SYS_openat2),
    ("faccessat2", SYS_faccessat2),
    ("renameat2", SYS_renameat2),
    ("fchmodat2", SYS_fchmodat2),
    ("getrandom", SYS_getrandom),
    ("landlock_create_ruleset", SYS_landlock_create_ruleset),
    ("landlock_add_rule", SYS_landlock_add_rule),
    ("landlock_restrict_self", SYS_landlock_restrict_self),
    ("copy_file_range", SYS_copy_file_range),
    ("prctl", SYS_prctl),
    ("seccomp", SYS_seccomp),
    ("splice", SYS_splice),
];

#[test]
fn no_young_call_is_needed() -> Result<()> {
    for (name, call) in YOUNG {
        play(|options| lockdown::without(&[call], || Sftp::start(options)))
            .with_context(|| format!("without {name}"))?;
    }
    Ok(())
}

#[test]
fn none_of_them_is() -> Result<()> {
    let all = YOUNG.map(|(_, call)| call);
    play(|options| lockdown::without(&all, || Sftp::start(options)))
}

#[test]
fn a_sandbox_may_call_what_it_does_not_know_forbidden() -> Result<()> {
    // Those that a sandbox of 2018 had not heard of.
    let calls = [
        SYS_statx,
        SYS_openat2,
        SYS_faccessat2,
        SYS_fchmodat2,
        SYS_landlock_create_ruleset,
        SYS_landlock_add_rule,
        SYS_landlock_restrict_self,
        SYS_copy_file_range,
        SYS_seccomp,
        SYS_syslog,
        SYS_fadvise64,
    ];
    for errno in [EPERM, EACCES, EINVAL] {
        // Of these the last two are lies that only such calls may tell.
        let calls = if errno == EPERM {
            &calls[..]
        } else {
            &calls[4..]
        };
        play(|options| lockdown::answering(calls, errno, || Sftp::start(options)))
            .with_context(|| format!("where they fail by {errno}"))?;
    }
    Ok(())
}

#[test]
fn who_one_is_may_be_a_lie_or_a_secret() -> Result<()> {
    const NOBODY: u32 = 65_534;
    let calls = [SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid];
    for user in [None, Some(NOBODY)] {
        if user.is_some() && !root_for("another user") {
            continue;
        }
        for errno in [0, EPERM, nix::libc::ENOSYS] {
            play(|options| {
                let options = SftpOptions {
                    user,
                    ..options.clone()
                };
                if let (Some(user), Some(directory)) = (user, place(&options)) {
                    std::os::unix::fs::chown(directory, Some(user), Some(user))?;
                }
                lockdown::answering(&calls, errno, || Sftp::start(&options))
            })
            .with_context(|| format!("for user {user:?}, where getuid says {errno}"))?;
        }
    }
    Ok(())
}

/// The directory that a server begins in.
fn place(options: &SftpOptions) -> Option<String> {
    let jail = options.arguments.last().cloned();
    options
        .directory
        .as_ref()
        .map(|path| path.display().to_string())
        .or(jail)
}
