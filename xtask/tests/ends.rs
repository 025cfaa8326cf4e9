//! How it ends, and how it does not: signals, broken pipes, and the supervisor of `serve`.

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use xtask::build::Arch;
use xtask::client::{Auth, Client, Nfs, Procedure, record};
use xtask::server::{Server, ServerOptions, binary, public_dir};

#[test]
fn both_signals_end_it_with_zero_whatever_its_clients_do() -> Result<()> {
    for role in ["nfs", "serve"] {
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let directory = public_dir()?;
            fs::write(directory.path().join("large"), vec![0; 4 << 20])?;
            let server = Server::start(ServerOptions {
                role,
                ..ServerOptions::serving(&[directory.path()])
            })?;
            // One that is idle, one amid a request, one that does not read.
            let (mut idle, root) = server.open(directory.path())?;
            let file = idle.lookup(&root, "large")?;
            let mut amid = server.connect()?;
            amid.send(&[0x80, 0, 0, 100, 1, 2, 3])?;
            let mut stuck = server.connect()?;
            stuck.send(
                &record(
                    &Nfs::Read {
                        file: &file,
                        offset: 0,
                        count: 1 << 20,
                    }
                    .message(1, &Auth::root()),
                )
                .repeat(32),
            )?;
            sleep(Duration::from_millis(50));
            let children = server.children()?;
            ensure!(
                children.is_empty() == (role == "nfs"),
                "{role} has the children {children:?}"
            );
            let (status, time) = server.end_by(signal)?;
            ensure!(
                status.code() == Some(0),
                "{role} ended with {status} after {signal}"
            );
            ensure!(
                time < Duration::from_secs(1),
                "{role} took {time:?} to end after {signal}"
            );
            ensure!(
                !children.iter().any(|&child| is_running(child)),
                "{role} left a child behind after {signal}"
            );
        }
    }
    Ok(())
}

/// Whether the process exists and is no zombie.
fn is_running(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .starts_with(" Z")
    })
}

#[test]
fn a_broken_pipe_never_kills_it() -> Result<()> {
    let directory = public_dir()?;
    fs::write(directory.path().join("large"), vec![0; 4 << 20])?;
    let mut server = Server::start(ServerOptions::serving(&[directory.path()]))?;
    server.signal(Signal::SIGPIPE)?;
    let (mut client, root) = server.open(directory.path())?;
    let file = client.lookup(&root, "large")?;
    for _ in 0..50 {
        // Gone while megabytes are on their way.
        server.connect()?.send(
            &record(
                &Nfs::Read {
                    file: &file,
                    offset: 0,
                    count: 1 << 20,
                }
                .message(1, &Auth::root()),
            )
            .repeat(8),
        )?;
    }
    client.attr(&root)?;
    ensure!(server.is_alive()?, "it ended");

    // Nobody reads what it says any more.
    let mut command = Command::new(binary(Arch::X86_64)?);
    command
        .args([
            "nfs",
            "-n",
            "0",
            "-l",
            "127.0.0.1",
            "-p",
            "--handles",
            "path",
            "--export",
        ])
        .arg(directory.path());
    let mut child = command.stderr(Stdio::piped()).spawn()?;
    let result = speaks_into_a_closed_pipe(&mut child, directory.path());
    child.kill()?;
    child.wait()?;
    result
}

fn speaks_into_a_closed_pipe(child: &mut Child, directory: &Path) -> Result<()> {
    let mut lines = BufReader::new(child.stderr.take().context("no stderr")?)
        .lines()
        .map_while(Result::ok);
    let line = lines
        .find(|line| line.contains("listening on "))
        .context("it does not listen")?;
    let place = line
        .split(' ')
        .find(|word| word.starts_with("127.0.0.1:"))
        .context("no address")?;
    drop(lines);
    let mut client = Client::connect(place.parse()?)?;
    ensure!(client.mount("/no such export").is_err());
    client.mount(&directory.display().to_string())?;
    ensure!(
        child.try_wait()?.is_none(),
        "it ended when its stderr was closed"
    );
    Ok(())
}

/// Waits until `serve` has a child other than `old` that answers.
fn new_child(server: &Server, old: u32, directory: &Path) -> Result<u32> {
    let start = Instant::now();
    loop {
        let answer = server
            .open(directory)
            .and_then(|(mut client, root)| client.attr(&root));
        let children = server.children()?;
        match (answer, &children[..]) {
            (Ok(_), &[child]) if child != old => return Ok(child),
            (answer, _) => ensure!(
                start.elapsed() < Duration::from_secs(10),
                "no new role: children {children:?}, {answer:?}"
            ),
        }
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn serve_restarts_a_killed_role_and_takes_it_along_when_it_dies() -> Result<()> {
    let directory = public_dir()?;
    // A port that stays the same over restarts: one that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let server = Server::start(ServerOptions {
        role: "serve",
        port,
        ..ServerOptions::serving(&[directory.path()])
    })?;
    let first = new_child(&server, 0, directory.path())?;
    kill(Pid::from_raw(first.try_into()?), Signal::SIGKILL)?;
    let second = new_child(&server, first, directory.path())?;
    ensure!(
        server
            .lines()
            .iter()
            .any(|line| line.contains("nfs") && line.contains("again")),
        "nothing was said: {:#?}",
        server.lines()
    );

    server.kill()?;
    let start = Instant::now();
    while is_running(second) {
        ensure!(
            start.elapsed() < Duration::from_secs(1),
            "the role outlives its supervisor"
        );
        sleep(Duration::from_millis(10));
    }
    Ok(())
}
