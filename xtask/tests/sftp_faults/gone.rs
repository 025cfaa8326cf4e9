//! Clients that go and servers that are killed in the middle of writing, files that go while they are open, and what is left of
//! all of them: nothing.

use super::{is_well, pattern};
use anyhow::{Context, Result, ensure};
use cases::random::{Random, seed};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};
use xtask::clients::sftp::request::init;
use xtask::clients::sftp::{Attrs, Reply, Request, Sftp, SftpOptions, Status, Wire, open};
use xtask::machines::server::{fd_count, public_dir};
use xtask::testing::full;

const BLOCK: usize = 40_000;

/// Who ends it.
#[derive(Clone, Copy, Debug)]
enum End {
    Client,
    Server,
}

/// Writes many blocks without waiting, then there is an end. What was acknowledged by then is in the file.
fn writes_until(end: End, wire: Wire, random: &mut Random) -> Result<usize> {
    let directory = public_dir()?;
    let mut client = Sftp::start(&SftpOptions::at(directory.path()).over(wire))?;
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
    // Answers that came until now, and perhaps some more.
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
            ensure!(ended.is_for_want_of_a_client(wire), "{ended:?}");
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
            "block {number} was acknowledged"
        );
    }
    // And nothing is there that nobody wrote. Only what lies in a terminal when it is hung up is thrown away by the host, and
    // what lies behind it may still be read: the stream has a hole then that no server can see.
    if !matches!((end, wire), (End::Client, Wire::Pty)) {
        let strange = file
            .iter()
            .zip(pattern(9, 0, file.len()))
            .position(|(a, b)| *a != b && *a != 0);
        ensure!(strange.is_none(), "another byte at {strange:?}");
    }
    Ok(acknowledged.len())
}

#[test]
fn what_was_acknowledged_is_in_the_file() -> Result<()> {
    let mut random = Random::new(seed());
    let full = full();
    let mut acknowledged = 0;
    for round in 0..if full { 2000 } else { 90 } {
        let end = [End::Client, End::Server][round % 2];
        let wire = Wire::ALL[round % 3];
        acknowledged += writes_until(end, wire, &mut random)
            .with_context(|| format!("{end:?} went, {wire:?}"))?;
    }
    // Else nothing was shown.
    ensure!(
        acknowledged > 100,
        "{acknowledged} blocks were acknowledged"
    );
    Ok(())
}

