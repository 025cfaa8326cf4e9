//! The figures of a server, in all forms, beside a workload whose calls are known: `status`, /metrics and /status.

mod pages;

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use xtask::build::Arch;
use xtask::clients::http::get;
use xtask::clients::nfs::{Call, Client, nfsstat3};
use xtask::machines::port::Port;
use xtask::machines::server::{Server, ServerOptions, binary, children, public_dir, root_for};
use xtask::machines::wait_for;
use xtask::setup::{PythonPackage, install_packages, run_captured};

const NOBODY: u32 = 65534;
/// GETATTRs, and LOOKUPs of a name that does not exist.
const CALLS: [u64; 2] = [37, 5];
const CLIENT_COUNT: u64 = 1000;

/// A server, and the port of its figures.
struct World {
    server: Server,
    metrics: SocketAddr,
    directory: TempDir,
    _port: [Port; 2],
}

impl World {
    fn new(role: &'static str, arguments: &str, user: Option<u32>) -> Result<Self> {
        let (directory, ports) = (public_dir()?, [Port::reserve()?, Port::reserve()?]);
        let metrics = SocketAddr::from((Ipv4Addr::LOCALHOST, ports[1].number()));
        let mut arguments: Vec<String> = arguments.split_whitespace().map(Into::into).collect();
        if role == "serve" {
            arguments.push("--no-mdns".into());
            arguments.push(format!("--metrics={metrics}"));
        }
        let server = Server::start(ServerOptions {
            role,
            exports: vec![directory.path().display().to_string()],
            port: ports[0].number(),
            arguments,
            user,
            ..ServerOptions::default()
        })?;
        let world = Self {
            server,
            metrics,
            directory,
            _port: ports,
        };
        if role == "serve" {
            let served = wait_for(
                Duration::from_secs(20),
                || Ok(get(metrics, "/healthz").ok()),
            )?;
            served.context("/healthz is not served")?;
        }
        Ok(world)
    }

    /// Sends the calls of the workload.
    fn work(&self) -> Result<()> {
        let (mut client, root) = self.server.open(self.directory.path())?;
        for _ in 0..CALLS[0] {
            client.attr(&root)?;
        }
        for _ in 0..CALLS[1] {
            let lookup = Call::lookup(&root, b"missing");
            client.expect_status(&lookup, nfsstat3::NFS3ERR_NOENT)?;
        }
        Ok(())
    }

    /// The only server's figures.
    fn figures(&self) -> Result<Value> {
        let output = status(&["--json", &self.server.pid().to_string()], None)?;
        ensure!(output.status.success(), "{output:?}");
        let mut all: Value = serde_json::from_slice(&output.stdout)?;
        ensure!(all["silent"] == serde_json::json!([]), "{all}");
        let servers = all["servers"].as_array_mut().context("no servers")?;
        ensure!(servers.len() == 1, "{servers:#?}");
        Ok(servers.remove(0))
    }

    /// The samples of /metrics, as Prometheus' own parser reads them.
    fn samples(&self) -> Result<BTreeMap<String, f64>> {
        let script = "import sys\n\
             from prometheus_client.parser import text_string_to_metric_families as parse\n\
             for family in parse(open(sys.argv[1]).read()):\n\
             \tfor sample in family.samples: print(sample.name, sorted(sample.labels.items()), sample.value, sep='\\t')\n";
        let file = self.directory.path().join("metrics");
        let reply = get(self.metrics, "/metrics")?;
        let kind = reply.head.field("Content-Type").unwrap_or_default();
        ensure!(kind == "text/plain; version=0.0.4; charset=utf-8", "{kind}");
        fs::write(&file, &reply.body)?;
        install_packages(&["prometheus"])?;
        let check = "promtool check metrics < \"$1\" 2>&1 || true";
        let complaints = run_captured(Command::new("sh").args(["-c", check, "sh"]).arg(&file))?;
        ensure!(complaints.is_empty(), "{complaints}");
        let parse = run_captured(
            Command::new(PythonPackage::PYTHON)
                .args(["-c", script])
                .arg(&file)
                .env("PYTHONPATH", PythonPackage::PROMETHEUS.path()?),
        )?;
        let mut samples = BTreeMap::new();
        for line in parse.lines() {
            let (name, value) = line.rsplit_once('\t').context("no value")?;
            samples.insert(name.to_owned(), value.parse()?);
        }
        Ok(samples)
    }
}

