//! `cargo xtask man`: man pages in target/stowaway/man, from the tables of `src/role` and from `image/man`.
//!
//! `image/man` has the hand-written part of each page: the date (`.Dd`), the sections from DESCRIPTION on, and optionally the
//! one-line description (`.Nd`), which replaces the role's line in `stowaway --help`. A section OPTIONS there documents the flags
//! that `--help` leaves out.

mod page;
mod tables;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::build::workspace_root;
use crate::setup;
use tables::Tables;

/// `cargo xtask man`
#[derive(clap::Args)]
pub struct Args {
    /// Also run mandoc -Tlint over the pages
    #[arg(long)]
    lint: bool,
}

/// Makes the pages; prints their paths.
pub fn main(args: Args) -> Result<()> {
    let out = workspace_root().join("target/stowaway");
    let paths = write_pages(&out.join("man"))?;
    if args.lint {
        let complaints = lint(&paths)?;
        if !complaints.is_empty() {
            bail!("mandoc -Tlint: {}", complaints.join("\n"));
        }
    }
    for path in paths {
        println!("{}", path.display());
    }
    Ok(())
}

/// Writes the pages to `man1` and `man8` in `dir`, where `man -M DIR` finds them; returns their paths.
pub fn write_pages(dir: &Path) -> Result<Vec<PathBuf>> {
    write(&pages(&workspace_root())?, dir)
}

/// A finished page.
struct Page {
    /// File name, such as `stowaway-nfs.8`.
    name: String,
    text: String,
}

/// Makes the page of each role, and that of the program.
fn pages(root: &Path) -> Result<Vec<Page>> {
    let tables = Tables::read(root)?;
    let hand = |name: &str| {
        let path = root.join("image/man").join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let mut pages = Vec::new();
    let mut titles = Vec::new();
    for role in &tables.roles {
        let role = role.names.first().context("a role without a name")?;
        let name = format!("stowaway-{role}.{}", page::section_of(role));
        let text = page::of_role(&tables, role, &name, &hand(&name)?)
            .with_context(|| format!("cannot make {name}"))?;
        titles.push((
            role.clone(),
            page::title(&text).unwrap_or_default().to_owned(),
        ));
        pages.push(Page { name, text });
    }
    let text = page::of_program(&tables, &titles, &hand("stowaway.8")?)?;
    pages.push(Page {
        name: "stowaway.8".to_owned(),
        text,
    });
    Ok(pages)
}

fn write(pages: &[Page], dir: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for page in pages {
        let (_, number) = page.name.rsplit_once('.').context("no section")?;
        let dir = dir.join(format!("man{number}"));
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let path = dir.join(&page.name);
        fs::write(&path, &page.text).with_context(|| format!("cannot write {}", path.display()))?;
        paths.push(path);
    }
    Ok(paths)
}

/// The messages of `mandoc -Tlint`, except those about references to pages that are not installed on this machine.
fn lint(paths: &[PathBuf]) -> Result<Vec<String>> {
    setup::install_packages(&["mandoc"])?;
    let output = Command::new("mandoc")
        .arg("-Tlint")
        .args(paths)
        .output()
        .context("cannot start mandoc")?;
    let said = [output.stdout, output.stderr].concat();
    let lines = String::from_utf8_lossy(&said).into_owned();
    let is_about_machine = |line: &&str| {
        line.contains("referenced manual not found") || line.contains("outdated mandoc.db")
    };
    let complaints = lines.lines().filter(|line| !is_about_machine(line));
    Ok(complaints.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_help_and_page_have_the_same_flags() -> Result<()> {
        let root = workspace_root();
        let tables = Tables::read(&root)?;
        // Fails if a page and the code have different flags.
        pages(&root)?;
        for role in &tables.roles {
            let name = role.names[0].as_str();
            let help = page::flags_of_help(tables.help(&role.module));
            let flags = tables.flags(&role.module);
            let included: String = tables
                .with_included(&role.module)
                .into_iter()
                .map(|module| {
                    let module = &tables.modules[module];
                    format!("{}{}", module.help, module.more_help)
                })
                .collect();
            let texts = [tables.help(&role.module), &included];
            for flag in &flags {
                let names = &flag.names;
                let left_out = page::NOT_IN_HELP.iter().any(|(of, left_out, _)| {
                    *of == name && names.iter().any(|name| left_out.contains(&name.as_str()))
                });
                let is_in_help = names
                    .iter()
                    .any(|name| texts.iter().any(|text| page::names_flag(text, name)));
                assert!(is_in_help || left_out, "{name} --help has no {names:?}");
            }
            for flag in help.iter().filter(|flag| *flag != "--help") {
                let is_known = flags.iter().any(|known| known.names.contains(flag));
                // `serve` prints the help of nfs, so that text also lists flags of serve.
                let is_of_serve = tables
                    .flags("serve")
                    .iter()
                    .any(|known| known.names.contains(flag));
                assert!(
                    is_known || name == "nfs" && is_of_serve,
                    "{name} has no {flag}"
                );
            }
        }
        Ok(())
    }

    #[test]
    fn tables_have_every_form_of_a_flag() -> Result<()> {
        let tables = Tables::read(&workspace_root())?;
        let browse = tables.flags("browse");
        let all = ["-a".to_owned(), "--all".to_owned()];
        assert!(browse.iter().any(|flag| flag.names == all), "{browse:?}");
        let serve = tables.flags("serve");
        for flag in ["--export", "--loops", "--workstation", "--net", "-4"] {
            let is_there = |known: &&tables::Flag| known.names.contains(&flag.to_owned());
            assert!(serve.iter().any(is_there), "{flag} {serve:?}");
        }
        assert!(tables.help("serve").contains("--export DIR:isos"));
        Ok(())
    }

    #[test]
    fn pages_reference_existing_pages_and_pass_mandoc() -> Result<()> {
        let pages = pages(&workspace_root())?;
        for page in &pages {
            for line in page.text.lines() {
                let Some(reference) = line.strip_prefix(".Xr stowaway") else {
                    continue;
                };
                let words: Vec<&str> = reference.split(' ').collect();
                let [name, number, ..] = words[..] else {
                    bail!("{}: {line}", page.name);
                };
                let name = format!("stowaway{name}.{number}");
                assert!(
                    pages.iter().any(|other| other.name == name),
                    "{}: {line}",
                    page.name
                );
            }
            for section in ["DESCRIPTION", "EXAMPLES", "EXIT STATUS", "SEE ALSO"] {
                let is_there = page.text.contains(&format!("\n.Sh {section}\n"));
                assert!(is_there, "{} has no section {section}", page.name);
            }
        }
        let dir = tempfile::tempdir()?;
        let paths = write(&pages, dir.path())?;
        assert_eq!(lint(&paths)?, [""; 0]);
        Ok(())
    }
}
