//! python-zeroconf as a browser.

use super::world::{Process, World};
use anyhow::Result;
use xtask::setup::PythonPackage;

/// Starts a browser for these service types on the other host.
pub fn browse(world: &World, kinds: &[&str]) -> Result<Process> {
    let mut python = world.theirs.command(PythonPackage::PYTHON);
    python
        .env("PYTHONPATH", PythonPackage::ZEROCONF.path()?)
        .args(["-c", include_str!("zeroconf.py")])
        .args(kinds);
    Process::printing(python)
}
