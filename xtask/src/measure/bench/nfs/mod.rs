//! `cargo xtask bench nfs`: stowaway compared with nfs-ganesha and with the `--against` file, on the same tmpfs and ext4. Each
//! server holds 1,000 idle connections while one is busy.

pub mod connection;
pub mod ganesha;
pub mod workload;
pub mod writing;

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::frame::Frame;
use super::load::Load;
use super::measure::Cost;
use super::workspace::{Export, Scale, Workspace};
use super::{Choice, Common};
use crate::clients::nfs::{Call, Client};
use crate::machines::port::Port;
use crate::machines::server::{Server, ServerOptions};
use crate::setup;
use connection::{Connection, DEPTH};
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

/// Starts all servers, and compares them.
pub fn main(args: &Args) -> Result<()> {
    // Installing packages and building may need the network, so both are done before the change of the network namespace.
    setup::install_packages(&["iproute2", "e2fsprogs"])?;
    let has_peer = args.choice.install_peer(&ganesha::PACKAGES)?;
    let files = args.choice.files(&args.common)?;
    let names = args.choice.sides(ganesha::NAME, &args.common);
    let mut frame = Frame::compare("nfs", names, &args.common, [2, 5])?;
    let scale = Scale::of(&args.common);
    let workspace = Workspace::new(scale)?;
    let workloads = args.choice.workloads();
    // All servers run at the same time; a server without calls uses no CPU. Indexed by side, then by the kind of server.
    let mut sides = Vec::new();
    for (name, file) in &files {
        let start = |kind| {
            let is_wanted = workloads.iter().any(|it| it.server() == kind);
            let server = is_wanted.then(|| Side::start(name, file, kind, &workspace, &scale));
            server.transpose()
        };
        let [kernel, path, served] = ServerKind::ALL.map(start);
        sides.push([kernel?, path?, served?]);
    }
    let ganesha = has_peer.then(|| Ganesha::start(&workspace)).transpose()?;
    if let Some(it) = &ganesha {
        let (pids, nfs, mount) = (vec![it.pid()], it.nfs(), it.mount());
        let peer = Side::new(ganesha::NAME, pids, nfs, mount, &workspace, &scale)?;
        sides.push([Some(peer), None, None]);
    }
    for side in sides.iter_mut().flatten().flatten() {
        for pid in &side.pids {
            frame.attach(&*side.name, *pid)?;
        }
        side.fill_idle()?;
    }
    frame.rounds(workloads, |workload, side| {
        let Some(side) = &mut sides[side][workload.server() as usize] else {
            return Ok(None);
        };
        let cost = side.turn(*workload, &scale)?;
        if let Some(storage) = workload.storage() {
            workspace.sync(storage)?;
        }
        Ok(Some(cost))
    })?;
    frame.detach()?;
    let mut all = sides.iter_mut().flatten().flatten();
    all.try_for_each(Side::check_idle)?;
    frame.finish(&[
        &format!(
            "depth {DEPTH} (a directory is read page by page); {IDLE_COUNT} idle connections to each server"
        ),
        "on a tmpfs, or on an ext4 in memory behind a loop device; dirsync: the kernel syncs each change of a name",
    ])
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

/// A running server, and the connections to it.
struct Side {
    name: String,
    /// Ids of the server's processes, whose CPU time is measured.
    pids: Vec<u32>,
    nfs: SocketAddr,
    /// The measured connection.
    busy: Load<Connection>,
    /// The connection for LOOKUPs and checks, which are not measured.
    aside: Client,
    idle: Vec<Client>,
    objects: Objects,
    /// A server of stowaway, and its port if the bench has reserved it.
    _server: Option<(Server, Option<Port>)>,
}

impl Side {
    /// Starts a server from a file of stowaway.
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
        let arguments = ["--handles", handles]
            .into_iter()
            .chain(more.iter().copied());
        let server = Server::start(ServerOptions {
            role: if is_served { "serve" } else { "nfs" },
            port: port.as_ref().map_or(0, Port::number),
            arguments: arguments.map(str::to_owned).collect(),
            ..serving(file, workspace)
        })?;
        let pids = if is_served {
            server.children()?
        } else {
            vec![server.pid()]
        };
        let (nfs, mount) = (server.nfs(), server.mount());
        let mut side = Self::new(&title, pids, nfs, mount, workspace, scale)?;
        side._server = Some((server, port));
        Ok(side)
    }

    /// Connects to a server and looks up all files.
    fn new(
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
            _server: None,
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
    fn turn(&mut self, workload: Workload, scale: &Scale) -> Result<Cost> {
        self.objects.pattern.turn();
        let cost = Cost::measure(&self.pids, || {
            workload.run(&mut self.busy, &self.objects, scale)
        })?;
        workload.check(&mut self.aside, &self.objects, scale)?;
        Ok(cost)
    }
}
