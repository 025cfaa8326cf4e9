//! `cargo xtask bench wait`: measures how long one client waits for replies that need no disk while other clients keep the disk
//! busy, and the rate of stable WRITEs; compares stowaway with nfs-ganesha and with the `--against` file.

mod clients;
mod disk;
mod workload;

use anyhow::Result;

use super::frame::Frame;
use super::nfs::ganesha::{self, Ganesha};
use super::nfs::serving;
use super::workspace::{Scale, Workspace};
use super::{Choice, Common};
use crate::machines::server::Server;
use crate::setup;
use clients::Clients;
use disk::Disks;
use workload::{Line, Work};

/// `cargo xtask bench wait`
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    choice: Choice<Work>,
}

/// Starts all servers, and compares them.
pub fn main(args: &Args) -> Result<()> {
    setup::install_packages(&["iproute2", "e2fsprogs"])?;
    let works = args.choice.workloads();
    let is_cold = works.contains(&Work::Cold);
    if is_cold {
        setup::install_packages(&["xfsprogs"])?;
    }
    let has_peer = args.choice.install_peer(&ganesha::PACKAGES)?;
    let files = args.choice.files(&args.common)?;
    let names = args.choice.sides(ganesha::NAME, &args.common);
    let mut frame = Frame::compare("wait", names, &args.common, [2, 5])?;
    // COMMIT is always measured with 1 GiB, even with `--quick`.
    let scale = Scale {
        big_bytes: Scale::FULL.big_bytes,
        ..Scale::of(&args.common)
    };
    let mut workspace = Workspace::new(scale)?;
    clients::make_file(&workspace)?;
    let disks = if is_cold {
        Disks::new(&workspace)?
    } else {
        Err("not asked for".into())
    };
    let missing = disks.as_ref().err().cloned();
    let disks = disks.ok();
    let slow_disks = disks.as_ref().map_or(&[][..], |disks| &disks.all);
    workspace.more = slow_disks.iter().map(|disk| disk.path.clone()).collect();
    let workspace = workspace;

    let mut sides = Vec::new();
    let mut attach = |name: &str, pid, nfs, mount| {
        frame.attach(name, pid)?;
        disks.as_ref().map_or(Ok(()), |disks| disks.throttle(pid))?;
        let clients = Clients::new(name, pid, nfs, mount, &workspace, slow_disks, &scale)?;
        sides.push(clients);
        anyhow::Ok(())
    };
    let mut servers = Vec::new();
    for (name, file) in &files {
        let server = Server::start(serving(file, &workspace))?;
        attach(name, server.pid(), server.nfs(), server.mount())?;
        servers.push(server);
    }
    let ganesha = has_peer
        .then(|| Ganesha::start(&workspace, "3"))
        .transpose()?;
    if let Some(it) = &ganesha {
        attach(ganesha::NAME, it.pid(), it.nfs(), it.mount())?;
    }

    let lines = works.into_iter();
    let lines = lines.flat_map(|work| Line::of(work, missing.as_deref()));
    frame.rounds(lines, |line, side| match line {
        Line::Echo => (side == 0).then(|| clients::echo(&scale)).transpose(),
        Line::Cold(kind, _) => sides[side].cold(*kind, slow_disks, &scale).map(Some),
        Line::Plain(Work::Stable) => sides[side].stable(&scale).map(Some),
        Line::Plain(work) => sides[side].wait(*work, &workspace, &scale).map(Some),
    })?;
    frame.detach()?;
    frame.finish(&[
        "GETATTR and READ of a cached file, one after the other, 1 ms between each two; requests that could not be sent while",
        "one waited count with the time that remained",
        "on a tmpfs, or on an ext4 in memory behind a loop device; cold READs: 4 in flight, 1 MiB each, of an uncached file, on",
        "a loop device from which servers read 1 MiB/s",
    ])
}
