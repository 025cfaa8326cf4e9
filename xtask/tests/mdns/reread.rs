//! The responder reads its files again if they change, and after SIGHUP: it announces the changes, and sends nothing for unchanged
//! services. No role ends by SIGHUP.

use super::world::{Avahi, Process, World};
use anyhow::{Context as _, Result, ensure};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};
use xtask::machines::lockdown;

/// Once no packet comes for this long, all announcements are over.
const SILENCE: Duration = Duration::from_secs(3);

/// Writes a service file with one service.
fn write_service(dir: &Path, name: &str, port: u16) -> Result<()> {
    let file = dir.join(format!("{name}.service"));
    let text = format!(
        "<service-group>\n<name>{name}</name>\n<service><type>_http._tcp</type>\n<port>{port}</port></service>\n</service-group>\n"
    );
    Ok(fs::write(file, text)?)
}

/// Writes the service files that exist at start; `apply_changes` then changes them.
fn write_initial(dir: &Path) -> Result<()> {
    write_service(dir, "Stays", 81)?;
    write_service(dir, "Changes", 82)?;
    write_service(dir, "Goes", 83)
}

fn apply_changes(dir: &Path) -> Result<()> {
    // `Stays` is rewritten with the same contents.
    write_service(dir, "Stays", 81)?;
    write_service(dir, "Changes", 92)?;
    fs::remove_file(dir.join("Goes.service"))?;
    fs::write(dir.join("broken.service"), "<service-group>\n<nam/>\n")?;
    write_service(dir, "Comes", 84)
}

#[test]
fn sighup_sends_nothing_for_unchanged_services() -> Result<()> {
    let (world, scratch) = (World::new()?, tempfile::tempdir()?);
    let dir = scratch.path().join("services");
    fs::create_dir_all(&dir)?;
    write_initial(&dir)?;
    let socket = world.theirs.run(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 5353))?;
        socket.join_multicast_v4(&Ipv4Addr::new(224, 0, 0, 251), &Ipv4Addr::new(192, 0, 2, 2))?;
        socket.set_read_timeout(Some(SILENCE))?;
        Ok(socket)
    })?;
    // Collects datagrams until none comes for SILENCE.
    let listen = || -> Result<Vec<Vec<u8>>> {
        let (mut all, mut buffer) = (Vec::new(), [0; 9000]);
        let deadline = Instant::now() + Duration::from_secs(40);
        loop {
            ensure!(
                Instant::now() < deadline,
                "the responder sends without an end"
            );
            match socket.recv(&mut buffer) {
                Ok(len) => all.push(buffer[..len].to_vec()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(all),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("cannot receive"),
            }
        }
    };
    let names = |all: &[Vec<u8>]| {
        ["Stays", "Changes", "Goes", "Comes"].map(|name| {
            let is_in = |bytes: &Vec<u8>| bytes.windows(name.len()).any(|at| at == name.as_bytes());
            all.iter().filter(|bytes| is_in(bytes)).count()
        })
    };
    let responder = world.announce(&["--name", "box", "--services", &dir.to_string_lossy()])?;
    responder.wait_for("announced box.local")?;
    let [stays, changes, goes, comes] = names(&listen()?);
    ensure!(stays > 1 && changes > 1 && goes > 1 && comes == 0);
    apply_changes(&dir)?;
    kill(responder.pid(), Signal::SIGHUP)?;
    let all = listen()?;
    let [stays, changes, goes, comes] = names(&all);
    let counts = format!("{stays} {changes} {goes} {comes}");
    // Expected messages: a goodbye with `Goes`, three probes and two announcements with `Comes`; `Changes` is in all of them.
    ensure!(
        stays == 0 && goes >= 1 && comes >= 5 && changes >= 5,
        "{counts}"
    );
    // Nothing has changed, so nothing is sent.
    kill(responder.pid(), Signal::SIGHUP)?;
    responder.wait_for("left out")?;
    let all = listen()?;
    ensure!(all.is_empty(), "{all:?}");
    responder.stop()
}

