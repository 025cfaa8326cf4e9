//! `cargo xtask bench pxe`: 16 machines that boot at once, each of which fetches a kernel and a RAM disk, by TFTP or HTTP. Compares
//! `stowaway boot` with dnsmasq and nginx, and with the `--against` file, on the same tmpfs.

mod tftp;

use std::fs::File;
use std::io::{Read as _, copy};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use nix::sys::signal::Signal;

use super::frame::{self, Frame};
use super::http::nginx;
use super::measure::Cost;
use super::table::{Subject, Unit};
use super::workspace::{BIG, Export, Scale, Workspace, check_stamps};
use super::{Choice, Common};
use crate::clients::http::{Client, request};
use crate::machines::port::Port;
use crate::machines::server::Process;
use crate::machines::{at_once, wait_for};
use crate::setup;

/// Name of the peers in tables: TFTP by the one, HTTP by the other.
const PEER: &str = "dnsmasq, nginx";
/// Number of machines.
const MACHINE_COUNT: usize = 16;
/// Names of the files that each machine fetches, one after the other.
const FILES: [&str; 2] = [KERNEL, BIG];
const KERNEL: &str = "kernel";
/// Size of the kernel as a part of the RAM disk.
const KERNEL_PART: u64 = 8;
/// Size of the RAM disk (bytes), and with `--quick`.
const DISK_BYTES: [u64; 2] = [80 << 20, 8 << 20];
/// Longest time until a server answers.
const START_MAX: Duration = Duration::from_secs(20);

/// `cargo xtask bench pxe`
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    choice: Choice<Workload>,
}

/// A workload. Files are in the page cache, on a tmpfs.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Workload {
    /// TFTP, an ACK for each block, like most ROMs
    Tftp,
    /// TFTP with windows of 4 blocks, like EDK2, if the server has windows
    TftpWindows,
    /// HTTP, like iPXE
    Http,
}

impl frame::Workload for Workload {
    fn subject(&self) -> Subject {
        let title = match self {
            Self::Tftp => "TFTP",
            Self::TftpWindows => "TFTP, windowsize 4 is asked for",
            Self::Http => "HTTP",
        };
        Subject::new(title, Unit::Byte).cpu(1.1)
    }
}

impl Workload {
    /// Fetches the files for all machines at once, and checks them. Returns their length (bytes).
    fn run(self, server: &Server, disk_bytes: u64) -> Result<u64> {
        let sizes = [disk_bytes / KERNEL_PART, disk_bytes];
        match self {
            Self::Tftp => tftp::fetch(1, sizes)?,
            Self::TftpWindows => tftp::fetch(4, sizes)?,
            Self::Http => {
                at_once((0..MACHINE_COUNT).map(|_| || server.get(sizes)))?;
            }
        }
        Ok(MACHINE_COUNT as u64 * sizes.iter().sum::<u64>())
    }
}

/// Starts a server for each turn, because all use port 69, and compares them.
pub fn main(args: &Args) -> Result<()> {
    setup::install_packages(&["iproute2", "e2fsprogs"])?;
    args.choice.install_peer(&["dnsmasq-base", "nginx-light"])?;
    let files = args.choice.files(&args.common)?;
    let names = args.choice.sides(PEER, &args.common);
    let mut frame = Frame::compare("pxe", names, &args.common, [2, 5])?;
    let [usual, quick] = DISK_BYTES;
    let disk_bytes = if args.common.quick { quick } else { usual };
    let workspace = Workspace::new(Scale {
        big_bytes: disk_bytes,
        crowd_count: 0,
        ..Scale::QUICK
    })?;
    let tree = workspace.path(Export::Tree);
    let disk = File::open(tree.join(BIG))?;
    copy(
        &mut disk.take(disk_bytes / KERNEL_PART),
        &mut File::create(tree.join(KERNEL))?,
    )?;
    frame.rounds(args.choice.workloads(), |workload, side| {
        let server = match files.get(side) {
            Some((_, file)) => Server::own(file, &tree)?,
            None => Server::peer(&tree, &workspace.scratch_path(""))?,
        };
        let cost = Cost::measure(&server.pids, || workload.run(&server, disk_bytes))?;
        server.end()?;
        Ok(Some(cost))
    })?;
    let size = disk_bytes >> 20;
    frame.finish(&[
        &format!("{MACHINE_COUNT} machines at once, each with a kernel and a RAM disk of {size} MiB; blocks of {} bytes", tftp::BLOCK_BYTES),
        "on a tmpfs; the CPU time is that of all processes of a server; dnsmasq has no windowsize; nginx: one process, sendfile",
    ])
}

