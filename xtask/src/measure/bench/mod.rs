//! `cargo xtask bench`: stowaway and a peer side by side, in one run. Each has a module with its workloads; how they are
//! measured and what comes of it is the same for all.

mod boot;
mod frame;
mod ground;
mod isos;
mod load;
mod loops;
mod mdns;
mod measure;
mod nfs;
mod report;
mod sftp;
mod stack;
mod table;
mod wait;

use std::path::{Path, PathBuf};
use std::process::Child;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use crate::build::Arch;
use crate::machines::server::binary;

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
    Nfs(nfs::Args),
    /// The SFTP server
    Sftp(sftp::Args),
    /// What is inside ISO images, beside plain files
    Isos(isos::Args),
    /// The mDNS responder
    Mdns(mdns::Args),
    /// Our own network stack, beside the host's
    Stack(stack::Args),
    /// Our file as a machine without an operating system
    Boot(boot::Args),
    /// Several loops that serve the same files, beside one
    Loops(loops::Args),
    /// How long a client waits while others keep the disk busy
    Wait(wait::Args),
    /// The minimal server that `bench nfs` starts
    #[command(hide = true)]
    Floor(nfs::minimal::Args),
}

/// What all of them take.
#[derive(clap::Args)]
struct Common {
    /// How often every workload runs on every server [default: 5, of images 31; with --quick fewer, with --against at least 7]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Less of everything: shows that everything works, and the figures roughly
    #[arg(long)]
    quick: bool,
    /// Another file of stowaway to compare with, such as the one before a change; nfs, sftp and wait measure it beside
    /// their peer
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Where the figures go [default: target/bench/, named as what is measured]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the chart goes [default: beside the figures]
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// For tables, what a file is called that ours is compared with.
const BEFORE: &str = "before";

impl Common {
    /// The other file of stowaway, if there is one.
    fn against(&self) -> Result<Option<PathBuf>> {
        self.against.as_deref().map(existing).transpose()
    }
}

fn existing(path: &Path) -> Result<PathBuf> {
    path.canonicalize()
        .with_context(|| format!("there is no {}", path.display()))
}

/// What those take that run beside another program.
#[derive(clap::Args)]
struct Choice<W: ValueEnum + Send + Sync + 'static> {
    /// Only this workload; may be repeated
    #[arg(long, value_name = "WORKLOAD")]
    only: Vec<W>,
    /// Without the peer, e.g. to attach a profiler to the process that is named
    #[arg(long)]
    no_peer: bool,
    /// Another file as ours [default: what cargo xtask build makes]
    #[arg(long, value_name = "FILE")]
    ours: Option<PathBuf>,
}

impl<W: ValueEnum + Send + Sync + 'static> Choice<W> {
    fn workloads(&self) -> Vec<W> {
        if self.only.is_empty() {
            W::value_variants().to_vec()
        } else {
            self.only.clone()
        }
    }

    /// Names of all sides: ours, the file of before, the peer.
    fn sides(&self, peer: &'static str, common: &Common) -> Vec<&'static str> {
        let before = common.against.is_some().then_some(BEFORE);
        let peer = (!self.no_peer).then_some(peer);
        ["stowaway"].into_iter().chain(before).chain(peer).collect()
    }

    /// Our file, which `build` makes if no other one is named.
    fn ours(&self, build: impl FnOnce() -> Result<PathBuf>) -> Result<PathBuf> {
        match &self.ours {
            Some(path) => existing(path),
            None => build(),
        }
    }
}

/// The file with all roles.
fn built() -> Result<PathBuf> {
    binary(Arch::X86_64)
}

/// A process that is killed when this is dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Measures, prints tables, writes JSON and SVG.
pub fn main(args: Args) -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "cargo xtask bench needs root, for a network and mounts of its own. Type: sudo -E cargo xtask bench"
    );
    match args.server {
        Which::Nfs(args) => nfs::main(&args),
        Which::Sftp(args) => sftp::main(&args),
        Which::Isos(args) => isos::main(&args),
        Which::Mdns(args) => mdns::main(&args),
        Which::Stack(args) => stack::main(&args),
        Which::Boot(args) => boot::main(&args),
        Which::Loops(args) => loops::main(&args),
        Which::Wait(args) => wait::main(&args),
        Which::Floor(args) => nfs::minimal::main(&args),
    }
}
