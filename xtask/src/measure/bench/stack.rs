//! `cargo xtask bench stack`: stowaway's own network stack compared with the host's, with the same NFS server and the same client.
//!
//! In lines with offloads, stowaway's stack uses a TAP interface. In lines without, it uses a Unix socket, like that of passt; a
//! relay carries frames between that socket and a TAP interface and limits the rate. The host's stack uses a veth pair, whose
//! checksum and segmentation offloads are switched on or off.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::frame::{self, Frame};
use super::nfs::workload::Workload;
use super::nfs::{Side, serving, wait_until_ready};
use super::table::{Aim, Metric, Reference, Subject};
use super::workspace::{Scale, Workspace};
use super::{Choice, Common};
use crate::build::{self, Arch};
use crate::machines::cable::Cable;
use crate::machines::server::{Namespace, Server, ServerOptions, ip};
use crate::setup::{self, run_captured};

/// Aim: smallest ratio of the rate of stowaway's stack to that of the host's stack, with offloads.
const RATE_RATIO: f64 = 0.5;

/// `cargo xtask bench stack`
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    choice: Choice<Workload>,
}

/// A workload with or without offloads.
struct Line {
    workload: Workload,
    /// True if links compute checksums and split segments.
    has_offloads: bool,
}

impl frame::Workload for Line {
    fn subject(&self) -> Subject {
        let mut subject = self.workload.subject();
        subject.aims.clear();
        if self.has_offloads {
            return subject.aim(
                Metric::Rate,
                Aim::at_least(RATE_RATIO).relative_to(Reference::Peer),
            );
        }
        subject.title += ", no offloads";
        subject
    }
}

/// Starts a server on each network, and compares them.
pub fn main(args: &Args) -> Result<()> {
    setup::install_packages(&["iproute2", "e2fsprogs", "ethtool"])?;
    let file = args.choice.ours(|| build::build(Arch::X86_64))?;
    let mut frame = Frame::new("stack", ["own stack", "the host's"], &args.common, [2, 5])?;
    let scale = Scale::of(&args.common);
    let workspace = Workspace::new(scale)?;
    let serve = |arguments: Vec<String>, through| {
        Server::start(ServerOptions {
            address: Ipv4Addr::UNSPECIFIED,
            arguments,
            wrapper: through,
            ..serving(&file, &workspace)
        })
    };
    let side = |name, server: &Server, address: [u8; 4]| {
        let at = |port| SocketAddr::from((address, port));
        let (nfs, mount) = (at(server.nfs_port), at(server.mount_port));
        wait_until_ready(name, nfs)?;
        Side::new(name, vec![server.pid()], nfs, mount, &workspace, &scale)
    };
    let own = |link: String, address| vec!["--net".into(), link, "--ip".into(), address];

    ip("tuntap add tap0 mode tap")?;
    let relay = Cable::new("tap1", &workspace.scratch_path("relay"), Duration::ZERO, 1)?;
    let host = Namespace::new()?;
    ip(&format!(
        "link add veth0 type veth peer name veth0 netns {}",
        host.name()
    ))?;
    ip(&format!("-n {} link set veth0 up", host.name()))?;
    ip(&format!(
        "-n {} addr add 192.0.2.129/26 dev veth0",
        host.name()
    ))?;
    for (name, address) in [
        ("tap0", "192.0.2.2/26"),
        ("tap1", "192.0.2.66/26"),
        ("veth0", "192.0.2.130/26"),
    ] {
        ip(&format!("addr add {address} dev {name}"))?;
        ip(&format!("link set {name} up"))?;
    }
    let tap = serve(own("tap:tap0".into(), "192.0.2.1/26".into()), Vec::new())?;
    let stream = serve(own(relay.net(), "192.0.2.65/26".into()), Vec::new())?;
    let kernel = serve(Vec::new(), host.enter())?;
    let mut tap = side("own stack, TAP", &tap, [192, 0, 2, 1])?;
    let mut stream = side("own stack, socket file", &stream, [192, 0, 2, 65])?;
    let mut kernel = side("the host's, veth", &kernel, [192, 0, 2, 129])?;
    for side in [&tap, &stream, &kernel] {
        frame.attach(&*side.name, side.pids[0])?;
    }
    let mut lines = Vec::new();
    for has_offloads in [true, false] {
        let line = |workload| Line {
            workload,
            has_offloads,
        };
        let chosen = args.choice.only.clone();
        let workloads = match chosen.is_empty() {
            true => vec![Workload::Getattr, Workload::Read, Workload::WriteOver],
            false => chosen,
        };
        lines.extend(workloads.into_iter().map(line));
    }
    frame.rounds(lines, |line, number| {
        let side = match (number, line.has_offloads) {
            (0, true) => &mut tap,
            (0, false) => &mut stream,
            (_, has_offloads) => {
                let switch = if has_offloads { "on" } else { "off" };
                let words = ["-K", "veth0", "tx", switch, "tso", switch, "gso", switch];
                run_captured(Command::new("ethtool").args(words))?;
                run_captured(host.command("ethtool").args(words))?;
                &mut kernel
            }
        };
        let cost = side.turn(line.workload, &scale)?;
        if let Some(storage) = line.workload.storage() {
            workspace.sync(storage)?;
        }
        Ok(Some(cost))
    })?;
    frame.detach()?;
    frame.finish(&["one connection, 16 requests in flight; files on a tmpfs"])
}
