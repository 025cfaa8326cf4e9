//! `cargo xtask size`: compares stowaway's files with the ceilings in image/size.toml; prints the bytes by section, crate and
//! module, what each build step saves, and the sizes of other servers installed on this machine.
//!
//! Bytes are attributed by the symbols of the debug file. Bytes without a symbol (string constants, padding) have a row of their
//! own. An inlined function counts for its caller.

mod pages;
pub(crate) mod peers;
mod table;

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result, bail};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionFlags, SectionKind};

use crate::build::{self, Arch, Build, Role, workspace_root};
use table::Column;

/// The file with all roles, in image/size.toml and in the tables.
const ALL_ROLES: &str = "all roles";
/// Processor of the sizes in the documents.
const PAGES_ARCH: Arch = Arch::X86_64;

/// `cargo xtask size`
#[derive(clap::Args)]
pub struct Args {
    /// Processor to build for [default: all]
    #[arg(long)]
    arch: Option<Arch>,
    /// Write the sizes of stowaway's files into README.md and image/doc/size.md
    #[arg(long)]
    write: bool,
}

/// Prints the tables. Fails if a ceiling is exceeded or a file contains code of `core::fmt`.
pub fn main(args: Args) -> Result<()> {
    let archs = Arch::ALL
        .into_iter()
        .filter(|arch| args.arch.is_none_or(|only| only == *arch));
    let shown = args.arch.unwrap_or(Arch::X86_64);
    let mut breaches = Vec::new();
    for arch in archs {
        let measured = Measured::of(arch)?;
        if args.write && arch == PAGES_ARCH {
            pages::write(&measured.columns)?;
        }
        breaches.extend(measured.breaches()?);
        println!("{}", table::steps(arch, &measured.columns));
        measured.sizes.print(arch);
        if arch == shown {
            let peers = peers::find_installed()?;
            println!("{}", table::programs(&measured.columns, &peers));
        }
    }
    refuse(&breaches)
}

/// Fails if a ceiling of any processor is exceeded or a file contains code of `core::fmt`. Prints no tables.
pub fn check() -> Result<()> {
    let mut breaches = Vec::new();
    for arch in Arch::ALL {
        breaches.extend(Measured::of(arch)?.breaches()?);
    }
    refuse(&breaches)
}

/// Looks up a role that image/size.toml names.
fn role(name: &str) -> Result<Role> {
    let mut roles = Role::all().iter().copied();
    roles.find(|role| role.name() == name).with_context(|| {
        format!("image/size.toml has a ceiling for the role {name:?}, which does not exist")
    })
}

/// Sizes of one processor's files: those that image/size.toml has a ceiling for.
struct Measured {
    arch: Arch,
    ceilings: Ceilings,
    /// Sizes of each file. The last column is the file with all roles.
    columns: Vec<Column>,
    /// Sizes within the file with all roles.
    sizes: Sizes,
}

impl Measured {
    fn of(arch: Arch) -> Result<Self> {
        let ceilings = ceilings(arch)?;
        let mut columns = Vec::new();
        for name in ceilings.keys().filter(|name| *name != ALL_ROLES) {
            let roles: Result<Vec<Role>> = name.split('+').map(role).collect();
            let steps = build::build_with_steps(arch, &roles?)?.steps;
            columns.push(Column {
                name: name.clone(),
                steps,
            });
        }
        let Build {
            path,
            linked,
            steps,
        } = build::build_with_steps(arch, Role::all())?;
        let file = steps.last().map_or(0, |step| step.bytes);
        let sizes = Sizes::measure(file, &linked)
            .with_context(|| format!("cannot read the symbols of {}", path.display()))?;
        let name = ALL_ROLES.to_owned();
        columns.push(Column { name, steps });
        Ok(Self {
            arch,
            ceilings,
            columns,
            sizes,
        })
    }

    fn breaches(&self) -> Result<Vec<String>> {
        let mut breaches = exceeded(self.arch, &self.ceilings, &self.columns);
        breaches.extend(self.sizes.formatting(self.arch));
        if self.arch == PAGES_ARCH {
            breaches.extend(pages::breaches(&self.columns)?);
        }
        Ok(breaches)
    }
}

