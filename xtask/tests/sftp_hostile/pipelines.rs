//! Clients that ask and do not listen, dawdle, and go away in the middle of everything.

use super::samples::Opened;
use super::{Scene, full, sample};
use anyhow::{Context, Result, ensure};
use cases::random::{Random, seed};
use std::fs;
use std::time::{Duration, Instant};
use xtask::clients::sftp::{
    Attrs, Ended, Reply, Request, Sftp, SftpOptions, Status, Wire, open, request,
};

/// A server that waits takes nothing more after this.
const STALL: Duration = Duration::from_millis(300);
/// How much more memory a client may make the server use by not listening.
const GROWTH_MAX_KIB: u64 = 400;

/// The server noticed that nobody is there any more, and had nothing to complain of.
fn quiet(ended: &Ended) -> Result<()> {
    ensure!(
        ended.code() == Some(0) && ended.lines.is_empty(),
        "{ended:?}"
    );
    Ok(())
}

#[test]
fn thousands_of_requests_wait_in_the_wire_and_not_in_memory() -> Result<()> {
    for wire in Wire::ALL {
        for jailed in [false, true] {
            let mut scene = Scene::with(|path| SftpOptions::serving(path, jailed).over(wire))?;
            scene.client.list(".")?;
            let handle = scene.client.open_read("large")?;
            scene.client.read(&handle, 0, 200_000)?;
            // Long, so that the wire and the server's buffer cannot hold them all.
            let missing = [b"./".repeat(1500), b"missing".to_vec()].concat();
            let requests: Vec<Request<'_>> = (0..6000)
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
            ensure!(sent < bytes.len(), "all was taken while nobody listened");
            let grown = scene.client.process.anonymous_kib()?.saturating_sub(before);
            ensure!(grown <= GROWTH_MAX_KIB, "{wire:?}: {grown} KiB more");
            // It sleeps while it waits.
            let ticks = scene.client.process.cpu_ticks()?;
            std::thread::sleep(STALL);
            ensure!(
                scene.client.process.cpu_ticks()? <= ticks + 1,
                "{wire:?}: it spins"
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
                grown <= GROWTH_MAX_KIB,
                "{wire:?}: {grown} KiB more at the end"
            );
            scene.is_well()?;
        }
    }
    Ok(())
}

#[test]
fn requests_are_carried_out_in_their_order() -> Result<()> {
    Scene::each(|scene| {
        let handle = scene.client.open_both("small")?;
        let blocks: Vec<Vec<u8>> = (0..40).map(|number| vec![number; 50_000]).collect();
        let mut requests = Vec::new();
        for block in &blocks {
            requests.push(Request::Write(&handle, 0, block));
            requests.push(Request::Read(&handle, 49_990, 10));
            requests.push(Request::FSetStat(&handle, Attrs::size(0)));
            requests.push(Request::FStat(&handle));
        }
        for (at, reply) in scene.client.pipeline(&requests)?.into_iter().enumerate() {
            match (at % 4, reply) {
                (1, Reply::Data(data)) => {
                    ensure!(data == [(at / 4) as u8; 10], "{at}: {data:?}");
                }
                (3, Reply::Attrs(attrs)) => ensure!(attrs.size == Some(0), "{at}: {attrs:?}"),
                (0 | 2, reply) => ensure!(reply.status() == Some(Status::OK), "{at}: {reply:?}"),
                (_, reply) => anyhow::bail!("{at}: {reply:?}"),
            }
        }
        fs::write(scene.path("small"), "small\n")?;
        Ok(())
    })
}

#[test]
fn what_was_answered_stays_as_it_was() -> Result<()> {
    const LEN: usize = 250_000;
    for wire in Wire::ALL {
        let mut scene = Scene::with(|path| SftpOptions::at(path).over(wire))?;
        let (before, after) = (vec![b'b'; LEN], vec![b'a'; LEN]);
        scene.client.write_file("file", &before)?;
        let handle = scene.client.open_both("file")?;
        for change in [
            Request::Write(&handle, 0, &after),
            Request::FSetStat(&handle, Attrs::size(0)),
        ] {
            scene.client.write_at(&handle, 0, &before)?;
            let read = Request::Read(&handle, 0, LEN as u32);
            let (first, second) = (scene.client.next_id(), scene.client.next_id());
            let bytes = [read.packet(first), change.packet(second)].concat();
            let sent = scene.client.push(&bytes, STALL)?;
            // The end of the answer is on its way while what comes after it is done.
            scene.client.take(LEN * 3 / 5)?;
            let more = scene.client.push(&bytes[sent..], STALL)?;
            std::thread::sleep(STALL);
            let rest = &bytes[sent + more..];
            scene.client.send(rest)?;
            let Reply::Data(data) = scene.client.answer(first, &read)? else {
                anyhow::bail!("the READ failed");
            };
            let other = data.iter().position(|&byte| byte != b'b');
            ensure!(
                data.len() == LEN && other.is_none(),
                "{wire:?}: of {} bytes that were answered before {:?} the one at {other:?} is another",
                data.len(),
                change.kind()
            );
            let reply = scene.client.answer(second, &change)?;
            ensure!(reply.status() == Some(Status::OK), "{reply:?}");
        }
    }
    Ok(())
}

