//! `cargo xtask bench http`: stowaway compared with nginx and with the `--against` file, on the same tmpfs. Each server holds 2,000
//! idle connections while others are busy.

mod beside;
pub(super) mod nginx;

use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;

use super::frame::{self, Frame};
use super::measure::Cost;
use super::table::{P99, Reference, Subject, Unit};
use super::workspace::{self, BIG, CROWD, Export, Scale, Workspace};
use super::{Choice, Common};
use crate::clients::http::{Client, Reply, request};
use crate::machines::http::HttpServer;
use crate::setup;
use beside::Listing;

/// Name of the peer in tables.
const PEER: &str = "nginx";
/// Number of idle connections to each server: 1,000 with the busy ones.
const IDLE_COUNT: usize = 1000 - CROWD_COUNT;
/// The directory of small files.
const SMALL: &str = "small";
/// Number of small files, and the size of each in bytes.
const SMALL_COUNT: u64 = 10_000;
const SMALL_BYTES: usize = 4096;
/// Number of busy connections of [`Workload::Crowd`].
const CROWD_COUNT: usize = 64;
/// Number of listings in a turn of [`Workload::Names`].
const LISTING_COUNT: u64 = 10;
/// Length of a range in bytes: a sector of a CD, as BMCs read.
const RANGE_BYTES: u64 = 2048;

/// `cargo xtask bench http`
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
    /// GET of a large file
    Big,
    /// GET of 10,000 files of 4 KiB, one after the other
    Small,
    /// GET of the same files by 64 clients at once
    Crowd,
    /// GET of 10,000 ranges of 2 KiB of a large file, one after the other
    Ranges,
    /// Listings of the directory of 10,000 files
    Names,
    /// Waits of GETs while another client lists a directory of 100,000 names
    BesideListing,
    /// Waits of GETs while 900 connections send a byte of a head each second
    BesideDrips,
    /// Waits of NFS calls while another client lists a directory of 100,000 names; one process serves both
    NfsBesideListing,
}

impl frame::Workload for Workload {
    fn subject(&self) -> Subject {
        let asked = |title: &str| Subject::new(title, Unit::Request);
        let waits = |title: &str| Subject::new(title, Unit::Wait).gate(P99, 1.0, Reference::Peer);
        match self {
            Self::Big => Subject::new("GET, large file", Unit::Byte).cpu(1.1),
            Self::Small => asked("GET 4 KiB").cpu(1.2),
            Self::Crowd => asked("GET 4 KiB, 64 clients").cpu(1.2),
            Self::Ranges => asked("GET, range of 2 KiB"),
            Self::Names => asked("listing of 10,000 names: a name").cpu(1.3),
            Self::BesideListing => waits("GET beside a listing of 100,000"),
            Self::BesideDrips => waits("GET beside 900 dripping heads"),
            Self::NfsBesideListing => Subject::new(
                "GETATTR beside a listing of 100,000",
                Unit::Wait,
            )
            .gate(P99, 3.0, Reference::Unit),
        }
    }
}

impl Workload {
    /// Runs one turn and returns the number of bytes or requests.
    fn run(self, clients: &mut [Client], scale: &Scale) -> Result<u64> {
        let first = clients.first_mut().context("no connection")?;
        match self {
            Self::Big => {
                first.send(request("GET", &format!("/{BIG}"), "").as_bytes())?;
                let head = first.receive_by(|start, part| workspace::check_stamps(part, start))?;
                ensure!(head.status == 200, "{head:?}");
                return Ok(scale.big_bytes);
            }
            Self::Small => {
                (0..SMALL_COUNT).try_for_each(|index| get_small(first, index))?;
            }
            Self::Crowd => {
                for start in (0..SMALL_COUNT).step_by(CROWD_COUNT) {
                    for (client, index) in clients.iter_mut().zip(start..SMALL_COUNT) {
                        ask_small(client, index)?;
                    }
                    for (client, index) in clients.iter_mut().zip(start..SMALL_COUNT) {
                        receive_small(client, index)?;
                    }
                }
            }
            Self::Ranges => {
                // The stride is odd, so that the ranges are spread over the whole file.
                let blocks = scale.big_bytes / RANGE_BYTES;
                for start in (0..SMALL_COUNT).map(|index| index * 7919 % blocks * RANGE_BYTES) {
                    get_range(first, start)?;
                }
            }
            _ => bail!("not a sequence of requests"),
        }
        Ok(SMALL_COUNT)
    }
}

/// Starts all servers, and compares them.
pub fn main(args: &Args) -> Result<()> {
    setup::install_packages(&["iproute2", "e2fsprogs"])?;
    let has_peer = args.choice.install_peer(&["nginx-light"])?;
    let files = args.choice.files(&args.common)?;
    let names = args.choice.sides(PEER, &args.common);
    let mut frame = Frame::compare("http", names, &args.common, [2, 5])?;
    // Large listings have 100,000 names, even with `--quick`.
    let scale = Scale {
        crowd_count: Scale::FULL.crowd_count,
        ..Scale::of(&args.common)
    };
    let workspace = Workspace::new(scale)?;
    let tree = workspace.path(Export::Tree);
    make_small_files(&tree)?;
    let scratch = workspace.scratch_path("");
    let programs = files.into_iter().map(|(name, file)| (name, Some(file)));
    let peer = has_peer.then_some((PEER, None));
    let mut connected = Vec::new();
    for (name, file) in programs.chain(peer) {
        let (tree, scratch) = (tree.clone(), scratch.clone());
        let program = Program {
            file,
            tree,
            scratch,
        };
        let server = program.start()?;
        frame.attach(name, server.pid())?;
        connected.push(Side::new(program, server)?);
    }
    frame.rounds(args.choice.workloads(), |workload, number| {
        connected[number].turn(*workload, &scale)
    })?;
    frame.detach()?;
    connected.iter_mut().try_for_each(Side::check_connections)?;
    frame.finish(&[
        &format!("{IDLE_COUNT} idle connections to each server; each request waits for the reply to the one before"),
        "on a tmpfs; neither server writes an access log; nginx: one process, sendfile",
    ])
}

