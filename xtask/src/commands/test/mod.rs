//! `cargo xtask test`: every check there is, side by side, as far as the processors reach; at the end a table and the sum.
//!
//! `steps` is what needs no client, `e2e` the suites in xtask/tests, `long` what `--full` adds; `schedule` runs their jobs. What a
//! job says goes to target/test; on the screen it is shown when it failed.

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
    /// The long proofs, in parts: all that have not passed with these sources, or those that are named
    #[arg(long, conflicts_with_all = ["changed", "repeat"])]
    full: bool,

    /// Names the parts of the long form and what each adds
    #[arg(long, conflicts_with_all = ["full", "changed", "repeat", "names"])]
    list: bool,

    /// Only what the change since this commit can reach
    #[arg(long, value_name = "COMMIT")]
    changed: Option<String>,

    /// Each test so many times
    #[arg(long, value_name = "N", default_value_t = 1)]
    repeat: u32,

    /// Beside a spinning process for each processor
    #[arg(long)]
    busy: bool,

    /// Only these: suites (in xtask/tests), steps, tests as SUITE::TEST, with --full parts
    names: Vec<String>,
}

/// What all jobs of a run have in common.
#[derive(Clone)]
struct Mode {
    suites: Arc<Suites>,
    times: Times,
    repeat: u32,
    is_full: bool,
}

impl Mode {
    /// What a job usually takes: as last time, else `seconds`.
    fn usual(&self, suite: &str, part: &str, seconds: f64) -> Duration {
        let known = self.times.of(suite, part);
        known.unwrap_or_else(|| Duration::from_secs_f64(seconds))
    }
}

/// Runs what was asked for; the last line is `N passed, N failed`, the sum over all tests.
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
        println!("nothing to do: no test is reached, or all have passed");
        return Ok(());
    }
    prepare::packages()?;
    let cores = available_parallelism()?.get();
    let spinning = if args.busy { cores } else { 0 };
    let _spinners = (0..spinning)
        .map(|_| Spinner::start())
        .collect::<Result<Vec<_>>>()?;
    run(&mode, jobs, cores)
}

/// Runs jobs and reports.
fn run(mode: &Mode, jobs: Vec<Job>, cores: usize) -> Result<()> {
    // Both the end of a job and what goes on are told to it.
    let report = std::cell::RefCell::new(Report::new(mode.times.clone()));
    schedule::run(
        jobs,
        cores,
        |done| {
            let needed =
                [prepare::PREPARE, steps::BUILD, e2e::COMPILE].contains(&done.suite.as_str());
            // Nothing can be said of what could not be built.
            report.borrow_mut().end(done) || !needed
        },
        |now| report.borrow_mut().progress(now),
    );
    report
        .into_inner()
        .finish(&mode.suites, mode.repeat, mode.is_full)
}

/// The jobs of a short run.
fn selected(mode: &Mode, args: &Args) -> Result<Vec<Job>> {
    let mut names: BTreeSet<String> = args.names.iter().cloned().collect();
    for name in &names {
        let suite = name.split("::").next().unwrap_or_default();
        ensure!(
            mode.suites.names().any(|known| known == suite),
            "there is no suite {suite}; there are: {}",
            mode.suites.names().collect::<Vec<_>>().join(" ")
        );
    }
    if let Some(commit) = &args.changed {
        ensure!(names.is_empty(), "--changed chooses the suites: name none");
        match changed::suites(&mode.suites, commit)? {
            Some(reached) if reached.is_empty() => return Ok(Vec::new()),
            Some(reached) => names = reached,
            None => eprintln!("the change may reach everything"),
        }
    }
    let is_named = {
        let names = names.clone();
        move |name: &str| names.is_empty() || names.iter().any(|wanted| names_it(wanted, name))
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
    e2e::number(&mut steps);
    Ok(steps)
}

/// Whether what the user typed names a suite or a test: SUITE all of its tests, SUITE::TEST those that begin so, and, where they run
/// together, all of the suite.
fn names_it(wanted: &str, name: &str) -> bool {
    let (suite, part) = wanted.split_once("::").unwrap_or((wanted, ""));
    let (of, test) = name.split_once("::").unwrap_or((name, part));
    suite == of && test.starts_with(part)
}

/// A process that computes for as long as it is kept.
struct Spinner {
    child: Child,
}

impl Spinner {
    fn start() -> Result<Self> {
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "sh", "-c", "while :; do :; done"])
            .stdin(Stdio::null())
            .spawn()
            .context("cannot start a process that spins")?;
        Ok(Self { child })
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        // It ends with us anyway.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_names_its_tests_and_no_other_suite() {
        assert!(names_it("mdns", "mdns::load::at_rest"));
        assert!(names_it("mdns::load", "mdns::load::at_rest"));
        assert!(names_it("guest::tar", "guest"));
        assert!(!names_it("mdns::browse", "mdns::load::at_rest"));
        assert!(!names_it("clippy", "clippy-alone"));
        assert!(!names_it("sftp", "sftp_faults::gone"));
    }
}
