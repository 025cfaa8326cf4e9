//! `publish`: one service or one name, as avahi-publish does it.

use crate::mdns::world::{Avahi, Running, World};
use anyhow::{Result, ensure};

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
