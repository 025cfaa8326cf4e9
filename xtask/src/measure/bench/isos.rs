//! `cargo xtask bench isos`: reads the same files from a UDF image and from an ISO 9660 image, each with a server of its own.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use clap::ValueEnum;

use super::frame::{self, Frame};
use super::load::Load;
use super::measure::Cost;
use super::nfs::connection::Connection;
use super::nfs::workload::{read_through, walk};
use super::table::{Aim, Reference, Subject, Unit};
use super::workspace::{BIG, CROWD, Export, Scale, Workspace};
use super::{Choice, Common, built};
use crate::clients::nfs::Client;
use crate::machines::server::{Server, ServerOptions};
use crate::setup::{self, run_captured};

/// Aim: largest ratio of the CPU time of UDF to that of ISO 9660.
const CPU_RATIO: f64 = 1.15;
/// Length of a READ in bytes.
const READ: u32 = 1 << 20;
/// Number of times that a turn lists the large directory: one listing takes a few milliseconds.
const LISTING_COUNT: u64 = 20;

/// `cargo xtask bench isos`
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    choice: Choice<Workload>,
}

/// A workload.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Workload {
    /// Sequential READs of 1 MiB of a large file
    Read,
    /// READDIRPLUS of a directory of 10,000 entries
    Readdirplus,
}

impl frame::Workload for Workload {
    fn subject(&self) -> Subject {
        let subject = match self {
            Self::Read => Subject::new("READ 1 MiB", Unit::Byte),
            Self::Readdirplus => Subject::new("READDIRPLUS", Unit::Entry),
        };
        subject.cpu(Aim::at_most(CPU_RATIO).relative_to(Reference::Peer))
    }
}

/// A server that exports an image, and the connection to it.
struct Side {
    server: Server,
    load: Load<Connection>,
    big: Vec<u8>,
    crowd: Vec<u8>,
}

impl Side {
    fn start(file: &Path, image: &Path) -> Result<Self> {
        let server = Server::start(ServerOptions {
            file: Some(file.to_path_buf()),
            exports: vec![image.display().to_string()],
            ..ServerOptions::default()
        })?;
        let root = Client::connect(server.mount())?.mount(&image.display().to_string())?;
        let mut client = Client::connect(server.nfs())?;
        Ok(Self {
            load: Load::connect(server.nfs())?,
            big: client.walk(&root, BIG)?,
            crowd: client.walk(&root, CROWD)?,
            server,
        })
    }

    fn turn(&mut self, workload: Workload, scale: &Scale) -> Result<Cost> {
        let pids = [self.server.pid()];
        Cost::measure(&pids, || match workload {
            Workload::Read => read_through(&mut self.load, &self.big, 0, scale.big_bytes, READ),
            Workload::Readdirplus => (0..LISTING_COUNT)
                .map(|_| walk(&mut self.load, &self.crowd, true, scale.crowd_count))
                .sum(),
        })
    }
}

/// Makes the images, starts the servers, and compares them.
pub fn main(args: &Args) -> Result<()> {
    setup::install_packages(&["genisoimage", "iproute2", "e2fsprogs"])?;
    let ours = args.choice.ours(built)?;
    let scale = Scale::QUICK;
    let mut frame = Frame::compare("isos", vec!["UDF", "ISO 9660"], &args.common, [2, 5])?;
    let workspace = Workspace::new(scale)?;
    let tree = workspace.path(Export::Tree);
    // In the image with UDF, the ISO 9660 tree has neither the file nor the directory.
    let udf = ["-udf", "-hide", BIG, "-hide", CROWD];
    let images: [(_, &[&str]); 2] = [("udf.iso", &udf), ("plain.iso", &["-R"])];
    let mut sides = Vec::new();
    for (name, options) in images {
        let image = workspace.scratch_path(name);
        let mut genisoimage = Command::new("genisoimage");
        genisoimage
            .arg("-quiet")
            .args(options)
            .arg("-o")
            .arg(&image);
        run_captured(genisoimage.arg(&tree))?;
        sides.push(Side::start(&ours, &image)?);
    }
    for (side, name) in sides.iter().zip(["UDF", "ISO 9660"]) {
        frame.attach(name, side.server.pid())?;
    }
    frame.rounds(args.choice.workloads(), |workload, number| {
        let side = sides.get_mut(number);
        side.map(|side| side.turn(*workload, &scale)).transpose()
    })?;
    frame.detach()?;
    frame.finish(&["the same files in an image of each kind, on a tmpfs; one connection"])
}
