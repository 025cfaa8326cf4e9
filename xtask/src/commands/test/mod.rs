//! `cargo xtask test`: runs all checks in parallel, as far as the processors allow; prints a table and totals at the end.
//!
//! `steps` has the checks that need no client, `e2e` the suites in xtask/tests, `long` the parts of `--full`; `schedule` runs their
//! jobs. The output of each job is logged under target/test and printed if the job fails.

mod changed;
mod e2e;
mod isolation;
mod long;
mod prepare;
mod report;
mod schedule;
mod steps;
mod suites;

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use report::{Report, Times};
use schedule::Job;
use suites::Suites;

/// `cargo xtask test`
#[derive(clap::Args)]
pub struct Args {
    /// Run the long form: the named parts, or all that have not passed with the current sources
    #[arg(long, conflicts_with_all = ["changed", "repeat"])]
    full: bool,

    /// List the parts of the long form and what each adds
    #[arg(long, conflicts_with_all = ["full", "changed", "repeat", "names"])]
    list: bool,

    /// Run only the suites that the changes since this commit can affect
    #[arg(long, value_name = "COMMIT")]
    changed: Option<String>,

    /// Run each test N times
    #[arg(long, value_name = "N", default_value_t = 1)]
    repeat: u32,

    /// Load the machine with one busy-looping process per processor
    #[arg(long)]
    busy: bool,

    /// Run only these: suites (in xtask/tests), steps, tests as SUITE::TEST; with --full, parts
    names: Vec<String>,
}

/// Settings shared by all jobs of a run.
#[derive(Clone)]
struct Mode {
    suites: Arc<Suites>,
    times: Times,
    repeat: u32,
    is_full: bool,
}

impl Mode {
    /// Returns the expected duration of a job: the average of earlier runs or, if none is known, `seconds`.
    fn usual(&self, suite: &str, part: &str, seconds: f64) -> Duration {
        let known = self.times.usual_duration(suite, part);
        known.unwrap_or_else(|| Duration::from_secs_f64(seconds))
    }
}

/// Runs the selected jobs. The last line printed is `N passed, N failed`, the totals over all tests.
pub fn main(args: Args) -> Result<()> {
    let mode = Mode {
        suites: Arc::new(Suites::load()?),
        times: Times::load(),
        repeat: args.repeat,
        is_full: args.full,
    };
    if args.list {
        long::list(&mode.suites);
        return Ok(());
    }
    let jobs = if args.full {
        long::jobs(&mode, &args.names)?
    } else {
        selected(&mode, &args)?
    };
    if jobs.is_empty() {
        println!("nothing to do: the changes affect no suite, or all parts have passed");
        return Ok(());
    }
    prepare::packages()?;
    let cores = available_parallelism()?.get();
    let spinner_count = if args.busy { cores } else { 0 };
    let _spinners = (0..spinner_count)
        .map(|_| Spinner::start())
        .collect::<Result<Vec<_>>>()?;
    run(&mode, jobs, cores)
}

/// Runs the jobs and prints the report.
fn run(mode: &Mode, jobs: Vec<Job>, cores: usize) -> Result<()> {
    // RefCell, because both callbacks of the scheduler change the report.
    let report = std::cell::RefCell::new(Report::new(mode.times.clone()));
    schedule::run(
        jobs,
        cores,
        |done| {
            let is_required =
                [prepare::PREPARE, steps::BUILD, e2e::COMPILE].contains(&done.suite.as_str());
            // Returns false, which starts no more jobs, if a step failed that the tests depend on.
            report.borrow_mut().add(done) || !is_required
        },
        |now| report.borrow_mut().progress(now),
    );
    report
        .into_inner()
        .finish(&mode.suites, mode.repeat, mode.is_full)
}

/// The jobs of a run without `--full`.
fn selected(mode: &Mode, args: &Args) -> Result<Vec<Job>> {
    let mut names: BTreeSet<String> = args.names.iter().cloned().collect();
    for name in &names {
        let suite = name.split("::").next().unwrap_or_default();
        ensure!(
            mode.suites.names().any(|known| known == suite),
            "unknown suite {suite:?}; the suites are: {}",
            mode.suites.names().collect::<Vec<_>>().join(" ")
        );
    }
    if let Some(commit) = &args.changed {
        ensure!(
            names.is_empty(),
            "--changed selects the suites: omit the names"
        );
        match changed::suites(&mode.suites, commit)? {
            Some(affected) if affected.is_empty() => return Ok(Vec::new()),
            Some(affected) => names = affected,
            None => eprintln!("the changes may affect every suite: running all"),
        }
    }
    let is_named = {
        let names = names.clone();
        move |name: &str| names.is_empty() || names.iter().any(|pattern| matches(pattern, name))
    };
    let mut steps = Vec::new();
    for _ in 0..mode.repeat {
        steps.extend(
            steps::jobs(mode)
                .into_iter()
                .filter(|job| is_named(&job.suite)),
        );
    }
    let known: BTreeSet<String> = steps::jobs(mode).into_iter().map(|job| job.suite).collect();
    let is_step = |name: &String| known.contains(name.split("::").next().unwrap_or_default());
    if names.is_empty() || !names.iter().all(is_step) {
        if !names.is_empty() && !names.contains(steps::BUILD) {
            steps.extend(
                steps::jobs(mode)
                    .into_iter()
                    .filter(|job| job.suite == steps::BUILD),
            );
        }
        steps.push(prepare::job(mode));
        steps.push(e2e::job(mode, is_named));
    }
    e2e::number_repeats(&mut steps);
    Ok(steps)
}

/// Returns true if `pattern`, typed by the user, selects the suite or test `name`. The pattern SUITE selects all tests of a suite;
/// SUITE::TEST selects the tests whose names start with TEST. If the tests of a suite share one process, `name` is the suite alone,
/// and SUITE::TEST selects the whole suite.
fn matches(pattern: &str, name: &str) -> bool {
    let (wanted_suite, prefix) = pattern.split_once("::").unwrap_or((pattern, ""));
    let (suite, test) = name.split_once("::").unwrap_or((name, prefix));
    wanted_suite == suite && test.starts_with(prefix)
}

/// A busy-looping process; killed when dropped.
struct Spinner {
    child: Child,
}

impl Spinner {
    fn start() -> Result<Self> {
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "sh", "-c", "while :; do :; done"])
            .stdin(Stdio::null())
            .spawn()
            .context("cannot start a busy-looping process")?;
        Ok(Self { child })
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        // An error is harmless: PDEATHSIG kills the process when xtask ends.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_matches_suite_and_test_prefix() {
        assert!(matches("mdns", "mdns::load::at_rest"));
        assert!(matches("mdns::load", "mdns::load::at_rest"));
        assert!(matches("guest::tar", "guest"));
        assert!(!matches("mdns::browse", "mdns::load::at_rest"));
        assert!(!matches("clippy", "clippy-alone"));
        assert!(!matches("sftp", "sftp_faults::gone"));
    }
}