/// Roles without files ignore SIGHUP. SIGTERM then ends them with goodbyes.
#[test]
fn sighup_ends_no_role() -> Result<()> {
    let (world, scratch) = (World::new()?, tempfile::tempdir()?);
    let export = scratch.path().to_string_lossy();
    let avahi = Avahi::start(&world, "other", scratch.path())?;
    let serve = ["--export", &export, "-p", "-n", "2049", "--name", "box"];
    for (role, words, kind) in [
        ("mdns", &["--service", "One,_one._tcp,1"][..], "_one._tcp"),
        ("publish", &["-s", "Two", "_two._tcp", "2"], "_two._tcp"),
        ("serve", &serve, "_nfs._tcp"),
    ] {
        let process = world.start(role, words)?;
        let browse = ["avahi-browse", "-tpk", kind];
        avahi.wait_for_output(&browse, &["+;eth0;IPv4;"])?;
        for _ in 0..3 {
            kill(process.pid(), Signal::SIGHUP)?;
        }
        avahi.wait_for_output(&browse, &["+;eth0;IPv4;"])?;
        let lines = process.stop_and_read()?;
        ensure!(!lines.contains("restarting"), "{role}: {lines}");
        // Without a goodbye, the service would be known for 75 minutes.
        avahi.wait_until_gone(&browse, "IPv4")?;
    }
    Ok(())
}

/// Service files and the hosts file change; nothing is sent to the responder.
fn changes_are_seen(start: impl FnOnce(&World, &[&str]) -> Result<Process>) -> Result<()> {
    let (world, scratch) = (World::new()?, tempfile::tempdir()?);
    let dir = scratch.path().join("services");
    let hosts = scratch.path().join("hosts");
    fs::create_dir_all(&dir)?;
    write_initial(&dir)?;
    fs::write(
        &hosts,
        "198.51.100.1 stays.local\n198.51.100.2 goes.local\n",
    )?;
    let avahi = Avahi::start(&world, "other", scratch.path())?;
    let (services, names) = (dir.to_string_lossy(), hosts.to_string_lossy());
    let words = ["--name", "box", "--services", &services, "--hosts", &names];
    let responder = start(&world, &words)?;
    responder.wait_for("announced box.local")?;
    let browse = ["avahi-browse", "-rtpk", "_http._tcp"];
    avahi.wait_for_output(&browse, &["IPv4;Stays;", "IPv4;Changes;", "IPv4;Goes;"])?;
    apply_changes(&dir)?;
    fs::write(
        dir.join("unit.dnssd"),
        "[Service]\nName=Unit\nType=_http._tcp\nPort=85\n",
    )?;
    // As editors write a file.
    fs::write(
        scratch.path().join("new"),
        "198.51.100.1 stays.local\n198.51.100.3 comes.local\n",
    )?;
    fs::rename(scratch.path().join("new"), &hosts)?;
    let port = |name, port| format!("IPv4;{name};_http._tcp;local;box.local;192.0.2.1;{port};");
    let seen = [
        port("Stays", 81),
        port("Changes", 92),
        port("Comes", 84),
        port("Unit", 85),
    ];
    avahi.wait_for_output(&browse, &seen.each_ref().map(String::as_str))?;
    avahi.wait_until_gone(&browse, "Goes")?;
    let resolve = |name| ["avahi-resolve", "-4", "-n", name];
    avahi.wait_for_output(&resolve("comes.local"), &["198.51.100.3"])?;
    avahi.wait_until_gone(&resolve("goes.local"), "198.51.100.2")?;
    // The directory and the hosts file are replaced.
    fs::remove_dir_all(&dir)?;
    fs::create_dir(&dir)?;
    write_service(&dir, "Last", 86)?;
    fs::remove_file(&hosts)?;
    fs::write(&hosts, "198.51.100.4 last.local\n")?;
    avahi.wait_for_output(&browse, &[&port("Last", 86)])?;
    avahi.wait_until_gone(&browse, "Stays")?;
    avahi.wait_for_output(&resolve("last.local"), &["198.51.100.4"])?;
    responder.stop()
}

#[test]
fn changed_files_are_seen_by_inotify() -> Result<()> {
    changes_are_seen(|world, words| world.announce(words))
}

#[test]
fn changed_files_are_seen_without_inotify() -> Result<()> {
    changes_are_seen(|world, words| {
        lockdown::run_without(&[libc::SYS_inotify_init1], || world.announce(words))
    })
}
