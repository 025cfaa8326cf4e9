//! Further requirements of RFC 6762 and RFC 6763: complete record sets, the cache-flush bit, and the encoding of names and texts.

use super::bench::{ASK_TYPES, Bench, HERE};

/// RFC 6762 section 6: "A Multicast DNS responder MUST NOT place records from its cache, which have been learned from other
/// responders on the network, in the Resource Record Sections of outgoing response messages".
#[test]
fn records_learned_from_peers_are_not_answered() {
    let mut bench = Bench::serving(1);
    let others = [
        "= other.local 120 flush A 192.0.2.9",
        "= _nfs._tcp.local 4500 PTR theirs._nfs._tcp.local",
        "= theirs._nfs._tcp.local 120 flush SRV 2049 other.local",
        "= 9.2.0.192.in-addr.arpa 120 flush PTR other.local",
    ];
    bench.hear_response(&others);
    let asked = [
        "? other.local ANY",
        "? theirs._nfs._tcp.local SRV",
        "? 9.2.0.192.in-addr.arpa PTR",
        "? _nfs._tcp.local PTR",
    ];
    let lines = bench.answers(&asked);
    assert!(lines.iter().any(|line| line.contains("a~box")), "{lines:?}");
    assert!(
        !lines
            .iter()
            .any(|line| line.contains("other") || line.contains("theirs")),
        "{lines:?}"
    );
}

/// RFC 6762 section 10.2: "Any time a host sends a response packet containing some members of a unique RRSet, it MUST send the
/// entire RRSet", "The host MUST set the cache-flush bit on all members of the unique RRSet".
#[test]
fn unique_record_sets_are_sent_complete_with_flush() {
    let mut bench = Bench::new(1);
    bench.set_link(0, &["192.0.2.1/24", "192.0.2.5/24", "fe80::1/64"]);
    bench.serve("a box", 2049, &["path=/srv"]);
    bench.settle();
    let unique = [
        ("? box.local A", 2),
        ("? box.local ANY", 3),
        ("? a~box._nfs._tcp.local ANY", 2),
        ("? 5.2.0.192.in-addr.arpa PTR", 1),
        ("? box.local SRV", 1),
    ];
    for (question, count) in unique {
        let lines = bench.answers(&[question]);
        let answers: Vec<_> = lines.iter().filter(|line| line.starts_with('=')).collect();
        assert_eq!(answers.len(), count, "{lines:?}");
        assert!(
            answers.iter().all(|line| line.contains(" flush ")),
            "{lines:?}"
        );
    }
}

/// RFC 6762 section 10.2: "The cache-flush bit MUST NOT ever be set in any shared resource record".
#[test]
fn shared_records_never_have_the_flush_bit() {
    let mut bench = Bench::up(1);
    bench.serve("a box", 2049, &["path=/srv"]);
    // The announcements, then the answers, then the goodbye.
    bench.run(5000);
    bench.hear_query(&["? _nfs._tcp.local PTR", ASK_TYPES]);
    bench.run(2000);
    bench.goodbye();
    bench.run(2000);
    let lines = bench.all();
    let shared = lines
        .iter()
        .filter(|line| line.starts_with("= _nfs._tcp") || line.starts_with("= _services."));
    assert!(shared.clone().count() >= 8, "{lines:?}");
    for line in shared {
        assert!(!line.contains("flush"), "{line}");
    }
}

/// After a change of addresses, names are probed for again while queries for them are still answered. The responder must not
/// answer its own looped-back probes.
#[test]
fn looped_back_probes_are_not_answered() {
    let mut bench = Bench::serving(1);
    bench.run(100_000_000);
    bench.echoes = vec![(0, 0, HERE), (0, 0, "[fe80::1]:5353")];
    bench.set_link(0, &["192.0.2.1/24", "192.0.2.5/24", "fe80::1/64"]);
    bench.run(5000);
    let probes = bench.sent.iter();
    let probes = probes.filter(|sent| sent.lines()[0].starts_with('?'));
    // Three probes and two announcements are sent, and no answers to the probes.
    assert_eq!((probes.count(), bench.sent.len()), (3, 5));
}

/// RFC 6762 section 16: "Multicast DNS names MUST NOT contain a "Byte Order Mark"", "MUST NOT use any other encodings apart from
/// precomposed UTF-8".
/// RFC 6762 section 16: "Any occurrence of the Unicode character U+FEFF … MUST be interpreted as being an actual intended part of
/// the name".
#[test]
fn names_are_sent_as_unmodified_utf8() {
    for name in ["B\u{fc}ro \u{1f5c4}", "with\u{feff}in"] {
        let mut bench = Bench::up(1);
        bench.serve(name, 2049, &["path=/srv"]);
        bench.settle();
        bench.hear_query(&["? _nfs._tcp.local PTR"]);
        bench.run(1000);
        let mut label = vec![name.len() as u8];
        label.extend_from_slice(name.as_bytes());
        let bytes = &bench.sent[0].bytes;
        let found = bytes.windows(label.len()).filter(|part| *part == label);
        assert_eq!(found.count(), 1, "{name}");
        let name = name.replace(' ', "~");
        let asked = |name: &str| format!("? {name}._nfs._tcp.local SRV");
        assert_eq!(bench.answers(&[&asked(&name)]).len(), 3);
        let without = name.replace('\u{feff}', "");
        if without != name {
            assert!(bench.answers(&[&asked(&without)]).is_empty());
        }
    }
}

/// RFC 6763 section 6.5: "The value MUST NOT be enclosed in additional quotation marks".
#[test]
fn txt_strings_are_sent_unmodified() {
    let texts = ["path=/srv", "empty=", "none", "quoted=\"a\"", "a==b"];
    let mut bench = Bench::up(1);
    bench.serve("a box", 2049, &texts);
    bench.settle();
    let expect = format!("= a~box._nfs._tcp.local 4500 flush TXT {}", texts.join(" "));
    assert_eq!(bench.answers(&["? a~box._nfs._tcp.local TXT"]), [expect]);
}
