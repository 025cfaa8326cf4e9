//! `serve --one-process`: NFS, MOUNT, portmap, mDNS and SFTP are tasks of one loop, and are used at the same time.

use crate::mdns::world::{Avahi, World};
use anyhow::{Result, ensure};
use std::fs;
use std::process::Command;
use std::thread;
use xtask::clients::sshfs::Sshfs;
use xtask::machines::mounts;
use xtask::machines::server;
use xtask::setup;
use xtask::testing::pattern;

#[test]
fn one_loop_serves_nfs_sftp_and_mdns() -> Result<()> {
    setup::install_packages(&["libnfs-utils", "sshfs"])?;
    let (world, place) = (World::new()?, server::public_dir()?);
    let avahi = Avahi::start(&world, "other", place.path())?;
    let export = place.path().join("files");
    fs::create_dir(&export)?;
    let data = pattern(1, 0, 20 << 20);
    fs::write(export.join("first"), &data)?;
    let path = export.to_string_lossy();
    let exported = format!("{path}:rw,no_root_squash");
    let words = format!("--export {exported} --name box --one-process --sftp 192.0.2.1:2222");
    let running = world.start("serve", &words.split(' ').collect::<Vec<_>>())?;
    running.wait_for("announced box.local")?;
    ensure!(server::children(running.pid().as_raw() as u32)?.is_empty());
    let back = place.path().join("back");
    let copy_by_nfs = || {
        let [first, copy] = ["first", "copy"].map(|name| format!("nfs://192.0.2.1{path}/{name}"));
        let back = back.to_string_lossy();
        for pair in [[&*first, &*back], [&*back, &*copy]] {
            setup::run_captured(world.theirs.command("nfs-cp").args(pair))?;
        }
        Ok(())
    };
    let copy_by_sftp = || {
        mounts::private("sshfs", || {
            // Not `ip netns exec`, which would run sshfs in a new mount namespace, where no other process sees the mount.
            let mut command = Command::new("nsenter");
            command.arg(format!("--net={}", world.theirs.path()));
            command.args(["sshfs", "-f", &format!("192.0.2.1:{path}")]);
            command.args(["-o", "direct_io", "-o", "directport=2222"]);
            let mounted = Sshfs::mount(command, &place.path().join("mounted"))?;
            let at = |name| mounted.mount_point.join(name);
            fs::copy(at("first"), at("second"))?;
            Ok(())
        })
    };
    let text = format!(r#";Network File System;local;box.local;192.0.2.1;2049;"path={path}""#);
    let browse = || avahi.wait_for_output(&["avahi-browse", "-artp"], &[&text]);
    thread::scope(|scope| {
        let all = [
            scope.spawn(copy_by_nfs),
            scope.spawn(copy_by_sftp),
            scope.spawn(|| browse().map(drop)),
        ];
        all.into_iter()
            .try_for_each(|client| client.join().expect("a client does not panic"))
    })?;
    for copy in [&back, &export.join("copy"), &export.join("second")] {
        ensure!(fs::read(copy)? == data, "{copy:?}");
    }
    let watch = avahi.watch("_nfs._tcp")?;
    watch.wait_for("+;eth0;IPv4;box")?;
    running.stop()?;
    watch.wait_for("-;eth0;IPv4;box")?;
    Ok(())
}
