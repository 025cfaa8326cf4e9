//! One name for two hosts: ours and avahi's.

use crate::WORDS;
use crate::world::{Avahi, World};
use anyhow::Result;

#[test]
fn who_comes_second_is_called_differently() -> Result<()> {
    second(&World::new()?)
}

pub fn second(world: &World) -> Result<()> {
    let room = tempfile::tempdir()?;
    let avahi = Avahi::start(world, "box", room.path())?;
    let responder = world.announce(&WORDS)?;
    responder.wait_for("is now called box-2")?;
    responder.wait_for("announced box-2.local")?;
    avahi.see(
        &["avahi-resolve", "-4", "-n", "box-2.local"],
        &["192.0.2.1"],
    )?;
    avahi.see(&["avahi-resolve", "-4", "-n", "box.local"], &["192.0.2.2"])?;
    avahi.see(
        &["avahi-browse", "-artp"],
        &["SFTP File Transfer;local;box-2.local;192.0.2.1;22"],
    )?;
    responder.stop()
}

#[test]
fn who_came_first_keeps_the_name() -> Result<()> {
    first(&World::new()?)
}

pub fn first(world: &World) -> Result<()> {
    let room = tempfile::tempdir()?;
    let responder = world.announce(&WORDS)?;
    responder.wait_for("announced box.local")?;
    let avahi = Avahi::start(world, "box", room.path())?;
    avahi.see(&["avahi-resolve", "-4", "-n", "box.local"], &["192.0.2.1"])?;
    avahi.see(
        &["avahi-resolve", "-4", "-n", "box-2.local"],
        &["192.0.2.2"],
    )?;
    responder.stop()
}
