//! The checks that need no NFS or SFTP client: formatting, lints, tidy, documentation, unit tests, builds, sizes, fuzzing; and the
//! steps on which the suites depend.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum as _;

use super::schedule::{Job, Outcome};
use super::suites::Files;
use super::{Mode, isolation};
use crate::build::{self, Arch, Role, workspace_root};
use crate::commands::fuzz::{self, Target};
use crate::commands::tidy;
use crate::machines::{debian, iso, qemu, wait_for};
use crate::measure::size;
use crate::setup::{self, PythonPackage};

/// Name of the step that builds the executable for every architecture.
pub const BUILD: &str = "build";
/// Name of the step that compiles the suites.
pub const COMPILE: &str = "compile";
/// Name of the step that downloads.
pub const PREPARE: &str = "prepare";
/// Steps without which no test of a suite can run.
pub const REQUIRED: [&str; 3] = [BUILD, COMPILE, PREPARE];

/// Unit tests that run again on the machine's own file system, one form of each backend; all others run in memory, where creating
/// files takes less time.
const ON_DISK: [&str; 3] = [
    "objects::on_host_with_kernel_handles",
    "by_path::of_user::",
    "vfs::host",
];

/// Features that are no role.
const NO_ROLES: [&str; 3] = ["iso", "smol", "bare"];

/// Time limit of a step: none fails by it, because cargo waits for the locks of others.
const STEP_MAX: Duration = Duration::from_secs(7200);

/// The fuzz step that runs before the others: it compiles the crates that all targets share. In parallel, the others would only
/// wait for cargo's lock.
const FUZZ_FIRST: &str = "fuzz-records";

/// Jobs for all steps. A step that many jobs depend on has a higher rank.
pub fn jobs(mode: &Mode) -> Vec<Job> {
    let files = mode.files();
    let mut jobs = vec![
        check_job(8, BUILD, &[], move || build_all(&files)),
        command_job(mode, 2, "format", &[], || {
            Ok(cargo(&["fmt", "--all", "--", "--check"]))
        }),
        check_job(2, "tidy", &[], || tidy::main(tidy::Args {})),
        // The lints, the documentation and the unit tests of xtask run one after another, because cargo locks its target directory.
        // In parallel, all but one would only wait, while the scheduler counts them as running.
        command_job(mode, 6, "clippy", &[], || Ok(clippy(PRODUCT))),
        check_job(6, "alone", &["clippy"], check_each_alone),
        command_job(mode, 6, "clippy-tools", &["alone"], || Ok(clippy(TOOLS))),
        command_job(mode, 6, "doc", &["clippy-tools"], || Ok(documentation())),
        command_job(mode, 5, "unit-xtask", &["doc"], || Ok(unit_xtask())),
        command_job(mode, 5, "unit-disk", &["unit-x86_64"], || {
            let mut tests = build::unit_tests(Arch::X86_64)?;
            tests.arg("--").args(ON_DISK);
            Ok(tests)
        }),
        // Measures the executables of the step `build`.
        check_job(6, "size", &[BUILD], size::check),
    ];
    for arch in Arch::NATIVE {
        let name = format!("unit-{}", arch.name());
        let prefixes = mode.prefixes(&name);
        jobs.push(command_job(mode, 5, &name, &[], move || {
            let mut tests = build::unit_tests(arch)?;
            tests.args(isolation::memory_arguments(arch.triple()));
            tests.arg("--").args(prefixes);
            Ok(tests)
        }));
    }
    let secs = if mode.is_full { 300 } else { 3 };
    for &target in Target::value_variants() {
        let name = format!("fuzz-{}", target.name());
        let (rank, after) = match &*name {
            FUZZ_FIRST => (6, &[][..]),
            _ => (3, &[FUZZ_FIRST][..]),
        };
        jobs.push(check_job(rank, &name, after, move || {
            fuzz::run(target, secs).map(drop)
        }));
    }
    jobs.iter_mut().for_each(|job| set_budget(mode, job));
    jobs
}

/// Sets the share and the usual duration of a job to those of suites.toml.
pub fn set_budget(mode: &Mode, job: &mut Job) {
    let budget = mode.suites.find(&job.suite);
    job.usual = Duration::from_secs_f64(budget.seconds);
    job.share = budget.share;
}

