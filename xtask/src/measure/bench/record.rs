//! `cargo xtask bench --record`: measures what the picture `image/compare.svg` shows, and writes it with its data,
//! `image/doc/figures.json`.
//!
//! CPU, memory and the starts of SFTP servers are those of the benches, each run by a process of its own. All figures of stowaway are
//! those of the file with all roles.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::http::{self, nginx};
use super::measure::Spread;
use super::nfs::ganesha::{Ganesha, is_serving};
use super::table::{CPU, WALL};
use super::workspace::{Export, Scale, Workspace};
use crate::build::{Arch, workspace_root};
use crate::machines::port::Port;
use crate::machines::server::{Process, binary};
use crate::measure::size::peers;
use crate::pictures::compare::{self, Chart, Figures, Pair, Unit};
use crate::setup::{self, run_captured};

/// Number of starts whose median is recorded.
const START_COUNT: usize = 9;
/// Longest time until the first reply.
const START_MAX: Duration = Duration::from_secs(30);

/// A bench, and the figures of it that are recorded.
struct Source {
    protocol: &'static str,
    bench: &'static str,
    workloads: &'static [&'static str],
    /// The operation, and the title of its workload.
    operation: [&'static str; 2],
    peer: &'static str,
    package: &'static str,
}

const SOURCES: [Source; 4] = [
    Source {
        protocol: "NFS",
        bench: "nfs",
        workloads: &["getattr"],
        operation: ["GETATTR", "GETATTR"],
        peer: "nfs-ganesha",
        package: "nfs-ganesha",
    },
    Source {
        protocol: "SFTP",
        bench: "sftp",
        workloads: &["stat", "start"],
        operation: ["STAT", "STAT, socketpair"],
        peer: "OpenSSH",
        package: "openssh-sftp-server",
    },
    Source {
        protocol: "HTTP",
        bench: "http",
        workloads: &["small"],
        operation: ["GET", "GET 4 KiB"],
        peer: "nginx",
        package: "nginx-light",
    },
    Source {
        protocol: "mDNS",
        bench: "mdns",
        workloads: &["address"],
        operation: ["A query", "A of the host"],
        peer: "avahi-daemon",
        package: "avahi-daemon",
    },
];

/// Measures, and writes both files.
pub fn main(quick: bool) -> Result<()> {
    setup::install_packages(&SOURCES.map(|source| source.package))?;
    let ours = binary(Arch::X86_64)?;
    let reports = SOURCES.iter().map(|source| source.run(&ours, quick));
    let reports = reports.collect::<Result<Vec<_>>>()?;

    let machine = reports[0]["machine"].as_str().unwrap_or_default();
    let (kernel, processors) = machine.split_once(", ").context("no processors")?;
    let kernel = kernel.split('-').next().unwrap_or_default();
    let mut versions = vec![format!("stowaway {}", env!("CARGO_PKG_VERSION"))];
    for source in &SOURCES {
        let format = ["-W", "-f", "${source:Upstream-Version}", source.package];
        let version = run_captured(Command::new("dpkg-query").args(format))?;
        versions.push(format!("{} {version}", source.peer));
    }
    let date = run_captured(Command::new("date").args(["-u", "+%F"]))?;
    let figures = Figures {
        date: date.trim().to_owned(),
        machine: format!("{kernel}, {processors}"),
        versions,
        charts: charts(&ours, &reports)?,
    };
    let text = figures.text()?;
    let image = workspace_root().join("image");
    for (path, content) in [
        ("compare.svg", compare::draw(&text)?),
        ("doc/figures.json", text),
    ] {
        fs::write(image.join(path), content).with_context(|| format!("cannot write {path}"))?;
        println!("image/{path}");
    }
    Ok(())
}

/// The charts, from the reports of [`SOURCES`], and from sizes and starts, which are measured here.
fn charts(ours: &Path, reports: &[Value]) -> Result<Vec<Chart>> {
    let our_bytes = fs::metadata(ours)?.len() as f64;
    let installed = peers::find_installed()?;
    let [mut sizes, mut memory, mut cpu] = [const { Vec::new() }; 3];
    for (source, report) in SOURCES.iter().zip(reports) {
        let mut found = installed.iter();
        let found = found.find(|peer| peer.name.starts_with(source.peer));
        let theirs = found.with_context(|| format!("{} is not installed", source.peer))?;
        sizes.push(source.pair(source.protocol, [our_bytes, theirs.total_bytes as f64]));
        let [ours, theirs] = ["stowaway", source.peer].map(|side| source.memory(report, side));
        memory.push(source.pair(source.protocol, [ours?, theirs?]));
        let [name, title] = source.operation;
        cpu.push(source.pair(name, medians(report, title, CPU)?));
    }
    let spawned = medians(&reports[1], "spawn to VERSION, socketpair", WALL)?;
    let starts = first_replies(ours, spawned)?;
    let chart = |title: &str, unit, pairs| Chart {
        title: title.to_owned(),
        unit,
        pairs,
    };
    Ok(vec![
        chart(
            "File and libraries (stowaway: all roles)",
            Unit::Bytes,
            sizes,
        ),
        chart("Memory at rest (resident)", Unit::KiB, memory),
        chart("CPU per operation", Unit::Microseconds, cpu),
        chart("From exec to the first reply", Unit::Milliseconds, starts),
    ])
}

