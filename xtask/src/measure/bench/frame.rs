//! What every bench does: rounds, sides in turn, what servers hold in memory, and a report of all that.
//!
//! A bench is a list of workloads and a function that has one of them asked of one side. A slow figure never fails the
//! command, a wrong answer does. What a server costs is its CPU time: on a busy machine it wavers least.

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::measure::{Cost, Memory};
use super::report::Report;
use super::table::{Aim, Figure, Subject, What, verdict};
use super::{BEFORE, Common};
use crate::setup::{self, Progress};

/// Rounds beside a file of before, unless another number is asked for.
const AGAINST_ROUNDS_MIN: u32 = 7;
/// So much of what a file of before costs may ours cost.
const AGAINST_RATIO_MAX: f64 = 1.03;

/// One line of a table.
pub trait Workload {
    /// What it is and should come to.
    fn subject(&self) -> Subject;
}

/// A bench that runs.
pub struct Frame<'a> {
    /// The name of the command, and of the files that it writes.
    name: &'static str,
    common: &'a Common,
    pub progress: Progress,
    /// Resident memory should stay below this, in KiB.
    pub memory_aim: Option<u64>,
    report: Report,
    floors: Vec<Figure>,
    servers: Vec<(u32, Holding)>,
}

/// What a server holds, before the first request and after the last.
#[derive(Serialize)]
struct Holding {
    server: String,
    at_rest: Memory,
    at_end: Memory,
}

impl<'a> Frame<'a> {
    /// Compares two sides in so many rounds: what was asked for, else the first number, if it is to be quick, or the second.
    pub fn new(
        name: &'static str,
        [ours, peer]: [&'static str; 2],
        common: &'a Common,
        [quick, usual]: [u32; 2],
    ) -> Result<Self> {
        let mut usual = if common.quick { quick } else { usual };
        let mut sides = [ours, peer];
        if common.against.is_some() {
            usual = usual.max(AGAINST_ROUNDS_MIN);
            sides = ["stowaway", BEFORE];
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

    /// Says which process a server is, and looks at what it holds before it is asked for anything.
    pub fn attach(&mut self, server: impl Into<String>, pid: u32) -> Result<()> {
        let (server, at_rest) = (server.into(), Memory::of(pid)?);
        self.progress.println(&format!("{server} is process {pid}"));
        let holding = Holding {
            server,
            at_rest,
            at_end: at_rest,
        };
        self.servers.push((pid, holding));
        Ok(())
    }

    /// Has every workload asked of both sides, round by round. `turn` returns None where a side takes no part.
    pub fn rounds<W: Workload>(
        &mut self,
        workloads: impl IntoIterator<Item = W>,
        mut turn: impl FnMut(&W, usize) -> Result<Option<Cost>>,
    ) -> Result<()> {
        let mut lines: Vec<_> = workloads
            .into_iter()
            .map(|workload| (self.subject(&workload), workload, [Vec::new(), Vec::new()]))
            .collect();
        let (rounds, names) = (self.report.rounds, self.report.sides());
        // Round 0 fills caches and is not counted.
        for round in 0..=rounds {
            // What comes second may find warmer caches: the sides take turns in that, too.
            let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
            for (subject, workload, costs) in &mut lines {
                for side in order.into_iter().filter(|_| round <= subject.round_max) {
                    let what = format!("{}, {}", subject.title, names[side]);
                    self.progress
                        .say(format!("round {round} of {rounds}: {what}"));
                    let cost = turn(workload, side).context(what)?;
                    costs[side].extend(cost.filter(|_| round > 0));
                }
            }
        }
        for (subject, _, costs) in &lines {
            let figures = subject.figures(costs)?.into_iter();
            if subject.is_floor {
                // Nobody generates a load.
                self.floors.extend(figures.take(2));
            } else {
                self.report.figures.extend(figures);
            }
        }
        Ok(())
    }

    /// A file of before has no aims but that ours costs no more.
    fn subject(&self, workload: &impl Workload) -> Subject {
        let mut subject = workload.subject();
        if self.common.against.is_some() {
            subject.aims = vec![(What::ServerCpu, Aim::AtMostTimesPeer(AGAINST_RATIO_MAX))];
        }
        subject
    }

    /// Looks at what servers hold once all is asked; they must still run.
    pub fn detach(&mut self) -> Result<()> {
        for (pid, holding) in &mut self.servers {
            holding.at_end = Memory::of(*pid)?;
        }
        Ok(())
    }

    /// One more table; `name` is for programs.
    pub fn section(
        &mut self,
        name: &'static str,
        title: &str,
        data: &impl Serialize,
        rows: Vec<Vec<String>>,
    ) -> Result<()> {
        self.report.section(name, title, data, rows)
    }

    /// Prints everything, with `setting` above it, and writes JSON and SVG.
    pub fn finish(mut self, setting: &[&str]) -> Result<()> {
        let title = "the kernel alone, without a server";
        let rows = self.floors.iter().map(Figure::floor_row).collect();
        self.report.section("floors", title, &self.floors, rows)?;
        let servers: Vec<_> = self.servers.into_iter().map(|(_, it)| it).collect();
        let mut title = "memory in KiB, resident (anonymous, proportional)".to_owned();
        if let Some(aim) = self.memory_aim {
            title += &format!("; the aim is less than {aim}");
        }
        let row = |it: &Holding| {
            let reached = self.memory_aim.map(|aim| it.at_end.resident < aim);
            vec![
                it.server.clone(),
                format!("at rest {}", it.at_rest),
                format!("at the end {}", it.at_end),
                reached.map_or_else(String::new, |it| format!("reached: {}", verdict(it))),
            ]
        };
        let rows = servers.iter().map(row).collect();
        self.report.section("memory", &title, &servers, rows)?;
        self.progress.done();
        self.report.print(setting);
        let place = |given: &Option<_>, end| {
            let kind = self.common.against.as_ref().map_or("", |_| "-against");
            let name = format!("target/bench/{}{kind}.{end}", self.name);
            given
                .clone()
                .unwrap_or_else(|| crate::build::workspace_root().join(name))
        };
        self.report.write_json(&place(&self.common.json, "json"))?;
        self.report.write_svg(&place(&self.common.svg, "svg"))
    }
}
