//! Links that cannot be had, that go and come back, and that take no privilege.

use super::world::{Daemon, Link, PATIENCE, World, file, ip_on, shell, sum_of, wait_for};
use crate::mdns::world::Running;
use anyhow::{Result, ensure};
use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use xtask::clients::dns::{Asker, Message};
use xtask::machines::qemu::{self, Guest};
use xtask::machines::server::{Namespace, cpu_ticks};
use xtask::setup::{self, Package};

/// Who is not root.
const NOBODY: &str = "65534";

/// Without a link, it ends with one line that says what to do.
#[test]
fn what_cannot_be_had_is_said_with_what_to_do() -> Result<()> {
    let host = Namespace::new()?;
    let path = file()?;
    let place = xtask::machines::server::public_dir()?;
    let copy = place.path().join("stowaway");
    fs::copy(path, &copy)?;
    let export = place.path().display().to_string();
    let as_nobody = ["setpriv", "--reuid", NOBODY, "--clear-groups"];
    for (words, link, expected) in [
        (
            &[][..],
            "packet:eth7",
            "over eth7: there is no such interface",
        ),
        (
            &as_nobody[..],
            "packet:lo",
            "over lo: this takes CAP_NET_RAW",
        ),
        (
            &as_nobody[..],
            "tap:tap7",
            "over tap7: this takes CAP_NET_ADMIN",
        ),
        (
            &[][..],
            "tap:lo",
            "over lo: it is an interface of another kind",
        ),
        (
            &[][..],
            "stream:/nowhere",
            "over /nowhere: nobody listens there",
        ),
    ] {
        let mut command = host.command("env");
        command.args(words).arg(&copy);
        command.args(["nfs", "--export", &export, "--net", link]);
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(1) && said.lines().count() == 1 && said.contains(expected),
            "{words:?} {link}: {} and {said}",
            output.status
        );
    }
    Ok(())
}

/// A second without anything to do takes none of the processor: a link that is gone is not asked all the time.
fn ensure_rests(pid: u32) -> Result<()> {
    let before = cpu_ticks(pid)?;
    std::thread::sleep(std::time::Duration::from_secs(2));
    let used = cpu_ticks(pid)? - before;
    // A loop that spins takes 200, or half of that beside others.
    ensure!(used < 30, "{used} ticks within two seconds");
    Ok(())
}

#[test]
fn a_tap_interface_that_was_deleted_is_made_again() -> Result<()> {
    let world = World::new(Link::Tap)?;
    let running = world.serve(&["--ip", "192.0.2.1/24"])?;
    running.wait_for("announced box.local")?;
    world.use_files("192.0.2.1")?;
    let number = || shell(&world.ours, "cat /sys/class/net/tap0/ifindex || true");
    let first = number()?;
    ip_on(&world.ours, "link del tap0")?;
    wait_for("another tap0", || {
        let now = number()?;
        Ok((!now.is_empty() && now != first).then_some(()))
    })?;
    ensure_rests(running.pid().as_raw() as u32)?;
    world.plug_tap()?;
    world.use_files("192.0.2.1")?;
    running.stop()
}

fn down_and_up(link: Link, name: &str) -> Result<()> {
    let world = World::new(link)?;
    let running = world.serve(&["--ip", "192.0.2.1/24"])?;
    running.wait_for("announced box.local")?;
    world.use_files("192.0.2.1")?;
    ip_on(&world.ours, &format!("link set {name} down"))?;
    ensure_rests(running.pid().as_raw() as u32)?;
    let listener = world.theirs.run(|| Asker::member([192, 0, 2, 2].into()))?;
    ip_on(&world.ours, &format!("link set {name} up"))?;
    if link == Link::Packet {
        let is_announced = |message: &Message| {
            let mut records = message.records.iter();
            records.any(|record| record.name.to_string() == "box.local")
        };
        let heard = listener.wait_for(PATIENCE, is_announced)?;
        ensure!(heard.is_some(), "it is not announced again");
    }
    world.use_files("192.0.2.1")?;
    running.stop()
}

#[test]
fn an_interface_goes_down_and_up() -> Result<()> {
    down_and_up(Link::Packet, "eth0")
}

#[test]
fn a_tap_interface_goes_down_and_up() -> Result<()> {
    down_and_up(Link::Tap, "tap0")
}

#[test]
fn an_interface_that_was_taken_away_is_found_again() -> Result<()> {
    let world = World::new(Link::Packet)?;
    let running = world.serve(&["--ip", "192.0.2.1/24"])?;
    running.wait_for("announced box.local")?;
    ip_on(&world.ours, "link del eth0")?;
    ensure_rests(running.pid().as_raw() as u32)?;
    let (ours, theirs) = (world.ours.name(), world.theirs.name());
    xtask::machines::server::ip(&format!(
        "link add eth0 netns {ours} type veth peer name eth0 netns {theirs}"
    ))?;
    ip_on(&world.ours, "link set eth0 up")?;
    ip_on(&world.theirs, "addr add 192.0.2.2/24 dev eth0")?;
    ip_on(&world.theirs, "link set eth0 up")?;
    wait_for("files", || {
        Ok(world.use_files("192.0.2.1").is_ok().then_some(()))
    })?;
    running.stop()
}

