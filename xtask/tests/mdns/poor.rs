//! On a poor host all is as on a rich one: without netlink, without word of where a packet came in, without /proc and /sys.

use super::world::World;
use super::{WORDS, avahi_sees_us, browse, conflicts, farewell, resolve, zeroconf_sees_us};
use anyhow::{Result, ensure};
use std::fs;

/// Else the others show nothing.
#[test]
fn a_poor_host_is_one() -> Result<()> {
    let world = World::poor()?;
    let responder = world.announce(&WORDS)?;
    responder.wait_for("announced box.local")?;
    let at = format!("/proc/{}", responder.pid());
    let status = fs::read_to_string(format!("{at}/status"))?;
    ensure!(status.contains("Seccomp:\t2"), "{status}");
    for dir in ["proc", "sys"] {
        let count = fs::read_dir(format!("{at}/root/{dir}"))?.count();
        ensure!(count == 0, "/{dir} has {count} entries");
    }
    let status = fs::read_link(format!("{at}/ns/net"))?;
    ensure!(status != fs::read_link("/proc/self/ns/net")?);
    responder.stop()
}

#[test]
fn avahi_sees_what_a_poor_host_announces() -> Result<()> {
    avahi_sees_us(&World::poor()?)
}

#[test]
fn zeroconf_sees_what_a_poor_host_announces() -> Result<()> {
    zeroconf_sees_us(&World::poor()?)
}

#[test]
fn a_poor_browser_sees_what_avahi_announces() -> Result<()> {
    browse::sees_avahi(&World::poor()?)
}

#[test]
fn a_poor_browser_sees_a_poor_host_and_what_changes() -> Result<()> {
    browse::sees_us(&World::poor()?)
}

#[test]
fn a_poor_host_finds_avahis() -> Result<()> {
    resolve::finds_avahi(&World::poor()?)
}

#[test]
fn a_poor_host_finds_another_and_what_it_denies() -> Result<()> {
    resolve::finds_us(&World::poor()?)
}

#[test]
fn a_poor_host_that_comes_second_is_called_differently() -> Result<()> {
    conflicts::second(&World::poor()?)
}

#[test]
fn a_poor_host_that_came_first_keeps_its_name() -> Result<()> {
    conflicts::first(&World::poor()?)
}

#[test]
fn a_poor_host_that_is_asked_to_stop_is_gone_from_lists_at_once() -> Result<()> {
    farewell(&World::poor()?)
}

#[test]
fn a_poor_browser_knows_what_was_on_a_host_that_died() -> Result<()> {
    browse::who_died_is_known(&World::poor()?)
}
