//! The end-to-end suites against the built executable. They are compiled once. Each test runs in its own process and namespaces;
//! the tests of a suite with `together` share one process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::slice;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use cargo_metadata::Message;

use super::schedule::{Job, Outcome};
use super::{Mode, isolation, steps};
use crate::build::{self, Arch, workspace_root};
use crate::setup;

/// Time limit of one test.
const TEST_MAX: Duration = Duration::from_secs(600);
/// Time limit of a suite whose tests share one process, such as those in a virtual machine.
const TOGETHER_MAX: Duration = Duration::from_secs(1200);
/// Time limit of both in the long form. Generous for slow machines: on the reference machine, they take at most nine minutes.
const FULL_MAX: Duration = Duration::from_secs(2700);
/// Suites that are separate test programs.
const PROGRAMS: [&str; 2] = ["guest", "isos"];

/// A job that compiles the suites and then adds a job for each selected test.
pub fn job(mode: &Mode) -> Job {
    let test_mode = mode.clone();
    let mut job = Job::new(steps::COMPILE, move || {
        let programs = compile()?;
        build::program("exercise")?;
        let mut more = Vec::new();
        for _ in 0..test_mode.repeat {
            more.extend(test_jobs(&test_mode, &programs)?);
        }
        Ok(Outcome {
            more,
            ..Outcome::default()
        })
    });
    job.rank = 9;
    steps::set_budget(mode, &mut job);
    job
}

/// Compiles all test programs, and returns their paths by their names. The error contains cargo's output.
fn compile() -> Result<BTreeMap<String, PathBuf>> {
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
    let mut programs = BTreeMap::new();
    for message in Message::parse_stream(&*output.stdout) {
        if let Message::CompilerArtifact(artifact) = message?
            && let Some(path) = artifact.executable
            && artifact.profile.test
        {
            programs.insert(artifact.target.name, path.into());
        }
    }
    Ok(programs)
}

/// The jobs for the selected tests.
fn test_jobs(mode: &Mode, programs: &BTreeMap<String, PathBuf>) -> Result<Vec<Job>> {
    let mut jobs = Vec::new();
    for (suite, path) in programs {
        if PROGRAMS.contains(&suite.as_str()) {
            if mode.selects(suite) {
                jobs.push(test_job(mode, path, suite, "", &mode.prefixes(suite)));
            }
            continue;
        }
        let listed = setup::run_captured(Command::new(path).arg("--list"))?;
        let names = listed
            .lines()
            .filter_map(|line| line.strip_suffix(": test"));
        let mut suites: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for name in names.filter(|name| mode.selects(name)) {
            let (suite, _) = name
                .split_once("::")
                .with_context(|| format!("test {name} is in no suite (module)"))?;
            suites.entry(suite).or_default().push(name.to_owned());
        }
        for (suite, names) in &suites {
            if mode.suites.find(suite).together {
                jobs.push(test_job(mode, path, suite, "", names));
                continue;
            }
            for name in names {
                let test = &name[suite.len() + 2..];
                let mut job = test_job(mode, path, suite, test, slice::from_ref(name));
                // Tests of suites that take long start first, so that none of them runs alone at the end.
                job.usual /= names.len() as u32;
                jobs.push(job);
            }
        }
    }
    Ok(jobs)
}

/// A job that runs tests one after the other in one process. `names` are those of libtest; empty: all.
fn test_job(mode: &Mode, program: &Path, suite: &str, test: &str, names: &[String]) -> Job {
    let budget = mode.suites.find(suite);
    let of_all = if test.is_empty() { "all" } else { test };
    let log = steps::log_path(&format!("{suite}::{of_all}"));
    let mut command = isolation::command(program, budget.disk);
    command.args(["--test-threads=1", "--nocapture"]);
    if !PROGRAMS.contains(&suite) {
        // Otherwise libtest matches a name anywhere in that of a test.
        command.arg("--exact");
    }
    command
        .args(names)
        .current_dir(workspace_root().join("xtask"))
        .env("CARGO_MANIFEST_DIR", workspace_root().join("xtask"))
        // The test's network namespace has only loopback.
        .env("CARGO_NET_OFFLINE", "true")
        // No backtraces: anyhow's error chain names the cause, and a backtrace would hide it.
        .env("RUST_LIB_BACKTRACE", "0")
        .env(
            build::BUILT_VARIABLE,
            std::env::join_paths(built(mode)).unwrap_or_default(),
        );
    steps::set_form(mode, &mut command);
    let time_max = match (mode.is_full, budget.together) {
        (true, _) => FULL_MAX,
        (_, true) => TOGETHER_MAX,
        _ => TEST_MAX,
    };
    let mut job = Job::new(suite, move || {
        steps::run_logged(&mut command, &log, time_max)
    });
    job.test = test.into();
    steps::set_budget(mode, &mut job);
    // Without network namespaces, tests compete for ports. So each job claims more processors than any machine has, and the jobs
    // run one at a time.
    if !isolation::is_possible() {
        job.share = 99.0;
    }
    job.alone = budget.alone;
    job.after = vec![steps::BUILD, steps::PREPARE];
    // A suite in one process takes minutes, so it starts early. Otherwise it would still be running alone at the end.
    job.rank = if budget.together { 7 } else { 4 };
    job
}

/// Paths of the executables that `steps::BUILD` has built, so that tests do not build them again.
fn built(mode: &Mode) -> Vec<PathBuf> {
    let files = mode.files();
    let mut built: Vec<PathBuf> = files.iter().flat_map(|files| files.paths()).collect();
    built.push(build::path(Arch::X86_64));
    built.push(build::program_path("exercise"));
    built
}
