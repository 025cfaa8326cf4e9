//! The checks that need no NFS or SFTP client: formatting, lints, tidy, documentation, unit tests, builds, sizes, fuzzing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::ValueEnum as _;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::schedule::{Job, Outcome};
use super::{Mode, isolation};
use crate::build::{self, Arch, Role, workspace_root};
use crate::commands::fuzz::{self, Target};
use crate::commands::tidy;
use crate::measure::size;
use crate::setup;

/// Name of the step that builds the executable for every architecture.
pub const BUILD: &str = "build";

/// Steps that run cargo in the target directories of unoptimised builds. They run one after the other.
const LINTS: [&str; 5] = [
    "clippy",
    "clippy-alone",
    "clippy-tools",
    "doc",
    "unit-xtask",
];

/// Unit tests that run again on the machine's own file system, one form of each backend; all others run in memory, where creating
/// files takes less time.
const ON_DISK: [&str; 3] = [
    "objects::on_host_with_kernel_handles",
    "by_path::of_user::",
    "vfs::host",
];

/// Duration of fuzzing for each target, in seconds.
const FUZZ_SECS: u32 = 10;

/// The fuzz step that runs before the others: it compiles the crates that all targets share. In parallel, the others would only
/// wait for cargo's lock.
const FUZZ_FIRST: &str = "fuzz-records";

/// Jobs for all steps. A step that many jobs depend on has a higher rank.
pub fn jobs(mode: &Mode) -> Vec<Job> {
    let mut jobs = vec![
        ranked(8, build_job()),
        ranked(
            2,
            command_job("format", || Ok(cargo(&["fmt", "--all", "--", "--check"]))),
        ),
        ranked(6, command_job("clippy", || Ok(clippy(PRODUCT)))),
        ranked(6, command_job("clippy-tools", || Ok(clippy(TOOLS)))),
        ranked(
            6,
            check_job("clippy-alone", || {
                lint(&["-p", "xtask", "--profile", "tools", "--features", "image"])?;
                roles_alone()?.iter().try_for_each(lint_alone)
            }),
        ),
        ranked(2, check_job("tidy", || tidy::main(tidy::Args {}))),
        ranked(6, command_job("doc", || Ok(documentation()))),
    ];
    for arch in Arch::NATIVE {
        let name = format!("unit-{}", arch.name());
        let unit_tests = move || {
            let mut tests = build::unit_tests(arch)?;
            tests.args(isolation::memory_arguments(arch.triple()));
            Ok(tests)
        };
        jobs.push(ranked(5, command_job(&name, unit_tests)));
    }
    let mut on_disk = command_job("unit-disk", || {
        let mut tests = build::unit_tests(Arch::X86_64)?;
        tests.arg("--").args(ON_DISK);
        Ok(tests)
    });
    on_disk.after = vec!["unit-x86_64"];
    jobs.push(ranked(5, on_disk));
    jobs.push(ranked(5, command_job("unit-xtask", || Ok(unit_xtask()))));
    // These jobs run one after another, because cargo locks its target directory. In parallel, all but one would only wait, while
    // the scheduler counts them as running.
    for (first, second) in LINTS.iter().zip(&LINTS[1..]) {
        for job in jobs.iter_mut().filter(|job| job.suite == *second) {
            job.after = vec![first];
        }
    }
    let mut sizes = check_job("size", size::check);
    // Runs after the build step, which builds the executables that are measured.
    sizes.after = vec![BUILD];
    jobs.push(ranked(6, sizes));
    for &target in Target::value_variants() {
        let mut job = Job::new(&format!("fuzz-{}", target.name()), move || {
            let output = fuzz::run(target, FUZZ_SECS)?;
            Ok(Outcome {
                passed: 1,
                output,
                ..Outcome::default()
            })
        });
        if job.suite == FUZZ_FIRST {
            job.rank = 5;
        } else {
            job.rank = 3;
            job.after = vec![FUZZ_FIRST];
        }
        jobs.push(job);
    }
    for job in &mut jobs {
        let budget = mode.suites.find(&job.suite);
        job.usual = mode.usual(&job.suite, &job.part, budget.seconds);
        job.share = budget.share;
    }
    jobs
}

/// A job that builds all executables that tests start, plain and packed, so that no test has to build.
fn build_job() -> Job {
    check_job(BUILD, || {
        for arch in Arch::ALL {
            build::build(arch)?;
        }
        for arch in Arch::NATIVE {
            build::build_packed(arch, Role::all())?;
        }
        // Needed by the tests of the responder's memory use.
        build::build_roles(Arch::X86_64, &[Role::MDNS]).map(drop)
    })
}

fn ranked(rank: u8, mut job: Job) -> Job {
    job.rank = rank;
    job
}

/// A job that runs a check of xtask in this process; counts as one test.
fn check_job(suite: &str, check: impl FnOnce() -> Result<()> + Send + 'static) -> Job {
    Job::new(suite, move || {
        check()?;
        Ok(Outcome {
            passed: 1,
            ..Outcome::default()
        })
    })
}

/// A job that runs another program and counts the tests it reports; if it reports none, the program counts as one test.
fn command_job(suite: &str, make: impl FnOnce() -> Result<Command> + Send + 'static) -> Job {
    let log = log_path(suite);
    Job::new(suite, move || {
        let (success, mut outcome) = run_logged(&mut make()?, &log, None)?;
        if success && outcome.passed == 0 {
            outcome.passed = 1;
        }
        Ok(outcome)
    })
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
    workspace_root()
        .join("target/test")
        .join(format!("{file}{number}.log"))
}

