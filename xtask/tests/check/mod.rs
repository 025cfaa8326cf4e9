//! `stowaway check`, which is to find what a client would find: against our server, well and unwell, and against strangers.

mod strangers;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use xtask::build::Arch;
use xtask::machines::server::{
    Namespace, Server, ServerOptions, binary, public_dir, root_for, status_field, users,
};
use xtask::setup::{self, Package};

/// It waits 3 s at most; the rest is for a machine that has more to do.
const TIME_MAX: Duration = Duration::from_secs(5);

/// Runs a check to its end, which must come in time.
fn run(mut command: Command) -> Result<Output> {
    let start = Instant::now();
    let output = command.stdin(Stdio::null()).output()?;
    ensure!(
        start.elapsed() < TIME_MAX,
        "{command:?} took {:?}",
        start.elapsed()
    );
    Ok(output)
}

fn check(arch: Arch, words: &[&str], more: &[&str]) -> Result<Command> {
    let mut command = Command::new(binary(arch)?);
    command.arg("check").args(words).args(more);
    Ok(command)
}

/// Both files say that so many exports are there.
fn serves(words: &[&str], count: usize, place: &str) -> Result<()> {
    for arch in Arch::NATIVE {
        let plain = run(check(arch, words, &[])?)?;
        let told = run(check(arch, words, &["--json"])?)?;
        ensure!(
            plain.status.success() && told.status.success(),
            "{} {words:?}: {plain:?} {told:?}",
            arch.name()
        );
        let line = String::from_utf8(plain.stdout)?;
        ensure!(
            line == format!("nfs: {place} serves, exports: {count}\n"),
            "{words:?}: {line}"
        );
        ensure!(
            line_of_json(told.stdout)? == json!({"nfs": {"ok": true, "exports": count}}),
            "{words:?}"
        );
        ensure!(plain.stderr.is_empty() && told.stderr.is_empty());
    }
    Ok(())
}

/// Both files say on one line what fails and why, and the same in JSON.
fn fails(words: &[&str], about: &str, why: &str) -> Result<()> {
    let runs: Vec<_> = thread::scope(|scope| {
        let start = |arch, more: &'static [&str]| {
            scope.spawn(move || check(arch, words, more).and_then(run))
        };
        let started = Arch::NATIVE.map(|arch| (start(arch, &[]), start(arch, &["--json"])));
        let end = |run: thread::ScopedJoinHandle<'_, Result<Output>>| {
            run.join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        started
            .map(|(plain, told)| (end(plain), end(told)))
            .into_iter()
            .collect()
    });
    for (plain, told) in runs {
        let (plain, told) = (plain?, told?);
        let line = String::from_utf8(plain.stderr)?;
        ensure!(
            plain.status.code() == Some(1) && told.status.code() == Some(1),
            "{words:?}: {} {}: {line}",
            plain.status,
            told.status
        );
        ensure!(
            line.lines().count() == 1 && line.ends_with('\n') && plain.stdout.is_empty(),
            "{words:?}: {line}"
        );
        let said = line
            .trim_end()
            .strip_prefix(&format!("stowaway: nfs fails at {about}: "));
        let said = said.with_context(|| format!("{words:?} is not about {about}: {line}"))?;
        ensure!(said.contains(why), "{words:?} does not say '{why}': {line}");
        ensure!(told.stderr.is_empty());
        let told = line_of_json(told.stdout)?;
        ensure!(
            told == json!({"nfs": {"ok": false, "about": about, "why": said}}),
            "{words:?}: {told} is not {line}"
        );
    }
    Ok(())
}

fn line_of_json(stdout: Vec<u8>) -> Result<Value> {
    let text = String::from_utf8(stdout)?;
    ensure!(
        text.ends_with('\n') && text.lines().count() == 1,
        "not one line: {text}"
    );
    Ok(serde_json::from_str(&text)?)
}

#[test]
fn what_is_served_is_found_at_every_address_and_port_by_whomever_it_is_served() -> Result<()> {
    let (one, other) = (public_dir()?, public_dir()?);
    let image = one.path().join("a.iso");
    fs::write(other.path().join("file"), "content")?;
    setup::need(&[Package::XORRISO])?;
    setup::quietly(
        Command::new("xorriso")
            .args(["-as", "mkisofs", "-quiet", "-o"])
            .arg(&image)
            .arg(other.path()),
    )?;
    for user in users() {
        for (role, address, mount_port) in [
            ("nfs", "127.0.0.1", None),
            ("serve", "127.0.0.1", Some(0)),
            ("nfs", "::1", Some(0)),
            ("serve", "::1", None),
        ] {
            let server = Server::start(ServerOptions {
                role,
                user,
                mount_port,
                arguments: vec!["-l".into(), address.into()],
                ..ServerOptions::serving(&[one.path(), other.path(), &image])
            })?;
            let (port, mount) = (server.nfs_port.to_string(), server.mount_port.to_string());
            let mut words = vec!["nfs", "-l", address, "-n", &port];
            if port != mount {
                words.extend(["-m", &mount]);
            }
            let place = match address {
                "::1" => format!("[::1]:{port}"),
                _ => format!("{address}:{port}"),
            };
            serves(&words, 3, &place).with_context(|| format!("{role} as {user:?}"))?;
            words[0] = "all";
            words[2] = if address == "::1" { "::" } else { "0.0.0.0" };
            serves(&words, 3, &place)?;
        }
    }
    Ok(())
}

