//! Checks README.md and the files in image/doc: README's length, links between the documents, paths in code spans, and that README's
//! picture has the size of the file as image/doc/size.md has it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::pictures::compare::{Figures, draw};
use anyhow::{Context as _, Result};
use walkdir::WalkDir;

/// Maximum number of lines of README.md.
const README_LINES_MAX: usize = 150;
/// Prefixes of code spans that are paths of this repository and must exist.
const OUR_FOLDERS: [&str; 5] = ["image/", "linker/", "qemu/", "src/", "xtask/"];

/// A document, and its path relative to the root.
struct Document {
    path: PathBuf,
    text: String,
}

/// Returns a message `FILE:LINE: PROBLEM` for each broken link, each missing path, and a README that is too long.
pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let documents = documents(root)?;
    let mut breaches = Vec::new();
    for document in &documents {
        let place = document.path.display();
        let count = document.text.lines().count();
        if document.path == Path::new("README.md") && count > README_LINES_MAX {
            breaches.push(format!(
                "{place}:{count}: {README_LINES_MAX} lines are the most; move the rest to image/doc"
            ));
        }
        for (index, line) in document.text.lines().enumerate() {
            let number = index + 1;
            for link in links(line) {
                if let Some(why) = broken(root, document, link, &documents) {
                    breaches.push(format!("{place}:{number}: the link \"{link}\" {why}"));
                }
            }
            for span in spans(line).filter(|span| is_path(span)) {
                if !root.join(span).exists() {
                    breaches.push(format!("{place}:{number}: no file \"{span}\""));
                }
            }
        }
    }
    Ok(breaches)
}

/// Returns a message if README's picture is not that of its figures, or if their size of the file is not that of size.md.
pub(super) fn check_picture(root: &Path) -> Result<Option<String>> {
    let read = |path: &str| {
        fs::read_to_string(root.join(path)).with_context(|| format!("cannot read {path}"))
    };
    let (figures, page) = (read("image/doc/figures.json")?, read("image/doc/size.md")?);
    let bytes = all_roles(&page).context("size.md has no row of all roles")?;
    let is_stale = Figures::parse(&figures)?.is_stale(bytes);
    let is_other = draw(&figures)? != read("image/compare.svg")?;
    Ok((is_stale || is_other).then(|| {
        "image/doc/figures.json, image/compare.svg: not the size of image/doc/size.md; run cargo xtask size --write".to_owned()
    }))
}

/// The size of the file with all roles in size.md.
fn all_roles(page: &str) -> Option<f64> {
    let row = page
        .lines()
        .find_map(|line| line.strip_prefix("| stowaway: all roles | "))?;
    row.split(' ').next()?.replace(',', "").parse().ok()
}

/// Reads README.md and the files in image/doc.
fn documents(root: &Path) -> Result<Vec<Document>> {
    let mut paths = vec![PathBuf::from("README.md")];
    for entry in WalkDir::new(root.join("image/doc")).sort_by_file_name() {
        let entry = entry.context("cannot list image/doc")?;
        if entry.file_type().is_file() {
            paths.push(entry.path().strip_prefix(root)?.to_path_buf());
        }
    }
    let read = |path: PathBuf| {
        let text = fs::read_to_string(root.join(&path))
            .with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Document { path, text })
    };
    paths.into_iter().map(read).collect()
}

/// The targets of links on a line: `[text](target)`.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let after = line.split("](").skip(1);
    after.filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
}

/// The code spans of a line. A line indented by four blanks is a code block and has none.
fn spans(line: &str) -> impl Iterator<Item = &str> {
    let text = if line.starts_with("    ") { "" } else { line };
    text.split('`').skip(1).step_by(2)
}

/// Returns true if a code span is a path of this repository without a placeholder, `*`, `:` or blank.
fn is_path(span: &str) -> bool {
    let is_ours = OUR_FOLDERS.iter().any(|folder| span.starts_with(folder));
    let has_placeholder = span.split(['/', '.', '-']).any(is_placeholder);
    is_ours && !has_placeholder && !span.contains([' ', '*', ':', '…'])
}

