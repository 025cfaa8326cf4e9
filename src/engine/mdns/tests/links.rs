//! Several links, changing addresses, added and withdrawn services, and the goodbye.

use super::script::query;
use super::world::{ASK_TYPES, LEGACY, PEER, SERVICE, World, sorted};
use crate::engine::mdns::Destination;
use crate::wire::announce::Service;

/// RFC 6762 section 6.2: "MUST NOT include addresses that are not valid on that interface".
#[test]
fn answers_have_only_the_links_own_addresses() {
    /// Peer on the second link.
    const OTHER: &str = "198.51.100.9:5353";
    let mut world = World::new(1);
    world.set_link(0, &["192.0.2.1/24", "fe80::1/64"]);
    world.set_link(3, &["198.51.100.1/24"]);
    world.settle();
    let asked = query(&["? box.local ANY"]);
    world.hear(PEER, &asked);
    world.hear_on(3, OTHER, Destination::Multicast, &asked);
    let messages: Vec<_> = world
        .sent
        .iter()
        .map(|sent| (sent.link, sent.lines()))
        .collect();
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[0].0, 0);
    assert_eq!(
        sorted(messages[0].1.clone()),
        [
            "= box.local 120 flush A 192.0.2.1",
            "= box.local 120 flush AAAA fe80::1"
        ]
    );
    assert_eq!((messages[1].0, messages[1].1.len()), (3, 2));
    assert_eq!(messages[1].1[0], "= box.local 120 flush A 198.51.100.1");
    // Link 3 has no IPv6 address, so a query for one gets a denial.
    world.sent.clear();
    let asked = query(&["? box.local AAAA"]);
    world.hear_on(3, OTHER, Destination::Multicast, &asked);
    assert_eq!(world.all(), ["= box.local 120 flush NSEC box.local A"]);
}

/// RFC 6762 section 8.4: "if any of a host's IP addresses change, it MUST re-announce those address records".
/// RFC 6762 section 8: "receives an indication of a network interface "Link Change" event, … MUST perform the two startup steps".
#[test]
fn changed_addresses_are_announced() {
    let mut world = World::serving(1);
    world.set_link(0, &["192.0.2.5/24", "fe80::1/64"]);
    world.run(5000);
    world.expect_sent("? box.local ANY QU", 3);
    world.expect_sent("= box.local 120 flush A 192.0.2.5", 2);
    world.expect_sent("= box.local 120 flush A 192.0.2.1", 0);
    // The PTR record of the old address is withdrawn.
    world.expect_sent("= 1.2.0.192.in-addr.arpa 0 flush PTR box.local", 1);
    world.expect_sent("= 5.2.0.192.in-addr.arpa 120 flush PTR box.local", 2);
    assert!(world.answers(&["? 1.2.0.192.in-addr.arpa PTR"]).is_empty());
}

/// After a change of addresses, a name that we own stays ours while it is probed for again. Otherwise another host could claim it.
#[test]
fn owned_name_is_defended_while_probed_again() {
    let mut world = World::serving(1);
    world.set_link(0, &["192.0.2.1/24", "fe80::1/64", "fe80::2/64"]);
    world.run(400);
    assert!(world.count("? box.local ANY QU") > 0);
    // The peer's probe has later records. Tie-breaking does not apply, because we own the name, so we answer the probe.
    world.sent.clear();
    world.hear_query(&["? box.local ANY", "! box.local 120 A 192.0.2.77"]);
    assert!(world.count("= box.local 120 flush A 192.0.2.1") > 0);
    // A conflicting response restarts probing; the name is not given up at once.
    world.hear_response(&["= box.local 120 flush A 192.0.2.77"]);
    world.sent.clear();
    world.hear_query(&["? box.local A"]);
    assert!(world.sent.is_empty());
    world.run(5000);
    assert_eq!(world.host(), "box");
    world.expect_sent("? box.local ANY QU", 3);
    world.expect_sent("= box.local 120 flush AAAA fe80::2", 2);
}

