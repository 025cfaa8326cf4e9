//! Another responder on the same host: it keeps the host's name, and both have their services seen.

use super::world::{Avahi, Running, World, services};
use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use std::fs;
use std::path::Path;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};
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

/// A round of this, or twenty: in both orders.
fn rounds(case: &Case) -> Result<()> {
    let room = tempfile::tempdir()?;
    let (world, neighbour) = world(&room)?;
    for _ in 0..if full() { 20 } else { 1 } {
        avahi_first(&world, &neighbour, case)?;
        ours_first(&world, &neighbour, case)?;
    }
    Ok(())
}

/// Does the same with each at once, on hosts of their own.
fn at_once<T: Sync>(all: &[T], work: fn(&T) -> Result<()>) -> Result<()> {
    thread::scope(|scope| {
        let running: Vec<_> = all.iter().map(|one| scope.spawn(|| work(one))).collect();
        let ended = running.into_iter().map(|one| one.join().expect("a panic"));
        ended.collect::<Vec<_>>().into_iter().collect()
    })
}

#[test]
fn avahi_and_ours_share_a_host() -> Result<()> {
    let cases = [MDNS_SAME, MDNS_OTHER, PUBLISH, SERVE_SAME, SERVE_OTHER];
    at_once(&cases, |case| {
        let name = format!("{} {:?}", case.role, case.words);
        rounds(case).context(name)
    })
}

/// It cannot say goodbye: that it has the port no more tells, long before its records expire.
#[test]
fn who_is_killed_leaves_us_the_host() -> Result<()> {
    let (room, own_room) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let (world, neighbour) = world(&room)?;
    let avahi = Avahi::on(&world.ours, THEIR_NAME, true, own_room.path())?;
    let responder = start(&world, &MDNS_OTHER)?;
    responder.wait_for(LEFT)?;
    both_are_seen(&neighbour, &MDNS_OTHER)?;
    drop(avahi);
    responder.wait_for("announced box.local")?;
    let seen = format!("{FILES}box.local;192.0.2.1;");
    neighbour.see(&["avahi-browse", "-artp"], &[&seen])?;
    responder.stop()
}

/// Services of each that come and go.
const COUNT: usize = 6;

/// A file of a service is there from now on, or not any more.
fn toggle(dir: &Path, name: &str, is_there: bool) -> Result<()> {
    let file = dir.join(format!("{name}.service"));
    let text = format!(
        "<service-group><name>{name}</name><service><type>_http._tcp</type><port>80</port></service></service-group>"
    );
    match is_there {
        // As a whole: avahi reads it as soon as it is there.
        true => {
            let new = dir.join("new");
            fs::write(&new, text)?;
            fs::rename(new, file)?;
        }
        false => fs::remove_file(file)?,
    }
    Ok(())
}

/// Both have files of services that come and go, for a while or for ten minutes in all; then both have what is there, and their names.
fn come_and_go(name: &&str) -> Result<()> {
    let (room, own_room) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let (world, neighbour) = world(&room)?;
    let avahi = Avahi::on(&world.ours, THEIR_NAME, true, own_room.path())?;
    let (ours, theirs) = (own_room.path().join("ours"), services(own_room.path()));
    fs::create_dir(&ours)?;
    let responder = world.announce(&["--name", name, "--services", &ours.to_string_lossy()])?;
    responder.wait_for(LEFT)?;
    let mut are_there = [false; COUNT];
    let end = Instant::now() + Duration::from_secs(if full() { 300 } else { 8 });
    for at in (0..COUNT).cycle() {
        are_there[at] ^= true;
        toggle(&ours, &format!("Ours-{at}"), are_there[at])?;
        toggle(&theirs, &format!("Theirs-{at}"), are_there[at])?;
        kill(responder.pid(), Signal::SIGHUP)?;
        if Instant::now() > end && are_there.contains(&true) && are_there.contains(&false) {
            break;
        }
        sleep(Duration::from_millis(1500));
    }
    let line =
        |whose: &str, at: usize| format!("=;eth0;IPv4;{whose}-{at};_http._tcp;local;vm.local;");
    let wanted: Vec<_> = (0..COUNT)
        .filter(|at| are_there[*at])
        .flat_map(|at| [line("Ours", at), line("Theirs", at)])
        .collect();
    let wanted: Vec<_> = wanted.iter().map(String::as_str).collect();
    let words = ["avahi-browse", "-artpk"];
    let end = Instant::now() + Duration::from_secs(40);
    loop {
        let seen = neighbour.see(&words, &wanted)?;
        let count = seen
            .lines()
            .filter(|line| line.starts_with("=;eth0;IPv4;") && line.contains("_http"));
        if count.count() == wanted.len() {
            break;
        }
        ensure!(Instant::now() < end, "what went is still there:\n{seen}");
        sleep(Duration::from_millis(200));
    }
    neighbour.see(&["avahi-browse", "-artp"], &[THEIR_SERVICE])?;
    avahi_is_unharmed(&avahi)?;
    responder.stop()
}

#[test]
fn services_of_both_come_and_go() -> Result<()> {
    at_once(&["vm", "box"], come_and_go)
}
