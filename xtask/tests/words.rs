//! What people read: one plain line for each mistake, help that fits a terminal, events, and the exit codes of every end.

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use xtask::build::Arch;
use xtask::client::{Auth, Client, Nfs, Procedure, Status, record};
use xtask::server::{Server, ServerOptions, binary, public_dir, root_for};

const USAGE: i32 = 2;
const FAILED: i32 = 1;

/// Runs the file to its end, which must come within five seconds.
fn run(words: &[&str]) -> Result<Output> {
    let mut child = Command::new(binary(Arch::X86_64)?)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let start = Instant::now();
    while child.try_wait()?.is_none() {
        if start.elapsed() > Duration::from_secs(5) {
            child.kill()?;
            let output = child.wait_with_output()?;
            anyhow::bail!(
                "stowaway {words:?} did not end; it said {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        sleep(Duration::from_millis(5));
    }
    Ok(child.wait_with_output()?)
}

/// The words lead to one line on stderr that contains all `parts`, nothing on stdout, and this exit code.
fn complains(words: &[&str], code: i32, parts: &[&str]) -> Result<()> {
    let output = run(words)?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(
        output.status.code() == Some(code),
        "stowaway {words:?} ended with {} instead of {code}: {said}",
        output.status
    );
    ensure!(
        output.stdout.is_empty(),
        "stowaway {words:?} printed {:?}",
        String::from_utf8_lossy(&output.stdout)
    );
    ensure!(
        said.lines().count() == 1 && said.ends_with('\n'),
        "stowaway {words:?} did not say one line:\n{said}"
    );
    ensure!(
        said.starts_with("stowaway: "),
        "stowaway {words:?} said {said}"
    );
    for part in parts {
        ensure!(
            said.contains(part),
            "stowaway {words:?} does not mention '{part}': {said}"
        );
    }
    Ok(())
}

#[test]
fn wrong_usage_is_one_line_and_two() -> Result<()> {
    let directory = public_dir()?;
    let good = directory.path().display().to_string();
    let unknown_option = format!("{good}:wibble");
    let cases: [(&[&str], &str); 14] = [
        (&["wibble"], "wibble"),
        (&["nfs"], "--export"),
        (&["nfs", "-p"], "--export"),
        (&["nfs", "--export"], "--export"),
        (&["nfs", "--export", ""], "--export"),
        (&["nfs", "--export", &unknown_option], "wibble"),
        (&["nfs", "--export", &good, "--wibble"], "--wibble"),
        (&["nfs", "--export", &good, "-x"], "-x"),
        (&["nfs", "--export", &good, "-n", "99999"], "99999"),
        (&["nfs", "--export", &good, "-n", "abc"], "abc"),
        (&["nfs", "--export", &good, "-m", "-1"], "-1"),
        (&["nfs", "--export", &good, "-n"], "-n"),
        (&["nfs", "--export", &good, "-l", "nowhere"], "nowhere"),
        (&["nfs", "--export", &good, "--handles", "wibble"], "wibble"),
    ];
    for (words, part) in cases {
        complains(words, USAGE, &[part])?;
    }
    Ok(())
}

#[test]
fn failures_at_the_start_are_one_line_and_one() -> Result<()> {
    let directory = public_dir()?;
    let good = directory.path().display().to_string();
    let file = directory.path().join("a file");
    fs::write(&file, "")?;
    let (file, missing) = (
        file.display().to_string(),
        directory.path().join("missing").display().to_string(),
    );
    complains(
        &["nfs", "--export", &missing, "-p", "-n", "0"],
        FAILED,
        &[&missing],
    )?;
    complains(
        &["nfs", "--export", &file, "-p", "-n", "0"],
        FAILED,
        &[&file, "directory"],
    )?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port().to_string();
    complains(
        &[
            "nfs",
            "--export",
            &good,
            "-p",
            "-l",
            "127.0.0.1",
            "-n",
            &port,
        ],
        FAILED,
        &[&port, "use"],
    )?;
    // An address of documentation: no machine has it.
    complains(
        &["nfs", "--export", &good, "-p", "-l", "192.0.2.1", "-n", "0"],
        FAILED,
        &["192.0.2.1"],
    )
}

#[test]
fn help_and_version_go_to_stdout_and_fit_a_terminal() -> Result<()> {
    for words in [
        &["--help"][..],
        &["-h"],
        &["help"],
        &["nfs", "--help"],
        &["nfs", "-h"],
        &["serve", "--help"],
    ] {
        let output = run(words)?;
        let text = String::from_utf8(output.stdout)?;
        ensure!(
            output.status.success() && output.stderr.is_empty(),
            "stowaway {words:?} ended with {}",
            output.status
        );
        ensure!(
            text.contains("stowaway") && text.ends_with('\n'),
            "stowaway {words:?} printed {text:?}"
        );
        let widest = text
            .lines()
            .map(|line| line.chars().count())
            .max()
            .unwrap_or_default();
        ensure!(
            text.lines().count() <= 24 && widest <= 80,
            "stowaway {words:?} prints {} lines of {widest}",
            text.lines().count()
        );
    }
    for words in [&["--version"][..], &["nfs", "--version"]] {
        let output = run(words)?;
        let text = String::from_utf8(output.stdout)?;
        ensure!(
            output.status.success() && text == format!("stowaway {}\n", env!("CARGO_PKG_VERSION")),
            "stowaway {words:?} printed {text:?}"
        );
    }
    Ok(())
}

#[test]
fn called_unfsd_it_is_the_nfs_role() -> Result<()> {
    let directory = public_dir()?;
    let mut command = Command::new(binary(Arch::X86_64)?);
    command
        .arg0("/sbin/unfsd")
        .args([
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
    let lines = BufReader::new(child.stderr.take().context("no stderr")?).lines();
    let listening = lines
        .map_while(Result::ok)
        .find(|line| line.contains("listening on 127.0.0.1:"));
    child.kill()?;
    child.wait()?;
    listening.context("unfsd does not listen").map(drop)
}

#[test]
fn asking_for_what_is_not_exported_is_refused_and_told() -> Result<()> {
    let directory = public_dir()?;
    fs::create_dir(directory.path().join("exported"))?;
    let server = Server::start(ServerOptions::serving(&[&directory
        .path()
        .join("exported")]))?;
    let mut client = Client::connect(server.mount())?;
    let inside = directory
        .path()
        .join("exported/missing")
        .display()
        .to_string();
    let above = directory.path().display().to_string();
    for path in [
        above.as_str(),
        &inside,
        "/",
        "",
        "relative",
        "/no such export",
        "/etc",
    ] {
        let error = client
            .mount(path)
            .err()
            .with_context(|| format!("{path:?} was mounted"))?;
        let status = error.downcast_ref::<Status>();
        ensure!(
            matches!(status, Some(&Status::ACCES | &Status::NOENT)),
            "MNT of {path:?}: {error:?}"
        );
    }
    server.wait_for_line("/no such export", Duration::from_secs(1))?;
    // However often it is asked for.
    let before = server.lines().len();
    for _ in 0..1000 {
        ensure!(client.mount("/no such export").is_err());
    }
    sleep(Duration::from_millis(200));
    let more = server.lines().len() - before;
    ensure!(more < 20, "a thousand equal requests made {more} lines");
    Ok(())
}

#[test]
fn control_bytes_of_peers_are_escaped() -> Result<()> {
    let directory = public_dir()?;
    let server = Server::start(ServerOptions::serving(&[directory.path()]))?;
    let before = server.lines().len();
    ensure!(
        Client::connect(server.mount())?
            .mount("/evil\n\r\t\x1b[31mred\x07\u{7f}\u{9b}end")
            .is_err()
    );
    server.wait_for_line("evil", Duration::from_secs(1))?;
    let lines = server.lines();
    ensure!(
        lines.len() == before + 1,
        "one request made {:#?}",
        &lines[before..]
    );
    ensure!(
        lines[before]
            .bytes()
            .all(|byte| (b' '..=b'~').contains(&byte)),
        "raw bytes in {:?}",
        lines[before]
    );
    ensure!(lines[before].contains("end"), "{:?} is cut", lines[before]);
    Ok(())
}

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

fn speaks_into_a_closed_pipe(child: &mut std::process::Child, directory: &Path) -> Result<()> {
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

#[test]
fn kernel_handles_on_demand_and_without_a_key() -> Result<()> {
    let directory = public_dir()?;
    let key = directory
        .path()
        .join("no such directory/key")
        .display()
        .to_string();
    let path = directory.path().display().to_string();
    if root_for("kernel handles") {
        // Without a place for the key there are still handles: those without a key.
        let server = Server::start(ServerOptions {
            arguments: vec!["--key-file".into(), key.clone()],
            ..ServerOptions::serving(&[directory.path()])
        });
        match server {
            Ok(server) => ensure!(
                server
                    .lines()
                    .iter()
                    .any(|line| line.contains("path handles")),
                "{:#?}",
                server.lines()
            ),
            Err(error) => ensure!(format!("{error:#}").contains(&key), "{error:#}"),
        }
        complains(
            &[
                "nfs",
                "--export",
                &path,
                "-n",
                "0",
                "-p",
                "--handles",
                "kernel",
                "--key-file",
                &key,
            ],
            FAILED,
            &[&key],
        )?;
    }
    Ok(())
}
