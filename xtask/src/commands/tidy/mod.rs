//! `cargo xtask tidy`: checks the sources against the import table and the house rules that clippy and rustc do not know.
//!
//! Checks which module imports which, circles of imports (in xtask, too) and of methods, the head (`//!`) of every file, the length
//! of functions, how many lines name a feature, the fields that carry an argument, and the modules that may contain unsafe code. Test code may import everything. Also
//! checks the licences of all dependencies, that the executable contains each crate in one version only, the links and paths in the
//! documents, the comments, the form of commit subjects, and that every MUST of multicast DNS has a test.

mod circles;
mod crates;
mod documents;
mod musts;
mod prose;
mod reexports;
mod scan;
mod table;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use walkdir::WalkDir;

use crate::build::workspace_root;
use reexports::Aliases;
use table::{Breach, Rules};

/// `cargo xtask tidy`
#[derive(clap::Args)]
pub struct Args {}

/// Maximum number of lines in the head (`//!`) of a file.
const HEAD_LINES_MAX: usize = 8;

/// Maximum number of lines of a function in src.
const FUNCTION_LINES_MAX: usize = 70;

/// Maximum number of lines in src that a feature selects: a feature gates modules, and the linker drops what else is unused.
const FEATURE_LINES_MAX: usize = 120;

/// Prints every violation as `FILE:LINE: MESSAGE`; fails if any was found.
pub fn main(_args: Args) -> Result<()> {
    let root = workspace_root();
    let mut breaches = check(&root, &Rules::parse()?)?;
    breaches.extend(crates::check(&root)?);
    breaches.extend(documents::check(&root)?);
    breaches.extend(documents::check_picture(&root)?);
    let sources = sources(&root)?;
    breaches.extend(prose::check(&sources)?);
    breaches.extend(musts::check(&sources)?);
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

fn check(root: &Path, rules: &Rules) -> Result<Vec<String>> {
    let crates = dependencies(root)?;
    let sources = sources(root)?;
    let mut breaches = Vec::from_iter(check_features(&sources));
    let (mut modules, mut tools) = (Vec::new(), Vec::new());
    for source in sources {
        breaches.extend(check_head(&source));
        breaches.extend(check_fields(&source));
        let (inside, modules) = match source.path.strip_prefix("xtask/src") {
            Ok(inside) => (inside, &mut tools),
            Err(_) => match source.path.strip_prefix("src") {
                Ok(inside) => (inside, &mut modules),
                Err(_) => continue,
            },
        };
        let module = scan::Module::parse(inside, &source.text, &crates)
            .with_context(|| format!("cannot parse {}", source.path.display()))?;
        modules.push(module);
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
    let aliases = Aliases::of(&product);
    let mut found = circles::check("src", &product);
    found.extend(circles::check(
        "xtask/src",
        &tools.iter().collect::<Vec<_>>(),
    ));
    found.extend(circles::check_methods(&product));
    for module in &product {
        found.extend(rules.check(module, &aliases));
        found.extend(check_lengths(module));
    }
    breaches.extend(rules.judge(found));
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

/// Violations by functions that are too long.
fn check_lengths(module: &scan::Module) -> impl Iterator<Item = Breach> {
    let long = module
        .functions
        .iter()
        .filter(|function| function.line_count > FUNCTION_LINES_MAX);
    long.map(|function| {
        let scan::Function { name, line, line_count, .. } = function;
        let path = module.path.display();
        let name = format!("{}::{name}", module.name());
        Breach {
            message: format!("src/{path}:{line}: {name} has {line_count} lines; the limit is {FUNCTION_LINES_MAX}"),
            name: Some(("long_functions", name)),
        }
    })
}

/// The violation by too many lines that name a feature.
fn check_features(sources: &[Source]) -> Option<String> {
    let product = sources
        .iter()
        .filter(|source| source.path.starts_with("src"));
    let lines = product.flat_map(|source| source.text.lines());
    let count = lines.filter(|line| line.contains("feature = ")).count();
    (count > FEATURE_LINES_MAX).then(|| {
        format!(
            "src: {count} lines name a feature; the limit is {FEATURE_LINES_MAX}: gate a module, or give it a twin by \
             cfg_attr(not(…), path = \"no_….rs\")"
        )
    })
}

/// Violations by fields that others than the type itself set before or after a call: an argument is passed, a result is returned.
fn check_fields(source: &Source) -> Vec<String> {
    const WORDS: [&str; 8] = [
        "caller sets",
        "callers set",
        "caller has set",
        "caller fills",
        "caller clears",
        "set by the caller",
        "set by its caller",
        "was set to",
    ];
    let (mut doc, mut found) = (String::new(), Vec::new());
    for (at, line) in source.text.lines().enumerate() {
        let line = line.trim_start();
        if let Some(text) = line.strip_prefix("///") {
            doc = doc + text + " ";
            continue;
        }
        // The name follows `pub` or `pub(…)`; before a function's name is a word.
        let field = line
            .strip_prefix("pub")
            .and_then(|rest| rest.split_once(": "));
        let name = field.map(|(before, _)| before.rsplit(')').next().unwrap_or_default().trim());
        let is_field = name.is_some_and(|name| !name.contains([' ', '(']));
        let text = doc.replace("  ", " ");
        if is_field
            && source.path.starts_with("src")
            && WORDS.iter().any(|word| text.contains(word))
        {
            let path = source.path.display();
            let name = name.unwrap_or_default();
            found.push(format!(
                "{path}:{}: the field {name} carries an argument or a result: pass or return it",
                at + 1
            ));
        }
        if !line.starts_with("#[") {
            doc.clear();
        }
    }
    found
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
mod tests;