/// A job that fetches crates, Python packages, kernels for virtual machines, Debian's boot images and, as root, a Debian system. The
/// tests themselves cannot: their network namespaces have only loopback.
pub fn prepare(mode: &Mode) -> Job {
    let mut job = Job::new(PREPARE, || {
        setup::run_captured(&mut cargo(&["fetch", "--locked"]))?;
        for package in PythonPackage::ALL {
            package.path()?;
        }
        qemu::prepare_all()?;
        let packages = iso::SHIPPED.map(|(package, _, _)| package);
        let packages = packages.into_iter().chain([iso::EXPORTFS, iso::INSTALLER]);
        for package in packages.chain(iso::TFTP).chain(debian::INITS) {
            iso::unpack_package(package)?;
        }
        if isolation::is_possible() {
            debian::system()?;
        }
        Ok(Outcome::default())
    });
    job.rank = 10;
    set_budget(mode, &mut job);
    job
}

/// Builds the executables that the selected tests start, so that no test has to build.
fn build_all(files: &[Files]) -> Result<()> {
    build::build(Arch::X86_64)?;
    files.iter().try_for_each(|files| files.build())
}

/// A job that runs a check of xtask in this process; counts as one test.
fn check_job(
    rank: u8,
    suite: &str,
    after: &[&'static str],
    check: impl FnOnce() -> Result<()> + Send + 'static,
) -> Job {
    let mut job = Job::new(suite, || check().map(|()| Outcome::pass()));
    (job.rank, job.after) = (rank, after.into());
    job
}

/// A job that runs another program and counts the tests it reports; if it reports none, the program counts as one test.
fn command_job(
    mode: &Mode,
    rank: u8,
    suite: &str,
    after: &[&'static str],
    make: impl FnOnce() -> Result<Command> + Send + 'static,
) -> Job {
    let (log, mode) = (log_path(suite), mode.clone());
    let mut job = Job::new(suite, move || {
        let mut command = make()?;
        set_form(&mode, &mut command);
        let outcome = run_logged(&mut command, &log, STEP_MAX)?;
        Ok(if outcome.passed + outcome.failed == 0 {
            Outcome::pass()
        } else {
            outcome
        })
    });
    (job.rank, job.after) = (rank, after.into());
    job
}

/// Makes tests run in their long form if it is asked for.
pub fn set_form(mode: &Mode, command: &mut Command) {
    if mode.is_full {
        command.env("STOWAWAY_FULL", "1");
    }
}

/// Path of a job's log file; unique, also for repetitions of a job.
pub fn log_path(name: &str) -> PathBuf {
    static TIMES: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());
    let mut times = TIMES.lock().unwrap_or_else(PoisonError::into_inner);
    let count = times.entry(name.to_owned()).or_default();
    *count += 1;
    let number = if *count > 1 {
        format!("#{count}")
    } else {
        String::new()
    };
    let file = name.replace("::", "/");
    workspace_root().join(format!("target/test/{file}{number}.log"))
}

/// Runs a program, writes its output to `log` and counts the tests it reports. Kills the program after `time_max`.
pub fn run_logged(command: &mut Command, log: &Path, time_max: Duration) -> Result<Outcome> {
    let dir = log.parent().context("no parent directory")?;
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let file = fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    command
        .stdin(std::process::Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file);
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let status = wait_for(time_max, || Ok(child.try_wait()?))?;
    if status.is_none() {
        child.kill()?;
        child.wait()?;
    }
    let text = String::from_utf8_lossy(&fs::read(log)?).into_owned();
    let mut outcome = Outcome::default();
    for line in text.lines() {
        outcome.skipped += u64::from(line.starts_with("SKIPPED"));
        if let Some((passed, failed)) = parse_counts(line) {
            outcome.passed += passed;
            outcome.failed += failed;
        }
    }
    if !status.is_some_and(|status| status.success()) {
        outcome.failed = outcome.failed.max(1);
        outcome.output = text;
    }
    Ok(outcome)
}

/// Arguments that select the packages of the product for linting. The tools are linted in a separate run: in one run cargo would
/// unify features, and a crate with its std feature would bring a second panic handler.
const PRODUCT: &[&str] = &["-p", "stowaway", "--features", "unpack"];
/// Arguments that select the packages of the tools for linting, with the profile in which xtask is built, so that compiled macros
/// and build scripts are reused.
const TOOLS: &[&str] = &[
    "-p",
    "xtask",
    "-p",
    "cases",
    "--features",
    "xtask/workshop",
    "--profile",
    "tools",
];

fn clippy(packages: &[&str]) -> Command {
    let mut clippy = cargo(&["clippy", "--all-targets"]);
    clippy.args(packages).args(["--", "-D", "warnings"]);
    clippy
}

/// Checks a package with only some features. A warning is an error. RUSTFLAGS could say so to the compiler, but would have all crates
/// compiled again; with `-q`, cargo prints nothing but warnings.
fn check_alone(arguments: &[&str]) -> Result<()> {
    let output = cargo(&["check", "-q"]).args(arguments).output()?;
    let warnings = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && warnings.is_empty(),
        "cargo check {} fails or warns: {warnings}",
        arguments.join(" ")
    );
    Ok(())
}