/// Messages for files that are larger than their ceiling. A file without a ceiling is larger than its own.
fn exceeded(arch: Arch, ceilings: &Ceilings, columns: &[Column]) -> Vec<String> {
    let mut breaches = Vec::new();
    for column in columns {
        let ceiling = ceilings.get(&column.name).copied().unwrap_or_default();
        if column.bytes() > ceiling {
            breaches.push(format!(
                "{}, {}: {} bytes, {} above the ceiling of {ceiling} (image/size.toml)",
                arch.name(),
                column.name,
                column.bytes(),
                column.bytes() - ceiling
            ));
        }
    }
    breaches
}

fn refuse(breaches: &[String]) -> Result<()> {
    if breaches.is_empty() {
        Ok(())
    } else {
        bail!("{}", breaches.join("\n"))
    }
}

/// Largest size in bytes of each file for one processor: its table in image/size.toml. Keys are role names joined by `+`, or
/// [`ALL_ROLES`].
type Ceilings = BTreeMap<String, u64>;

fn ceilings(arch: Arch) -> Result<Ceilings> {
    let path = workspace_root().join("image/size.toml");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut all: BTreeMap<String, Ceilings> =
        toml::from_str(&text).with_context(|| format!("{} is malformed", path.display()))?;
    all.remove(arch.name())
        .with_context(|| format!("{} has no ceiling for {}", path.display(), arch.name()))
}

/// Sizes of the sections, crates and modules of the shipped file, in bytes.
struct Sizes {
    file: u64,
    /// Name, bytes in memory, bytes in the file.
    sections: Vec<(String, u64, u64)>,
    crates: BTreeMap<String, u64>,
    modules: BTreeMap<String, u64>,
    /// Symbols of `core::fmt` functions in the file; must be empty.
    formatting: Vec<String>,
}

/// Row for bytes that belong to no symbol.
const UNNAMED: &str = "(constants, padding)";
/// Row for symbols without a Rust path: memcpy and the like, the entry point.
const PLAIN: &str = "(no path)";

impl Sizes {
    /// Attributes bytes by the symbols in `elf`, the debug file of a shipped file of `file` bytes.
    fn measure(file: u64, elf: &[u8]) -> Result<Self> {
        let elf = object::File::parse(elf)?;
        let mut sizes = Self {
            file,
            sections: Vec::new(),
            crates: BTreeMap::new(),
            modules: BTreeMap::new(),
            formatting: Vec::new(),
        };
        let mut stored = Vec::new();
        for section in elf.sections() {
            let SectionFlags::Elf { sh_flags, .. } = section.flags() else {
                continue;
            };
            if !sh_flags.contains(object::elf::SHF_ALLOC) {
                continue;
            }
            let is_stored = section.kind() != SectionKind::UninitializedData;
            let in_file = if is_stored { section.size() } else { 0 };
            sizes
                .sections
                .push((section.name()?.to_owned(), section.size(), in_file));
            if is_stored {
                stored.push(section.index());
            }
        }
        // The linker folds functions with equal code into one address: count its bytes once.
        let mut seen = BTreeMap::new();
        for symbol in elf.symbols().filter(|symbol| symbol.size() > 0) {
            if symbol
                .section_index()
                .is_some_and(|section| stored.contains(&section))
            {
                seen.entry(symbol.address())
                    .or_insert((symbol.size(), symbol.name()?));
            }
        }
        for (size, name) in seen.into_values() {
            sizes.add(size, &format!("{:#}", rustc_demangle::demangle(name)));
        }
        let named: u64 = sizes.crates.values().sum();
        sizes
            .crates
            .insert(UNNAMED.to_owned(), file.saturating_sub(named));
        Ok(sizes)
    }

    fn add(&mut self, size: u64, name: &str) {
        let mut path = path_of(name);
        let crate_name = path.next().unwrap_or(PLAIN);
        // Items of the crate's root are counted as module `main`.
        let module = path
            .next()
            .map(|module| path.next().map_or("main", |_| module));
        *self.crates.entry(crate_name.to_owned()).or_default() += size;
        if crate_name == "stowaway"
            && let Some(module) = module
        {
            *self.modules.entry(module.to_owned()).or_default() += size;
        }
        if name.contains("core::fmt") {
            self.formatting.push(name.to_owned());
        }
    }

