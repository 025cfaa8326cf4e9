//! NFS 4.1.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::stat::Mode;
use xtask::machines::mounts::{mount, on_tmpfs};
use xtask::machines::server::{ServerOptions, public_dir};
use xtask::machines::wait_for;
use xtask::setup;

use crate::SOON;
use crate::fixture::{Fixture, HOST, Storage, differences, exercise};
use crate::tree::{content, create};
use crate::world::World;

/// Directories of the large tree, and the names in each.
const DIRECTORY_COUNT: usize = 4;
const NAME_COUNT: usize = 5_000;
/// Length of the file that is read while servers are killed (bytes), and how often it is read.
const READ_LEN: usize = 48 << 20;
const READ_ROUNDS: usize = 3;
/// Files of the tree that is unpacked while servers are killed.
const FILE_COUNT: usize = 300;

/// Linux mounts by version 4.1 without an option for it, and lists the whole tree as the host does.
pub fn directory_is_listed_over_4_1(world: &mut World) -> Result<()> {
    let server = world.serve(ServerOptions {
        arguments: vec!["--nfs-versions".into(), "3,4.1".into()],
        ..ServerOptions::serving(&[world.tree.path()])
    })?;
    let script = format!(
        "set -e; mkdir -p /mnt/4; mount -t nfs -o port={} 10.0.2.2:{} /mnt/4
        trap 'cd /; umount /mnt/4' EXIT; grep -q '/mnt/4 nfs4 .*vers=4.1' /proc/mounts
        cd /mnt/4; find . | sort",
        server.nfs_port,
        world.tree.path().display(),
    );
    let listed = world.guest.run_ok(&script)?;
    let expect = world.on_host("sh", &["-c", "find . | LC_ALL=C sort"])?;
    ensure!(
        listed.lines().count() > 10 && listed == String::from_utf8_lossy(&expect),
        "{listed}"
    );
    Ok(())
}

/// The files of an image are a file system of their own in a directory that is not listed, which can also be mounted.
pub fn image_is_a_submount_over_4_1(world: &mut World) -> Result<()> {
    setup::install_packages(&["xorriso"])?;
    let directory = public_dir()?;
    create(&directory.path().join("in/sub/deep"), b"bottom")?;
    let mut xorriso = Command::new("xorriso");
    xorriso.args(["-as", "mkisofs", "-quiet", "-R", "-o"]);
    xorriso.arg(directory.path().join("one.iso"));
    setup::run_captured(xorriso.arg(directory.path().join("in")))?;
    let server = world.serve(ServerOptions {
        arguments: vec!["--nfs-versions".into(), "3,4.1".into()],
        exports: vec![format!("{}:isos", directory.path().display())],
        ..ServerOptions::default()
    })?;
    let script = format!(
        "set -e; line='-o port={} 10.0.2.2:{}'; mkdir -p /mnt/4 /mnt/5; mount -t nfs $line /mnt/4
        trap 'cd /; umount /mnt/4/one.iso.d /mnt/5 /mnt/4' EXIT
        mount -t nfs $line/one.iso.d /mnt/5; grep -c 'nfs4 .*vers=4.1' /proc/mounts
        cd /mnt/4; ls; ls -R one.iso.d /mnt/5; grep -c 'nfs4 .*vers=4.1' /proc/mounts
        for path in . one.iso one.iso.d one.iso.d/sub; do stat -c %d $path; done | uniq | wc -l
        ls -d one.iso.d/sub/../../one.iso",
        server.nfs_port,
        directory.path().display(),
    );
    let seen = world.guest.run_ok(&script)?;
    let words: Vec<&str> = seen.split_whitespace().collect();
    let expect = "2 in one.iso /mnt/5: sub /mnt/5/sub: deep one.iso.d: sub one.iso.d/sub: deep 3 2 \
        one.iso.d/sub/../../one.iso";
    ensure!(words.join(" ") == expect, "{seen}");
    Ok(())
}

