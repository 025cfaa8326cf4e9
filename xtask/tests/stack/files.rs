//! Files over our own stack: by NFS and SFTP, with a fixed address, over each kind of link.

use super::world::{Link, World, file, shell, sum_of};
use crate::mdns::world::Avahi;
use anyhow::{Result, ensure};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use xtask::clients::sshfs::Sshfs;
use xtask::machines::mounts;
use xtask::setup::{self, Package};

fn everything_is_served(link: Link) -> Result<()> {
    setup::need(&[Package::NFS_COMMON, Package::SSHFS])?;
    let world = World::new(link)?;
    let avahi = Avahi::on(&world.theirs, "other", true, world.place.path())?;
    let running = world.serve(&["--ip", "192.0.2.1/24", "--sftp", "0.0.0.0:2222"])?;
    running.wait_for("announced box.local")?;
    world.use_files("192.0.2.1")?;
    let path = world.files().display().to_string();
    // Through the portmapper, by UDP and by TCP.
    let exports = shell(&world.theirs, "showmount -e 192.0.2.1")?;
    ensure!(exports.contains(&path), "{exports}");
    avahi.see(
        &["avahi-browse", "-artp"],
        &[
            &format!(r#";Network File System;local;box.local;192.0.2.1;2049;"path={path}""#),
            "=;eth0;IPv6;box",
        ],
    )?;
    use_sftp(&world)?;
    world.ensure_host_has_none()?;
    running.stop()
}

/// sshfs reads what NFS serves, and writes it back.
fn use_sftp(world: &World) -> Result<()> {
    let files = world.files().display().to_string();
    with_sshfs(world, &files, |mounted| copy_by(world, mounted))
}

/// The other host has this directory of ours mounted, whose links our server follows.
fn with_sshfs(
    world: &World,
    directory: &str,
    work: impl FnOnce(&Path) -> Result<()> + Send,
) -> Result<()> {
    mounts::private("sshfs", || {
        // `ip netns exec` would mount it for itself alone.
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", world.theirs.path()));
        command.args(["sshfs", "-f", "-o", "direct_io,follow_symlinks"]);
        command.args(["-o", "directport=2222"]);
        command.arg(format!("192.0.2.1:{directory}"));
        let mounted = Sshfs::mount(command, &world.place.path().join("mounted"))?;
        work(&mounted.at)
    })
}

/// Copies a file of the server's, to the server.
fn copy_by(world: &World, mounted: &Path) -> Result<()> {
    fs::copy(mounted.join("first"), mounted.join("third"))?;
    let [expected, copied] =
        ["first", "third"].map(|name| sum_of(Command::new("cat").arg(world.files().join(name))));
    let (expected, copied) = (expected?, copied?);
    ensure!(copied == expected, "copied {copied} instead of {expected}");
    Ok(())
}

#[test]
fn everything_is_served_over_an_interface_of_the_host() -> Result<()> {
    everything_is_served(Link::Packet)
}

#[test]
fn everything_is_served_over_a_tap_interface() -> Result<()> {
    everything_is_served(Link::Tap)
}

#[test]
fn sftp_server_listens_on_its_own_address() -> Result<()> {
    setup::need(&[Package::SSHFS])?;
    let world = World::new(Link::Packet)?;
    let words = [
        "--ip",
        "192.0.2.1/24",
        "--listen",
        "192.0.2.1:2222",
        "--i-trust-this-network",
    ];
    let running = world.start("sftp-server", &words)?;
    running.wait_for("listening on 192.0.2.1:2222")?;
    use_sftp(&world)?;
    running.stop()
}

/// All sessions of one process are in it.
#[test]
fn a_jail_is_kept_on_its_own_address() -> Result<()> {
    setup::need(&[Package::SSHFS])?;
    let world = World::new(Link::Packet)?;
    let files = world.files();
    fs::write(world.place.path().join("outside"), "outside")?;
    symlink("/first", files.join("inner"))?;
    symlink("../outside", files.join("up"))?;
    symlink(world.place.path().join("outside"), files.join("whole"))?;
    let words = ["--ip", "192.0.2.1/24", "--listen", "192.0.2.1:2222"];
    let jail = ["--i-trust-this-network", "--jail", &files.to_string_lossy()];
    let running = world.start("sftp-server", &[&words[..], &jail].concat())?;
    running.wait_for("listening on 192.0.2.1:2222")?;
    with_sshfs(&world, "/", |mounted| {
        copy_by(&world, mounted)?;
        let inner = fs::metadata(mounted.join("inner"))?.len();
        ensure!(inner == fs::metadata(files.join("first"))?.len(), "{inner}");
        for way in ["up", "whole"] {
            let read = fs::read(mounted.join(way));
            ensure!(read.is_err(), "{way} leads out: {read:?}");
        }
        Ok(())
    })?;
    running.stop()
}

#[test]
fn browse_resolve_and_publish_have_the_address_that_they_are_given() -> Result<()> {
    let world = World::new(Link::Packet)?;
    let avahi = Avahi::on(&world.theirs, "other", true, world.place.path())?;
    let address = ["--ip", "192.0.2.1/24"];
    let words = ["-s", "Web", "_http._tcp", "80", "path=/"];
    let publishing = world.start("publish", &[&address[..], &words].concat())?;
    let line = r#"=;eth0;IPv4;Web;Web Site;local;box.local;192.0.2.1;80;"path=/""#;
    avahi.see(&["avahi-browse", "-artp"], &[line])?;
    publishing.stop()?;
    let printed = |role: &str, words: &[&str]| {
        let mut command = world.ours.command(&file()?.to_string_lossy());
        command.args([role, "--net", &world.net()]);
        setup::quietly(command.args(address).args(words))
    };
    let found = printed("resolve", &["-4", "-n", "other.local"])?;
    // The other host has two.
    let of_other = ["192.0.2.2", "169.254.0.2"].map(|address| format!("other.local\t{address}\n"));
    ensure!(of_other.contains(&found), "{found}");
    let found = printed("browse", &["-artp"])?;
    let line = "=;eth0;IPv4;other";
    ensure!(found.contains(line), "{found}");
    Ok(())
}