/// Returns true if a word in a path or command is a placeholder, such as `ROLE`.
fn is_placeholder(word: &str) -> bool {
    word.len() > 1 && word != "README" && word.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// The reason why a link does not resolve; None if it does, or if it is an https link, which is not checked.
fn broken(
    root: &Path,
    document: &Document,
    link: &str,
    documents: &[Document],
) -> Option<&'static str> {
    if link.starts_with("https://") {
        return None;
    }
    let (path, heading) = link.split_once('#').unwrap_or((link, ""));
    let target = if path.is_empty() {
        document.path.clone()
    } else {
        normal(&document.path.with_file_name("").join(path))
    };
    if !root.join(&target).exists() {
        return Some("leads to no file");
    }
    if heading.is_empty() {
        return None;
    }
    let target = documents.iter().find(|known| known.path == target)?;
    let mut headings = target.text.lines().filter_map(|line| {
        let title = line.trim_start_matches('#');
        (title.len() < line.len()).then(|| anchor(title.trim()))
    });
    (!headings.any(|known| known == heading)).then_some("leads to no heading")
}

/// Resolves `..` in a path, without access to the file system.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        if part.as_os_str() == ".." {
            normal.pop();
        } else {
            normal.push(part);
        }
    }
    normal
}

/// The anchor that links use for a heading: lower case, dashes for blanks, no punctuation.
fn anchor(title: &str) -> String {
    let kept = |letter: &char| letter.is_alphanumeric() || " -_".contains(*letter);
    let title = title.to_lowercase();
    let letters = title.chars().filter(kept);
    letters
        .map(|letter| if letter == ' ' { '-' } else { letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaches(readme: &str, other: &str) -> Result<Vec<String>> {
        let root = tempfile::tempdir()?;
        fs::create_dir_all(root.path().join("image/doc"))?;
        fs::write(root.path().join("README.md"), readme)?;
        fs::write(root.path().join("image/doc/other.md"), other)?;
        check(root.path())
    }

    #[test]
    fn readme_of_151_lines_is_too_long() -> Result<()> {
        assert_eq!(breaches(&"line\n".repeat(150), "")?, [""; 0]);
        assert_eq!(breaches(&"line\n".repeat(151), "")?.len(), 1);
        Ok(())
    }

    #[test]
    fn links_lead_to_files_and_headings() -> Result<()> {
        let other = "# Other\n## The stack (`--net`)\n[back](../../README.md) [here](#other)\n";
        let good =
            "[a](image/doc/other.md) [b](image/doc/other.md#the-stack---net) [c](https://x.y)";
        assert_eq!(breaches(good, other)?, [""; 0]);
        for bad in ["[a](other.md)", "[a](image/doc/other.md#none)", "[a](#x)"] {
            assert_eq!(breaches(bad, other)?.len(), 1, "{bad}");
        }
        Ok(())
    }

    #[test]
    fn picture_has_the_size_of_size_md() -> Result<()> {
        let root = tempfile::tempdir()?;
        let write = |path: &str, text: &str| fs::write(root.path().join(path), text);
        fs::create_dir_all(root.path().join("image/doc"))?;
        let figures = r#"{"date":"","machine":"","versions":[],"charts":[{"title":"","unit":"bytes","pairs":
            [{"protocol":"","ours":1000.0,"peer":"","theirs":9.0}]}]}"#;
        write("image/doc/figures.json", figures)?;
        write("image/compare.svg", &draw(figures)?)?;
        for (size, is_right) in [("1,009", true), ("1,020", false), ("980", false)] {
            let row = format!("# Size\n| stowaway: all roles | {size} | 0 | {size} |\n");
            write("image/doc/size.md", &row)?;
            assert_eq!(check_picture(root.path())?.is_none(), is_right, "{size}");
        }
        write("image/compare.svg", "")?;
        assert!(check_picture(root.path())?.is_some());
        Ok(())
    }

    #[test]
    fn paths_in_code_spans_exist() -> Result<()> {
        for good in [
            "`image/doc/other.md`",
            "`src/role/NAME/mod.rs`",
            "`src` x",
            "    `src/x`",
        ] {
            assert_eq!(breaches(good, "")?, [""; 0], "{good}");
        }
        assert_eq!(
            breaches("`src/none.rs`", "")?,
            ["README.md:1: no file \"src/none.rs\""]
        );
        Ok(())
    }
}
