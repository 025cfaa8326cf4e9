//! Default host names, and aliases that another host has.

use super::world::{Avahi, Process, World};
use anyhow::{Result, ensure};
use std::fs;

#[test]
fn host_without_a_name_uses_its_mac() -> Result<()> {
    let world = World::new()?;
    let shown = world
        .ours
        .command("ip")
        .args(["link", "show", "eth0"])
        .output()?;
    let shown = String::from_utf8(shown.stdout)?;
    let address = shown.split("link/ether ").nth(1).unwrap_or_default();
    let last: String = address.split([':', ' ']).skip(3).take(3).collect();
    ensure!(last.len() == 6, "{shown}");
    let by_hardware = format!("stowaway-{last}");
    for (hostname, expect) in [
        ("localhost", &*by_hardware),
        ("localhost.localdomain", &by_hardware),
        ("(none)", &by_hardware),
        ("nas.example.org", "nas"),
    ] {
        let responder = world.announce_as(hostname, &[])?;
        responder.wait_for(&format!("announced {expect}.local"))?;
        responder.stop()?;
    }
    Ok(())
}

#[test]
fn conflicting_aliases_are_withdrawn() -> Result<()> {
    let (world, scratch) = (World::new()?, tempfile::tempdir()?);
    let avahi = Avahi::start(&world, "other", scratch.path())?;
    let mut theirs = Vec::new();
    for (name, address) in [("taken.local", "192.0.2.77"), ("gone.local", "192.0.2.78")] {
        let mut command = avahi.command("avahi-publish");
        command.args(["-a", name, address]);
        theirs.push(Process::printing(command)?);
        let seen = format!("{name}\t{address}");
        avahi.wait_for_output(&["avahi-resolve", "-n", name], &[&seen])?;
    }
    let hosts = scratch.path().join("hosts");
    fs::write(&hosts, "198.51.100.1 gone.local\n198.51.100.2 ours.local\n")?;
    let hosts = hosts.to_string_lossy();
    let words = [
        "--name", "box", "--alias", "taken", "--alias", "www", "--hosts", &hosts,
    ];
    let responder = world.announce(&words)?;
    responder.wait_for_all(&[
        "cannot announce taken: another host has the name",
        "cannot announce gone: another host has the name",
        "announced box.local",
    ])?;
    for seen in [
        "taken.local\t192.0.2.77",
        "gone.local\t192.0.2.78",
        "www.local\t192.0.2.1",
        "ours.local\t198.51.100.2",
        "box.local\t192.0.2.1",
    ] {
        let (name, _) = seen.split_once('\t').unwrap_or_default();
        avahi.wait_for_output(&["avahi-resolve", "-4", "-n", name], &[seen])?;
    }
    responder.stop()
}

#[test]
fn disabled_families_and_interfaces_are_silent() -> Result<()> {
    let (world, scratch) = (World::new()?, tempfile::tempdir()?);
    let avahi = Avahi::start(&world, "other", scratch.path())?;
    for (flag, spoken, silent) in [("-4", "IPv4", "IPv6"), ("-6", "IPv6", "IPv4")] {
        let name = format!("Only{flag}");
        let service = format!("{name},_http._tcp,80");
        let words = ["--name", "box", flag, "--deny", "lo", "--service", &service];
        let responder = world.announce(&words)?;
        responder.wait_for("announced box.local")?;
        let resolved = format!("=;eth0;{spoken};{name};");
        let seen = avahi.wait_for_output(&["avahi-browse", "-rtpk", "_http._tcp"], &[&resolved])?;
        ensure!(!seen.contains(&format!("{silent};{name};")), "{seen}");
        responder.stop()?;
    }
    let responder = world.announce(&["--name", "box", "--deny", "eth0"])?;
    responder.wait_for("down, or without an address")?;
    responder.stop()
}

#[test]
fn missing_serial_number_and_uuid_are_reported() -> Result<()> {
    let world = World::poor()?;
    let responder = world.announce(&["--name", "box", "--identify"])?;
    let warning = "this host provides neither its serial number nor its UUID";
    // SIGTERM is handled only once the responder runs: the test waits for the announcement before it stops it.
    responder.wait_for_all(&[warning, "announced box.local"])?;
    responder.stop()?;
    let words = ["--name", "box", "--identify", "--hwid", "Maker,Thing,123"];
    let responder = world.announce(&words)?;
    responder.wait_for("announced box.local")?;
    let output = responder.stop_and_read()?;
    ensure!(!output.contains("this host provides neither"), "{output}");
    Ok(())
}
