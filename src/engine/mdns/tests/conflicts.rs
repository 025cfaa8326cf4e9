//! Conflicts: another host has one of our names.

use super::bench::{Bench, HERE, LIMITS, PEER};
use super::script::{lines, query, response};
use crate::engine::mdns::{Limits, NameId, Renamed, Responder, Rival};

/// A record of another host with our host's name.
const RIVAL: &str = "= box.local 120 flush A 192.0.2.77";

/// RFC 6762 section 9: "the Multicast DNS responder MUST immediately reset its conflicted unique record to probing state, and go
/// through the startup steps".
/// RFC 6762 section 8.3: "containing a conflicting resource record, the conflict MUST be resolved as described in Section 9".
/// RFC 6762 section 6.6: "then this is a conflict and MUST be handled as described in Section 9".
#[test]
fn conflict_with_owned_name_restarts_probing() {
    for section in ['=', '!', '+'] {
        let mut bench = Bench::serving(1);
        bench.hear_response(&[&RIVAL.replace('=', &section.to_string())]);
        let [.., conflict_count] = bench.responder.figures();
        assert_eq!(conflict_count, 1);
        // Queries for the name are not answered while it is probed for again.
        bench.hear_query(&["? box.local A"]);
        assert!(bench.sent.is_empty());
        bench.run(5000);
        // The other host does not answer the probes, so we keep the name.
        assert_eq!(bench.host(), "box");
        bench.expect_answer("? box.local A", "= box.local 120 flush A 192.0.2.1");
    }
}

/// A record whose rdata is cut short, as of a damaged datagram, is no conflict, neither in a response nor in a probe.
#[test]
fn malformed_record_is_no_conflict() {
    for (line, kept) in [
        (RIVAL, 2),
        (RIVAL, 0),
        ("= box.local 120 flush AAAA fe80::77", 3),
        ("= a~box._nfs._tcp.local 120 flush SRV 1 cat.local", 8),
        ("= a~box._nfs._tcp.local 120 flush TXT key=value", 5),
    ] {
        let mut bytes = response(&[line]);
        let words: Vec<_> = line.split(' ').collect();
        let whole = match words[4] {
            "A" => 4,
            "AAAA" => 16,
            "SRV" => 6 + 11,
            _ => 1 + 9,
        };
        bytes.truncate(bytes.len() - whole + kept);
        let at = bytes.len() - kept - 2;
        bytes[at..at + 2].copy_from_slice(&(kept as u16).to_be_bytes());
        let mut bench = Bench::serving(1);
        bench.hear(PEER, &bytes);
        bench.expect_answer("? box.local A", "= box.local 120 flush A 192.0.2.1");
        bench.expect_answer(
            "? a~box._nfs._tcp.local SRV",
            "= a~box._nfs._tcp.local 120 flush SRV 2049 box.local",
        );
        assert_eq!(bench.host(), "box", "{line}");
    }
}

/// RFC 6762 section 3: "the computer (or its human user) MUST cease using the name".
/// RFC 6762 section 9: "The protocol used in the Probing phase will determine a winner and a loser, and the loser MUST cease using
/// the name, and reconfigure".
#[test]
fn second_conflict_renames_the_host() {
    let mut bench = Bench::serving(1);
    bench.hear_response(&[RIVAL]);
    bench.run(400);
    bench.hear_response(&[RIVAL]);
    bench.sent.clear();
    bench.run(5000);
    assert_eq!(bench.host(), "box-2");
    bench.expect_sent("? box-2.local ANY QU", 3);
    bench.expect_sent("= box-2.local 120 flush A 192.0.2.1", 2);
    // SRV and PTR records get the new name as their target.
    bench.expect_sent("= a~box._nfs._tcp.local 120 flush SRV 2049 box-2.local", 2);
    bench.expect_sent("= 1.2.0.192.in-addr.arpa 120 flush PTR box-2.local", 2);
    // There was no conflict about the service's instance name, so it is not probed for.
    bench.expect_sent("? a~box._nfs._tcp.local ANY QU", 0);
    assert!(bench.answers(&["? box.local A"]).is_empty());
}

