//! Container images and sample configurations, tested with podman, skopeo, umoci and systemd.

mod hello;
mod layout;
pub mod podman;
mod samples;
mod serve;

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use xtask::build::{Arch, workspace_root};
use xtask::commands::image::description::Description;
use xtask::commands::image::{self, OutputPaths};
use xtask::machines::server::binary;
use xtask::setup;

/// The built files of all architectures.
fn files() -> Result<Vec<(Arch, Vec<u8>)>> {
    Arch::ALL
        .into_iter()
        .map(|arch| {
            let path = binary(arch)?;
            let file =
                fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok((arch, file))
        })
        .collect()
}

/// Writes the images of the built files, once per process.
fn images() -> Result<OutputPaths> {
    static MADE: Mutex<bool> = Mutex::new(false);
    let paths = OutputPaths::in_directory(&workspace_root().join("target/test/image"));
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if !*made {
        image::write(&files()?, &Description::load()?, &paths)?;
        *made = true;
    }
    Ok(paths)
}

/// The image reference `oci:DIRECTORY:TAG`, as podman and skopeo accept it.
fn oci(layout: &Path, tag: &str) -> String {
    format!("oci:{}:{tag}", layout.display())
}

/// Unpacks an image by umoci. Returns the directory of its files.
fn unpacked(layout: &Path, tag: &str, into: &Path) -> Result<PathBuf> {
    let bundle = into.join(tag);
    setup::run_captured(
        Command::new("umoci")
            .args(["unpack", "--rootless", "--image"])
            .arg(format!("{}:{tag}", layout.display()))
            .arg(&bundle),
    )?;
    Ok(bundle.join("rootfs"))
}

/// The names in a directory, sorted.
fn names(directory: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