/// Runs `stowaway status`.
fn status(arguments: &[&str], user: Option<u32>) -> Result<Output> {
    let directory = public_dir()?;
    let copy = directory.path().join("stowaway");
    fs::copy(binary(Arch::X86_64)?, &copy)?;
    let mut command = Command::new(copy);
    command.arg("status").args(arguments);
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    Ok(command.output()?)
}

/// The row of a table with this value in a column.
fn row<'a>(figures: &'a Value, table: &str, column: &str, value: &str) -> Result<&'a Value> {
    let rows = figures[table].as_array().context("no table")?;
    let found = rows.iter().find(|row| row[column] == value);
    found.with_context(|| format!("no {value} in {rows:#?}"))
}

#[test]
fn figures_are_those_of_the_workload() -> Result<()> {
    for (role, arguments, user) in [
        ("nfs", "", None),
        ("serve", "", None),
        ("serve", "--one-process", None),
        ("serve", "--loops 2", None),
        ("serve", "", Some(NOBODY)),
    ] {
        if user.is_some() && !root_for("a server of another user") {
            continue;
        }
        let world = World::new(role, arguments, user)?;
        world.work()?;
        let figures = world.figures()?;
        let about = || format!("{role} {arguments} {user:?}: {figures:#}");
        let call = |name| row(&figures, "calls", "procedure", name).with_context(about);
        ensure!(call("getattr")?["calls"] == CALLS[0], "{}", about());
        ensure!(call("getattr")?["errors"] == 0, "{}", about());
        ensure!(call("lookup")?["calls"] == CALLS[1], "{}", about());
        ensure!(call("lookup")?["errors"] == CALLS[1], "{}", about());
        ensure!(call("mnt")?["calls"] == 1, "{}", about());
        let path = world.directory.path().display().to_string();
        ensure!(row(&figures, "exports", "path", &path)?["state"] == "open");
        let client = row(&figures, "clients", "client", "127.0.0.1")?;
        ensure!(client["mounts"] == 1, "{}", about());
        if role == "serve" {
            let samples = world.samples().with_context(about)?;
            let count = |name: &str, procedure: &str| {
                let labels = format!("[('procedure', '{procedure}'), ('program', 'nfs')]");
                samples.get(&format!("stowaway_{name}\t{labels}")).copied()
            };
            ensure!(count("call_duration_seconds_count", "getattr") == Some(CALLS[0] as f64));
            ensure!(count("call_errors_total", "lookup") == Some(CALLS[1] as f64));
        }
        let plain = String::from_utf8(status(&[], None)?.stdout)?;
        let words = ["nfs", "getattr", &CALLS[0].to_string()];
        let has_words = |line: &str| line.split_whitespace().take(3).eq(words);
        ensure!(plain.lines().any(has_words), "{plain}");
        ensure!(plain.lines().all(|line| line.len() <= 80), "{plain}");
        let (_, took) = world.server.terminate()?;
        ensure!(took < Duration::from_secs(5));
    }
    let output = status(&[], None)?;
    ensure!(output.status.code() == Some(1), "{output:?}");
    Ok(())
}

#[test]
fn thousand_clients_are_counted() -> Result<()> {
    let world = World::new("serve", "--loops 2", None)?;
    let (_first, root) = world.server.open(world.directory.path())?;
    for number in 0..CLIENT_COUNT {
        let source = Ipv4Addr::from(0x7f00_0100 + number as u32);
        Client::connect_from(source, world.server.nfs())?.attr(&root)?;
    }
    let figures = world.figures()?;
    let clients = figures["clients"].as_array().context("no clients")?;
    let calls = clients.iter().filter(|client| client["calls"] == 1).count();
    ensure!(calls as u64 == CLIENT_COUNT, "{calls} clients");
    ensure!(row(&figures, "calls", "procedure", "getattr")?["calls"] == CLIENT_COUNT);
    Ok(())
}

