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
