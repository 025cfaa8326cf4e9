//! Links that cannot be had, that go and come back, and that take no privilege.

use super::world::{Daemon, Link, PATIENCE, World, file, ip_on, shell, wait_for};
use anyhow::{Result, ensure};
use xtask::clients::dns::{Asker, Message};
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
    std::fs::copy(path, &copy)?;
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

/// As an unprivileged user, over passt's socket file.
#[test]
fn passt_carries_it_without_any_privilege() -> Result<()> {
    setup::need(&[Package::PASST])?;
    let world = World::new(Link::Stream)?;
    let socket = world.socket();
    std::fs::set_permissions(
        world.place.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o777),
    )?;
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
    let copy = world.place.path().join("stowaway");
    std::fs::copy(file()?, &copy)?;
    shell(
        &world.ours,
        &format!("chown -R {NOBODY} {}", world.files().display()),
    )?;
    let mut command = world.ours.command("setpriv");
    command
        .args(["--reuid", NOBODY, "--clear-groups"])
        .arg(&copy);
    command.args(["nfs", "--net", &world.net()]);
    command.args(["--handles", "path", "--export"]);
    command.arg(format!("{}:rw", world.files().display()));
    let running = crate::mdns::world::Running::logging(command)?;
    running.wait_for("for NFS")?;
    wait_for("files", || {
        Ok(world.use_files("192.0.2.1").is_ok().then_some(()))
    })?;
    world.use_files("192.0.2.1")?;
    running.stop()
}
