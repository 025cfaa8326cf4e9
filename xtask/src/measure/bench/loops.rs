//! `cargo xtask bench loops`: compares a server of several loops with a server of one loop, or with nfs-ganesha, for one client and
//! for many at once.
//!
//! Each client is a thread of this process with its own connection. The clients need processors, too: on a machine with two
//! processors, they use those that further loops would need.

use std::thread;

use anyhow::{Context as _, Result, ensure};

use super::frame::{self, Frame};
use super::measure::Cost;
use super::nfs::ganesha::Ganesha;
use super::nfs::workload::Workload;
use super::nfs::{Side, exported};
use super::table::Subject;
use super::workspace::{Export, Scale, Workspace};
use super::{Choice, Common, built};
use crate::machines::port::Port;
use crate::machines::server::{Server, ServerOptions};
use crate::setup::{self, Package};

/// Workloads that run without `--only`.
const WORKLOADS: [Workload; 3] = [Workload::Getattr, Workload::ReadRandom, Workload::Read];
/// Largest number of loops; there are fewer on a machine with fewer processors.
const LOOP_COUNT_MAX: usize = 4;

/// `cargo xtask bench loops`
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    choice: Choice<Workload>,
    /// Numbers of clients that send requests at the same time
    #[arg(long, value_delimiter = ',', default_values_t = [1, 4, 16, 64])]
    clients: Vec<usize>,
    /// Compare with nfs-ganesha instead of a server of one loop
    #[arg(long)]
    ganesha: bool,
}

/// A line of the table: a workload, and the number of clients that run it at the same time.
struct Line {
    workload: Workload,
    clients: usize,
}

impl frame::Workload for Line {
    fn subject(&self) -> Subject {
        let mut subject = self.workload.subject();
        subject.aims.clear();
        let plural = if self.clients == 1 { "" } else { "s" };
        subject.title += &format!(", {} client{plural}", self.clients);
        subject
    }
}

/// A server's process ids, and the clients connected to it.
struct Crowd {
    pids: Vec<u32>,
    clients: Vec<Side>,
}

impl Crowd {
    /// Runs one turn with `line.clients` clients at once. Together they send as many requests as one client would alone.
    fn turn(&mut self, line: &Line, scale: Scale) -> Result<Cost> {
        let count = line.clients as u64;
        let each = Scale {
            request_count: scale.request_count / count,
            big_bytes: scale.big_bytes / count,
            ..scale
        };
        let clients = &mut self.clients[..line.clients];
        Cost::measure(&self.pids, || {
            thread::scope(|scope| {
                let asked: Vec<_> = clients
                    .iter_mut()
                    .map(|client| scope.spawn(|| client.ask(line.workload, &each)))
                    .collect();
                let answered = asked.into_iter().map(|client| {
                    let answered = client.join();
                    answered.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                });
                answered.sum()
            })
        })
    }
}

/// Starts both servers, and compares them.
pub fn main(args: &Args) -> Result<()> {
    let workloads = match &args.choice.only[..] {
        [] => WORKLOADS.to_vec(),
        chosen => chosen.to_vec(),
    };
    ensure!(
        workloads.iter().all(|it| it.storage().is_none()),
        "names that two clients make at once would be the same: choose what reads"
    );
    ensure!(
        !args.clients.contains(&0),
        "--clients 0: name numbers from 1 on"
    );
    setup::install_packages(&[Package::IPROUTE2, Package::E2FSPROGS])?;
    if args.ganesha {
        setup::install_packages(&[Package::RPCBIND, Package::GANESHA, Package::GANESHA_VFS])?;
    }
    let file = args.choice.ours(built)?;
    let peer = if args.ganesha {
        "nfs-ganesha"
    } else {
        "one loop"
    };
    let mut frame = Frame::new("loops", ["several loops", peer], &args.common, [2, 5])?;
    let scale = Scale::of(&args.common);
    let workspace = Workspace::new(scale)?;
    let most = args.clients.iter().copied().max().context("no clients")?;
    let sides = |name, pid, nfs, mount| {
        let side = |_| Side::new(name, vec![pid], nfs, mount, &workspace, &scale);
        (0..most).map(side).collect::<Result<Vec<_>>>()
    };
    let serve = |name, loops: usize| {
        let port = Port::reserve()?;
        let server = Server::start(ServerOptions {
            file: Some(file.clone()),
            role: "serve",
            exports: Export::ALL
                .map(|export| exported(&workspace, export))
                .into(),
            port: port.number(),
            arguments: vec!["--no-mdns".into(), "--loops".into(), loops.to_string()],
            ..ServerOptions::default()
        })?;
        let (pids, clients) = (
            server.children()?,
            sides(name, server.pid(), server.nfs(), server.mount())?,
        );
        anyhow::Ok(((server, port), Crowd { pids, clients }))
    };
    let loops = thread::available_parallelism()?
        .get()
        .clamp(2, LOOP_COUNT_MAX);
    let (_several, mut ours) = serve("several loops", loops)?;
    let (mut _one, mut _ganesha) = (None, None);
    let mut theirs = if args.ganesha {
        let ganesha = _ganesha.insert(Ganesha::start(&workspace)?);
        let pid = ganesha.pid();
        Crowd {
            pids: vec![pid],
            clients: sides(peer, pid, ganesha.nfs(), ganesha.mount())?,
        }
    } else {
        let (server, crowd) = serve(peer, 1)?;
        _one = Some(server);
        crowd
    };
    for pid in &ours.pids {
        frame.attach("one of several loops", *pid)?;
    }
    frame.attach(peer, theirs.pids[0])?;
    let line = |workload| {
        let line = move |clients| Line { workload, clients };
        args.clients.iter().copied().map(line)
    };
    let lines: Vec<_> = workloads.into_iter().flat_map(line).collect();
    frame.rounds(lines, |line, side| {
        let crowd = if side == 0 { &mut ours } else { &mut theirs };
        Ok(Some(crowd.turn(line, scale)?))
    })?;
    frame.detach()?;
    frame.finish(&[&format!(
        "{loops} loops; each client has one connection and up to 16 requests in flight; what lies on a tmpfs"
    )])
}