impl Source {
    /// Runs the workloads of the bench in another process, and returns its report.
    fn run(&self, ours: &Path, quick: bool) -> Result<Value> {
        let json = tempfile::NamedTempFile::new()?;
        let mut bench = Command::new(std::env::current_exe()?);
        bench.args(["bench", self.bench, "--ours"]).arg(ours);
        bench.arg("--json").arg(json.path());
        bench.args(quick.then_some("--quick"));
        for workload in self.workloads {
            bench.args(["--only", workload]);
        }
        let status = bench.status().context("cannot start the bench")?;
        ensure!(status.success(), "bench {} ended with {status}", self.bench);
        Ok(serde_json::from_slice(&fs::read(json.path())?)?)
    }

    /// The resident memory (KiB) of a side before the first request.
    fn memory(&self, report: &Value, side: &str) -> Result<f64> {
        let names = [side.to_owned(), format!("{side}, socketpair")];
        let servers = report["memory"].as_array().context("no memory")?;
        let is_wanted = |server: &&Value| names.iter().any(|name| server["server"] == **name);
        let found = servers.iter().find(is_wanted);
        let resident = found.and_then(|server| server["at_rest"].as_f64());
        resident.with_context(|| format!("{}: no memory of {side}", self.bench))
    }

    /// A pair of figures, to two digits after the point.
    fn pair(&self, label: &str, figures: [f64; 2]) -> Pair {
        let [ours, theirs] = figures.map(|figure| (figure * 100.0).round() / 100.0);
        Pair {
            protocol: label.to_owned(),
            ours,
            peer: self.peer.to_owned(),
            theirs,
        }
    }
}

/// The medians of a figure: ours and the peer's.
fn medians(report: &Value, title: &str, what: &str) -> Result<[f64; 2]> {
    let figures = report["figures"].as_array().context("no figures")?;
    let is_wanted = |figure: &&Value| figure["workload"] == title && figure["what"] == what;
    let figure = figures.iter().find(is_wanted);
    let values = figure.and_then(|figure| {
        let theirs = &figure["others"][0]["value"];
        Some([
            figure["ours"]["median"].as_f64()?,
            theirs["median"].as_f64()?,
        ])
    });
    values.with_context(|| format!("no figure {what} of {title}"))
}

/// Measures the starts of servers. `spawned` are those of SFTP servers. mDNS is left out: RFC 6762 makes a responder wait.
fn first_replies(ours: &Path, spawned: [f64; 2]) -> Result<Vec<Pair>> {
    let workspace = Workspace::new(Scale::QUICK)?;
    let tree = workspace.path(Export::Tree);
    let [nfs, http, nginx] = [Port::reserve()?, Port::reserve()?, Port::reserve()?];
    let local = |port: &Port| SocketAddr::from((Ipv4Addr::LOCALHOST, port.number()));

    let mut command = Command::new(ours);
    command.args(["nfs", "-p", "-l", "127.0.0.1", "--export"]);
    command.arg(&tree).args(["-n", &nfs.number().to_string()]);
    let our_nfs = first_reply(|| spawn(&mut command), || is_serving(local(&nfs)))?;
    // The first one runs with its rpcbind meanwhile.
    let ganesha = Ganesha::start(&workspace, "3")?;
    let another = || ganesha.another(&workspace);
    let their_nfs = first_reply(another, || true)?;

    let mut command = Command::new(ours);
    command.args(["http", "--http", &local(&http).to_string()]);
    command.arg(&tree);
    let our_http = first_reply(|| spawn(&mut command), || http::get(local(&http)).is_ok())?;
    let mut command = nginx::command(&nginx, &tree, &workspace.scratch_path(""))?;
    let their_http = first_reply(|| spawn(&mut command), || http::get(local(&nginx)).is_ok())?;

    let [nfs, sftp, http, _] = &SOURCES;
    Ok(vec![
        nfs.pair(nfs.protocol, [our_nfs, their_nfs]),
        sftp.pair(sftp.protocol, spawned),
        http.pair(http.protocol, [our_http, their_http]),
    ])
}

fn spawn(command: &mut Command) -> Result<Process> {
    Process::start(command.stdin(Stdio::null()).stdout(Stdio::null()))
}

/// The median time (ms) from `start`, which spawns a server, until `is_answered`.
fn first_reply<S>(
    mut start: impl FnMut() -> Result<S>,
    is_answered: impl Fn() -> bool,
) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..START_COUNT {
        let begin = Instant::now();
        let server = start()?;
        while !is_answered() {
            ensure!(begin.elapsed() < START_MAX, "no reply within {START_MAX:?}");
            sleep(Duration::from_micros(50));
        }
        times.push(begin.elapsed().as_secs_f64() * 1e3);
        drop(server);
    }
    Ok(Spread::of(times).context("no starts")?.median)
}
