//! Clients that send requests without reading replies, and clients that disconnect at any moment.

use super::{Scene, is_full_run, sample};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::time::{Duration, Instant};
use xtask::build::Arch;
use xtask::clients::sftp::{
    Attrs, Opened, Program, Reply, Request, ServerExit, Sftp, SftpOptions, Status, Wire, open,
    request,
};
use xtask::machines::server::{binary, root_for};
use xtask::machines::sshd::{Daemon, Implementation};
use xtask::testing::promised;

/// After this time without progress, the server has stopped reading.
const STALL: Duration = Duration::from_millis(300);
/// A server that reads nothing for this time has stopped, also on a busy machine.
const FLOOD_STALL: Duration = Duration::from_secs(10);
/// Number of small requests that a client may send before it reads a reply.
const FLOOD_COUNT: u32 = 30_000;

/// Largest growth (KiB) of the server's memory for a client that reads no replies: 1 MiB of replies, and the session's buffers.
fn growth_max_kib() -> Result<u64> {
    promised("all are answered, with at most ", " KiB more memory")
}

/// Checks that the server noticed the client's end, and ended with code 0 and without a message.
fn ended_quietly(ended: &ServerExit) -> Result<()> {
    ensure!(
        ended.code() == Some(0) && ended.lines.is_empty(),
        "{ended:?}"
    );
    Ok(())
}

#[test]
fn unread_replies_throttle_the_client() -> Result<()> {
    for wire in Wire::ALL {
        for jailed in [false, true] {
            let mut scene =
                Scene::with_options(|path| SftpOptions::serving(path, jailed).with_wire(wire))?;
            scene.client.list(".")?;
            let handle = scene.client.open_read("large")?;
            scene.client.read(&handle, 0, 200_000)?;
            // The requests are longer in total than the buffers of the kernel and the server.
            let missing = [b"./".repeat(1500), b"missing".to_vec()].concat();
            let requests: Vec<Request<'_>> = (0..2400)
                .map(|number| match number % 6 {
                    0 => Request::Stat(b"small"),
                    1 => Request::RealPath(b"sub/../link"),
                    2 => Request::Stat(&missing),
                    3 => Request::OpenDir(b"missing"),
                    4 => Request::Read(&handle, number, 32_768),
                    _ => Request::Read(&handle, number, 180_000),
                })
                .collect();
            let first = scene.client.next_id();
            let bytes: Vec<u8> = requests
                .iter()
                .zip(first..)
                .flat_map(|(request, id)| request.packet(id))
                .collect();
            let before = scene.client.process.anonymous_kib()?;
            let sent = scene.client.push(&bytes, STALL)?;
            ensure!(
                sent < bytes.len(),
                "the server read all requests although no replies were read"
            );
            let grown = scene.client.process.anonymous_kib()?.saturating_sub(before);
            ensure!(grown <= growth_max_kib()?, "{wire:?}: {grown} KiB more");
            // The server sleeps while it is blocked.
            let ticks = scene.client.process.cpu_ticks()?;
            std::thread::sleep(STALL);
            ensure!(
                scene.client.process.cpu_ticks()? <= ticks + 1,
                "{wire:?}: the server spins"
            );
            scene.client.send(&bytes[sent..])?;
            for (request, id) in requests.iter().zip(first..) {
                let reply = scene.client.answer(id, request)?;
                match (request, reply) {
                    (Request::Read(_, offset, len), Reply::Data(data)) => ensure!(
                        data.len() as u64 == (200_000 - offset).min((*len).into()),
                        "{} bytes",
                        data.len()
                    ),
                    (Request::OpenDir(..), reply) => {
                        ensure!(reply.status() == Some(Status::NO_SUCH_FILE), "{reply:?}");
                    }
                    (Request::Stat(path), reply) if path.ends_with(b"missing") => {
                        ensure!(reply.status() == Some(Status::NO_SUCH_FILE), "{reply:?}");
                    }
                    (_, reply) => ensure!(reply.status().is_none(), "{reply:?}"),
                }
            }
            let grown = scene.client.process.anonymous_kib()?.saturating_sub(before);
            ensure!(
                grown <= growth_max_kib()?,
                "{wire:?}: {grown} KiB more at the end"
            );
            scene.check_alive()?;
        }
    }
    Ok(())
}