/// Creates the small files, each with its own bytes.
fn make_small_files(tree: &Path) -> Result<()> {
    fs::create_dir(tree.join(SMALL))?;
    for index in 0..SMALL_COUNT {
        let mut file = File::create(tree.join(small(index).trim_start_matches('/')))?;
        file.write_all(&[index as u8; SMALL_BYTES])?;
    }
    Ok(())
}

/// Path of small file `index` in a URL.
fn small(index: u64) -> String {
    format!("/{SMALL}/file-{index:05}")
}

/// A program and its files.
struct Program {
    /// The file of stowaway. None: nginx
    file: Option<PathBuf>,
    tree: PathBuf,
    scratch: PathBuf,
}

impl Program {
    fn start(&self) -> Result<HttpServer> {
        match &self.file {
            Some(file) => HttpServer::start_file(file, "http", [&self.tree]),
            None => nginx::start(&self.tree, &self.scratch),
        }
    }
}

/// A running server, and the connections to it.
struct Side {
    program: Program,
    server: HttpServer,
    /// The first one is the only one of most workloads.
    busy: Vec<Client>,
    idle: Vec<Client>,
}

impl Side {
    fn new(program: Program, server: HttpServer) -> Result<Self> {
        // A reply shows that the server, not only the kernel, has accepted the connection.
        let connect = |_| {
            let mut client = Client::connect(server.address())?;
            get_small(&mut client, 0).map(|()| client)
        };
        Ok(Self {
            program,
            busy: (0..CROWD_COUNT).map(connect).collect::<Result<_>>()?,
            idle: (0..IDLE_COUNT).map(connect).collect::<Result<_>>()?,
            server,
        })
    }

    /// Fails unless a GET succeeds on every connection. Before each turn, because servers may close those that are silent for a
    /// minute.
    fn check_connections(&mut self) -> Result<()> {
        let mut clients = self.busy.iter_mut().chain(&mut self.idle);
        clients.try_for_each(|client| get_small(client, 0))
    }

    /// Runs and measures one turn. None: the program does not speak the protocol.
    fn turn(&mut self, workload: Workload, scale: &Scale) -> Result<Option<Cost>> {
        self.check_connections()?;
        let (address, pids) = (self.server.address(), [self.server.pid()]);
        let crowd = |server| Listing::new(server, CROWD, "entry-", scale.crowd_count);
        let cost = match workload {
            Workload::Names => {
                let listing = Listing::new(address, SMALL, "file-", SMALL_COUNT)?;
                Cost::measure(&pids, || {
                    (0..LISTING_COUNT).try_for_each(|_| listing.get())?;
                    Ok(LISTING_COUNT * SMALL_COUNT)
                })
            }
            Workload::BesideListing => {
                crowd(address)?.wait(scale.span(), beside::asking(&mut self.busy))
            }
            Workload::BesideDrips => {
                let server = self.program.start()?;
                beside::wait_for_drips(server.address(), scale.span())
            }
            Workload::NfsBesideListing => {
                let Program { file, tree, .. } = &self.program;
                let Some(file) = file else { return Ok(None) };
                beside::wait_for_nfs(file, tree, scale.span(), crowd)
            }
            _ => Cost::measure(&pids, || workload.run(&mut self.busy, scale)),
        };
        cost.map(Some)
    }
}

/// Sends `GET` for a small file.
fn ask_small(client: &mut Client, index: u64) -> Result<()> {
    client.send(request("GET", &small(index), "").as_bytes())
}

/// Receives a small file and checks its bytes.
fn receive_small(client: &mut Client, index: u64) -> Result<()> {
    let (mut len, mut is_right) = (0, true);
    let head = client.receive_by(|_, part| {
        len += part.len();
        is_right &= part.iter().all(|byte| *byte == index as u8);
        Ok(())
    })?;
    let is_whole = head.status == 200 && len == SMALL_BYTES;
    ensure!(
        is_whole && is_right,
        "file {index}: {head:?} and {len} bytes"
    );
    Ok(())
}

fn get_small(client: &mut Client, index: u64) -> Result<()> {
    ask_small(client, index)?;
    receive_small(client, index)
}

/// Gets a byte of the large file from a server.
pub(super) fn get(server: SocketAddr) -> Result<()> {
    let mut client = Client::connect(server)?;
    client.send(request("GET", &format!("/{BIG}"), "Range: bytes=0-0\r\n").as_bytes())?;
    client.receive().map(drop)
}

/// Gets one range of the large file.
fn get_range(client: &mut Client, start: u64) -> Result<()> {
    let range = format!("Range: bytes={start}-{}\r\n", start + RANGE_BYTES - 1);
    client.send(request("GET", &format!("/{BIG}"), &range).as_bytes())?;
    let Reply { head, body } = client.receive()?;
    let is_whole = head.status == 206 && body.len() as u64 == RANGE_BYTES;
    ensure!(is_whole, "{head:?} and {} bytes", body.len());
    workspace::check_stamps(&body, start)
}
