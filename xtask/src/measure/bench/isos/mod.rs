//! `cargo xtask bench isos`: what is inside an image beside plain files and directories of the same bytes, asked of the
//! same server over NFS, and over SFTP through a socketpair and pipes.
//!
//! The rounds go A B, then B A. A slow figure never fails the command, a wrong answer does. What serving costs is the
//! server's CPU time: on a busy machine it wavers least.

mod ground;
mod workload;

use anyhow::{Context as _, Result, ensure};

use super::Common;
use super::ground::{Ground, Scale};
use super::measure::Cost;
use super::sftp::server::{Program, Server as Session, Transport};
use super::table::{self, Table};
use crate::build::Arch;
use crate::machines::server::{Server, ServerOptions, binary};
use crate::setup::{self, Package};
use ground::Images;
use workload::{Peers, Workload};

/// `cargo xtask bench isos`
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
}

/// Measures, prints a table, writes JSON and SVG.
pub fn main(args: &Args) -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "cargo xtask bench needs root, for a tmpfs of its own. Type: sudo -E cargo xtask bench isos"
    );
    setup::need(&[Package::XORRISO])?;
    let ours = binary(Arch::X86_64)?;

    let progress = setup::progress("measuring images");
    let scale = Scale {
        // Many short turns: what else the machine does meets some of them, and the median is none of those.
        big_bytes: if args.common.quick { 1 << 26 } else { 1 << 28 },
        // Directories have sizes of their own here.
        crowd_count: 0,
        ..Scale::QUICK
    };
    progress.say("making images");
    // Before the tmpfs, so that it lies on a disk.
    let cold = ground::Cold::new()?;
    let ground = Ground::in_memory(scale)?;
    let images = Images::new(&ground, cold)?;
    let program = Program::new("stowaway", &ours, &ground)?;
    let server = Server::start(ServerOptions {
        exports: images.exports(),
        ..ServerOptions::default()
    })?;
    let sessions = Transport::ALL
        .into_iter()
        .map(|transport| {
            let mut session = Session::start(&program, transport)?;
            session.load.begin()?;
            Ok(session)
        })
        .collect::<Result<Vec<_>>>()?;
    let mut peers = Peers::new(&images, &server, sessions, scale.big_bytes)?;

    let round_count = args.common.round_count([15, 31]);
    let mut results: Vec<_> = Workload::all()
        .into_iter()
        .map(|workload| (workload, [Vec::new(), Vec::new()]))
        .collect();
    // Round 0 fills caches and is not counted.
    for round in 0..=round_count {
        for (workload, costs) in &mut results {
            if round > workload.round_max() {
                continue;
            }
            let title = workload.subject().title;
            progress.say(format!("round {round} of {round_count}: {title}"));
            // Who comes second may find warmer caches: they take turns in that too.
            let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
            for side in order {
                if side == 1 && !workload.has_peer() {
                    continue;
                }
                let cost: Cost = peers
                    .turn(*workload, side == 0)
                    .with_context(|| format!("{title}, {}", SIDES[side]))?;
                if round > 0 {
                    costs[side].push(cost);
                }
            }
        }
    }
    peers.end()?;
    progress.done();

    let mut table = Table::new(SIDES, round_count)?;
    for (workload, costs) in &results {
        table.add(&workload.subject(), costs)?;
    }
    table.print(&[
        "in the page cache, on a tmpfs, but for LOOKUP from the disk; of LOOKUP 5 rounds at most",
        "READ: plain are the same bytes of the image's file, so that both sides touch the same pages; with 'source' they",
        &format!(
            "are those of the file that it was made of, and begin {} bytes later in a page",
            images.place()? % 4096
        ),
    ]);
    table::write_json(&table, &table::place(&args.common.json, "isos.json"))?;
    table.write_svg(&table::place(&args.common.svg, "isos.svg"))
}

/// What is compared.
const SIDES: [&str; 2] = ["inside", "plain"];
