//! `cargo xtask bench mdns`: stowaway's responder compared with avahi-daemon, each on a link of its own with one querier.
//!
//! Both announce the same host and ten services from the same files. The queries ask for unicast replies, because a record may be
//! multicast only once a second (RFC 6762 section 6), however fast the responder is. One-shot queries (from a port other than
//! 5353) go to both. QU queries from port 5353 go to stowaway alone: avahi multicasts its reply to them.

mod link;
mod responder;
mod workload;

use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;

use super::frame::Frame;
use super::measure::Cost;
use super::{BEFORE, Choice, Common, built};
use crate::build::{self, Arch, Role};
use crate::setup;
use link::{Link, Workspace};
use responder::{File, Program, Running};
use workload::{DEPTH, Workload};

/// Name of the peer in tables.
const PEER: &str = "avahi-daemon";

/// Wait after the start, until responders have sent all probes and announcements.
const SETTLE: Duration = Duration::from_secs(4);

/// `cargo xtask bench mdns`
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    choice: Choice<Workload>,
}

/// Measures replies, then starts, then file sizes.
pub fn main(args: &Args) -> Result<()> {
    setup::install_packages(&["iproute2"])?;
    let mut setting = vec![
        format!("batches of {DEPTH} queries; each is answered by unicast,"),
        "because a record may be multicast only once a second (RFC 6762 section 6);".into(),
        "avahi-daemon without its rate limit and without D-Bus".into(),
    ];
    let before = args.common.against()?;
    let mut has_peer = before.is_none() && !args.choice.no_peer;
    if has_peer && let Err(why) = setup::install_packages(&["avahi-daemon"]) {
        setting.push(format!("{PEER} is left out: {why}"));
        has_peer = false;
    }
    // The `--against` file has all roles, so it is compared with a build that has all roles, too.
    let ours = args.choice.ours(|| match before {
        Some(_) => built(),
        None => build::build_roles(Arch::X86_64, &[Role::MDNS]),
    })?;

    let mut frame = Frame::new("mdns", ["stowaway", PEER], &args.common, [2, 5])?;
    frame.memory_aim = Some(512);
    let workspace = Workspace::new()?;
    let mut programs = vec![Program::ours("stowaway", ours)];
    programs.extend(before.map(|before| Program::ours(BEFORE, before)));
    if has_peer {
        programs.push(Program::avahi());
    }
    let links = programs.iter().map(|_| Link::new());
    let links = links.collect::<Result<Vec<Link>>>()?;
    let mut running = Vec::new();
    for (program, link) in programs.iter().zip(&links) {
        let (responder, _) = Running::start(program, &workspace, link, Workload::Announced)?;
        running.push(responder);
    }
    sleep(SETTLE);
    for responder in &running {
        frame.attach(responder.program.name, responder.pid())?;
    }

    let count = if args.common.quick { 2_000 } else { 20_000 };
    let workloads = args.choice.workloads().into_iter();
    let (starts, asked): (Vec<_>, Vec<_>) = workloads.partition(|it| it.is_start());
    frame.rounds(asked, |workload, side| {
        let responder = running.get(side);
        let responder = responder.filter(|it| it.program.supports(*workload));
        responder
            .map(|it| Cost::measure(&[it.pid()], || workload.run(&links[side], count)))
            .transpose()
    })?;
    frame.detach()?;
    // Ends the responders, because each start is measured with no other responder on its link.
    drop(running);
    frame.rounds(starts, |workload, side| {
        let program = programs.get(side);
        program
            .map(|program| workload.start(program, &workspace, &links[side]))
            .transpose()
    })?;

    let files = programs.iter().map(Program::weigh);
    let files = files.collect::<Result<Vec<_>>>()?;
    let rows = files.iter().map(File::row).collect();
    frame.section("files", "bytes", &files, rows)?;
    let setting: Vec<_> = setting.iter().map(String::as_str).collect();
    frame.finish(&setting)
}
