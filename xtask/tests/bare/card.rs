//! Feature negotiation with a virtio network card, on hosts with and without offloads.

use super::compare_at;
use crate::stack::world::{Link, World, wait_for};
use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::{getsockopt, sockopt::TcpMaxSeg};
use xtask::clients::nfs::{Client, How, Set, stable_how};
use xtask::machines::iso::{ROCK_RIDGE, image, sample};
use xtask::machines::qemu::bare::{Bare, Options};
use xtask::machines::qemu::tap;
use xtask::machines::server::ip;

/// Offload features, as QEMU's monitor names them: checksum and TCP segmentation, in both directions.
const OFFLOADS: [&str; 4] = [
    "VIRTIO_NET_F_CSUM",
    "VIRTIO_NET_F_GUEST_CSUM",
    "VIRTIO_NET_F_HOST_TSO4",
    "VIRTIO_NET_F_GUEST_TSO4",
];

/// The features that the machine has accepted from its card.
fn features(machine: &Bare) -> Result<String> {
    let devices = machine.monitor("info virtio")?;
    let card = devices.lines().find(|line| line.contains("virtio-net"));
    let path = card.and_then(|line| line.split_whitespace().next());
    let path = path.with_context(|| format!("the machine has no virtio-net device: {devices}"))?;
    let status = machine.monitor(&format!("info virtio-status {path}"))?;
    let accepted = status.split_once("Guest features:");
    let (_, accepted) = accepted.with_context(|| status.clone())?;
    let (accepted, _) = accepted
        .split_once("Host features:")
        .unwrap_or((accepted, ""));
    Ok(accepted.to_owned())
}

#[test]
fn offloads_are_accepted_only_if_all_are_offered() -> Result<()> {
    const OFF: [&str; 5] = ["csum", "guest_csum", "host_tso4", "guest_tso4", "gso"];
    let world = World::new(Link::Tap)?;
    let tree = sample(20, 50)?;
    let (_directory, iso) = image(ROCK_RIDGE[0], tree.path())?;
    // All offloads; none; checksums without segmentation, which stowaway does not use.
    for (off, has_offloads) in [(&OFF[..0], true), (&OFF[..], false), (&OFF[2..], false)] {
        let off: Vec<_> = off
            .iter()
            .map(|name| format!("virtio-net-device.{name}=off"))
            .collect();
        let more: Vec<_> = off.iter().flat_map(|off| ["-global", off]).collect();
        let machine = world.ours.run(|| {
            Bare::start(Options {
                boot_arguments: "ip=192.0.2.1/24",
                module: Some(&iso),
                more: &more,
                network: Some(&tap("tap0")),
                ..Options::default()
            })
        })?;
        let can_read = || Ok(compare_at(&world, "192.0.2.1", tree.path()).ok());
        wait_for("the files of the module", can_read)?;
        let accepted = features(&machine)?;
        for feature in OFFLOADS {
            // The colon distinguishes a name from a longer one with the same prefix.
            let is_accepted = accepted.contains(&format!("{feature}:"));
            ensure!(is_accepted == has_offloads, "{more:?}: {accepted}");
        }
    }
    Ok(())
}

#[test]
fn host_mtu_is_used_and_a_second_card_named() -> Result<()> {
    let world = World::new(Link::Tap)?;
    let tree = sample(20, 50)?;
    let (_directory, iso) = image(ROCK_RIDGE[0], tree.path())?;
    for (mtu, gso) in [(576, "on"), (1400, "off"), (9000, "on"), (9000, "off")] {
        ip(&format!("-n {} link set eth0 mtu 9000", world.ours.name()))?;
        ip(&format!(
            "-n {} link set eth0 mtu 9000",
            world.theirs.name()
        ))?;
        let of_host = format!("virtio-net-device.host_mtu={mtu}");
        let tso = format!("virtio-net-device.host_tso4={gso}");
        let mut machine = world.ours.run(|| {
            Bare::start(Options {
                boot_arguments: "ip=192.0.2.1/24 export=/ram:rw export=/initrd",
                module: Some(&iso),
                more: &[
                    "-global",
                    &of_host,
                    "-global",
                    &tso,
                    "-device",
                    "virtio-net-device",
                ],
                network: Some(&tap("tap0")),
                ..Options::default()
            })
        })?;
        machine.wait_for_line("network card that is not used: 1af4:1041")?;
        ip(&format!("-n {} link set tap0 mtu 9000", world.ours.name()))?;
        let can_read = || Ok(compare_at(&world, "192.0.2.1", tree.path()).ok());
        wait_for("the files of the module", can_read)?;
        world.theirs.run(|| {
            let mut client = Client::connect(([192, 0, 2, 1], 2049).into())?;
            let segment = getsockopt(client.stream(), TcpMaxSeg)?;
            ensure!(
                segment == mtu - 40,
                "MTU {mtu}: segments of {segment} bytes"
            );
            let root = client.mount("/ram")?;
            let file = client.create(&root, "file", How::Unchecked(Set::default()))?;
            client.write_all(&file, 0, stable_how::UNSTABLE, &[7; 1 << 20], 1 << 18)?;
            let (bytes, _) = client.read(&file, 0, 1 << 20)?;
            ensure!(bytes == [7; 1 << 20], "{} bytes", bytes.len());
            Ok(())
        })?;
    }
    Ok(())
}
