//! Requests that arrive together, or never end.

use super::Scene;
use anyhow::{Context, Result, ensure};
use std::net::Shutdown;
use std::time::{Duration, Instant};
use xtask::clients::nfs::{Auth, Call, Outcome, outcome, record};

fn get_root_attr(scene: &Scene, xid: u32) -> Vec<u8> {
    Call::get_attr(&scene.root).message(xid, &Auth::root())
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
