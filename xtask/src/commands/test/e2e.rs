//! The suites against the built file: compiled once, each test a process in namespaces of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::schedule::{Job, Outcome};
use super::suites::Part;
use super::{Mode, isolation, long, prepare, steps};
use crate::build::{self, Arch, Role, workspace_root};
use crate::setup;

/// The suite that compiles all others.
pub const COMPILE: &str = "compile";
/// What no test may take.
const TEST_MAX: Duration = Duration::from_secs(600);
/// All tests of a suite that share one process, such as a guest's.
const TOGETHER_MAX: Duration = Duration::from_secs(1200);
/// What no part of the long form may take, on the slowest of machines: on ours it is nine minutes.
const PART_MAX: Duration = Duration::from_secs(2700);
/// Suites that are programs of their own.
const PROGRAMS: [&str; 2] = ["guest", "isos"];

/// A job that compiles the suites and knows the jobs of those that `wanted` says: a suite, or SUITE::TEST.
pub fn job(mode: &Mode, wanted: impl Fn(&str) -> bool + Send + 'static) -> Job {
    let tests = mode.clone();
    compile_job(mode, move |programs| {
        let mut more = Vec::new();
        for _ in 0..tests.repeat {
            more.extend(tests_of(&tests, programs, &wanted)?);
        }
        number(&mut more);
        Ok(more)
    })
}

/// A job that compiles the suites and knows those of the long form: name, suite and test of each.
pub fn parts(mode: &Mode, parts: Vec<(String, Part)>, sources: &str) -> Job {
    let (all, sources) = (mode.clone(), sources.to_owned());
    compile_job(mode, move |programs| {
        let part = |(name, part): (String, Part)| {
            let is_program = PROGRAMS.contains(&part.suite.as_str());
            let program = if is_program { &part.suite } else { "e2e" };
            let program = programs.iter().find(|known| known.name == program);
            let program = program.with_context(|| format!("there is no program {}", part.suite))?;
            let mut arguments = vec!["--test-threads=1".into()];
            if is_program {
                arguments.push(part.test);
            } else {
                // By their whole names: libtest looks for a filter anywhere in a name.
                let begin = format!("{}::{}", part.suite, part.test);
                let names = list(&program.path)?.into_iter();
                arguments.push("--exact".into());
                arguments.extend(names.filter(|name| name.starts_with(&begin)));
            }
            let mut job = test_job(&all, &program.path, &part.suite, "", arguments);
            let (work, sources, passed) = (job.work, sources.clone(), name.clone());
            job.suite = name;
            job.usual = all.usual(&job.suite, "", 300.0);
            job.work = Box::new(move || {
                let outcome = work()?;
                if outcome.failed == 0 {
                    long::pass(&passed, &sources)?;
                }
                Ok(outcome)
            });
            Ok(job)
        };
        parts.into_iter().map(part).collect()
    })
}

fn compile_job(
    mode: &Mode,
    jobs: impl FnOnce(&[Program]) -> Result<Vec<Job>> + Send + 'static,
) -> Job {
    let mut job = Job::new(COMPILE, move || {
        let programs = compile()?;
        build::program("exercise")?;
        Ok(Outcome {
            more: jobs(&programs)?,
            ..Outcome::default()
        })
    });
    let budget = mode.suites.of(COMPILE);
    job.rank = 9;
    job.share = budget.share;
    job.usual = mode.usual(COMPILE, "", budget.seconds);
    job
}

/// The same test again has another name.
pub fn number(jobs: &mut [Job]) {
    let mut counts = std::collections::HashMap::new();
    for job in jobs {
        let count: &mut u32 = counts.entry(job.name()).or_default();
        *count += 1;
        if *count > 1 {
            let times = format!("#{count}");
            job.part = if job.part.is_empty() {
                times
            } else {
                job.part.clone() + &times
            };
        }
    }
}

/// A compiled program of tests.
struct Program {
    name: String,
    path: PathBuf,
}

/// Compiles them all; the error is what cargo said.
fn compile() -> Result<Vec<Program>> {
    let mut cargo = steps::cargo(&["test", "--profile", "tools", "-p", "xtask", "--no-run"]);
    cargo.args(["--features", "workshop", "--test", "*"]);
    cargo.arg("--message-format=json-render-diagnostics");
    let output = cargo
        .stderr(Stdio::piped())
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    let messages = serde_json::Deserializer::from_slice(&output.stdout).into_iter();
    let mut programs = Vec::new();
    for message in messages {
        let message: serde_json::Value = message.context("cargo's messages are not JSON")?;
        if let (Some(path), Some(name)) = (
            message["executable"].as_str(),
            message["target"]["name"].as_str(),
        ) && message["profile"]["test"] == true
        {
            programs.push(Program {
                name: name.to_owned(),
                path: path.into(),
            });
        }
    }
    Ok(programs)
}

