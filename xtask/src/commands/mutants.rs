//! `cargo xtask mutants`: faults planted in wire, engine and vfs, one at a time, and the share that the unit tests find.
//!
//! cargo-mutants lists the faults, plants them in copies of the project and runs the tests; nextest, by which it runs
//! them, stops at the first that fails. Both are installed under target/tools.

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

/// The tools and their versions: another cargo-mutants lists other faults.
const TOOLS: [(&str, &str); 2] = [("cargo-mutants", "27.1.0"), ("cargo-nextest", "0.9.151")];
/// Where faults are planted.
const MODULES: [&str; 3] = ["src/wire/", "src/engine/", "src/vfs/"];
/// What serves the tests alone.
const TEST_SUPPORT: [&str; 4] = ["testing", "conformance", "tests", "ram"];
/// What cargo-mutants tries and no compiler takes: it does not know that this is a `Result`.
const UNVIABLE: &str = "with FsResult::";
/// What cargo-mutants judges in every run: its patterns do not choose among these, some forty.
const ALWAYS: &str = ": delete field ";
/// A fault may ask for memory without end.
const MEMORY_BYTES: u64 = 4 << 30;
/// All unit tests take a tenth of this.
const TIMEOUT_S: &str = "300";

/// `cargo xtask mutants`
#[derive(clap::Args)]
pub struct Args {
    /// Only this module: wire, engine::nfs, vfs::iso …
    module: Option<String>,

    /// How many are chosen; a smaller number is the beginning of a larger one
    #[arg(long, default_value_t = 300)]
    count: usize,

    /// What the choice depends on
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// One part of those: K/N, from 1/N to N/N
    #[arg(long, value_parser = shard, default_value = "1/1")]
    shard: (usize, usize),

    /// Only those that the run before did not find, or that it did not come to
    #[arg(long)]
    iterate: bool,
}

/// A fault, as cargo-mutants lists it.
#[derive(Deserialize)]
struct Mutant {
    /// File, line, column and what is changed.
    name: String,
    file: String,
}

/// Has the chosen mutants judged, then prints each that survived and the share that was caught.
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
    ensure!(!mutants.is_empty(), "there is no mutant in that module");
    mutants.sort_by_cached_key(|mutant| mutant.place(args.seed));
    mutants.truncate(args.count);
    let (k, n) = args.shard;
    let chosen = mutants.iter().skip(k - 1).step_by(n);

    let mut judge = cargo_mutants(&tools, &root);
    judge
        .args(["--output=target", "--test-tool=nextest", "--jobs=2"])
        .args(["--timeout", TIMEOUT_S])
        // What is unused because of a fault is no reason not to compile.
        .args(["--cap-lints=true", "--cargo-arg=--lib"])
        .args(chosen.map(|mutant| format!("--re=^{}$", escape(&mutant.name))))
        .args(args.iterate.then_some("--iterate"))
        // Without it each fault is compiled in 3 s instead of 20.
        .env("CARGO_PROFILE_TEST_LTO", "off")
        .env("CARGO_PROFILE_TEST_DEBUG", "0")
        .env_remove("CARGO_MANIFEST_DIR");
    setrlimit(Resource::RLIMIT_AS, MEMORY_BYTES, MEMORY_BYTES)?;
    let status = judge.status().context("cannot start cargo-mutants")?;
    // All were caught; some survived; some did not end.
    ensure!(
        matches!(status.code(), Some(0 | 2 | 3)),
        "cargo-mutants failed: {status}"
    );
    print!("{}", report(&root.join("target/mutants.out"))?);
    Ok(())
}

/// `K/N`.
fn shard(text: &str) -> Result<(usize, usize)> {
    let (k, n) = text.split_once('/').context("it is K/N")?;
    let (k, n) = (k.parse()?, n.parse()?);
    ensure!((1..=n).contains(&k), "K is one of 1 to N");
    Ok((k, n))
}

/// Installs a tool of cargo's, unless this version is there.
fn install(tools: &Path, tool: &str, version: &str) -> Result<()> {
    let name = tool.trim_start_matches("cargo-");
    let mut ask = Command::new(tools.join("bin").join(tool));
    if setup::quietly(ask.args([name, "--version"])).is_ok_and(|said| said.contains(version)) {
        return Ok(());
    }
    let _waiting = setup::progress(&format!(
        "installing {tool} {version}, some minutes of compiling"
    ));
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["install", "--locked", "--force", "--version", version]);
    setup::quietly(cargo.arg("--root").arg(tools).arg(tool))?;
    Ok(())
}

/// cargo-mutants, looking at our modules, with the other tool on its path.
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

/// Every mutant of the modules.
fn list(tools: &Path, root: &Path) -> Result<Vec<Mutant>> {
    let _waiting = setup::progress("listing mutants");
    let listed = setup::quietly(cargo_mutants(tools, root).args(["--list", "--json"]))?;
    serde_json::from_str(&listed).context("this is no list of mutants")
}

impl Mutant {
    /// Where it stands in the order of `seed`, whatever lines are added above it.
    fn place(&self, seed: u64) -> impl Ord + use<> {
        let what = self.name.splitn(4, ':').last();
        Sha256::digest(format!("{seed} {} {what:?}", self.file))
    }

    /// Whether it is in `module`, whose parts are separated by `::` or `/`.
    fn is_in(&self, module: &str) -> bool {
        let module = module.replace("::", "/");
        let file = self.file.trim_start_matches("src/").trim_end_matches(".rs");
        file.strip_prefix(module.trim_matches('/'))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// A regular expression that only `name` matches.
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

/// The share that was caught, and each mutant that survived, by the lists that cargo-mutants left in `out`.
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
        .map(|name| format!("survives: {name}\n"))
        .collect();
    Ok(format!(
        "{survivors}{caught} of {viable} caught, {share:.1} %; {} more do not compile\n",
        lines("unviable")?.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_itself_and_what_is_in_it() {
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
    fn the_choice_outlasts_lines_that_are_added_above_it() {
        let place = |line: u32, seed| {
            let (file, name) = (
                "src/a.rs".to_owned(),
                format!("src/a.rs:{line}:9: replace + with -"),
            );
            Mutant { name, file }.place(seed)
        };
        assert!(place(1, 1) == place(100, 1));
        assert!(place(1, 1) != place(1, 2));
    }

    #[test]
    fn a_shard_is_one_of_so_many() {
        assert_eq!(shard("2/3").unwrap(), (2, 3));
        for wrong in ["0/3", "4/3", "3", "a/b", "1/0"] {
            assert!(shard(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_does_not_compile_is_left_out_of_the_share() -> Result<()> {
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
            "survives: src/vfs/walk.rs:7:17: replace - with +\n\
            2 of 3 caught, 66.7 %; 2 more do not compile\n"
        );
        Ok(())
    }
}
