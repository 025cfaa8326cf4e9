//! Ends and restarts of servers: signals, broken pipes, the supervisor of `serve`.

#[path = "ends/parents.rs"]
mod parents;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};
use xtask::build::Arch;
use xtask::clients::nfs::{Auth, Call, Client, How, Set, record, stable_how};
use xtask::machines::port::Port;
use xtask::machines::server::{Namespace, Server, ServerOptions, binary, public_dir};
use xtask::setup;

#[test]
fn sigterm_and_sigint_end_busy_server_with_zero() -> Result<()> {
    for role in ["nfs", "serve"] {
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let directory = public_dir()?;
            fs::write(directory.path().join("large"), vec![0; 4 << 20])?;
            let server = Server::start(ServerOptions {
                role,
                ..ServerOptions::serving(&[directory.path()])
            })?;
            // Three clients: `idle` waits, `amid` has sent part of a request, `stuck` does not read its replies.
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

/// Returns true if the process exists and is not a zombie.
fn is_running(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .starts_with(" Z")
    })
}

/// Time within which a role ends after SIGKILL: on a busy host, it first waits for a processor.
const KILLED: Duration = Duration::from_secs(1);

/// Waits for the end of a role.
fn await_end(role: u32, within: Duration) -> Result<()> {
    let start = Instant::now();
    while is_running(role) {
        ensure!(
            start.elapsed() < within,
            "the role still runs after {within:?}"
        );
        sleep(Duration::from_millis(10));
    }
    Ok(())
}

#[test]
fn broken_pipe_does_not_end_server() -> Result<()> {
    let directory = public_dir()?;
    fs::write(directory.path().join("large"), vec![0; 4 << 20])?;
    let mut server = Server::start(ServerOptions::serving(&[directory.path()]))?;
    server.signal(Signal::SIGPIPE)?;
    let (mut client, root) = server.open(directory.path())?;
    let file = client.lookup(&root, "large")?;
    for _ in 0..50 {
        // Each connection is closed while megabytes of replies are still being sent.
        server
            .connect()?
            .send(&record(&Call::read(&file, 0, 1 << 20).message(1, &Auth::root())).repeat(8))?;
    }
    client.attr(&root)?;
    ensure!(server.is_alive()?, "the server ended");

    // The server must also continue after the reader of its stderr has closed the pipe.
    let mut command = Command::new(binary(Arch::X86_64)?);
    command
        .args("nfs -n 0 -l 127.0.0.1 -p --handles path --export".split(' '))
        .arg(directory.path());
    let mut child = command.stderr(Stdio::piped()).spawn()?;
    let result = serve_with_closed_stderr(&mut child, directory.path());
    child.kill()?;
    child.wait()?;
    result
}

fn serve_with_closed_stderr(child: &mut Child, directory: &Path) -> Result<()> {
    let mut lines = BufReader::new(child.stderr.take().context("the server has no stderr")?)
        .lines()
        .map_while(Result::ok);
    let line = lines
        .find(|line| line.contains("listening on "))
        .context("the server does not listen")?;
    let address = line
        .split(' ')
        .find(|word| word.starts_with("127.0.0.1:"))
        .context("no address in the server's line")?;
    drop(lines);
    let mut client = Client::connect(address.parse()?)?;
    ensure!(client.mount("/no such export").is_err());
    client.mount(&directory.display().to_string())?;
    ensure!(
        child.try_wait()?.is_none(),
        "the server ended after its stderr was closed"
    );
    Ok(())
}

/// Waits until `serve` has a child other than `old` (PID) that answers. Returns the PID of this child.
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
                "no new child serves: children {children:?}, {answer:?}"
            ),
        }
        sleep(Duration::from_millis(20));
    }
}

/// Starts `serve`, preceded by `wrapper`. With a reserved port, a restarted role listens on the same port as the one before it.
fn supervised(directory: &Path, wrapper: Vec<String>) -> Result<(Server, Port)> {
    let port = Port::reserve()?;
    let server = Server::start(ServerOptions {
        role: "serve",
        port: port.number(),
        wrapper,
        ..ServerOptions::serving(&[directory])
    })?;
    Ok((server, port))
}

/// At Ctrl-C, every process of the terminal's group gets the signal.
#[test]
fn serve_says_once_that_it_stops() -> Result<()> {
    let directory = public_dir()?;
    for (more, sandboxes) in [
        (&[][..], &["mdns", "nfs"][..]),
        (&["--one-process"], &["serve"]),
    ] {
        let host = Namespace::new()?;
        let mut command = host.command(&binary(Arch::X86_64)?.to_string_lossy());
        command.args([
            "serve",
            "-p",
            "--handles",
            "path",
            "--name",
            "box",
            "--export",
        ]);
        command.arg(directory.path()).args(more);
        let server = command.stderr(Stdio::piped()).process_group(0).spawn()?;
        sleep(Duration::from_secs(2));
        kill(Pid::from_raw(-i32::try_from(server.id())?), Signal::SIGINT)?;
        let output = server.wait_with_output()?;
        let lines = String::from_utf8(output.stderr)?;
        let of = |part: &str| lines.lines().filter(|line| line.contains(part)).count();
        ensure!(of(": stopping") == 1, "{lines}");
        ensure!(of(": sandbox: ") == sandboxes.len(), "{lines}");
        for role in sandboxes {
            ensure!(of(&format!(": sandbox: {role}: ")) == 1, "{lines}");
        }
    }
    Ok(())
}

