//! Services that are reported once for all links and families, and searches in one family.

use super::super::Goal;
use super::world::{PEER, PEER_V6, Say, World};
use crate::engine::mdns::Destination;

const HTTP: &str = "_http._tcp.local";
const A: &str = "a._http._tcp.local";
const HOST: &str = "h.local";

/// Starts a merged search on two links, on which the host of [`A`] announces the service in both families.
fn merged() -> World {
    let mut world = World::new();
    world.merges = true;
    world.up(1);
    world.look_up(Goal::Services, HTTP).wait(2000).lines();
    for (link, last) in [(0, 9), (1, 10)] {
        let say = announced(last).0;
        for from in [PEER, PEER_V6] {
            world.receive_on(link, from, Destination::Multicast, &say);
        }
        world.wait(300);
    }
    world
}

/// Returns the announcement of [`A`] with one IPv4 address.
fn announced(last: u8) -> Say {
    Say::answer()
        .ptr(HTTP, 4500, A)
        .srv(A, 120, 80, HOST)
        .txt(A, 4500, b"\x03a=1")
        .a(HOST, 120, [192, 0, 2, last])
        .aaaa(HOST, 120, 9)
}

#[test]
fn merged_service_is_reported_once_for_all_links() {
    let mut world = merged();
    world.wait(3000);
    let resolved = format!("Resolved 0 {A} {HOST} 192.0.2.9 80 \x03a=1");
    assert_eq!(world.lines()[..2], [format!("Added 0 {A}"), resolved]);
    // The link that reported the service goes down: the other one goes on with fewer addresses.
    world.down(0);
    world.wait(3000);
    let changed = format!("Changed 1 {A} {HOST} 192.0.2.10 80 \x03a=1");
    assert_eq!(world.lines(), [changed]);
    let bye = Say::answer().ptr(HTTP, 0, A).0;
    world.receive_on(1, PEER, Destination::Multicast, &bye);
    world.wait(3000);
    assert_eq!(world.lines().len(), 1);
    assert!(world.lines().is_empty());
}

#[test]
fn merged_service_is_removed_once() {
    let mut world = merged();
    world.wait(3000).lines();
    let bye = Say::answer().ptr(HTTP, 0, A).0;
    for link in [0, 1] {
        world.receive_on(link, PEER, Destination::Multicast, &bye);
        world.wait(20);
    }
    let count = world.wait(3000).lines().len();
    assert_eq!(count, 1);
    // Without a goodbye: the SRV and address records expire.
    let mut world = merged();
    world.wait(3000).lines();
    let lines = world.wait(130_000).lines();
    let lost = lines.iter().filter(|line| line.starts_with("Lost"));
    assert_eq!(lost.count(), 1, "{lines:?}");
}

#[test]
fn merged_services_of_two_hosts_are_both_reported() {
    let mut world = merged();
    world.wait(3000).lines();
    let other = Say::answer()
        .srv(A, 120, 80, "other.local")
        .a("other.local", 120, [192, 0, 2, 77])
        .0;
    world.receive_on(1, PEER, Destination::Multicast, &other);
    let lines = world.wait(3000).lines();
    assert!(
        lines
            .iter()
            .any(|line| line.contains("other.local 192.0.2.77")),
        "{lines:?}"
    );
}

#[test]
fn other_family_is_ignored() {
    let mut world = World::new();
    world.look_up_families(Goal::Services, HTTP, 1).wait(2000);
    let say = announced(9).0;
    world
        .receive_from(PEER_V6, Destination::Multicast, &say)
        .wait(1000);
    assert_eq!(world.browser.weight().0, 0);
    world.lines();
    world
        .receive_from(PEER, Destination::Multicast, &say)
        .wait(3000);
    let resolved = format!("Resolved 0 {A} {HOST} 192.0.2.9 80 \x03a=1");
    assert_eq!(world.lines(), [format!("Added 0 {A}"), resolved]);
}
