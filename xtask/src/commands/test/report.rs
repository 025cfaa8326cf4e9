//! Report of a test run: failures immediately, progress meanwhile, a table at the end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::schedule::{Outcome, Started};
use super::suites::Suites;

/// Interval between progress lines.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Row {
    passed: u64,
    failed: u64,
    took: Duration,
}

/// State of the report during a run.
pub struct Report {
    start: Instant,
    rows: BTreeMap<String, Row>,
    failures: Vec<String>,
    skipped: u64,
    last_line: Instant,
}

impl Report {
    /// Starts the report and the measurement of the run's duration.
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
            rows: BTreeMap::new(),
            failures: Vec::new(),
            skipped: 0,
            last_line: Instant::now(),
        }
    }

    /// Adds a job that ended; prints its output if it failed. Returns true if it passed.
    pub fn add(&mut self, done: Started, outcome: Result<Outcome>) -> bool {
        let took = done.start.elapsed();
        let outcome = outcome.unwrap_or_else(|why| Outcome {
            failed: 1,
            output: format!("{why:#}"),
            ..Outcome::default()
        });
        let row = self.rows.entry(done.suite).or_default();
        row.took += took;
        row.passed += outcome.passed;
        row.failed += outcome.failed;
        self.skipped += outcome.skipped;
        let passed = outcome.failed == 0;
        if !passed {
            eprintln!("FAILED {} after {:.1} s:", done.name, took.as_secs_f64());
            self.failures.push(done.name);
        }
        if !outcome.output.is_empty() {
            eprintln!("{}", outcome.output.trim_end());
        }
        passed
    }

    /// Prints which jobs run, once per `PROGRESS_INTERVAL`.
    pub fn progress(&mut self, running: &[Started], waiting_count: usize) {
        if self.last_line.elapsed() > PROGRESS_INTERVAL {
            self.last_line = Instant::now();
            let seconds = self.start.elapsed().as_secs();
            let names: Vec<&str> = running.iter().map(|job| &*job.name).collect();
            let names = names.join(", ");
            eprintln!("{seconds:>5} s: {waiting_count} jobs wait; running: {names}");
        }
    }

    /// Prints the table and the totals. Fails if a job failed. Time budgets are multiplied by `times`.
    pub fn finish(self, suites: &Suites, times: u32) -> Result<()> {
        let slowness = suites.slowness().max(1.0);
        println!(
            "{:<18}{:>7}{:>10}{:>10}",
            "suite", "tests", "seconds", "budget"
        );
        let mut over = Vec::new();
        for (name, row) in &self.rows {
            let budget = suites.find(name).seconds * f64::from(times) * slowness;
            let took = row.took.as_secs_f64();
            let tests = row.passed + row.failed;
            println!("{name:<18}{tests:>7}{took:>10.1}{budget:>10.0}");
            if took > budget {
                over.push(format!("{name} ({took:.0} s of {budget:.0})"));
            }
        }
        if !over.is_empty() {
            println!("over budget: {}", over.join(", "));
        }
        if self.skipped > 0 {
            let count = self.skipped;
            println!("{count} SKIPPED: search for this word in target/test");
        }
        let (minutes, seconds) = (
            self.start.elapsed().as_secs() / 60,
            self.start.elapsed().as_secs() % 60,
        );
        println!("{minutes} min {seconds} s; budgets are scaled by {slowness:.2} for this machine");
        let sum = |count: fn(&Row) -> u64| self.rows.values().map(count).sum::<u64>();
        println!(
            "{} passed, {} failed",
            sum(|row| row.passed),
            sum(|row| row.failed)
        );
        let failures = self.failures.join(", ");
        ensure!(
            failures.is_empty(),
            "failed: {failures}; see the output above and in target/test"
        );
        Ok(())
    }
}
