//! `cargo xtask mutants`: faults planted in wire, engine and vfs, one at a time, and the share that the unit tests find.
//!
//! cargo-mutants lists the faults and plants them, in copies of the project under target/mutants; `judge` runs the tests
//! against each. Verdicts are kept: what was interrupted goes on, and what survived is judged again by tests that changed.

mod judge;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use walkdir::WalkDir;

use crate::build::workspace_root;
use crate::setup;

/// Of cargo-mutants: another one lists other mutants.
const VERSION: &str = "27.1.0";
/// Where faults are planted.
const MODULES: [&str; 3] = ["src/wire/", "src/engine/", "src/vfs/"];
/// What serves the tests alone.
const TEST_SUPPORT: [&str; 4] = ["trial", "suite", "tests", "ram"];
/// What cargo-mutants tries and no compiler takes: it does not know that this is a `Result`.
const UNVIABLE: &str = "with FsResult::";
/// How long one waits before looking for verdicts.
const INTERVAL: Duration = Duration::from_secs(1);

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
    #[arg(long, value_parser = shard)]
    shard: Option<(usize, usize)>,

    /// Forget the verdicts that there are
    #[arg(long)]
    again: bool,

    /// Runs the unit tests, as cargo's runner
    #[arg(long, hide = true, num_args = 1.., allow_hyphen_values = true)]
    judge: Option<Vec<OsString>>,
}

/// A fault, as cargo-mutants lists it.
#[derive(Deserialize)]
struct Mutant {
    /// File, line, column and what is changed.
    name: String,
    file: String,
    diff: String,
}

/// What became of a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Outcome {
    /// A test failed.
    Caught,
    /// Every test passed.
    Missed,
    /// The tests did not end.
    Timeout,
    /// It does not compile.
    Unviable,
}

/// An outcome, and the sum of the sources that it was found with.
#[derive(Serialize, Deserialize)]
struct Verdict {
    outcome: Outcome,
    sources: String,
}

/// Verdicts by the mutant's id.
type Verdicts = BTreeMap<String, Verdict>;

/// Judges the chosen mutants that have no verdict, then prints the share that was caught and each that survived.
pub fn main(args: Args) -> Result<()> {
    if let Some(program) = args.judge {
        return judge::main(&program);
    }
    let root = workspace_root();
    let place = root.join("target/mutants");
    fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    let tool = tool(&root)?;
    let mut chosen = choose(list(&tool, &root)?, args.module.as_deref(), args.seed);
    ensure!(!chosen.is_empty(), "there is no mutant in that module");
    chosen.truncate(args.count);
    if let Some((k, n)) = args.shard {
        chosen = chosen.into_iter().skip(k - 1).step_by(n).collect();
    }

    let path = place.join("verdicts.json");
    let mut verdicts = match fs::read(&path) {
        Ok(bytes) if !args.again => serde_json::from_slice(&bytes)
            .with_context(|| format!("cannot read {}", path.display()))?,
        _ => Verdicts::new(),
    };
    let sources = sum_of(&root.join("src"))?;
    let waits = |mutant: &&Mutant| match verdicts.get(&mutant.id()) {
        None => true,
        Some(known) => known.outcome == Outcome::Missed && known.sources != sources,
    };
    let waiting: Vec<&Mutant> = chosen.iter().filter(waits).collect();
    if !waiting.is_empty() {
        judge_all(&tool, &root, &waiting, |mutant, outcome| {
            let sources = sources.clone();
            verdicts.insert(mutant.id(), Verdict { outcome, sources });
            let text = serde_json::to_vec_pretty(&verdicts)?;
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
        })?;
    }
    print!("{}", report(&chosen, &verdicts));
    Ok(())
}

/// `K/N`.
fn shard(text: &str) -> Result<(usize, usize)> {
    let (k, n) = text.split_once('/').context("it is K/N")?;
    let (k, n) = (k.parse()?, n.parse()?);
    ensure!((1..=n).contains(&k), "K is one of 1 to N");
    Ok((k, n))
}

