//! Files over stowaway's network stack: NFS and SFTP at a static address, over each kind of link.

use super::world::{Link, World, file, ip_on, shell, sum_of, wait_for};
use crate::mdns::world::Avahi;
use anyhow::{Result, ensure};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use xtask::clients::sshfs::Sshfs;
use xtask::machines::mounts;
use xtask::setup;

fn everything_is_served(link: Link) -> Result<()> {
    setup::install_packages(&["nfs-common", "sshfs"])?;
    let world = World::new(link)?;
    let avahi = Avahi::start_on(&world.theirs, "other", world.directory.path())?;
    let running = world.serve(&["--ip", "192.0.2.1/24", "--sftp", "0.0.0.0:2222"])?;
    running.wait_for("announced box.local")?;
    world.use_files("192.0.2.1")?;
    let path = world.files().display().to_string();
    // showmount asks the portmapper, over UDP and TCP.
    let exports = shell(&world.theirs, "showmount -e 192.0.2.1")?;
    ensure!(exports.contains(&path), "{exports}");
    avahi.wait_for_output(
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

/// sshfs reads and writes the files that NFS exports too.
fn use_sftp(world: &World) -> Result<()> {
    let files = world.files().display().to_string();
    with_sshfs(world, &files, |mounted| copy_by(world, mounted))
}

/// Runs `work` with `directory` of stowaway's SFTP server mounted on the other host. The server resolves symbolic links.
fn with_sshfs(
    world: &World,
    directory: &str,
    work: impl FnOnce(&Path) -> Result<()> + Send,
) -> Result<()> {
    mounts::private("sshfs", || {
        // Not `ip netns exec`, which creates a new mount namespace and would hide the mount.
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", world.theirs.path()));
        command.args(["sshfs", "-f", "-o", "direct_io,follow_symlinks"]);
        command.args(["-o", "directport=2222"]);
        command.arg(format!("192.0.2.1:{directory}"));
        let mounted = Sshfs::mount(command, &world.directory.path().join("mounted"))?;
        work(&mounted.mount_point)
    })
}

/// Copies a file on the server, by way of the client.
fn copy_by(world: &World, mounted: &Path) -> Result<()> {
    fs::copy(mounted.join("first"), mounted.join("third"))?;
    let [expected, copied] =
        ["first", "third"].map(|name| sum_of(Command::new("cat").arg(world.files().join(name))));
    let (expected, copied) = (expected?, copied?);
    ensure!(copied == expected, "copied {copied} instead of {expected}");
    Ok(())
}

#[test]
fn nfs_sftp_and_mdns_work_over_packet_socket() -> Result<()> {
    everything_is_served(Link::Packet)
}

#[test]
fn nfs_sftp_and_mdns_work_over_tap() -> Result<()> {
    everything_is_served(Link::Tap)
}

/// --jail applies to every session of the process, and restricts the process as without `--net`.
#[test]
fn sftp_jail_holds_over_own_stack() -> Result<()> {
    setup::install_packages(&["sshfs"])?;
    let world = World::new(Link::Packet)?;
    let files = world.files();
    fs::write(world.directory.path().join("outside"), "outside")?;
    symlink("/first", files.join("inner"))?;
    symlink("../outside", files.join("up"))?;
    symlink(world.directory.path().join("outside"), files.join("whole"))?;
    let words = ["--ip", "192.0.2.1/24", "--listen", "192.0.2.1:2222"];
    let jail = ["--i-trust-this-network", "--jail", &files.to_string_lossy()];
    let running = world.start("sftp-server", &[&words[..], &jail].concat())?;
    running.wait_for("listening on 192.0.2.1:2222")?;
    let path = format!("/proc/{}/status", running.pid().as_raw());
    wait_for("a restricted process", || {
        let status = fs::read_to_string(&path)?;
        let is_restricted = ["NoNewPrivs:\t1\n", "Seccomp:\t2\n"]
            .iter()
            .all(|line| status.contains(line));
        Ok(is_restricted.then_some(()))
    })?;
    with_sshfs(&world, "/", |mounted| {
        copy_by(&world, mounted)?;
        let inner = fs::metadata(mounted.join("inner"))?.len();
        ensure!(inner == fs::metadata(files.join("first"))?.len(), "{inner}");
        for link in ["up", "whole"] {
            let read = fs::read(mounted.join(link));
            ensure!(read.is_err(), "{link} leaves the jail: {read:?}");
        }
        Ok(())
    })?;
    running.stop()
}

/// Landlock and seccomp allow a jailed process to attach to its TAP interface again.
#[test]
fn jailed_sftp_server_reopens_deleted_tap() -> Result<()> {
    setup::install_packages(&["sshfs"])?;
    let world = World::new(Link::Tap)?;
    let words = ["--ip", "192.0.2.1/24", "--listen", "192.0.2.1:2222"];
    let files = world.files();
    let jail = ["--i-trust-this-network", "--jail", &files.to_string_lossy()];
    let running = world.start("sftp-server", &[&words[..], &jail].concat())?;
    running.wait_for("listening on 192.0.2.1:2222")?;
    ip_on(&world.ours, "link del tap0")?;
    wait_for("another tap0", || Ok(world.plug_tap().ok()))?;
    with_sshfs(&world, "/", |mounted| copy_by(&world, mounted))?;
    running.stop()
}

#[test]
fn browse_resolve_and_publish_use_the_static_address() -> Result<()> {
    let world = World::new(Link::Packet)?;
    let avahi = Avahi::start_on(&world.theirs, "other", world.directory.path())?;
    let address = ["--ip", "192.0.2.1/24"];
    let words = ["-s", "Web", "_http._tcp", "80", "path=/"];
    let publishing = world.start("publish", &[&address[..], &words].concat())?;
    let line = r#"=;eth0;IPv4;Web;Web Site;local;box.local;192.0.2.1;80;"path=/""#;
    avahi.wait_for_output(&["avahi-browse", "-artp"], &[line])?;
    publishing.stop()?;
    let printed = |role: &str, words: &[&str]| {
        let mut command = world.ours.command(&file()?.to_string_lossy());
        command.args([role, "--net", &world.net()]);
        setup::run_captured(command.args(address).args(words))
    };
    let found = printed("resolve", &["-4", "-n", "other.local"])?;
    // The other host has two IPv4 addresses.
    let expected = ["192.0.2.2", "169.254.0.2"].map(|address| format!("other.local\t{address}\n"));
    ensure!(expected.contains(&found), "{found}");
    let found = printed("browse", &["-artp"])?;
    let line = "=;eth0;IPv4;other";
    ensure!(found.contains(line), "{found}");
    Ok(())
}
