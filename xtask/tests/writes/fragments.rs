//! WRITEs that arrive in pieces: in fragments of any length, byte by byte, many in one segment, or incomplete.

use super::{Scene, pattern};
use anyhow::{Context, Result, ensure};
use cases::calls::fragments;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};
use xtask::clients::nfs::stable_how::{FILE_SYNC, UNSTABLE};
use xtask::clients::nfs::{Call, Client, Outcome, outcome, parse_write, record};

/// Longest time that a client waits for its reply while another one is slow.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// Receives the next reply, which must be the reply `xid` to a WRITE of `len` bytes.
fn expect_written(client: &mut Client, xid: u32, len: usize) -> Result<()> {
    let reply = client.receive()?.context("closed")?;
    let (answered, outcome) = outcome(reply)?;
    let Outcome::Success(body) = outcome else {
        anyhow::bail!("answered {outcome:?}")
    };
    let count = parse_write(body)?.count;
    ensure!(
        (answered, count as usize) == (xid, len),
        "{count} bytes of {len} were written for call {answered} instead of {xid}"
    );
    Ok(())
}

#[test]
fn large_write_is_accepted_in_odd_fragments() -> Result<()> {
    Scene::for_each_server(|scene| {
        const LEN: usize = 300_001;
        let file = scene.create_file("file", b"")?;
        let auth = scene.client.auth.clone();
        let mut xid = 0;
        let mut attempt = |scene: &mut Scene, cuts: &dyn Fn(usize) -> Vec<usize>| -> Result<()> {
            xid += 1;
            let data = pattern(xid as u8, 0, LEN);
            let message = Call::write(&file, 0, UNSTABLE, &data).message(xid, &auth);
            let cuts = cuts(message.len());
            scene.client.send(&fragments(&message, &cuts))?;
            expect_written(&mut scene.client, xid, LEN)
                .and_then(|()| {
                    ensure!(
                        fs::read(scene.path("file"))? == data,
                        "the file has other bytes"
                    );
                    Ok(())
                })
                .with_context(|| format!("cut at {cuts:?}"))
        };
        // Cuts in the head, at the first bytes of data, and at the likely ends of buffers.
        for at in (1..240)
            .step_by(7)
            .chain([4095, 4097, 8191, 8193, 65_535, 65_537])
        {
            attempt(scene, &|_| vec![at])?;
            attempt(scene, &|_| vec![at, at + 1, at + 3])?;
            attempt(scene, &|len| vec![at, len - at])?;
        }
        // A record of up to sixteen fragments is accepted wherever it is cut.
        attempt(scene, &|len| (1..16).map(|part| part * len / 16).collect())?;
        attempt(scene, &|len| (1..16).map(|byte| len - 16 + byte).collect())?;
        attempt(scene, &|_| (1..16).collect())?;
        scene.check_alive()
    })
}

#[test]
fn write_in_tiny_sends_is_stored() -> Result<()> {
    Scene::for_each_server(|scene| {
        let file = scene.create_file("file", b"")?;
        let auth = scene.client.auth.clone();
        for (len, step) in [(30, 1), (9_001, 7), (70_003, 1021), (1 << 20, 65_521)] {
            let data = pattern(step as u8, 0, len);
            let call = Call::write(&file, 0, UNSTABLE, &data);
            for bytes in record(&call.message(9, &auth)).chunks(step) {
                scene.client.send(bytes)?;
                // Gives the server time to receive some of the pieces one by one.
                sleep(Duration::from_micros(50));
            }
            expect_written(&mut scene.client, 9, len)
                .with_context(|| format!("{len} bytes by {step}"))?;
            ensure!(
                fs::read(scene.path("file"))?[..len] == data,
                "{len} bytes by {step} were stored wrongly"
            );
        }
        scene.check_alive()
    })
}

#[test]
fn pipelined_writes_are_answered_in_order() -> Result<()> {
    Scene::for_each_server(|scene| {
        let file = scene.create_file("file", b"")?;
        let auth = scene.client.auth.clone();
        // Data lengths around the sizes of the server's buffers. All WRITEs are sent without a pause.
        let lens = [
            1,
            1 << 20,
            5,
            8_000,
            8_192,
            0,
            65_536,
            1_000_003,
            3,
            100_000,
        ];
        let mut offsets = Vec::new();
        let mut offset = 0;
        let mut bytes = Vec::new();
        for (xid, len) in (0..).zip(lens) {
            let data = pattern(7, offset, len);
            let call = Call::write(&file, offset, UNSTABLE, &data);
            bytes.extend(record(&call.message(xid, &auth)));
            offsets.push(offset);
            offset += len as u64;
        }
        let mut sender = Client::connect(scene.server.nfs())?;
        let stream = sender.stream().try_clone()?;
        let sent = std::thread::spawn(move || std::io::Write::write_all(&mut &stream, &bytes));
        for (xid, len) in (0..).zip(lens) {
            expect_written(&mut sender, xid, len)?;
        }
        sent.join().expect("the sender does not panic")?;
        ensure!(
            fs::read(scene.path("file"))? == pattern(7, 0, offset as usize),
            "the file has other bytes"
        );
        scene.check_alive()
    })
}

#[test]
fn disconnect_during_write_affects_no_other_client() -> Result<()> {
    let mut scene = Scene::new(None)?;
    let before = pattern(1, 0, 1 << 20);
    let file = scene.create_file("file", &before)?;
    // The server keeps files open for a while: descriptors are counted when it is idle.
    sleep(Duration::from_secs(3));
    let idle_count = scene.server.fd_count()?;
    let after = pattern(2, 0, 1 << 20);
    let auth = scene.client.auth.clone();
    let message = record(&Call::write(&file, 0, FILE_SYNC, &after).message(1, &auth));
    for sent in [
        3,
        5,
        60,
        150,
        170,
        4096,
        8193,
        100_001,
        500_000,
        message.len() - 1,
    ] {
        let mut peer = scene.server.connect()?;
        peer.send(&message[..sent])?;
        sleep(Duration::from_millis(5));
        drop(peer);
        let start = Instant::now();
        scene.client.attr(&file)?;
        ensure!(
            start.elapsed() < ANSWER_MAX,
            "another client waited {:?}",
            start.elapsed()
        );
        // The client disconnected before it got a reply, so each byte of the file may be the old or the new one.
        let now = fs::read(scene.path("file"))?;
        let wrong =
            (0..now.len()).find(|&index| now[index] != before[index] && now[index] != after[index]);
        ensure!(
            now.len() == before.len() && wrong.is_none(),
            "after {sent} bytes the byte at {wrong:?} of {} is neither the old nor the new one",
            now.len()
        );
    }
    let start = Instant::now();
    while scene.server.fd_count()? > idle_count {
        ensure!(
            start.elapsed() < Duration::from_secs(10),
            "{} descriptors instead of {idle_count}",
            scene.server.fd_count()?
        );
        sleep(Duration::from_millis(50));
    }
    scene.check_alive()
}
