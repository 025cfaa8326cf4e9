//! Links that cannot be opened, that disappear and return, and that need no privilege.

use super::world::{Daemon, Link, PATIENCE, World, file, ip_on, shell, sum_of, wait_for};
use crate::mdns::world::Process;
use anyhow::{Result, ensure};
use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use xtask::clients::dns::{Message, Querier};
use xtask::machines::qemu::{self, Guest};
use xtask::machines::server::{Namespace, cpu_ticks};
use xtask::setup;

/// A UID without privileges.
const NOBODY: &str = "65534";

/// Without its link, the program exits with 1 and one line with the cause and the remedy.
#[test]
fn unavailable_link_is_reported_with_remedy() -> Result<()> {
    let host = Namespace::new()?;
    let path = file()?;
    let directory = xtask::machines::server::public_dir()?;
    let copy = directory.path().join("stowaway");
    fs::copy(path, &copy)?;
    let export = directory.path().display().to_string();
    let as_nobody = ["setpriv", "--reuid", NOBODY, "--clear-groups"];
    for (words, link, expected) in [
        (&[][..], "packet:eth7", "over eth7: no such interface"),
        (
            &as_nobody[..],
            "packet:lo",
            "over lo: CAP_NET_RAW is missing",
        ),
        (
            &as_nobody[..],
            "tap:tap7",
            "over tap7: CAP_NET_ADMIN is missing",
        ),
        (
            &[][..],
            "tap:lo",
            "over lo: the interface is not a TAP interface",
        ),
        (
            &[][..],
            "stream:/nowhere",
            "over /nowhere: no process listens on the socket",
        ),
    ] {
        let mut command = host.command("env");
        command.args(words).arg(&copy);
        command.args(["nfs", "--export", &export, "--net", link]);
        let output = command.output()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(1)
                && stderr.lines().count() == 1
                && stderr.contains(expected),
            "{words:?} {link}: {} and {stderr}",
            output.status
        );
    }
    Ok(())
}

/// Checks that the process uses nearly no CPU time for two seconds: a missing link must not be polled in a busy loop.
fn ensure_rests(pid: u32) -> Result<()> {
    let before = cpu_ticks(pid)?;
    std::thread::sleep(std::time::Duration::from_secs(2));
    let used = cpu_ticks(pid)? - before;
    // A busy loop takes 200 ticks, on a busy host about half of that.
    ensure!(
        used < 30,
        "the process used {used} ticks of CPU time within two seconds"
    );
    Ok(())
}

#[test]
fn deleted_tap_interface_is_recreated() -> Result<()> {
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
    let listener = world
        .theirs
        .run(|| Querier::with_mdns_port([192, 0, 2, 2].into()))?;
    ip_on(&world.ours, &format!("link set {name} up"))?;
    if link == Link::Packet {
        let is_announced = |message: &Message| {
            let mut records = message.records.iter();
            records.any(|record| record.name.to_string() == "box.local")
        };
        let heard = listener.wait_for(PATIENCE, is_announced)?;
        ensure!(heard.is_some(), "box.local was not announced again");
    }
    world.use_files("192.0.2.1")?;
    running.stop()
}

#[test]
fn packet_interface_works_after_down_and_up() -> Result<()> {
    down_and_up(Link::Packet, "eth0")
}

#[test]
fn tap_interface_works_after_down_and_up() -> Result<()> {
    down_and_up(Link::Tap, "tap0")
}

#[test]
fn removed_interface_is_reopened_when_recreated() -> Result<()> {
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

/// Starts NFS over the Unix socket, as a user with no privilege except access to the socket.
fn start_as_nobody(world: &World, words: &[&str]) -> Result<Process> {
    let copy = world.directory.path().join("stowaway");
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
    let running = Process::logging(command)?;
    running.wait_for("for NFS")?;
    Ok(running)
}

/// Runs as an unprivileged user, over passt's Unix socket.
#[test]
fn passt_link_needs_no_privilege() -> Result<()> {
    setup::install_packages(&["passt"])?;
    let world = World::new(Link::Stream)?;
    let socket = world.socket();
    fs::set_permissions(world.directory.path(), Permissions::from_mode(0o777))?;
    // passt gives its guest the host's own address, and listens on that address for the guest.
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
    let log = world.directory.path().join("passt.log");
    let _passt = Daemon::start(command, &log)?;
    wait_for("passt's socket file", || Ok(socket.exists().then_some(())))?;
    let running = start_as_nobody(&world, &[])?;
    wait_for("files", || {
        Ok(world.use_files("192.0.2.1").is_ok().then_some(()))
    })?;
    world.use_files("192.0.2.1")?;
    running.stop()
}

/// A Linux guest, whose QEMU network card is the other end of the cable. Needs neither privilege nor a network on the host.
#[test]
fn linux_guest_mounts_over_qemu_stream() -> Result<()> {
    const GUEST: &str = "nfs-client";
    qemu::prepare(GUEST)?;
    let world = World::new(Link::Stream)?;
    let mut guest = Guest::boot_listening(GUEST, &world.socket())?;
    fs::set_permissions(world.socket(), Permissions::from_mode(0o777))?;
    let running = start_as_nobody(&world, &["--ip", "10.0.2.2/24"])?;
    // The client's caches are dropped, so that the file is read from the server.
    let files = world.files();
    let sum = guest.run_ok(&format!(
        "set -e; mkdir -p /mnt/1
        mount -o nolock,vers=3,proto=tcp,port=2049,mountport=2049 10.0.2.2:{} /mnt/1
        cd /mnt/1; cp first second; echo 3 > /proc/sys/vm/drop_caches
        sha256sum <first; cd /; umount /mnt/1",
        files.display()
    ))?;
    for name in ["first", "second"] {
        let expected = sum_of(Command::new("cat").arg(files.join(name)))?;
        ensure!(
            sum == expected,
            "{name} has the hash {expected} on the host, {sum} in the guest"
        );
    }
    running.stop()
}

/// Reads the next frame that the stack sends.
fn frame_from(peer: &mut UnixStream) -> Result<Vec<u8>> {
    let mut length = [0; 4];
    peer.read_exact(&mut length)?;
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    peer.read_exact(&mut frame)?;
    Ok(frame)
}

/// The peer at the Unix socket sends malformed frames and closes the connection; the stack must connect again each time.
#[test]
fn closed_socket_link_is_reconnected() -> Result<()> {
    let world = World::new(Link::Stream)?;
    let listener = UnixListener::bind(world.socket())?;
    listener.set_nonblocking(true)?;
    let running = world.start_nfs()?;
    // The peer sends no bytes; an impossible frame length; a truncated frame; empty frames.
    let frames = [&[][..], &[0xff; 8], &[0, 0, 1, 0, 7], &[0; 64]];
    for bytes in frames.into_iter().chain([&[][..]]) {
        let (mut peer, _) = wait_for("a connection", || Ok(listener.accept().ok()))?;
        peer.set_nonblocking(false)?;
        peer.set_read_timeout(Some(PATIENCE))?;
        // After each connection the stack announces its address by ARP, because a host of the new network may use that address.
        let is_arp =
            |frame: &[u8]| frame.get(12..14) == Some(&[8, 6]) && frame[28..32] == [192, 0, 2, 1];
        while !is_arp(&frame_from(&mut peer)?) {}
        peer.write_all(bytes)?;
        if bytes.first() == Some(&0xff) {
            // After an impossible length the stack closes the connection.
            while frame_from(&mut peer).is_ok() {}
        }
    }
    ensure_rests(running.pid().as_raw() as u32)?;
    running.stop()
}
