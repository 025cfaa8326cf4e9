//! `cargo xtask size --attributes`: measures how many bytes `#[inline(never)]` and `#[repr(C)]` save. For each module, builds
//! stowaway without the module's attributes; with a module named, builds once without each of its attributes.
//!
//! The attributes are removed in a copy of the source. `sys` and `unpack` are left out because the kernel prescribes the layout of
//! their `repr(C)` types.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::table::{self, Table};
use crate::build::{self, workspace_root};
use crate::setup;

/// Files and folders of `src` whose attributes are kept in every build.
const LEFT_OUT: [&str; 3] = ["main.rs", "sys", "unpack"];
/// The attributes to remove. Matched at the start of a line, so that a comment may follow.
const ATTRIBUTES: [&str; 2] = ["#[inline(never)]", "#[repr(C)]"];

/// The line of an attribute.
#[derive(Clone)]
struct AttributeLine {
    /// Path relative to `src`.
    file: PathBuf,
    /// Index of the line in the file, from 0.
    line: usize,
}

impl AttributeLine {
    /// Module for the table's row: the first two components of the path.
    fn module(&self) -> String {
        let names = self.file.iter().take(2).map(|name| name.to_string_lossy());
        names.collect::<Vec<_>>().join("/")
    }
}

/// Builds once with all attributes, then once without those of each module. With `within`, a path relative to `src`, builds once
/// without each attribute below that path.
pub(super) fn run(within: Option<&str>) -> Result<Table> {
    let copy = Copy::new()?;
    let places = copy.attributes()?;
    let progress = setup::progress("building stowaway without attributes");
    let with_all = copy.build(&[])?;
    let mut rows = vec![("with all".to_owned(), with_all)];
    let mut groups: Vec<(String, Vec<AttributeLine>)> = Vec::new();
    for place in places {
        let name = match within {
            None => place.module(),
            Some(within) if place.file.starts_with(within) => {
                format!("{}:{}", place.file.display(), place.line + 1)
            }
            Some(_) => continue,
        };
        match groups.last_mut() {
            Some((last, group)) if *last == name => group.push(place),
            _ => groups.push((name, vec![place])),
        }
    }
    ensure!(
        !groups.is_empty(),
        "{} has neither #[inline(never)] nor #[repr(C)] to remove",
        within.unwrap_or("src")
    );
    let count = groups.len();
    for (number, (name, group)) in (1..).zip(groups) {
        progress.set_message(format!("{number} of {count}: {name}"));
        let bytes = copy.build(&group)?;
        let change = bytes.cast_signed() - with_all.cast_signed();
        let title = format!("without {} of {name}", group.len());
        progress.println(&format!("{number} of {count}: {title}: {change:+}"));
        rows.push((title, bytes));
    }
    Ok(table::compared(rows))
}

/// A copy of the workspace in `target/attributes/copy`, whose source may be changed.
struct Copy {
    root: PathBuf,
}

impl Copy {
    /// Copies all files that git tracks.
    fn new() -> Result<Self> {
        let from = workspace_root();
        let root = from.join("target/attributes/copy");
        let listed = setup::run_captured(Command::new("git").arg("-C").arg(&from).arg("ls-files"))?;
        for name in listed.lines() {
            let (from, to) = (from.join(name), root.join(name));
            let directory = to.parent().context("no directory")?;
            fs::create_dir_all(directory)?;
            // `git ls-files` also lists files that were removed but not yet committed.
            if from.exists() {
                write_if_changed(&to, &fs::read(&from)?)?;
            }
        }
        Ok(Self { root })
    }

    /// All attributes outside of `LEFT_OUT`, sorted by file and line.
    fn attributes(&self) -> Result<Vec<AttributeLine>> {
        let src = self.root.join("src");
        let mut places = Vec::new();
        let mut pending = vec![src.clone()];
        while let Some(directory) = pending.pop() {
            for entry in fs::read_dir(&directory)? {
                let path = entry?.path();
                let name = path.strip_prefix(&src)?.to_path_buf();
                if LEFT_OUT.iter().any(|out| name.starts_with(out)) {
                    continue;
                }
                if path.is_dir() {
                    pending.push(path);
                } else if path.extension().is_some_and(|end| end == "rs") {
                    let text = fs::read_to_string(&path)?;
                    let lines = text.lines().enumerate();
                    let found = lines.filter(|(_, line)| is_attribute(line));
                    places.extend(found.map(|(line, _)| AttributeLine {
                        file: name.clone(),
                        line,
                    }));
                }
            }
        }
        places.sort_by(|one, other| (&one.file, one.line).cmp(&(&other.file, other.line)));
        Ok(places)
    }

    /// Builds without these attributes and returns the bytes of the file that are mapped into memory. Restores the source.
    fn build(&self, without: &[AttributeLine]) -> Result<u64> {
        let mut texts: Vec<(PathBuf, String)> = Vec::new();
        for AttributeLine { file, line } in without {
            let path = self.root.join("src").join(file);
            if texts.last().is_none_or(|(last, _)| *last != path) {
                let text = fs::read_to_string(&path)?;
                texts.push((path.clone(), text));
            }
            // The line is emptied, not removed, so that later line numbers stay valid.
            let text = fs::read_to_string(&path)?;
            let lines = text.lines().enumerate();
            let lines = lines.map(|(index, text)| if index == *line { "" } else { text });
            fs::write(&path, lines.collect::<Vec<_>>().join("\n"))?;
        }
        let bytes = build::bytes_of_copy(&self.root);
        for (path, text) in texts {
            fs::write(path, text)?;
        }
        bytes
    }
}

fn is_attribute(line: &str) -> bool {
    ATTRIBUTES
        .iter()
        .any(|attribute| line.trim_start().starts_with(attribute))
}

/// Writes `bytes` to the file unless it already has them: an unchanged modification time spares cargo a rebuild.
fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}
