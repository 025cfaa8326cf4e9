//! Runs a bench: rounds in which each workload runs on each side, the servers' memory before and after, and the report.
//!
//! A bench is a list of workloads and a function that runs one workload on one side. A wrong reply fails the command, a slow
//! figure does not. A server's main cost is its CPU time, which varies less on a busy machine than wall time.

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::measure::{Cost, Memory};
use super::report::Report;
use super::table::{Figure, Measured, Subject, verdict};
use super::{BEFORE, Common};
use crate::setup::{self, Progress};

/// Smallest number of rounds with `--against`, unless `--rounds` or `--quick` is given.
const AGAINST_ROUNDS_MIN: u32 = 7;

/// One line of a table.
pub trait Workload {
    /// The title, unit and aims of this line.
    fn subject(&self) -> Subject;
}

/// A running bench.
pub struct Frame<'a> {
    /// Name of the subcommand and of its output files.
    name: &'static str,
    common: &'a Common,
    pub progress: Progress,
    /// Aim: after the last request, the resident memory of each server is smaller than this (KiB).
    pub memory_aim: Option<u64>,
    report: Report,
    floors: Vec<Figure>,
    servers: Vec<(u32, MemoryUse)>,
}

/// Memory of a server, before the first request and after the last.
#[derive(Serialize)]
struct MemoryUse {
    server: String,
    at_rest: Memory,
    at_end: Memory,
}

impl<'a> Frame<'a> {
    /// Creates the frame of a bench with two sides, `ours` and `peer`. With `--against`, the sides are stowaway and that file
    /// instead.
    pub fn new(
        name: &'static str,
        [ours, peer]: [&'static str; 2],
        common: &'a Common,
        [quick, usual]: [u32; 2],
    ) -> Result<Self> {
        let sides = match common.against {
            Some(_) => vec!["stowaway", BEFORE],
            None => vec![ours, peer],
        };
        Self::compare(name, sides, common, [quick, usual])
    }

    /// Creates the frame of a bench that compares the first of `sides` with all others. `quick` and `usual` are the numbers of
    /// rounds with and without `--quick`, unless `--rounds` is given.
    pub fn compare(
        name: &'static str,
        sides: Vec<&'static str>,
        common: &'a Common,
        [quick, usual]: [u32; 2],
    ) -> Result<Self> {
        let mut usual = if common.quick { quick } else { usual };
        if common.against.is_some() && !common.quick {
            usual = usual.max(AGAINST_ROUNDS_MIN);
        }
        Ok(Self {
            name,
            common,
            progress: setup::progress(&format!("measuring {name}")),
            memory_aim: None,
            report: Report::new(sides, common.rounds.unwrap_or(usual))?,
            floors: Vec::new(),
            servers: Vec::new(),
        })
    }

    /// Prints a server's process id and measures its memory before the first request.
    pub fn attach(&mut self, server: impl Into<String>, pid: u32) -> Result<()> {
        let (server, at_rest) = (server.into(), Memory::read(pid)?);
        self.progress.println(&format!("{server} is process {pid}"));
        let holding = MemoryUse {
            server,
            at_rest,
            at_end: at_rest,
        };
        self.servers.push((pid, holding));
        Ok(())
    }

    /// Runs every workload on every side, round by round. `turn` runs one workload on the side with this index; None: the workload
    /// does not run on this side.
    pub fn rounds<W: Workload>(
        &mut self,
        workloads: impl IntoIterator<Item = W>,
        mut turn: impl FnMut(&W, usize) -> Result<Option<Cost>>,
    ) -> Result<()> {
        let (rounds, names) = (self.report.rounds, self.report.sides.clone());
        let mut lines = Vec::new();
        for workload in workloads {
            let subject = workload.subject();
            if let Some(reason) = subject.skipped {
                self.report.skipped.push([subject.title, reason]);
                continue;
            }
            let costs = vec![Vec::new(); names.len()];
            lines.push((workload, Measured { subject, costs }));
        }
        // Round 0 fills caches and does not count.
        for round in 0..=rounds {
            for (workload, Measured { subject, costs }) in &mut lines {
                let first = if subject.has_warm_up { 0 } else { 1 };
                if !(first..=subject.round_max).contains(&round) {
                    continue;
                }
                // Later sides find warmer caches, so the order changes from round to round.
                for position in 0..names.len() {
                    let side = (position + round as usize) % names.len();
                    let what = format!("{}, {}", subject.title, names[side]);
                    self.progress
                        .set_message(format!("round {round} of {rounds}: {what}"));
                    let cost = turn(workload, side).context(what)?;
                    costs[side].extend(cost.filter(|_| round > 0));
                }
            }
        }
        let all: Vec<_> = lines.into_iter().map(|(_, measured)| measured).collect();
        for (index, Measured { subject, .. }) in all.iter().enumerate() {
            let figure = |what| {
                let figure = Figure::new(&all, index, what, &names);
                figure.with_context(|| format!("{}: nothing was measured", subject.title))
            };
            let figures = subject.metrics().into_iter().map(figure);
            if subject.is_floor {
                // A floor is printed without its third figure: the generator's CPU, or the longest wait.
                let figures = figures.take(2).collect::<Result<Vec<_>>>()?;
                self.floors.extend(figures);
            } else {
                let figures = figures.collect::<Result<Vec<_>>>()?;
                self.report.figures.extend(figures);
            }
        }
        Ok(())
    }

    /// Measures the servers' memory after the last request; the servers must still run.
    pub fn detach(&mut self) -> Result<()> {
        for (pid, holding) in &mut self.servers {
            holding.at_end = Memory::read(*pid)?;
        }
        Ok(())
    }

    /// Adds a table to the report. `name` is the key of `data` in the JSON file.
    pub fn section(
        &mut self,
        name: &'static str,
        title: &str,
        data: &impl Serialize,
        rows: Vec<Vec<String>>,
    ) -> Result<()> {
        self.report.section(name, title, data, rows)
    }

    /// Prints the tables, with `setting` above them, and writes JSON.
    pub fn finish(mut self, setting: &[&str]) -> Result<()> {
        let title = "the kernel alone, without a server";
        let rows = self.floors.iter().map(Figure::floor_row).collect();
        self.report.section("floors", title, &self.floors, rows)?;
        let servers: Vec<_> = self.servers.into_iter().map(|(_, it)| it).collect();
        let mut title = "memory in KiB, resident (anonymous, proportional)".to_owned();
        if let Some(aim) = self.memory_aim {
            title += &format!("; the aim is less than {aim}");
        }
        let row = |holding: &MemoryUse| {
            let reached = self.memory_aim.map(|aim| holding.at_end.resident < aim);
            vec![
                holding.server.clone(),
                format!("at rest {}", holding.at_rest),
                format!("at the end {}", holding.at_end),
                reached.map_or_else(String::new, |it| format!("reached: {}", verdict(it))),
            ]
        };
        let rows = servers.iter().map(row).collect();
        self.report.section("memory", &title, &servers, rows)?;
        self.progress.done();
        self.report.print(setting);
        let kind = self.common.against.as_ref().map_or("", |_| "-against");
        let usual = format!("target/bench/{}{kind}.json", self.name);
        let usual = crate::build::workspace_root().join(usual);
        self.report
            .write_json(self.common.json.as_ref().unwrap_or(&usual))
    }
}