#[test]
fn conflicting_service_gets_a_number_in_parentheses() {
    let mut bench = Bench::up(1);
    bench.serve("a box", 2049, &[]);
    bench.run(300);
    bench.hear_response(&["= a~box._nfs._tcp.local 120 flush SRV 1 cat.local"]);
    bench.settle();
    bench.expect_answer(
        "? _nfs._tcp.local PTR",
        "= _nfs._tcp.local 4500 PTR a~box~(2)._nfs._tcp.local",
    );
    // Our renamed service already uses the name `a box (2)`, so a further service of ours with this name also gets a number.
    bench.serve("a box (2)", 1, &[]);
    bench.settle();
    let lines = bench.answers(&["? _nfs._tcp.local PTR"]);
    let further = "= _nfs._tcp.local 4500 PTR a~box~(2)~(2)._nfs._tcp.local";
    assert!(lines.iter().any(|line| line == further), "{lines:?}");
}

/// Returns a response that has one record of type `kind` with the name `label`.`parent`.
fn taken(label: &str, parent: &[u8], kind: u8, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0, label.len() as u8];
    bytes.extend_from_slice(label.as_bytes());
    bytes.extend_from_slice(parent);
    bytes.extend_from_slice(&[0, kind, 0x80, 1, 0, 0, 0, 120, 0, data.len() as u8]);
    bytes.extend_from_slice(data);
    bytes
}

/// CVE-2023-38471, CVE-2023-38473: dots and backslashes in a label are ordinary characters, before and after a rename.
#[test]
fn dots_and_backslashes_in_labels_are_no_escapes() {
    let [slashes, dots] = ["\\", "."].map(|letter| letter.repeat(63));
    let ends_so = format!("{}\\", "x".repeat(58));
    let wished = [
        "a.b", ".", "..", "\\", "a\\", "\\046", "a\\.b", ").", &slashes, &dots, &ends_so,
    ];
    for wished in wished {
        let mut bench = Bench::up(1);
        let name = bench.serve(wished, 1, &[]);
        bench.run(300);
        // Two labels `a` and `b`, and a label with a backslash, are other names and no conflict.
        if wished == "a.b" {
            bench.hear_response(&["= a.b._nfs._tcp.local 120 flush SRV 1 cat.local"]);
            bench.hear(
                PEER,
                &taken("a\\.b", b"\x04_nfs\x04_tcp\x05local\0", 33, &[0; 7]),
            );
            assert_eq!(bench.responder.label(name), b"a.b");
        }
        let rival = taken(wished, b"\x04_nfs\x04_tcp\x05local\0", 33, &[0; 7]);
        bench.hear(PEER, &rival);
        let expect = format!("{} (2)", &wished[..wished.len().min(59)]);
        assert_eq!(bench.responder.label(name), expect.as_bytes());
        bench.run(5000);
        // The new name is sent as one label, in probes and announcements.
        let messages = bench.sent.iter().map(|sent| &sent.bytes);
        let label = [&[expect.len() as u8], expect.as_bytes(), b"\x04_nfs"].concat();
        let count = messages.filter(|bytes| bytes.windows(label.len()).any(|part| part == label));
        assert!(count.count() >= 3, "{expect}");
        assert!(bench.responder.is_settled());
    }
    for wished in ["a\\", "\\046", "\\", &slashes] {
        let mut bench = Bench::up(1);
        bench.responder = Responder::new(LIMITS, &[1; 16]);
        bench.responder.set_host(wished.as_bytes()).unwrap();
        bench.set_link(0, &["192.0.2.1/24"]);
        bench.run(300);
        let rival = taken(wished, b"\x05local\0", 1, &[192, 0, 2, 77]);
        bench.hear(PEER, &rival);
        bench.run(5000);
        assert_eq!(
            bench.host(),
            format!("{}-2", &wished[..wished.len().min(61)])
        );
        assert!(bench.responder.is_settled());
    }
}

#[test]
fn long_labels_are_cut_between_characters() {
    for (wished, expect) in [
        ("x".repeat(63), format!("{} (2)", "x".repeat(59))),
        ("ä".repeat(31), format!("{} (2)", "ä".repeat(29))),
        ("€".repeat(21), format!("{} (2)", "€".repeat(19))),
    ] {
        let mut bench = Bench::up(1);
        let name = bench.serve(&wished, 1, &[]);
        bench.run(300);
        let taken = format!("= {wished}._nfs._tcp.local 120 flush SRV 1 cat.local");
        bench.hear_response(&[&taken]);
        let label = bench.responder.label(name);
        assert_eq!(core::str::from_utf8(label), Ok(expect.as_str()));
        assert!(label.len() <= 63);
    }
}

