//! `sftp-server --listen` itself: its end, ended and silent sessions, and hosts that allow no process.

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::chown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use xtask::build::Arch;
use xtask::clients::sftp::request;
use xtask::machines::server::{Process, binary, message, public_dir, root_for};
use xtask::machines::wait_for;

const PATIENCE: Duration = Duration::from_secs(20);
/// Sessions at a time.
const PROCESS_COUNT_MAX: usize = 64;

/// Starts a listener at `socket`, preceded by the words of `wrapper`.
fn listen(socket: &Path, wrapper: &str, user: Option<u32>) -> Result<Process> {
    let file = socket.with_extension("stowaway");
    fs::copy(binary(Arch::X86_64)?, &file)?;
    let mut command = Command::new("env");
    command.args(wrapper.split(' ')).arg(file);
    command.args(["sftp-server", "--listen"]).arg(socket);
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    let listener = Process::start(&mut command)?;
    listener.wait_for_line("listening on", PATIENCE)?;
    Ok(listener)
}

/// Connects; sends INIT if `greets`, and then waits for VERSION.
fn connect(socket: &Path, greets: bool) -> Result<UnixStream> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    if greets {
        stream.write_all(&request::init(3))?;
        stream.read_exact(&mut [0; 5]).context("no VERSION")?;
    }
    Ok(stream)
}

#[test]
fn lines_begin_with_the_time() -> Result<()> {
    let directory = public_dir()?;
    let (stderr, writer) = std::io::pipe()?;
    let mut command = Command::new(binary(Arch::X86_64)?);
    command.args(["sftp-server", "--listen"]);
    command.arg(directory.path().join("socket")).stderr(writer);
    let mut listener = command.spawn()?;
    let mut line = String::new();
    BufReader::new(stderr).read_line(&mut line)?;
    listener.kill()?;
    listener.wait()?;
    ensure!(
        message(&line).starts_with("stowaway: listening on"),
        "{line}"
    );
    ensure!(message(&line) != line, "no time: {line}");
    Ok(())
}

#[test]
fn silent_sessions_give_way_ended_are_reaped() -> Result<()> {
    let directory = public_dir()?;
    let socket = directory.path().join("socket");
    let mut listener = listen(&socket, "--ignore-signal=CHLD --block-signal=TERM", None)?;
    let silent = (0..PROCESS_COUNT_MAX).map(|_| connect(&socket, false));
    let silent: Vec<_> = silent.collect::<Result<_>>()?;
    connect(&socket, true).context("beside 64 sessions without INIT")?;
    drop(silent);
    let no_child = || Ok(listener.children()?.is_empty().then_some(()));
    wait_for(Duration::from_secs(5), no_child)?.context("sessions that ended are not reaped")?;
    listener.signal(Signal::SIGTERM)?;
    wait_for(PATIENCE, || Ok((!listener.is_alive()?).then_some(())))?
        .context("SIGTERM does not end the listener")?;
    ensure!(!socket.exists(), "the socket file is left");
    Ok(())
}

#[test]
fn client_waits_until_a_process_can_be_made() -> Result<()> {
    const USER: u32 = 61_235;
    if !root_for("another user") {
        return Ok(());
    }
    let directory = public_dir()?;
    chown(directory.path(), Some(USER), Some(USER))?;
    let socket = directory.path().join("socket");
    let listener = listen(&socket, "prlimit --nproc=1:10", Some(USER))?;
    let mut client = UnixStream::connect(&socket)?;
    client.write_all(&request::init(3))?;
    listener.wait_for_line("must wait", PATIENCE)?;
    let pid = listener.pid().to_string();
    let raised = Command::new("prlimit")
        .args(["--nproc=10:10", "--pid", &pid])
        .uid(USER)
        .gid(USER)
        .status()?;
    ensure!(raised.success(), "{raised}");
    client.set_read_timeout(Some(PATIENCE))?;
    client.read_exact(&mut [0; 5]).context("no VERSION")?;
    let lines = listener.lines();
    let said = lines
        .iter()
        .filter(|line| line.ends_with("too many processes; raise the limit (ulimit -u, pids.max)"));
    ensure!(said.count() == 1, "{lines:#?}");
    Ok(())
}
