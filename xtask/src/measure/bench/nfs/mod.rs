//! `cargo xtask bench nfs`: stowaway compared with nfs-ganesha and with the `--against` file, on the same tmpfs and ext4. Each
//! server holds 1,000 idle connections while one is busy.

pub mod connection;
mod floor;
pub mod ganesha;
pub mod minimal;
pub mod workload;
pub mod writing;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::frame::Frame;
use super::load::Load;
use super::measure::Cost;
use super::table::Subject;
use super::workspace::{Export, Scale, Workspace};
use super::{BEFORE, Choice, Common, built, frame};
use crate::clients::nfs::{Call, Client};
use crate::machines::port::Port;
use crate::machines::server::{Server, ServerOptions};
use crate::machines::wait_for;
use crate::setup;
use connection::{Connection, DEPTH};
use floor::Floor;
use ganesha::Ganesha;
use workload::{Objects, ServerKind, Workload};

/// Number of idle connections to each server.
const IDLE_COUNT: usize = 1000;

/// `cargo xtask bench nfs`
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    choice: Choice<Workload>,
}

/// A line of the table.
enum Line {
    /// A workload on the compared servers
    Asked(Workload),
    /// A floor, measured without the compared servers
    Floor(Floor),
}

impl frame::Workload for Line {
    fn subject(&self) -> Subject {
        match self {
            Self::Asked(workload) => workload.subject(),
            Self::Floor(floor) => floor.subject(),
        }
    }
}

/// Starts all servers, and compares them.
pub fn main(args: &Args) -> Result<()> {
    // Installing packages and building may need the network, so both are done before the change of the network namespace.
    setup::install_packages(&["iproute2", "e2fsprogs"])?;
    let before = args.common.against()?;
    let with_peer = !args.choice.no_peer;
    if with_peer {
        setup::install_packages(&["rpcbind", "nfs-ganesha", "nfs-ganesha-vfs"])?;
    }
    let ours = args.choice.ours(built)?;

    let names = args.choice.sides("nfs-ganesha", &args.common);
    let mut frame = Frame::compare("nfs", names, &args.common, [2, 5])?;
    let scale = Scale::of(&args.common);
    let workspace = Workspace::new(scale)?;
    let workloads = args.choice.workloads();
    // All servers run at the same time; a server without calls uses no CPU.
    let files = [
        Some(("stowaway", &ours)),
        before.as_ref().map(|it| (BEFORE, it)),
    ];
    let mut sides = Vec::new();
    for (name, file) in files.into_iter().flatten() {
        let start = |kind| {
            let is_wanted = workloads.iter().any(|it| it.server() == kind);
            let server = is_wanted.then(|| Ours::start(name, file, kind, &workspace, &scale));
            server.transpose()
        };
        let [kernel, path, served] = ServerKind::ALL.map(start);
        sides.push([kernel?, path?, served?]);
    }
    let ganesha = with_peer.then(|| Ganesha::start(&workspace)).transpose()?;
    let mut peer = match &ganesha {
        Some(ganesha) => {
            let (nfs, mount) = (ganesha.nfs(), ganesha.mount());
            Some(Side::new(
                "nfs-ganesha",
                vec![ganesha.pid()],
                nfs,
                mount,
                &workspace,
                &scale,
            )?)
        }
        None => None,
    };
    let all = sides.iter_mut().flatten().flatten();
    for side in all.map(|it| &mut it.side).chain(&mut peer) {
        for pid in &side.pids {
            frame.attach(&*side.name, *pid)?;
        }
        side.fill_idle()?;
    }

    let mut lines: Vec<_> = workloads.iter().map(|it| Line::Asked(*it)).collect();
    let is_written = |storage| workloads.iter().any(|it| it.storage() == Some(storage));
    let is_read = workloads.iter().any(|it| it.storage().is_none());
    let floors = Floor::ALL.into_iter();
    let floors = floors.filter(|it| it.storage().map_or(is_read, is_written));
    lines.extend(floors.map(Line::Floor));
    frame.rounds(lines, |line, number| {
        let (cost, storage) = match line {
            Line::Floor(floor) if number == 0 => (floor.turn(&workspace, &scale)?, floor.storage()),
            Line::Floor(_) => return Ok(None),
            Line::Asked(workload) => {
                let kind = workload.server();
                let side = match sides.get_mut(number) {
                    Some(servers) => servers[kind as usize].as_mut().map(|it| &mut it.side),
                    // The peer's only server runs all workloads except those of `ServerKind::Served`.
                    None => peer.as_mut().filter(|_| kind != ServerKind::Served),
                };
                let Some(side) = side else { return Ok(None) };
                (side.turn(*workload, &scale)?, workload.storage())
            }
        };
        if let Some(storage) = storage {
            workspace.sync(storage)?;
        }
        Ok(Some(cost))
    })?;
    frame.detach()?;
    let all = sides.iter_mut().flatten().flatten();
    for side in all.map(|it| &mut it.side).chain(&mut peer) {
        side.check_idle()?;
    }
    frame.finish(&[
        &format!(
            "depth {DEPTH} (a directory is read page by page); {IDLE_COUNT} idle connections to each server"
        ),
        "on a tmpfs, or on an ext4 in memory behind a loop device; dirsync: the kernel syncs each change of a name",
        "floor: a server of one thread that makes one system call for each reply, in the same pattern of batches",
    ])
}

/// A server started from a file of stowaway.
struct Ours {
    side: Side,
    _server: Server,
    _port: Option<Port>,
}

