//! `cargo xtask bench mdns`: our responder beside avahi-daemon, each on a link of its own with the same neighbour.
//!
//! Both announce the same host and ten services from the same files. Questions come from strangers to multicast DNS, who are
//! answered one by one: what goes to all may be said once a second only (RFC 6762 section 6), however fast a responder is.
//! Who knows multicast DNS and wants the answer alone gets it so from us; avahi tells it to all, so it is not in that line.

mod floor;
mod link;
mod report;
mod responder;
mod workload;

use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use super::Common;
use super::measure::Cost;
use super::table::{self, Table};
use crate::build::{self, Arch, Role};
use crate::setup::{self, Package};
use link::{Ground, Link};
use report::{Floor, Holding, Memory, Report};
use responder::{Program, Running};
use workload::Workload;

/// The peer, for tables.
const PEER: &str = "avahi-daemon";

/// Until everything that is said at the start has been said.
const REST: Duration = Duration::from_secs(4);

/// `cargo xtask bench mdns`
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Only this workload; may be repeated
    #[arg(long, value_name = "WORKLOAD")]
    only: Vec<Workload>,
    /// Without avahi-daemon, e.g. to attach a profiler to the process that is named
    #[arg(long)]
    no_peer: bool,
    /// Another file as ours [default: what cargo xtask build --roles mdns makes]
    #[arg(long, value_name = "FILE")]
    ours: Option<PathBuf>,
}

/// Measures, prints a table, writes JSON and SVG.
pub fn main(args: &Args) -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "cargo xtask bench needs root, for networks of its own. Type: sudo -E cargo xtask bench mdns"
    );
    let workloads = if args.only.is_empty() {
        Workload::value_variants()
    } else {
        &args.only
    };
    setup::need(&[Package::IPROUTE2])?;
    let mut notes = Vec::new();
    let mut has_peer = !args.no_peer;
    if has_peer && let Err(why) = setup::need(&[Package::AVAHI]) {
        notes.push(format!("{PEER} is left out: {why}"));
        has_peer = false;
    }
    let ours = match &args.ours {
        Some(path) => path
            .canonicalize()
            .with_context(|| format!("there is no {}", path.display()))?,
        None => build::build_roles(Arch::X86_64, &[Role::Mdns])?,
    };

    let progress = setup::progress("measuring mDNS");
    let ground = Ground::new()?;
    let mut programs = vec![Program::ours(ours)];
    if has_peer {
        programs.push(Program::avahi());
    }
    let links: Vec<Link> = programs
        .iter()
        .map(|_| Link::new())
        .collect::<Result<_>>()?;

    let round_count = args.common.round_count([2, 5]);
    let mut results: Vec<_> = workloads
        .iter()
        .map(|&workload| (workload, [Vec::new(), Vec::new()]))
        .collect();
    // Starts come first: afterwards each runs until the end.
    for round in 1..=round_count {
        for (workload, costs) in results.iter_mut().filter(|(it, _)| it.is_start()) {
            for ((program, link), costs) in programs.iter().zip(&links).zip(costs) {
                progress.say(format!(
                    "round {round} of {round_count}: {} of {}",
                    workload.subject().title,
                    program.name
                ));
                costs.push(workload.start(program, &ground, link)?);
            }
        }
    }
    let mut running = Vec::new();
    for (program, link) in programs.iter().zip(&links) {
        let (it, _) = Running::start(program, &ground, link, Workload::Announced)?;
        progress.println(&format!("{} is process {}", program.name, it.pid()));
        running.push(it);
    }
    sleep(REST);
    let at_rest: Vec<_> = running.iter().map(|it| Memory::of(it.pid())).collect();
    let (floor_link, mut floor) = (Link::new()?, Vec::new());
    let question_count = if args.common.quick { 2_000 } else { 20_000 };
    // Round 0 fills caches and is not counted.
    for round in 0..=round_count {
        for (workload, costs) in results.iter_mut().filter(|(it, _)| !it.is_start()) {
            for ((it, link), costs) in running.iter().zip(&links).zip(costs) {
                if !it.program.takes(*workload) {
                    continue;
                }
                let title = workload.subject().title;
                progress.say(format!("round {round} of {round_count}: {title}"));
                let cost = Cost::of(it.pid(), || workload.run(link, question_count))
                    .with_context(|| format!("{title} of {}", it.program.name))?;
                if round > 0 {
                    costs.push(cost);
                }
            }
        }
        progress.say(format!("round {round} of {round_count}: the kernel alone"));
        let cost = floor::turn(&floor_link, question_count)?;
        if round > 0 {
            floor.push(cost);
        }
    }
    let mut memory = Vec::new();
    for (it, at_rest) in running.iter().zip(at_rest) {
        memory.push(Holding {
            responder: it.program.name,
            at_rest: at_rest?,
            at_end: Memory::of(it.pid())?,
        });
    }
    progress.done();

    let mut table = Table::new(["stowaway", PEER], round_count)?;
    for (workload, costs) in &results {
        table.add(&workload.subject(), costs)?;
    }
    let report = Report {
        table,
        floor: Floor::of(&floor).context("no floor was measured")?,
        memory,
        files: programs.iter().map(Program::weigh).collect::<Result<_>>()?,
        notes,
    };
    report.print();
    report.write_json(&table::place(&args.common.json, "mdns.json"))?;
    report
        .table
        .write_svg(&table::place(&args.common.svg, "mdns.svg"))
}
