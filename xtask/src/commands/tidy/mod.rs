//! `cargo xtask tidy`: checks the sources against the import table and the house rules that clippy and rustc do not know.
//!
//! Checks which module imports which, import cycles, the head (`//!`) of every file, and the modules that may contain unsafe code.
//! Test code may import everything. Also checks the licences of all dependencies, that the executable contains each crate in
//! one version only, the links and paths in the documents, the comments, and the form of commit subjects.

mod circles;
mod crates;
mod documents;
mod prose;
mod scan;
mod table;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use walkdir::WalkDir;

use crate::build::workspace_root;

/// `cargo xtask tidy`
#[derive(clap::Args)]
pub struct Args {}

/// Maximum number of lines in the head (`//!`) of a file.
const HEAD_LINES_MAX: usize = 8;

/// Prints every violation as `FILE:LINE: MESSAGE`; fails if any was found.
pub fn main(_args: Args) -> Result<()> {
    let root = workspace_root();
    let mut breaches = check(&root)?;
    breaches.extend(crates::check(&root)?);
    breaches.extend(documents::check(&root)?);
    breaches.extend(prose::check(&sources(&root)?)?);
    breaches.extend(prose::check_subjects(&root)?);
    for breach in &breaches {
        println!("{breach}");
    }
    match breaches.len() {
        0 => Ok(()),
        count => bail!(
            "{count} violations of the architecture, listed above; the rules are in xtask/src/commands/tidy"
        ),
    }
}

/// A Rust source file.
struct Source {
    /// Path relative to the workspace root: `src/vfs/host.rs`.
    path: PathBuf,
    text: String,
}

