//! Clients that disconnect and servers that are killed while writing, removed files that are open, and leaked processes,
//! descriptors and sockets.

use super::{check_alive, pattern};
use anyhow::{Context, Result, ensure};
use cases::random::{Random, seed};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use xtask::clients::sftp::request::init;
use xtask::clients::sftp::{Attrs, Reply, Request, Sftp, SftpOptions, Status, Wire, open};
use xtask::machines::server::{fd_count, public_dir};
use xtask::machines::wait_for;
use xtask::testing::is_full_run;

const BLOCK: usize = 40_000;

/// The program that ends the session.
#[derive(Clone, Copy, Debug)]
enum End {
    Client,
    Server,
}

/// Pipelines WRITEs until the program `end` ends the session. The blocks that were acknowledged before must be in the file.
fn writes_until(end: End, wire: Wire, random: &mut Random) -> Result<usize> {
    let directory = public_dir()?;
    let mut client = Sftp::start(&SftpOptions::in_directory(directory.path()).with_wire(wire))?;
    let handle = client.create("file")?;
    let blocks: Vec<Vec<u8>> = (0..40)
        .map(|number| pattern(9, number * BLOCK as u64, BLOCK))
        .collect();
    let bytes: Vec<u8> = blocks
        .iter()
        .zip(0_u32..)
        .flat_map(|(data, number)| {
            Request::Write(&handle, u64::from(number) * BLOCK as u64, data).packet(number)
        })
        .collect();
    let cut = random.below(bytes.len());
    client.send(&bytes[..cut])?;
    // Reads some of the replies.
    let mut acknowledged = Vec::new();
    for _ in 0..random.below(1 + cut / (BLOCK + 50)) {
        let message = client.receive()?.context("no answer")?;
        let (number, reply) = Reply::parse(&message)?;
        ensure!(reply.status() == Some(Status::OK), "{reply:?}");
        acknowledged.push(number as usize);
    }
    match end {
        End::Client => {
            let ended = client.vanish()?;
            ensure!(ended.is_client_gone(wire), "{ended:?}");
        }
        End::Server => {
            client.process.signal(nix::sys::signal::Signal::SIGKILL)?;
            client.wait()?;
        }
    }
    let file = fs::read(directory.path().join("file"))?;
    for number in &acknowledged {
        let from = number * BLOCK;
        ensure!(
            file.get(from..from + BLOCK) == Some(&blocks[*number][..]),
            "block {number} was acknowledged, but is not in the file"
        );
    }
    // The file has no other bytes than those written. Not checked for a client that hangs up a terminal: the kernel discards some
    // of the terminal's input, but not what follows, so that the server receives data with a gap.
    if !matches!((end, wire), (End::Client, Wire::Pty)) {
        let wrong = file
            .iter()
            .zip(pattern(9, 0, file.len()))
            .position(|(a, b)| *a != b && *a != 0);
        ensure!(wrong.is_none(), "the byte at {wrong:?} was never written");
    }
    Ok(acknowledged.len())
}

#[test]
fn acknowledged_blocks_survive_disconnect_or_kill() -> Result<()> {
    let mut random = Random::new(seed());
    let full = is_full_run();
    let mut acknowledged = 0;
    for round in 0..if full { 2000 } else { 90 } {
        let ending = [End::Client, End::Server][round % 2];
        let wire = Wire::ALL[round % 3];
        acknowledged += writes_until(ending, wire, &mut random)
            .with_context(|| format!("ended by {ending:?} over {wire:?}"))?;
    }
    // With few acknowledged blocks, the test would prove nothing.
    ensure!(
        acknowledged > 100,
        "{acknowledged} blocks were acknowledged"
    );
    Ok(())
}

#[test]
fn removed_file_stays_usable_by_its_handle() -> Result<()> {
    let directory = public_dir()?;
    for options in [
        SftpOptions::in_directory(directory.path()),
        SftpOptions::jailed(directory.path()),
    ] {
        let mut client = Sftp::start(&options)?;
        client.write_file("file", b"before")?;
        let handle = client.open_both("file")?;
        fs::remove_file(directory.path().join("file"))?;
        fs::write(directory.path().join("file"), "another")?;
        client.write_at(&handle, 6, b" and after")?;
        client.fsync(&handle)?;
        ensure!(client.read(&handle, 0, 100)?.as_deref() == Some(b"before and after".as_slice()));
        ensure!(client.fstat(&handle)?.size == Some(16));
        client.set_fstat(&handle, Attrs::size(3))?;
        client.set_fstat(&handle, Attrs::mode(0o600))?;
        client.set_fstat(&handle, Attrs::times(1, 2))?;
        ensure!(client.read(&handle, 0, 100)?.as_deref() == Some(b"bef".as_slice()));
        client.close(&handle)?;
        ensure!(client.read_file("file")? == b"another");
        let mode = fs::metadata(directory.path().join("file"))?
            .permissions()
            .mode();
        ensure!(mode & 0o777 != 0o600, "the new file was changed");
    }
    Ok(())
}

