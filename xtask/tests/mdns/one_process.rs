//! `serve --one-process`: NFS, MOUNT, portmap, mDNS and SFTP are tasks of one loop, and are used at the same time.

use crate::mdns::world::{Avahi, World};
use anyhow::{Result, ensure};
use nix::sys::signal::{Signal, kill};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use xtask::clients::sshfs::Sshfs;
use xtask::machines::mounts;
use xtask::machines::server;
use xtask::setup;
use xtask::testing::pattern;

/// Length (bytes) of the copied file.
const FILE_BYTES: usize = 20 << 20;
/// Number of copies that each client makes.
const ROUND_COUNT: usize = 3;

fn ensure_same(one: &Path, other: &Path) -> Result<()> {
    ensure!(fs::read(one)? == fs::read(other)?, "{one:?} and {other:?}");
    Ok(())
}

#[test]
fn one_loop_serves_nfs_sftp_and_mdns() -> Result<()> {
    setup::install_packages(&["libnfs-utils", "sshfs"])?;
    let (world, place) = (World::new()?, server::public_dir()?);
    let avahi = Avahi::start(&world, "other", place.path())?;
    let export = place.path().join("files");
    fs::create_dir(&export)?;
    fs::write(export.join("first"), pattern(1, 0, FILE_BYTES))?;
    let path = export.to_string_lossy();
    let words = [
        "--export",
        &format!("{path}:rw,no_root_squash"),
        "--handles",
        "path",
        "--name",
        "box",
        "--one-process",
        "--sftp",
        "192.0.2.1:2222",
    ];
    let running = world.start("serve", &words)?;
    running.wait_for("announced box.local")?;
    let pid = running.pid();
    ensure!(server::children(pid.as_raw() as u32)?.is_empty());
    let nfs = |name: &str| format!("nfs://192.0.2.1{path}/{name}");
    let copy_by_nfs = || -> Result<()> {
        for round in 0..ROUND_COUNT {
            let back = place.path().join(format!("nfs-{round}"));
            let name = format!("by-nfs-{round}");
            let mut command = world.theirs.command("nfs-cp");
            setup::run_captured(command.args([nfs("first").as_ref(), back.as_os_str()]))?;
            let mut command = world.theirs.command("nfs-cp");
            setup::run_captured(command.args([back.as_os_str(), nfs(&name).as_ref()]))?;
            ensure_same(&back, &export.join(name))?;
        }
        Ok(())
    };
    let copy_by_sftp = || {
        mounts::private("sshfs", || {
            // Not `ip netns exec`, which would run sshfs in a new mount namespace, where no other process sees the mount.
            let mut command = Command::new("nsenter");
            command.arg(format!("--net={}", world.theirs.path()));
            command.arg("sshfs");
            command.args(["-f", &format!("192.0.2.1:{path}"), "-o", "direct_io"]);
            command.args(["-o", "directport=2222"]);
            let mounted = Sshfs::mount(command, &place.path().join("mounted"))?;
            for round in 0..ROUND_COUNT {
                let name = format!("by-sftp-{round}");
                fs::copy(
                    mounted.mount_point.join("first"),
                    mounted.mount_point.join(&name),
                )?;
                ensure_same(&export.join("first"), &export.join(name))?;
            }
            Ok(())
        })
    };
    let text = format!(r#";Network File System;local;box.local;192.0.2.1;2049;"path={path}""#);
    let browse = || -> Result<()> {
        for _ in 0..ROUND_COUNT {
            avahi.wait_for_output(&["avahi-browse", "-artp"], &[&text])?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let all = [
            scope.spawn(copy_by_nfs),
            scope.spawn(copy_by_sftp),
            scope.spawn(browse),
        ];
        all.into_iter()
            .try_for_each(|client| client.join().expect("a client does not panic"))
    })?;
    let watch = avahi.watch("_nfs._tcp")?;
    watch.wait_for("+;eth0;IPv4;box")?;
    kill(pid, Signal::SIGTERM)?;
    watch.wait_for("-;eth0;IPv4;box")?;
    running.wait_for("stopping")?;
    Ok(())
}
