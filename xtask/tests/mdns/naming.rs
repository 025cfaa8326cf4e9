//! What the host is called where nobody says it, and what else it is called.

use super::world::{Avahi, Running, World};
use anyhow::{Result, ensure};
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Less than the 120 seconds after which a name would be forgotten without a goodbye.
const GOODBYE: Duration = Duration::from_secs(60);

#[test]
fn a_host_without_a_name_is_known_by_its_hardware() -> Result<()> {
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
    for (own, expect) in [
        ("localhost", &*by_hardware),
        ("localhost.localdomain", &by_hardware),
        ("(none)", &by_hardware),
        ("nas.example.org", "nas"),
    ] {
        let responder = world.announce_as(own, &[])?;
        responder.wait_for(&format!("announced {expect}.local"))?;
        responder.stop()?;
    }
    Ok(())
}

/// An alias has the host's addresses, but they lead to the host alone; it goes as the host does.
#[test]
fn an_alias_leads_to_the_hosts_addresses() -> Result<()> {
    let (world, room) = (World::new()?, tempfile::tempdir()?);
    let avahi = Avahi::start(&world, "other", room.path())?;
    let words = [
        "--name",
        "box",
        "--alias",
        "www",
        "--alias",
        "wiki.box.local",
    ];
    let responder = world.announce(&words)?;
    responder.wait_for("announced box.local")?;
    for name in ["box.local", "www.local", "wiki.box.local"] {
        for (flag, address) in [("-4", "192.0.2.1"), ("-6", "fe80::")] {
            let seen = format!("{name}\t{address}");
            avahi.see(&["avahi-resolve", flag, "-n", name], &[&seen])?;
        }
    }
    let seen = avahi.see(
        &["avahi-resolve", "-a", "192.0.2.1"],
        &["192.0.2.1\tbox.local"],
    )?;
    ensure!(!seen.contains("www") && !seen.contains("wiki"), "{seen}");
    responder.stop()?;
    let end = Instant::now() + GOODBYE;
    for name in ["www.local", "wiki.box.local"] {
        loop {
            let words = ["-4", "-n", name];
            let said = avahi.command("avahi-resolve").args(words).output()?;
            if said.stdout.is_empty() {
                break;
            }
            ensure!(Instant::now() < end, "{name} is still known");
            sleep(Duration::from_millis(200));
        }
    }
    Ok(())
}

#[test]
fn names_that_another_host_has_are_given_up() -> Result<()> {
    let (world, room) = (World::new()?, tempfile::tempdir()?);
    let avahi = Avahi::start(&world, "other", room.path())?;
    let mut theirs = Vec::new();
    for (name, address) in [("taken.local", "192.0.2.77"), ("gone.local", "192.0.2.78")] {
        let mut command = avahi.command("avahi-publish");
        command.args(["-a", name, address]);
        theirs.push(Running::printing(command)?);
        let seen = format!("{name}\t{address}");
        avahi.see(&["avahi-resolve", "-n", name], &[&seen])?;
    }
    let hosts = room.path().join("hosts");
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
        avahi.see(&["avahi-resolve", "-4", "-n", name], &[seen])?;
    }
    responder.stop()
}

/// What avahi-publish announces of an address, our file's lines do.
#[test]
fn names_of_other_addresses_are_announced_as_avahi_does() -> Result<()> {
    let (world, room) = (World::new()?, tempfile::tempdir()?);
    let avahi = Avahi::start(&world, "other", room.path())?;
    let hosts = room.path().join("hosts");
    fs::write(
        &hosts,
        "# Names\n198.51.100.7 gate.local\n2001:db8::7\tgate.local # again\n\nx.local 1.2.3.4\n",
    )?;
    let responder = world.announce(&["--name", "box", "--hosts", &hosts.to_string_lossy()])?;
    let told = responder.wait_for("left out")?;
    ensure!(told.contains("/hosts:5: "), "{told}");
    responder.wait_for("announced box.local")?;
    let mut theirs = Vec::new();
    for words in [
        ["door.local", "198.51.100.8"],
        ["door6.local", "2001:db8::8"],
    ] {
        let mut command = avahi.command("avahi-publish");
        command.arg("-a").args(words);
        theirs.push(Running::printing(command)?);
    }
    for (flag, name, address) in [
        ("-4", "gate.local", "198.51.100.7"),
        ("-6", "gate.local", "2001:db8::7"),
        ("-4", "door.local", "198.51.100.8"),
        ("-6", "door6.local", "2001:db8::8"),
    ] {
        let seen = format!("{name}\t{address}");
        avahi.see(&["avahi-resolve", flag, "-n", name], &[&seen])?;
        let seen = format!("{address}\t{name}");
        avahi.see(&["avahi-resolve", "-a", address], &[&seen])?;
    }
    responder.stop()
}

#[test]
fn families_and_interfaces_may_be_left_out() -> Result<()> {
    let (world, room) = (World::new()?, tempfile::tempdir()?);
    let avahi = Avahi::start(&world, "other", room.path())?;
    for (flag, spoken, silent) in [("-4", "IPv4", "IPv6"), ("-6", "IPv6", "IPv4")] {
        let name = format!("Only{flag}");
        let service = format!("{name},_http._tcp,80");
        let words = ["--name", "box", flag, "--deny", "lo", "--service", &service];
        let responder = world.announce(&words)?;
        responder.wait_for("announced box.local")?;
        let resolved = format!("=;eth0;{spoken};{name};");
        let seen = avahi.see(&["avahi-browse", "-rtpk", "_http._tcp"], &[&resolved])?;
        ensure!(!seen.contains(&format!("{silent};{name};")), "{seen}");
        responder.stop()?;
    }
    let responder = world.announce(&["--name", "box", "--deny", "eth0"])?;
    responder.wait_for("waiting for one that is up")?;
    responder.stop()
}

#[test]
fn what_a_host_cannot_tell_of_itself_is_said() -> Result<()> {
    let world = World::poor()?;
    let responder = world.announce(&["--name", "box", "--identify"])?;
    let untold = "the host tells neither its serial number nor its UUID";
    // It hears a signal from when it runs.
    responder.wait_for_all(&[untold, "announced box.local"])?;
    responder.stop()?;
    let words = ["--name", "box", "--identify", "--hwid", "Maker,Thing,123"];
    let responder = world.announce(&words)?;
    responder.wait_for("announced box.local")?;
    let said = responder.stop_and_read()?;
    ensure!(!said.contains("the host tells neither"), "{said}");
    Ok(())
}
