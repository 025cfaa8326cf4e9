//! Message headers, and the encoding of names.

use super::bench::{Bench, LEGACY, PEER};
use super::script::{lines, message, query, response};
use crate::wire::dns::flag;

/// Returns all messages that a responder sends from start to goodbye.
fn life() -> Vec<Vec<u8>> {
    let mut bench = Bench::up(1);
    bench.serve("a box", 2049, &["path=/srv"]);
    bench.run(5000);
    for question in [
        "? box.local ANY",
        "? _nfs._tcp.local PTR",
        "? box.local TXT",
    ] {
        bench.hear_query(&[question]);
        bench.run(2000);
    }
    bench.goodbye();
    bench.run(100);
    bench.sent.into_iter().map(|sent| sent.bytes).collect()
}

/// RFC 6762 section 18.1: "the Query Identifier MUST be set to zero on transmission".
/// RFC 6762 section 18.2: "In query messages the QR bit MUST be zero", "In response messages the QR bit MUST be one".
/// RFC 6762 section 18.3: "the OPCODE MUST be zero on transmission".
/// RFC 6762 section 18.4: "In query messages, the Authoritative Answer bit MUST be zero", "In response messages … MUST be set to
/// one".
/// RFC 6762 section 18.5: "In multicast response messages, the TC bit MUST be zero on transmission".
/// RFC 6762 section 18.6, 18.7, 18.8, 18.9, 18.10: RD, RA, Z, AD and CD are zero on transmission.
/// RFC 6762 section 18.11: "the Response Code MUST be zero on transmission".
/// RFC 6762 section 6: "Multicast DNS responses MUST NOT contain any questions in the Question Section".
/// RFC 6762 section 8.1: probes are queries, announcements are responses.
#[test]
fn sent_headers_have_the_required_flags() {
    let (mut queries, mut responses) = (0, 0);
    for bytes in life() {
        assert_eq!(bytes[..2], [0, 0]);
        let flags = u16::from_be_bytes([bytes[2], bytes[3]]);
        if lines(&bytes)[0].starts_with('?') {
            queries += 1;
            assert_eq!(flags, 0);
        } else {
            responses += 1;
            assert_eq!(flags, flag::RESPONSE | flag::AUTHORITATIVE);
            assert_eq!(bytes[4..6], [0, 0]);
        }
    }
    assert!(queries >= 3 && responses >= 6, "{queries} {responses}");
}

/// RFC 6762 section 18.3: "messages received with an OPCODE other than zero MUST be silently ignored".
/// RFC 6762 section 18.11: "messages received with non-zero Response Codes MUST be silently ignored".
#[test]
fn nonzero_opcodes_and_response_codes_are_ignored() {
    let mut bench = Bench::serving(1);
    for flags in [0x0800u16, 0x2800, 0x7800, 0x0001, 0x000f] {
        let asked = message(flags, 0, &["? box.local A"]);
        assert_eq!(bench.hear(PEER, &asked), None);
        assert_eq!(bench.hear(LEGACY, &asked), None);
        let rival = &["= box.local 120 flush A 192.0.2.77"];
        bench.hear(PEER, &message(flags | flag::RESPONSE, 0, rival));
        bench.run(2000);
        assert!(bench.sent.is_empty(), "{flags:x}");
    }
}

/// RFC 6762 section 18.1: the identifier "MUST be ignored on reception".
/// RFC 6762 section 18.4, 18.5, 18.6, 18.7, 18.8, 18.9, 18.10: AA, TC, RD, RA, Z, AD and CD "MUST be ignored on reception".
#[test]
fn received_id_and_reserved_flags_are_ignored() {
    let mut bench = Bench::serving(1);
    for flags in [0x0400u16, 0x0100, 0x0080, 0x0040, 0x0020, 0x0010, 0x05f0] {
        bench.run(3000);
        bench.sent.clear();
        bench.hear(PEER, &message(flags, 0x1234, &["? box.local A"]));
        assert_eq!(bench.sent.len(), 1, "{flags:x}");
    }
    // All these flags and the TC bit are also ignored in a response: its conflicting record restarts probing.
    let all = flag::RESPONSE | flag::TRUNCATED | 0x01f0;
    bench.sent.clear();
    bench.hear(
        PEER,
        &message(all, 7, &["= box.local 120 flush A 192.0.2.77"]),
    );
    bench.run(300);
    assert_eq!(bench.sent[0].lines()[0], "? box.local ANY QU");
}

