//! python-zeroconf, as a browser.

use super::world::{Watch, World};
use anyhow::Result;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use xtask::build::workspace_root;
use xtask::setup::{self, Package};

const VERSION: &str = "0.148.0";
pub const PYTHON: &str = "/usr/bin/python3";

/// Where it lies; installed by pip when it is not there yet.
pub fn package() -> Result<PathBuf> {
    let path = workspace_root().join(format!("target/zeroconf-{VERSION}"));
    if path.exists() {
        return Ok(path);
    }
    setup::need(&[Package::PYTHON, Package::PIP])?;
    let _waiting = setup::progress("installing zeroconf");
    // Beside it first: what is there is whole.
    let fresh = tempfile::tempdir_in(workspace_root().join("target"))?;
    setup::quietly(
        Command::new(PYTHON)
            .args(["-m", "pip", "install", "--quiet", "--target"])
            .arg(fresh.path())
            .arg(format!("zeroconf=={VERSION}")),
    )?;
    fs::rename(fresh.keep(), &path)?;
    Ok(path)
}

/// Looks for services of these types on the other host.
pub fn browse(world: &World, kinds: &[&str]) -> Result<Watch> {
    let mut python = world.theirs.command(PYTHON);
    python
        .env("PYTHONPATH", package()?)
        .args(["-c", include_str!("zeroconf.py")])
        .args(kinds);
    Watch::start(python)
}
