//! Runs a bench: rounds in which each workload runs on each side, the servers' memory before and after, and the report, which is a
//! table on standard output and a JSON file.
//!
//! A bench is a list of workloads and a function that runs one workload on one side. A wrong reply fails the command; so does a missed
//! gate, but for `--quick`, whose figures are rough. A server's main cost is its CPU time, which varies less on a busy machine than wall time.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use super::measure::Cost;
use super::table::{Figure, Measured, Subject};
use super::{BEFORE, Common};
use crate::build::workspace_root;
use crate::machines::server::proc_field;
use crate::setup::{self, Progress};

/// Smallest number of rounds with `--against`, unless `--rounds` or `--quick` is given.
const AGAINST_ROUNDS_MIN: u32 = 7;

/// One workload: a few lines of the table.
pub trait Workload {
    /// The title, unit and gates of this workload.
    fn subject(&self) -> Subject;
}

/// A running bench.
pub struct Frame<'a> {
    /// Name of the subcommand and of its output files.
    name: &'static str,
    common: &'a Common,
    pub progress: Progress,
    report: Report,
}

/// The results of a bench, as written to the JSON file.
#[derive(Serialize)]
struct Report {
    machine: String,
    rounds: u32,
    /// Names of the sides. The first one is compared with all others.
    sides: Vec<&'static str>,
    figures: Vec<Figure>,
    /// Workloads that were not measured, and why.
    skipped: Vec<[String; 2]>,
    memory: Vec<Memory>,
}

/// Resident memory of a server (KiB), before the first request and after the last.
#[derive(Serialize)]
struct Memory {
    server: String,
    #[serde(skip)]
    pid: u32,
    at_rest: u64,
    at_end: u64,
}

impl<'a> Frame<'a> {
    /// Creates the frame of a bench that compares the first of `sides` with all others. `quick` and `usual` are the numbers of
    /// rounds with and without `--quick`, unless `--rounds` is given.
    pub fn compare(
        name: &'static str,
        sides: Vec<&'static str>,
        common: &'a Common,
        [quick, usual]: [u32; 2],
    ) -> Result<Self> {
        let least = if sides.contains(&BEFORE) {
            AGAINST_ROUNDS_MIN
        } else {
            0
        };
        let rounds = if common.quick {
            quick
        } else {
            usual.max(least)
        };
        Ok(Self {
            name,
            common,
            progress: setup::progress(&format!("measuring {name}")),
            report: Report {
                machine: machine()?,
                rounds: common.rounds.unwrap_or(rounds),
                sides,
                figures: Vec::new(),
                skipped: Vec::new(),
                memory: Vec::new(),
            },
        })
    }

    /// Prints a server's process id and measures its memory before the first request.
    pub fn attach(&mut self, server: impl Into<String>, pid: u32) -> Result<()> {
        let (server, at_rest) = (server.into(), resident(pid)?);
        self.progress.println(&format!("{server} is process {pid}"));
        self.report.memory.push(Memory {
            server,
            pid,
            at_rest,
            at_end: at_rest,
        });
        Ok(())
    }

    /// Runs every workload on every side, round by round. `turn` runs one workload on the side with this index; None: the workload
    /// does not run on this side.
    pub fn rounds<W: Workload>(
        &mut self,
        workloads: impl IntoIterator<Item = W>,
        mut turn: impl FnMut(&W, usize) -> Result<Option<Cost>>,
    ) -> Result<()> {
        let (rounds, sides) = (self.report.rounds, self.report.sides.clone());
        let mut lines = Vec::new();
        for workload in workloads {
            let subject = workload.subject();
            if let Some(reason) = subject.skipped {
                self.report.skipped.push([subject.title, reason]);
                continue;
            }
            let costs = vec![Vec::new(); sides.len()];
            lines.push((workload, Measured { subject, costs }));
        }
        for round in 0..=rounds {
            for (workload, Measured { subject, costs }) in &mut lines {
                if !subject.rounds.contains(&round) {
                    continue;
                }
                // Later sides find warmer caches, so the order changes from round to round.
                for position in 0..sides.len() {
                    let side = (position + round as usize) % sides.len();
                    let what = format!("{}, {}", subject.title, sides[side]);
                    self.progress
                        .set_message(format!("round {round} of {rounds}: {what}"));
                    let cost = turn(workload, side).context(what)?;
                    costs[side].extend(cost.filter(|_| round > 0));
                }
            }
        }
        let all: Vec<_> = lines.into_iter().map(|(_, measured)| measured).collect();
        for (line, Measured { subject, .. }) in all.iter().enumerate() {
            let figures = Figure::of(&all, line, &sides);
            ensure!(
                !figures.is_empty(),
                "{}: nothing was measured",
                subject.title
            );
            self.report.figures.extend(figures);
        }
        Ok(())
    }

    /// Measures the servers' memory after the last request; the servers must still run.
    pub fn detach(&mut self) -> Result<()> {
        for memory in &mut self.report.memory {
            memory.at_end = resident(memory.pid)?;
        }
        Ok(())
    }

    /// Prints the tables, with `setting` above them, and writes JSON.
    ///
    /// # Errors
    /// A gate was missed, without `--quick`.
    pub fn finish(self, setting: &[&str]) -> Result<()> {
        self.progress.done();
        let report = &self.report;
        println!("{}", report.machine);
        println!("{} rounds; {}", report.rounds, setting.join("\n"));
        println!(
            "median (min–max); ratio = {} / other, less is better except for rates\n",
            report.sides[0]
        );
        let mut rows = vec![Figure::head(&report.sides)];
        rows.extend(report.figures.iter().map(Figure::row));
        println!("{}", aligned(&rows));
        for [workload, reason] in &report.skipped {
            println!("SKIPPED: {workload}: {reason}\n");
        }
        for it in &report.memory {
            let (server, at_rest, at_end) = (&it.server, it.at_rest, it.at_end);
            println!("{server}: {at_rest} KiB resident at rest, {at_end} at the end");
        }
        let kind = self.common.against.as_ref().map_or("", |_| "-against");
        let usual = workspace_root().join(format!("target/bench/{}{kind}.json", self.name));
        let path = self.common.json.as_ref().unwrap_or(&usual);
        fs::create_dir_all(usual.parent().context("no directory")?)?;
        fs::write(path, serde_json::to_string_pretty(report)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", path.display());
        let missed: usize = report.figures.iter().map(Figure::missed).sum();
        ensure!(
            missed == 0 || self.common.quick,
            "{} gates of bench {} were missed; see the table",
            missed,
            self.name
        );
        Ok(())
    }
}

/// Resident memory of a process in KiB.
fn resident(pid: u32) -> Result<u64> {
    proc_field(pid, "smaps_rollup", "Rss")
}

/// Formats rows in columns, each as wide as its widest cell.
fn aligned(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or_default();
    let mut widths = vec![0; count];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let line: String = cells
            .map(|(cell, width)| format!("{cell:<width$}  "))
            .collect();
        format!("{}\n", line.trim_end())
    };
    rows.iter().map(line).collect()
}

/// Returns the kernel version and the number and model of the processors, because figures depend on all three.
fn machine() -> Result<String> {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")
        .context("cannot read the kernel's version")?;
    let cpus = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("?", |(_, name)| name);
    let count = std::thread::available_parallelism()?;
    Ok(format!("Linux {}, {count} × {model}", kernel.trim()))
}
