//! `cargo xtask test`: runs all checks in parallel, as far as the processors allow; prints a table and totals at the end.
//!
//! `steps` has the checks that need no client, `e2e` the suites in xtask/tests; `schedule` runs their jobs. The output of each job is
//! logged under target/test and printed if the job fails.

mod e2e;
mod isolation;
mod report;
mod schedule;
mod steps;
mod suites;

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::available_parallelism;

use anyhow::{Context as _, Result, ensure};

use crate::build::workspace_root;
use crate::setup;
use report::Report;
use schedule::Job;
use suites::{Files, Suites};

/// `cargo xtask test`
#[derive(clap::Args)]
pub struct Args {
    /// Run the long form: random tests are repeated more often, and tests wait for what takes minutes
    #[arg(long)]
    full: bool,

    /// Run only the suites that the changes since this commit can affect; for an engine, only the nearest (xtask/suites.toml)
    #[arg(long, value_name = "COMMIT", conflicts_with = "names")]
    changed: Option<String>,

    /// Run each test N times
    #[arg(long, value_name = "N", default_value_t = 1)]
    repeat: u32,

    /// Load the machine with one busy-looping process per processor
    #[arg(long)]
    busy: bool,

    /// Run only these: suites (in xtask/tests), steps, tests as SUITE::TEST
    names: Vec<String>,
}

/// Settings shared by all jobs of a run.
#[derive(Clone)]
struct Mode {
    suites: Arc<Suites>,
    /// Patterns of the selected suites and tests. Empty: all.
    names: Vec<String>,
    repeat: u32,
    is_full: bool,
}

impl Mode {
    /// Returns true if the suite, step or test `name` is selected. The pattern SUITE selects all tests of a suite, SUITE::TEST those
    /// whose names start with TEST.
    fn selects(&self, name: &str) -> bool {
        let (suite, test) = name.split_once("::").unwrap_or((name, ""));
        let is_match = |pattern: &String| {
            let (wanted, prefix) = pattern.split_once("::").unwrap_or((pattern, ""));
            wanted == suite && (test.starts_with(prefix) || test.is_empty())
        };
        self.names.is_empty() || self.names.iter().any(is_match)
    }

    /// Files that the selected tests start, besides all roles for x86_64.
    fn files(&self) -> Vec<Files> {
        let is_needed = |files: &Files| {
            let mut selected = self.names.iter().map(|name| {
                let suite = name.split("::").next().unwrap_or_default();
                suite == steps::BUILD || self.suites.find(suite).files.contains(files)
            });
            self.names.is_empty() || selected.any(|is_needed| is_needed)
        };
        Files::ALL.into_iter().filter(is_needed).collect()
    }

    /// The TEST of the patterns SUITE::TEST for a suite whose tests run in one process. Empty: all of its tests.
    fn prefixes(&self, suite: &str) -> Vec<String> {
        let patterns = self.names.iter().filter_map(|name| name.split_once("::"));
        let prefixes = patterns.filter(|(wanted, _)| *wanted == suite);
        prefixes.map(|(_, prefix)| prefix.to_owned()).collect()
    }
}

/// Runs the selected jobs. The last line printed is `N passed, N failed`, the totals over all tests.
pub fn main(args: Args) -> Result<()> {
    let mut mode = Mode {
        suites: Arc::new(Suites::load()?),
        names: args.names,
        repeat: args.repeat,
        is_full: args.full,
    };
    let known: Vec<&str> = mode.suites.names().collect();
    for name in &mode.names {
        let suite = name.split("::").next().unwrap_or_default();
        ensure!(
            known.contains(&suite),
            "unknown suite {suite:?}; the suites are: {}",
            known.join(" ")
        );
    }
    if let Some(commit) = &args.changed {
        match mode.suites.affected(changed_paths(commit)?.lines()) {
            Some(affected) if affected.is_empty() => {
                println!("nothing to do: the changes affect no suite");
                return Ok(());
            }
            Some(affected) => mode.names = affected.into_iter().map(str::to_owned).collect(),
            None => eprintln!("the changes may affect every suite: running all"),
        }
    }
    let jobs = jobs(&mode);
    // Installed before all jobs, because some jobs need compilers from these packages.
    setup::install_all()?;
    let cores = available_parallelism()?.get();
    let spinner_count = if args.busy { cores } else { 0 };
    let _spinners = (0..spinner_count)
        .map(|_| Spinner::start())
        .collect::<Result<Vec<_>>>()?;
    let mut report = Report::new();
    schedule::run(jobs, cores, |done, outcome, running, waiting_count| {
        // No more jobs are started if a step failed that the tests depend on.
        let is_required = steps::REQUIRED.contains(&done.suite.as_str());
        let passed = report.add(done, outcome);
        report.progress(running, waiting_count);
        passed || !is_required
    });
    // The long form takes up to ten times as long.
    report.finish(&mode.suites, if mode.is_full { 10 } else { mode.repeat })
}

/// The changed and the untracked files.
fn changed_paths(commit: &str) -> Result<String> {
    let git = |args: &[&str]| {
        let mut git = Command::new("git");
        setup::run_captured(git.current_dir(workspace_root()).args(args))
    };
    let changed = git(&["diff", "--name-only", commit])?;
    Ok(changed + &git(&["ls-files", "--others", "--exclude-standard"])?)
}

/// The selected steps and, if a suite of xtask/tests is selected, those that it needs.
fn jobs(mode: &Mode) -> Vec<Job> {
    let is_step = |pattern: &String| {
        let suite = pattern.split("::").next();
        steps::jobs(mode)
            .iter()
            .any(|job| suite == Some(&*job.suite))
    };
    let mut jobs = Vec::new();
    for _ in 0..mode.repeat {
        jobs.extend(
            steps::jobs(mode)
                .into_iter()
                .filter(|job| mode.selects(&job.suite)),
        );
    }
    if mode.names.is_empty() || !mode.names.iter().all(is_step) {
        if !mode.selects(steps::BUILD) {
            jobs.extend(
                steps::jobs(mode)
                    .into_iter()
                    .filter(|job| job.suite == steps::BUILD),
            );
        }
        jobs.extend([steps::prepare(mode), e2e::job(mode)]);
    }
    jobs
}

/// A busy-looping process; killed when dropped.
struct Spinner(Child);

impl Spinner {
    fn start() -> Result<Self> {
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "sh", "-c", "while :; do :; done"])
            .stdin(Stdio::null())
            .spawn();
        Ok(Self(child.context("cannot start a busy-looping process")?))
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        // An error is harmless: PDEATHSIG kills the process when xtask ends.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_selects_suite_and_test_prefix() -> Result<()> {
        let mut mode = Mode {
            suites: Arc::new(Suites::load()?),
            names: Vec::new(),
            repeat: 1,
            is_full: false,
        };
        for (pattern, name, is_selected) in [
            ("mdns", "mdns::load::at_rest", true),
            ("mdns::load", "mdns::load::at_rest", true),
            ("guest::tar", "guest", true),
            ("mdns::browse", "mdns::load::at_rest", false),
            ("clippy", "clippy-tools", false),
            ("sftp", "sftp_faults::gone", false),
        ] {
            mode.names = vec![pattern.to_owned()];
            assert_eq!(mode.selects(name), is_selected, "{pattern}, {name}");
        }
        Ok(())
    }
}