#[test]
fn changing_addresses_do_not_fill_the_tables() {
    let mut world = World::serving(1);
    for round in 0..3000u32 {
        let address = format!("192.0.2.{}/24", 1 + round % 250);
        world.set_link(0, &[&address]);
        world.run(if round % 3 == 0 { 4000 } else { 100 });
        if round % 7 == 0 {
            world.set_link(0, &[]);
        }
    }
    world.set_link(0, &["192.0.2.1/24"]);
    world.settle();
    world.expect_answer("? box.local A", "= box.local 120 flush A 192.0.2.1");
    world.expect_answer(
        "? 1.2.0.192.in-addr.arpa PTR",
        "= 1.2.0.192.in-addr.arpa 120 flush PTR box.local",
    );
}

/// RFC 6762 section 10.1: withdrawn records are announced with a TTL of 0.
/// RFC 6762 section 8.4: "In the case of shared records, a host MUST send a "goodbye" announcement with RR TTL zero".
#[test]
fn withdrawn_service_sends_goodbyes() {
    let mut world = World::serving(1);
    let name = world.serve("other", 1, &[]);
    world.settle();
    world.withdraw(name);
    world.run(3000);
    assert_eq!(
        sorted(world.all()),
        [
            "= _nfs._tcp.local 0 PTR other._nfs._tcp.local",
            "= other._nfs._tcp.local 0 flush SRV 1 box.local",
            "= other._nfs._tcp.local 0 flush TXT ",
        ]
    );
    assert!(world.answers(&["? other._nfs._tcp.local SRV"]).is_empty());
    assert_eq!(world.answers(&[ASK_TYPES]).len(), 1);
}

#[test]
fn last_service_of_a_type_withdraws_the_type() {
    let mut world = World::up(1);
    let first = world.serve("first", 1, &[]);
    let second = world.serve("second", 2, &[]);
    world.settle();
    world.withdraw(first);
    world.settle();
    assert_eq!(world.answers(&[ASK_TYPES]).len(), 1);
    world.withdraw(second);
    world.run(100);
    world.expect_sent("= _services._dns-sd._udp.local 0 PTR _nfs._tcp.local", 1);
    world.settle();
    assert!(world.answers(&[ASK_TYPES]).is_empty());
    assert!(world.answers(&["? _nfs._tcp.local PTR"]).is_empty());
}

/// RFC 6762 section 8.4: "if the rdata of any of a host's Multicast DNS records changes, the host MUST repeat the Announcing
/// step".
#[test]
fn added_and_removed_services_do_not_fill_tables() {
    let mut world = World::up(1);
    for round in 0..2000u32 {
        let text = format!("number={round}");
        let name = world.serve("a box", 2049, &[&text]);
        world.run(if round % 5 == 0 { 4000 } else { 50 });
        world.withdraw(name);
        world.run(u64::from(round % 3));
    }
    world.settle();
    world.serve("a box", 2049, &["path=/new"]);
    world.run(3000);
    world.expect_sent("= a~box._nfs._tcp.local 4500 flush TXT path=/new", 2);
}

/// A service whose TXT record changes is withdrawn and added again, and keeps its name.
#[test]
fn withdrawn_service_added_again_keeps_its_name() {
    let mut world = World::up(1);
    let name = world.serve("a box", 2049, &["path=/old"]);
    world.settle();
    world.withdraw(name);
    world.serve("a box", 2049, &["path=/new"]);
    world.run(5000);
    world.expect_sent("= _nfs._tcp.local 0 PTR a~box._nfs._tcp.local", 1);
    world.expect_sent("= a~box._nfs._tcp.local 4500 flush TXT path=/new", 2);
    let lines = world.answers(&["? _nfs._tcp.local PTR"]);
    let pointers = lines.iter().filter(|line| line.starts_with('='));
    assert_eq!(pointers.count(), 1, "{lines:?}");
}

