//! Retransmitted calls: the reply is the same, byte for byte, and a call that is not idempotent is carried out once.

use super::{Scene, WRITABLE, create_file};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::net::Ipv4Addr;
use xtask::clients::nfs::{
    Call, Client, How, Outcome, Set, nfsstat3, outcome, record, stable_how, status_of,
};
use xtask::machines::server::{ServerOptions, status_field};

const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const RSS_MAX_KIB: u64 = 2048;

/// Sends a call message as one record and returns the reply message.
fn exchange_raw(client: &mut Client, message: &[u8]) -> Result<Vec<u8>> {
    client.send(&record(message))?;
    Ok(client.receive()?.context("closed")?.to_vec())
}

fn status(reply: &[u8]) -> Result<nfsstat3> {
    match outcome(reply)? {
        (_, Outcome::Success(results)) => status_of(results),
        (_, other) => anyhow::bail!("answered {other:?}"),
    }
}

/// The host's view of the export: mode, size, link count and ctime of every object.
fn tree(scene: &Scene) -> Result<Vec<String>> {
    use std::os::unix::fs::MetadataExt;
    let entries = walkdir::WalkDir::new(scene.directory.path()).sort_by_file_name();
    entries
        .into_iter()
        .map(|entry| {
            let (entry, path) = {
                let entry = entry?;
                let path = entry.path().to_owned();
                (entry, path)
            };
            let meta = entry.metadata()?;
            let (mode, size, links) = (meta.mode(), meta.size(), meta.nlink());
            let time = (meta.ctime(), meta.ctime_nsec());
            Ok(format!(
                "{} {mode:o} {size} {links} {time:?}",
                path.display()
            ))
        })
        .collect()
}

#[test]
fn retransmitted_call_is_answered_from_the_cache() -> Result<()> {
    Scene::for_each_server(|scene| {
        let root = scene.root.clone();
        let dir = &root[..];
        let file = scene.create_file("file", b"content")?;
        scene.create_file("removed", b"")?;
        scene.create_file("renamed", b"content")?;
        scene.client.mkdir(dir, "directory", Set::mode(0o755))?;
        let guard = scene.client.attr(&file)?.ctime;
        // Lets the clock of the file system advance: SETATTR then changes the ctime, and the guard of a second SETATTR would fail.
        std::thread::sleep(std::time::Duration::from_millis(12));
        let set = Set::mode(0o600);
        let target = b"target".as_slice();
        let calls = [
            Call::set_attr(&file, set, Some((guard.seconds, guard.nseconds))),
            Call::create(dir, b"created", How::Guarded(set)),
            Call::mkdir(dir, b"made", set),
            Call::symlink(dir, b"link", Set::default(), target),
            Call::fifo(dir, b"fifo", set),
            Call::remove(dir, b"removed"),
            Call::rmdir(dir, b"directory"),
            Call::rename(dir, b"renamed", dir, b"moved"),
            Call::link(&file, dir, b"second"),
        ];
        let auth = scene.client.auth.clone();
        let messages: Vec<_> = (0x0a6a_1000..)
            .zip(&calls)
            .map(|(xid, call)| (call, call.message(xid, &auth)))
            .collect();
        let mut answers = Vec::new();
        for (call, message) in &messages {
            let first = exchange_raw(&mut scene.client, message)?;
            ensure!(
                status(&first)? == nfsstat3::NFS3_OK,
                "{call:?} was answered {:?}",
                status(&first)?
            );
            let after = tree(scene)?;
            let second = exchange_raw(&mut scene.client, message)?;
            ensure!(
                second == first,
                "{call:?} got another reply to a retransmission on the same connection"
            );
            let mut connection = scene.server.connect()?;
            for _ in 0..3 {
                let third = exchange_raw(&mut connection, message)?;
                ensure!(
                    third == first,
                    "{call:?} got another reply to a retransmission on a new connection"
                );
            }
            ensure!(tree(scene)? == after, "{call:?} was carried out twice");
            answers.push(first);
        }
        // The replies are still cached after other calls were answered.
        let after = tree(scene)?;
        for ((call, message), answer) in messages.iter().zip(&answers) {
            let later = exchange_raw(&mut scene.server.connect()?, message)?;
            ensure!(
                later == *answer,
                "{call:?} got another reply to a late retransmission"
            );
        }
        ensure!(
            tree(scene)? == after,
            "a late retransmission was carried out"
        );
        // An error reply is cached, too.
        scene.create_file("once", b"")?;
        let refused = Call::mkdir(dir, b"once", set).message(0x0a6a_2000, &auth);
        let first = exchange_raw(&mut scene.client, &refused)?;
        ensure!(status(&first)? == nfsstat3::NFS3ERR_EXIST);
        scene.client.remove(dir, "once")?;
        ensure!(
            exchange_raw(&mut scene.client, &refused)? == first,
            "a retransmission of a failed MKDIR got another reply"
        );
        ensure!(
            !scene.path("once").exists(),
            "a retransmission of a failed MKDIR was carried out"
        );
        Ok(())
    })
}

#[test]
fn repeated_call_in_one_segment_runs_once() -> Result<()> {
    Scene::for_each_server(|scene| {
        let root = scene.root.clone();
        let auth = scene.client.auth.clone();
        for number in 0..50 {
            let name = format!("directory {number}");
            let call = Call::mkdir(&root, name.as_bytes(), Set::mode(0o755));
            let bytes = record(&call.message(0x0a6a_3000 + number, &auth));
            scene.client.send(&bytes.repeat(3))?;
            let mut answer =
                || -> Result<Vec<u8>> { Ok(scene.client.receive()?.context("closed")?.to_vec()) };
            let (first, second, third) = (answer()?, answer()?, answer()?);
            ensure!(
                status(&first)? == nfsstat3::NFS3_OK,
                "{:?}",
                status(&first)?
            );
            ensure!(
                first == second && second == third,
                "{name} got different replies"
            );
        }
        Ok(())
    })
}

