//! `cargo xtask tidy`: the house's drawing held against the code, so that it cannot rot.
//!
//! The table of who may import whom, the head that every file has, and the one room where unsafe code lives.
//! Test code may import what it likes. What clippy and rustc check is not repeated here. The licences of others' crates,
//! and that the file has each only once, are held against cargo's list of them.

mod crates;
mod rooms;
mod scan;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use walkdir::WalkDir;

use crate::build::workspace_root;

/// `cargo xtask tidy`
#[derive(clap::Args)]
pub struct Args {}

/// How long the head of a file may be.
const HEAD_LINES_MAX: usize = 8;

/// Prints every breach as `file:line: what`, and fails when there is one.
pub fn main(_args: Args) -> Result<()> {
    let root = workspace_root();
    let mut breaches = check(&root)?;
    breaches.extend(crates::check(&root)?);
    for breach in &breaches {
        println!("{breach}");
    }
    match breaches.len() {
        0 => Ok(()),
        count => bail!(
            "{count} breaches of the house's order, listed above; its tables are in xtask/src/tidy"
        ),
    }
}

/// One Rust file below the root.
struct Source {
    /// Relative to the root: `src/vfs/host.rs`.
    path: PathBuf,
    text: String,
}

fn check(root: &Path) -> Result<Vec<String>> {
    let crates = dependencies(root)?;
    let mut breaches = Vec::new();
    let mut rooms = Vec::new();
    for source in sources(root)? {
        breaches.extend(check_head(&source));
        if let Ok(inside) = source.path.strip_prefix("src") {
            let module = scan::Module::parse(inside, &source.text, &crates)
                .with_context(|| format!("cannot parse {}", source.path.display()))?;
            rooms.push(module);
        }
    }
    let tests: Vec<PathBuf> = rooms
        .iter()
        .flat_map(|module| module.test_modules.iter().cloned())
        .collect();
    for module in &rooms {
        // `suite` covers suite.rs and suite/…
        if !tests
            .iter()
            .any(|test| module.path.with_extension("").starts_with(test))
        {
            breaches.extend(rooms::check(module));
        }
    }
    Ok(breaches)
}

fn sources(root: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for part in ["src", "linker", "xtask"] {
        for entry in WalkDir::new(root.join(part)).sort_by_file_name() {
            let entry = entry.context("cannot list the sources")?;
            if entry
                .path()
                .extension()
                .is_some_and(|extension| extension == "rs")
            {
                let text = fs::read_to_string(entry.path())
                    .with_context(|| format!("cannot read {}", entry.path().display()))?;
                sources.push(Source {
                    path: entry.path().strip_prefix(root)?.to_path_buf(),
                    text,
                });
            }
        }
    }
    Ok(sources)
}

/// The names that code calls stowaway's crates by.
fn dependencies(root: &Path) -> Result<Vec<String>> {
    let path = root.join("Cargo.toml");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let manifest: toml::Table = text
        .parse()
        .with_context(|| format!("cannot parse {}", path.display()))?;
    let named = manifest.get("dependencies").and_then(toml::Value::as_table);
    let named = named
        .into_iter()
        .flat_map(toml::Table::keys)
        .map(|name| name.replace('-', "_"));
    Ok(named
        .chain(["core", "alloc", "std"].map(str::to_owned))
        .collect())
}