/// Sends [`FLOOD_COUNT`] requests, each by a write of its own, before it reads the first reply.
fn flood(client: &mut Sftp, path: &[u8]) -> Result<Vec<u32>> {
    let request = Request::Stat(path);
    let ids: Vec<u32> = (0..FLOOD_COUNT).map(|_| client.next_id()).collect();
    for (count, id) in ids.iter().enumerate() {
        let packet = request.packet(*id);
        let sent = client.push(&packet, FLOOD_STALL)?;
        ensure!(sent == packet.len(), "stopped after {count} requests");
    }
    Ok(ids)
}

#[test]
fn thousands_of_requests_precede_the_first_reply() -> Result<()> {
    for wire in [Wire::Pipes, Wire::SocketPair] {
        for (path, expected) in [
            (&b"missing"[..], Some(Status::NO_SUCH_FILE)),
            (b"small", None),
        ] {
            let mut scene =
                Scene::with_options(|path| SftpOptions::in_directory(path).with_wire(wire))?;
            let context = || format!("{wire:?}, {}", path.escape_ascii());
            scene.client.list(".")?;
            let before = scene.client.process.anonymous_kib()?;
            for id in flood(&mut scene.client, path).with_context(context)? {
                let status = scene.client.answer(id, &Request::Stat(path))?.status();
                ensure!(status == expected, "{status:?}");
            }
            let grown = scene.client.process.anonymous_kib()?.saturating_sub(before);
            ensure!(
                grown <= growth_max_kib()?,
                "{}: {grown} KiB more",
                context()
            );
            // All requests are answered, too, if the client has no more.
            flood(&mut scene.client, path).with_context(context)?;
            let (replies, ended) = scene.client.finish()?;
            ensure!(
                replies.len() == FLOOD_COUNT as usize,
                "{} replies",
                replies.len()
            );
            ended_quietly(&ended)?;
        }
    }
    Ok(())
}

#[test]
fn thousands_of_requests_pass_sshd_and_dropbear() -> Result<()> {
    if !root_for("daemons") {
        return Ok(());
    }
    for kind in [Implementation::OpenSsh, Implementation::Dropbear] {
        let directory = sample()?;
        let server = directory.path().join("sftp-server");
        fs::copy(binary(Arch::X86_64)?, &server)?;
        let daemon = Daemon::start(kind, &server)?;
        let config = daemon.config().display().to_string();
        let options = SftpOptions {
            program: Program::Other("/usr/bin/ssh".into()),
            ..SftpOptions::default()
        };
        let mut client = Sftp::start(&options.with_arguments(&["-F", &config, "-s", "x", "sftp"]))?;
        for id in flood(&mut client, b"missing").with_context(|| format!("{kind:?}"))? {
            let status = client.answer(id, &Request::Stat(b"missing"))?.status();
            ensure!(status == Some(Status::NO_SUCH_FILE), "{status:?}");
        }
        client.finish()?;
    }
    Ok(())
}

#[test]
fn long_checksums_do_not_delay_other_requests() -> Result<()> {
    Scene::for_each_server(|scene| {
        let len = 64 << 20;
        fs::File::create(scene.path("huge"))?.set_len(len)?;
        let client = &mut scene.client;
        let huge = client.open_read("huge")?;
        let check = Request::check("check-file-handle", &huge, b"sha256");
        let (first, second) = (client.next_id(), client.next_id());
        let stat = Request::Stat(b"small");
        let start = Instant::now();
        client.send(&[check.packet(first), stat.packet(second)].concat())?;
        client
            .answer(second, &stat)
            .context("STAT was not answered before the checksum")?;
        let short = start.elapsed();
        // The job keeps the file open.
        client.close(&huge).context("CLOSE")?;
        client.time_max = Duration::from_secs(60);
        let sum = client.answer(first, &check)?;
        ensure!(matches!(sum, Reply::Extended(_)), "{sum:?}");
        ensure!(short < start.elapsed() / 2, "STAT took {short:?}");
        fs::remove_file(scene.path("huge"))?;
        Ok(())
    })
}