/// Roles whose unit tests also compile alone: those whose files leave out the most.
const TESTED_ALONE: [&str; 3] = ["sftp-server", "mdns", "nfs"];

/// Checks the program `image` alone, and the library with each role alone, to find modules that need another one's feature. The
/// compiler's lints suffice: clippy has seen the same code in the steps before.
fn check_each_alone() -> Result<()> {
    check_alone(&["-p", "xtask", "--profile", "tools", "--features", "image"])?;
    let roles = Role::value_variants().iter().map(|role| role.name());
    for role in roles.filter(|role| !NO_ROLES.contains(role)) {
        let library = ["-p", "stowaway", "--lib", "--no-default-features"];
        let library = [&library[..], &["--features", role]].concat();
        check_alone(&library)?;
        if TESTED_ALONE.contains(&role) {
            check_alone(&[&library[..], &["--profile", "test"]].concat())?;
        }
    }
    Ok(())
}

/// Builds the documentation; a broken link in a doc comment is an error.
fn documentation() -> Command {
    let features = "stowaway/unpack,xtask/workshop";
    let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--features", features]);
    doc.args(["--exclude", "fuzz", "--document-private-items"])
        // The profile is that of the tools' lints, so that compiled metadata is reused.
        .args(["--profile", "tools"])
        .env("RUSTDOCFLAGS", "-D warnings");
    doc
}

fn unit_xtask() -> Command {
    let mut test = cargo(&["test", "--profile", "tools", "--lib", "--bins"]);
    test.args(["-p", "xtask", "-p", "cases"]);
    test.args(["--features", "xtask/workshop"]);
    test
}

/// A cargo command in the workspace root.
pub fn cargo(args: &[&str]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace_root()).args(args);
    cargo
}

/// Parses `test result: ok. 3 passed; 0 failed; …` into passed and failed.
fn parse_counts(line: &str) -> Option<(u64, u64)> {
    let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut numbers = numbers.split("; ");
    let passed = numbers.next()?.strip_suffix(" passed")?.parse().ok()?;
    let failed = numbers.next()?.strip_suffix(" failed")?.parse().ok()?;
    Some((passed, failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_test_result_lines_are_counted() {
        let ok = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!(parse_counts(ok), Some((12, 0)));
        assert_eq!(
            parse_counts("test result: FAILED. 3 passed; 2 failed; 0 ignored"),
            Some((3, 2))
        );
        assert_eq!(parse_counts("test wire::short_is_malformed ... ok"), None);
    }

    #[test]
    fn failing_program_is_counted_and_its_output_kept() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let log = dir.path().join("planted.log");
        let script = "echo 'test result: FAILED. 3 passed; 2 failed; 0 ignored'; echo SKIPPED: it; echo oops >&2; exit 1";
        let outcome = run_logged(Command::new("sh").args(["-c", script]), &log, STEP_MAX)?;
        assert_eq!((outcome.passed, outcome.failed, outcome.skipped), (3, 2, 1));
        assert!(outcome.output.contains("oops"));
        Ok(())
    }

    #[test]
    fn hanging_program_is_killed_and_fails() -> Result<()> {
        let log = tempfile::NamedTempFile::new()?;
        let time_max = Duration::from_millis(50);
        let outcome = run_logged(Command::new("sleep").arg("60"), log.path(), time_max)?;
        assert_eq!(outcome.failed, 1);
        Ok(())
    }
}