    fn print(&self, arch: Arch) {
        println!("{}: {} bytes", arch.name(), self.file);
        println!("  {:<24}{:>10}{:>10}", "section", "memory", "file");
        for (name, memory, file) in &self.sections {
            println!("  {name:<24}{memory:>10}{file:>10}");
        }
        for (title, sizes) in [("crate", &self.crates), ("module", &self.modules)] {
            println!("  {title:<24}{:>10}", "file");
            for (name, size) in by_size(sizes) {
                println!("  {name:<24}{size:>10}");
            }
        }
        println!();
    }

    /// A message if the file contains functions of `core::fmt`.
    fn formatting(&self, arch: Arch) -> Option<String> {
        (!self.formatting.is_empty()).then(|| {
            format!(
                "{}: core::fmt is linked; format without it:\n  {}",
                arch.name(),
                self.formatting.join("\n  ")
            )
        })
    }
}

/// Components of the path at the start of a demangled symbol: stowaway, net, Kernel for `<stowaway::net::Kernel as …>::wait`.
/// Empty for a symbol without `::`.
fn path_of(name: &str) -> impl Iterator<Item = &str> {
    let start = name.trim_start_matches(|c: char| !c.is_alphanumeric() && c != '_');
    let start = ["mut ", "dyn ", "const "]
        .iter()
        .fold(start, |name, word| name.strip_prefix(word).unwrap_or(name));
    let end = start
        .find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':')
        .unwrap_or(start.len());
    let path = start.get(..end).unwrap_or_default();
    path.split("::")
        .filter(move |part| path.contains("::") && !part.is_empty())
}

/// Returns the entries sorted by size, largest first.
fn by_size(sizes: &BTreeMap<String, u64>) -> Vec<(&String, u64)> {
    let mut sorted: Vec<(&String, u64)> = sizes.iter().map(|(name, size)| (name, *size)).collect();
    sorted.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::Step;

    fn sizes(symbols: &[(u64, &str)]) -> Sizes {
        let (crates, modules) = (BTreeMap::new(), BTreeMap::new());
        let mut sizes = Sizes {
            file: 1000,
            sections: Vec::new(),
            crates,
            modules,
            formatting: Vec::new(),
        };
        symbols
            .iter()
            .for_each(|(size, name)| sizes.add(*size, name));
        sizes
    }

    #[test]
    fn symbols_count_for_their_defining_module() {
        let sizes = sizes(&[
            (10, "stowaway::wire::xdr::padding"),
            (20, "<stowaway::wire::Reader>::take"),
            (
                30,
                "<&mut stowaway::net::kernel::Kernel as stowaway::net::Net>::wait",
            ),
            (40, "core::slice::sort::<stowaway::vfs::Node>"),
            (50, "memcpy"),
            (60, "stowaway::die"),
        ]);
        let count = |map: &BTreeMap<String, u64>, name: &str| map.get(name).copied();
        assert_eq!(count(&sizes.modules, "wire"), Some(30));
        assert_eq!(count(&sizes.modules, "net"), Some(30));
        assert_eq!(count(&sizes.modules, "main"), Some(60));
        assert_eq!(count(&sizes.modules, "vfs"), None);
        assert_eq!(count(&sizes.crates, "core"), Some(40));
        assert_eq!(count(&sizes.crates, PLAIN), Some(50));
    }

    #[test]
    fn exceeded_ceilings_and_text_formatting_are_reported() {
        let column = |bytes| Column {
            name: "nfs".to_owned(),
            steps: vec![Step { name: "", bytes }],
        };
        let ceilings = BTreeMap::from([("nfs".to_owned(), 1000)]);
        let columns = [column(1000), column(1001)];
        assert_eq!(exceeded(Arch::X86_64, &ceilings, &columns).len(), 1);
        let formats = sizes(&[(5, "<u8 as core::fmt::Display>::fmt")]);
        assert!(formats.formatting(Arch::X86_64).is_some());
        let plain = sizes(&[(31, "stowaway::wire::xdr::padding")]);
        assert_eq!(plain.formatting(Arch::X86_64), None);
    }
}
