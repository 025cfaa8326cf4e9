//! `cargo xtask bench`: measures stowaway and a peer in the same run and compares them. Each bench has a module with its workloads;
//! `frame`, `load`, `measure`, `table` and `report` are shared.
//!
//! A *side* is a program to compare. A *turn* runs one workload once on one side, and in a *round* each workload has a turn on each
//! side. A *floor* is a lower bound, measured without the compared programs.

mod boot;
mod frame;
mod http;
mod isos;
mod links;
mod load;
mod mdns;
mod measure;
mod nfs;
mod record;
mod report;
mod sftp;
mod stack;
mod table;
mod wait;
mod workspace;

use std::path::{Path, PathBuf};
use std::process::Child;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use crate::build::Arch;
use crate::machines::server::binary;

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
    /// The NFSv3 server
    Nfs(nfs::Args),
    /// The SFTP server
    Sftp(sftp::Args),
    /// The HTTP server
    Http(http::Args),
    /// The mDNS responder
    Mdns(mdns::Args),
    /// stowaway's own network stack, compared with the host's
    Stack(stack::Args),
    /// stowaway's own network stack, compared with the host's over links with short queues, losses and delay
    Links(links::Args),
    /// stowaway as a machine without an operating system
    Boot(boot::Args),
    /// Files and directories in UDF images, compared with ISO 9660
    Isos(isos::Args),
    /// Waits of a client while other clients keep the disk busy
    Wait(wait::Args),
    /// The minimal server that `bench nfs` starts
    #[command(hide = true)]
    Floor(nfs::minimal::Args),
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
    /// Also measure another file of stowaway, such as the build before a change; nfs, sftp, http and wait measure it in addition to
    /// their peer
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Write the figures to this file [default: target/bench/BENCH.json]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Name of the `--against` file in tables.
const BEFORE: &str = "before";

impl Common {
    /// Absolute path of the `--against` file.
    fn against(&self) -> Result<Option<PathBuf>> {
        self.against.as_deref().map(existing).transpose()
    }
}

fn existing(path: &Path) -> Result<PathBuf> {
    path.canonicalize()
        .with_context(|| format!("cannot find {}", path.display()))
}

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

    /// Path of the file to measure: `--ours` if given, else the file that `build` makes.
    fn ours(&self, build: impl FnOnce() -> Result<PathBuf>) -> Result<PathBuf> {
        match &self.ours {
            Some(path) => existing(path),
            None => build(),
        }
    }
}

/// Builds the file with all roles and returns its path.
fn built() -> Result<PathBuf> {
    binary(Arch::X86_64)
}

/// A child process that is killed on drop.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Both fail only if the process has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
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
        Bench::Sftp(args) => sftp::main(&args),
        Bench::Http(args) => http::main(&args),
        Bench::Mdns(args) => mdns::main(&args),
        Bench::Stack(args) => stack::main(&args),
        Bench::Links(args) => links::main(&args),
        Bench::Boot(args) => boot::main(&args),
        Bench::Isos(args) => isos::main(&args),
        Bench::Wait(args) => wait::main(&args),
        Bench::Floor(args) => nfs::minimal::main(&args),
    }
}