#[test]
fn goodbye_covers_all_records_and_ends_answers() {
    let mut world = World::serving(1);
    world.goodbye();
    world.run(0);
    assert_eq!(
        sorted(world.all()),
        [
            "= 1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.e.f.ip6.arpa 0 flush PTR box.local",
            "= 1.2.0.192.in-addr.arpa 0 flush PTR box.local",
            "= _nfs._tcp.local 0 PTR a~box._nfs._tcp.local",
            "= _services._dns-sd._udp.local 0 PTR _nfs._tcp.local",
            "= a~box._nfs._tcp.local 0 flush SRV 2049 box.local",
            "= a~box._nfs._tcp.local 0 flush TXT path=/srv",
            "= box.local 0 flush A 192.0.2.1",
            "= box.local 0 flush AAAA fe80::1",
        ]
    );
    world.sent.clear();
    assert_eq!(world.reply(LEGACY, &["? box.local A"]), None);
    world.run(10_000);
    assert!(world.sent.is_empty());
}

#[test]
fn unannounced_records_get_no_goodbye() {
    let mut world = World::up(1);
    world.run(500);
    world.sent.clear();
    world.goodbye();
    world.run(10_000);
    assert!(world.sent.is_empty());
}

#[test]
fn full_table_is_reported_and_keeps_earlier_services() {
    let mut world = World::settled(1);
    let mut added = 0;
    loop {
        let instance = format!("service {added}");
        let service = Service {
            name: instance.as_bytes(),
            ..SERVICE
        };
        let now = world.instant();
        if world.responder.add_service(now, &service).is_err() {
            break;
        }
        added += 1;
    }
    assert!(added > 20, "{added}");
    world.settle();
    let lines = world.answers(&["? _nfs._tcp.local PTR"]);
    let pointers = lines
        .iter()
        .filter(|line| line.starts_with("= _nfs._tcp.local"));
    assert_eq!(pointers.count(), added);
}

/// The file of `--hosts` is read again: only the changes are sent.
#[test]
fn changed_aliases_are_withdrawn_and_announced() {
    fn add(world: &mut World, aliases: &[(&str, &str)]) {
        for (labels, address) in aliases {
            let address = address.parse().unwrap();
            let added = world.responder.add_alias(labels.as_bytes(), Some(&address));
            added.unwrap();
        }
    }
    fn change(world: &mut World, aliases: &[(&str, &str)]) {
        world.sent.clear();
        world.responder.start_aliases();
        add(world, aliases);
        let now = world.instant();
        world.responder.finish_aliases(now);
        world.run(5000);
    }
    let mut world = World::new(1);
    let (stays, gate) = (("stays", "198.51.100.1"), ("gate", "198.51.100.7"));
    add(
        &mut world,
        &[
            stays,
            gate,
            ("gate", "2001:db8::7"),
            ("goes", "198.51.100.7"),
        ],
    );
    world.set_link(0, &["192.0.2.1/24"]);
    world.settle();
    change(&mut world, &[stays, gate, ("comes", "198.51.100.8")]);
    let mut goodbyes = world.all();
    goodbyes.retain(|line| line.contains(" 0 flush "));
    assert_eq!(
        sorted(goodbyes),
        [
            "= 7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa 0 flush PTR gate.local",
            "= 7.100.51.198.in-addr.arpa 0 flush PTR goes.local",
            "= gate.local 0 flush AAAA 2001:db8::7",
            "= goes.local 0 flush A 198.51.100.7",
        ]
    );
    world.expect_sent("= comes.local 120 flush A 198.51.100.8", 2);
    let reverse = "= 8.100.51.198.in-addr.arpa 120 flush PTR comes.local";
    world.expect_sent(reverse, 2);
    let lines = world.all().join("; ");
    assert!(!lines.contains("stays"), "{lines}");
    assert!(world.answers(&["? goes.local A"]).is_empty());
    assert_eq!(world.answers(&["? stays.local A"]).len(), 2);
    // A further address of a name that is announced already.
    change(
        &mut world,
        &[
            stays,
            gate,
            ("stays", "198.51.100.2"),
            ("comes", "198.51.100.8"),
        ],
    );
    world.expect_sent("= stays.local 120 flush A 198.51.100.2", 2);
    // The tables have room for any number of changes.
    for _ in 0..100 {
        change(&mut world, &[]);
        change(&mut world, &[stays, gate, ("goes", "198.51.100.7")]);
    }
    world.expect_sent("= goes.local 120 flush A 198.51.100.7", 2);
    // Aliases of the host itself are kept.
    change(&mut world, &[]);
    assert!(world.answers(&["? gate.local A"]).is_empty());
    assert_eq!(world.answers(&["? box.local A"]).len(), 2);
}

