//! Services that are reported once for all links and families.

use super::super::Goal;
use super::bench::{A, Bench, HOST, HTTP, PEER, PEER_V6, answer};
use crate::engine::mdns::Destination;

/// Starts a search on two links, on which the host of [`A`] announces the service in both families.
fn searched() -> Bench {
    let mut bench = Bench::new();
    bench.browser.reports_once = true;
    bench.up(1);
    bench.look_up(Goal::Services, HTTP).wait(2000).lines();
    for (link, last) in [(0, 9), (1, 10)] {
        announce(&mut bench, link, last);
        bench.wait(300);
    }
    bench
}

/// Announces the service on a link with one IPv4 address, in both families.
fn announce(bench: &mut Bench, link: u8, last: u8) {
    let say = answer()
        .ptr(HTTP, 4500, A)
        .srv(A, 120, 80, HOST)
        .txt(A, 4500, b"\x03a=1")
        .a(HOST, 120, [192, 0, 2, last])
        .aaaa(HOST, 120, 9);
    for from in [PEER, PEER_V6] {
        bench.receive_via(link, from, &say);
    }
}

fn resolved(link: u8, last: u8) -> [String; 2] {
    let added = format!("Added {link} {A}");
    let resolved = format!("Resolved {link} {A} {HOST} 192.0.2.{last} 80 \x03a=1");
    [added, resolved]
}

#[test]
fn service_is_reported_once_after_a_second() {
    let mut bench = searched();
    assert!(bench.lines().is_empty());
    bench.wait(3000);
    assert_eq!(bench.lines(), resolved(0, 9));
}

#[test]
fn search_ends_after_the_second() {
    let mut bench = Bench::new();
    bench.browser.reports_once = true;
    bench.look_up(Goal::Services, HTTP).wait(1400);
    assert!(bench.lines().is_empty());
    announce(&mut bench, 0, 9);
    bench.wait(3000);
    let lines = bench.lines();
    assert_eq!(lines[..2], resolved(0, 9));
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[2].starts_with("AllForNow"));
}

#[test]
fn late_service_waits_without_wake_ups() {
    for goal in [Goal::Services, Goal::Types] {
        let mut bench = Bench::new();
        bench.browser.reports_once = true;
        let name = match goal {
            Goal::Types => "_services._dns-sd._udp.local",
            _ => HTTP,
        };
        // The last service was found more than 5 s ago.
        bench.look_up(goal, name).wait(8000).lines();
        bench.receive(answer().ptr("_services._dns-sd._udp.local", 4500, HTTP));
        announce(&mut bench, 0, 9);
        bench.idle_count = 0;
        bench.wait(900);
        assert!(bench.lines().is_empty());
        // The pass after the announcement.
        assert_eq!(bench.idle_count, 1);
        bench.wait(200);
        assert!(!bench.lines().is_empty());
    }
}

#[test]
fn removed_service_is_reported_for_next_link() {
    let mut bench = searched();
    bench.wait(3000).lines();
    bench.down(0);
    bench.wait(3000);
    let [added, resolved] = resolved(1, 10);
    assert_eq!(bench.lines(), [format!("Removed 0 {A}"), added, resolved]);
    // Records of the first link that are back cause no event.
    bench.up(0);
    announce(&mut bench, 0, 9);
    bench.wait(3000);
    assert!(bench.lines().is_empty());
}

#[test]
fn goodbye_on_all_links_is_reported_once() {
    let mut bench = searched();
    bench.wait(3000).lines();
    let bye = answer().ptr(HTTP, 0, A).0;
    for link in [0, 1] {
        bench.receive_on(link, PEER, Destination::Multicast, &bye);
        bench.wait(500);
    }
    bench.wait(3000);
    bench.expect_event(&format!("Removed 0 {A}"));
}

#[test]
fn lost_service_is_reported_for_its_link() {
    let mut bench = searched();
    bench.wait(60_000).lines();
    // Only the second link's records are refreshed.
    announce(&mut bench, 1, 10);
    bench.wait(70_000);
    let [added, resolved] = resolved(1, 10);
    assert_eq!(bench.lines(), [format!("Lost 0 {A}"), added, resolved]);
    // Without any refresh, the loss is reported once.
    bench.wait(130_000);
    bench.expect_event(&format!("Lost 1 {A}"));
}

#[test]
fn equal_names_on_two_hosts_are_reported() {
    let mut bench = searched();
    bench.wait(3000).lines();
    let other = answer()
        .srv(A, 120, 80, "other.local")
        .a("other.local", 120, [192, 0, 2, 77])
        .0;
    bench.receive_on(1, PEER, Destination::Multicast, &other);
    bench.wait(3000);
    let lines = bench.lines();
    assert!(
        lines
            .iter()
            .any(|line| line.contains("other.local 192.0.2.77")),
        "{lines:?}"
    );
}
