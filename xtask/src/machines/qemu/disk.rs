//! The disk of a machine: formatted by a program of this host when the machine starts, served from memory.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::machines::nbd::Disk;
use crate::setup::run_captured;

/// The `[disk]` section of a machine's file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DiskSection {
    mib: u64,
    /// An mkfs command. The path of the image is appended as its last argument.
    make: String,
}

impl DiskSection {
    /// Creates the disk.
    pub(super) fn create(&self) -> Result<Disk> {
        let file = tempfile::NamedTempFile::new().context("cannot create a file for the disk")?;
        file.as_file().set_len(self.mib << 20)?;
        let mut words = self.make.split_whitespace();
        let program = words
            .next()
            .context("the command `make` of the disk is empty")?;
        let mut command = Command::new(program);
        // An ordinary user's PATH often lacks these directories.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
        run_captured(command.args(words).arg(file.path()))?;
        Disk::serve(fs::read(file.path()).context("cannot read the new disk")?)
    }
}
