//! `cargo xtask bench sftp`: stowaway's SFTP server beside OpenSSH's, over a socketpair and over pipes.
//!
//! Each server has one session; the rounds go A B A B. A slow figure never fails the command, a wrong answer does. What a
//! server costs is its CPU time: on a busy machine it wavers least.

mod calls;
pub mod load;
mod packets;
mod report;
pub mod server;
pub mod workload;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use super::Common;
use super::ground::{Ground, Scale};
use super::measure::{self, Cost};
use super::table::{self, Table};
use crate::build::Arch;
use crate::machines::server::binary;
use crate::setup::{self, Package};
use calls::Count;
use report::{Holding, Memory, Report};
use server::{Program, Server, Transport};
use workload::{Objects, Workload};

/// The peer, for tables.
const PEER: &str = "OpenSSH";

/// Servers that are started in a turn.
const START_COUNT: u64 = 100;

/// `cargo xtask bench sftp`
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Only this workload; may be repeated
    #[arg(long, value_name = "WORKLOAD")]
    only: Vec<Workload>,
    /// Without system calls
    #[arg(long)]
    no_calls: bool,
    /// Another file as ours [default: what cargo xtask build makes]
    #[arg(long, value_name = "FILE")]
    ours: Option<PathBuf>,
    /// Another file as the peer
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/usr/lib/openssh/sftp-server"
    )]
    peer: PathBuf,
}

/// Measures, prints a table, writes JSON and SVG.
pub fn main(args: &Args) -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "cargo xtask bench needs root, for a tmpfs of its own. Type: sudo -E cargo xtask bench sftp"
    );
    let workloads = if args.only.is_empty() {
        Workload::value_variants()
    } else {
        &args.only
    };
    setup::need(&[Package::SFTP_SERVER])?;
    if !args.no_calls {
        setup::need(&[Package::STRACE])?;
    }
    let ours = match &args.ours {
        Some(path) => path.clone(),
        None => binary(Arch::X86_64)?,
    };

    let progress = setup::progress("measuring SFTP");
    let scale = if args.common.quick {
        Scale::QUICK
    } else {
        Scale::FULL
    };
    let ground = Ground::in_memory(scale)?;
    let programs = [
        Program::new("stowaway", &ours, &ground)?,
        Program::new(PEER, &args.peer, &ground)?,
    ];
    let mut pairs = Vec::new();
    for transport in Transport::ALL {
        let sides = [
            Side::new(&programs[0], transport, &ground, &scale)?,
            Side::new(&programs[1], transport, &ground, &scale)?,
        ];
        for side in &sides {
            progress.println(&format!("{} is process {}", side.name(), side.server.pid()));
        }
        pairs.push(sides);
    }

    let round_count = args.common.round_count([2, 5]);
    let mut results: Vec<_> = workloads
        .iter()
        .flat_map(|&workload| {
            (0..pairs.len()).map(move |pair| (workload, pair, [Vec::new(), Vec::new()]))
        })
        .collect();
    // Round 0 fills caches and is not counted.
    for round in 0..=round_count {
        for (workload, pair, costs) in &mut results {
            for (side, costs) in pairs[*pair].iter_mut().zip(costs) {
                progress.say(format!(
                    "round {round} of {round_count}: {} on {}",
                    workload.subject().title,
                    side.name()
                ));
                let cost = side.turn(*workload, &scale)?;
                if round > 0 {
                    costs.push(cost);
                }
            }
        }
    }
    let mut memory = Vec::new();
    for side in pairs.into_iter().flatten() {
        memory.push(side.end()?);
    }
    let mut calls = Vec::new();
    if !args.no_calls {
        for count in Count::ALL {
            progress.say(format!("system calls: {}", count.facts().0));
            calls.push(count.line(&programs, &ground, &scale)?);
        }
    }
    progress.done();

    let mut table = Table::new(["stowaway", PEER], round_count)?;
    for (workload, pair, costs) in &results {
        let mut subject = workload.subject();
        subject.title = format!("{}, {}", subject.title, Transport::ALL[*pair].name());
        table.add(&subject, costs)?;
    }
    let report = Report {
        table,
        memory,
        calls,
    };
    report.print();
    report.write_json(&table::place(&args.common.json, "sftp.json"))?;
    report
        .table
        .write_svg(&table::place(&args.common.svg, "sftp.svg"))
}

impl Program {
    /// What is called `sftp-server` is one: our file knows its role by that name.
    pub fn new(name: &'static str, file: &Path, ground: &Ground) -> Result<Self> {
        let file = file
            .canonicalize()
            .with_context(|| format!("there is no {}", file.display()))?;
        let directory = ground.beside(name);
        std::fs::create_dir(&directory)?;
        let path = directory.join("sftp-server");
        symlink(file, &path)?;
        Ok(Self { name, path })
    }
}

/// One server as the load generator sees it.
struct Side {
    program: Program,
    transport: Transport,
    server: Server,
    at_rest: Memory,
    objects: Objects,
}

impl Side {
    fn new(
        program: &Program,
        transport: Transport,
        ground: &Ground,
        scale: &Scale,
    ) -> Result<Self> {
        let mut server = Server::start(program, transport)?;
        server.load.begin()?;
        let pid = server.pid();
        Ok(Self {
            program: program.clone(),
            transport,
            at_rest: Memory::of(pid)?,
            objects: Objects::new(ground, scale, pid.into()),
            server,
        })
    }

    fn name(&self) -> String {
        format!("{}, {}", self.program.name, self.transport.name())
    }

    fn turn(&mut self, workload: Workload, scale: &Scale) -> Result<Cost> {
        self.objects.pattern.turn();
        let mut turn = || {
            if workload == Workload::Start {
                return starts(&self.program, self.transport);
            }
            let cost = Cost::of(self.server.pid(), || {
                workload.run(&mut self.server.load, &self.objects, scale)
            })?;
            workload.check(&self.objects, scale)?;
            Ok(cost)
        };
        turn().with_context(|| format!("{} on {}", workload.subject().title, self.name()))
    }

    /// Ends the session; what the server held.
    fn end(self) -> Result<Holding> {
        let server = self.name();
        let at_end = Memory::of(self.server.pid())?;
        self.server
            .end()
            .with_context(|| format!("at the end of {server}"))?;
        Ok(Holding {
            server,
            at_rest: self.at_rest,
            at_end,
        })
    }
}

/// Starts many servers, one after the other. Their ends are not measured.
fn starts(program: &Program, transport: Transport) -> Result<Cost> {
    let (mut wall, mut server_cpu) = (Duration::ZERO, Duration::ZERO);
    let mut own = Duration::ZERO;
    for _ in 0..START_COUNT {
        let own_start = measure::own()?;
        let start = Instant::now();
        let mut server = Server::start(program, transport)?;
        server.load.begin()?;
        wall += start.elapsed();
        own += measure::own()? - own_start;
        server_cpu += measure::settled(server.pid())?;
        server.end()?;
    }
    Ok(Cost {
        amount: START_COUNT,
        wall: wall.as_secs_f64(),
        server: server_cpu.as_secs_f64(),
        own: own.as_secs_f64(),
    })
}
