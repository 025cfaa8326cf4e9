//! A microVM on a TAP interface, with the terminal picture of the README; and a fleet that announces itself.

use super::{LISTENING, Recipe, on_host, picture};
use crate::mdns::world::wait_for_v6;
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::Path;
use std::process::Command;
use xtask::machines::qemu::{self, Guest};
use xtask::machines::server::{Namespace, root_for};
use xtask::machines::wait_for;
use xtask::setup::run_captured;

/// A guest on TAP mounts by busybox, as in the recipe. Then it is the client in the picture, whose mount is by nfs-common.
#[test]
fn guest_on_tap_mounts_without_nfs_common() -> Result<()> {
    if !root_for("a TAP interface") {
        return Ok(());
    }
    qemu::prepare("nfs-client")?;
    let network = Namespace::new()?;
    on_host("a TAP interface", &network, |directory| {
        let mut server = Recipe::load("tap")?.start(directory)?;
        server.wait_for(LISTENING)?;
        run_captured(Command::new("chmod").args(["777", "/srv"]))?;
        let mut guest = Guest::boot_on("nfs-client", &qemu::tap("tap0"))?;
        // The machine's /init has configured the card for QEMU's user network.
        guest.run_ok("ip addr flush dev eth0")?;
        guest.run_ok(Recipe::load("tap-guest")?.text())?;
        let read = guest.run_ok("cat /mnt/hello.txt; echo new >/mnt/new")?;
        ensure!(read == "hello\n", "{read}");
        ensure!(fs::read_to_string("/srv/new")? == "new\n");
        guest.run_ok("umount /mnt; rm -f /mnt/new")?;
        server.stop()?;
        fs::remove_file("/srv/new")?;
        picture::ensure_current(directory, &mut guest)
    })
}

#[test]
fn fleet_is_followed_by_a_program() -> Result<()> {
    if !root_for("two hosts") {
        return Ok(());
    }
    let (host, admin) = Namespace::pair()?;
    for host in [&host, &admin] {
        wait_for_v6(host, "eth0")?;
    }
    on_host("two hosts", &admin, |directory| {
        let _browser = Recipe::load("fleet")?.start(directory)?;
        let mut server = Recipe::load("fleet-host")?.start_on(&host, directory)?;
        server.wait_for(LISTENING)?;
        let found = Path::new("/var/lib/fleet/mount.box__srv");
        let there = wait_for(super::PATIENCE, || {
            // The program may not have written the file yet.
            let text = fs::read_to_string(found).unwrap_or_default();
            Ok(text.ends_with('\n').then_some(text))
        })?;
        let text = there.with_context(|| format!("no {}", found.display()))?;
        ensure!(text == "-o port=2049 192.0.2.1:/srv\n", "{text}");
        server.stop()?;
        let gone = wait_for(super::PATIENCE, || Ok((!found.exists()).then_some(())))?;
        gone.context("the goodbye did not remove the file")?;
        let kept = fs::read_to_string("/var/lib/fleet/seen")?;
        ensure!(kept.lines().count() <= 1, "{kept}");
        Ok(())
    })
}
