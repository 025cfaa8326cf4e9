//! Python programs: paramiko, which speaks SSH and SFTP by itself, and scripts that need nothing but Python.

use super::{Remote, program};
use anyhow::{Result, ensure};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use xtask::build::workspace_root;
use xtask::machines::sshd::USER;
use xtask::setup::{self, Package};

const VERSION: &str = "4.0.0";

/// Debian's, which every user can start.
pub const PYTHON: &str = "/usr/bin/python3";

/// Where paramiko lies; installed by pip when it is not there yet.
fn package() -> Result<PathBuf> {
    let path = workspace_root().join(format!("target/paramiko-{VERSION}"));
    if path.exists() {
        return Ok(path);
    }
    setup::need(&[Package::PYTHON, Package::PIP])?;
    let _waiting = setup::progress("installing paramiko");
    // Beside it first: what is there is whole.
    let fresh = tempfile::tempdir_in(workspace_root().join("target"))?;
    setup::quietly(
        Command::new(PYTHON)
            .args(["-m", "pip", "install", "--quiet", "--target"])
            .arg(fresh.path())
            .arg(format!("paramiko=={VERSION}")),
    )?;
    fs::rename(fresh.keep(), &path)?;
    Ok(path)
}

/// Runs a part of `session.py` through the daemon.
pub fn run(remote: &Remote, part: &str) -> Result<String> {
    let mut python = program(PYTHON, remote.here());
    let daemon = &remote.daemon;
    let script = remote.here().join("session.py");
    fs::write(&script, include_str!("session.py"))?;
    python
        .env("PYTHONPATH", package()?)
        .arg(script)
        .args([&daemon.port.to_string(), USER])
        .args([daemon.key(), daemon.known_hosts()])
        .arg(part);
    setup::quietly(&mut python)
}

#[test]
fn paramiko_does_all_it_can() -> Result<()> {
    Remote::each(|remote| {
        run(remote, "tour")?;
        ensure!(fs::read(remote.there().join("tour/renamed"))? == b"replaced");
        Ok(())
    })
}

#[test]
fn paramiko_checks_files_without_fetching_them() -> Result<()> {
    Remote::each(|remote| run(remote, "check").map(drop))
}