/// cargo-mutants, which is installed under target/tools when it is not there.
fn tool(root: &Path) -> Result<PathBuf> {
    let tools = root.join("target/tools");
    let tool = tools.join("bin/cargo-mutants");
    let version = setup::quietly(Command::new(&tool).args(["mutants", "--version"]));
    if version.is_ok_and(|version| version.trim_end().ends_with(VERSION)) {
        return Ok(tool);
    }
    let _waiting = setup::progress(&format!(
        "installing cargo-mutants {VERSION}, some minutes of compiling"
    ));
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["install", "--locked", "--force", "--version", VERSION])
        .arg("--root")
        .arg(&tools)
        .arg("cargo-mutants");
    setup::quietly(&mut cargo)?;
    Ok(tool)
}

/// Every mutant of the modules.
fn list(tool: &Path, root: &Path) -> Result<Vec<Mutant>> {
    let _waiting = setup::progress("listing mutants");
    let mut list = Command::new(tool);
    list.current_dir(root)
        .args(["mutants", "--list", "--json", "--no-config"])
        .args(["--package", "stowaway", "--exclude-re", UNVIABLE])
        .args(MODULES.iter().map(|module| format!("--file={module}**")))
        .args(TEST_SUPPORT.iter().flat_map(|name| {
            [
                format!("--exclude=**/{name}/**"),
                format!("--exclude=**/{name}.rs"),
            ]
        }));
    serde_json::from_str(&setup::quietly(&mut list)?).context("this is no list of mutants")
}

impl Mutant {
    /// What it is known by, also when lines are added above it: its file and what is changed, with the lines around.
    fn id(&self) -> String {
        let lines = self.diff.lines().filter(|line| !line.starts_with("@@"));
        let lines: Vec<&str> = lines.collect();
        hex(&Sha256::digest(format!(
            "{}\n{}",
            self.file,
            lines.join("\n")
        )))
    }

