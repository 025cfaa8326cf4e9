//! `cargo xtask bench links`: stowaway's own network stack compared with the host's over links with short queues, losses and delay.
//!
//! Each server is reached through a [`NetworkPath`]. stowaway's stack uses a packet socket on the interface at the far end, the
//! host's stack has an address there. The client's stack is the host's.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::frame::{self, Frame};
use super::measure::Cost;
use super::nfs::workload::Workload;
use super::nfs::{Side, serving, wait_until_ready};
use super::table::{Aim, Metric, Reference, Subject, Unit};
use super::workspace::{Scale, Workspace};
use super::{BEFORE, Choice, Common};
use crate::build::{self, Arch};
use crate::machines::path::{Conditions, NetworkPath};
use crate::machines::server::{Namespace, Server, ServerOptions, ip};
use crate::setup::{self, run_captured};

/// Longest time without any byte on a link that loses no frames at random.
const STALL_MAX: Duration = Duration::from_secs(2);
/// Longest time without any byte on a link that loses 5 % of all frames.
const LOSSY_STALL_MAX: Duration = Duration::from_secs(5);

/// `cargo xtask bench links`
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    choice: Choice<LinkKind>,
}

/// The links.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LinkKind {
    /// 1 Gbit/s without losses
    Clean,
    /// 100 Mbit/s with a queue of 64 frames
    SlowQueue,
    /// 1 Gbit/s with a queue of 64 frames
    FastQueue,
    /// 1 % loss
    Loss1,
    /// 5 % loss
    Loss5,
    /// A round trip of 40 ms
    Far,
}

/// One line of the table: a transfer over a link.
struct Line {
    kind: LinkKind,
    workload: Workload,
}

impl LinkKind {
    const fn conditions(self) -> Conditions {
        let mut conditions = Conditions::CLEAN;
        match self {
            Self::Clean => {}
            Self::SlowQueue => {
                (conditions.bit_rate, conditions.queue_count) = (100_000_000, 64);
            }
            Self::FastQueue => conditions.queue_count = 64,
            Self::Loss1 => conditions.lost_per_mille = 10,
            Self::Loss5 => conditions.lost_per_mille = 50,
            Self::Far => conditions.delay = Duration::from_millis(20),
        }
        conditions
    }

    /// Size of a transfer, in MiB.
    const fn size(self) -> u64 {
        match self {
            Self::Clean | Self::Loss1 | Self::Far => 64,
            Self::SlowQueue | Self::FastQueue => 32,
            Self::Loss5 => 16,
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Clean => "1 Gbit/s",
            Self::SlowQueue => "100 Mbit/s, 64 frames",
            Self::FastQueue => "1 Gbit/s, 64 frames",
            Self::Loss1 => "1 % loss",
            Self::Loss5 => "5 % loss",
            Self::Far => "40 ms",
        }
    }
}

impl frame::Workload for Line {
    fn subject(&self) -> Subject {
        let is_read = self.workload == Workload::Read;
        let (kind, transfer) = (self.kind, if is_read { "READ" } else { "WRITE" });
        let title = format!("{}: {transfer} {} MiB", kind.title(), kind.size());
        let stall = |limit: Duration| (Metric::Longest, Aim::at_most(limit.as_secs_f64() * 1e3));
        let mut subject = Subject::new(title, Unit::Transfer);
        subject.has_warm_up = false;
        subject.before_max = None;
        // The time of a transfer, as a multiple of the peer's.
        let slower = |times: f64| Aim::at_most(times).relative_to(Reference::Peer);
        let time = match (kind, is_read) {
            (LinkKind::SlowQueue | LinkKind::FastQueue, true) => Some(slower(1.5)),
            (LinkKind::Loss1, true) => Some(slower(7.0)),
            (LinkKind::Loss5, true) => Some(slower(60.0).goal(25.0)),
            (LinkKind::Far, true) => Some(slower(8.0)),
            (LinkKind::Far, false) => Some(slower(9.0)),
            _ => None,
        };
        subject
            .aims
            .extend(time.map(|aim| (Metric::TransferTime, aim)));
        subject.aims.extend(match kind {
            LinkKind::Loss1 => None,
            LinkKind::Loss5 => Some(stall(LOSSY_STALL_MAX)),
            _ => Some(stall(STALL_MAX)),
        });
        subject
    }
}

/// A server behind a path.
struct Host {
    path: NetworkPath,
    _namespace: Namespace,
    server: Server,
    /// Address of the server.
    address: Ipv4Addr,
}