/// RFC 6762 section 6: "Any questions in the Question Section of a received Multicast DNS response MUST be silently ignored".
/// RFC 6762 section 6: "MUST silently ignore any Multicast DNS responses they receive where the source UDP port is not 5353".
#[test]
fn responses_with_questions_or_other_ports_are_ignored() {
    let mut bench = Bench::serving(1);
    let asks = response(&["? box.local A", "= cat.local 120 flush A 192.0.2.9"]);
    let rival = response(&["= box.local 120 flush A 192.0.2.77"]);
    for (from, bytes) in [(PEER, asks), (LEGACY, rival)] {
        bench.hear(from, &bytes);
        bench.run(5000);
        assert!(bench.sent.is_empty(), "{from}");
    }
}

/// RFC 6762 section 6: "MUST only accept unicast responses if they answer a recently sent query … that explicitly requested
/// unicast responses", "MUST silently ignore all other unicast responses".
/// RFC 6762 section 11: responses from outside the link are ignored.
#[test]
fn unicast_responses_count_only_while_probing() {
    use crate::engine::mdns::Destination;
    let rival = response(&["= box.local 120 flush A 192.0.2.77"]);
    let mut bench = Bench::serving(1);
    bench.hear_on(0, PEER, Destination::Unicast, &rival);
    bench.run(5000);
    assert!(bench.sent.is_empty());
    let mut bench = Bench::up(1);
    bench.run(300);
    bench.hear_on(0, "198.51.100.1:5353", Destination::Unicast, &rival);
    bench.hear_on(0, "198.51.100.1:5353", Destination::Unknown, &rival);
    assert_eq!(bench.host(), "box");
    bench.hear_on(0, PEER, Destination::Unicast, &rival);
    assert_eq!(bench.host(), "box-2");
}

/// RFC 6762 section 18.14: "MUST correctly decode compressed names appearing in the Question Section".
#[test]
fn compressed_names_in_questions_are_decoded() {
    let mut bench = Bench::serving(1);
    let mut asked = query(&["? box.local A"]);
    // Add a second question whose name ends with a pointer to `local` in the first question.
    asked[5] = 2;
    asked.extend_from_slice(b"\x03cat\xc0\x10\0\x01\0\x01");
    bench.hear(PEER, &asked);
    assert_eq!(
        bench.sent[0].lines()[0],
        "= box.local 120 flush A 192.0.2.1"
    );
    asked[5] = 3;
    asked.extend_from_slice(b"\xc0\x0c\0\x1c\0\x01");
    bench.run(3000);
    bench.sent.clear();
    bench.hear(PEER, &asked);
    assert_eq!(bench.sent[0].lines().len(), 2);
}

/// RFC 6762 section 16: ASCII letters in names compare without case, all other characters compare exactly.
#[test]
fn queried_names_match_without_ascii_case() {
    let mut bench = Bench::serving(1);
    bench.expect_answer("? BoX.LOCAL A", "= box.local 120 flush A 192.0.2.1");
    bench.serve("Käse", 1, &[]);
    bench.settle();
    assert!(
        !bench
            .answers(&["? kÄse._nfs._tcp.local SRV"])
            .iter()
            .any(|line| line.starts_with('='))
    );
    assert!(!bench.answers(&["? KäSE._nfs._tcp.local SRV"]).is_empty());
}

/// RFC 6763 section 6: "Every DNS-SD service MUST have a TXT record in addition to its SRV record".
/// RFC 6763 section 6.1: "DNS-SD implementations MUST NOT emit empty TXT records".
#[test]
fn service_without_texts_has_a_nonempty_txt_record() {
    let mut bench = Bench::up(1);
    bench.serve("plain", 1, &[]);
    bench.settle();
    bench.hear_query(&["? plain._nfs._tcp.local TXT"]);
    let bytes = &bench.sent[0].bytes;
    assert!(bytes.ends_with(&[0, 1, 0]), "{bytes:?}");
}
