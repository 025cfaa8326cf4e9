//! `cargo xtask bench`: stowaway and a peer side by side, in one run. SFTP, images and mDNS have files of their own; here is NFS,
//! beside nfs-ganesha, over the same tmpfs and ext4.
//!
//! Each server holds 1,000 idle connections while a busy one asks; the rounds go A B A B. A slow figure never fails the
//! command, a wrong answer does. What a server costs is its CPU time: on a busy machine it wavers least.

mod floor;
mod ganesha;
mod ground;
mod isos;
mod load;
mod mdns;
mod measure;
mod report;
mod sftp;
mod table;
mod workload;
mod writing;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use crate::build::Arch;
use crate::clients::nfs::{Call, Client};
use crate::machines::server::{self, Server, ServerOptions, status_field};
use crate::setup::{self, Package};
use floor::Floor;
use ganesha::Ganesha;
use ground::{Export, Ground, Scale};
use load::Load;
use measure::Cost;
use report::Report;
use workload::{Objects, Workload};

/// Connections that every server holds and nobody uses.
const IDLE_COUNT: usize = 1000;

/// `cargo xtask bench`
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    server: Which,
}

/// What can be measured.
#[derive(clap::Subcommand)]
enum Which {
    /// The NFSv3 server
    Nfs(NfsArgs),
    /// The SFTP server
    Sftp(sftp::Args),
    /// What is inside ISO images, beside plain files
    Isos(isos::Args),
    /// The mDNS responder
    Mdns(mdns::Args),
}

/// What all of them take.
#[derive(clap::Args)]
struct Common {
    /// How often every workload runs on every server [default: 5, of images 31; with --quick fewer]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Less of everything: shows that everything works, and the figures roughly
    #[arg(long)]
    quick: bool,
    /// Where the figures go [default: target/bench/, named as what is measured]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the chart goes [default: beside the figures]
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

impl Common {
    /// How often: what was asked for, else the first, if it is to be quick, or the second.
    fn round_count(&self, [quick, usual]: [u32; 2]) -> u32 {
        self.rounds
            .unwrap_or(if self.quick { quick } else { usual })
    }
}

/// `cargo xtask bench nfs`
#[derive(clap::Args)]
struct NfsArgs {
    #[command(flatten)]
    common: Common,
    /// Only this workload; may be repeated
    #[arg(long, value_name = "WORKLOAD")]
    only: Vec<Workload>,
    /// Without nfs-ganesha, e.g. to attach a profiler to the process that is named
    #[arg(long)]
    no_peer: bool,
}

/// Measures, prints a table, writes JSON and SVG.
pub fn main(args: Args) -> Result<()> {
    match args.server {
        Which::Nfs(args) => nfs(&args),
        Which::Sftp(args) => sftp::main(&args),
        Which::Isos(args) => isos::main(&args),
        Which::Mdns(args) => mdns::main(&args),
    }
}

fn nfs(args: &NfsArgs) -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "cargo xtask bench needs root, for a network and a tmpfs of its own. Type: sudo -E cargo xtask bench nfs"
    );
    let workloads = if args.only.is_empty() {
        Workload::value_variants().to_vec()
    } else {
        args.only.clone()
    };
    // What may need the network comes before we leave it.
    setup::need(&[Package::IPROUTE2, Package::E2FSPROGS])?;
    if !args.no_peer {
        setup::need(&[Package::RPCBIND, Package::GANESHA, Package::GANESHA_VFS])?;
    }
    server::binary(Arch::X86_64)?;

    let progress = setup::progress("measuring NFS");
    let scale = if args.common.quick {
        Scale::QUICK
    } else {
        Scale::FULL
    };
    let ground = Ground::new(scale)?;
    let mut table = Table::set(&ground, &scale, &workloads, !args.no_peer)?;
    for side in table.all() {
        progress.println(&format!("{} is process {}", side.name, side.pid));
        side.fill_idle()?;
    }

    let round_count = args.common.round_count([2, 5]);
    let mut results: Vec<_> = workloads
        .iter()
        .map(|&workload| (workload, [Vec::new(), Vec::new()]))
        .collect();
    let mut floors: Vec<_> = Floor::ALL
        .into_iter()
        .filter(|floor| {
            let place = Some(floor.place);
            workloads
                .iter()
                .any(|workload| workload.facts().place == place)
        })
        .map(|floor| (floor, Vec::new()))
        .collect();
    // Round 0 fills caches and is not counted.
    for round in 0..=round_count {
        for (workload, costs) in &mut results {
            for (side, costs) in table.for_workload(*workload).zip(costs) {
                progress.say(format!(
                    "round {round} of {round_count}: {} on {}",
                    workload.facts().subject.title,
                    side.name
                ));
                let cost = side.turn(*workload, &scale)?;
                if let Some(place) = workload.facts().place {
                    ground.settle(place)?;
                }
                if round > 0 {
                    costs.push(cost);
                }
            }
        }
        for (floor, costs) in &mut floors {
            progress.say(format!("round {round} of {round_count}: {}", floor.title));
            let cost = floor.turn(&ground, &scale)?;
            ground.settle(floor.place)?;
            if round > 0 {
                costs.push(cost);
            }
        }
    }
    for side in table.all() {
        side.check_idle()?;
    }
    let memory = table
        .all()
        .map(|side| Ok((side.name, status_field(side.pid, "VmRSS")?)))
        .collect::<Result<_>>()?;
    progress.done();

    let report = Report::new(&results, &floors, round_count, memory)?;
    report.print();
    report.write_json(&table::place(&args.common.json, "nfs.json"))?;
    report.write_svg(&table::place(&args.common.svg, "nfs.svg"))
}

