//! ext4 disk images, made by mkfs.ext4.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use tempfile::NamedTempFile;
use walkdir::WalkDir;

use crate::setup::{self, run_captured};

/// Space (bytes) beyond the files: the journal, and room for writes.
const SPARE_BYTES: u64 = 64 << 20;
/// Upper bound (bytes) of the space that a file needs beyond its contents.
const FILE_BYTES: u64 = 8 << 10;

/// Creates an ext4 image that contains a copy of `dir`.
pub fn image(dir: &Path) -> Result<NamedTempFile> {
    setup::install_packages(&["e2fsprogs"])?;
    let mut bytes = SPARE_BYTES;
    for entry in WalkDir::new(dir) {
        bytes += entry?.metadata()?.len() + FILE_BYTES;
    }
    let file = NamedTempFile::new().context("cannot make a file for a disk")?;
    file.as_file().set_len(bytes.next_multiple_of(4096))?;
    run_captured(
        tool("mkfs.ext4")
            .args(["-q", "-d"])
            .arg(dir)
            .arg(file.path()),
    )?;
    Ok(file)
}

/// A command for `name` that also searches /usr/sbin and /sbin, which an ordinary user's PATH often lacks.
pub fn tool(name: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(name);
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}