#[test]
fn serve_restarts_killed_role_and_ends_with_it() -> Result<()> {
    let directory = public_dir()?;
    let (server, _port) = supervised(directory.path(), Vec::new())?;
    let first = new_child(&server, 0, directory.path())?;
    kill(Pid::from_raw(first.try_into()?), Signal::SIGKILL)?;
    let second = new_child(&server, first, directory.path())?;
    ensure!(
        server
            .lines()
            .iter()
            .any(|line| line == "stowaway: nfs was killed; restarting"),
        "no line reports the restart: {:#?}",
        server.lines()
    );

    server.kill()?;
    await_end(second, KILLED)
}

/// A role that answered a client is restarted after the shortest pause, however often it ends.
#[test]
fn pause_before_restart_stays_short_after_answers() -> Result<()> {
    let directory = public_dir()?;
    let (server, _port) = supervised(directory.path(), Vec::new())?;
    let mut child = new_child(&server, 0, directory.path())?;
    for _ in 0..10 {
        kill(Pid::from_raw(child.try_into()?), Signal::SIGKILL)?;
        child = new_child(&server, child, directory.path())?;
    }
    Ok(())
}

/// A role that does nothing when its supervisor asks is killed and restarted.
#[test]
fn role_silent_to_its_supervisor_is_restarted() -> Result<()> {
    let directory = public_dir()?;
    let (server, _port) = supervised(directory.path(), Vec::new())?;
    let child = new_child(&server, 0, directory.path())?;
    // A stopped process does what one does whose system call never returns: nothing.
    kill(Pid::from_raw(child.try_into()?), Signal::SIGSTOP)?;
    await_end(child, Duration::from_secs(60))?;
    new_child(&server, child, directory.path())?;
    ensure!(
        server
            .lines()
            .iter()
            .any(|line| line.contains("nfs has not answered for 30 s; killing it")),
        "no line reports the role: {:#?}",
        server.lines()
    );
    Ok(())
}

/// Two instances are started at once for one port: one serves, the other reports that the port is in use.
#[test]
fn instances_started_together_share_no_port() -> Result<()> {
    let directory = public_dir()?;
    for _ in 0..10 {
        let port = Port::reserve()?.number().to_string();
        let start = || {
            Command::new(binary(Arch::X86_64)?)
                .args(["serve", "--no-mdns", "--loops", "2", "-p", "-n", &port])
                .args(["-l", "127.0.0.1", "--handles", "path", "--export"])
                .arg(directory.path())
                .stderr(Stdio::piped())
                .spawn()
                .context("cannot start the server")
        };
        let mut both = [start()?, start()?];
        let until = Instant::now() + Duration::from_secs(10);
        let mut ended = Vec::new();
        while ended.is_empty() && Instant::now() < until {
            for (place, server) in both.iter_mut().enumerate() {
                if let Some(status) = server.try_wait()? {
                    ended.push((place, status.code()));
                }
            }
            sleep(Duration::from_millis(5));
        }
        let mut outputs = Vec::new();
        for mut server in both {
            // The one that serves ends by SIGTERM; sending it to the other does nothing.
            let _ = kill(Pid::from_raw(server.id().try_into()?), Signal::SIGTERM);
            let mut output = String::new();
            let stderr = server.stderr.as_mut().context("the server has no stderr")?;
            stderr.read_to_string(&mut output)?;
            server.wait()?;
            outputs.push(output);
        }
        ensure!(
            matches!(&ended[..], &[(place, Some(1))] if outputs[place].contains("in use")),
            "{ended:?}: {outputs:#?}"
        );
    }
    Ok(())
}

/// Creates, writes, syncs and renames files until the server ends. Returns the names of the files whose RENAME was acknowledged.
fn write_until_server_ends(
    server: &Server,
    directory: &Path,
    writer: usize,
) -> Result<Vec<String>> {
    let (mut client, root) = server.open(directory)?;
    let mut acknowledged = Vec::new();
    for number in 0.. {
        let name = format!("{writer}-{number}");
        let temporary = format!("{name}.begun");
        let stable = if number % 2 == 0 {
            stable_how::FILE_SYNC
        } else {
            stable_how::UNSTABLE
        };
        let written = || -> Result<()> {
            let file = client.create(&root, &temporary, How::Unchecked(Set::default()))?;
            let verifier = client.write_all(&file, 0, stable, &content(&name), 64 << 10)?;
            if stable == stable_how::UNSTABLE {
                ensure!(client.commit(&file, 0, 0)? == verifier);
            }
            client.rename(&root, &temporary, &root, &name)
        }();
        match written {
            Ok(()) => acknowledged.push(name),
            Err(_) => break,
        }
    }
    Ok(acknowledged)
}

