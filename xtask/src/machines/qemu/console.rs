//! A machine that is only watched, from its start until it switches itself off.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::guest::last_lines;
use super::{Machine, Start};
use crate::machines::{iso, wait_for};
use crate::setup;

const TIME_MAX: Duration = Duration::from_secs(180);

/// Boots qemu/`machine`.toml in the caller's network namespace, with more `words` for its kernel, and with `init` instead of
/// its own if there is one: what its console said.
pub fn watch(machine: &str, words: &str, init: Option<&str>) -> Result<String> {
    let start = |machine: &Machine, directory: &Path| machine.start(directory, words, init);
    watch_started(machine, start)
}

/// The same, but QEMU starts Debian's iPXE, and that does what `script` says.
pub fn watch_ipxe(machine: &str, script: &str) -> Result<String> {
    let ipxe = iso::shipped("ipxe")?.join("boot/ipxe.lkrn");
    watch_started(machine, |machine, directory| {
        machine.start_with(directory, &ipxe, script.as_bytes(), "")
    })
}

fn watch_started(
    machine: &str,
    start: impl FnOnce(&Machine, &Path) -> Result<Start>,
) -> Result<String> {
    let directory = tempfile::tempdir().context("cannot make a directory for the machine")?;
    let machine = Machine::load(machine)?;
    let Start { mut command, .. } = start(&machine, directory.path())?;
    let _waiting = setup::progress("booting a machine");
    let place = directory.path().join("console");
    command
        .arg("-serial")
        .arg(format!("file:{}", place.display()))
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
    let said = fs::read(&place).unwrap_or_default();
    match status {
        Some(status) if status.success() => Ok(String::from_utf8_lossy(&said).into_owned()),
        Some(status) => bail!("{} ended with {status}", machine.program),
        None => bail!(
            "the machine did not end within {TIME_MAX:?}; its console:\n{}",
            last_lines(&said)
        ),
    }
}
