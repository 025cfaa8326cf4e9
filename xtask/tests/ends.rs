//! How it ends, and how it does not: signals, broken pipes, and the supervisor of `serve`.

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};
use xtask::build::Arch;
use xtask::clients::nfs::{Auth, Call, Client, How, Set, record, stable_how};
use xtask::machines::port::Port;
use xtask::machines::server::{Server, ServerOptions, binary, public_dir};
use xtask::setup::{self, Package};

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
                &record(&Call::read(&file, 0, 1 << 20).message(1, &Auth::root())).repeat(32),
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
        server
            .connect()?
            .send(&record(&Call::read(&file, 0, 1 << 20).message(1, &Auth::root())).repeat(8))?;
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
    // The next role is to be found where this one was.
    let port = Port::reserve()?;
    let server = Server::start(ServerOptions {
        role: "serve",
        port: port.number(),
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

/// One who makes files, each for good, until the server is gone; the names of those that were acknowledged.
fn write_until_the_end(server: &Server, directory: &Path, writer: usize) -> Result<Vec<String>> {
    let (mut client, root) = server.open(directory)?;
    let mut acknowledged = Vec::new();
    for number in 0.. {
        let name = format!("{writer}-{number}");
        let begun = format!("{name}.begun");
        let stable = if number % 2 == 0 {
            stable_how::FILE_SYNC
        } else {
            stable_how::UNSTABLE
        };
        let written = || -> Result<()> {
            let file = client.create(&root, &begun, How::Unchecked(Set::default()))?;
            let verifier = client.write_all(&file, 0, stable, &content(&name), 64 << 10)?;
            if stable == stable_how::UNSTABLE {
                ensure!(client.commit(&file, 0, 0)? == verifier);
            }
            client.rename(&root, &begun, &root, &name)
        }();
        match written {
            Ok(()) => acknowledged.push(name),
            Err(_) => break,
        }
    }
    Ok(acknowledged)
}

/// What a file of this name is to hold.
fn content(name: &str) -> Vec<u8> {
    name.bytes().cycle().take(200_000).collect()
}

/// One who reads megabytes until the server is gone: each reply is whole, or there is none.
fn read_until_the_end(server: &Server, directory: &Path, large: &[u8]) -> Result<usize> {
    let (mut client, root) = server.open(directory)?;
    let file = client.lookup(&root, "large")?;
    let mut count = 0;
    while let Ok((bytes, _)) = client.read(&file, 0, 1 << 20) {
        ensure!(
            bytes == &large[..1 << 20],
            "a reply is not what the file is"
        );
        count += 1;
    }
    Ok(count)
}

#[test]
fn what_was_acknowledged_under_load_is_there_after_it_was_stopped() -> Result<()> {
    let large: Vec<u8> = (0..4u32 << 20).map(|at| (at >> 8 ^ at) as u8).collect();
    for (role, mode) in [("nfs", "rw"), ("serve", "rw"), ("serve", "rw,async")] {
        let directory = public_dir()?;
        fs::write(directory.path().join("large"), &large)?;
        let options = ServerOptions {
            role,
            exports: vec![format!(
                "{}:{mode},no_root_squash",
                directory.path().display()
            )],
            ..ServerOptions::default()
        };
        let server = Server::start(options.clone())?;
        let (names, reads, asked) = thread::scope(|scope| -> Result<_> {
            let (server, path) = (&server, directory.path());
            let writers: Vec<_> = (0..4)
                .map(|writer| scope.spawn(move || write_until_the_end(server, path, writer)))
                .collect();
            let reader = scope.spawn(|| read_until_the_end(server, path, &large));
            sleep(Duration::from_millis(500));
            let asked = Instant::now();
            server.signal(Signal::SIGTERM)?;
            let mut names = Vec::new();
            for writer in writers {
                names.extend(writer.join().expect("a writer failed")?);
            }
            let reads = reader.join().expect("the reader failed")?;
            Ok((names, reads, asked))
        })?;
        let (status, _) = server.wait_for_end()?;
        ensure!(
            status.code() == Some(0) && asked.elapsed() < Duration::from_secs(3),
            "{role}: {status} after {:?}",
            asked.elapsed()
        );
        ensure!(!names.is_empty() && reads > 0, "{role}: nothing was done");
        let again = Server::start(options)?;
        let (mut client, root) = again.open(directory.path())?;
        for name in names {
            let file = client
                .lookup(&root, &name)
                .with_context(|| format!("{role} said that {name} is there"))?;
            let mut read: Vec<u8> = Vec::new();
            while read.len() < 200_000 {
                let (bytes, _) = client.read(&file, read.len() as u64, 1 << 20)?;
                ensure!(!bytes.is_empty(), "{role}: {name} is short");
                read.extend(bytes);
            }
            ensure!(
                read == content(&name),
                "{role}: {name} holds something else"
            );
        }
    }
    Ok(())
}

#[test]
fn names_that_may_wait_are_on_disk_before_it_ends() -> Result<()> {
    setup::need(&[Package::STRACE])?;
    let (directory, place) = (public_dir()?, public_dir()?);
    let trace = place.path().join("trace");
    let server = Server::start(ServerOptions {
        exports: vec![format!("{}:rw,async", directory.path().display())],
        through: ["strace", "-f", "-e", "trace=/mkdir|sync", "-o"]
            .map(String::from)
            .into_iter()
            .chain([trace.display().to_string()])
            .collect(),
        arguments: vec!["--handles".into(), "path".into()],
        ..ServerOptions::default()
    })?;
    std::os::unix::fs::chown(directory.path(), Some(65534), Some(65534))?;
    let (mut client, root) = server.open(directory.path())?;
    client.mkdir(&root, "new", Set::default())?;
    // At once: after a second without requests it would be done anyway.
    for child in server.children()? {
        kill(Pid::from_raw(child.try_into()?), Signal::SIGTERM)?;
    }
    server.wait_for_end()?;
    let text = fs::read_to_string(&trace)?;
    let (_, behind) = text
        .rsplit_once("mkdirat(")
        .with_context(|| format!("nothing was made: {text}"))?;
    ensure!(behind.contains("sync("), "it is not on disk: {text}");
    Ok(())
}

#[test]
fn a_role_that_hangs_holds_the_end_up_for_five_seconds() -> Result<()> {
    let directory = public_dir()?;
    let mut server = Server::start(ServerOptions {
        role: "serve",
        ..ServerOptions::serving(&[directory.path()])
    })?;
    let child = *server.children()?.first().context("no role")?;
    kill(Pid::from_raw(child.try_into()?), Signal::SIGSTOP)?;
    let start = Instant::now();
    server.signal(Signal::SIGTERM)?;
    // Kubernetes gives ten in the sample.
    while server.is_alive()? {
        ensure!(start.elapsed() < Duration::from_secs(8), "it goes on");
        sleep(Duration::from_millis(20));
    }
    let (status, _) = server.wait_for_end()?;
    ensure!(status.code() == Some(0), "it ended with {status}");
    ensure!(!is_running(child), "the role is still there");
    Ok(())
}
