//! Reproducible builds: one source gives the same bytes, regardless of directory and user.

use anyhow::{Context as _, Result, ensure};
use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use walkdir::WalkDir;
use xtask::build::{self, Arch, Role, workspace_root};
use xtask::testing::is_full_run;

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
pub(crate) fn xtask_of_copy(directory: &Path) -> Result<Command> {
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

/// Builds one role, which passes all steps of the pipeline in a fraction of the time; the long form builds all roles.
#[test]
fn builds_by_different_users_are_identical() -> Result<()> {
    let roles = if is_full_run() {
        Role::all()
    } else {
        &[Role::MDNS][..]
    };
    let names = roles.iter().map(|role| role.name()).collect::<Vec<_>>();
    let directory = tempfile::tempdir()?;
    let built = xtask_of_copy(directory.path())?
        .args(["build", "--packed", "--roles", &names.join(",")])
        .output()?;
    let stderr = String::from_utf8_lossy(&built.stderr);
    ensure!(built.status.success(), "xtask build: {stderr}");
    let stdout = String::from_utf8(built.stdout)?;
    let copy_path = PathBuf::from(stdout.lines().last().unwrap_or_default());
    ensure!(copy_path.starts_with(directory.path()), "{stdout}");
    let path = build::build_packed(Arch::X86_64, roles)?;
    // The plain file, the packed file, and the debug file.
    for extension in ["", "packed", "debug"] {
        let read = |path: &Path| fs::read(path.with_extension(extension));
        ensure!(
            read(&copy_path)? == read(&path)?,
            "the two builds of stowaway.{extension} differ"
        );
    }
    Ok(())
}