impl Ours {
    fn start(
        name: &str,
        file: &Path,
        kind: ServerKind,
        workspace: &Workspace,
        scale: &Scale,
    ) -> Result<Self> {
        let (title, handles, more): (_, _, &[&str]) = match kind {
            ServerKind::KernelHandles => (name.to_owned(), "kernel", &[]),
            ServerKind::PathHandles => (format!("{name}, path handles"), "path", &[]),
            ServerKind::Served => (format!("{name}, serve"), "kernel", &["--no-mdns"]),
        };
        let is_served = kind == ServerKind::Served;
        // `serve` does not choose a free port itself, so the bench reserves one.
        let port = is_served.then(Port::reserve).transpose()?;
        let server = Server::start(ServerOptions {
            role: if is_served { "serve" } else { "nfs" },
            port: port.as_ref().map_or(0, Port::number),
            arguments: ["--handles", handles]
                .iter()
                .chain(more)
                .map(|it| (*it).into())
                .collect(),
            ..serving(file, workspace)
        })?;
        let mut pids = vec![server.pid()];
        if is_served {
            pids = server.children()?;
        }
        let (nfs, mount) = (server.nfs(), server.mount());
        Ok(Self {
            side: Side::new(&title, pids, nfs, mount, workspace, scale)?,
            _server: server,
            _port: port,
        })
    }
}

/// Options of a server from a file of stowaway with all exports. Like the peer, stowaway does not squash root.
pub(super) fn serving(file: &Path, workspace: &Workspace) -> ServerOptions {
    let own = Export::ALL.map(|export| {
        let access = if export.is_writable() { "rw" } else { "ro" };
        let path = workspace.path(export);
        format!("{}:{access},no_root_squash", path.display())
    });
    let more = workspace.more.iter();
    let more = more.map(|path| format!("{}:ro,no_root_squash", path.display()));
    ServerOptions {
        file: Some(file.to_path_buf()),
        exports: own.into_iter().chain(more).collect(),
        ..ServerOptions::default()
    }
}

/// Waits until a server with its own network stack, which first probes whether another host uses its address, accepts connections.
pub(super) fn wait_until_ready(name: &str, nfs: SocketAddr) -> Result<()> {
    const START_MAX: Duration = Duration::from_secs(20);
    let ready = wait_for(START_MAX, || Ok(Client::connect(nfs).ok()))?;
    ready.map(drop).with_context(|| {
        format!("{name} does not accept connections at {nfs} within {START_MAX:?}")
    })
}

/// A running server, and the connections to it.
pub(super) struct Side {
    pub name: String,
    /// Ids of the server's processes, whose CPU time is measured.
    pub pids: Vec<u32>,
    nfs: SocketAddr,
    /// The measured connection.
    busy: Load<Connection>,
    /// The connection for LOOKUPs and checks, which are not measured.
    aside: Client,
    idle: Vec<Client>,
    objects: Objects,
}

impl Side {
    /// Connects to a server and looks up all files.
    pub fn new(
        name: &str,
        pids: Vec<u32>,
        nfs: SocketAddr,
        mount: SocketAddr,
        workspace: &Workspace,
        scale: &Scale,
    ) -> Result<Self> {
        let find = || {
            let mut mount = Client::connect(mount)?;
            let mut aside = Client::connect(nfs)?;
            let roots = Export::ALL
                .map(|export| mount.mount(&workspace.path(export).display().to_string()))
                .into_iter()
                .collect::<Result<Vec<_>>>()?;
            // A different seed for each server: bytes written by one server fail the check of another.
            let objects = Objects::find(&mut aside, &roots, scale, pids[0].into())?;
            anyhow::Ok((aside, objects))
        };
        let (aside, objects) = find().with_context(|| format!("cannot look up files on {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            pids,
            nfs,
            busy: Load::connect(nfs)?,
            aside,
            idle: Vec::new(),
            objects,
        })
    }

    /// Opens the idle connections.
    fn fill_idle(&mut self) -> Result<()> {
        for _ in 0..IDLE_COUNT {
            self.idle.push(Client::connect(self.nfs)?);
        }
        // A reply shows that the server, not only the kernel, has accepted the connection.
        self.check_idle()
    }

    /// Fails unless a NULL call succeeds on every idle connection.
    fn check_idle(&mut self) -> Result<()> {
        for client in &mut self.idle {
            client
                .call(&Call::null())
                .with_context(|| format!("an idle connection to {} failed", self.name))?;
        }
        Ok(())
    }

    /// Runs and measures one turn, then checks the files that it changed.
    pub fn turn(&mut self, workload: Workload, scale: &Scale) -> Result<Cost> {
        let cost = self.measure(workload, scale)?;
        self.check(workload, scale)?;
        Ok(cost)
    }

    /// Runs and measures one turn. In `waits.longest` is the longest time without a byte (ms).
    pub fn measure(&mut self, workload: Workload, scale: &Scale) -> Result<Cost> {
        self.objects.pattern.turn();
        let mut cost = Cost::measure(&self.pids, || {
            workload.run(&mut self.busy, &self.objects, scale)
        })?;
        cost.waits.longest = self.busy.take_longest_silence().as_secs_f64() * 1e3;
        Ok(cost)
    }

    /// Checks the files that the last turn changed.
    pub fn check(&mut self, workload: Workload, scale: &Scale) -> Result<()> {
        workload.check(&mut self.aside, &self.objects, scale)
    }
}