/// The expected contents of the file `name`.
fn content(name: &str) -> Vec<u8> {
    name.bytes().cycle().take(200_000).collect()
}

/// Reads 1 MiB repeatedly until the server ends. Every reply must be complete and correct. Returns their number.
fn read_until_server_ends(server: &Server, directory: &Path, large: &[u8]) -> Result<usize> {
    let (mut client, root) = server.open(directory)?;
    let file = client.lookup(&root, "large")?;
    let mut count = 0;
    while let Ok((bytes, _)) = client.read(&file, 0, 1 << 20) {
        ensure!(bytes == &large[..1 << 20], "a reply differs from the file");
        count += 1;
    }
    Ok(count)
}

#[test]
fn acknowledged_files_survive_sigterm_under_load() -> Result<()> {
    let large: Vec<u8> = (0..4u32 << 20)
        .map(|index| (index >> 8 ^ index) as u8)
        .collect();
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
        let (names, reads, signalled) = thread::scope(|scope| -> Result<_> {
            let (server, path) = (&server, directory.path());
            let writers: Vec<_> = (0..4)
                .map(|writer| scope.spawn(move || write_until_server_ends(server, path, writer)))
                .collect();
            let reader = scope.spawn(|| read_until_server_ends(server, path, &large));
            sleep(Duration::from_millis(500));
            let signalled = Instant::now();
            server.signal(Signal::SIGTERM)?;
            let mut names = Vec::new();
            for writer in writers {
                names.extend(writer.join().expect("a writer failed")?);
            }
            let reads = reader.join().expect("the reader failed")?;
            Ok((names, reads, signalled))
        })?;
        let (status, _) = server.wait_for_end()?;
        ensure!(
            status.code() == Some(0) && signalled.elapsed() < Duration::from_secs(3),
            "{role}: {status} after {:?}",
            signalled.elapsed()
        );
        ensure!(
            !names.is_empty() && reads > 0,
            "{role}: the clients did nothing"
        );
        let again = Server::start(options)?;
        let (mut client, root) = again.open(directory.path())?;
        for name in names {
            let file = client
                .lookup(&root, &name)
                .with_context(|| format!("{role} acknowledged {name}"))?;
            let mut read: Vec<u8> = Vec::new();
            while read.len() < 200_000 {
                let (bytes, _) = client.read(&file, read.len() as u64, 1 << 20)?;
                ensure!(!bytes.is_empty(), "{role}: {name} is too short");
                read.extend(bytes);
            }
            ensure!(
                read == content(&name),
                "{role}: {name} has the wrong content"
            );
        }
    }
    Ok(())
}

#[test]
fn async_names_are_synced_before_exit() -> Result<()> {
    setup::install_packages(&["strace"])?;
    let (directory, trace_dir) = (public_dir()?, public_dir()?);
    let trace = trace_dir.path().join("trace");
    let server = Server::start(ServerOptions {
        exports: vec![format!("{}:rw,async", directory.path().display())],
        wrapper: ["strace", "-f", "-e", "trace=/mkdir|sync", "-o"]
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
    // SIGTERM is sent at once, because after a second without requests the server would sync anyway.
    for child in server.children()? {
        kill(Pid::from_raw(child.try_into()?), Signal::SIGTERM)?;
    }
    server.wait_for_end()?;
    let text = fs::read_to_string(&trace)?;
    let (_, after) = text
        .rsplit_once("mkdirat(")
        .with_context(|| format!("mkdirat was not called: {text}"))?;
    ensure!(
        after.contains("sync("),
        "the new name was not synced: {text}"
    );
    Ok(())
}

#[test]
fn hanging_role_is_killed_after_five_seconds() -> Result<()> {
    let directory = public_dir()?;
    let mut server = Server::start(ServerOptions {
        role: "serve",
        ..ServerOptions::serving(&[directory.path()])
    })?;
    let child = *server
        .children()?
        .first()
        .context("the supervisor has no child")?;
    kill(Pid::from_raw(child.try_into()?), Signal::SIGSTOP)?;
    let start = Instant::now();
    server.signal(Signal::SIGTERM)?;
    // Kubernetes kills the container of the sample ten seconds after SIGTERM. The supervisor must end before that.
    while server.is_alive()? {
        ensure!(
            start.elapsed() < Duration::from_secs(8),
            "the supervisor did not end within 8 s"
        );
        sleep(Duration::from_millis(20));
    }
    let (status, _) = server.wait_for_end()?;
    ensure!(
        status.code() == Some(0),
        "the supervisor ended with {status}"
    );
    await_end(child, KILLED)
}