#[test]
fn a_file_that_goes_stays_with_who_has_it_open() -> Result<()> {
    let directory = public_dir()?;
    for options in [
        SftpOptions::at(directory.path()),
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
fn where_one_began_may_go() -> Result<()> {
    let directory = public_dir()?;
    let path = directory.path().join("going");
    fs::create_dir(&path)?;
    let mut client = Sftp::start(&SftpOptions::at(&path))?;
    is_well(&mut client)?;
    fs::remove_dir(&path)?;
    for request in [
        Request::Stat(b"file"),
        Request::RealPath(b"."),
        Request::RealPath(b"file"),
        Request::Open(b"file", open::WRITE | open::CREATE, Attrs::default()),
        Request::MkDir(b"made", Attrs::default()),
        Request::ExpandPath(b"~"),
    ] {
        let told = client.told(&request)?;
        ensure!(
            told == Some(Status::NO_SUCH_FILE),
            "{request:?} was answered {told:?}"
        );
    }
    let there = directory.path().join("there");
    let there = there.display().to_string();
    client.write_file(&there, b"there")?;
    ensure!(client.read_file(&there)? == b"there");
    Ok(())
}

/// What a client at a socket file does: greets, opens a file twice, and waits for the answers.
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

/// The processes that have this parent: how many live, and how many wait to be looked after.
fn children(parent: u32) -> Result<(usize, usize)> {
    let pids = fs::read_dir("/proc")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let (mut live, mut dead) = (0, 0);
    for pid in pids {
        // A process that ended meanwhile has no status any more.
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        if status.contains(&format!("\nPPid:\t{parent}\n")) {
            let count = if status.contains("\nState:\tZ") {
                &mut dead
            } else {
                &mut live
            };
            *count += 1;
        }
    }
    Ok((live, dead))
}

#[test]
fn thousands_of_visitors_leave_nothing_behind() -> Result<()> {
    let directory = public_dir()?;
    fs::write(directory.path().join("file"), "content")?;
    // Its end looks like that of a port to be chosen.
    let socket = directory.path().join("socket:0");
    let place = socket.display().to_string();
    let options = SftpOptions::at(directory.path()).with(&["--listen", &place]);
    let mut server = Sftp::spawn(&options)?;
    let start = Instant::now();
    let said = format!("listening on {place}: only this user");
    // It may be there before we have read that it is.
    while UnixStream::connect(&socket).is_err()
        || !server
            .process
            .lines()
            .iter()
            .any(|line| line.contains(&said))
    {
        ensure!(
            start.elapsed() < Duration::from_secs(10),
            "{:?}",
            server.process.lines()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    let mode = fs::metadata(&socket)?.permissions().mode() & 0o777;
    ensure!(mode == 0o600, "the socket's mode is {mode:o}");
    let settle = |server: &Sftp| -> Result<()> {
        let start = Instant::now();
        while children(server.process.pid())?.0 > 0 {
            ensure!(start.elapsed() < Duration::from_secs(10), "visitors stay");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    };
    drop(visit(&socket)?);
    settle(&server)?;
    let before = fd_count(server.process.pid())?;
    let memory = server.process.anonymous_kib()?;
    let full = full();
    let mut random = Random::new(seed());
    for round in 0..if full { 20_000 } else { 1000 } {
        match random.below(4) {
            0 => drop(UnixStream::connect(&socket)?),
            1 => {
                let mut stream = UnixStream::connect(&socket)?;
                // It may be refused before it is all said.
                let _ = stream.write_all(&random.bytes(50));
            }
            2 => drop(visit(&socket).with_context(|| format!("round {round}"))?),
            _ => {
                // A large answer that nobody takes.
                let mut stream = visit(&socket)?;
                let list = Request::RealPath(b"file");
                let _ = stream.write_all(&list.packet(3).repeat(500));
            }
        }
    }
    settle(&server)?;
    // The dead are buried when the next one comes.
    drop(visit(&socket)?);
    settle(&server)?;
    let dead = children(server.process.pid())?.1;
    ensure!(dead <= 2, "{dead} lie about");
    ensure!(server.process.is_alive()?);
    let after = fd_count(server.process.pid())?;
    ensure!(after <= before, "{before} descriptors became {after}");
    let grown = server.process.anonymous_kib()?.saturating_sub(memory);
    ensure!(grown <= 64, "{grown} KiB more");
    drop(visit(&socket)?);
    Ok(())
}

/// Waits until something is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let start = Instant::now();
    while !is_so() {
        ensure!(start.elapsed() < Duration::from_secs(60), "not {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

#[test]
fn a_socket_file_goes_with_its_listener_and_no_other() -> Result<()> {
    let directory = public_dir()?;
    fs::write(directory.path().join("file"), "content")?;
    let socket = directory.path().join("socket");
    let place = socket.display().to_string();
    let options = SftpOptions::at(directory.path()).with(&["--listen", &place]);
    let listens = || UnixStream::connect(&socket).is_ok();
    let mut server = Sftp::spawn(&options)?;
    until("listening", listens)?;
    // The end of a session is not that of its listener.
    let pid = server.process.pid();
    let mut ended = visit(&socket)?;
    for child in fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?.split_whitespace()
    {
        kill(Pid::from_raw(child.parse()?), Signal::SIGTERM)?;
    }
    ensure!(ended.read(&mut [0])? == 0, "the session goes on");
    let _visitor = visit(&socket)?;
    server.process.signal(Signal::SIGTERM)?;
    until("ended", || !server.process.is_alive().unwrap_or(true))?;
    ensure!(!socket.exists(), "the file is still there");
    // One that another has bound meanwhile stays.
    let mut old = Sftp::spawn(&options)?;
    until("listening again", listens)?;
    fs::rename(&socket, directory.path().join("old"))?;
    let _new = Sftp::spawn(&options)?;
    until("listening beside it", listens)?;
    old.process.signal(Signal::SIGTERM)?;
    until("ended again", || !old.process.is_alive().unwrap_or(true))?;
    drop(visit(&socket)?);
    Ok(())
}