impl Host {
    /// Starts a server behind path number `number`. `is_own`: with stowaway's stack.
    fn start(
        number: u8,
        is_own: bool,
        serve: impl FnOnce(Vec<String>, Vec<String>) -> Result<Server>,
    ) -> Result<Self> {
        let (near, far) = (format!("near{number}"), format!("far{number}"));
        let path = NetworkPath::new([&near, &far], u64::from(number))?;
        let namespace = Namespace::new()?;
        let name = namespace.name();
        let net = 64 * number;
        let [client, address] = [1, 2].map(|host| Ipv4Addr::new(192, 0, 2, net + host));
        // The interfaces' own queues never overflow, so that only the path drops frames.
        for name in [&near, &far] {
            ip(&format!("link set {name} txqueuelen 20000"))?;
        }
        ip(&format!("addr add {client}/26 dev {near}"))?;
        ip(&format!("link set {near} up"))?;
        ip(&format!("link set {far} netns {name}"))?;
        let mut arguments = Vec::new();
        if is_own {
            let words = [
                "--net",
                &format!("packet:{far}"),
                "--ip",
                &format!("{address}/26"),
            ];
            arguments.extend(words.map(String::from));
        } else {
            ip(&format!("-n {name} addr add {address}/26 dev {far}"))?;
        }
        ip(&format!("-n {name} link set {far} up"))?;
        // The kernel would remember the losses of one connection for the next, which runs under other conditions.
        let forget = "echo 1 > /proc/sys/net/ipv4/tcp_no_metrics_save";
        run_captured(Command::new("sh").args(["-c", forget]))?;
        run_captured(namespace.command("sh").args(["-c", forget]))?;
        let server = serve(arguments, namespace.enter())?;
        Ok(Self {
            path,
            _namespace: namespace,
            server,
            address,
        })
    }

    fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::from((self.address, port))
    }

    /// Runs one transfer on a new connection.
    fn turn(&self, line: &Line, workspace: &Workspace, scale: Scale) -> Result<Cost> {
        let scale = Scale {
            big_bytes: line.kind.size() << 20,
            ..scale
        };
        let (nfs, mount) = (
            self.at(self.server.nfs_port),
            self.at(self.server.mount_port),
        );
        let pids = vec![self.server.pid()];
        // Set before the client connects: the kernel measures the round trip of the handshake.
        self.path.set(line.kind.conditions());
        let mut side = Side::new("the server", pids, nfs, mount, workspace, &scale)?;
        let cost = side.measure(line.workload, &scale);
        self.path.set(Conditions::CLEAN);
        let cost = cost?;
        side.check(line.workload, &scale)?;
        Ok(cost)
    }
}

/// Starts a server behind each path, and compares them.
pub fn main(args: &Args) -> Result<()> {
    setup::install_packages(&["iproute2", "e2fsprogs"])?;
    let before = args.common.against()?;
    let file = args.choice.ours(|| build::build(Arch::X86_64))?;
    let names = args.choice.sides("the host's", &args.common);
    let mut frame = Frame::compare("links", names.clone(), &args.common, [1, 3])?;
    let scale = Scale::QUICK;
    let workspace = Workspace::new(scale)?;
    let mut hosts = Vec::new();
    for (number, name) in (0..).zip(&names) {
        let file = match *name {
            BEFORE => before.as_ref().context("no file to compare with")?,
            _ => &file,
        };
        let is_own = *name != "the host's";
        let host = Host::start(number, is_own, |arguments, wrapper| {
            Server::start(ServerOptions {
                address: Ipv4Addr::UNSPECIFIED,
                arguments,
                wrapper,
                ..serving(file, &workspace)
            })
        })?;
        wait_until_ready(name, host.at(host.server.nfs_port))?;
        frame.attach(*name, host.server.pid())?;
        hosts.push(host);
    }
    let lines =
        args.choice.workloads().into_iter().flat_map(|kind| {
            [Workload::Read, Workload::Write].map(|workload| Line { kind, workload })
        });
    frame.rounds(lines, |line, side| {
        let cost = hosts[side].turn(line, &workspace, scale)?;
        Ok(Some(cost))
    })?;
    frame.detach()?;
    let control = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control")?;
    frame.finish(&[&format!("congestion control of the host's stack: {}", control.trim()), "one connection, 16 requests of 1 MiB in flight; files on a tmpfs; longest = longest time without a byte"])
}