/// The bytes of a session; a test sends a prefix of any length.
fn conversation(len: usize) -> Result<Vec<u8>> {
    let directory = sample()?;
    let mut client = Sftp::start(&SftpOptions::in_directory(directory.path()))?;
    let data = vec![b'w'; len];
    let opened = Opened::new(|request| client.exchange(request))?;
    // Handles are deterministic: these are valid in another session, too.
    let open = |path, flags| Request::Open(path, flags, Attrs::default());
    let both = open::READ | open::WRITE;
    let mut bytes = request::init(3);
    let mut requests = vec![
        open(b"small", both),
        open(b"other", both),
        Request::Write(&opened.other, 3, &data),
    ];
    requests.extend(opened.requests());
    for (id, request) in (0..).zip(&requests) {
        bytes.extend(request.packet(id));
    }
    Ok(bytes)
}

#[test]
fn client_may_disconnect_after_any_byte() -> Result<()> {
    let bytes = conversation(300)?;
    let step = if is_full_run() { 1 } else { 5 };
    for (number, len) in (0..=bytes.len()).step_by(step).enumerate() {
        let directory = sample()?;
        let wire = Wire::ALL[number % 3];
        let mut client = Sftp::spawn(&SftpOptions::in_directory(directory.path()).with_wire(wire))?;
        client.send(&bytes[..len])?;
        let context = || format!("after {len} bytes over {wire:?}");
        // If the client only closes its end for writing, the server answers all complete requests.
        if wire != Wire::Pty && number % 2 == 0 {
            let (replies, ended) = client.finish().with_context(context)?;
            ended_quietly(&ended).with_context(context)?;
            for message in replies.iter().filter(|message| message[0] != 2) {
                Reply::parse(message).with_context(context)?;
            }
        } else {
            let ended = client.vanish().with_context(context)?;
            ensure!(ended.is_client_gone(wire), "{}: {ended:?}", context());
        }
    }
    Ok(())
}

#[test]
fn client_may_disconnect_before_reading_replies() -> Result<()> {
    for wire in Wire::ALL {
        let mut scene =
            Scene::with_options(|path| SftpOptions::in_directory(path).with_wire(wire))?;
        let handle = scene.client.open_read("large")?;
        let read = Request::Read(&handle, 0, 200_000);
        scene.client.push(&read.packet(1).repeat(50), STALL)?;
        let ended = scene.client.vanish()?;
        ensure!(ended.is_client_gone(wire), "{wire:?}: {ended:?}");
    }
    Ok(())
}

#[test]
fn silent_client_costs_no_cpu() -> Result<()> {
    let mut scene = Scene::unjailed()?;
    // The server must also sleep in the middle of a packet: the client sends only its first bytes.
    scene.client.send(&[0, 0, 0, 20, 17, 0])?;
    let ticks = scene.client.process.cpu_ticks()?;
    ensure!(scene.client.is_silent(Duration::from_secs(1))?);
    ensure!(
        scene.client.process.cpu_ticks()? <= ticks + 1,
        "the server spins"
    );
    ensure!(scene.client.process.is_alive()?);
    scene.client.finish_quietly()
}

#[test]
fn request_before_malformed_packet_is_answered() -> Result<()> {
    let mut scene = Scene::unjailed()?;
    let request = Request::Stat(b"small");
    let id = scene.client.next_id();
    let bytes = [request.packet(id), vec![0xff; 100]].concat();
    scene.client.push(&bytes, Duration::from_secs(2))?;
    let reply = scene.client.answer(id, &request)?;
    ensure!(matches!(reply, Reply::Attrs(_)), "{reply:?}");
    ensure!(scene.client.receive()?.is_none());
    let ended = scene.client.wait()?;
    ensure!(
        ended.code() == Some(11) && ended.lines.len() == 1,
        "{ended:?}"
    );
    Ok(())
}