fn check(root: &Path) -> Result<Vec<String>> {
    let crates = dependencies(root)?;
    let mut breaches = Vec::new();
    let mut modules = Vec::new();
    for source in sources(root)? {
        breaches.extend(check_head(&source));
        if let Ok(inside) = source.path.strip_prefix("src") {
            let module = scan::Module::parse(inside, &source.text, &crates)
                .with_context(|| format!("cannot parse {}", source.path.display()))?;
            modules.push(module);
        }
    }
    let tests: Vec<PathBuf> = modules
        .iter()
        .flat_map(|module| module.test_modules.iter().cloned())
        .collect();
    // Test module `suite` means suite.rs and everything in suite/.
    let is_test = |module: &scan::Module| {
        let path = module.path.with_extension("");
        tests.iter().any(|test| path.starts_with(test))
    };
    let product: Vec<&scan::Module> = modules.iter().filter(|module| !is_test(module)).collect();
    for module in &product {
        breaches.extend(table::check(module));
    }
    breaches.extend(circles::check(&product));
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

/// Names of stowaway's dependencies and of the standard crates, as in Rust paths (`-` becomes `_`).
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
    let path = source.path.display();
    match head {
        0 => Some(format!(
            "{path}:1: the head is missing: start the file with //! and what it does and does not do"
        )),
        1..=HEAD_LINES_MAX => None,
        // The head of src/lib.rs may be longer, because it describes the architecture.
        _ if source.path == Path::new("src/lib.rs") => None,
        _ => Some(format!(
            "{path}:1: the head has {head} lines; the limit is {HEAD_LINES_MAX}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The violations in a workspace that consists of these files.
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

    /// The messages about a file with this text, without its path.
    fn messages(path: &str, text: &str) -> Result<Vec<String>> {
        let found = breaches(&[(path, &format!("//! Head.\n{text}"))])?;
        Ok(found
            .into_iter()
            .map(|line| line.replace(&format!("{path}:"), ""))
            .collect())
    }

    #[test]
    fn engine_importing_net_or_rustix_is_a_violation() -> Result<()> {
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
            assert_eq!(messages("src/engine.rs", text)?.len(), 1, "{text}");
        }
        Ok(())
    }

    #[test]
    fn allowed_imports_are_no_violation() -> Result<()> {
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
            assert_eq!(messages(path, text)?, [""; 0], "{text}");
        }
        Ok(())
    }

    #[test]
    fn submodule_entry_overrides_its_parent() -> Result<()> {
        let sys = messages("src/vfs/ram.rs", "use crate::sys;")?;
        assert_eq!(sys, ["2: vfs::ram may not import sys"]);
        assert_eq!(
            messages("src/vfs/iso.rs", "use crate::wire::nfs3;")?.len(),
            1
        );
        Ok(())
    }

    #[test]
    fn worker_that_allocates_or_logs_is_refused() -> Result<()> {
        for text in [
            "fn f() { crate::mem::bytes(1); }",
            "use crate::log;",
            "use crate::mem;",
        ] {
            for path in ["src/sys/linux/workers/run.rs", "src/sys/linux/fs/io.rs"] {
                assert_eq!(messages(path, text)?.len(), 1, "{path}: {text}");
            }
        }
        Ok(())
    }

    #[test]
    fn test_code_may_import_everything() -> Result<()> {
        let inline = "#[cfg(test)] mod tests { use crate::net::Net; use std::fs; fn f() { unsafe { g() } } }";
        assert_eq!(messages("src/wire/xdr.rs", inline)?, [""; 0]);
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
            messages(
                "src/wire/xdr.rs",
                "#[cfg(not(test))] mod real { use crate::net::Net; }"
            )?
            .len(),
            1
        );
        Ok(())
    }

    #[test]
    fn unsafe_code_outside_sys_and_entry_is_refused() -> Result<()> {
        for text in [
            "fn f() { unsafe { g() } }",
            "unsafe fn f() {}",
            "unsafe impl Send for S {}",
            "unsafe extern \"C\" { fn f(); }",
            "m!(unsafe { f() });",
            "#[unsafe(no_mangle)] fn f() {}",
            "#![allow(unsafe_code)]",
        ] {
            assert_eq!(messages("src/drive/mod.rs", text)?.len(), 1, "{text}");
            assert_eq!(messages("src/unpack/lzma.rs", text)?.len(), 1, "{text}");
            for path in ["src/sys/start.rs", "src/unpack/main.rs"] {
                assert_eq!(messages(path, text)?, [""; 0], "{text}");
            }
        }
        assert_eq!(
            messages(
                "src/main.rs",
                "#[unsafe(no_mangle)] fn f() { unsafe { g() } }"
            )?,
            [""; 0]
        );
        Ok(())
    }

    #[test]
    fn missing_long_head_and_unlisted_module_are_refused() -> Result<()> {
        assert_eq!(breaches(&[("xtask/a.rs", "fn f() {}\n")])?.len(), 1);
        assert_eq!(
            breaches(&[("xtask/a.rs", &"//! Line.\n".repeat(9))])?.len(),
            1
        );
        assert_eq!(
            messages("src/helpers.rs", "")?,
            ["1: module helpers is not in the import table"]
        );
        Ok(())
    }

    #[test]
    fn import_cycles_between_siblings_are_refused() -> Result<()> {
        let circle = [
            ("src/vfs/a.rs", "//! Head.\nuse super::b::B;\n"),
            (
                "src/vfs/b/mod.rs",
                "//! Head.\nuse crate::vfs::{c, Name};\n",
            ),
            ("src/vfs/b/inner.rs", "//! Head.\nuse super::super::b;\n"),
            ("src/vfs/c.rs", "//! Head.\nfn f() { super::a::g() }\n"),
        ];
        assert_eq!(
            breaches(&circle)?,
            [
                "src/vfs: import cycle: a imports b (src/vfs/a.rs:2), b imports c (src/vfs/b/mod.rs:2), \
                 c imports a (src/vfs/c.rs:2)"
            ]
        );
        assert_eq!(breaches(&circle[..3])?, [""; 0]);
        // a.rs has methods of type B, so its import of B is not checked.
        let methods = [
            ("src/vfs/a.rs", "//! Head.\nuse super::b::B; impl B {}\n"),
            ("src/vfs/b.rs", "//! Head.\nuse super::a::A;\n"),
        ];
        assert_eq!(breaches(&methods)?, [""; 0]);
        // Imports between a module and its parent are not checked.
        let nested = [
            ("src/vfs/mod.rs", "//! Head.\nuse a::A; mod a;\n"),
            ("src/vfs/a.rs", "//! Head.\nuse super::Vfs;\n"),
        ];
        assert_eq!(breaches(&nested)?, [""; 0]);
        Ok(())
    }

    #[test]
    fn own_sources_have_no_violations() -> Result<()> {
        assert_eq!(check(&workspace_root())?, [""; 0]);
        Ok(())
    }
}
