//! Images of disks with ext4, made by Debian's tools.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use tempfile::NamedTempFile;
use walkdir::WalkDir;

use crate::setup::{self, Package, quietly};

/// Bytes beside the files: of the journal, and to write to.
const SPARE_BYTES: u64 = 64 << 20;
/// Bytes that a file takes beside what is in it, at most.
const FILE_BYTES: u64 = 8 << 10;

/// A file with the files of this directory in a file system of ext4.
pub fn image(dir: &Path) -> Result<NamedTempFile> {
    setup::need(&[Package::E2FSPROGS])?;
    let mut bytes = SPARE_BYTES;
    for entry in WalkDir::new(dir) {
        bytes += entry?.metadata()?.len() + FILE_BYTES;
    }
    let file = NamedTempFile::new().context("cannot make a file for a disk")?;
    file.as_file().set_len(bytes.next_multiple_of(4096))?;
    quietly(
        tool("mkfs.ext4")
            .args(["-q", "-d"])
            .arg(dir)
            .arg(file.path()),
    )?;
    Ok(file)
}

/// A program that an ordinary user's path often leaves out.
pub fn tool(name: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(name);
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}
