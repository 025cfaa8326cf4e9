//! The sizes of stowaway's files for x86_64 in README, size.md, and figures.json with its picture.

use std::fs;

use anyhow::{Context as _, Result};

use super::table::{Column, grouped};
use crate::build::workspace_root;
use crate::pictures::compare::{Figures, draw};

/// Documents with rows that begin with [`ROW`], and have the size of one file.
const MEASURED: [&str; 2] = ["README.md", "image/doc/size.md"];
const ROW: &str = "| stowaway";
/// The figures of README's picture, and the picture.
const FIGURES: &str = "image/doc/figures.json";
const PICTURE: &str = "image/compare.svg";
/// Head of the table of build steps in size.md.
const STEPS: &str = "| step | left | saved |\n|---|--:|--:|\n";
/// Largest difference of a row from the file's size, in thousandths: not each commit needs to change the documents.
const TOLERANCE: u64 = 10;

fn read(page: &str) -> Result<String> {
    fs::read_to_string(workspace_root().join(page)).with_context(|| format!("cannot read {page}"))
}

/// Roles that a cell names in backticks, joined by `+`; `all roles` if there are none.
fn roles(cell: &str) -> String {
    let names: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
    if names.is_empty() {
        "all roles".to_owned()
    } else {
        names.join("+")
    }
}

/// Returns `page` with the sizes of `columns` in the rows of stowaway's files, except for sizes that differ by at most `tolerance`
/// thousandths.
fn updated(page: &str, columns: &[Column], tolerance: u64) -> Result<String> {
    let mut text = String::new();
    for line in page.split_inclusive('\n') {
        let Some((name, sizes)) = line
            .split_once(" | ")
            .filter(|(name, _)| name.starts_with(ROW))
        else {
            text += line;
            continue;
        };
        let key = roles(name);
        let column = columns.iter().find(|column| column.name == key);
        let column = column.with_context(|| format!("no file for the row {name:?}"))?;
        let bytes = grouped(column.bytes());
        let is_right = |cell: &str| {
            let known = cell.replace(',', "").parse().unwrap_or(0_u64);
            known.abs_diff(column.bytes()) * 1000 <= tolerance * column.bytes()
        };
        let cells = sizes.trim_end().trim_end_matches(" |").split(" | ");
        let cells: Vec<&str> = cells
            .map(|it| {
                if it == "0" || is_right(it) {
                    it
                } else {
                    &bytes
                }
            })
            .collect();
        text += &format!("{name} | {} |\n", cells.join(" | "));
    }
    Ok(text)
}

/// Returns `page` with the build steps of the file with all roles, the last of `columns`, in the table that begins with [`STEPS`].
fn with_steps(page: &str, columns: &[Column]) -> String {
    let steps = columns.last().map_or(&[][..], |column| &column.steps);
    let mut rows = String::new();
    let mut before = None;
    for step in steps {
        let saved = before.map_or_else(String::new, |before: u64| grouped(before - step.bytes));
        rows += &format!("| {} | {} | {saved} |\n", step.name, grouped(step.bytes));
        before = Some(step.bytes);
    }
    match page.split_once(STEPS) {
        Some((above, below)) => {
            let (_, rest) = below.split_once("\n\n").unwrap_or_default();
            format!("{above}{STEPS}{rows}\n{rest}")
        }
        None => page.to_owned(),
    }
}

/// Writes the sizes into the documents.
pub(super) fn write(columns: &[Column]) -> Result<()> {
    for page in MEASURED {
        let text = with_steps(&updated(&read(page)?, columns, 0)?, columns);
        fs::write(workspace_root().join(page), text)
            .with_context(|| format!("cannot write {page}"))?;
    }
    let mut figures = Figures::parse(&read(FIGURES)?)?;
    let bytes = all_roles(columns);
    figures.sizes().for_each(|size| *size = bytes);
    let text = figures.text()?;
    for (page, text) in [(PICTURE, draw(&text)?), (FIGURES, text)] {
        fs::write(workspace_root().join(page), text)
            .with_context(|| format!("cannot write {page}"))?;
    }
    Ok(())
}

/// Size of the file with all roles, the last of `columns`.
fn all_roles(columns: &[Column]) -> f64 {
    columns.last().map_or(0, Column::bytes) as f64
}

/// Reports documents whose sizes are not those of `columns`.
pub(super) fn breaches(columns: &[Column]) -> Result<Vec<String>> {
    let mut stale = Vec::new();
    for page in MEASURED {
        let text = read(page)?;
        if updated(&text, columns, TOLERANCE)? != text {
            stale.push(page);
        }
    }
    if Figures::parse(&read(FIGURES)?)?.is_stale(all_roles(columns)) {
        stale.push(FIGURES);
    }
    let breaches = stale
        .iter()
        .map(|page| format!("{page} has the sizes of an older build: cargo xtask size --write"));
    Ok(breaches.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::Step;

    #[test]
    fn stale_sizes_are_found() -> Result<()> {
        let column = |name: &str, bytes| Column {
            name: name.into(),
            steps: vec![Step { name: "", bytes }],
        };
        let columns = [column("nfs+iso", 2048), column("all roles", 4096)];
        let page = "# A\n| stowaway: `nfs`, `iso` | 1 | 0 | 1 |\n| stowaway, all roles | 1 | 2 |\n| other | 1 |";
        let expected = "# A\n| stowaway: `nfs`, `iso` | 2,048 | 0 | 2,048 |\n| stowaway, all roles | 4,096 | 4,096 |\n| other | 1 |";
        assert_eq!(updated(page, &columns, TOLERANCE)?, expected);
        let near = "| stowaway, all roles | 4,080 | 4,000 |\n";
        let mended = "| stowaway, all roles | 4,080 | 4,096 |\n";
        assert_eq!(updated(near, &columns, TOLERANCE)?, mended);
        assert!(updated("| stowaway `ls` | 1 |", &columns, 0).is_err());
        let page = with_steps(&format!("a\n{STEPS}| old | 1 | |\n\nb"), &columns);
        assert_eq!(page, format!("a\n{STEPS}|  | 4,096 |  |\n\nb"));
        Ok(())
    }
}