/// A bridge connects our two links, so messages that we send on one link arrive on the other. They are no conflict.
#[test]
fn own_records_from_another_link_are_no_conflict() {
    let mut bench = Bench::new(1);
    bench.set_link(0, &["192.0.2.1/24"]);
    bench.set_link(1, &["192.0.2.2/24"]);
    bench.serve("a box", 2049, &["path=/srv"]);
    let second = "192.0.2.2:5353";
    bench.echoes = vec![(0, 0, HERE), (0, 1, HERE), (1, 0, second), (1, 1, second)];
    bench.run(10_000);
    assert_eq!(bench.host(), "box");
    assert!(bench.responder.is_settled());
    assert_eq!(bench.responder.pop_renamed(), None);
}

/// A peer claims the reverse mapping of our address: we give up the PTR record, but keep the host's name.
#[test]
fn conflicting_reverse_mapping_is_given_up() {
    let mut bench = Bench::settled(1);
    bench.hear_response(&["= 1.2.0.192.in-addr.arpa 120 flush PTR cat.local"]);
    bench.run(10_000);
    assert_eq!(bench.host(), "box");
    assert!(bench.answers(&["? 1.2.0.192.in-addr.arpa PTR"]).is_empty());
    assert!(!bench.answers(&["? box.local A"]).is_empty());
}

#[test]
fn repeated_conflicts_do_not_cause_a_storm() {
    // A peer announces our name again and again, but does not answer our probes.
    let mut bench = Bench::serving(1);
    for _ in 0..600 {
        bench.hear_response(&[RIVAL]);
        bench.run(100);
    }
    // In this minute the peer sends 600 messages, and we send at most one per 300 milliseconds.
    assert!(bench.sent.len() < 200, "{}", bench.sent.len());
}

/// RFC 6762 section 8.1: "When sending probe queries, a host MUST NOT consult its cache for potential answers".
/// RFC 6762 section 10.2: known records of other hosts do not replace probing.
#[test]
fn earlier_responses_do_not_replace_probing() {
    let mut bench = Bench::new(1);
    bench.hear_response(&[RIVAL]);
    bench.set_link(0, &["192.0.2.1/24"]);
    bench.run(5000);
    bench.expect_sent("? box.local ANY QU", 3);
}

/// A peer's query has known answers that contradict our records. They are no conflict.
#[test]
fn queries_for_our_name_are_no_conflict() {
    let mut bench = Bench::serving(1);
    bench.hear_query(&["? box.local ANY", "= box.local 120 A 192.0.2.77"]);
    bench.run(5000);
    assert_eq!(bench.host(), "box");
}

/// An alias of the host has the host's addresses on each link, but no reverse mapping. An alias with a static address has that
/// address.
#[test]
fn aliases_are_claimed_and_given_up_on_conflict() {
    let mut bench = Bench::new(1);
    for (labels, address) in [
        ("www", None),
        ("a.b", None),
        ("box", None),
        ("gate", Some("198.51.100.7")),
        ("gate", Some("2001:db8::7")),
    ] {
        let address = address.map(|address: &str| address.parse().unwrap());
        let added = bench
            .responder
            .add_alias(labels.as_bytes(), address.as_ref());
        added.unwrap();
    }
    bench.set_link(0, &["192.0.2.1/24"]);
    bench.run(300);
    let rivals = ["www", "gate"].map(|name| format!("= {name}.local 120 flush A 192.0.2.77"));
    bench.hear_response(&rivals.each_ref().map(String::as_str));
    let mut lost = [bench.responder.pop_renamed(), bench.responder.pop_renamed()]
        .map(|lost| String::from_utf8(bench.responder.label(lost.unwrap().name).to_vec()).unwrap());
    lost.sort();
    assert_eq!(lost, ["gate", "www"]);
    assert_eq!(bench.responder.pop_renamed(), None);
    bench.settle();
    assert!(bench.answers(&["? www.local A"]).is_empty());
    assert!(bench.answers(&["? gate.local AAAA"]).is_empty());
    bench.expect_answer("? a.b.local A", "= a.b.local 120 flush A 192.0.2.1");
    let reverse = bench.answers(&["? 1.2.0.192.in-addr.arpa PTR"]);
    assert_eq!(
        reverse[0],
        "= 1.2.0.192.in-addr.arpa 120 flush PTR box.local"
    );
    assert!(!reverse.join(" ").contains("a.b"), "{reverse:?}");
    // A conflict with an alias that is already ours restarts probing. The alias is not given up, because the peer does not answer.
    bench.hear_response(&["= a.b.local 120 flush A 192.0.2.77"]);
    bench.settle();
    assert_eq!(bench.responder.pop_renamed(), None);
    bench.expect_answer("? a.b.local A", "= a.b.local 120 flush A 192.0.2.1");
    // When the link's address changes, the alias gets the new address only.
    bench.set_link(0, &["192.0.2.5/24"]);
    bench.settle();
    let lines = bench.answers(&["? a.b.local A"]);
    assert_eq!(lines[0], "= a.b.local 120 flush A 192.0.2.5");
    assert!(!lines.concat().contains("192.0.2.1"), "{lines:?}");
    bench.goodbye();
    bench.run(1000);
    bench.expect_sent("= a.b.local 0 flush A 192.0.2.5", 1);
}

