//! Several links, changing addresses, added and withdrawn services, and the goodbye.

use super::bench::{ASK_TYPES, Bench, LEGACY, PEER, SERVICE, sorted};
use super::script::query;
use crate::engine::mdns::Destination;
use crate::wire::announce::Service;

/// RFC 6762 section 6.2: "MUST NOT include addresses that are not valid on that interface".
/// RFC 6762 section 14: "addresses in IPv4 or IPv6 address records in Multicast DNS responses MUST be valid for use on the
/// interface on which the response is being sent".
#[test]
fn answers_have_only_the_links_own_addresses() {
    /// Peer on the second link.
    const OTHER: &str = "198.51.100.9:5353";
    let mut bench = Bench::new(1);
    bench.set_link(0, &["192.0.2.1/24", "fe80::1/64"]);
    bench.set_link(3, &["198.51.100.1/24"]);
    bench.serve("a box", 2049, &[]);
    bench.run(10_000);
    // Probes, announcements and, as additional records of a service, answers.
    let pointers = query(&["? _nfs._tcp.local PTR"]);
    bench.hear(PEER, &pointers);
    bench.hear_on(3, OTHER, Destination::Multicast, &pointers);
    bench.run(1000);
    for sent in &bench.sent {
        let lines = sent.lines().join(" ");
        assert!(!lines.contains(if sent.link == 3 {
            "192.0.2."
        } else {
            "198.51."
        }));
        assert!(sent.link == 0 || !lines.contains(" AAAA "), "{lines}");
    }
    bench.sent.clear();
    let asked = query(&["? box.local ANY"]);
    bench.hear(PEER, &asked);
    bench.hear_on(3, OTHER, Destination::Multicast, &asked);
    let messages: Vec<_> = bench
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
    bench.sent.clear();
    let asked = query(&["? box.local AAAA"]);
    bench.hear_on(3, OTHER, Destination::Multicast, &asked);
    assert_eq!(bench.all(), ["= box.local 120 flush NSEC box.local A"]);
}

/// RFC 6762 section 8.4: "if any of a host's IP addresses change, it MUST re-announce those address records".
/// RFC 6762 section 8: "receives an indication of a network interface "Link Change" event, … MUST perform the two startup steps".
#[test]
fn changed_addresses_are_announced() {
    let mut bench = Bench::serving(1);
    bench.set_link(0, &["192.0.2.5/24", "fe80::1/64"]);
    bench.run(5000);
    bench.expect_sent("? box.local ANY QU", 3);
    bench.expect_sent("= box.local 120 flush A 192.0.2.5", 2);
    bench.expect_sent("= box.local 120 flush A 192.0.2.1", 0);
    // The PTR record of the old address is withdrawn.
    bench.expect_sent("= 1.2.0.192.in-addr.arpa 0 flush PTR box.local", 1);
    bench.expect_sent("= 5.2.0.192.in-addr.arpa 120 flush PTR box.local", 2);
    assert!(bench.answers(&["? 1.2.0.192.in-addr.arpa PTR"]).is_empty());
}

/// After a change of addresses, a name that we own stays ours while it is probed for again. Otherwise another host could claim it.
#[test]
fn owned_name_is_defended_while_probed_again() {
    let mut bench = Bench::serving(1);
    bench.set_link(0, &["192.0.2.1/24", "fe80::1/64", "fe80::2/64"]);
    bench.run(400);
    assert!(bench.count("? box.local ANY QU") > 0);
    // The peer's probe has later records. Tie-breaking does not apply, because we own the name, so we answer the probe.
    bench.sent.clear();
    bench.hear_query(&["? box.local ANY", "! box.local 120 A 192.0.2.77"]);
    assert!(bench.count("= box.local 120 flush A 192.0.2.1") > 0);
    // A conflicting response restarts probing; the name is not given up at once.
    bench.hear_response(&["= box.local 120 flush A 192.0.2.77"]);
    bench.sent.clear();
    bench.hear_query(&["? box.local A"]);
    assert!(bench.sent.is_empty());
    bench.run(5000);
    assert_eq!(bench.host(), "box");
    bench.expect_sent("? box.local ANY QU", 3);
    bench.expect_sent("= box.local 120 flush AAAA fe80::2", 2);
}

#[test]
fn changing_addresses_do_not_fill_the_tables() {
    let mut bench = Bench::serving(1);
    for round in 0..3000u32 {
        let address = format!("192.0.2.{}/24", 1 + round % 250);
        bench.set_link(0, &[&address]);
        bench.run(if round % 3 == 0 { 4000 } else { 100 });
        if round % 7 == 0 {
            bench.set_link(0, &[]);
        }
    }
    bench.set_link(0, &["192.0.2.1/24"]);
    bench.settle();
    bench.expect_answer("? box.local A", "= box.local 120 flush A 192.0.2.1");
    bench.expect_answer(
        "? 1.2.0.192.in-addr.arpa PTR",
        "= 1.2.0.192.in-addr.arpa 120 flush PTR box.local",
    );
}