#[test]
fn removed_start_directory_is_not_found() -> Result<()> {
    let directory = public_dir()?;
    let path = directory.path().join("going");
    fs::create_dir(&path)?;
    let mut client = Sftp::start(&SftpOptions::in_directory(&path))?;
    check_alive(&mut client)?;
    fs::remove_dir(&path)?;
    for request in [
        Request::Stat(b"file"),
        Request::RealPath(b"."),
        Request::RealPath(b"file"),
        Request::Open(b"file", open::WRITE | open::CREATE, Attrs::default()),
        Request::MkDir(b"made", Attrs::default()),
        Request::ExpandPath(b"~"),
    ] {
        let status = client.error_status(&request)?;
        ensure!(
            status == Some(Status::NO_SUCH_FILE),
            "{request:?} was answered {status:?}"
        );
    }
    let there = directory.path().join("there");
    let there = there.display().to_string();
    client.write_file(&there, b"there")?;
    ensure!(client.read_file(&there)? == b"there");
    Ok(())
}

/// A client of a listening server: opens a session, opens a file twice, and reads the replies.
fn visit(socket: &Path) -> Result<UnixStream> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let open = Request::Open(b"file", open::READ, Attrs::default());
    stream.write_all(&[init(3), open.packet(1), open.packet(2)].concat())?;
    for _ in 0..3 {
        let mut head = [0; 4];
        stream.read_exact(&mut head)?;
        let mut message = vec![0; u32::from_be_bytes(head) as usize];
        stream.read_exact(&mut message)?;
        ensure!(message[0] == 2 || message[0] == 102, "{message:02x?}");
    }
    Ok(stream)
}

#[test]
fn thousands_of_connections_leak_nothing() -> Result<()> {
    let directory = public_dir()?;
    fs::write(directory.path().join("file"), "content")?;
    // The name's end looks like port 0, which stands for any free port.
    let socket = directory.path().join("socket:0");
    let path = socket.display().to_string();
    let options = SftpOptions::in_directory(directory.path()).with_arguments(&["--listen", &path]);
    let mut server = Sftp::spawn(&options)?;
    let expected = format!("listening on {path}: only this user");
    server
        .process
        .wait_for_line(&expected, Duration::from_secs(10))?;
    let mode = fs::metadata(&socket)?.permissions().mode() & 0o777;
    ensure!(mode == 0o600, "the socket's mode is {mode:o}");
    // Zombies, too, are children.
    let wait_until_settled = |server: &Sftp| {
        let children = || server.process.children().unwrap_or_default();
        wait_until("settled", || children().is_empty())
    };
    drop(visit(&socket)?);
    wait_until_settled(&server)?;
    let before = fd_count(server.process.pid())?;
    let memory = server.process.anonymous_kib()?;
    let full = is_full_run();
    let mut random = Random::new(seed());
    for round in 0..if full { 20_000 } else { 1000 } {
        match random.below(4) {
            0 => drop(UnixStream::connect(&socket)?),
            1 => {
                let mut stream = UnixStream::connect(&socket)?;
                // The server may end the session before it has read all bytes.
                let _ = stream.write_all(&random.bytes(50));
            }
            2 => drop(visit(&socket).with_context(|| format!("round {round}"))?),
            _ => {
                // Connects a client that reads none of its many replies.
                let mut stream = visit(&socket)?;
                let list = Request::RealPath(b"file");
                let _ = stream.write_all(&list.packet(3).repeat(500));
            }
        }
    }
    wait_until_settled(&server)?;
    ensure!(server.process.is_alive()?);
    let after = fd_count(server.process.pid())?;
    ensure!(after <= before, "{after} descriptors instead of {before}");
    let grown = server.process.anonymous_kib()?.saturating_sub(memory);
    ensure!(grown <= 64, "memory grew by {grown} KiB");
    drop(visit(&socket)?);
    Ok(())
}

/// Waits until `condition` returns true; `what` describes the condition in the error.
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) -> Result<()> {
    let reached = wait_for(Duration::from_secs(60), || Ok(condition().then_some(())))?;
    reached.with_context(|| format!("not {what} after 60 s"))
}

#[test]
fn listener_removes_only_its_own_socket() -> Result<()> {
    let directory = public_dir()?;
    fs::write(directory.path().join("file"), "content")?;
    let socket = directory.path().join("socket");
    let path = socket.display().to_string();
    let options = SftpOptions::in_directory(directory.path()).with_arguments(&["--listen", &path]);
    let listens = || UnixStream::connect(&socket).is_ok();
    let mut server = Sftp::spawn(&options)?;
    wait_until("listening", listens)?;
    // The end of a session does not end the listener.
    let pid = server.process.pid();
    let mut ended = visit(&socket)?;
    for child in fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?.split_whitespace()
    {
        kill(Pid::from_raw(child.parse()?), Signal::SIGTERM)?;
    }
    ensure!(
        ended.read(&mut [0])? == 0,
        "the session continues after SIGTERM"
    );
    let _visitor = visit(&socket)?;
    server.process.signal(Signal::SIGTERM)?;
    wait_until("ended", || !server.process.is_alive().unwrap_or(true))?;
    ensure!(!socket.exists(), "the socket file was not removed");
    // A socket file that another server has bound in the meantime is not removed.
    let mut old = Sftp::spawn(&options)?;
    wait_until("listening again", listens)?;
    fs::rename(&socket, directory.path().join("old"))?;
    let _new = Sftp::spawn(&options)?;
    wait_until("listening beside it", listens)?;
    old.process.signal(Signal::SIGTERM)?;
    wait_until("ended again", || !old.process.is_alive().unwrap_or(true))?;
    drop(visit(&socket)?);
    Ok(())
}
