//! `cargo xtask size --attributes`: builds once without each `#[inline(never)]` and `#[repr(C)]` of some files, in a copy of the
//! source, and prints how many bytes more or less the file with all roles has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::build::{self, workspace_root};
use crate::setup;

/// Matched at the start of a line, so that a comment may follow.
const ATTRIBUTES: [&str; 2] = ["#[inline(never)]", "#[repr(C)]"];

/// Prints a row for each attribute of `files`, or of all files in src if there are none.
pub(super) fn run(files: &[PathBuf]) -> Result<()> {
    let copy = workspace_root().join("target/attributes/copy");
    let mut places = Vec::new();
    for name in copy_files(&copy)? {
        let is_chosen = files.is_empty() || files.iter().any(|file| name.starts_with(file));
        if name.starts_with("src") && is_chosen {
            let text = fs::read_to_string(copy.join(&name)).unwrap_or_default();
            let lines = text.lines().enumerate();
            let found = lines.filter(|(_, line)| is_attribute(line));
            places.extend(found.map(|(line, _)| (name.clone(), line)));
        }
    }
    ensure!(
        !places.is_empty(),
        "no {} was found",
        ATTRIBUTES.join(" or ")
    );
    let progress = setup::progress("building stowaway with all attributes");
    let with_all = build::bytes_of_copy(&copy)?;
    for (number, (name, line)) in places.iter().enumerate() {
        let place = format!("{}:{}", name.display(), line + 1);
        progress.set_message(format!("{} of {}: {place}", number + 1, places.len()));
        let change = build_without(&copy, name, *line)?.cast_signed() - with_all.cast_signed();
        println!("{change:+6}  {place}");
    }
    Ok(())
}

fn is_attribute(line: &str) -> bool {
    let line = line.trim_start();
    ATTRIBUTES
        .iter()
        .any(|attribute| line.starts_with(attribute))
}

/// Copies all files that git tracks to `copy` and returns their names.
fn copy_files(copy: &Path) -> Result<Vec<PathBuf>> {
    let root = workspace_root();
    let listed = setup::run_captured(Command::new("git").arg("-C").arg(&root).arg("ls-files"))?;
    // `git ls-files` also lists files that were removed but not yet committed.
    let names = listed.lines().map(PathBuf::from);
    let names: Vec<PathBuf> = names.filter(|name| root.join(name).exists()).collect();
    for name in &names {
        let to = copy.join(name);
        let bytes = fs::read(root.join(name))?;
        // An unchanged modification time spares cargo a rebuild.
        if !fs::read(&to).is_ok_and(|old| old == bytes) {
            fs::create_dir_all(to.parent().context("no directory")?)?;
            fs::write(&to, bytes).with_context(|| format!("cannot write {}", to.display()))?;
        }
    }
    Ok(names)
}

/// Builds the copy without the attribute in this line, and restores the file. Returns the bytes that are mapped into memory.
fn build_without(copy: &Path, name: &Path, line: usize) -> Result<u64> {
    let path = copy.join(name);
    let text = fs::read_to_string(&path)?;
    let mut lines: Vec<&str> = text.lines().collect();
    // Emptied, not removed: the numbers of the lines are in the file.
    if let Some(attribute) = lines.get_mut(line) {
        *attribute = "";
    }
    fs::write(&path, lines.join("\n"))?;
    let bytes = build::bytes_of_copy(copy);
    fs::write(&path, text)?;
    bytes
}
