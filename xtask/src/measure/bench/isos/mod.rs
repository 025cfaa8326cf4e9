//! `cargo xtask bench isos`: compares files and directories inside an ISO image with regular files and directories of the same
//! content, over NFS, and over SFTP through a socketpair and through pipes.

mod images;
mod workload;

use std::path::Path;

use anyhow::Result;

use super::frame::Frame;
use super::sftp::server::{Program, Server as Session, Transport};
use super::workspace::{Scale, Workspace};
use super::{BEFORE, Common, built};
use crate::machines::server::{Server, ServerOptions};
use crate::setup::{self, Package};
use images::Images;
use workload::{Peers, Workload};

/// `cargo xtask bench isos`
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
}

/// Makes the images, starts the servers and runs all workloads.
pub fn main(args: &Args) -> Result<()> {
    setup::install_packages(&[Package::XORRISO])?;
    let ours = built()?;

    let mut frame = Frame::new("isos", ["inside", "plain"], &args.common, [15, 31])?;
    let scale = Scale {
        // Many short turns: other processes of the machine disturb only some of them, so the median is an undisturbed one.
        big_bytes: if args.common.quick { 1 << 26 } else { 1 << 28 },
        // The tree's large directory is not used: `Images` makes directories of several sizes.
        crowd_count: 0,
        ..Scale::QUICK
    };
    frame.progress.set_message("making images");
    // This image must be on a disk, so it is not made in the workspace, which is a tmpfs.
    let cold = images::Cold::new()?;
    let workspace = Workspace::in_memory(scale)?;
    let images = Images::new(&workspace, cold)?;
    let start = |name, file: &Path| {
        let program = Program::new(name, file, &workspace)?;
        let server = Server::start(ServerOptions {
            file: Some(file.to_path_buf()),
            exports: images.exports(),
            ..ServerOptions::default()
        })?;
        let sessions = Transport::ALL
            .into_iter()
            .map(|transport| {
                let mut session = Session::start(&program, transport)?;
                session.load.negotiate()?;
                Ok(session)
            })
            .collect::<Result<Vec<_>>>()?;
        let peers = Peers::new(&images, &server, sessions, scale.big_bytes)?;
        anyhow::Ok((server, peers))
    };
    let (_server, mut peers) = start("stowaway", &ours)?;
    let before = args.common.against()?;
    let mut before = before.map(|file| start(BEFORE, &file)).transpose()?;
    frame.rounds(Workload::all(), |workload, side| {
        let cost = match (&mut before, side) {
            // With `--against`, both sides read inside images; the second side is the `--against` file.
            (Some((_, before)), 1) => before.turn(*workload, true),
            (None, 1) if !workload.has_peer() => return Ok(None),
            _ => peers.turn(*workload, side == 0),
        };
        cost.map(Some)
    })?;
    peers.stop()?;
    if let Some((_, before)) = before {
        before.stop()?;
    }
    frame.finish(&[
        "in the page cache, on a tmpfs, but for LOOKUP from the disk; of LOOKUP 5 rounds at most",
        "READ: plain are the same bytes of the image's file, so that both sides touch the same pages; with 'source' they",
        &format!(
            "are those of the file that it was made of, and begin {} bytes later in a page",
            images.large_file_offset()? % 4096
        ),
    ])
}