/// Exports below another one have their own options, also if they are other file systems, and also if another file system was mounted
/// at their path after the server started. A FIFO is opened that was not looked up.
pub fn exports_below_others_are_entered_over_4_1(world: &mut World) -> Result<()> {
    const INNER: [&str; 3] = ["up", "a/b", "disk"];
    on_tmpfs("mode=755", |top| {
        let outer = top.join("outer");
        for inner in INNER.map(|inner| outer.join(inner)) {
            std::fs::create_dir_all(inner)?;
        }
        std::fs::create_dir(top.join("late"))?;
        mount("tmpfs", "mode=755", &outer.join("disk"))?;
        nix::unistd::mkfifo(&outer.join("a/pipe"), Mode::from_bits_truncate(0o644))?;
        let inner = INNER.map(|inner| format!("{}/{inner}:rw,no_root_squash", outer.display()));
        let mut exports = vec![
            outer.display().to_string(),
            top.join("late").display().to_string(),
        ];
        exports.extend(inner);
        let server = world.serve(ServerOptions {
            exports,
            ..ServerOptions::default()
        })?;
        mount("tmpfs", "mode=755", &top.join("late"))?;
        create(&top.join("late/mounted"), b"")?;
        let seen = world.guest.run_ok(&format!(
            "set -e; mkdir -p /mnt/4 /mnt/5; line='-t nfs -o port={port} 10.0.2.2:{top}'
            mount $line/outer /mnt/4; cd /mnt/4
            cat a/pipe >/run/said 2>&1 & sleep 1; cat /run/said; kill $!; ls -l | wc -l
            for path in . {inner}; do touch $path/new 2>/dev/null || echo $path: refused; done
            find . -name new | sort; ls -d disk/..; cd /; umount /mnt/4/up /mnt/4/a/b /mnt/4/disk /mnt/4
            for path in late outer outer/a outer/up outer/a/b outer/disk; do
                mount $line/$path /mnt/5; ls /mnt/5
                touch /mnt/5/more 2>/dev/null || echo $path: refused; umount /mnt/5
            done",
            port = server.nfs_port,
            top = top.display(),
            inner = INNER.join(" "),
        ))?;
        let words: Vec<&str> = seen.split_whitespace().collect();
        let expect = "4 .: refused ./a/b/new ./disk/new ./up/new disk/.. mounted late: refused \
            a disk up outer: refused b pipe outer/a: refused new new new";
        ensure!(words.join(" ") == expect, "{seen}");
        Ok(())
    })
}

/// A file is read whole, over four connections and from two loops, of which one is killed again and again.
pub fn reads_over_4_1_outlive_kills(world: &mut World) -> Result<()> {
    let fixture = Fixture::over_4_1(world, "serve", "kernel", "2", Storage::Disk)?;
    let file = fixture.export().join("file");
    let bytes: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..))
        .take(READ_LEN)
        .collect();
    std::fs::write(&file, &bytes)?;
    let sum = world.on_host("sha256sum", &[&file.display().to_string()])?;
    world.guest.run_ok(&format!(
        "set -e; {}; cd /mnt/1; : >/run/sums
        (
            for _ in $(seq {READ_ROUNDS}); do
                echo 3 >/proc/sys/vm/drop_caches; sha256sum file
            done; echo done
        ) >/run/sums 2>&1 &",
        fixture.mount(HOST, "/mnt/1")
    ))?;
    let mut read = || loop {
        fixture.kill_child()?;
        std::thread::sleep(Duration::from_secs(2));
        let sums = world.guest.run_ok("cat /run/sums")?;
        if sums.ends_with("done\n") {
            return Ok(sums);
        }
    };
    let ended: Result<String> = read();
    world.guest.run_ok("cd /; umount /mnt/1; rm -f /run/sums")?;
    let (sums, expect) = (ended?, String::from_utf8(sum)?);
    let expect = expect.split_whitespace().next().context("no sum")?;
    ensure!(
        sums.matches(expect).count() == READ_ROUNDS,
        "{sums} instead of {expect}"
    );
    Ok(())
}

/// tar unpacks a tree, cp copies it twice, and rm removes a copy, over four connections and from two loops, of which one is killed
/// again and again. No program sees an error, and the trees are the same on the host.
pub fn trees_over_4_1_outlive_kills(world: &mut World) -> Result<()> {
    let fixture = Fixture::over_4_1(world, "serve", "kernel", "2", Storage::Disk)?;
    let source = fixture.create_sibling("source")?;
    for at in 0..FILE_COUNT {
        let directory = source.join(format!("{}/{}", at % 5, at % 30));
        let file = directory.join(format!("file-{at}"));
        create(&file, &content(at, at * 97 % 20_000))?;
        match at % 10 {
            0 => std::fs::hard_link(&file, directory.join(format!("linked-{at}")))?,
            1 => symlink(format!("file-{at}"), directory.join(format!("link-{at}")))?,
            2 => std::fs::set_permissions(&file, Permissions::from_mode(0o4510))?,
            _ => {}
        }
    }
    let archive = fixture.export().join("archive").display().to_string();
    world.on_host(
        "tar",
        &["-cf", &archive, "-C", &source.display().to_string(), "."],
    )?;
    world.guest.run_ok(&format!(
        "set -e; {}; cd /mnt/1; : >/run/said
        (
            mkdir one && tar --warning=no-timestamp -xf archive -C one && cp -a one two && cp -a one three &&
                rm -r three && echo done || echo failed
        ) >/run/said 2>&1 &",
        fixture.mount(HOST, "/mnt/1")
    ))?;
    let mut kills = 0;
    let mut change = || loop {
        std::thread::sleep(Duration::from_secs(2));
        let said = world.guest.run_ok("cat /run/said")?;
        if ["done\n", "failed\n"].iter().any(|end| said.ends_with(end)) {
            return Ok(said);
        }
        fixture.kill_child()?;
        kills += 1;
    };
    let said: Result<String> = change();
    world
        .guest
        .run_ok("cd /; umount /mnt/1 || umount -fl /mnt/1; rm -f /run/said")?;
    let said = said?;
    ensure!(said == "done\n" && kills > 2, "after {kills} kills: {said}");
    let expect = exercise(&["manifest", "."], &source)?;
    for name in ["one", "two"] {
        let kept = exercise(&["manifest", "."], &fixture.export().join(name))?;
        ensure!(kept == expect, "{name}: {}", differences(&expect, &kept));
    }
    ensure!(!fixture.export().join("three").exists(), "three is left");
    println!("{kills} kills");
    Ok(())
}