fn check_head(source: &Source) -> Option<String> {
    let head = source
        .text
        .lines()
        .take_while(|line| line.starts_with("//!"))
        .count();
    let place = source.path.display();
    match head {
        0 => Some(format!(
            "{place}:1: a file begins with //! and what it does, and what it does not"
        )),
        1..=HEAD_LINES_MAX => None,
        // The crate's own docs are the architecture.
        _ if source.path == Path::new("src/lib.rs") => None,
        _ => Some(format!(
            "{place}:1: a head of {head} lines; {HEAD_LINES_MAX} are the most"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The breaches in a house that has these files.
    fn breaches(files: &[(&str, &str)]) -> Result<Vec<String>> {
        let root = tempfile::tempdir()?;
        for part in ["src", "linker", "xtask"] {
            fs::create_dir(root.path().join(part))?;
        }
        let manifest =
            "[dependencies]\nrustix = '1'\nlinux-raw-sys = '0'\nheapless = '0'\ndefmt = '1'\n";
        fs::write(root.path().join("Cargo.toml"), manifest)?;
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().context("no directory")?)?;
            fs::write(path, text)?;
        }
        check(root.path())
    }

    /// What is said about one file, without its path.
    fn about(path: &str, text: &str) -> Result<Vec<String>> {
        let found = breaches(&[(path, &format!("//! Head.\n{text}"))])?;
        Ok(found
            .into_iter()
            .map(|line| line.replace(&format!("{path}:"), ""))
            .collect())
    }

    #[test]
    fn engine_may_not_import_net_or_rustix_however_it_is_written() -> Result<()> {
        for text in [
            "use crate::net::Net;",
            "use crate::{wire::rpc, net::{Socket}};",
            "use super::net as world;",
            "fn f() { crate::net::open(); }",
            "fn f(s: &crate::net::Socket) {}",
            "fn f() { println!(\"{}\", crate::net::NAME); }",
            "mod inner { fn f() { super::super::net::open(); } }",
            "use rustix::fs;",
            "fn f() { let _ = rustix::fs::open(); }",
            "fn f() { ::linux_raw_sys::call(); }",
            "#[derive(defmt::Format)] struct S;",
            "macro_rules! m { () => { $crate::net::open() } }",
            "use crate::vfs::host::Host;",
        ] {
            assert_eq!(about("src/engine.rs", text)?.len(), 1, "{text}");
        }
        Ok(())
    }

    #[test]
    fn what_the_table_allows_is_no_breach() -> Result<()> {
        for (path, text) in [
            (
                "src/engine/rpc.rs",
                "use crate::{wire::xdr, vfs::Vfs, time::Instant, config, log, event::Event};",
            ),
            (
                "src/engine/rpc.rs",
                "use heapless::Vec; use core::mem; use super::Cx; fn f(net: u8) -> u8 { net }",
            ),
            (
                "src/vfs/host/mod.rs",
                "use crate::sys; use rustix::fs; use super::Vfs;",
            ),
            (
                "src/role/nfs.rs",
                "use crate::{drive, engine, net, vfs, sys};",
            ),
        ] {
            assert_eq!(about(path, text)?, [""; 0], "{text}");
        }
        Ok(())
    }

    #[test]
    fn a_part_of_a_room_has_its_own_rule() -> Result<()> {
        let sys = about("src/vfs/ram.rs", "use crate::sys;")?;
        assert_eq!(sys, ["2: vfs::ram may not import sys"]);
        assert_eq!(about("src/vfs/iso.rs", "use crate::wire::nfs3;")?.len(), 1);
        Ok(())
    }

    #[test]
    fn test_code_may_import_more() -> Result<()> {
        let inline = "#[cfg(test)] mod tests { use crate::net::Net; use std::fs; fn f() { unsafe { g() } } }";
        assert_eq!(about("src/wire/xdr.rs", inline)?, [""; 0]);
        let files = [
            (
                "src/vfs/mod.rs",
                "//! Head.\n#[cfg(test)]\nmod conformance;\n",
            ),
            ("src/vfs/conformance.rs", "//! Head.\nuse std::fs;\n"),
            (
                "src/vfs/conformance/names.rs",
                "//! Head.\nuse crate::net;\n",
            ),
        ];
        assert_eq!(breaches(&files)?, [""; 0]);
        assert_eq!(
            about(
                "src/wire/xdr.rs",
                "#[cfg(not(test))] mod real { use crate::net::Net; }"
            )?
            .len(),
            1
        );
        Ok(())
    }

    #[test]
    fn unsafe_lives_in_sys_and_at_the_entry() -> Result<()> {
        for text in [
            "fn f() { unsafe { g() } }",
            "unsafe fn f() {}",
            "unsafe impl Send for S {}",
            "unsafe extern \"C\" { fn f(); }",
            "m!(unsafe { f() });",
            "#[unsafe(no_mangle)] fn f() {}",
            "#![allow(unsafe_code)]",
        ] {
            assert_eq!(about("src/drive/mod.rs", text)?.len(), 1, "{text}");
            assert_eq!(about("src/unpack/lzma.rs", text)?.len(), 1, "{text}");
            for path in ["src/sys/start.rs", "src/unpack/main.rs"] {
                assert_eq!(about(path, text)?, [""; 0], "{text}");
            }
        }
        assert_eq!(
            about(
                "src/main.rs",
                "#[unsafe(no_mangle)] fn f() { unsafe { g() } }"
            )?,
            [""; 0]
        );
        Ok(())
    }

    #[test]
    fn a_file_has_a_short_head_and_a_room_that_is_known() -> Result<()> {
        assert_eq!(breaches(&[("xtask/a.rs", "fn f() {}\n")])?.len(), 1);
        assert_eq!(
            breaches(&[("xtask/a.rs", &"//! Line.\n".repeat(9))])?.len(),
            1
        );
        assert_eq!(
            about("src/helpers.rs", "")?,
            ["1: there is no room named helpers in the table"]
        );
        Ok(())
    }

    #[test]
    fn our_own_house_is_in_order() -> Result<()> {
        assert_eq!(check(&workspace_root())?, [""; 0]);
        Ok(())
    }
}
