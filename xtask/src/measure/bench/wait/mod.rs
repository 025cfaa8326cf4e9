//! `cargo xtask bench wait`: measures how long one client waits for replies that need no disk while other clients keep the disk
//! busy, and the rate of stable WRITEs; compares stowaway with nfs-ganesha and with the `--against` file.

mod clients;
mod disk;
mod workload;

use anyhow::{Context as _, Result};

use super::frame::Frame;
use super::nfs::ganesha::{self, Ganesha};
use super::nfs::serving;
use super::workspace::{Scale, Workspace};
use super::{Choice, Common};
use crate::machines::server::Server;
use crate::setup;
use clients::Clients;
use disk::{Disks, FileSystem, Group};
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
    let group = if is_cold {
        Group::new()
    } else {
        Err("not asked for".into())
    };
    let missing = group.as_ref().err().cloned();
    let disks = match group {
        Ok(group) => {
            let kinds = FileSystem::ALL
                .into_iter()
                .filter(|it| it.missing().is_none());
            Some(Disks::new(&workspace, group, &kinds.collect::<Vec<_>>())?)
        }
        Err(_) => None,
    };
    let slow_disks = disks.as_ref().map_or(&[][..], |disks| &disks.all);
    workspace.more = slow_disks.iter().map(|disk| disk.path.clone()).collect();
    let workspace = workspace;

    let mut sides = Vec::new();
    let mut attach = |name: &str, pid, nfs, mount| {
        frame.attach(name, pid)?;
        if let Some(disks) = &disks {
            disks.throttle(pid)?;
        }
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
    let ganesha = has_peer.then(|| Ganesha::start(&workspace)).transpose()?;
    if let Some(it) = &ganesha {
        attach(ganesha::NAME, it.pid(), it.nfs(), it.mount())?;
    }

    let lines = works.into_iter();
    let lines = lines.flat_map(|work| Line::of(work, missing.as_deref()));
    frame.rounds(lines, |line, side| {
        let clients = &mut sides[side];
        match line {
            Line::Echo if side > 0 => return Ok(None),
            Line::Echo => clients::echo(&scale),
            Line::Cold(kind, _) => {
                let disk = slow_disks.iter().find(|disk| disk.kind == *kind);
                let disk = disk.with_context(|| format!("no slow disk with {}", kind.fs))?;
                clients.cold(disk, &scale)
            }
            Line::Plain(Work::Stable) => clients.stable(&scale),
            Line::Plain(work) => clients.wait(*work, &workspace, &scale),
        }
        .map(Some)
    })?;
    frame.detach()?;
    frame.finish(&[
        "GETATTR and READ of a cached file, one after the other, 1 ms between each two; requests that could not be sent while",
        "one waited count with the time that remained",
        "on a tmpfs, or on an ext4 in memory behind a loop device; cold READs: 4 in flight, 1 MiB each, of an uncached file, on",
        "a loop device from which servers read 1 MiB/s",
    ])
}
