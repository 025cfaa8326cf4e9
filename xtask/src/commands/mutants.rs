//! `cargo xtask mutants`: plants faults in wire, engine and vfs, one at a time, and reports how many the unit tests detect.
//!
//! cargo-mutants lists the faults (mutants), plants each in a copy of the project and runs the tests there with nextest, which
//! stops at the first failing test. Both tools are installed under target/tools.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use nix::sys::resource::{Resource, setrlimit};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::build::workspace_root;
use crate::setup;

/// Tools and their versions. Pinned, because another version of cargo-mutants generates other mutants.
const TOOLS: [(&str, &str); 2] = [("cargo-mutants", "27.1.0"), ("cargo-nextest", "0.9.151")];
/// Directories whose code is mutated.
const MODULES: [&str; 3] = ["src/wire/", "src/engine/", "src/vfs/"];
/// Names of modules that are not mutated, because they are test code or used mainly by tests.
const TEST_SUPPORT: [&str; 4] = ["testing", "conformance", "tests", "ram"];
/// Part of the names of mutants that never compile, which are excluded: cargo-mutants does not know that `FsResult` is a `Result`.
const UNVIABLE: &str = "with FsResult::";
/// Part of the names of about forty mutants that cargo-mutants runs regardless of its `--re` filters. They are excluded from the
/// random choice.
const ALWAYS: &str = ": delete field ";
/// Address space limit (RLIMIT_AS): a mutant may allocate without bound.
const MEMORY_BYTES: u64 = 4 << 30;
/// Limit for one run of the unit tests, in seconds: ten times their normal duration.
const TIMEOUT_S: &str = "300";

/// `cargo xtask mutants`
#[derive(clap::Args)]
pub struct Args {
    /// Mutate only this module: wire, engine::nfs, vfs::iso …
    module: Option<String>,

    /// Number of mutants to run; with the same seed, a larger number includes the mutants of a smaller one
    #[arg(long, default_value_t = 300)]
    count: usize,

    /// Seed of the random choice
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Run only mutants that the previous run missed or did not reach
    #[arg(long)]
    iterate: bool,
}

/// A mutant, as cargo-mutants lists it.
#[derive(Deserialize)]
struct Mutant {
    /// File, line, column and the change.
    name: String,
    file: String,
}

/// Runs the chosen mutants, then prints each missed one and the percentage caught.
pub fn main(args: Args) -> Result<()> {
    let root = workspace_root();
    let tools = root.join("target/tools");
    for (tool, version) in TOOLS {
        install(&tools, tool, version)?;
    }
    let mut mutants = list(&tools, &root)?;
    mutants.retain(|mutant| !mutant.name.contains(ALWAYS));
    if let Some(module) = &args.module {
        mutants.retain(|mutant| mutant.is_in(module));
    }
    ensure!(
        !mutants.is_empty(),
        "module {}: no mutants; name a module of wire, engine or vfs",
        args.module.as_deref().unwrap_or_default()
    );
    mutants.sort_by_cached_key(|mutant| mutant.sort_key(args.seed));
    mutants.truncate(args.count);
    let mut judge = cargo_mutants(&tools, &root);
    judge
        .args(["--output=target", "--test-tool=nextest", "--jobs=2"])
        .args(["--timeout", TIMEOUT_S])
        // A mutant often leaves code unused. Without `--cap-lints`, a denied lint would keep such a mutant from compiling.
        .args(["--cap-lints=true", "--cargo-arg=--lib"])
        .args(
            mutants
                .iter()
                .map(|mutant| format!("--re=^{}$", escape(&mutant.name))),
        )
        .args(args.iterate.then_some("--iterate"))
        // Without LTO a mutant compiles in 3 s instead of 20.
        .env("CARGO_PROFILE_TEST_LTO", "off")
        .env("CARGO_PROFILE_TEST_DEBUG", "0")
        .env("CARGO_PROFILE_TEST_OPT_LEVEL", "1")
        .env_remove("CARGO_MANIFEST_DIR");
    setrlimit(Resource::RLIMIT_AS, MEMORY_BYTES, MEMORY_BYTES)?;
    let status = judge.status().context("cannot start cargo-mutants")?;
    // Exit codes of cargo-mutants. 0: all mutants caught; 2: some missed; 3: some timed out.
    ensure!(
        matches!(status.code(), Some(0 | 2 | 3)),
        "cargo-mutants failed: {status}"
    );
    print!("{}", report(&root.join("target/mutants.out"))?);
    Ok(())
}

/// Installs a cargo subcommand under `tools`, unless this version is installed there.
fn install(tools: &Path, tool: &str, version: &str) -> Result<()> {
    let name = tool.trim_start_matches("cargo-");
    let mut installed = Command::new(tools.join("bin").join(tool));
    if setup::run_captured(installed.args([name, "--version"]))
        .is_ok_and(|output| output.contains(version))
    {
        return Ok(());
    }
    let _waiting = setup::progress(&format!(
        "installing {tool} {version} (compiles for some minutes)"
    ));
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["install", "--locked", "--force", "--version", version]);
    setup::run_captured(cargo.arg("--root").arg(tools).arg(tool))?;
    Ok(())
}

