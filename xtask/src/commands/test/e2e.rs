//! The end-to-end suites against the built executable. They are compiled once. Each test runs in its own process and namespaces;
//! the tests of a suite with `together` share one process.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::schedule::{Job, Outcome};
use super::suites::Part;
use super::{Mode, isolation, long, prepare, steps};
use crate::build::{self, Arch, Role, workspace_root};
use crate::setup;

/// Name of the step that compiles the suites.
pub const COMPILE: &str = "compile";
/// Time limit of one test.
const TEST_MAX: Duration = Duration::from_secs(600);
/// Time limit of a suite whose tests share one process, such as those in a virtual machine.
const TOGETHER_MAX: Duration = Duration::from_secs(1200);
/// Time limit of a part of the long form. Generous for slow machines: on the reference machine, a part takes at most nine minutes.
const PART_MAX: Duration = Duration::from_secs(2700);
/// Suites that are separate test programs.
const PROGRAMS: [&str; 2] = ["guest", "isos"];

/// A job that compiles the suites and then adds a job for each test selected by `is_wanted` (argument: SUITE or SUITE::TEST).
pub fn job(mode: &Mode, is_wanted: impl Fn(&str) -> bool + Send + 'static) -> Job {
    let test_mode = mode.clone();
    compile_job(mode, move |programs| {
        let mut more = Vec::new();
        for _ in 0..test_mode.repeat {
            more.extend(test_jobs(&test_mode, programs, &is_wanted)?);
        }
        number_repeats(&mut more);
        Ok(more)
    })
}

/// A job that compiles the suites and then adds a job for each of `parts` of the long form. `sources` is the hash that is recorded
/// with a part that passes.
pub fn parts(mode: &Mode, parts: Vec<(String, Part)>, sources: &str) -> Job {
    let (part_mode, sources) = (mode.clone(), sources.to_owned());
    compile_job(mode, move |programs| {
        let part = |(name, part): (String, Part)| {
            let is_program = PROGRAMS.contains(&part.suite.as_str());
            let program = if is_program { &part.suite } else { "e2e" };
            let program = programs.iter().find(|known| known.name == program);
            let program =
                program.with_context(|| format!("cargo built no test program {}", part.suite))?;
            let mut arguments = vec!["--test-threads=1".into()];
            if is_program {
                arguments.push(part.test);
            } else {
                // `--exact` with full names is used because libtest otherwise matches a filter anywhere in a name.
                let prefix = format!("{}::{}", part.suite, part.test);
                let names = list(&program.path)?.into_iter();
                arguments.push("--exact".into());
                arguments.extend(names.filter(|name| name.starts_with(&prefix)));
            }
            let mut job = test_job(&part_mode, &program.path, &part.suite, "", arguments);
            let (work, sources, part_name) = (job.work, sources.clone(), name.clone());
            job.suite = name;
            job.usual = part_mode.usual(&job.suite, "", 300.0);
            job.work = Box::new(move || {
                let outcome = work()?;
                if outcome.failed == 0 {
                    long::record_pass(&part_name, &sources)?;
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
    let budget = mode.suites.find(COMPILE);
    job.rank = 9;
    job.share = budget.share;
    job.usual = mode.usual(COMPILE, "", budget.seconds);
    job
}

/// Appends `#2`, `#3`, … to the names of repeated jobs, so that each name is unique.
pub fn number_repeats(jobs: &mut [Job]) {
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

/// A compiled test program.
struct Program {
    name: String,
    path: PathBuf,
}

/// Compiles all test programs. The error contains cargo's output.
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

/// Names of the tests in a program.
fn list(program: &Path) -> Result<Vec<String>> {
    let listed = setup::run_captured(Command::new(program).arg("--list"))?;
    let names = listed
        .lines()
        .filter_map(|line| line.strip_suffix(": test"));
    Ok(names.map(str::to_owned).collect())
}

fn test_jobs(
    mode: &Mode,
    programs: &[Program],
    is_wanted: &dyn Fn(&str) -> bool,
) -> Result<Vec<Job>> {
    let mut jobs = Vec::new();
    for program in programs {
        if PROGRAMS.contains(&program.name.as_str()) {
            if is_wanted(&program.name) {
                jobs.push(suite_job(mode, &program.path, &program.name, None));
            }
            continue;
        }
        let names = list(&program.path)?;
        let mut last_suite = "";
        for name in &names {
            let (suite, part) = name
                .split_once("::")
                .with_context(|| format!("test {name} is in no suite (module)"))?;
            if !mode.suites.find(suite).together {
                if is_wanted(name) {
                    jobs.push(single_test_job(mode, &program.path, suite, part));
                }
            } else if suite != last_suite && is_wanted(suite) {
                jobs.push(suite_job(
                    mode,
                    &program.path,
                    suite,
                    Some(format!("{suite}::")),
                ));
            }
            last_suite = suite;
        }
    }
    Ok(jobs)
}

/// A job that runs one test in its own process.
fn single_test_job(mode: &Mode, program: &Path, suite: &str, part: &str) -> Job {
    let arguments = vec![
        "--exact".into(),
        format!("{suite}::{part}"),
        "--nocapture".into(),
    ];
    test_job(mode, program, suite, part, arguments)
}

/// A job that runs all tests of a suite sequentially in one process.
fn suite_job(mode: &Mode, program: &Path, suite: &str, filter: Option<String>) -> Job {
    let mut arguments = vec!["--test-threads=1".into()];
    arguments.extend(filter);
    test_job(mode, program, suite, "", arguments)
}

fn test_job(mode: &Mode, program: &Path, suite: &str, part: &str, arguments: Vec<String>) -> Job {
    let budget = mode.suites.find(suite);
    let log = steps::log_path(&format!(
        "{suite}::{}",
        if part.is_empty() { "all" } else { part }
    ));
    let mut command = isolation::command(program, budget.disk);
    command
        .args(arguments)
        .current_dir(workspace_root().join("xtask"))
        .env("CARGO_MANIFEST_DIR", workspace_root().join("xtask"))
        // The test's network namespace has only loopback.
        .env("CARGO_NET_OFFLINE", "true")
        // No backtraces: anyhow's error chain names the cause, and a backtrace would hide it.
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
    // Without network namespaces, tests compete for ports. So each job claims more processors than any machine has, and the jobs
    // run one at a time.
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
    // A suite in one process takes minutes, so it starts early. Otherwise it would still be running alone at the end.
    job.rank = if budget.together { 7 } else { 4 };
    job
}

/// Paths of the executables that `steps::BUILD` has built, so that tests do not build them again.
fn built() -> Vec<PathBuf> {
    let mut built: Vec<PathBuf> = Arch::ALL.iter().map(|&arch| build::path(arch)).collect();
    built.extend(Arch::NATIVE.map(|arch| build::path(arch).with_extension("packed")));
    built.push(build::path_with(Arch::X86_64, &[Role::MDNS]));
    built.push(build::program_path("exercise"));
    built
}
