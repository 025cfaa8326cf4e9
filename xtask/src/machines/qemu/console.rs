//! Boots a machine and collects its console output until it switches itself off.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::guest::last_lines;
use super::{Machine, PreparedStart};
use crate::machines::{iso, wait_for};
use crate::setup;

const TIME_MAX: Duration = Duration::from_secs(180);

/// Boots qemu/`machine`.toml in the caller's network namespace and returns its console output. `words` are additional kernel
/// arguments.
pub fn watch(machine: &str, words: &str) -> Result<String> {
    let start = |machine: &Machine, directory: &Path| machine.start(directory, words);
    watch_started(machine, start)
}

/// As [`watch`], but QEMU boots Debian's iPXE, which runs `script`.
pub fn watch_ipxe(machine: &str, script: &str) -> Result<String> {
    let ipxe = iso::unpack_package("ipxe")?.join("boot/ipxe.lkrn");
    watch_started(machine, |machine, directory| {
        machine.start_with(directory, &ipxe, script.as_bytes(), "")
    })
}

fn watch_started(
    machine: &str,
    start: impl FnOnce(&Machine, &Path) -> Result<PreparedStart>,
) -> Result<String> {
    let directory = tempfile::tempdir().context("cannot create a directory for the machine")?;
    let machine = Machine::load(machine)?;
    let PreparedStart { mut command, .. } = start(&machine, directory.path())?;
    let _waiting = setup::progress("booting a machine");
    let path = directory.path().join("console");
    command
        .arg("-serial")
        .arg(format!("file:{}", path.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let mut qemu = command
        .spawn()
        .with_context(|| format!("cannot start {}", machine.program))?;
    let status = wait_for(TIME_MAX, || Ok(qemu.try_wait()?))?;
    if status.is_none() {
        qemu.kill()?;
        qemu.wait()?;
    }
    let said = fs::read(&path).unwrap_or_default();
    match status {
        Some(status) if status.success() => Ok(String::from_utf8_lossy(&said).into_owned()),
        Some(status) => bail!("{} ended with {status}", machine.program),
        None => bail!(
            "the machine did not end within {TIME_MAX:?}; console:\n{}",
            last_lines(&said)
        ),
    }
}