/// RFC 6762 section 10.1: withdrawn records are announced with a TTL of 0.
/// RFC 6762 section 8.4: "In the case of shared records, a host MUST send a "goodbye" announcement with RR TTL zero".
#[test]
fn withdrawn_service_sends_goodbyes() {
    let mut bench = Bench::serving(1);
    let name = bench.serve("other", 1, &[]);
    bench.settle();
    bench.withdraw(name);
    bench.run(3000);
    assert_eq!(
        sorted(bench.all()),
        [
            "= _nfs._tcp.local 0 PTR other._nfs._tcp.local",
            "= other._nfs._tcp.local 0 flush SRV 1 box.local",
            "= other._nfs._tcp.local 0 flush TXT ",
        ]
    );
    assert!(bench.answers(&["? other._nfs._tcp.local SRV"]).is_empty());
    assert_eq!(bench.answers(&[ASK_TYPES]).len(), 1);
}

#[test]
fn last_service_of_a_type_withdraws_the_type() {
    let mut bench = Bench::up(1);
    let first = bench.serve("first", 1, &[]);
    let second = bench.serve("second", 2, &[]);
    bench.settle();
    bench.withdraw(first);
    bench.settle();
    assert_eq!(bench.answers(&[ASK_TYPES]).len(), 1);
    bench.withdraw(second);
    bench.run(100);
    bench.expect_sent("= _services._dns-sd._udp.local 0 PTR _nfs._tcp.local", 1);
    bench.settle();
    assert!(bench.answers(&[ASK_TYPES]).is_empty());
    assert!(bench.answers(&["? _nfs._tcp.local PTR"]).is_empty());
}

/// RFC 6762 section 8.4: "if the rdata of any of a host's Multicast DNS records changes, the host MUST repeat the Announcing
/// step".
#[test]
fn added_and_removed_services_do_not_fill_tables() {
    let mut bench = Bench::up(1);
    for round in 0..2000u32 {
        let text = format!("number={round}");
        let name = bench.serve("a box", 2049, &[&text]);
        bench.run(if round % 5 == 0 { 4000 } else { 50 });
        bench.withdraw(name);
        bench.run(u64::from(round % 3));
    }
    bench.settle();
    bench.serve("a box", 2049, &["path=/new"]);
    bench.run(3000);
    bench.expect_sent("= a~box._nfs._tcp.local 4500 flush TXT path=/new", 2);
}

/// A service whose TXT record changes is withdrawn and added again, and keeps its name.
#[test]
fn withdrawn_service_added_again_keeps_its_name() {
    let mut bench = Bench::up(1);
    let name = bench.serve("a box", 2049, &["path=/old"]);
    bench.settle();
    bench.withdraw(name);
    bench.serve("a box", 2049, &["path=/new"]);
    bench.run(5000);
    bench.expect_sent("= _nfs._tcp.local 0 PTR a~box._nfs._tcp.local", 1);
    bench.expect_sent("= a~box._nfs._tcp.local 4500 flush TXT path=/new", 2);
    let lines = bench.answers(&["? _nfs._tcp.local PTR"]);
    let pointers = lines.iter().filter(|line| line.starts_with('='));
    assert_eq!(pointers.count(), 1, "{lines:?}");
}

