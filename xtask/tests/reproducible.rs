//! The same source is the same bytes, wherever and by whomever it is built.

use anyhow::{Context as _, Result, ensure};
use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use walkdir::WalkDir;
use xtask::build::{self, Arch, Role, workspace_root};

/// Copies the source and what lies beside it, but nothing that was built.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let source = |name: &std::ffi::OsStr| name != "target" && name != ".git";
    let all = WalkDir::new(from)
        .into_iter()
        .filter_entry(|entry| source(entry.file_name()));
    for entry in all {
        let entry = entry?;
        let place = to.join(entry.path().strip_prefix(from)?);
        if entry.file_type().is_dir() {
            fs::create_dir_all(place)?;
        } else {
            fs::copy(entry.path(), place)?;
        }
    }
    Ok(())
}

/// Where a tool of this user keeps its things.
fn home_of(variable: &str, name: &str) -> Result<PathBuf> {
    let named = env::var_os(variable).map(PathBuf::from);
    named
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(name)))
        .with_context(|| format!("neither {variable} nor HOME is set"))
}

#[test]
fn two_users_in_two_directories_build_the_same_bytes() -> Result<()> {
    let room = tempfile::tempdir()?;
    let (tree, home) = (
        room.path().join("some/where/else"),
        room.path().join("home"),
    );
    copy(&workspace_root(), &tree)?;
    // Crates lie elsewhere, too, without being fetched again.
    let crates = home.join("crates");
    fs::create_dir_all(&crates)?;
    symlink(
        home_of("CARGO_HOME", ".cargo")?.join("registry"),
        crates.join("registry"),
    )?;
    // It takes minutes to compile, and what it is compiled to is not what is compared.
    let mut command = Command::new(env!("CARGO_BIN_EXE_workshop"));
    for (name, _) in env::vars_os() {
        // What the cargo that runs this test says of this package.
        if name.to_string_lossy().starts_with("CARGO") {
            command.env_remove(name);
        }
    }
    let built = command
        .current_dir(&tree)
        .args(["build", "--packed"])
        .env("CARGO_MANIFEST_DIR", tree.join("xtask"))
        .env("CARGO_HOME", &crates)
        .env("RUSTUP_HOME", home_of("RUSTUP_HOME", ".rustup")?)
        .env("HOME", &home)
        .env("USER", "somebody")
        .env("LOGNAME", "somebody")
        .output()?;
    let said = String::from_utf8_lossy(&built.stderr);
    ensure!(built.status.success(), "xtask build: {said}");
    let told = String::from_utf8(built.stdout)?;
    let there = PathBuf::from(told.lines().last().unwrap_or_default());
    ensure!(there.starts_with(&tree), "{told}");
    let here = build::build_packed(Arch::X86_64, &Role::ALL)?;
    // The plain file, what packs it, and where its symbols are looked up.
    for extension in ["", "packed", "debug"] {
        let one_of = |path: &Path| fs::read(path.with_extension(extension));
        ensure!(
            one_of(&there)? == one_of(&here)?,
            "two files stowaway.{extension} differ"
        );
    }
    Ok(())
}
