//! SIGHUP has the files of services read again: what changed is told, and nothing else.

use super::world::{Avahi, World};
use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long nobody says anything when everything was said.
const SILENCE: Duration = Duration::from_secs(3);

/// A file of one service.
fn put(dir: &Path, name: &str, port: u16) -> Result<()> {
    let file = dir.join(format!("{name}.service"));
    let text = format!(
        "<service-group>\n<name>{name}</name>\n<service><type>_http._tcp</type>\n<port>{port}</port></service>\n</service-group>\n"
    );
    Ok(fs::write(file, text)?)
}

/// Files of three services, and what becomes of them.
fn begin(dir: &Path) -> Result<()> {
    put(dir, "Stays", 81)?;
    put(dir, "Changes", 82)?;
    put(dir, "Goes", 83)
}

fn change(dir: &Path) -> Result<()> {
    // Written once more, as it was.
    put(dir, "Stays", 81)?;
    put(dir, "Changes", 92)?;
    fs::remove_file(dir.join("Goes.service"))?;
    fs::write(dir.join("broken.service"), "<service-group>\n<nam/>\n")?;
    put(dir, "Comes", 84)
}

#[test]
fn services_come_change_and_go_on_sighup() -> Result<()> {
    let (world, room) = (World::new()?, tempfile::tempdir()?);
    let dir = room.path().join("services");
    fs::create_dir_all(&dir)?;
    begin(&dir)?;
    let avahi = Avahi::start(&world, "other", room.path())?;
    let responder = world.announce(&["--name", "box", "--services", &dir.to_string_lossy()])?;
    responder.wait_for("announced box.local")?;
    let seen = ["Stays", "Changes", "Goes"].map(|name| format!("=;eth0;IPv4;{name};"));
    avahi.see(
        &["avahi-browse", "-rtpk", "_http._tcp"],
        &seen.each_ref().map(String::as_str),
    )?;
    change(&dir)?;
    kill(responder.pid(), Signal::SIGHUP)?;
    let told = responder.wait_for("left out")?;
    let expect = "broken.service:2: there is no such element, attribute, value or key";
    ensure!(told.ends_with(expect), "{told}");
    let browse = ["avahi-browse", "-rtpk", "_http._tcp"];
    avahi.see(
        &browse,
        &[
            "IPv4;Stays;_http._tcp;local;box.local;192.0.2.1;81;",
            "IPv4;Changes;_http._tcp;local;box.local;192.0.2.1;92;",
            "IPv4;Comes;_http._tcp;local;box.local;192.0.2.1;84;",
        ],
    )?;
    // What says goodbye is known for a second more.
    avahi.see_no_more(&browse, "Goes")?;
    responder.stop()
}

#[test]
fn what_did_not_change_is_left_alone() -> Result<()> {
    let (world, room) = (World::new()?, tempfile::tempdir()?);
    let dir = room.path().join("services");
    fs::create_dir_all(&dir)?;
    begin(&dir)?;
    let ear = world.theirs.run(|| {
        let ear = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 5353))?;
        ear.join_multicast_v4(&Ipv4Addr::new(224, 0, 0, 251), &Ipv4Addr::new(192, 0, 2, 2))?;
        ear.set_read_timeout(Some(SILENCE))?;
        Ok(ear)
    })?;
    // All that is said until nothing is.
    let listen = || -> Result<Vec<Vec<u8>>> {
        let (mut all, mut room) = (Vec::new(), [0; 9000]);
        let end = Instant::now() + Duration::from_secs(40);
        loop {
            ensure!(Instant::now() < end, "it never ends");
            match ear.recv(&mut room) {
                Ok(len) => all.push(room[..len].to_vec()),
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
    change(&dir)?;
    kill(responder.pid(), Signal::SIGHUP)?;
    let all = listen()?;
    let [stays, changes, goes, comes] = names(&all);
    let counts = format!("{stays} {changes} {goes} {comes}");
    // A farewell; three probes and two announcements; both.
    ensure!(
        stays == 0 && goes >= 1 && comes >= 5 && changes >= 5,
        "{counts}"
    );
    // Nothing is new: nothing is said.
    kill(responder.pid(), Signal::SIGHUP)?;
    responder.wait_for("left out")?;
    let all = listen()?;
    ensure!(all.is_empty(), "{all:?}");
    responder.stop()
}
