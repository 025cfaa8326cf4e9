//! `serve` and its responder, a process of its own.

use crate::mdns::world::{Avahi, Process, World};
use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;

fn serve(world: &World, words: &[&str]) -> Result<Process> {
    world.start("serve", words)
}

/// PIDs of a server's child processes, in the order of their start.
fn children(server: &Process) -> Result<Vec<i32>> {
    let pid = server.pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let children = children.split_whitespace().map(str::parse);
    Ok(children.collect::<Result<_, _>>()?)
}

/// `serve` restarts a responder that ended; the NFS server keeps running.
#[test]
fn killed_responder_is_restarted_by_serve() -> Result<()> {
    let (world, scratch) = (World::new()?, tempfile::tempdir()?);
    let avahi = Avahi::start(&world, "other", scratch.path())?;
    let path = scratch.path().to_string_lossy().into_owned();
    let server = serve(&world, &["--export", &path, "--name", "box"])?;
    server.wait_for("announced box.local")?;
    let children = children(&server)?;
    ensure!(children.len() == 2, "{children:?}");
    // The NFS server is started first, then the responder.
    let responder = children
        .last()
        .context("the server has no child processes")?;
    kill(Pid::from_raw(*responder), Signal::SIGKILL)?;
    server.wait_for("mdns was killed")?;
    server.wait_for("announced box.local")?;
    avahi.wait_for_output(&["avahi-browse", "-artp"], &["Network File System"])?;
    server.stop()
}

/// With --no-mdns, or when the server listens on loopback only, nothing is announced.
#[test]
fn unreachable_exports_are_not_announced() -> Result<()> {
    let (world, scratch) = (World::new()?, tempfile::tempdir()?);
    let path = scratch.path().to_string_lossy().into_owned();
    for words in [&["--no-mdns"][..], &["-l", "127.0.0.1"]] {
        let all = [&["--export", &path], words].concat();
        let server = serve(&world, &all)?;
        server.wait_for("listening")?;
        let children = children(&server)?;
        ensure!(children.len() == 1, "{words:?}: {children:?}");
        server.stop()?;
    }
    Ok(())
}
