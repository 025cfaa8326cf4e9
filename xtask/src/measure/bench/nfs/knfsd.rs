//! `cargo xtask bench knfsd`: stowaway compared with Linux's own server by NFS 4.1. That server is a part of the kernel, so each is
//! alone in an emulated machine, and the CPU time of the whole machine is measured, which includes its network.

use anyhow::{Context as _, Result, ensure};

use super::connection::{Connection, DEPTH};
use super::version4::Session;
use super::workload::{Version, Workload};
use crate::clients::nfs::Client;
use crate::machines::qemu::{self, Guest};
use crate::measure::bench::Common;
use crate::measure::bench::frame::Frame;
use crate::measure::bench::load::Load;
use crate::measure::bench::measure::Cost;
use crate::measure::bench::workspace::{self, BIG, CROWD, Export, NAMES, STANDING, Scale, Storage};

const MACHINE: &str = "knfsd";
/// The words that start the servers, and the paths of their exports.
const SERVERS: [(&str, &str); 2] = [("stowaway", "/export"), ("knfsd", "")];
/// A turn has as many times fewer requests than on the host, since an emulated machine is slower.
const SLOWNESS: u64 = 8;

/// `cargo xtask bench knfsd`
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Run only this workload; may be repeated
    #[arg(
        long,
        value_name = "WORKLOAD",
        default_values = ["getattr4", "open4", "change4", "lock4"]
    )]
    only: Vec<Workload>,
}

/// A machine with a server.
struct Side {
    guest: Guest,
    busy: Load<Connection>,
    /// The connection that makes clients.
    aside: Client,
    /// The paths of the tree and of the tmpfs.
    tops: [String; 2],
    client_count: u32,
}

/// Boots both machines, and compares their servers.
pub fn main(args: &Args) -> Result<()> {
    ensure!(
        args.only.iter().all(|it| it.version() == Version::Four) && args.common.against.is_none(),
        "bench knfsd compares a new build by NFS 4.1: remove --against and workloads of version 3"
    );
    qemu::prepare(MACHINE)?;
    let names = SERVERS.map(|(name, _)| name).to_vec();
    let mut frame = Frame::compare("knfsd", names, &args.common, [2, 5])?;
    let mut scale = Scale::of(&args.common);
    scale.request_count /= SLOWNESS;
    let mut sides = SERVERS
        .into_iter()
        .map(|(name, top)| Side::start(name, top).with_context(|| format!("cannot start {name}")))
        .collect::<Result<Vec<_>>>()?;
    for ((name, _), side) in SERVERS.iter().zip(&sides) {
        frame.attach(*name, side.guest.pid())?;
    }
    frame.rounds(args.only.clone(), |workload, side| {
        sides[side].turn(*workload, &scale).map(Some)
    })?;
    frame.detach()?;
    frame.finish(&[
        &format!("depth {DEPTH}; NFS 4.1 on a tmpfs"),
        "each server in an emulated machine with one CPU; CPU time and memory are the machine's",
    ])
}

impl Side {
    fn start(server: &str, export: &str) -> Result<Self> {
        let mut guest = Guest::boot(MACHINE)?;
        let [tree, tmpfs] = [Export::Tree, Export::Tmpfs].map(Export::name);
        let files: Vec<_> = (0..DEPTH as u64).map(workspace::name).collect();
        guest.run_ok(&format!(
            "cd /export; mkdir -p {tree}/{NAMES} {tree}/{CROWD} {tmpfs}/{plain}; touch {tree}/{BIG} {tmpfs}/{STANDING}
            serve {server} >/run/log 2>&1; cd {tree}/{NAMES} && touch {files}",
            plain = Storage::Tmpfs.name(),
            files = files.join(" "),
        ))?;
        let nfs = guest.port(2049)?;
        Ok(Self {
            guest,
            busy: Load::connect(nfs)?,
            aside: Client::connect(nfs)?,
            tops: [tree, tmpfs].map(|name| format!("{export}/{name}")),
            client_count: 0,
        })
    }

    /// Runs and measures one turn.
    fn turn(&mut self, workload: Workload, scale: &Scale) -> Result<Cost> {
        self.client_count += 1;
        let mut session = Session::begin(&mut self.aside, &self.tops, self.client_count)?;
        Cost::measure(&[self.guest.pid()], || {
            workload.run_in(&mut self.busy, &mut session, scale)
        })
    }
}
