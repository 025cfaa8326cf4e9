//! Other mDNS tests on a restricted host: no netlink, no packet info (IP_PKTINFO), and empty /proc and /sys. The suite `lockdown`
//! runs more of them without the first two, under the profile `esxi-7`.

use super::world::{Output, World};
use super::{WORDS, avahi_sees_us, browse, check_goodbye, conflicts, resolve};
use anyhow::{Result, ensure};
use nix::libc;
use std::fs;
use xtask::machines::lockdown;

/// The restrictions of `World::poor` are in force; without them the tests in this file would prove nothing.
#[test]
fn avahi_sees_services_of_a_poor_host() -> Result<()> {
    let world = World::poor()?;
    let responder = world.announce(&WORDS)?;
    responder.wait_for("announced box.local")?;
    let proc_dir = format!("/proc/{}", responder.pid());
    let status = fs::read_to_string(format!("{proc_dir}/status"))?;
    ensure!(status.contains("Seccomp:\t2"), "{status}");
    for dir in ["proc", "sys"] {
        let count = fs::read_dir(format!("{proc_dir}/root/{dir}"))?.count();
        ensure!(count == 0, "/{dir} has {count} entries");
    }
    let status = fs::read_link(format!("{proc_dir}/ns/net"))?;
    ensure!(status != fs::read_link("/proc/self/ns/net")?);
    responder.stop()?;
    avahi_sees_us(&world)
}

#[test]
fn poor_browser_follows_changes_of_a_poor_host() -> Result<()> {
    browse::sees_us(&World::poor()?)
}

#[test]
fn poor_host_resolves_addresses_and_denials() -> Result<()> {
    resolve::finds_us(&World::poor()?)
}

#[test]
fn second_poor_host_with_the_name_is_renamed() -> Result<()> {
    conflicts::second_host_is_renamed(&World::poor()?)
}

#[test]
fn poor_host_says_goodbye_on_sigterm() -> Result<()> {
    check_goodbye(&World::poor()?)
}

/// Without epoll and ppoll, poll(2) is left.
#[test]
fn browser_without_epoll_and_ppoll_uses_poll() -> Result<()> {
    let world = World::new()?;
    let responder = world.announce(&WORDS)?;
    responder.wait_for("announced box.local")?;
    for errno in [libc::ENOSYS, libc::EPERM] {
        let calls = [libc::SYS_epoll_create1, libc::SYS_ppoll];
        let mut browser = world.browser(&world.theirs, &["-tpk", "_sftp-ssh._tcp"])?;
        let seen = lockdown::answering(&calls, errno, || Output::of(&mut browser))?;
        ensure!(seen.stdout.contains("+;eth0;IPv4;"), "{seen:?}");
    }
    responder.stop()
}