#[test]
fn counters_outlive_a_killed_loop() -> Result<()> {
    let world = World::new("serve", "--loops 2", None)?;
    for _ in 0..8 {
        world.work()?;
    }
    let before = world.samples()?;
    for pid in children(world.server.pid())? {
        let command = fs::read_to_string(format!("/proc/{pid}/comm"))?;
        kill(Pid::from_raw(pid.try_into()?), Signal::SIGKILL).context(command)?;
    }
    let restarted = |samples: &BTreeMap<String, f64>| {
        let restarts = samples
            .iter()
            .filter(|(name, _)| name.starts_with("stowaway_process_restarts_total"));
        restarts.map(|(_, count)| *count).sum::<f64>()
    };
    let after = wait_for(Duration::from_secs(20), || {
        if get(world.metrics, "/healthz").is_err() {
            return Ok(None);
        }
        let samples = world.samples()?;
        Ok((restarted(&samples) == 3.0).then_some(samples))
    })?;
    let after = after.with_context(|| {
        format!(
            "three processes are not restarted: {:#?}",
            world.server.lines()
        )
    })?;
    for (name, value) in &before {
        let is_counter = ["_total\t", "_count\t", "_sum\t", "_bucket\t"]
            .iter()
            .any(|end| name.contains(end));
        if is_counter && !name.contains("process_restarts") {
            ensure!(
                after.get(name).is_some_and(|after| after >= value),
                "{name}: {value}, then {:?}",
                after.get(name)
            );
        }
    }
    Ok(())
}

#[test]
fn another_user_is_refused() -> Result<()> {
    if !root_for("another user") {
        return Ok(());
    }
    let world = World::new("nfs", "", None)?;
    let refused = status(&[], Some(NOBODY))?;
    ensure!(refused.status.code() == Some(1), "{refused:?}");
    let text = String::from_utf8(refused.stderr)?;
    ensure!(
        text.contains("servers of other users are shown to root only"),
        "{text}"
    );
    let pid = world.server.pid();
    world.server.kill()?;
    let path = PathBuf::from(format!("/run/stowaway/nfs.{pid}"));
    ensure!(path.exists());
    ensure!(status(&[], None)?.status.code() == Some(1));
    ensure!(
        !path.exists(),
        "the file of a killed server's socket is left"
    );
    Ok(())
}

/// Waits until a process of NFS listens for `status`.
fn wait_for_socket(pid: &str) -> Result<()> {
    let socket = Path::new("/run/stowaway").join(format!("nfs.{pid}"));
    let listens = wait_for(Duration::from_secs(20), || {
        Ok(socket.exists().then_some(()))
    })?;
    listens.context("no socket of the process")
}

/// A server alone that is stopped is named, and not called missing.
#[test]
fn stopped_server_gives_one_line() -> Result<()> {
    let world = World::new("nfs", "", None)?;
    let pid = world.server.pid();
    wait_for_socket(&pid.to_string())?;
    let stopped = Pid::from_raw(pid.try_into()?);
    kill(stopped, Signal::SIGSTOP)?;
    let output = status(&[&pid.to_string()], None);
    kill(stopped, Signal::SIGCONT)?;
    let output = output?;
    let line = format!("nfs (PID {pid}) does not answer\n");
    ensure!(output.status.code() == Some(1), "{output:?}");
    ensure!(
        output.stderr.is_empty() && output.stdout == line.as_bytes(),
        "{output:?}"
    );
    Ok(())
}

#[test]
fn process_that_hangs_is_named() -> Result<()> {
    let world = World::new("serve", "--loops 2", None)?;
    let first = Pid::from_raw(children(world.server.pid())?[0].try_into()?);
    // Another process may serve /healthz before this one listens for `status`.
    wait_for_socket(&first.to_string())?;
    kill(first, Signal::SIGSTOP)?;
    let output = status(&[], None);
    kill(first, Signal::SIGCONT)?;
    let text = String::from_utf8(output?.stdout)?;
    ensure!(
        text.contains("restarts") && text.contains(&format!("nfs (PID {first}) does not answer")),
        "{text}"
    );
    Ok(())
}
