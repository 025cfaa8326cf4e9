//! A small Debian with systemd, for tests that install a package.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::build::workspace_root;
use crate::setup;

/// The packages of Debian's other inits, with their libraries.
pub const INITS: [&str; 5] = ["openrc", "libeinfo1", "librc1", "insserv", "sysvinit-core"];

/// Unpacks Debian's smallest system, with systemd and man, below target/ on first use; returns its root directory. Needs root.
/// Tests change a copy.
pub fn system() -> Result<PathBuf> {
    let path = workspace_root().join("target/debian");
    if path.exists() {
        return Ok(path);
    }
    setup::install_packages(&["debootstrap"])?;
    let _waiting = setup::progress("unpacking a Debian system (60 MB of packages)");
    // Renamed at the end, because the path's existence means that the system is complete.
    let fresh = path.with_extension("new");
    if fresh.exists() {
        fs::remove_dir_all(&fresh)?;
    }
    let mut command = Command::new("debootstrap");
    command.args(["--variant=minbase", "--include=systemd-sysv,man-db"]);
    setup::run_captured(command.arg("bookworm").arg(&fresh))?;
    fs::rename(&fresh, &path).with_context(|| format!("cannot rename to {}", path.display()))?;
    Ok(path)
}
