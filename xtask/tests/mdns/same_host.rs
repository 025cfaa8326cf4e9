//! Another responder on the same host: it keeps the host's name, and both have their services seen.

use super::world::{Avahi, Running, World};
use anyhow::{Result, ensure};
use xtask::setup;
use xtask::testing::full;

/// What avahi calls the host.
const THEIR_NAME: &str = "vm";
/// The service that the other responder has: it announces the host that it is on.
const THEIR_SERVICE: &str = "Workstation;local;vm.local;192.0.2.1;9;";
const LEFT: &str = "announces services alone, on vm";

/// How ours is started, and what is seen of it.
struct Case {
    role: &'static str,
    words: &'static [&'static str],
    /// What it calls the host while it is alone.
    name: &'static str,
    /// What others see of its service, up to its host.
    service: &'static str,
}

const FILES: &str = "Files;SFTP File Transfer;local;";
const MDNS_SAME: Case = Case {
    role: "mdns",
    words: &["--name", "vm", "--service", "Files,_sftp-ssh._tcp,22"],
    name: "vm",
    service: FILES,
};
const MDNS_OTHER: Case = Case {
    words: &["--name", "box", "--service", "Files,_sftp-ssh._tcp,22"],
    name: "box",
    ..MDNS_SAME
};
const SERVE_SAME: Case = Case {
    role: "serve",
    words: &["--export", "/usr", "-n", "4049", "--name", "vm"],
    name: "vm",
    service: "Network File System;local;",
};
const SERVE_OTHER: Case = Case {
    words: &["--export", "/usr", "-n", "4049", "--name", "box"],
    name: "box",
    ..SERVE_SAME
};
/// It has no option for the host's name: that is what the host calls itself.
const PUBLISH: Case = Case {
    role: "publish",
    words: &["-s", "Files", "_sftp-ssh._tcp", "22"],
    name: "",
    service: FILES,
};

/// A host that has an address of IPv6 beside that of its link, of which alone avahi tells then; and a neighbour who looks.
fn world(room: &tempfile::TempDir) -> Result<(World, Avahi)> {
    let world = World::new()?;
    let address = ["addr", "add", "2001:db8::1/64", "dev", "eth0", "nodad"];
    setup::quietly(world.ours.command("ip").args(address))?;
    let neighbour = Avahi::start(&world, "neighbour", room.path())?;
    Ok((world, neighbour))
}

fn start(world: &World, case: &Case) -> Result<Running> {
    world.start(case.role, case.words)
}

/// Both are seen, at the one name.
fn both_are_seen(neighbour: &Avahi, case: &Case) -> Result<()> {
    let ours = format!("{}vm.local;192.0.2.1;", case.service);
    let seen = [THEIR_SERVICE, &ours];
    neighbour.see(&["avahi-browse", "-artp"], &seen).map(drop)
}

fn avahi_is_unharmed(avahi: &Avahi) -> Result<()> {
    let log = avahi.log();
    let is_renamed = log.contains("conflict") || log.contains("Withdrawing");
    ensure!(
        !is_renamed && log.contains("Host name is vm.local."),
        "{log}"
    );
    Ok(())
}

/// Avahi is there first.
fn avahi_first(world: &World, neighbour: &Avahi, case: &Case) -> Result<()> {
    let room = tempfile::tempdir()?;
    let avahi = Avahi::on(&world.ours, THEIR_NAME, true, room.path())?;
    let responder = start(world, case)?;
    responder.wait_for(LEFT)?;
    both_are_seen(neighbour, case)?;
    avahi_is_unharmed(&avahi)?;
    responder.stop()
}

/// Ours is there first, and is again when avahi has gone.
fn ours_first(world: &World, neighbour: &Avahi, case: &Case) -> Result<()> {
    let room = tempfile::tempdir()?;
    let responder = start(world, case)?;
    responder.wait_for("announced ")?;
    let avahi = Avahi::on(&world.ours, THEIR_NAME, true, room.path())?;
    responder.wait_for(LEFT)?;
    both_are_seen(neighbour, case)?;
    avahi_is_unharmed(&avahi)?;
    avahi.stop()?;
    responder.wait_for("announced ")?;
    let at = match case.name {
        "" => String::new(),
        name => format!("{name}.local;192.0.2.1;"),
    };
    let seen = format!("{}{at}", case.service);
    neighbour.see(&["avahi-browse", "-artp"], &[&seen])?;
    responder.stop()
}

/// A few rounds of each, or twenty.
fn rounds(cases: &[Case]) -> Result<()> {
    let room = tempfile::tempdir()?;
    let (world, neighbour) = world(&room)?;
    for _ in 0..if full() { 20 } else { 1 } {
        for case in cases {
            avahi_first(&world, &neighbour, case)?;
            ours_first(&world, &neighbour, case)?;
        }
    }
    Ok(())
}

#[test]
fn avahi_and_mdns_share_a_host_of_one_name() -> Result<()> {
    rounds(&[MDNS_SAME])
}

#[test]
fn avahi_and_mdns_share_a_host_of_two_names() -> Result<()> {
    rounds(&[MDNS_OTHER])
}

#[test]
fn avahi_and_publish_share_a_host() -> Result<()> {
    rounds(&[PUBLISH])
}

#[test]
fn avahi_and_serve_share_a_host_of_one_name() -> Result<()> {
    rounds(&[SERVE_SAME])
}

#[test]
fn avahi_and_serve_share_a_host_of_two_names() -> Result<()> {
    rounds(&[SERVE_OTHER])
}