/// The TXT record of a virtual machine in these tests.
const MACHINE: [&str; 2] = ["path=/a.vmx", "uuid=1"];

/// Returns a host that announces, or probes for, the machine `vm`.
fn with_machine(texts: &[&str], ms: u64) -> (Bench, NameId) {
    let mut bench = Bench::up(1);
    let name = bench.serve("vm", 0, texts);
    bench.responder.set_machine(name);
    bench.run(ms);
    (bench, name)
}

/// Another host's records of the machine `vm`, with this TTL and TXT record.
fn machine_elsewhere(ttl: u32, txt: &str) -> Vec<u8> {
    response(&[
        &format!("= vm._nfs._tcp.local {ttl} flush SRV 0 cat.local"),
        &format!("= vm._nfs._tcp.local {ttl} flush TXT {txt}"),
    ])
}

#[test]
fn machine_with_same_uuid_is_left_alone() {
    for txt in ["path=/a.vmx uuid=1", "path=/other.vmx state=running uuid=1"] {
        let (mut bench, name) = with_machine(&MACHINE, 300);
        bench.hear(PEER, &machine_elsewhere(120, txt));
        assert!(bench.responder.is_left(name));
        assert_eq!(bench.responder.label(name), b"vm");
        bench.settle();
        assert!(bench.answers(&["? vm._nfs._tcp.local ANY"]).is_empty());
        assert!(bench.answers(&["? _nfs._tcp.local PTR"]).is_empty());
        // The host itself is announced.
        bench.expect_sent("= box.local 120 flush A 192.0.2.1", 0);
        assert!(!bench.answers(&["? box.local A"]).is_empty());
        // Later records of the other host change nothing.
        bench.hear(PEER, &machine_elsewhere(120, txt));
        assert_eq!(bench.responder.pop_renamed(), None);
        // The other host withdraws the machine, so it is ours.
        bench.hear(PEER, &machine_elsewhere(0, txt));
        bench.settle();
        let ours = "= _nfs._tcp.local 4500 PTR vm._nfs._tcp.local";
        bench.expect_answer("? _nfs._tcp.local PTR", ours);
        assert!(!bench.responder.is_left(name));
    }
}

#[test]
fn machine_with_another_uuid_is_renamed() {
    for (ours, theirs, from, rival) in [
        ("uuid=1", "uuid=2", PEER, Rival::OtherHost),
        ("uuid=1", "path=/a.vmx", PEER, Rival::OtherHost),
        ("a=b", "a=b", "192.0.2.1:5353", Rival::ThisHost),
    ] {
        let (mut bench, name) = with_machine(&[ours], 300);
        bench.hear(from, &machine_elsewhere(120, theirs));
        let renamed = bench.responder.pop_renamed();
        assert_eq!(renamed, Some(Renamed { name, rival }));
        assert!(!bench.responder.is_left(name));
        assert_eq!(bench.responder.label(name), b"vm (2)");
    }
}

/// The other host's SRV and TXT records are in two messages, or the TXT record follows the next probe only.
#[test]
fn machine_waits_for_the_other_hosts_uuid() {
    let (other, equal) = ("uuid=1", "path=/a.vmx uuid=1");
    for (is_after_probe, txt) in [(false, other), (true, other), (false, equal)] {
        let (mut bench, name) = with_machine(&MACHINE, 300);
        bench.hear_response(&["= vm._nfs._tcp.local 120 flush SRV 0 cat.local"]);
        assert!(!bench.responder.is_left(name));
        bench.sent.clear();
        bench.run(900);
        bench.expect_sent("? vm._nfs._tcp.local ANY QU", 0);
        if is_after_probe {
            bench.run(600);
            assert!(bench.count("? vm._nfs._tcp.local ANY QU") > 0);
        }
        bench.hear_response(&[&format!("= vm._nfs._tcp.local 120 flush TXT {txt}")]);
        assert!(bench.responder.is_left(name));
    }
}

