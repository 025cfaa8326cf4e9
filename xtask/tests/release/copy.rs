//! A second source tree, of another user and in another directory, whose builds must have the same bytes.

use anyhow::{Context as _, Result};
use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use walkdir::WalkDir;
use xtask::build::{self, workspace_root};

/// Copies the source tree without `target` and `.git`.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let source = |name: &std::ffi::OsStr| name != "target" && name != ".git";
    let entries = WalkDir::new(from)
        .into_iter()
        .filter_entry(|entry| source(entry.file_name()));
    for entry in entries {
        let entry = entry?;
        let path = to.join(entry.path().strip_prefix(from)?);
        if entry.file_type().is_dir() {
            fs::create_dir_all(path)?;
        } else {
            fs::copy(entry.path(), path)?;
        }
    }
    Ok(())
}

/// The directory of a tool: the value of `variable`, or else `name` in HOME.
fn home_of(variable: &str, name: &str) -> Result<PathBuf> {
    let named = env::var_os(variable).map(PathBuf::from);
    named
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(name)))
        .with_context(|| format!("neither {variable} nor HOME is set"))
}

/// Copies the source tree into `directory`, and returns a command that runs xtask there as another user, with another CARGO_HOME.
/// Only the downloaded crates are shared.
pub fn xtask_of_copy(directory: &Path) -> Result<Command> {
    let (tree, home) = (directory.join("some/where/else"), directory.join("home"));
    copy(&workspace_root(), &tree)?;
    let crates = home.join("crates");
    fs::create_dir_all(&crates)?;
    symlink(
        home_of("CARGO_HOME", ".cargo")?.join("registry"),
        crates.join("registry"),
    )?;
    // Runs the compiled xtask: compiling xtask would take minutes, and its binary is not compared.
    let mut command = Command::new(env!("CARGO_BIN_EXE_workshop"));
    for (name, _) in env::vars_os() {
        // Removes the variables that cargo sets for this test's package.
        if name.to_string_lossy().starts_with("CARGO") {
            command.env_remove(name);
        }
    }
    command
        .env("CARGO_MANIFEST_DIR", tree.join("xtask"))
        .env("CARGO_HOME", &crates)
        .env("RUSTUP_HOME", home_of("RUSTUP_HOME", ".rustup")?)
        .env("HOME", &home)
        .env("STOWAWAY_COMMIT", build::commit())
        .env("USER", "somebody")
        .env("LOGNAME", "somebody")
        .current_dir(tree);
    Ok(command)
}