/// The programs that serve in one turn: stowaway, or dnsmasq beside nginx.
struct Server {
    programs: Vec<Process>,
    /// The processes that serve.
    pids: Vec<u32>,
    http: SocketAddr,
    /// The path of the files by HTTP.
    root: String,
    /// The port of HTTP, if it was chosen here.
    _port: Option<Port>,
}

impl Server {
    /// Starts a file of stowaway.
    fn own(file: &Path, tree: &Path) -> Result<Self> {
        let mut command = Command::new(file);
        command.arg("boot").arg(tree).arg("--no-mdns");
        let root = tree.display().to_string();
        Self::start(&mut [command], root, 80, None)
    }

    /// Starts the peers.
    fn peer(tree: &Path, scratch: &Path) -> Result<Self> {
        let port = Port::reserve()?;
        let nginx = nginx::command(&port, tree, scratch)?;
        let mut dnsmasq = Command::new("/usr/sbin/dnsmasq");
        dnsmasq
            .args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0"])
            .args(["--user=root", "--pid-file", "--log-facility=-"])
            .args(["--enable-tftp", "--quiet-tftp", "--tftp-root"])
            .arg(tree);
        let number = port.number();
        Self::start(&mut [dnsmasq, nginx], String::new(), number, Some(port))
    }

    /// Starts programs, and waits until they answer by HTTP and TFTP.
    fn start(
        commands: &mut [Command],
        root: String,
        port: u16,
        reserved: Option<Port>,
    ) -> Result<Self> {
        let start = |command: &mut Command| Process::start(command.stdout(Stdio::null()));
        let programs: Vec<_> = commands.iter_mut().map(start).collect::<Result<_>>()?;
        let http = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let ready = wait_for(START_MAX, || {
            let answers = TcpStream::connect(http).is_ok() && tftp::is_served()?;
            Ok(answers.then_some(()))
        })?;
        let lines = || programs.iter().flat_map(Process::lines).collect::<Vec<_>>();
        ensure!(
            ready.is_some(),
            "{commands:?} does not answer: {:#?}",
            lines()
        );
        let mut pids: Vec<_> = programs.iter().map(Process::pid).collect();
        for program in &programs {
            pids.extend(program.children()?);
        }
        Ok(Self {
            programs,
            pids,
            http,
            root,
            _port: reserved,
        })
    }

    /// Ends the programs, so that the next turn can use their ports.
    fn end(self) -> Result<()> {
        for mut program in self.programs {
            program.signal(Signal::SIGTERM)?;
            program.wait(START_MAX)?;
        }
        Ok(())
    }

    /// Gets the files by HTTP on one connection, as one machine does.
    fn get(&self, sizes: [u64; 2]) -> Result<()> {
        let mut client = Client::connect(self.http)?;
        for (name, size) in FILES.into_iter().zip(sizes) {
            client.send(request("GET", &format!("{}/{name}", self.root), "").as_bytes())?;
            let mut len = 0;
            let head = client.receive_by(|start, part| {
                len = start + part.len() as u64;
                check_stamps(part, start)
            })?;
            ensure!(
                head.status == 200 && len == size,
                "{name}: {head:?}, {len} bytes"
            );
        }
        Ok(())
    }
}
