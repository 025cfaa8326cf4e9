//! `cargo xtask bench wait`: how long a client waits that has nothing to do with what others do to the disk, and how many stable
//! WRITEs there are in a second; beside nfs-ganesha.
//!
//! Of every server there are two: one that has the disk as it is, and one for which each sync takes ten milliseconds. For that
//! both are traced by strace, which stops at nothing but syncs.

mod clients;
mod workload;

use std::path::Path;

use anyhow::Result;

use super::frame::Frame;
use super::ground::{Export, Ground, Scale};
use super::nfs::exported;
use super::nfs::ganesha::Ganesha;
use super::{BEFORE, Choice, Common, built};
use crate::machines::server::{Server, ServerOptions};
use crate::setup::{self, Package};
use clients::Clients;
use workload::{Line, SYNC, Work};

/// `cargo xtask bench wait`
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    choice: Choice<Work>,
}

/// A command that starts another one whose syncs take [`SYNC`].
fn slow() -> Vec<String> {
    const CALLS: &str = "fsync,fdatasync,syncfs,sync_file_range";
    let trace = format!("trace={CALLS}");
    let inject = format!("inject={CALLS}:delay_enter={}", SYNC.as_micros());
    // What is started is our child, as without strace; what it calls else is not stopped at.
    let words = ["strace", "-D", "-f", "--seccomp-bpf", "-qq"];
    let more = ["-o", "/dev/null", "-e", &trace, "-e", &inject];
    words.into_iter().chain(more).map(str::to_owned).collect()
}

/// Measures.
pub fn main(args: &Args) -> Result<()> {
    setup::need(&[Package::IPROUTE2, Package::E2FSPROGS, Package::STRACE])?;
    let before = args.common.against()?;
    let with_peer = before.is_none() && !args.choice.no_peer;
    if with_peer {
        setup::need(&[Package::RPCBIND, Package::GANESHA, Package::GANESHA_VFS])?;
    }
    let ours = args.choice.ours(built)?;
    let mut frame = Frame::new("wait", ["stowaway", "nfs-ganesha"], &args.common, [2, 5])?;
    let scale = Scale::of(&args.common);
    let ground = Ground::new(scale)?;
    clients::plant(&ground)?;

    let slow = slow();
    let start = |file: &Path, through: &[String]| {
        Server::start(ServerOptions {
            file: Some(file.to_path_buf()),
            exports: Export::ALL.map(|export| exported(&ground, export)).into(),
            through: through.to_vec(),
            ..ServerOptions::default()
        })
    };
    // For each side, the server with the disk as it is, and the one with slow syncs.
    let mut sides = [Vec::new(), Vec::new()];
    let mut attach = |side: usize, name: &str, pid, nfs, mount| {
        let is_slow = !sides[side].is_empty();
        let name = format!("{name}{}", if is_slow { ", slow sync" } else { "" });
        frame.attach(&name, pid)?;
        sides[side].push(Clients::new(&name, pid, nfs, mount, &ground, &scale)?);
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
        ganeshas.push(Ganesha::start(&ground)?);
        ganeshas.push(ganeshas[0].another(&ground, &slow)?);
    }
    for it in &ganeshas {
        attach(1, "nfs-ganesha", it.pid(), it.nfs(), it.mount())?;
    }

    let lines = args.choice.workloads().into_iter().flat_map(Line::of);
    frame.rounds(lines.collect::<Vec<_>>(), |line, side| {
        let (question, work) = match *line {
            Line::Echo => return (side == 0).then(|| clients::echo(&scale)).transpose(),
            Line::Asked(question, work) => (Some(question), work),
            Line::Stable(work) => (None, work),
        };
        let clients = sides[side].get_mut(usize::from(work.has_slow_sync()));
        let cost = clients.map(|clients| match question {
            Some(question) => clients.wait(question, work, &ground, &scale),
            None => clients.stable(work, &scale),
        });
        cost.transpose()
    })?;
    frame.detach()?;
    frame.finish(&[
        "GETATTR and READ of a cached file, one after the other, 1 ms between them; requests that would have come while one",
        "waited count with what was left for them to wait",
        "on a tmpfs, or on an ext4 in memory behind a loop device; slow sync: fsync takes 10 ms, by strace",
    ])
}
