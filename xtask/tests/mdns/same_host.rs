//! avahi runs on the same host as our responder: avahi keeps the host name, and other hosts see the services of both.

use super::world::{Avahi, Process, World};
use anyhow::{Context as _, Result, ensure};
use std::thread::{self, sleep};
use std::time::Duration;
use xtask::setup;
use xtask::testing::is_full_run;

/// The host name that avahi uses.
const THEIR_NAME: &str = "vm";
/// avahi's own service: the workstation record of its host.
const THEIR_SERVICE: &str = "Workstation;local;vm.local;192.0.2.1;9;";
const SERVICES_ONLY: &str = "announces services alone, on vm";

/// A way to start our responder, and its expected records.
#[derive(Clone, Copy)]
struct Case {
    role: &'static str,
    words: &'static [&'static str],
    /// The host name that our responder uses while avahi is not running.
    name: &'static str,
    /// Start of the line that avahi-browse prints for our service, up to the host name.
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
/// `publish` has no option for the host name; it uses the kernel's.
const PUBLISH: Case = Case {
    role: "publish",
    words: &["-s", "Files", "_sftp-ssh._tcp", "22"],
    name: "",
    service: FILES,
};

/// Creates a host with avahi as the neighbour, and gives our host a global IPv6 address in addition to its link-local one. An avahi
/// on our host then announces only the global address.
fn world(scratch: &tempfile::TempDir) -> Result<(World, Avahi)> {
    let world = World::new()?;
    let address = ["addr", "add", "2001:db8::1/64", "dev", "eth0", "nodad"];
    setup::run_captured(world.ours.command("ip").args(address))?;
    let neighbour = Avahi::start(&world, "neighbour", scratch.path())?;
    Ok((world, neighbour))
}

fn start(world: &World, case: &Case) -> Result<Process> {
    world.start(case.role, case.words)
}

/// Checks that the neighbour sees both services, under the one host name.
fn both_are_seen(neighbour: &Avahi, case: &Case) -> Result<()> {
    let ours = format!("{}vm.local;192.0.2.1;", case.service);
    let seen = [THEIR_SERVICE, &ours];
    neighbour
        .wait_for_output(&["avahi-browse", "-artp"], &seen)
        .map(drop)
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

/// Tests that our responder, started after avahi, announces only its services.
fn avahi_first(world: &World, neighbour: &Avahi, case: &Case) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let avahi = Avahi::start_on(&world.ours, THEIR_NAME, scratch.path())?;
    let responder = start(world, case)?;
    responder.wait_for(SERVICES_ONLY)?;
    both_are_seen(neighbour, case)?;
    avahi_is_unharmed(&avahi)?;
    responder.stop()
}

/// Tests that our responder gives up its host name when avahi starts on the same host, and announces the name again once avahi has
/// stopped.
fn ours_first(world: &World, neighbour: &Avahi, case: &Case) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let responder = start(world, case)?;
    responder.wait_for("announced ")?;
    let avahi = Avahi::start_on(&world.ours, THEIR_NAME, scratch.path())?;
    responder.wait_for(SERVICES_ONLY)?;
    both_are_seen(neighbour, case)?;
    avahi_is_unharmed(&avahi)?;
    avahi.stop()?;
    responder.wait_for("announced ")?;
    let suffix = match case.name {
        "" => String::new(),
        name => format!("{name}.local;192.0.2.1;"),
    };
    let seen = format!("{}{suffix}", case.service);
    neighbour.wait_for_output(&["avahi-browse", "-artp"], &[&seen])?;
    responder.stop()
}

/// Tests both orders of starting, once; in full runs twenty times.
fn rounds(case: &Case) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (world, neighbour) = world(&scratch)?;
    for _ in 0..if is_full_run() { 20 } else { 1 } {
        avahi_first(&world, &neighbour, case)?;
        ours_first(&world, &neighbour, case)?;
    }
    Ok(())
}

/// Runs `work` for all cases in parallel, each on hosts of its own.
fn in_parallel<T: Sync>(all: &[T], work: fn(&T) -> Result<()>) -> Result<()> {
    thread::scope(|scope| {
        let running: Vec<_> = all.iter().map(|case| scope.spawn(|| work(case))).collect();
        let ended = running
            .into_iter()
            .map(|case| case.join().expect("a case panicked"));
        ended.collect::<Vec<_>>().into_iter().collect()
    })
}

#[test]
fn avahi_and_ours_share_a_host() -> Result<()> {
    let cases = [MDNS_SAME, MDNS_OTHER, PUBLISH, SERVE_SAME];
    in_parallel(&cases, |case| {
        let name = format!("{} {:?}", case.role, case.words);
        rounds(case).context(name)
    })
}

/// As at boot: both are started within a second. avahi must not hear a record of ours for the host before we know that it runs. Full
/// runs start each role four times, before and after avahi, at each of six intervals.
#[test]
fn avahi_started_with_ours_keeps_its_name() -> Result<()> {
    let mut starts = vec![
        (MDNS_SAME, 0, 0),
        (MDNS_SAME, 0, 300),
        (MDNS_SAME, 0, 600),
        (MDNS_SAME, 0, 900),
        (SERVE_SAME, 0, 300),
        (MDNS_SAME, 300, 0),
    ];
    if is_full_run() {
        for ms in [0, 150, 300, 600, 900, 1200].repeat(4) {
            for case in [MDNS_SAME, SERVE_SAME, PUBLISH] {
                starts.extend([(case, 0, ms), (case, ms, 0)]);
            }
        }
    }
    // Six pairs at a time: with more, the machine would delay them.
    for starts in starts.chunks(6) {
        start_together(starts)?;
    }
    Ok(())
}

fn start_together(starts: &[(Case, u64, u64)]) -> Result<()> {
    in_parallel(starts, |(case, ours_ms, avahi_ms)| {
        let (scratch, our_scratch) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let (world, neighbour) = world(&scratch)?;
        let avahi = thread::scope(|scope| {
            let avahi = scope.spawn(|| {
                sleep(Duration::from_millis(*avahi_ms));
                Avahi::start_on(&world.ours, THEIR_NAME, our_scratch.path())
            });
            sleep(Duration::from_millis(*ours_ms));
            let responder = start(&world, case)?;
            let avahi = avahi.join().expect("a thread panicked")?;
            responder.wait_for(SERVICES_ONLY)?;
            both_are_seen(&neighbour, case)?;
            responder.stop()?;
            anyhow::Ok(avahi)
        })?;
        avahi_is_unharmed(&avahi).with_context(|| format!("{} {ours_ms} {avahi_ms}", case.role))
    })
}

/// A killed avahi sends no goodbye. Our responder must notice that no other program has port 5353 bound, and announce its host name
/// long before avahi's records expire.
#[test]
fn killed_avahi_leaves_us_the_host_name() -> Result<()> {
    let (scratch, our_scratch) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let (world, neighbour) = world(&scratch)?;
    let avahi = Avahi::start_on(&world.ours, THEIR_NAME, our_scratch.path())?;
    let responder = start(&world, &MDNS_OTHER)?;
    responder.wait_for(SERVICES_ONLY)?;
    both_are_seen(&neighbour, &MDNS_OTHER)?;
    drop(avahi);
    responder.wait_for("announced box.local")?;
    let seen = format!("{FILES}box.local;192.0.2.1;");
    neighbour.wait_for_output(&["avahi-browse", "-artp"], &[&seen])?;
    responder.stop()
}
