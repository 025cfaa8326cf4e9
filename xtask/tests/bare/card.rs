//! What is negotiated with a network card: what the host takes off the machine, and a host that takes nothing.

use super::compare_at;
use crate::stack::world::{Link, World, wait_for};
use anyhow::{Context as _, Result, ensure};
use xtask::machines::iso::{ROCK_RIDGE, image, sample};
use xtask::machines::qemu::bare::{Bare, Options};
use xtask::machines::qemu::tap;

/// Offloads as QEMU's monitor has them: checksums and segments of TCP, in both directions.
const OFFLOADS: [&str; 4] = [
    "VIRTIO_NET_F_CSUM",
    "VIRTIO_NET_F_GUEST_CSUM",
    "VIRTIO_NET_F_HOST_TSO4",
    "VIRTIO_NET_F_GUEST_TSO4",
];

/// What the machine has taken of what its card offers.
fn features(machine: &Bare) -> Result<String> {
    let devices = machine.monitor("info virtio")?;
    let card = devices.lines().find(|line| line.contains("virtio-net"));
    let path = card.and_then(|line| line.split_whitespace().next());
    let path = path.with_context(|| format!("no card: {devices}"))?;
    let status = machine.monitor(&format!("info virtio-status {path}"))?;
    let taken = status.split_once("Guest features:");
    let (_, taken) = taken.with_context(|| status.clone())?;
    let (taken, _) = taken.split_once("Host features:").unwrap_or((taken, ""));
    Ok(taken.to_owned())
}

#[test]
fn offloads_are_taken_where_they_are_and_nothing_lacks_them() -> Result<()> {
    const OFF: [&str; 5] = ["csum", "guest_csum", "host_tso4", "guest_tso4", "gso"];
    let world = World::new(Link::Tap)?;
    let tree = sample(20, 50)?;
    let (_directory, iso) = image(ROCK_RIDGE[0], tree.path())?;
    // All; none; checksums alone.
    for (off, has_offloads) in [(&OFF[..0], true), (&OFF[..], false), (&OFF[2..], false)] {
        let off: Vec<_> = off
            .iter()
            .map(|name| format!("virtio-net-device.{name}=off"))
            .collect();
        let more: Vec<_> = off.iter().flat_map(|off| ["-global", off]).collect();
        let machine = world.ours.run(|| {
            Bare::start(Options {
                words: "ip=192.0.2.1/24",
                module: Some(&iso),
                more: &more,
                network: Some(&tap("tap0")),
                ..Options::default()
            })
        })?;
        let is_there = || Ok(compare_at(&world, "192.0.2.1", tree.path()).ok());
        wait_for("its files", is_there)?;
        let taken = features(&machine)?;
        for feature in OFFLOADS {
            // A name may be the beginning of another one.
            let is_taken = taken.contains(&format!("{feature}:"));
            ensure!(is_taken == has_offloads, "{more:?}: {taken}");
        }
    }
    Ok(())
}
