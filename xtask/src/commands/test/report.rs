//! Report of a test run: failures immediately, progress meanwhile, a table at the end.

use std::collections::BTreeMap;
use std::fs;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::schedule::{FinishedJob, RunProgress};
use super::suites::Suites;
use crate::build::workspace_root;
use crate::setup;

/// Interval between progress lines if stderr is not a terminal.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(30);
/// Time budget of a part of the long form, in seconds.
const PART_SECONDS: f64 = 540.0;

/// Usual duration of each job in seconds, from earlier runs that passed.
#[derive(Clone, Default)]
pub struct Times {
    seconds: BTreeMap<String, f64>,
}

impl Times {
    fn path() -> PathBuf {
        workspace_root().join("target/test/times.json")
    }

    /// Reads target/test/times.json; empty if missing or malformed.
    pub fn load() -> Self {
        let text = fs::read_to_string(Self::path()).unwrap_or_default();
        Self {
            seconds: serde_json::from_str(&text).unwrap_or_default(),
        }
    }

    /// Usual duration of a job, if known.
    pub fn usual_duration(&self, suite: &str, part: &str) -> Option<Duration> {
        let seconds = self.seconds.get(&key(suite, part))?;
        Some(Duration::from_secs_f64(*seconds))
    }

    fn save(&self) -> Result<()> {
        let path = Self::path();
        fs::create_dir_all(path.parent().context("no parent directory")?)?;
        fs::write(&path, serde_json::to_string_pretty(&self.seconds)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

fn key(suite: &str, part: &str) -> String {
    // Removes the number of a repeated job: `part#2` becomes `part`.
    let part = part.split('#').next().unwrap_or_default();
    format!("{suite}::{part}")
}

#[derive(Default)]
struct Row {
    passed: u64,
    failed: u64,
    took: Duration,
    processor: Duration,
}

/// State of the report during a run.
pub struct Report {
    start: Instant,
    rows: BTreeMap<String, Row>,
    failures: Vec<String>,
    skipped: u64,
    times: Times,
    waiting: setup::Progress,
    last_line: Instant,
}

impl Report {
    /// Starts the report and the measurement of the run's duration.
    pub fn new(times: Times) -> Self {
        Self {
            start: Instant::now(),
            rows: BTreeMap::new(),
            failures: Vec::new(),
            skipped: 0,
            times,
            waiting: setup::progress("testing"),
            last_line: Instant::now(),
        }
    }

    /// Adds a job that ended; prints its output if it failed. Returns true if it passed.
    pub fn add(&mut self, done: FinishedJob) -> bool {
        let name = key(&done.suite, &done.part);
        let row = self.rows.entry(done.suite).or_default();
        row.took += done.took;
        let failure = match done.outcome {
            Ok(outcome) => {
                row.passed += outcome.passed;
                row.failed += outcome.failed;
                row.processor += outcome.processor;
                self.skipped += outcome.skipped;
                if outcome.failed == 0 {
                    let old = self.times.seconds.get(&name).copied();
                    let took = done.took.as_secs_f64();
                    // The new duration is averaged with earlier ones, so that one run on a busy machine has less influence.
                    let usual = old.map_or(took, |old| (old + took) / 2.0);
                    self.times.seconds.insert(name.clone(), usual);
                    if !outcome.output.is_empty() {
                        self.waiting.println(outcome.output.trim_end());
                    }
                    None
                } else {
                    Some(outcome.output)
                }
            }
            Err(why) => {
                row.failed += 1;
                Some(format!("{why:#}"))
            }
        };
        let Some(text) = failure else { return true };
        let name = name.trim_end_matches("::").to_owned();
        let seconds = done.took.as_secs_f64();
        self.waiting.println(&format!(
            "FAILED {name} after {seconds:.1} s:\n{}",
            text.trim_end()
        ));
        self.failures.push(name);
        false
    }

    /// Shows the progress: continuously on a terminal, otherwise a line per `PROGRESS_INTERVAL`.
    pub fn progress(&mut self, now: &RunProgress<'_>) {
        let (done, all) = (now.done_count, now.done_count + now.left_count);
        let left = now.left.as_secs().div_ceil(60);
        let text = format!(
            "{done} of {all} done, about {left} min left; running: {}",
            now.running.join(", ")
        );
        if std::io::stderr().is_terminal() {
            self.waiting.set_message(text);
        } else if self.last_line.elapsed() > PROGRESS_INTERVAL {
            self.last_line = Instant::now();
            eprintln!("{:>5} s: {text}", self.start.elapsed().as_secs());
        }
    }

    /// Prints the table and the totals, and saves the durations. Fails if a job failed. `repeat` is the number of runs per test, by
    /// which the time budgets are multiplied. `is_full` is true if the rows are parts of the long form.
    pub fn finish(self, suites: &Suites, repeat: u32, is_full: bool) -> Result<()> {
        self.waiting.done();
        let slowness = suites.slowness().max(1.0);
        println!(
            "{:<18}{:>7}{:>10}{:>10}{:>11}",
            "suite", "tests", "seconds", "budget", "processor"
        );
        let mut over = Vec::new();
        for (name, row) in &self.rows {
            let budget = if is_full && suites.full.contains_key(name) {
                PART_SECONDS
            } else {
                suites.find(name).seconds * f64::from(repeat)
            };
            let budget = budget * slowness;
            let took = row.took.as_secs_f64();
            let tests = row.passed + row.failed;
            let processor = row.processor.as_secs_f64();
            println!("{name:<18}{tests:>7}{took:>10.1}{budget:>10.0}{processor:>11.1}");
            if took > budget {
                over.push(format!("{name} ({took:.0} s of {budget:.0})"));
            }
        }
        if !over.is_empty() {
            println!("over budget: {}", over.join(", "));
        }
        if self.skipped > 0 {
            println!(
                "{} SKIPPED: search for this word in target/test",
                self.skipped
            );
        }
        let wall = self.start.elapsed().as_secs();
        println!(
            "{} min {} s; budgets are scaled by {slowness:.2} for this machine",
            wall / 60,
            wall % 60
        );
        self.times.save()?;
        let sum = |count: fn(&Row) -> u64| self.rows.values().map(count).sum::<u64>();
        let (passed, failed) = (sum(|row| row.passed), sum(|row| row.failed));
        println!("{passed} passed, {failed} failed");
        if !self.failures.is_empty() {
            bail!(
                "failed: {}; see the output above and in target/test",
                self.failures.join(", ")
            );
        }
        Ok(())
    }
}
