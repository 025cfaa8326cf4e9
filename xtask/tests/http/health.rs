//! `/healthz` says which part of the server does not work, and that all do again.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xtask::build::Arch;
use xtask::clients::http::get;
use xtask::machines::http::HttpServer;
use xtask::machines::port::Port;
use xtask::machines::server::{binary, public_dir};
use xtask::machines::wait_for;
use xtask::setup::{self, run_captured};
use xtask::testing::pattern;

/// Longest time until the answer changes: 5 s until something counts as hung, and the intervals at which the server looks.
const CHANGE_MAX: Duration = Duration::from_secs(15);
/// Duration of the read that hangs.
const HANG: Duration = Duration::from_secs(9);

/// Waits until `/healthz` answers with this status and word.
fn wait_for_state(server: &HttpServer, status: u16, word: &str) -> Result<()> {
    let mut last = None;
    let found = wait_for(CHANGE_MAX, || {
        let reply = get(server.address(), "/healthz")?;
        let text = String::from_utf8_lossy(&reply.body).trim_end().to_owned();
        let is_wanted = reply.head.status == status && text == word;
        last = Some((reply.head.status, text));
        Ok(is_wanted.then_some(()))
    })?;
    found.with_context(|| {
        let lines = server.lines();
        format!("/healthz does not become {status} {word}, is {last:?}; server: {lines:#?}")
    })
}

#[test]
fn missing_export_is_unhealthy() -> Result<()> {
    let directory = public_dir()?;
    let (path, away) = (directory.path().join("srv"), directory.path().join("away"));
    fs::create_dir(&path)?;
    fs::write(path.join("file"), "here")?;
    let server = HttpServer::start("http", [&path])?;
    wait_for_state(&server, 200, "ok")?;
    fs::rename(&path, &away)?;
    wait_for_state(&server, 503, "export")?;
    ensure!(get(server.address(), "/file")?.head.status == 404);
    fs::rename(&away, &path)?;
    wait_for_state(&server, 200, "ok")?;
    ensure!(get(server.address(), "/file")?.body == b"here");
    Ok(())
}

/// A worker reads a file that is not in the page cache by splice(2), which strace delays.
#[test]
fn hanging_disk_is_unhealthy() -> Result<()> {
    setup::install_packages(&["strace"])?;
    let directory = public_dir()?;
    let path = directory.path().join("file");
    let content = pattern(3, 0, 1_000_000);
    File::create(&path)?.write_all(&content)?;
    let uncached = "sync \"$1\" && dd if=\"$1\" iflag=nocache count=0 status=none";
    run_captured(Command::new("sh").args(["-c", uncached, "sh"]).arg(&path))?;
    let port = Port::reserve()?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.number()));
    let delay = format!("inject=splice:delay_enter={}:when=1", HANG.as_micros());
    let mut command = Command::new("strace");
    command
        .args([
            "-D",
            "-f",
            "--seccomp-bpf",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "trace=splice",
            "-e",
        ])
        .arg(delay)
        .arg(binary(Arch::X86_64)?)
        .args(["http", "--http", &address.to_string()])
        .arg(directory.path());
    let server = HttpServer::spawn(&mut command, address)?;
    wait_for_state(&server, 200, "ok")?;
    thread::scope(|scope| {
        let reader = scope.spawn(|| get(address, "/file"));
        wait_for_state(&server, 503, "disk")?;
        wait_for_state(&server, 200, "ok")?;
        let reply = reader.join().ok().context("the reader panicked")??;
        ensure!(reply.body == content);
        Ok(())
    })
}

/// A role that is stopped does not write its heartbeat.
#[test]
fn stopped_role_is_unhealthy() -> Result<()> {
    let directory = public_dir()?;
    let (nfs, key) = (Port::reserve()?, directory.path().join("key"));
    let words = format!(
        "--export {} -n {} --key-file {} -l 127.0.0.1 -p --no-mdns",
        directory.path().display(),
        nfs.number(),
        key.display()
    );
    let server = HttpServer::start("serve", words.split(' '))?;
    wait_for_state(&server, 200, "ok")?;
    let children = server.children()?;
    // NFS is started first, before HTTP.
    let role = Pid::from_raw((*children.first().context("no role runs")?).try_into()?);
    kill(role, Signal::SIGSTOP)?;
    let unhealthy = wait_for_state(&server, 503, "role");
    kill(role, Signal::SIGCONT)?;
    unhealthy?;
    wait_for_state(&server, 200, "ok")
}