#[test]
fn goodbye_covers_all_records_and_ends_answers() {
    let mut bench = Bench::serving(1);
    bench.goodbye();
    bench.run(0);
    assert_eq!(
        sorted(bench.all()),
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
    bench.sent.clear();
    assert_eq!(bench.reply(LEGACY, &["? box.local A"]), None);
    bench.run(10_000);
    assert!(bench.sent.is_empty());
}

#[test]
fn unannounced_records_get_no_goodbye() {
    let mut bench = Bench::up(1);
    bench.run(500);
    bench.sent.clear();
    bench.goodbye();
    bench.run(10_000);
    assert!(bench.sent.is_empty());
}

#[test]
fn full_table_is_reported_and_keeps_earlier_services() {
    let mut bench = Bench::settled(1);
    let mut added = 0;
    loop {
        let instance = format!("service {added}");
        let service = Service {
            name: instance.as_bytes(),
            ..SERVICE
        };
        let now = bench.instant();
        if bench.responder.add_service(now, &service).is_err() {
            break;
        }
        added += 1;
    }
    assert!(added > 20, "{added}");
    bench.settle();
    let lines = bench.answers(&["? _nfs._tcp.local PTR"]);
    let pointers = lines
        .iter()
        .filter(|line| line.starts_with("= _nfs._tcp.local"));
    assert_eq!(pointers.count(), added);
}

/// The file of `--hosts` is read again: only the changes are sent.
#[test]
fn changed_aliases_are_withdrawn_and_announced() {
    fn add(bench: &mut Bench, aliases: &[(&str, &str)]) {
        for (labels, address) in aliases {
            let address = address.parse().unwrap();
            let added = bench.responder.add_alias(labels.as_bytes(), Some(&address));
            added.unwrap();
        }
    }
    fn change(bench: &mut Bench, aliases: &[(&str, &str)]) {
        bench.sent.clear();
        bench.responder.start_aliases();
        add(bench, aliases);
        let now = bench.instant();
        bench.responder.finish_aliases(now);
        bench.run(5000);
    }
    let mut bench = Bench::new(1);
    let (stays, gate) = (("stays", "198.51.100.1"), ("gate", "198.51.100.7"));
    add(
        &mut bench,
        &[
            stays,
            gate,
            ("gate", "2001:db8::7"),
            ("goes", "198.51.100.7"),
        ],
    );
    bench.set_link(0, &["192.0.2.1/24"]);
    bench.settle();
    change(&mut bench, &[stays, gate, ("comes", "198.51.100.8")]);
    let mut goodbyes = bench.all();
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
    bench.expect_sent("= comes.local 120 flush A 198.51.100.8", 2);
    let reverse = "= 8.100.51.198.in-addr.arpa 120 flush PTR comes.local";
    bench.expect_sent(reverse, 2);
    let lines = bench.all().join("; ");
    assert!(!lines.contains("stays"), "{lines}");
    assert!(bench.answers(&["? goes.local A"]).is_empty());
    assert_eq!(bench.answers(&["? stays.local A"]).len(), 2);
    // A further address of a name that is announced already.
    change(
        &mut bench,
        &[
            stays,
            gate,
            ("stays", "198.51.100.2"),
            ("comes", "198.51.100.8"),
        ],
    );
    bench.expect_sent("= stays.local 120 flush A 198.51.100.2", 2);
    // The tables have room for any number of changes.
    for _ in 0..100 {
        change(&mut bench, &[]);
        change(&mut bench, &[stays, gate, ("goes", "198.51.100.7")]);
    }
    bench.expect_sent("= goes.local 120 flush A 198.51.100.7", 2);
    // Aliases of the host itself are kept.
    change(&mut bench, &[]);
    assert!(bench.answers(&["? gate.local A"]).is_empty());
    assert_eq!(bench.answers(&["? box.local A"]).len(), 2);
}

/// A service of one interface is announced and answered on that interface's link only, also if the link comes later or changes its
/// number. The other service of its type stays on both.
#[test]
fn service_of_one_interface_uses_its_link_only() {
    fn add(bench: &mut Bench, name: &str, interface: &str) -> crate::engine::mdns::NameId {
        let service = Service {
            name: name.as_bytes(),
            subtypes: b"\x02_s",
            interface: interface.as_bytes(),
            ..SERVICE
        };
        let now = bench.instant();
        bench.responder.add_service(now, &service).unwrap()
    }
    fn set(bench: &mut Bench, id: u8, interface: &str) {
        bench.responder.set_interface(id, interface.as_bytes());
        bench.set_link(id, &[&format!("192.0.{id}.1/24")]);
        bench.run(5000);
    }
    /// Returns the links on which the service was announced.
    fn links(bench: &mut Bench, name: &str) -> Vec<u8> {
        let of_name = |line: &String| line.contains("4500 PTR") && line.ends_with(name);
        let sent = bench.sent.iter();
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
    let mut bench = Bench::new(1);
    let one = add(&mut bench, "one", "eth1");
    let both = add(&mut bench, "both", "");
    set(&mut bench, 0, "eth0");
    assert_eq!(links(&mut bench, "one._nfs._tcp.local"), [0; 0]);
    assert_eq!(links(&mut bench, "both._nfs._tcp.local"), [0]);
    assert!(bench.count(TYPES) > 0);
    bench.sent.clear();
    set(&mut bench, 1, "eth1");
    assert_eq!(links(&mut bench, "one._nfs._tcp.local"), [1]);
    assert_eq!(links(&mut bench, "both._nfs._tcp.local"), [1]);
    let lines = bench.answers(&["? one._nfs._tcp.local SRV"]);
    assert_eq!(lines, [""; 0]);
    // A service that is added while the links are up.
    bench.sent.clear();
    add(&mut bench, "late", "eth0");
    bench.run(5000);
    assert_eq!(links(&mut bench, "late._nfs._tcp.local"), [0]);
    // Another interface gets the link's number; the interface appears as link 2.
    bench.set_link(1, &[]);
    bench.run(5000);
    bench.sent.clear();
    set(&mut bench, 1, "eth9");
    assert_eq!(links(&mut bench, "one._nfs._tcp.local"), [0; 0]);
    set(&mut bench, 2, "eth1");
    assert_eq!(links(&mut bench, "one._nfs._tcp.local"), [2]);
    // The type stays listed on link 0 as long as a service there has it.
    bench.sent.clear();
    bench.withdraw(both);
    bench.run(5000);
    bench.expect_sent("= _nfs._tcp.local 0 PTR both._nfs._tcp.local", 3);
    assert!(bench.answers(&[ASK_TYPES]).contains(&TYPES.to_owned()));
    bench.sent.clear();
    bench.withdraw(one);
    bench.run(5000);
    bench.expect_sent("= _nfs._tcp.local 0 PTR one._nfs._tcp.local", 1);
}
