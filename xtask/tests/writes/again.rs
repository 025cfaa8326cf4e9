//! Retransmitted calls: the reply is the same, byte for byte, and a call that is not idempotent is carried out once.

use super::{Scene, WRITABLE, create_file};
use anyhow::{Context, Result, ensure};
use std::net::Ipv4Addr;
use xtask::clients::nfs::{Call, Client, Outcome, Set, nfsstat3, outcome, record, status_of};
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
            exchange_raw(&mut scene.client, message)? == *answer,
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