#[test]
fn where_nothing_is_said_it_looks_where_servers_are() -> Result<()> {
    if !root_for("the port of NFS") {
        return Ok(());
    }
    setup::need(&[Package::IPROUTE2])?;
    let (network, directory) = (Namespace::new()?, public_dir()?);
    let _server = Server::start(ServerOptions {
        role: "serve",
        address: Ipv4Addr::UNSPECIFIED,
        port: 2049,
        through: network.enter(),
        ..ServerOptions::serving(&[directory.path()])
    })?;
    let program = binary(Arch::X86_64)?.display().to_string();
    let mut command = network.command(&program);
    command.args(["check", "all"]);
    let output = run(command)?;
    ensure!(
        output.status.success() && output.stdout == b"nfs: 127.0.0.1:2049 serves, exports: 1\n",
        "{output:?}"
    );
    Ok(())
}

#[test]
fn a_server_that_hangs_is_found_and_found_well_when_it_goes_on() -> Result<()> {
    let (one, other) = (public_dir()?, public_dir()?);
    for role in ["nfs", "serve"] {
        let server = Server::start(ServerOptions {
            role,
            ..ServerOptions::serving(&[one.path(), other.path()])
        })?;
        let hanging = server.children()?.first().copied();
        let hanging = Pid::from_raw(hanging.unwrap_or_else(|| server.pid()).try_into()?);
        let (port, place) = (server.nfs_port.to_string(), server.nfs().to_string());
        let words = ["nfs", "-n", &port];
        serves(&words, 2, &place)?;
        kill(hanging, Signal::SIGSTOP)?;
        fails(&words, &place, "no answer within 3 s")?;
        kill(hanging, Signal::SIGCONT)?;
        serves(&words, 2, &place)?;
    }
    Ok(())
}

#[test]
fn an_export_that_is_gone_is_named_also_in_json() -> Result<()> {
    for user in users() {
        let (here, parent) = (public_dir()?, public_dir()?);
        let gone = parent.path().join("a \"gone\" \\ \u{e9}\n one");
        fs::create_dir(&gone)?;
        let server = Server::start(ServerOptions {
            user,
            ..ServerOptions::serving(&[here.path(), &gone])
        })?;
        let (port, place) = (server.nfs_port.to_string(), server.nfs().to_string());
        let words = ["all", "-n", &port];
        serves(&words, 2, &place)?;
        fs::remove_dir(&gone)?;
        let about = format!(
            "{}/a \"gone\" \\\\ \\303\\251\\n one",
            parent.path().display()
        );
        fails(&words, &about, "the server cannot get there")?;
    }
    Ok(())
}

#[test]
fn a_thousand_exports_are_served_and_checked_at_the_price_of_one() -> Result<()> {
    const COUNT: usize = 1000;
    const REST_MAX_KIB: u64 = 896;
    let parent = public_dir()?;
    let paths: Vec<_> = (0..COUNT)
        .map(|number| parent.path().join(format!("of customer {number}")))
        .collect();
    for path in &paths {
        fs::create_dir(path)?;
        fs::write(path.join("file"), path.as_os_str().as_encoded_bytes())?;
    }
    for user in users() {
        let server = Server::start(ServerOptions {
            user,
            exports: paths
                .iter()
                .map(|path| path.display().to_string())
                .collect(),
            ..ServerOptions::default()
        })?;
        let rest = status_field(server.pid(), "VmHWM")?;
        ensure!(rest <= REST_MAX_KIB, "{rest} KiB at rest as {user:?}");
        let (port, place) = (server.nfs_port.to_string(), server.nfs().to_string());
        serves(&["nfs", "-n", &port], COUNT, &place)?;
        for path in [&paths[0], &paths[31], &paths[32], &paths[COUNT - 1]] {
            let (mut client, root) = server.open(path)?;
            let file = client.lookup(&root, "file")?;
            let content = client.read(&file, 0, 4096)?.0;
            ensure!(content == path.as_os_str().as_encoded_bytes(), "{path:?}");
        }
    }
    Ok(())
}

#[test]
fn nobody_there_is_said_at_once() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let (port, place) = (
        taken.local_addr()?.port().to_string(),
        taken.local_addr()?.to_string(),
    );
    drop(taken);
    let start = Instant::now();
    fails(&["nfs", "-n", &port], &place, "nobody listens there")?;
    ensure!(start.elapsed() < Duration::from_secs(2));
    // Where MOUNT is elsewhere, its port is told.
    let directory = public_dir()?;
    let server = Server::start(ServerOptions::serving(&[directory.path()]))?;
    let nfs_port = server.nfs_port.to_string();
    fails(
        &["nfs", "-n", &nfs_port, "-m", &port],
        &place,
        "nobody listens there",
    )
}