/// Runs a program, writes its output to `log` and counts the tests it reports. Kills the program if it still runs at `end`.
pub fn run_logged(
    command: &mut Command,
    log: &Path,
    end: Option<Instant>,
) -> Result<(bool, Outcome)> {
    let dir = log.parent().context("no parent directory")?;
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let stdout =
        fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let stderr = stdout.try_clone()?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let mut outcome = Outcome::default();
    let success = wait(&mut child, end, &mut outcome.processor)?;
    // The output may not be UTF-8, so it is read as bytes.
    let text = fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
    for line in String::from_utf8_lossy(&text).lines() {
        outcome.skipped += u64::from(line.starts_with("SKIPPED"));
        if let Some((passed, failed)) = parse_counts(line) {
            outcome.passed += passed;
            outcome.failed += failed;
        }
    }
    if !success {
        outcome.failed = outcome.failed.max(1);
        outcome.output = String::from_utf8_lossy(&text).into_owned();
    }
    Ok((success, outcome))
}

/// Waits until the program exits, and kills it at `end`. Returns true if it succeeded. Adds the processor time of the program and
/// its descendants to `processor`.
fn wait(child: &mut Child, end: Option<Instant>, processor: &mut Duration) -> Result<bool> {
    let pid = Pid::from_raw(child.id().cast_signed());
    loop {
        let is_late = end.is_some_and(|end| Instant::now() > end);
        if is_late {
            child.kill()?;
        }
        // WNOWAIT leaves the ended process as it is, so that its times can still be read.
        let mut flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        flags.set(WaitPidFlag::WNOHANG, end.is_some() && !is_late);
        if waitid(Id::Pid(pid), flags)? != WaitStatus::StillAlive {
            *processor += processor_time(child.id())?;
            return Ok(child.wait()?.success() && !is_late);
        }
        sleep(Duration::from_millis(5));
    }
}

/// Processor time of a process that ended but was not waited for, and of its descendants (proc_pid_stat(5): utime, stime, cutime,
/// cstime).
fn processor_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The second field is the program's name in parentheses and may contain spaces.
    let (_, fields) = stat.rsplit_once(") ").context("unexpected format")?;
    let ticks = fields.split(' ').skip(11).take(4).map(str::parse::<u64>);
    let ticks: u64 = ticks.sum::<Result<_, _>>()?;
    // Linux reports ticks of 10 ms to programs, whatever its own timer does.
    Ok(Duration::from_millis(ticks * 10))
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

/// Lints a package with only some features. A warning is an error.
fn lint(arguments: &[&str]) -> Result<()> {
    let mut lint = cargo(&["clippy", "-q"]);
    lint.args(arguments).args(["--", "-D", "warnings"]);
    setup::run_captured(&mut lint).map(drop)
}

/// The roles (lines of `roles!`) whose features depend on no other role. Each is linted alone, to find code that is unused in a
/// build with one role.
fn roles_alone() -> Result<Vec<Role>> {
    let read =
        |path: &str| fs::read_to_string(workspace_root().join(path)).context(path.to_owned());
    let text = read("src/role/mod.rs")?;
    let rows = text
        .lines()
        .filter_map(|line| line.strip_prefix("    \"")?.split_once("\": "));
    let roles: BTreeSet<&str> = rows.map(|(feature, _)| feature).collect();
    let manifest: toml::Table = read("Cargo.toml")?.parse().context("Cargo.toml")?;
    let features = manifest
        .get("features")
        .context("Cargo.toml has no features")?;
    let is_alone = |role: &Role| {
        let mut pending = vec![role.name()];
        let mut of_role = BTreeSet::new();
        while let Some(feature) = pending.pop() {
            if of_role.insert(feature) {
                let needed = features.get(feature).and_then(toml::Value::as_array);
                pending.extend(needed.into_iter().flatten().filter_map(toml::Value::as_str));
            }
        }
        of_role.intersection(&roles).eq([&role.name()])
    };
    Ok(Role::all().iter().copied().filter(is_alone).collect())
}

/// Lints the library with only one role.
fn lint_alone(role: &Role) -> Result<()> {
    let library = ["-p", "stowaway", "--lib", "--no-default-features"];
    lint(&[&library[..], &["--features", role.name()]].concat())
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
    fn roles_without_other_roles_are_linted_alone() -> Result<()> {
        let names: Vec<&str> = roles_alone()?.iter().map(|role| role.name()).collect();
        for (name, is_alone) in [
            ("sftp-server", true),
            ("ls", true),
            ("serve", false),
            ("iso", false),
        ] {
            assert_eq!(names.contains(&name), is_alone, "{names:?}");
        }
        Ok(())
    }

    #[test]
    fn failing_program_is_counted_and_its_output_kept() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let log = dir.path().join("planted.log");
        let script = "echo 'test result: FAILED. 3 passed; 2 failed; 0 ignored'; echo SKIPPED: it; echo oops >&2; exit 1";
        let (success, outcome) = run_logged(Command::new("sh").args(["-c", script]), &log, None)?;
        assert!(!success);
        assert_eq!((outcome.passed, outcome.failed, outcome.skipped), (3, 2, 1));
        assert!(outcome.output.contains("oops"));
        Ok(())
    }

    #[test]
    fn hanging_program_is_killed_and_fails() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let end = Some(Instant::now() + Duration::from_millis(50));
        let (success, outcome) = run_logged(
            Command::new("sleep").arg("60"),
            &dir.path().join("log"),
            end,
        )?;
        assert!(!success);
        assert_eq!(outcome.failed, 1);
        Ok(())
    }
}
