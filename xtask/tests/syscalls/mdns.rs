//! Sessions of the mDNS roles, on a link with avahi.

use super::{Log, compare};
use crate::mdns::world::{Avahi, World};
use anyhow::Result;
use std::time::Duration;
use xtask::machines::server::root_for;

/// Hosts whose fallbacks concern mDNS.
const POORER: [&str; 3] = ["esxi-7", "linux-2.6.18", "wsl1"];
/// Time limit for announcements.
const PATIENCE: Duration = Duration::from_secs(15);

/// Announces a host, twice a service with one name, and looks for both.
fn session(log: &Log) -> Result<()> {
    let (world, scratch) = (World::shipped(log.wrapper())?, tempfile::tempdir()?);
    let _avahi = match log.profile {
        None => Some(Avahi::start(&world, "other", scratch.path())?),
        Some(_) => None,
    };
    let mut results = Vec::new();
    let responder = world.announce(&["--name", "box", "--workstation", "--hwid", "Maker,Thing"])?;
    results.push(
        responder
            .wait_for_within("announced box.local", PATIENCE)
            .map(drop),
    );
    let service = world.start("publish", &["-s", "Printer", "_ipp._tcp", "631"])?;
    results.push(
        service
            .wait_for_within("announced Printer", PATIENCE)
            .map(drop),
    );
    world.browse_there_once(&["-a", "-t", "-r"])?;
    for words in [["-4", "-n", "box.local"], ["-6", "-n", "box.local"]] {
        world.resolve_from_theirs(&words)?;
    }
    world.resolve_from_theirs(&["-a", "192.0.2.1"])?;
    // Under strace, the process to stop is its child.
    results.push(service.stop_child());
    results.push(responder.stop_child());
    if log.profile.is_none() {
        for role in ["mdns", "publish", "browse", "resolve"] {
            results.push(super::flags::run(log, role));
        }
    }
    results.into_iter().collect()
}

/// Serves and announces a directory.
pub(super) fn serve(log: &Log) -> Result<()> {
    let (world, directory) = (World::shipped(log.wrapper())?, tempfile::tempdir()?);
    let path = directory.path().display().to_string();
    let server = world.start("serve", &["--export", &path, "-n", "4049", "--name", "box"])?;
    server.wait_for("announced box.local")?;
    server.stop_child()
}

#[test]
fn calls_of_mdns_roles_are_listed() -> Result<()> {
    if !root_for("network namespaces") {
        return Ok(());
    }
    compare(&["mdns", "publish", "browse", "resolve"], &POORER, session)
}