/// The servers, all running at once; the idle ones cost nothing.
struct Table {
    kernel: Option<Side>,
    path: Option<Side>,
    peer: Option<Side>,
    // They end when this is dropped.
    _ours: Vec<Server>,
    _peer: Option<Ganesha>,
}

impl Table {
    fn set(
        ground: &Ground,
        scale: &Scale,
        workloads: &[Workload],
        with_peer: bool,
    ) -> Result<Self> {
        let mut ours = Vec::new();
        let mut start = |name, kind: &str, wanted: bool| {
            if !wanted {
                return Ok(None);
            }
            let arguments = vec!["--handles".into(), kind.into()];
            let server = Server::start(ServerOptions {
                exports: Export::ALL.map(|export| exported(ground, export)).into(),
                arguments,
                ..ServerOptions::default()
            })?;
            let roots = roots(server.mount(), ground).with_context(|| format!("from {name}"))?;
            let side = Side::new(name, server.pid(), server.nfs(), &roots, scale)?;
            ours.push(server);
            anyhow::Ok(Some(side))
        };
        let kernel = start(
            "stowaway",
            "kernel",
            workloads.iter().any(|w| !w.facts().path_handles),
        )?;
        let path = start(
            "stowaway, path handles",
            "path",
            workloads.iter().any(|w| w.facts().path_handles),
        )?;
        let ganesha = if with_peer {
            Some(Ganesha::start(ground)?)
        } else {
            None
        };
        let peer = match &ganesha {
            Some(it) => {
                let roots = roots(Ganesha::MOUNT, ground).context("from nfs-ganesha")?;
                let side = Side::new("nfs-ganesha", it.pid(), Ganesha::NFS, &roots, scale)?;
                Some(side)
            }
            None => None,
        };
        Ok(Self {
            kernel,
            path,
            peer,
            _ours: ours,
            _peer: ganesha,
        })
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Side> {
        self.kernel
            .iter_mut()
            .chain(&mut self.path)
            .chain(&mut self.peer)
    }

    /// Ours, then the peer if there is one.
    fn for_workload(&mut self, workload: Workload) -> impl Iterator<Item = &mut Side> {
        let ours = if workload.facts().path_handles {
            &mut self.path
        } else {
            &mut self.kernel
        };
        ours.iter_mut().chain(&mut self.peer)
    }
}

/// What our server is told about an export. Root stays root on both servers.
fn exported(ground: &Ground, export: Export) -> String {
    let access = if export.is_writable() { "rw" } else { "ro" };
    format!("{}:{access},no_root_squash", ground.path(export).display())
}

/// The handles of all exports' roots, in the order of [`Export::ALL`].
fn roots(mount: SocketAddr, ground: &Ground) -> Result<Vec<Vec<u8>>> {
    let mut client = Client::connect(mount)?;
    Export::ALL
        .iter()
        .map(|&export| client.mount(&ground.path(export).display().to_string()))
        .collect()
}

/// One server as the load generator sees it.
struct Side {
    name: &'static str,
    pid: u32,
    nfs: SocketAddr,
    busy: Load,
    /// Asks what is not measured.
    aside: Client,
    idle: Vec<Client>,
    objects: Objects,
}

impl Side {
    fn new(
        name: &'static str,
        pid: u32,
        nfs: SocketAddr,
        roots: &[Vec<u8>],
        scale: &Scale,
    ) -> Result<Self> {
        let mut aside = Client::connect(nfs)?;
        // What one server wrote must not be taken for what another was to write.
        let objects = Objects::find(&mut aside, roots, scale, pid.into())
            .with_context(|| format!("from {name}"))?;
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

    fn turn(&mut self, workload: Workload, scale: &Scale) -> Result<Cost> {
        self.objects.pattern.turn();
        let mut turn = || {
            let cost = Cost::of(self.pid, || {
                workload.run(&mut self.busy, &self.objects, scale)
            })?;
            workload.check(&mut self.aside, &self.objects, scale)?;
            anyhow::Ok(cost)
        };
        turn().with_context(|| format!("{} on {}", workload.facts().subject.title, self.name))
    }
}
