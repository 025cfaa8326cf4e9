//! `cargo xtask bench sftp`: stowaway's SFTP server compared with OpenSSH's, over a socketpair and over pipes. Each server has one
//! session.

pub mod server;
pub mod session;
pub mod workload;

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::frame::Frame;
use super::measure::{self, Cost};
use super::table::Subject;
use super::workspace::{Scale, Workspace};
use super::{Choice, Common, frame};
use server::{Program, Server, Transport};
use session::DEPTH;
use workload::{Objects, Workload};

/// Name of the peer in tables.
const PEER: &str = "OpenSSH";

/// Number of servers started in a turn of [`Workload::Start`].
const START_COUNT: u64 = 100;

/// `cargo xtask bench sftp`
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    choice: Choice<Workload>,
    /// Path of the peer
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/usr/lib/openssh/sftp-server"
    )]
    peer: PathBuf,
}

/// A workload, and the transport as an index into [`Transport::ALL`].
struct Line(Workload, usize);

impl frame::Workload for Line {
    fn subject(&self) -> Subject {
        let Self(workload, transport) = self;
        let mut subject = workload.subject();
        subject.title += ", ";
        subject.title += Transport::ALL[*transport].name();
        subject
    }
}

/// Measures all workloads over both transports.
pub fn main(args: &Args) -> Result<()> {
    let has_peer = args.choice.install_peer(&["openssh-sftp-server"])?;
    let files = args.choice.files(&args.common)?;
    let names = args.choice.sides(PEER, &args.common);
    let mut frame = Frame::compare("sftp", names, &args.common, [2, 5])?;
    let scale = Scale::of(&args.common);
    let workspace = Workspace::in_memory(scale)?;
    let peer = has_peer.then(|| (PEER, args.peer.clone()));
    let programs = files.into_iter().chain(peer);
    let programs = programs.map(|(name, file)| Program::new(name, &file, &workspace));
    let programs = programs.collect::<Result<Vec<_>>>()?;
    // Indexed by transport, then by program.
    let mut sides = Vec::new();
    for transport in Transport::ALL {
        let mut pair = Vec::new();
        for program in &programs {
            let side = Side::new(program, transport, &workspace, &scale)?;
            let name = format!("{}, {}", program.name, transport.name());
            frame.attach(name, side.server.pid())?;
            pair.push(side);
        }
        sides.push(pair);
    }

    let transports = 0..Transport::ALL.len();
    let workloads = args.choice.workloads().into_iter();
    let lines = workloads.flat_map(|workload| {
        transports
            .clone()
            .map(move |transport| Line(workload, transport))
    });
    frame.rounds(lines, |Line(workload, transport), side| {
        let side = sides[*transport].get_mut(side);
        side.map(|side| side.turn(*workload, &scale)).transpose()
    })?;
    frame.detach()?;
    for side in sides.into_iter().flatten() {
        side.server.stop()?;
    }
    frame.finish(&[
        &format!("depth {DEPTH} (a directory is read page by page)"),
        "files are in the page cache, on a tmpfs",
    ])
}

/// A running server, and the paths that its requests use.
struct Side {
    program: Program,
    transport: Transport,
    server: Server,
    objects: Objects,
}

impl Side {
    fn new(
        program: &Program,
        transport: Transport,
        workspace: &Workspace,
        scale: &Scale,
    ) -> Result<Self> {
        let mut server = Server::start(program, transport)?;
        server.load.negotiate()?;
        Ok(Self {
            program: program.clone(),
            transport,
            objects: Objects::new(workspace, scale, server.pid().into()),
            server,
        })
    }

    fn turn(&mut self, workload: Workload, scale: &Scale) -> Result<Cost> {
        if workload == Workload::Start {
            return starts(&self.program, self.transport);
        }
        self.objects.pattern.turn();
        let cost = Cost::measure(&[self.server.pid()], || {
            workload.run(&mut self.server.load, &self.objects, scale)
        })?;
        workload.check(&self.objects, scale)?;
        Ok(cost)
    }
}

/// Measures the start of [`START_COUNT`] servers, one after the other. Their exit is not measured.
fn starts(program: &Program, transport: Transport) -> Result<Cost> {
    let mut sum = Cost::default();
    for _ in 0..START_COUNT {
        let mut started = None;
        let cost = Cost::alone(|| {
            let server = started.insert(Server::start(program, transport)?);
            server.load.negotiate()?;
            Ok(1)
        })?;
        let server = started.context("nothing was started")?;
        sum += Cost {
            server: measure::read_stable_cpu(server.pid())?.as_secs_f64(),
            ..cost
        };
        server.stop()?;
    }
    Ok(sum)
}