/// The other host answers each probe for 100 machines with an SRV record, and never sends a TXT record.
#[test]
fn machines_without_rivals_txt_are_renamed() {
    let mut bench = Bench::new(1);
    let limits = Limits {
        name_count: 512,
        record_count: 1024,
        rdata_bytes: 1 << 16,
    };
    bench.responder = Responder::new(limits, &[1; 16]);
    bench.responder.set_host(b"box").unwrap();
    bench.set_link(0, &["192.0.2.1/24"]);
    bench.settle();
    let names: Vec<_> = (0..100)
        .map(|number| {
            bench.run(1);
            let name = bench.serve(&format!("vm{number}"), 0, &MACHINE);
            bench.responder.set_machine(name);
            name
        })
        .collect();
    let (start, mut answered) = (bench.now, 0);
    while bench.now < start + 10_000 {
        bench.run(1);
        while let Some(sent) = bench.sent.get(answered) {
            answered += 1;
            let is_taken = |line: &&String| line.starts_with("? vm") && !line.contains('~');
            for line in sent.lines().iter().filter(is_taken) {
                let name = line.split(' ').nth(1).unwrap();
                bench.hear_response(&[&format!("= {name} 120 flush SRV 0 cat.local")]);
            }
        }
    }
    assert!(bench.responder.is_settled());
    let label = |name: &NameId| String::from_utf8_lossy(bench.responder.label(*name)).into_owned();
    assert!(names.iter().all(|name| label(name).ends_with(" (2)")));
    let probes = bench
        .sent
        .iter()
        .filter(|sent| sent.lines()[0].starts_with('?'));
    let times: Vec<_> = probes.map(|sent| sent.at - start).collect();
    assert!(times.len() <= 30, "{times:?}");
}

/// Hosts that share a datastore without a list of their machines propose equal TXT records.
#[test]
fn probe_with_our_txt_is_answered_fully() {
    let (mut bench, _) = with_machine(&MACHINE, 10_000);
    let probe = query(&[
        "? vm._nfs._tcp.local ANY QU",
        "! vm._nfs._tcp.local 120 SRV 0 cat.local",
        "! vm._nfs._tcp.local 4500 TXT path=/a.vmx uuid=1",
    ]);
    let reply = lines(&bench.hear(PEER, &probe).unwrap()).join(" ");
    assert!(
        reply.contains(" SRV ") && reply.contains(" TXT "),
        "{reply}"
    );
}

/// libvirt may define a machine on several hosts; one runs it.
#[test]
fn stopped_machine_is_left_to_other_host() {
    let probe = |txt: &str| {
        query(&[
            "? vm._nfs._tcp.local ANY QU",
            "! vm._nfs._tcp.local 120 SRV 0 cat.local",
            &format!("! vm._nfs._tcp.local 4500 TXT {txt}"),
        ])
    };
    for (theirs, is_left) in [
        ("state=running uuid=1", true),
        ("state=running uuid=2", false),
        ("uuid=1", false),
    ] {
        let (mut bench, _) = with_machine(&MACHINE, 10_000);
        bench.hear(PEER, &probe(theirs));
        assert_eq!(
            bench.answers(&["? vm._nfs._tcp.local SRV"]).is_empty(),
            is_left,
            "{theirs}"
        );
    }
}

#[test]
fn machines_left_to_others_slow_no_probe() {
    let mut bench = Bench::up(1);
    for number in 0..20 {
        let name = bench.serve(&format!("vm{number}"), 0, &["uuid=1"]);
        bench.responder.set_machine(name);
    }
    bench.run(400);
    for number in 0..20 {
        let name = format!("vm{number}._nfs._tcp.local");
        bench.hear_response(&[
            &format!("= {name} 120 flush SRV 0 cat.local"),
            &format!("= {name} 120 flush TXT uuid=1"),
        ]);
    }
    bench.sent.clear();
    bench.serve("other", 1, &[]);
    bench.run(1500);
    assert!(bench.count("? other._nfs._tcp.local ANY QU") == 3);
}