/// The tests of a program.
fn list(program: &Path) -> Result<Vec<String>> {
    let listed = setup::quietly(Command::new(program).arg("--list"))?;
    let names = listed
        .lines()
        .filter_map(|line| line.strip_suffix(": test"));
    Ok(names.map(str::to_owned).collect())
}

fn tests_of(mode: &Mode, programs: &[Program], wanted: &dyn Fn(&str) -> bool) -> Result<Vec<Job>> {
    let mut jobs = Vec::new();
    for program in programs {
        if PROGRAMS.contains(&program.name.as_str()) {
            if wanted(&program.name) {
                jobs.push(together(mode, &program.path, &program.name, None));
            }
            continue;
        }
        let names = list(&program.path)?;
        let mut last = "";
        for name in &names {
            let (suite, part) = name.split_once("::").context("a test outside a suite")?;
            if !mode.suites.of(suite).together {
                if wanted(name) {
                    jobs.push(single(mode, &program.path, suite, part));
                }
            } else if suite != last && wanted(suite) {
                jobs.push(together(
                    mode,
                    &program.path,
                    suite,
                    Some(format!("{suite}::")),
                ));
            }
            last = suite;
        }
    }
    Ok(jobs)
}

/// One test in a process of its own.
fn single(mode: &Mode, program: &Path, suite: &str, part: &str) -> Job {
    let arguments = vec![
        "--exact".into(),
        format!("{suite}::{part}"),
        "--nocapture".into(),
    ];
    test_job(mode, program, suite, part, arguments)
}

/// All tests of a suite, one after the other in one process.
fn together(mode: &Mode, program: &Path, suite: &str, filter: Option<String>) -> Job {
    let mut arguments = vec!["--test-threads=1".into()];
    arguments.extend(filter);
    test_job(mode, program, suite, "", arguments)
}

fn test_job(mode: &Mode, program: &Path, suite: &str, part: &str, arguments: Vec<String>) -> Job {
    let budget = mode.suites.of(suite);
    let log = steps::log_path(&format!(
        "{suite}::{}",
        if part.is_empty() { "all" } else { part }
    ));
    let mut command = isolation::command(program);
    command
        .args(arguments)
        .current_dir(workspace_root().join("xtask"))
        .env("CARGO_MANIFEST_DIR", workspace_root().join("xtask"))
        // There is no way out of the test's network.
        .env("CARGO_NET_OFFLINE", "true")
        // An error says where and why; behind a page of frames nobody sees it.
        .env("RUST_LIB_BACKTRACE", "0")
        .env(
            build::BUILT_VARIABLE,
            std::env::join_paths(built()).unwrap_or_default(),
        );
    if mode.is_full {
        command.env("STOWAWAY_FULL", "1");
    }
    let time_max = match (mode.is_full, budget.together) {
        (true, _) => PART_MAX,
        (_, true) => TOGETHER_MAX,
        _ => TEST_MAX,
    };
    let mut job = Job::new(suite, move || {
        let end = Instant::now() + time_max;
        Ok(steps::run_logged(&mut command, &log, Some(end))?.1)
    });
    job.part = part.into();
    // Where tests share one network, they run one after the other.
    job.share = if isolation::is_possible() {
        budget.share
    } else {
        99.0
    };
    job.alone = budget.alone;
    job.after = vec![steps::BUILD, prepare::PREPARE];
    job.usual = mode.usual(
        suite,
        part,
        if part.is_empty() { budget.seconds } else { 2.0 },
    );
    // What takes minutes by itself would be left over at the end.
    job.rank = if budget.together { 7 } else { 4 };
    job
}

/// What `steps::BUILD` leaves: tests start it as it is.
fn built() -> Vec<PathBuf> {
    let mut built: Vec<PathBuf> = Arch::ALL.iter().map(|&arch| build::path(arch)).collect();
    built.extend(Arch::NATIVE.map(|arch| build::path(arch).with_extension("packed")));
    built.push(build::path_with(Arch::X86_64, &[Role::Mdns]));
    built.push(build::program_path("exercise"));
    built
}
