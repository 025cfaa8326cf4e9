//! Each system call of each role fails once, or succeeds without effect: no crash, hang, spin or loss. Each prints a line. The
//! long form disturbs three uses of each call by every fault.

use anyhow::{Result, ensure};
use xtask::machines::injection::table::play_all;
use xtask::machines::injection::{Fault, Role, Use};
use xtask::machines::server::root_for;
use xtask::testing::is_full_run;

/// Disturbs the first use of each call by the three faults that differ most.
fn survives(role: Role) -> Result<()> {
    if !root_for("network namespaces") {
        return Ok(());
    }
    let different = [
        Fault::Errno("ENOSYS"),
        Fault::Errno("EINTR"),
        Fault::NoEffect,
    ];
    let failures = if is_full_run() {
        play_all(role, &Use::ALL, &Fault::ALL)?
    } else {
        play_all(role, &[Use::First], &different)?
    };
    ensure!(failures.is_empty(), "{failures:#?}");
    Ok(())
}

#[test]
fn nfs_survives_a_failing_call() -> Result<()> {
    survives(Role::Nfs)
}

#[test]
fn nfs_with_path_handles_survives_a_failing_call() -> Result<()> {
    survives(Role::NfsPaths)
}

#[test]
fn serve_survives_a_failing_call() -> Result<()> {
    survives(Role::Serve)
}

#[test]
fn sftp_server_survives_a_failing_call() -> Result<()> {
    survives(Role::Sftp)
}

#[test]
fn jailed_sftp_server_survives_a_failing_call() -> Result<()> {
    survives(Role::SftpJail)
}

#[test]
fn mdns_survives_a_failing_call() -> Result<()> {
    survives(Role::Mdns)
}

#[test]
fn browse_survives_a_failing_call() -> Result<()> {
    survives(Role::Browse)
}

#[test]
fn resolve_survives_a_failing_call() -> Result<()> {
    survives(Role::Resolve)
}