/// A cargo-mutants command restricted to `MODULES`, with cargo-nextest on its PATH.
fn cargo_mutants(tools: &Path, root: &Path) -> Command {
    let bin = tools.join("bin");
    let mut path = bin.clone().into_os_string();
    path.push(":");
    path.push(env::var_os("PATH").unwrap_or_default());
    let mut command = Command::new(bin.join("cargo-mutants"));
    command
        .current_dir(root)
        .env("PATH", path)
        .args(["mutants", "--no-config", "--package=stowaway"])
        .args(["--exclude-re", UNVIABLE])
        .args(MODULES.map(|module| format!("--file={module}**")))
        .args(TEST_SUPPORT.map(|name| format!("--exclude=**/{name}/**")))
        .args(TEST_SUPPORT.map(|name| format!("--exclude=**/{name}.rs")));
    command
}

/// Lists every mutant of `MODULES`.
fn list(tools: &Path, root: &Path) -> Result<Vec<Mutant>> {
    let _waiting = setup::progress("listing mutants");
    let listed = setup::run_captured(cargo_mutants(tools, root).args(["--list", "--json"]))?;
    serde_json::from_str(&listed).context("cargo-mutants --list printed unexpected JSON")
}

impl Mutant {
    /// Returns a pseudo-random sort key for `seed`. The line number does not affect the key, so that edits above the mutant do not
    /// change the choice.
    fn sort_key(&self, seed: u64) -> impl Ord + use<> {
        let change = self.name.splitn(4, ':').last();
        Sha256::digest(format!("{seed} {} {change:?}", self.file))
    }

    /// Returns true if the mutant's file is in `module` (components separated by `::` or `/`).
    fn is_in(&self, module: &str) -> bool {
        let module = module.replace("::", "/");
        let file = self.file.trim_start_matches("src/").trim_end_matches(".rs");
        file.strip_prefix(module.trim_matches('/'))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// Escapes `name` for use as a literal in a regular expression.
fn escape(name: &str) -> String {
    let mut pattern = String::new();
    for c in name.chars() {
        if r"\.+*?()|[]{}^$#&-~".contains(c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// A line for each missed mutant and the percentage caught, from the lists that cargo-mutants wrote to `out`.
fn report(out: &Path) -> Result<String> {
    let lines = |list: &str| -> Result<Vec<String>> {
        let path = out.join(format!("{list}.txt"));
        if !path.exists() {
            return Ok(Vec::new());
        }
        let text = fs::read_to_string(&path);
        let text = text.with_context(|| format!("cannot read {}", path.display()))?;
        Ok(text.lines().map(str::to_owned).collect())
    };
    let caught = ["caught", "previously_caught", "timeout"];
    let caught = caught.map(lines).into_iter().collect::<Result<Vec<_>>>()?;
    let caught = caught.concat().len();
    let missed = lines("missed")?;
    let viable = caught + missed.len();
    let share = 100.0 * caught as f64 / viable.max(1) as f64;
    let survivors: String = missed
        .iter()
        .map(|name| format!("missed: {name}\n"))
        .collect();
    Ok(format!(
        "{survivors}{caught} of {viable} mutants caught, {share:.1} %; {} more do not compile\n",
        lines("unviable")?.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_filter_matches_whole_components() {
        let mutant = Mutant {
            name: String::new(),
            file: "src/vfs/iso/mod.rs".to_owned(),
        };
        for module in ["vfs", "vfs::iso", "vfs/iso/", "vfs::iso::mod"] {
            assert!(mutant.is_in(module), "{module}");
        }
        for module in ["wire", "vfs::is", "iso", "vfs::iso::mo"] {
            assert!(!mutant.is_in(module), "{module}");
        }
    }

    #[test]
    fn lines_added_above_do_not_change_the_choice() {
        let sort_key = |line: u32, seed| {
            let (file, name) = (
                "src/a.rs".to_owned(),
                format!("src/a.rs:{line}:9: replace + with -"),
            );
            Mutant { name, file }.sort_key(seed)
        };
        assert!(sort_key(1, 1) == sort_key(100, 1));
        assert!(sort_key(1, 1) != sort_key(1, 2));
    }

    #[test]
    fn unviable_mutants_do_not_count() -> Result<()> {
        let out = tempfile::tempdir()?;
        for (list, lines) in [
            ("caught", "a\n"),
            ("timeout", "b\n"),
            ("missed", "src/vfs/walk.rs:7:17: replace - with +\n"),
            ("unviable", "d\ne\n"),
        ] {
            fs::write(out.path().join(format!("{list}.txt")), lines)?;
        }
        assert_eq!(
            report(out.path())?,
            "missed: src/vfs/walk.rs:7:17: replace - with +\n\
            2 of 3 mutants caught, 66.7 %; 2 more do not compile\n"
        );
        Ok(())
    }
}
