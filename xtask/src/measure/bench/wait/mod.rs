//! `cargo xtask bench wait`: measures how long one client waits for a reply that needs no disk while other clients keep the disk
//! busy, and the rate of stable WRITEs; compares stowaway with nfs-ganesha and with the `--against` file.
//!
//! Each server runs twice: as it is, and under strace, which delays each sync by ten milliseconds and does not stop at other
//! system calls.

mod clients;
mod disk;
mod workload;

use std::path::Path;

use anyhow::{Context as _, Result};

use super::frame::Frame;
use super::nfs::ganesha::Ganesha;
use super::nfs::serving;
use super::workspace::{Scale, Workspace};
use super::{BEFORE, Choice, Common, built};
use crate::machines::server::{Server, ServerOptions};
use crate::setup;
use clients::Clients;
use disk::{Disks, FileSystem, Group};
use workload::{Line, SYNC, Work};

/// `cargo xtask bench wait`
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    choice: Choice<Work>,
}

/// Returns the start of a command line: strace with the options that delay each sync of the program that follows by [`SYNC`].
fn slow() -> Vec<String> {
    const CALLS: &str = "fsync,fdatasync,syncfs,sync_file_range";
    let trace = format!("trace={CALLS}");
    let inject = format!("inject={CALLS}:delay_enter={}", SYNC.as_micros());
    // -D: the program, not strace, is our child. --seccomp-bpf: other system calls are not stopped.
    let words = ["strace", "-D", "-f", "--seccomp-bpf", "-qq"];
    let more = ["-o", "/dev/null", "-e", &trace, "-e", &inject];
    words.into_iter().chain(more).map(str::to_owned).collect()
}

/// Starts both servers of each side, and compares the sides.
pub fn main(args: &Args) -> Result<()> {
    setup::install_packages(&["iproute2", "e2fsprogs", "strace"])?;
    let works = args.choice.workloads();
    let is_cold = works.contains(&Work::Cold);
    if is_cold {
        setup::install_packages(&["xfsprogs"])?;
    }
    let before = args.common.against()?;
    let with_peer = !args.choice.no_peer;
    if with_peer {
        setup::install_packages(&["rpcbind", "nfs-ganesha", "nfs-ganesha-vfs"])?;
    }
    let ours = args.choice.ours(built)?;
    let names = args.choice.sides("nfs-ganesha", &args.common);
    let mut frame = Frame::compare("wait", names, &args.common, [2, 5])?;
    // COMMIT is always measured with 1 GiB, even with `--quick`.
    let scale = Scale {
        big_bytes: Scale::FULL.big_bytes,
        ..Scale::of(&args.common)
    };
    let mut workspace = Workspace::new(scale)?;
    clients::make_files(&workspace)?;
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

    let slow = slow();
    let start = |file: &Path, through: &[String]| {
        Server::start(ServerOptions {
            wrapper: through.to_vec(),
            ..serving(file, &workspace)
        })
    };
    // For each side: the clients of the plain server, and those of the one with slow syncs.
    let mut sides: Vec<Vec<Clients>> = Vec::new();
    let mut attach = |side: usize, name: &str, pid, nfs, mount| {
        if sides.len() == side {
            sides.push(Vec::new());
        }
        let is_slow = !sides[side].is_empty();
        let name = format!("{name}{}", if is_slow { ", slow sync" } else { "" });
        frame.attach(&name, pid)?;
        if let Some(disks) = disks.as_ref().filter(|_| !is_slow) {
            disks.throttle(pid)?;
        }
        sides[side].push(Clients::new(
            &name, pid, nfs, mount, &workspace, slow_disks, &scale,
        )?);
        anyhow::Ok(())
    };
    let mut servers = Vec::new();
    let files = [Some(("stowaway", ours)), before.map(|file| (BEFORE, file))];
    for (side, (name, file)) in files.into_iter().flatten().enumerate() {
        for through in [&[], &*slow] {
            let server = start(&file, through)?;
            attach(side, name, server.pid(), server.nfs(), server.mount())?;
            servers.push(server);
        }
    }
    let mut ganeshas = Vec::new();
    if with_peer {
        ganeshas.push(Ganesha::start(&workspace)?);
        ganeshas.push(ganeshas[0].another(&workspace, &slow)?);
    }
    let last = usize::from(args.common.against.is_some()) + 1;
    for it in &ganeshas {
        attach(last, "nfs-ganesha", it.pid(), it.nfs(), it.mount())?;
    }

    let lines = works.into_iter();
    let lines = lines.flat_map(|work| Line::of(work, scale.is_quick(), missing.as_deref()));
    frame.rounds(lines.collect::<Vec<_>>(), |line, side| {
        let (question, work) = match line {
            Line::Echo => return (side == 0).then(|| clients::echo(&scale)).transpose(),
            Line::Cold(kind, _) => {
                let disk = slow_disks.iter().find(|disk| disk.kind == *kind);
                let disk = disk.with_context(|| format!("no slow disk with {}", kind.fs))?;
                return sides[side][0].cold(disk, &scale).map(Some);
            }
            Line::Asked(question, work) => (Some(*question), *work),
            Line::Stable(work) => (None, *work),
        };
        let clients = sides[side].get_mut(usize::from(work.has_slow_sync()));
        let cost = clients.map(|clients| match question {
            Some(question) => clients.wait(question, work, &workspace, &scale),
            None => clients.stable(work, &scale),
        });
        cost.transpose()
    })?;
    frame.detach()?;
    frame.finish(&[
        "GETATTR and READ of a cached file, one after the other, 1 ms between them; requests that could not be sent while one",
        "waited count with the time that remained",
        "on a tmpfs, or on an ext4 in memory behind a loop device; slow sync: fsync takes 10 ms, by strace; cold READs: 4 in",
        "flight, 1 MiB each, of an uncached file, on a loop device from which servers read 1 MiB/s",
    ])
}
