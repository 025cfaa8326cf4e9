//! paramiko: a Python implementation of SSH and SFTP, and scripts with the standard library only.

use super::{Remote, program};
use anyhow::{Result, ensure};
use std::fs;
use xtask::machines::sshd::USER;
use xtask::setup::{self, PythonPackage};

/// Runs a part of `session.py` against the daemon and returns its output.
pub fn run(remote: &Remote, part: &str) -> Result<String> {
    let mut python = program(PythonPackage::PYTHON, remote.client_dir());
    let daemon = &remote.daemon;
    let script = remote.client_dir().join("session.py");
    fs::write(&script, include_str!("session.py"))?;
    python
        .env("PYTHONPATH", PythonPackage::PARAMIKO.path()?)
        .arg(script)
        .args([&daemon.port().to_string(), USER])
        .args([daemon.key(), daemon.known_hosts()])
        .arg(part);
    setup::run_captured(&mut python)
}

#[test]
fn paramiko_tour_succeeds() -> Result<()> {
    Remote::for_each_daemon(|remote| {
        run(remote, "tour")?;
        ensure!(fs::read(remote.server_dir().join("tour/renamed"))? == b"replaced");
        Ok(())
    })
}

#[test]
fn paramiko_checks_files_by_remote_checksum() -> Result<()> {
    Remote::for_each_daemon(|remote| run(remote, "check").map(drop))
}