/// A service of one interface is announced and answered on that interface's link only, also if the link comes later or changes its
/// number. The other service of its type stays on both.
#[test]
fn service_of_one_interface_uses_its_link_only() {
    fn add(world: &mut World, name: &str, interface: &str) -> crate::engine::mdns::NameId {
        let service = Service {
            name: name.as_bytes(),
            subtypes: b"\x02_s",
            interface: interface.as_bytes(),
            ..SERVICE
        };
        let now = world.instant();
        world.responder.add_service(now, &service).unwrap()
    }
    fn set(world: &mut World, id: u8, interface: &str) {
        world.responder.set_interface(id, interface.as_bytes());
        world.set_link(id, &[&format!("192.0.{id}.1/24")]);
        world.run(5000);
    }
    /// Returns the links on which the service was announced.
    fn links(world: &mut World, name: &str) -> Vec<u8> {
        let of_name = |line: &String| line.contains("4500 PTR") && line.ends_with(name);
        let sent = world.sent.iter();
        let mut links: Vec<_> = sent
            .filter(|sent| sent.lines().iter().any(of_name))
            .map(|sent| sent.link)
            .collect();
        links.dedup();
        links.sort_unstable();
        links.dedup();
        links
    }
    const TYPES: &str = "= _services._dns-sd._udp.local 4500 PTR _nfs._tcp.local";
    let mut world = World::new(1);
    let one = add(&mut world, "one", "eth1");
    let both = add(&mut world, "both", "");
    set(&mut world, 0, "eth0");
    assert_eq!(links(&mut world, "one._nfs._tcp.local"), [0; 0]);
    assert_eq!(links(&mut world, "both._nfs._tcp.local"), [0]);
    assert!(world.count(TYPES) > 0);
    world.sent.clear();
    set(&mut world, 1, "eth1");
    assert_eq!(links(&mut world, "one._nfs._tcp.local"), [1]);
    assert_eq!(links(&mut world, "both._nfs._tcp.local"), [1]);
    let lines = world.answers(&["? one._nfs._tcp.local SRV"]);
    assert_eq!(lines, [""; 0]);
    // A service that is added while the links are up.
    world.sent.clear();
    add(&mut world, "late", "eth0");
    world.run(5000);
    assert_eq!(links(&mut world, "late._nfs._tcp.local"), [0]);
    // Another interface gets the link's number; the interface appears as link 2.
    world.set_link(1, &[]);
    world.run(5000);
    world.sent.clear();
    set(&mut world, 1, "eth9");
    assert_eq!(links(&mut world, "one._nfs._tcp.local"), [0; 0]);
    set(&mut world, 2, "eth1");
    assert_eq!(links(&mut world, "one._nfs._tcp.local"), [2]);
    // The type stays listed on link 0 as long as a service there has it.
    world.sent.clear();
    world.withdraw(both);
    world.run(5000);
    world.expect_sent("= _nfs._tcp.local 0 PTR both._nfs._tcp.local", 3);
    assert!(world.answers(&[ASK_TYPES]).contains(&TYPES.to_owned()));
    world.sent.clear();
    world.withdraw(one);
    world.run(5000);
    world.expect_sent("= _nfs._tcp.local 0 PTR one._nfs._tcp.local", 1);
}
