//! Feature negotiation with a virtio network card, on hosts with and without offloads.

use super::compare_at;
use crate::stack::world::{Link, World, wait_for};
use anyhow::{Context as _, Result, ensure};
use xtask::machines::iso::{ROCK_RIDGE, image, sample};
use xtask::machines::qemu::bare::{Bare, Options};
use xtask::machines::qemu::tap;

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
