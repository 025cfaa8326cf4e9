//! Our host and avahi's host claim the same name.

use crate::mdns::WORDS;
use crate::mdns::world::{Avahi, World};
use anyhow::Result;

#[test]
fn second_host_with_the_name_is_renamed() -> Result<()> {
    second_host_is_renamed(&World::new()?)
}

pub fn second_host_is_renamed(world: &World) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let avahi = Avahi::start(world, "box", scratch.path())?;
    let responder = world.announce(&WORDS)?;
    responder.wait_for("is now called box-2")?;
    responder.wait_for("announced box-2.local")?;
    avahi.wait_for_output(
        &["avahi-resolve", "-4", "-n", "box-2.local"],
        &["192.0.2.1"],
    )?;
    avahi.wait_for_output(&["avahi-resolve", "-4", "-n", "box.local"], &["192.0.2.2"])?;
    avahi.wait_for_output(
        &["avahi-browse", "-artp"],
        &["SFTP File Transfer;local;box-2.local;192.0.2.1;22"],
    )?;
    responder.stop()
}

#[test]
fn first_host_keeps_the_name() -> Result<()> {
    first_host_keeps_name(&World::new()?)
}

pub fn first_host_keeps_name(world: &World) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let responder = world.announce(&WORDS)?;
    responder.wait_for("announced box.local")?;
    let avahi = Avahi::start(world, "box", scratch.path())?;
    avahi.wait_for_output(&["avahi-resolve", "-4", "-n", "box.local"], &["192.0.2.1"])?;
    avahi.wait_for_output(
        &["avahi-resolve", "-4", "-n", "box-2.local"],
        &["192.0.2.2"],
    )?;
    responder.stop()
}

/// CVE-2023-38473: a conflict renames a service whose name has dots and backslashes; both remain part of the new name.
#[test]
fn conflicting_service_with_backslashes_is_renamed() -> Result<()> {
    let (world, scratch) = (World::new()?, tempfile::tempdir()?);
    let avahi = Avahi::start(&world, "other", scratch.path())?;
    let _published = avahi.publish(&[r"a.b\c", "_http._tcp", "1"])?;
    let seen = r"other.local;192.0.2.2;1;";
    avahi.wait_for_output(&["avahi-browse", "-rtpk", "_http._tcp"], &[seen])?;
    let responder = world.announce(&["--name", "box", "--service", r"a.b\\c,_http._tcp,2"])?;
    responder.wait_for(r"is now called a.b\\c (2)")?;
    responder.wait_for("announced box.local")?;
    let watch = world.browse(&["-r", "-p", "-k", "_http._tcp"])?;
    let theirs = r"=;eth0;IPv4;a\.b\\c;_http._tcp;local;other.local;192.0.2.2;1;";
    let ours = r"=;eth0;IPv4;a\.b\\c\032\0402\041;_http._tcp;local;box.local;192.0.2.1;2;";
    avahi.wait_for_output(&["avahi-browse", "-rtpk", "_http._tcp"], &[theirs, ours])?;
    // The first character is not compared: it is "!" instead of "=" if the IPv6 address was resolved first.
    watch.wait_for_all(&[&theirs[1..], &ours[1..]])?;
    responder.stop()
}
