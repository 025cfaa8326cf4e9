//! A machine's disk: made by a program of this host when the machine starts, served from memory, gone afterwards.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::machines::nbd::Disk;
use crate::setup::quietly;

/// What a machine's file says about its disk.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Choice {
    mib: u64,
    /// The words of a command that puts a file system into a file, whose name it takes as the last one.
    make: String,
}

impl Choice {
    /// A new disk.
    pub(super) fn make(&self) -> Result<Disk> {
        let file = tempfile::NamedTempFile::new().context("cannot make a file for a disk")?;
        file.as_file().set_len(self.mib << 20)?;
        let mut words = self.make.split_whitespace();
        let program = words.next().context("no program makes the disk")?;
        let mut command = Command::new(program);
        // An ordinary user's path often leaves these out.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
        quietly(command.args(words).arg(file.path()))?;
        Disk::serve(fs::read(file.path()).context("cannot read the new disk")?)
    }
}
