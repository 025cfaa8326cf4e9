//! Record marks and RPC headers that are wrong, arrive in pieces, or never end.

use super::Scene;
use anyhow::{Context, Result, ensure};
use cases::calls::fragments;
use cases::headers;
use std::net::Shutdown;
use std::time::{Duration, Instant};
use xtask::clients::nfs::{Auth, Call, LAST_FRAGMENT, Outcome, outcome, record};

/// Longest time until the server closes a connection with an invalid record.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// Sends `bytes` on a new connection: the server must close it without a reply.
fn expect_close(scene: &Scene, bytes: &[u8]) -> Result<()> {
    let mut client = scene.server.connect()?;
    let start = Instant::now();
    // The server may close the connection before it has read everything.
    let _ = client.send(bytes);
    let reply = client.receive()?.map(<[u8]>::to_vec);
    ensure!(reply.is_none(), "answered {reply:02x?}");
    ensure!(
        start.elapsed() < CLOSE_MAX,
        "closed after {:?}",
        start.elapsed()
    );
    Ok(())
}

fn get_root_attr(scene: &Scene, xid: u32) -> Vec<u8> {
    Call::get_attr(&scene.root).message(xid, &Auth::root())
}

#[test]
fn oversized_record_mark_closes_the_connection() -> Result<()> {
    let mut scene = Scene::new(None)?;
    for mark in [0x7fff_ffff_u32, 0xffff_ffff, 0x8100_0000, 0x0100_0000] {
        expect_close(&scene, &mark.to_be_bytes()).with_context(|| format!("mark {mark:#x}"))?;
    }
    scene.check_alive()
}

#[test]
fn records_of_sixteen_fragments_are_accepted() -> Result<()> {
    let mut scene = Scene::new(None)?;
    let message = get_root_attr(&scene, 5);
    for count in 1..=17 {
        // One byte in each fragment except the last, which has the rest.
        let bytes = fragments(&message, &(1..count).collect::<Vec<_>>());
        if count == 17 {
            expect_close(&scene, &bytes)?;
            continue;
        }
        scene.client.send(&bytes)?;
        let reply = scene
            .client
            .receive()?
            .with_context(|| format!("{count} fragments were not answered"))?;
        ensure!(
            matches!(outcome(reply)?, (5, Outcome::Success(_))),
            "{count} fragments: {:?}",
            outcome(reply)?
        );
    }
    // Sends the maximum of 16 fragments, 15 of them empty: the server must count empty ones, and accept an empty last fragment.
    let mut bytes = [0; 4].repeat(14);
    bytes.extend((message.len() as u32).to_be_bytes());
    bytes.extend(&message);
    bytes.extend(LAST_FRAGMENT.to_be_bytes());
    scene.client.send(&bytes)?;
    let reply = scene
        .client
        .receive()?
        .context("empty fragments around a request")?;
    ensure!(matches!(outcome(reply)?, (5, Outcome::Success(_))));
    scene.check_alive()
}

#[test]
fn requests_in_one_segment_are_answered_in_order() -> Result<()> {
    let mut scene = Scene::new(None)?;
    for count in [64, 1000] {
        let bytes: Vec<u8> = (0..count)
            .flat_map(|xid| record(&get_root_attr(&scene, xid)))
            .collect();
        scene.client.send(&bytes)?;
        for expected in 0..count {
            let (xid, outcome) = outcome(scene.client.receive()?.context("closed")?)?;
            ensure!(
                xid == expected && matches!(outcome, Outcome::Success(_)),
                "answer {expected} of {count} is {xid}: {outcome:?}"
            );
        }
    }
    // The client half-closes the connection. All replies must still arrive, and then the end of the stream.
    let bytes: Vec<u8> = (0..64)
        .flat_map(|xid| record(&get_root_attr(&scene, xid)))
        .collect();
    scene.client.send(&bytes)?;
    scene.client.stream().shutdown(Shutdown::Write)?;
    for expected in 0..64 {
        let (xid, _) = outcome(
            scene
                .client
                .receive()?
                .context("closed before all was answered")?,
        )?;
        ensure!(xid == expected);
    }
    ensure!(scene.client.receive()?.is_none(), "a reply too many");
    scene.check_alive()
}

#[test]
fn truncated_request_before_eof_is_not_answered() -> Result<()> {
    let mut scene = Scene::new(None)?;
    let bytes = record(&get_root_attr(&scene, 9));
    for len in 0..bytes.len() {
        let mut client = scene.server.connect()?;
        client.send(&bytes[..len])?;
        client.stream().shutdown(Shutdown::Write)?;
        ensure!(client.receive()?.is_none(), "{len} bytes were answered");
    }
    scene.check_alive()
}

#[test]
fn stalled_request_is_closed_idle_connection_not() -> Result<()> {
    const PATIENCE_MAX: Duration = Duration::from_secs(15);
    let mut scene = Scene::new(None)?;
    let bytes = record(&get_root_attr(&scene, 9));
    let mut half = scene.server.connect()?;
    half.stream().set_read_timeout(Some(PATIENCE_MAX))?;
    half.send(&bytes[..bytes.len() - 1])?;
    let start = Instant::now();
    ensure!(half.receive()?.is_none(), "half a request was answered");
    ensure!(
        start.elapsed() > PATIENCE_MAX / 3,
        "closed after only {:?}",
        start.elapsed()
    );
    // The scene's own connection was idle for the same time, but without an incomplete record, and is still open.
    scene.client.attr(&scene.root)?;
    scene.check_alive()
}

#[test]
fn rpc_headers_have_the_outcomes_of_the_rfc() -> Result<()> {
    let mut scene = Scene::new(None)?;
    for case in headers::cases() {
        let outcome = scene.client.exchange(&case.message)?;
        ensure!(
            outcome == Some(case.outcome),
            "{:02x?} was answered {outcome:?}",
            case.message
        );
    }
    scene.check_alive()
}