/// Serves over the socket file, as a user who may nothing but connect to it.
fn start_as_nobody(world: &World, words: &[&str]) -> Result<Running> {
    let copy = world.place.path().join("stowaway");
    fs::copy(file()?, &copy)?;
    shell(
        &world.ours,
        &format!("chown -R {NOBODY} {}", world.files().display()),
    )?;
    let mut command = world.ours.command("setpriv");
    command
        .args(["--reuid", NOBODY, "--clear-groups"])
        .arg(&copy);
    command.args(["nfs", "--net", &world.net()]).args(words);
    command.args(["--handles", "path", "--export"]);
    command.arg(format!("{}:rw", world.files().display()));
    let running = Running::logging(command)?;
    running.wait_for("for NFS")?;
    Ok(running)
}

/// As an unprivileged user, over passt's socket file.
#[test]
fn passt_carries_it_without_any_privilege() -> Result<()> {
    setup::need(&[Package::PASST])?;
    let world = World::new(Link::Stream)?;
    let socket = world.socket();
    fs::set_permissions(world.place.path(), Permissions::from_mode(0o777))?;
    // passt gives its guest the host's own address, and listens there for it.
    shell(
        &world.ours,
        "ip addr add 192.0.2.1/24 dev eth0; ip route add default via 192.0.2.2",
    )?;
    let mut command = world.ours.command("setpriv");
    command.args([
        "--reuid",
        NOBODY,
        "--clear-groups",
        "passt",
        "--foreground",
        "-4",
    ]);
    command.arg("--socket").arg(&socket);
    command.args(["--tcp-ports", "2049", "--udp-ports", "none"]);
    let log = world.place.path().join("passt.log");
    let _passt = Daemon::start(command, &log)?;
    wait_for("passt's socket file", || Ok(socket.exists().then_some(())))?;
    let running = start_as_nobody(&world, &[])?;
    wait_for("files", || {
        Ok(world.use_files("192.0.2.1").is_ok().then_some(()))
    })?;
    world.use_files("192.0.2.1")?;
    running.stop()
}

/// A Linux guest, whose network card is QEMU's end of the cable: no host in between, and no privilege.
#[test]
fn a_linux_guest_mounts_at_the_other_end_of_qemus_cable() -> Result<()> {
    const GUEST: &str = "nfs-client";
    qemu::prepare(GUEST)?;
    let world = World::new(Link::Stream)?;
    let mut guest = Guest::boot_listening(GUEST, &world.socket())?;
    fs::set_permissions(world.socket(), Permissions::from_mode(0o777))?;
    let running = start_as_nobody(&world, &["--ip", "10.0.2.2/24"])?;
    // What it reads is not what it has in memory.
    let files = world.files();
    let sum = guest.sh(&format!(
        "set -e; mkdir -p /mnt/1
        mount -o nolock,vers=3,proto=tcp,port=2049,mountport=2049 10.0.2.2:{} /mnt/1
        cd /mnt/1; cp first second; echo 3 > /proc/sys/vm/drop_caches
        sha256sum <first; cd /; umount /mnt/1",
        files.display()
    ))?;
    for name in ["first", "second"] {
        let expected = sum_of(Command::new("cat").arg(files.join(name)))?;
        ensure!(sum == expected, "{name} is {expected} here, {sum} there");
    }
    running.stop()
}

/// The next frame of the stack's.
fn frame_from(peer: &mut UnixStream) -> Result<Vec<u8>> {
    let mut length = [0; 4];
    peer.read_exact(&mut length)?;
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    peer.read_exact(&mut frame)?;
    Ok(frame)
}

/// Whoever listens at the socket file goes away, and says what no frame is.
#[test]
fn a_socket_file_is_connected_to_again() -> Result<()> {
    let world = World::new(Link::Stream)?;
    let listener = UnixListener::bind(world.socket())?;
    listener.set_nonblocking(true)?;
    let running = world.start_nfs()?;
    // Nothing; the length of no frame; a frame that does not end; frames without anything in them.
    let frames = [&[][..], &[0xff; 8], &[0, 0, 1, 0, 7], &[0; 64]];
    for said in frames.into_iter().chain([&[][..]]) {
        let (mut peer, _) = wait_for("a connection", || Ok(listener.accept().ok()))?;
        peer.set_nonblocking(false)?;
        peer.set_read_timeout(Some(PATIENCE))?;
        // It tells who it is: where it was not before, there may be others.
        let who =
            |frame: &[u8]| frame.get(12..14) == Some(&[8, 6]) && frame[28..32] == [192, 0, 2, 1];
        while !who(&frame_from(&mut peer)?) {}
        peer.write_all(said)?;
        if said.first() == Some(&0xff) {
            // It hangs up itself.
            while frame_from(&mut peer).is_ok() {}
        }
    }
    ensure_rests(running.pid().as_raw() as u32)?;
    running.stop()
}