/// A program that is copied over version 4.1 is the same on the host, and runs.
pub fn program_is_copied_over_4_1(world: &mut World) -> Result<()> {
    let fixture = Fixture::over_4_1(world, "nfs", "kernel", "1", Storage::Memory)?;
    let script = "cp /bin/busybox busybox; ./busybox true; sync; sha256sum </bin/busybox; \
        echo 3 >/proc/sys/vm/drop_caches; sha256sum <busybox";
    let sums = fixture.run_ok(world, script)?;
    let copy = fixture.export().join("busybox").display().to_string();
    let kept = world.on_host("sh", &["-c", &format!("sha256sum <{copy}")])?;
    let kept = String::from_utf8(kept)?;
    ensure!(sums.lines().all(|sum| sum == kept.trim()), "{sums}{kept}");
    Ok(())
}

/// Without any option, Linux mounts by version 4.1 if the server offers it, over one port. At the end it removes its client. A server
/// that offers version 3 only is mounted as before.
pub fn mount_without_an_option_takes_4_1(world: &mut World) -> Result<()> {
    let directory = public_dir()?;
    for at in 0..DIRECTORY_COUNT * NAME_COUNT {
        let name = format!("{}/name-{at:05}", at % DIRECTORY_COUNT);
        create(&directory.path().join(name), b"")?;
    }
    world.replace_server(directory.path(), &[])?;
    let mounted = mount_4_1(world, directory.path());
    world.replace_server(directory.path(), &["--nfs-versions", "3"])?;
    let third = mount_3(world, directory.path());
    // Other tests use the server on these ports, too.
    world.replace_server(directory.path(), &[])?;
    mounted.and(third)
}

/// Mounts without an option for the version, from a server of version 3.
fn mount_3(world: &mut World, directory: &Path) -> Result<()> {
    let line = format!("10.0.2.2:{} /mnt/4", directory.display());
    let seen = world.guest.run_ok(&format!(
        "set -e; ! mount -t nfs {line} 2>&1; mount -t nfs -o nolock {line}
        grep -o 'nfs .*vers=[^,]*' /proc/mounts; umount /mnt/4"
    ))?;
    ensure!(
        seen.contains("rpc.statd is not running") && seen.contains("vers=3"),
        "{seen}"
    );
    Ok(())
}

/// Mounts by version 4.1, lists, and unmounts; checks the guest's traffic.
fn mount_4_1(world: &mut World, directory: &Path) -> Result<()> {
    world.tap.clear();
    let line = format!("10.0.2.2:{} /mnt/4", directory.display());
    world.guest.run_ok(&format!(
        "set -e; mkdir -p /mnt/4; mount -t nfs {line}; grep '/mnt/4 nfs4 .*vers=4.1' /proc/mounts"
    ))?;
    let lines = world.tap.lines();
    let sent = |part: &str| lines.iter().any(|line| line.contains(part));
    ensure!(sent("COMPOUND of operation 42"), "{lines:#?}");
    // Portmap, its programs, and MOUNT.
    let others = [" > 111: ", "program 100000", "program 100005"];
    ensure!(!others.into_iter().any(sent), "{lines:#?}");

    let listed = world.guest.run_ok("cd /mnt/4 && LC_ALL=C ls -R")?;
    let script = format!("cd {} && LC_ALL=C busybox ls -R", directory.display());
    let expect = String::from_utf8(world.on_host("sh", &["-c", &script])?)?;
    ensure!(
        listed == expect && listed.lines().count() > DIRECTORY_COUNT * NAME_COUNT,
        "{}",
        differences(&listed, &expect)
    );

    world.tap.clear();
    world.guest.run_ok("umount /mnt/4")?;
    // DESTROY_SESSION and DESTROY_CLIENTID.
    let is_destroyed = |operation: u32| {
        let line = format!("COMPOUND of operation {operation} NFS3_OK");
        let is_seen = || world.tap.lines().iter().any(|seen| seen.ends_with(&line));
        wait_for(SOON, || Ok(is_seen().then_some(())))?.context(line)
    };
    is_destroyed(44)?;
    is_destroyed(57)
}
