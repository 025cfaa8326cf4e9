//! What the attributes for size are worth: the file without `#[inline(never)]` and `#[repr(C)]`, module by module or, within one,
//! attribute by attribute.
//!
//! Attributes are taken out of a copy of the source. Those of `sys` and `unpack` are not looked at: there `repr(C)` is a layout of
//! the kernel's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::table::{self, Table};
use crate::build::{self, workspace_root};
use crate::setup;

/// Modules that are not looked at.
const LEFT_OUT: [&str; 3] = ["main.rs", "sys", "unpack"];
/// What is looked at; a comment may follow.
const ATTRIBUTES: [&str; 2] = ["#[inline(never)]", "#[repr(C)]"];

/// An attribute.
#[derive(Clone)]
struct Place {
    /// Within `src`.
    file: PathBuf,
    /// The first is 0.
    line: usize,
}

impl Place {
    /// The first two names of its path: a module that is large enough to be worth a line.
    fn module(&self) -> String {
        let names = self.file.iter().take(2).map(|name| name.to_string_lossy());
        names.collect::<Vec<_>>().join("/")
    }
}

/// Builds without the attributes of each module, or without each attribute of those that `within` begins.
pub(super) fn run(within: Option<&str>) -> Result<Table> {
    let copy = Copy::new()?;
    let places = copy.attributes()?;
    let waiting = setup::progress("building stowaway without attributes");
    let with_all = copy.build(&[])?;
    let mut rows = vec![("with all".to_owned(), with_all)];
    let mut groups: Vec<(String, Vec<Place>)> = Vec::new();
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
        "there are no attributes in {}",
        within.unwrap_or("src")
    );
    let count = groups.len();
    for (number, (name, group)) in (1..).zip(groups) {
        waiting.say(format!("{number} of {count}: {name}"));
        let bytes = copy.build(&group)?;
        let change = bytes.cast_signed() - with_all.cast_signed();
        let title = format!("without {} of {name}", group.len());
        waiting.println(&format!("{number} of {count}: {title}: {change:+}"));
        rows.push((title, bytes));
    }
    Ok(table::compared(rows))
}

/// A copy of the workspace.
struct Copy {
    root: PathBuf,
}

impl Copy {
    fn new() -> Result<Self> {
        let from = workspace_root();
        let root = from.join("target/attributes/copy");
        let listed = setup::quietly(Command::new("git").arg("-C").arg(&from).arg("ls-files"))?;
        for name in listed.lines() {
            let (from, to) = (from.join(name), root.join(name));
            let place = to.parent().context("no directory")?;
            fs::create_dir_all(place)?;
            // One that was removed and is still listed is left out.
            if from.exists() {
                replace(&to, &fs::read(&from)?)?;
            }
        }
        Ok(Self { root })
    }

    /// All attributes, by file.
    fn attributes(&self) -> Result<Vec<Place>> {
        let src = self.root.join("src");
        let mut places = Vec::new();
        let mut waiting = vec![src.clone()];
        while let Some(directory) = waiting.pop() {
            for entry in fs::read_dir(&directory)? {
                let path = entry?.path();
                let name = path.strip_prefix(&src)?.to_path_buf();
                if LEFT_OUT.iter().any(|out| name.starts_with(out)) {
                    continue;
                }
                if path.is_dir() {
                    waiting.push(path);
                } else if path.extension().is_some_and(|end| end == "rs") {
                    let text = fs::read_to_string(&path)?;
                    let lines = text.lines().enumerate();
                    let found = lines.filter(|(_, line)| is_attribute(line));
                    places.extend(found.map(|(line, _)| Place {
                        file: name.clone(),
                        line,
                    }));
                }
            }
        }
        places.sort_by(|one, other| (&one.file, one.line).cmp(&(&other.file, other.line)));
        Ok(places)
    }

    /// Bytes that are mapped of the file without these attributes. The copy is whole again then.
    fn build(&self, without: &[Place]) -> Result<u64> {
        let mut texts: Vec<(PathBuf, String)> = Vec::new();
        for Place { file, line } in without {
            let path = self.root.join("src").join(file);
            if texts.last().is_none_or(|(last, _)| *last != path) {
                let text = fs::read_to_string(&path)?;
                texts.push((path.clone(), text));
            }
            // Lines keep their numbers.
            let text = fs::read_to_string(&path)?;
            let lines = text.lines().enumerate();
            let lines = lines.map(|(at, text)| if at == *line { "" } else { text });
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

/// Leaves what is the same as it is, and its time.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}
