//! `cargo xtask bench nfs`: stowaway beside nfs-ganesha, over the same tmpfs and ext4. Each server holds 1,000 idle
//! connections while a busy one asks.

pub mod connection;
mod floor;
pub mod ganesha;
pub mod workload;
pub mod writing;

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::frame::Frame;
use super::ground::{Export, Ground, Place, Scale};
use super::load::Load;
use super::measure::Cost;
use super::table::Subject;
use super::{BEFORE, Choice, Common, built, frame};
use crate::clients::nfs::{Call, Client};
use crate::machines::server::{Server, ServerOptions};
use crate::setup::{self, Package};
use connection::{Connection, DEPTH};
use floor::Floor;
use ganesha::Ganesha;
use workload::{Objects, Workload};

/// Connections that every server holds and nobody uses.
const IDLE_COUNT: usize = 1000;

/// `cargo xtask bench nfs`
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    choice: Choice<Workload>,
}

/// What is asked, or what the kernel alone does.
enum Line {
    Asked(Workload),
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

/// Measures.
pub fn main(args: &Args) -> Result<()> {
    // What may need the network comes before we leave it.
    setup::need(&[Package::IPROUTE2, Package::E2FSPROGS])?;
    let before = args.common.against()?;
    let with_peer = before.is_none() && !args.choice.no_peer;
    if with_peer {
        setup::need(&[Package::RPCBIND, Package::GANESHA, Package::GANESHA_VFS])?;
    }
    let ours = args.choice.ours(built)?;

    let mut frame = Frame::new("nfs", ["stowaway", "nfs-ganesha"], &args.common, [2, 5])?;
    let scale = Scale::of(&args.common);
    let ground = Ground::new(scale)?;
    let workloads = args.choice.workloads();
    let start = |name, file: &Path, kind: &str| {
        let server = Server::start(ServerOptions {
            file: Some(file.to_path_buf()),
            exports: Export::ALL.map(|export| exported(&ground, export)).into(),
            arguments: vec!["--handles".into(), kind.into()],
            ..ServerOptions::default()
        })?;
        let side = Side::new(
            name,
            server.pid(),
            server.nfs(),
            server.mount(),
            &ground,
            &scale,
        )?;
        anyhow::Ok((server, side))
    };
    // All run at once; the idle ones cost nothing.
    let wanted = |path| workloads.iter().any(|it| it.has_path_handles() == path);
    let start = |name, file: &Path, kind, path| {
        let server = wanted(path).then(|| start(name, file, kind));
        server.transpose()
    };
    let mut kernel = start("stowaway", &ours, "kernel", false)?;
    let mut path = start("stowaway, path handles", &ours, "path", true)?;
    let (mut kernel_before, mut path_before) = match &before {
        Some(file) => (
            start(BEFORE, file, "kernel", false)?,
            start("before, path handles", file, "path", true)?,
        ),
        None => (None, None),
    };
    let ganesha = with_peer.then(|| Ganesha::start(&ground)).transpose()?;
    let mut peer = match &ganesha {
        Some(it) => {
            let (nfs, mount) = (it.nfs(), it.mount());
            Some(Side::new(
                "nfs-ganesha",
                it.pid(),
                nfs,
                mount,
                &ground,
                &scale,
            )?)
        }
        None => None,
    };
    let servers = [&mut kernel, &mut path, &mut kernel_before, &mut path_before];
    let sides = servers.into_iter().flatten().map(|(_, side)| side);
    for side in sides.chain(&mut peer) {
        frame.attach(side.name, side.pid)?;
        side.fill_idle()?;
    }

    let mut lines: Vec<_> = workloads.iter().map(|it| Line::Asked(*it)).collect();
    let is_written = |place| workloads.iter().any(|it| it.place() == Some(place));
    let floors = Floor::ALL.into_iter().filter(|it| is_written(it.place));
    lines.extend(floors.map(Line::Floor));
    let settle = |place: Option<Place>| place.map_or(Ok(()), |place| ground.settle(place));
    frame.rounds(lines, |line, side| {
        let (cost, place) = match (line, side) {
            (Line::Floor(floor), 0) => (floor.turn(&ground, &scale)?, Some(floor.place)),
            (Line::Floor(_), _) => return Ok(None),
            (Line::Asked(workload), _) => {
                let (ours, before) = if workload.has_path_handles() {
                    (&mut path, &mut path_before)
                } else {
                    (&mut kernel, &mut kernel_before)
                };
                let servers = if side == 0 { ours } else { before };
                let server = servers.as_mut().map(|(_, side)| side);
                let side = server.or(if side == 0 { None } else { peer.as_mut() });
                let Some(side) = side else { return Ok(None) };
                (side.turn(*workload, &scale)?, workload.place())
            }
        };
        settle(place)?;
        Ok(Some(cost))
    })?;
    frame.detach()?;
    let servers = [&mut kernel, &mut path, &mut kernel_before, &mut path_before];
    let sides = servers.into_iter().flatten().map(|(_, side)| side);
    for side in sides.chain(&mut peer) {
        side.check_idle()?;
    }
    frame.finish(&[
        &format!(
            "depth {DEPTH} (a directory is walked page by page); {IDLE_COUNT} idle connections to each server"
        ),
        "on a tmpfs, or on an ext4 in memory behind a loop device; dirsync: there the kernel makes names durable",
    ])
}

/// What our server is told about an export. Root stays root on both servers.
pub(super) fn exported(ground: &Ground, export: Export) -> String {
    let access = if export.is_writable() { "rw" } else { "ro" };
    format!("{}:{access},no_root_squash", ground.path(export).display())
}

/// One server as the load generator sees it.
pub(super) struct Side {
    pub name: &'static str,
    pub pid: u32,
    nfs: SocketAddr,
    busy: Load<Connection>,
    /// Asks what is not measured.
    aside: Client,
    idle: Vec<Client>,
    objects: Objects,
}

impl Side {
    pub fn new(
        name: &'static str,
        pid: u32,
        nfs: SocketAddr,
        mount: SocketAddr,
        ground: &Ground,
        scale: &Scale,
    ) -> Result<Self> {
        let find = || {
            let mut mount = Client::connect(mount)?;
            let mut aside = Client::connect(nfs)?;
            let roots = Export::ALL
                .map(|export| mount.mount(&ground.path(export).display().to_string()))
                .into_iter()
                .collect::<Result<Vec<_>>>()?;
            // What one server wrote must not be taken for what another was to write.
            let objects = Objects::find(&mut aside, &roots, scale, pid.into())?;
            anyhow::Ok((aside, objects))
        };
        let (aside, objects) = find().with_context(|| format!("from {name}"))?;
        Ok(Self {
            name,
            pid,
            nfs,
            busy: Load::connect(nfs)?,
            aside,
            idle: Vec::new(),
            objects,
        })
    }

    fn fill_idle(&mut self) -> Result<()> {
        for _ in 0..IDLE_COUNT {
            self.idle.push(Client::connect(self.nfs)?);
        }
        // One answer each: the server has accepted them, not only its kernel.
        self.check_idle()
    }

    fn check_idle(&mut self) -> Result<()> {
        for client in &mut self.idle {
            client
                .call(&Call::null())
                .with_context(|| format!("an idle connection to {} is dead", self.name))?;
        }
        Ok(())
    }

    /// Asks, for something that only reads.
    pub fn ask(&mut self, workload: Workload, scale: &Scale) -> Result<u64> {
        workload.run(&mut self.busy, &self.objects, scale)
    }

    pub fn turn(&mut self, workload: Workload, scale: &Scale) -> Result<Cost> {
        self.objects.pattern.turn();
        let cost = Cost::of(&[self.pid], || {
            workload.run(&mut self.busy, &self.objects, scale)
        })?;
        workload.check(&mut self.aside, &self.objects, scale)?;
        Ok(cost)
    }
}