    /// Whether it is in `module`, whose parts are separated by `::` or `/`.
    fn is_in(&self, module: &str) -> bool {
        let module = module.replace("::", "/");
        let file = self.file.trim_start_matches("src/").trim_end_matches(".rs");
        file.strip_prefix(module.trim_matches('/'))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// The mutants of `module` in an order that depends on the seed and on each of them alone: a change of the sources
/// replaces those that it touches.
fn choose(mutants: Vec<Mutant>, module: Option<&str>, seed: u64) -> Vec<Mutant> {
    let mut chosen = mutants;
    chosen.retain(|mutant| module.is_none_or(|module| mutant.is_in(module)));
    chosen.sort_by_cached_key(|mutant| Sha256::digest(format!("{seed} {}", mutant.id())));
    chosen
}

/// A sum of all files in `dir`: their names and what they contain.
fn sum_of(dir: &Path) -> Result<String> {
    let mut sum = Sha256::new();
    for entry in WalkDir::new(dir).sort_by_file_name() {
        let entry = entry?;
        if entry.file_type().is_file() {
            let bytes = fs::read(entry.path())?;
            sum.update(format!("{} {}\n", entry.path().display(), bytes.len()));
            sum.update(bytes);
        }
    }
    Ok(hex(&sum.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Has the mutants judged, by one cargo-mutants per processor, and hands on each verdict as it is found.
fn judge_all(
    tool: &Path,
    root: &Path,
    mutants: &[&Mutant],
    mut found: impl FnMut(&Mutant, Outcome) -> Result<()>,
) -> Result<()> {
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    let jobs = jobs.min(mutants.len());
    let files = files(root)?;
    let by_name: HashMap<&str, &Mutant> = mutants
        .iter()
        .map(|each| (each.name.as_str(), *each))
        .collect();
    let mut running = Vec::new();
    for job in 0..jobs {
        let tree = root.join(format!("target/mutants/{}", job + 1));
        let lock = lock(&tree)?;
        copy(root, &files, &tree)?;
        let share: Vec<&Mutant> = mutants.iter().skip(job).step_by(jobs).copied().collect();
        running.push(Job::start(tool, tree, lock, &share)?);
    }

    let waiting = setup::progress("building the unit tests");
    let (mut judged, mut survived) = (HashSet::new(), 0);
    loop {
        // Asked first: what has ended has no more verdicts to write.
        let has_ended = running
            .iter_mut()
            .map(Job::has_ended)
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .all(|ended| ended);
        for job in &running {
            for (name, outcome) in job.verdicts() {
                let Some(mutant) = by_name.get(name.as_str()) else {
                    bail!("{name} was not asked for");
                };
                if !judged.insert(name) {
                    continue;
                }
                found(mutant, outcome)?;
                if outcome == Outcome::Missed {
                    survived += 1;
                    waiting.println(&format!("survives: {}", mutant.name));
                }
                let (judged, all) = (judged.len(), mutants.len());
                waiting.say(format!("{judged} of {all} judged, {survived} survive"));
            }
        }
        if has_ended {
            break;
        }
        thread::sleep(INTERVAL);
    }
    for job in &mut running {
        job.check()?;
    }
    ensure!(
        judged.len() == mutants.len(),
        "{} of {} mutants have no verdict; the logs are in {}",
        mutants.len() - judged.len(),
        mutants.len(),
        root.join("target/mutants").display()
    );
    Ok(())
}

/// One cargo-mutants, and the copy of the project that it changes.
struct Job {
    tree: PathBuf,
    child: Child,
}

impl Job {
    fn start(tool: &Path, tree: PathBuf, lock: File, mutants: &[&Mutant]) -> Result<Self> {
        // What an earlier one left must not be taken for this one's.
        let _ = fs::remove_dir_all(tree.join("target/mutants.out"));
        let log = tree.with_extension("log");
        let log = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let files: HashSet<&str> = mutants.iter().map(|mutant| mutant.file.as_str()).collect();
        let this = env::current_exe().context("where is this program?")?;
        let runner = serde_json::to_string(&[&this.to_string_lossy(), "mutants", "--judge"])?;
        let mut command = Command::new(tool);
        command
            .current_dir(&tree)
            .args(["mutants", "--in-place", "--no-config", "--no-times"])
            .args(["--package", "stowaway", "--output", "target"])
            // What is unused because of a fault is no reason not to compile.
            .args(["--cap-lints=true", "--cargo-arg=--lib"])
            .arg(format!(
                "--cargo-arg=--config=target.'cfg(all())'.runner={runner}"
            ))
            .args(files.iter().map(|file| format!("--file={file}")))
            .args(
                mutants
                    .iter()
                    .map(|mutant| format!("--re=^{}$", escape(&mutant.name))),
            )
            // Without it each fault is compiled in 3 s instead of 20.
            .env("CARGO_PROFILE_TEST_LTO", "off")
            .env("CARGO_PROFILE_TEST_DEBUG", "0")
            .env_remove("CARGO_MANIFEST_DIR")
            // Which keeps it open, also when this program ends before.
            .stdin(lock)
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", tool.display()))?;
        Ok(Self { tree, child })
    }

    fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// The verdicts until now. A line that is still being written has no end.
    fn verdicts(&self) -> impl Iterator<Item = (String, Outcome)> {
        let files = [
            ("caught", Outcome::Caught),
            ("missed", Outcome::Missed),
            ("timeout", Outcome::Timeout),
            ("unviable", Outcome::Unviable),
        ];
        files.into_iter().flat_map(|(file, outcome)| {
            let path = self.tree.join(format!("target/mutants.out/{file}.txt"));
            let text = fs::read_to_string(path).unwrap_or_default();
            let lines = text.split_inclusive('\n');
            let lines =
                lines.filter_map(|line| Some((line.strip_suffix('\n')?.to_owned(), outcome)));
            lines.collect::<Vec<_>>()
        })
    }

    /// An error when it did not come to its end.
    fn check(&mut self) -> Result<()> {
        let status = self.child.wait()?;
        // All were caught; some survived; some did not end.
        if matches!(status.code(), Some(0 | 2 | 3)) {
            return Ok(());
        }
        let log = self.tree.with_extension("log");
        let said = fs::read_to_string(&log).unwrap_or_default();
        bail!("cargo-mutants failed ({status}):\n{said}")
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

/// The project's files, also those that git does not know yet.
fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut git = Command::new("git");
    git.current_dir(root).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]);
    let listed = setup::quietly(&mut git)?;
    let files = listed.split_terminator('\0').map(PathBuf::from);
    Ok(files.filter(|file| root.join(file).is_file()).collect())
}

/// Keeps others from changing `tree` for as long as the file is open in any process.
fn lock(tree: &Path) -> Result<File> {
    let path = tree.with_extension("lock");
    let lock = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    lock.try_lock()
        .with_context(|| format!("another run is at work in {}", tree.display()))?;
    Ok(lock)
}

/// Makes `tree` a copy of the files of `root`. What is the same is left alone, so that it is not compiled again.
fn copy(root: &Path, files: &[PathBuf], tree: &Path) -> Result<()> {
    let wanted: HashSet<&PathBuf> = files.iter().collect();
    let src = tree.join("src");
    for entry in WalkDir::new(&src).into_iter().filter_map(Result::ok) {
        let path = entry.path();
        let relative = path.strip_prefix(tree)?.to_path_buf();
        if entry.file_type().is_file() && !wanted.contains(&relative) {
            fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    for file in files {
        let bytes = fs::read(root.join(file))?;
        let copy = tree.join(file);
        if fs::read(&copy).is_ok_and(|there| there == bytes) {
            continue;
        }
        fs::create_dir_all(copy.parent().unwrap_or(tree))?;
        fs::write(&copy, bytes).with_context(|| format!("cannot write {}", copy.display()))?;
    }
    Ok(())
}

/// The share that was caught, and each mutant that survived.
fn report(chosen: &[Mutant], verdicts: &Verdicts) -> String {
    let outcome = |mutant: &Mutant| verdicts.get(&mutant.id()).map(|verdict| verdict.outcome);
    let count = |of: Outcome| {
        chosen
            .iter()
            .filter(|each| outcome(each) == Some(of))
            .count()
    };
    let survivors: Vec<&Mutant> = chosen
        .iter()
        .filter(|mutant| outcome(mutant) == Some(Outcome::Missed))
        .collect();
    let caught = count(Outcome::Caught) + count(Outcome::Timeout);
    let viable = caught + survivors.len();
    let mut text = String::new();
    for mutant in &survivors {
        let _ = writeln!(text, "survives: {}", mutant.name);
    }
    let share = 100.0 * caught as f64 / viable.max(1) as f64;
    let unviable = count(Outcome::Unviable);
    let _ = writeln!(
        text,
        "{caught} of {viable} caught, {share:.1} %; {unviable} more do not compile"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutant(line: usize, what: &str) -> Mutant {
        Mutant {
            name: format!("src/vfs/iso/mod.rs:{line}:17: replace {what} in read"),
            file: "src/vfs/iso/mod.rs".to_owned(),
            diff: format!("--- a\n+++ replace {what}\n@@ -{line},3 +{line},3 @@\n-x\n+y\n"),
        }
    }

    #[test]
    fn the_choice_outlasts_lines_that_are_added_above_it() {
        let all = ["+ with -", "- with +", "* with /", "< with <="];
        let order = |first: usize| -> Vec<String> {
            let all = all
                .iter()
                .enumerate()
                .map(|(i, what)| mutant(first + i, what));
            choose(all.collect(), None, 1)
                .iter()
                .map(Mutant::id)
                .collect()
        };
        assert_eq!(order(1), order(100));
        let other = choose(all.map(|what| mutant(1, what)).into(), None, 2);
        let other: Vec<String> = other.iter().map(Mutant::id).collect();
        assert_ne!(order(1), other);
    }

    #[test]
    fn a_module_is_itself_and_what_is_in_it() {
        let mutant = mutant(1, "+ with -");
        for module in ["vfs", "vfs::iso", "vfs/iso/", "vfs::iso::mod"] {
            assert!(mutant.is_in(module), "{module}");
        }
        for module in ["wire", "vfs::is", "iso", "vfs::iso::mo"] {
            assert!(!mutant.is_in(module), "{module}");
        }
    }

    #[test]
    fn a_shard_is_one_of_so_many() {
        assert_eq!(shard("2/3").unwrap(), (2, 3));
        for wrong in ["0/3", "4/3", "3", "a/b", "1/0"] {
            assert!(shard(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_does_not_compile_is_left_out_of_the_share() {
        let all = ["+ with -", "- with +", "* with /", "< with <=", "> with >="];
        let all = all.map(|what| mutant(7, what));
        let outcomes = [
            Outcome::Caught,
            Outcome::Missed,
            Outcome::Timeout,
            Outcome::Unviable,
        ];
        let sources = String::new();
        let verdicts = all.iter().zip(outcomes);
        let verdicts = verdicts.map(|(mutant, outcome)| {
            let sources = sources.clone();
            (mutant.id(), Verdict { outcome, sources })
        });
        assert_eq!(
            report(&all, &verdicts.collect()),
            "survives: src/vfs/iso/mod.rs:7:17: replace - with + in read\n\
            2 of 3 caught, 66.7 %; 1 more do not compile\n"
        );
    }
}
