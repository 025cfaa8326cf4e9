//! `cargo xtask bench`: measures stowaway and a peer in the same run and compares them. Each bench has a module with its workloads;
//! `frame`, `load`, `measure`, `table` and `workspace` are shared.
//!
//! A *side* is a program to compare. A *turn* runs one workload once on one side, and in a *round* each workload has a turn on each
//! side.

mod boot;
mod frame;
mod http;
mod load;
mod mdns;
mod measure;
mod nfs;
mod pxe;
mod record;
mod sftp;
mod table;
mod wait;
mod workspace;

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use crate::build::Arch;
use crate::machines::server::binary;
use crate::setup;

/// `cargo xtask bench`
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    bench: Option<Bench>,
    /// Measure what README's picture shows: write image/doc/figures.json, and draw image/compare.svg
    #[arg(long)]
    record: bool,
    /// Use smaller files and fewer requests; the figures are rough
    #[arg(long, requires = "record")]
    quick: bool,
}

/// Subcommand: the bench to run.
#[derive(clap::Subcommand)]
enum Bench {
    /// The NFS server
    Nfs(nfs::Args),
    /// The NFS 4.1 server beside Linux's own, each in an emulated machine
    Knfsd(nfs::knfsd::Args),
    /// The SFTP server
    Sftp(sftp::Args),
    /// The HTTP server
    Http(http::Args),
    /// The mDNS responder
    Mdns(mdns::Args),
    /// Network boot: loaders, kernels and RAM disks by TFTP and HTTP
    Pxe(pxe::Args),
    /// Boots of stowaway as a machine without an operating system, until the first reply
    Boot(boot::Args),
    /// Waits of a client while other clients keep the disk busy
    Wait(wait::Args),
}

/// Arguments of all benches.
#[derive(clap::Args)]
struct Common {
    /// Rounds: how often each workload runs on each server [default: 5; fewer with --quick; at least 7 with --against]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Use smaller files and fewer requests: checks that the bench works; the figures are rough
    #[arg(long)]
    quick: bool,
    /// Also measure another file of stowaway, such as the build before a change
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Write the figures to this file [default: target/bench/BENCH.json]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Name of the `--against` file in tables.
const BEFORE: &str = "before";

/// Arguments of benches that compare stowaway with another program.
#[derive(clap::Args)]
struct Choice<W: ValueEnum + Send + Sync + 'static> {
    /// Run only this workload; may be repeated
    #[arg(long, value_name = "WORKLOAD")]
    only: Vec<W>,
    /// Leave out the peer, e.g. to attach a profiler to the process whose id is printed
    #[arg(long)]
    no_peer: bool,
    /// Measure this file of stowaway [default: a new build]
    #[arg(long, value_name = "FILE")]
    ours: Option<PathBuf>,
}

impl<W: ValueEnum + Send + Sync + 'static> Choice<W> {
    /// The workloads of `--only`, else all.
    fn workloads(&self) -> Vec<W> {
        if self.only.is_empty() {
            W::value_variants().to_vec()
        } else {
            self.only.clone()
        }
    }

    /// Names of all sides: stowaway, the `--against` file, the peer.
    fn sides(&self, peer: &'static str, common: &Common) -> Vec<&'static str> {
        let before = common.against.is_some().then_some(BEFORE);
        let peer = (!self.no_peer).then_some(peer);
        ["stowaway"].into_iter().chain(before).chain(peer).collect()
    }

    /// Names and paths of the files of stowaway to measure: `--ours` if given, else a new build, and the `--against` file.
    fn files(&self, common: &Common) -> Result<Vec<(&'static str, PathBuf)>> {
        let existing = |path: &PathBuf| {
            path.canonicalize()
                .with_context(|| format!("cannot find {}", path.display()))
        };
        let ours = match &self.ours {
            Some(path) => existing(path)?,
            None => binary(Arch::X86_64)?,
        };
        let before = common.against.as_ref().map(existing).transpose()?;
        let before = before.map(|path| (BEFORE, path));
        Ok([("stowaway", ours)].into_iter().chain(before).collect())
    }

    /// Returns true if the peer is measured, too, and then installs its packages.
    fn install_peer(&self, packages: &[&str]) -> Result<bool> {
        if !self.no_peer {
            setup::install_packages(packages)?;
        }
        Ok(!self.no_peer)
    }
}

/// Runs a bench: measures, prints tables, writes JSON.
pub fn main(args: Args) -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "cargo xtask bench needs root to create network and mount namespaces; run: sudo -E cargo xtask bench"
    );
    let Some(bench) = args.bench else {
        return record::main(args.quick);
    };
    match bench {
        Bench::Nfs(args) => nfs::main(&args),
        Bench::Knfsd(args) => nfs::knfsd::main(&args),
        Bench::Sftp(args) => sftp::main(&args),
        Bench::Http(args) => http::main(&args),
        Bench::Mdns(args) => mdns::main(&args),
        Bench::Pxe(args) => pxe::main(&args),
        Bench::Boot(args) => boot::main(&args),
        Bench::Wait(args) => wait::main(&args),
    }
}
