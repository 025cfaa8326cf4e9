//! Each system call of each role fails once, or succeeds without effect: no crash, hang, spin or loss. `cargo xtask faults` prints
//! the whole table.

use anyhow::{Result, ensure};
use xtask::machines::injection::table::{Choice, Table, Use};
use xtask::machines::injection::{Fault, Role};
use xtask::machines::server::root_for;

/// Disturbs the first use of each call by the three faults that differ most.
fn survives(role: Role) -> Result<()> {
    if !root_for("network namespaces") {
        return Ok(());
    }
    let choice = Choice {
        uses: vec![Use::First],
        faults: [
            Fault::Errno("ENOSYS"),
            Fault::Errno("EINTR"),
            Fault::NoEffect,
        ]
        .into(),
        call: None,
        workers: role.worker_count(),
    };
    let table = Table::of(role, &choice)?;
    let failures = table.failures();
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
fn sftp_server_in_a_jail_survives_a_failing_call() -> Result<()> {
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
