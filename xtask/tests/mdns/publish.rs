//! `publish`: one service or one name, as avahi-publish does it.

use crate::mdns::world::{Avahi, Output, Process, World};
use anyhow::{Result, ensure};
use xtask::setup;

fn publish(world: &World, words: &[&str]) -> Result<Process> {
    world.start("publish", words)
}

#[test]
fn published_service_is_seen() -> Result<()> {
    let (world, scratch) = (World::new()?, tempfile::tempdir()?);
    let avahi = Avahi::start(&world, "other", scratch.path())?;
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
    avahi.wait_for_output(
        &["avahi-browse", "-rtpk", "_ipp._tcp"],
        &[
            r#"=;eth0;IPv4;Printer\032\040big\041;_ipp._tcp;local;"#,
            r#".local;192.0.2.1;631;"note=a b" "rp=ipp/print""#,
        ],
    )?;
    avahi.wait_for_output(
        &["avahi-browse", "-tpk", "_universal._sub._ipp._tcp"],
        &[r"Printer\032\040big\041"],
    )?;
    // A second service with the same name is renamed.
    let second = publish(&world, &["-s", "Printer (big)", "_ipp._tcp", "632"])?;
    second
        .wait_for("is now called Printer (big) (2): another responder on this host has the name")?;
    second.wait_for("announced Printer (big) (2)")?;
    second.stop()?;
    service.stop()
}

#[test]
fn published_address_is_resolved_or_refused() -> Result<()> {
    let (world, scratch) = (World::new()?, tempfile::tempdir()?);
    let avahi = Avahi::start(&world, "other", scratch.path())?;
    let name = publish(&world, &["-a", "gate.local", "198.51.100.7"])?;
    name.wait_for("announced gate.local")?;
    avahi.wait_for_output(
        &["avahi-resolve", "-n", "gate.local"],
        &["gate.local\t198.51.100.7"],
    )?;
    avahi.wait_for_output(
        &["avahi-resolve", "-a", "198.51.100.7"],
        &["198.51.100.7\tgate.local"],
    )?;
    name.stop()?;
    // --no-reverse: no reverse mapping is announced, as for an alias.
    let name = publish(
        &world,
        &["--address", "--no-reverse", "door.local", "198.51.100.9"],
    )?;
    name.wait_for("announced door.local")?;
    avahi.wait_for_output(
        &["avahi-resolve", "-n", "door.local"],
        &["door.local\t198.51.100.9"],
    )?;
    let reverse = Output::of(avahi.command("avahi-resolve").args(["-a", "198.51.100.9"]))?;
    ensure!(reverse.stdout.is_empty(), "{reverse:?}");
    name.stop()?;
    let taken = publish(&world, &["-a", "other.local", "198.51.100.8"])?;
    taken.wait_for("cannot announce other")?;
    let status = taken.wait()?;
    ensure!(status == Some(1), "publish ended with {status:?}");
    avahi.wait_for_output(
        &["avahi-resolve", "-4", "-n", "other.local"],
        &["192.0.2.2"],
    )?;
    Ok(())
}

/// The long flags are those of avahi-publish, and both services look the same to a browser. The message "announced" is printed
/// once, however often the host's addresses change.
#[test]
fn publish_accepts_the_flags_of_avahi_publish() -> Result<()> {
    let (world, scratch) = (World::new()?, tempfile::tempdir()?);
    let avahi = Avahi::start(&world, "other", scratch.path())?;
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
    let theirs = Process::logging(theirs)?;
    theirs.wait_for("Established under name 'Theirs'")?;
    let suffix = r#";_http._tcp;local;other.local;192.0.2.2;8080;"path=/""#;
    avahi.wait_for_output(
        &["avahi-browse", "-rtpk", "_http._tcp"],
        &[
            &format!("=;eth0;IPv4;Ours{suffix}"),
            &format!("=;eth0;IPv4;Theirs{suffix}"),
        ],
    )?;
    let added = ["addr", "add", "192.0.2.7/24", "dev", "eth0"];
    setup::run_captured(world.ours.command("ip").args(added))?;
    // avahi resolves the new address after our host has probed and announced again.
    avahi.wait_for_output(&["avahi-resolve", "-a", "192.0.2.7"], &["192.0.2.7\t"])?;
    let output = ours.stop_and_read()?;
    ensure!(!output.contains("announced"), "{output}");
    Ok(())
}
