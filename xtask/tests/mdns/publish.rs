//! `publish`: one service or one name, as avahi-publish does it.

use crate::mdns::world::{Avahi, Running, Said, World};
use anyhow::{Result, ensure};
use xtask::setup;

fn publish(world: &World, words: &[&str]) -> Result<Running> {
    world.start("publish", words)
}

#[test]
fn a_service_that_is_published_is_seen() -> Result<()> {
    let (world, room) = (World::new()?, tempfile::tempdir()?);
    let avahi = Avahi::start(&world, "other", room.path())?;
    let words = [
        "-s",
        "Printer (big)",
        "_ipp._tcp",
        "631",
        "--subtype",
        "_universal._sub._ipp._tcp",
        "rp=ipp/print",
        "note=a b",
    ];
    let service = publish(&world, &words)?;
    service.wait_for("announced Printer (big)")?;
    avahi.see(
        &["avahi-browse", "-rtpk", "_ipp._tcp"],
        &[
            r#"=;eth0;IPv4;Printer\032\040big\041;_ipp._tcp;local;"#,
            r#".local;192.0.2.1;631;"note=a b" "rp=ipp/print""#,
        ],
    )?;
    avahi.see(
        &["avahi-browse", "-tpk", "_universal._sub._ipp._tcp"],
        &[r"Printer\032\040big\041"],
    )?;
    // Another one of the name is called differently.
    let second = publish(&world, &["-s", "Printer (big)", "_ipp._tcp", "632"])?;
    second.wait_for("is now called Printer (big) (2)")?;
    second.wait_for("announced Printer (big) (2)")?;
    second.stop()?;
    service.stop()
}

#[test]
fn a_name_of_an_address_is_found_and_kept_or_given_up() -> Result<()> {
    let (world, room) = (World::new()?, tempfile::tempdir()?);
    let avahi = Avahi::start(&world, "other", room.path())?;
    let name = publish(&world, &["-a", "gate.local", "198.51.100.7"])?;
    name.wait_for("announced gate.local")?;
    avahi.see(
        &["avahi-resolve", "-n", "gate.local"],
        &["gate.local\t198.51.100.7"],
    )?;
    avahi.see(
        &["avahi-resolve", "-a", "198.51.100.7"],
        &["198.51.100.7\tgate.local"],
    )?;
    name.stop()?;
    // As an alias has it: what the address is called already stays.
    let name = publish(
        &world,
        &["--address", "--no-reverse", "door.local", "198.51.100.9"],
    )?;
    name.wait_for("announced door.local")?;
    avahi.see(
        &["avahi-resolve", "-n", "door.local"],
        &["door.local\t198.51.100.9"],
    )?;
    let reverse = Said::by(avahi.command("avahi-resolve").args(["-a", "198.51.100.9"]))?;
    ensure!(reverse.stdout.is_empty(), "{reverse:?}");
    name.stop()?;
    let taken = publish(&world, &["-a", "other.local", "198.51.100.8"])?;
    taken.wait_for("cannot announce other")?;
    let status = taken.end()?;
    ensure!(status == Some(1), "it ended with {status:?}");
    avahi.see(
        &["avahi-resolve", "-4", "-n", "other.local"],
        &["192.0.2.2"],
    )?;
    Ok(())
}

/// With the long names of all flags, as of avahi-publish: both are seen alike. That it is announced is said once, however often
/// its host's addresses change.
#[test]
fn our_flags_are_those_of_avahi_publish() -> Result<()> {
    let (world, room) = (World::new()?, tempfile::tempdir()?);
    let avahi = Avahi::start(&world, "other", room.path())?;
    let words = |name| {
        [
            "--service",
            "--host=other.local",
            "--domain",
            "local",
            "--verbose",
            "--no-fail",
            name,
            "_http._tcp",
            "8080",
            "path=/",
        ]
    };
    let ours = publish(&world, &words("Ours"))?;
    ours.wait_for("announced Ours")?;
    let mut theirs = avahi.command("avahi-publish");
    theirs.args(words("Theirs"));
    let theirs = Running::logging(theirs)?;
    theirs.wait_for("Established under name 'Theirs'")?;
    let place = r#";_http._tcp;local;other.local;192.0.2.2;8080;"path=/""#;
    avahi.see(
        &["avahi-browse", "-rtpk", "_http._tcp"],
        &[
            &format!("=;eth0;IPv4;Ours{place}"),
            &format!("=;eth0;IPv4;Theirs{place}"),
        ],
    )?;
    let added = ["addr", "add", "192.0.2.7/24", "dev", "eth0"];
    setup::quietly(world.ours.command("ip").args(added))?;
    // All is probed again with it, and was announced when it is known there.
    avahi.see(&["avahi-resolve", "-a", "192.0.2.7"], &["192.0.2.7\t"])?;
    let said = ours.stop_and_read()?;
    ensure!(!said.contains("announced"), "{said}");
    Ok(())
}