#[test]
fn long_work_lets_the_others_through_and_comes_to_its_end() -> Result<()> {
    Scene::each(|scene| {
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
            .context("the short one comes first")?;
        let short = start.elapsed();
        // More of them than are carried on at once; the handle goes meanwhile.
        let mut waiting = vec![first];
        for _ in 0..19 {
            let id = client.next_id();
            waiting.push(id);
        }
        let more: Vec<u8> = waiting[1..]
            .iter()
            .flat_map(|&id| check.packet(id))
            .collect();
        let close = Request::Close(&huge);
        let last = client.next_id();
        client.time_max = Duration::from_secs(60);
        client.send(&[more, close.packet(last)].concat())?;
        let mut sums = Vec::new();
        for _ in 0..21 {
            let message = client.receive()?.context("no answer")?;
            let (id, reply) = Reply::parse(&message)?;
            match reply {
                Reply::Extended(data) => {
                    ensure!(waiting.contains(&id), "an answer to {id}");
                    sums.push(data);
                }
                other => ensure!(
                    id == last && other.status() == Some(Status::OK),
                    "{other:?}"
                ),
            }
        }
        ensure!(
            sums.len() == 20 && sums.iter().all(|sum| *sum == sums[0]),
            "{} sums",
            sums.len()
        );
        ensure!(short < start.elapsed() / 2, "{short:?} for what is short");
        fs::remove_file(scene.path("huge"))?;
        Ok(())
    })
}

/// A conversation whose beginning is any number of its bytes.
fn conversation(len: usize) -> Result<Vec<u8>> {
    let directory = sample()?;
    let mut client = Sftp::start(&SftpOptions::at(directory.path()))?;
    let data = vec![b'w'; len];
    let opened = Opened::new(&mut client)?;
    // A server in the same state gives the same handles: so they are good in another session, too.
    let path = |path| Request::Open(path, open::READ | open::WRITE, Attrs::default());
    let mut bytes = request::init(3);
    let mut requests = vec![
        path(b"small"),
        path(b"other"),
        Request::OpenDir(b"."),
        Request::Write(&opened.other, 3, &data),
    ];
    requests.extend(opened.requests());
    for (id, request) in (0..).zip(&requests) {
        bytes.extend(request.packet(id));
    }
    Ok(bytes)
}

#[test]
fn a_client_may_vanish_at_any_byte() -> Result<()> {
    let bytes = conversation(300)?;
    let every = if full() { 1 } else { 5 };
    for (number, len) in (0..=bytes.len()).step_by(every).enumerate() {
        let directory = sample()?;
        let wire = Wire::ALL[number % 3];
        let mut client = Sftp::spawn(&SftpOptions::at(directory.path()).over(wire))?;
        client.send(&bytes[..len])?;
        let what = || format!("after {len} bytes over {wire:?}");
        // Of those who go quietly, all that was asked is answered.
        if wire != Wire::Pty && number % 2 == 0 {
            let (rest, ended) = client.finish().with_context(what)?;
            quiet(&ended).with_context(what)?;
            for message in rest.iter().filter(|message| message[0] != 2) {
                Reply::parse(message).with_context(what)?;
            }
        } else {
            let ended = client.vanish().with_context(what)?;
            ensure!(ended.is_for_want_of_a_client(wire), "{}: {ended:?}", what());
        }
    }
    Ok(())
}

#[test]
fn a_client_may_vanish_in_the_middle_of_large_data() -> Result<()> {
    let bytes = conversation(250_000)?;
    let mut random = Random::new(seed());
    for number in 0..if full() { 2000 } else { 100 } {
        let directory = sample()?;
        let wire = Wire::ALL[number % 3];
        let mut client = Sftp::spawn(&SftpOptions::at(directory.path()).over(wire))?;
        let len = random.below(bytes.len());
        client.push(&bytes[..len], STALL)?;
        let what = || format!("after {len} bytes over {wire:?}");
        let ended = client.vanish().with_context(what)?;
        ensure!(ended.is_for_want_of_a_client(wire), "{}: {ended:?}", what());
    }
    Ok(())
}

#[test]
fn a_client_may_vanish_while_it_is_answered() -> Result<()> {
    for wire in Wire::ALL {
        let mut scene = Scene::with(|path| SftpOptions::at(path).over(wire))?;
        let handle = scene.client.open_read("large")?;
        let read = Request::Read(&handle, 0, 200_000);
        scene.client.push(&read.packet(1).repeat(50), STALL)?;
        let ended = scene.client.vanish()?;
        ensure!(ended.is_for_want_of_a_client(wire), "{wire:?}: {ended:?}");
    }
    Ok(())
}

#[test]
fn a_client_that_says_nothing_is_waited_for_asleep() -> Result<()> {
    let mut scene = Scene::new(false)?;
    // Also amid a packet.
    scene.client.send(&[0, 0, 0, 20, 17, 0])?;
    let ticks = scene.client.process.cpu_ticks()?;
    ensure!(scene.client.is_silent(Duration::from_secs(1))?);
    ensure!(scene.client.process.cpu_ticks()? <= ticks + 1, "it spins");
    ensure!(scene.client.process.is_alive()?);
    scene.client.finish_quietly()
}
