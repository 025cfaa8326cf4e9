//! `cargo xtask bench mdns`: our responder beside avahi-daemon, each on a link of its own with the same neighbour.
//!
//! Both announce the same host and ten services from the same files. Questions come from strangers to multicast DNS, who are
//! answered one by one: what goes to all may be said once a second only (RFC 6762 section 6), however fast a responder is.
//! Who knows multicast DNS and wants the answer alone gets it so from us; avahi tells it to all, so it is not in that line.

mod floor;
mod link;
mod responder;
mod workload;

use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;

use super::frame::Frame;
use super::measure::Cost;
use super::table::{Subject, Unit};
use super::{BEFORE, Choice, Common, built, frame};
use crate::build::{self, Arch, Role};
use crate::setup::{self, Package};
use link::{Ground, Link};
use responder::{File, Program, Running};
use workload::{DEPTH, Workload};

/// The peer, for tables.
const PEER: &str = "avahi-daemon";

/// Until everything that is said at the start has been said.
const REST: Duration = Duration::from_secs(4);

/// `cargo xtask bench mdns`
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    choice: Choice<Workload>,
}

/// What is asked, or what the kernel alone does.
enum Line {
    Asked(Workload),
    Floor,
}

impl frame::Workload for Line {
    fn subject(&self) -> Subject {
        match self {
            Self::Asked(workload) => workload.subject(),
            Self::Floor => Subject {
                is_floor: true,
                ..Subject::new("a question and its answer", Unit::Request)
            },
        }
    }
}

/// Measures.
pub fn main(args: &Args) -> Result<()> {
    setup::need(&[Package::IPROUTE2])?;
    let mut setting = vec![
        format!("batches of {DEPTH} questions; each is answered to the one who asks alone,"),
        "for what goes to all may be said once a second only (RFC 6762 section 6);".into(),
        "avahi-daemon without its rate limit and without D-Bus".into(),
    ];
    let before = args.common.against()?;
    let mut has_peer = before.is_none() && !args.choice.no_peer;
    if has_peer && let Err(why) = setup::need(&[Package::AVAHI]) {
        setting.push(format!("{PEER} is left out: {why}"));
        has_peer = false;
    }
    // A file of before has all roles.
    let ours = args.choice.ours(|| match before {
        Some(_) => built(),
        None => build::build_roles(Arch::X86_64, &[Role::Mdns]),
    })?;

    let mut frame = Frame::new("mdns", ["stowaway", PEER], &args.common, [2, 5])?;
    frame.memory_aim = Some(512);
    let ground = Ground::new()?;
    let mut programs = vec![Program::ours("stowaway", ours)];
    programs.extend(before.map(|before| Program::ours(BEFORE, before)));
    if has_peer {
        programs.push(Program::avahi());
    }
    let links = programs.iter().map(|_| Link::new());
    let links = links.collect::<Result<Vec<Link>>>()?;
    let mut running = Vec::new();
    for (program, link) in programs.iter().zip(&links) {
        let (it, _) = Running::start(program, &ground, link, Workload::Announced)?;
        running.push(it);
    }
    sleep(REST);
    for it in &running {
        frame.attach(it.program.name, it.pid())?;
    }

    let floor = Link::new()?;
    let count = if args.common.quick { 2_000 } else { 20_000 };
    let workloads = args.choice.workloads().into_iter();
    let (starts, asked): (Vec<_>, Vec<_>) = workloads.partition(|it| it.is_start());
    let asked = asked.into_iter().map(Line::Asked);
    frame.rounds(asked.chain([Line::Floor]), |line, side| {
        let Line::Asked(workload) = line else {
            return (side == 0).then(|| floor::turn(&floor, count)).transpose();
        };
        let it = running.get(side).filter(|it| it.program.takes(*workload));
        it.map(|it| Cost::of(&[it.pid()], || workload.run(&links[side], count)))
            .transpose()
    })?;
    frame.detach()?;
    // Each start has its link for itself.
    drop(running);
    frame.rounds(starts, |workload, side| {
        let program = programs.get(side);
        program
            .map(|program| workload.start(program, &ground, &links[side]))
            .transpose()
    })?;

    let files = programs.iter().map(Program::weigh);
    let files = files.collect::<Result<Vec<_>>>()?;
    let rows = files.iter().map(File::row).collect();
    frame.section("files", "bytes", &files, rows)?;
    let setting: Vec<_> = setting.iter().map(String::as_str).collect();
    frame.finish(&setting)
}
