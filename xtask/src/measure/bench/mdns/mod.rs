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
use super::{Choice, Common};
use crate::setup;
use link::{Link, Workspace};
use responder::{Program, Running, Until};
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

/// Measures replies, then starts.
pub fn main(args: &Args) -> Result<()> {
    setup::install_packages(&["iproute2"])?;
    let has_peer = args.choice.install_peer(&[PEER])?;
    let files = args.choice.files(&args.common)?;
    let names = args.choice.sides(PEER, &args.common);
    let mut frame = Frame::compare("mdns", names, &args.common, [2, 5])?;
    let workspace = Workspace::new()?;
    let peer = has_peer.then(|| (PEER, "/usr/sbin/avahi-daemon".into()));
    let mut sides = Vec::new();
    for (name, path) in files.into_iter().chain(peer) {
        sides.push((Program { name, path }, Link::new()?));
    }
    let mut running = Vec::new();
    for (program, link) in &sides {
        let (responder, _) = Running::start(program, &workspace, link, Until::Announcement)?;
        running.push(responder);
    }
    sleep(SETTLE);
    for ((program, _), responder) in sides.iter().zip(&running) {
        frame.attach(program.name, responder.pid())?;
    }

    let count = if args.common.quick { 2_000 } else { 20_000 };
    let workloads = args.choice.workloads().into_iter();
    let (starts, asked): (Vec<_>, Vec<_>) = workloads.partition(|it| it.is_start());
    frame.rounds(asked, |workload, side| {
        let ((program, link), pid) = (&sides[side], running[side].pid());
        let is_answered = program.is_ours() || !workload.is_for_members();
        let measure = || Cost::measure(&[pid], || workload.run(link, count));
        is_answered.then(measure).transpose()
    })?;
    frame.detach()?;
    // Ends the responders, because each start is measured with no other responder on its link.
    drop(running);
    frame.rounds(starts, |workload, side| {
        let (program, link) = &sides[side];
        workload.start(program, &workspace, link).map(Some)
    })?;
    frame.finish(&[
        &format!("batches of {DEPTH} queries; each is answered by unicast,"),
        "because a record may be multicast only once a second (RFC 6762 section 6);",
        "avahi-daemon without its rate limit and without D-Bus",
    ])
}
