//! Kernels without some system calls, sandboxes that forbid them, and calls that return wrong results.

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

/// System calls that old kernels lack, and for which the server has a fallback.
const RECENT: [(&str, i64); 13] = [
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
fn every_recent_call_has_a_fallback() -> Result<()> {
    for (name, call) in RECENT {
        play(|options| lockdown::run_without(&[call], || Sftp::start(options)))
            .with_context(|| format!("without {name}"))?;
    }
    Ok(())
}

#[test]
fn works_without_all_recent_calls() -> Result<()> {
    let all = RECENT.map(|(_, call)| call);
    play(|options| lockdown::run_without(&all, || Sftp::start(options)))
}

#[test]
fn recent_calls_may_fail_with_eperm() -> Result<()> {
    // System calls that a sandbox profile of 2018 does not list.
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
        // The first four calls may return EACCES or EINVAL for other reasons, so only the other calls are made to fail with these.
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
fn wrong_or_failing_getuid_is_tolerated() -> Result<()> {
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
                if let (Some(user), Some(directory)) = (user, directory_of(&options)) {
                    std::os::unix::fs::chown(directory, Some(user), Some(user))?;
                }
                lockdown::answering(&calls, errno, || Sftp::start(&options))
            })
            .with_context(|| format!("for user {user:?}, where getuid says {errno}"))?;
        }
    }
    Ok(())
}

/// The directory in which a server starts, or else its jail.
fn directory_of(options: &SftpOptions) -> Option<String> {
    let jail = options.arguments.last().cloned();
    options
        .directory
        .as_ref()
        .map(|path| path.display().to_string())
        .or(jail)
}
