//! The pace of announcements and goodbyes for many services.

use super::bench::Bench;

/// Announcements of many services are sent at intervals, because a burst of full messages would overflow the receivers' socket
/// buffers.
#[test]
fn many_services_are_announced_at_intervals() {
    let mut bench = Bench::new(1);
    let text = "x".repeat(80);
    for number in 0..20 {
        bench.serve(&format!("box {number}"), 1, &[&text]);
    }
    bench.set_link(0, &["192.0.2.1/24", "fe80::1/64"]);
    bench.run(10_000);
    let of_kind = |is_response: bool| {
        let sent = bench.sent.iter();
        let sent = sent.filter(|sent| (sent.bytes[2] & 0x80 != 0) == is_response);
        sent.map(|sent| sent.at).collect::<Vec<_>>()
    };
    for times in [of_kind(false), of_kind(true)] {
        assert!(times.len() >= 6, "{times:?}");
        let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
        assert_eq!(gaps.filter(|gap| *gap < 10).count(), 0, "{times:?}");
    }
    assert!(bench.responder.is_settled());
    for number in 0..20 {
        let begin = format!("= box~{number}._nfs._tcp.local 120 flush SRV");
        let lines = bench.all();
        let announced = lines.iter().filter(|line| line.starts_with(&begin));
        assert_eq!(announced.count(), 2, "{number}");
    }
}

/// Goodbyes are sent without intervals, because the process is about to end.
#[test]
fn goodbyes_of_many_services_are_sent_at_once() {
    let mut bench = Bench::up(1);
    let text = "x".repeat(80);
    for number in 0..20 {
        bench.serve(&format!("box {number}"), 1, &[&text]);
    }
    bench.settle();
    bench.goodbye();
    bench.run(1);
    let all = bench.all();
    let gone = all.iter().filter(|line| line.contains(" 0 flush SRV"));
    assert_eq!(gone.count(), 20);
}

/// `--ttl` applies to the records of services, not to those of the host. Goodbyes and replies to legacy queries have their own TTLs.
#[test]
fn service_records_have_the_requested_ttl() {
    let mut bench = Bench::new(1);
    bench.responder.set_service_ttl(30);
    bench.set_link(0, &["192.0.2.1/24"]);
    bench.serve("a box", 2049, &["path=/srv"]);
    bench.run(10_000);
    let all = bench.all();
    let ttls = |kind: &str, owner: &str| {
        let of = all.iter().filter(|line| {
            let words: Vec<_> = line.split(' ').collect();
            words[0] == "=" && words[1].contains(owner) && words.contains(&kind)
        });
        let mut ttls: Vec<_> = of.map(|line| line.split(' ').nth(2).unwrap()).collect();
        ttls.sort_unstable();
        ttls.dedup();
        ttls
    };
    for (kind, owner, ttl) in [
        ("SRV", "a~box._nfs", "30"),
        ("TXT", "a~box._nfs", "30"),
        ("PTR", "_nfs._tcp.local", "30"),
        ("A", "box.local", "120"),
        ("PTR", "in-addr.arpa", "120"),
    ] {
        assert_eq!(ttls(kind, owner), [ttl], "{kind} {owner}: {all:?}");
    }
    // A known answer with less than half of that TTL is answered.
    let ask = |ttl| {
        let known = format!("= _nfs._tcp.local {ttl} PTR a~box._nfs._tcp.local");
        [String::from("? _nfs._tcp.local PTR"), known]
    };
    for (ttl, is_answered) in [(14, true), (15, false)] {
        bench.settle();
        let lines = ask(ttl);
        let answers = bench.answers(&[lines[0].as_str(), lines[1].as_str()]);
        assert_eq!(!answers.is_empty(), is_answered, "{ttl}: {answers:?}");
    }
}
