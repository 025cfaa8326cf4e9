//! `cargo xtask bench nfs`: stowaway compared with nfs-ganesha and with the `--against` file, on the same tmpfs and ext4. Each
//! server holds 1,000 idle connections while one is busy.

pub mod connection;
pub mod ganesha;
pub mod knfsd;
mod version4;
pub mod workload;
pub mod writing;

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::frame::Frame;
use super::load::Load;
use super::measure::Cost;
use super::workspace::{Export, Scale, Workspace};
use super::{Choice, Common};
use crate::clients::nfs::{Call, Client};
use crate::machines::server::{Server, ServerOptions};
use crate::setup;
use connection::{Connection, DEPTH};
use ganesha::Ganesha;
use version4::Session;
use workload::{Objects, Version, Workload};

/// Number of idle connections to each server.
const IDLE_COUNT: usize = 1000;

/// `cargo xtask bench nfs`
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    choice: Choice<Workload>,
    /// The versions of NFS: their workloads, and what the servers offer
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "3")]
    versions: Vec<Version>,
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
    let mut workloads = args.choice.workloads();
    workloads.retain(|workload| args.versions.contains(&workload.version()));
    ensure!(
        !workloads.is_empty(),
        "no workload of --only is of these --versions"
    );
    let offered = match args.versions.contains(&Version::Four) {
        true => "3,4.1",
        false => "3",
    };
    // All servers run at the same time; a server without calls uses no CPU.
    let mut sides = Vec::new();
    for (name, file) in &files {
        sides.push(Side::start(name, file, offered, &workspace, &scale)?);
    }
    let ganesha = has_peer
        .then(|| Ganesha::start(&workspace, offered))
        .transpose()?;
    if let Some(it) = &ganesha {
        let (pid, nfs, mount) = (it.pid(), it.nfs(), it.mount());
        let mut peer = Side::new(ganesha::NAME, pid, nfs, mount, &workspace, &scale)?;
        peer.tops = [Export::Tree, Export::Tmpfs].map(ganesha::pseudo_path);
        sides.push(peer);
    }
    for side in &mut sides {
        frame.attach(&*side.name, side.pid)?;
        side.fill_idle()?;
    }
    frame.rounds(workloads, |workload, side| {
        let cost = sides[side].turn(*workload, &scale)?;
        if let Some(storage) = workload.storage() {
            workspace.sync(storage)?;
        }
        Ok(Some(cost))
    })?;
    frame.detach()?;
    sides.iter_mut().try_for_each(Side::check_idle)?;
    frame.finish(&[
        &format!(
            "depth {DEPTH} (a directory is read page by page); {IDLE_COUNT} idle connections to each server"
        ),
        "on a tmpfs, or on an ext4 in memory behind a loop device",
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
    /// Id of the server's process, whose CPU time is measured.
    pid: u32,
    nfs: SocketAddr,
    /// The measured connection.
    busy: Load<Connection>,
    /// The connection for LOOKUPs and checks, which are not measured.
    aside: Client,
    idle: Vec<Client>,
    objects: Objects,
    /// The paths of the tree and of the tmpfs in version 4.1.
    tops: [String; 2],
    /// Number of NFS 4.1 clients that were made.
    client_count: u32,
    /// A server of stowaway.
    _server: Option<Server>,
}

impl Side {
    /// Starts a server from a file of stowaway.
    fn start(
        name: &str,
        file: &Path,
        versions: &str,
        workspace: &Workspace,
        scale: &Scale,
    ) -> Result<Self> {
        let mut arguments = vec!["--handles", "kernel"];
        // A file of before may not know the flag.
        if versions != "3" {
            arguments.extend(["--nfs-versions", versions]);
        }
        let server = Server::start(ServerOptions {
            arguments: arguments.into_iter().map(str::to_owned).collect(),
            ..serving(file, workspace)
        })?;
        let (pid, nfs, mount) = (server.pid(), server.nfs(), server.mount());
        let mut side = Self::new(name, pid, nfs, mount, workspace, scale)?;
        side._server = Some(server);
        Ok(side)
    }

    /// Connects to a server and looks up all files.
    fn new(
        name: &str,
        pid: u32,
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
            let objects = Objects::find(&mut aside, &roots, scale, pid.into())?;
            anyhow::Ok((aside, objects))
        };
        let (aside, objects) = find().with_context(|| format!("cannot look up files on {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            pid,
            nfs,
            busy: Load::connect(nfs)?,
            aside,
            idle: Vec::new(),
            objects,
            tops: [Export::Tree, Export::Tmpfs]
                .map(|export| workspace.path(export).display().to_string()),
            client_count: 0,
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
        if workload.version() == Version::Four {
            self.client_count += 1;
            // A new session for each turn: servers forget one that is idle.
            let mut session = Session::begin(&mut self.aside, &self.tops, self.client_count)?;
            return Cost::measure(&[self.pid], || {
                workload.run_in(&mut self.busy, &mut session, scale)
            });
        }
        self.objects.pattern.turn();
        let cost = Cost::measure(&[self.pid], || {
            workload.run(&mut self.busy, &self.objects, scale)
        })?;
        workload.check(&mut self.aside, &self.objects, scale)?;
        Ok(cost)
    }
}