#[test]
fn different_call_with_same_xid_is_carried_out() -> Result<()> {
    Scene::for_each_server(|scene| {
        const XID: u32 = 0x0a6a_4000;
        let root = scene.root.clone();
        for name in ["one", "two", "three"] {
            scene.create_file(name, b"")?;
        }
        let auth = scene.client.auth.clone();
        let remove = |name: &'static str| {
            let name = name.as_bytes();
            Call::remove(&root, name).message(XID, &auth)
        };
        // Sends calls of the same procedure with other arguments.
        for name in ["one", "two"] {
            let reply = exchange_raw(&mut scene.client, &remove(name))?;
            ensure!(
                status(&reply)? == nfsstat3::NFS3_OK && !scene.path(name).exists(),
                "{name} was answered {:?}",
                status(&reply)?
            );
        }
        // Sends a call of another procedure with the same arguments.
        scene.create_file("one", b"")?;
        let call = Call::rmdir(&root, b"one");
        let reply = exchange_raw(&mut scene.client, &call.message(XID, &auth))?;
        ensure!(
            status(&reply)? == nfsstat3::NFS3ERR_NOTDIR,
            "{:?}",
            status(&reply)?
        );
        // Sends calls whose arguments differ in the last byte only.
        for last in ["1", "2"] {
            let name = format!("{}{last}", "n".repeat(254));
            let call = Call::mkdir(&root, name.as_bytes(), Set::mode(0o755));
            let reply = exchange_raw(&mut scene.client, &call.message(XID, &auth))?;
            ensure!(
                status(&reply)? == nfsstat3::NFS3_OK && scene.path(&name).is_dir(),
                "{name} was answered from the cache entry of another call"
            );
        }
        scene.client.remove(&root, "three")?;
        // A call with the same bytes from another client address is not a retransmission.
        let server = scene.server.nfs();
        let mut elsewhere = Client::connect_from(ELSEWHERE, server)?;
        let reply = exchange_raw(&mut elsewhere, &remove("three"))?;
        ensure!(
            status(&reply)? == nfsstat3::NFS3ERR_NOENT,
            "{:?}",
            status(&reply)?
        );
        scene.create_file("three", b"")?;
        let fourth = Client::connect_from(Ipv4Addr::new(127, 0, 0, 3), server)?;
        let reply = exchange_raw(&mut { fourth }, &remove("three"))?;
        ensure!(status(&reply)? == nfsstat3::NFS3_OK && !scene.path("three").exists());
        Ok(())
    })
}

#[test]
fn retransmitted_write_and_getattr_run_again() -> Result<()> {
    let mut scene = Scene::new(None)?;
    let file = scene.create_file("file", b"")?;
    let auth = scene.client.auth.clone();
    let write = Call::write(&file, 0, stable_how::FILE_SYNC, b"data").message(7, &auth);
    ensure!(status(&exchange_raw(&mut scene.client, &write)?)? == nfsstat3::NFS3_OK);
    fs::write(scene.path("file"), "another")?;
    ensure!(status(&exchange_raw(&mut scene.client, &write)?)? == nfsstat3::NFS3_OK);
    ensure!(fs::read(scene.path("file"))? == b"dataher");
    let ask = Call::get_attr(&file).message(8, &auth);
    let first = exchange_raw(&mut scene.client, &ask)?;
    fs::write(scene.path("file"), "grown larger")?;
    ensure!(
        exchange_raw(&mut scene.client, &ask)? != first,
        "GETATTR was answered from the cache"
    );
    Ok(())
}

#[test]
fn flood_from_one_host_keeps_others_cached() -> Result<()> {
    const FLOOD: u32 = 20_000;
    let mut scene = Scene::with_options(WRITABLE, ServerOptions::default())?;
    let root = scene.root.clone();
    let auth = scene.client.auth.clone();
    let messages: Vec<_> = (0..8)
        .map(|number| {
            let name = format!("directory {number}");
            Call::mkdir(&root, name.as_bytes(), Set::mode(0o755))
                .message(0x0a6a_5000 + number, &auth)
        })
        .collect();
    let answers = messages
        .iter()
        .map(|message| exchange_raw(&mut scene.client, message))
        .collect::<Result<Vec<_>>>()?;
    let mut flood = Client::connect_from(ELSEWHERE, scene.server.nfs())?;
    create_file(&mut flood, &root, "file", b"")?;
    for from in (0..FLOOD).step_by(100) {
        let bytes: Vec<u8> = (from..from + 100)
            .flat_map(|xid| {
                let name = format!("none {xid}");
                let name = name.as_bytes();
                record(&Call::remove(&root, name).message(xid, &auth))
            })
            .collect();
        flood.send(&bytes)?;
        for _ in 0..100 {
            let reply = flood.receive()?.context("closed")?;
            ensure!(status(reply)? == nfsstat3::NFS3ERR_NOENT);
        }
    }
    for (message, answer) in messages.iter().zip(&answers) {
        ensure!(
            exchange_raw(&mut scene.server.connect()?, message)? == *answer,
            "the flood evicted another host's reply from the cache"
        );
    }
    let peak = status_field(scene.server.pid(), "VmHWM")?;
    ensure!(
        peak <= RSS_MAX_KIB,
        "{peak} KiB after {FLOOD} calls that are cached"
    );
    eprintln!("{peak} KiB after {FLOOD} calls that are cached");
    scene.check_alive()
}
