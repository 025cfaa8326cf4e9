//! Neighbours that send what nobody should: nothing is answered that must not be, nothing grows, nothing spins.

use super::script::{message, query, response, truncated};
use super::world::{LEGACY, PEER, World};
use crate::engine::mdns::Cast;

/// An answer to port 0 would go nowhere, and once ended a server.
#[test]
fn nobody_has_port_0() {
    let mut world = World::serving(1);
    assert_eq!(world.hear("192.0.2.9:0", &query(&["? box.local A"])), None);
    assert!(world.sent.is_empty());
}

#[test]
fn nothing_at_all_is_no_message() {
    let mut world = World::serving(1);
    for bytes in [
        &[][..],
        &[0],
        &[0; 11],
        &[0; 12],
        &[0xff; 12],
        &[0xff; 9000],
    ] {
        assert_eq!(world.hear(PEER, bytes), None);
        assert_eq!(world.hear(LEGACY, bytes), None);
    }
    world.run(2000);
    assert!(world.sent.is_empty());
}

/// Who asks from beyond the link is not answered: he may not be who he says.
#[test]
fn legacy_queries_from_beyond_the_link_get_no_answer() {
    let mut world = World::serving(1);
    for from in [
        "198.51.100.1:40000",
        "[2001:db8::1]:40000",
        "127.0.0.1:40000",
    ] {
        for cast in [Cast::Multicast, Cast::Unicast, Cast::Unknown] {
            assert_eq!(
                world.hear_on(0, from, cast, &query(&["? box.local A"])),
                None
            );
        }
    }
    world.run(2000);
    assert!(world.sent.is_empty());
    assert!(world.reply("[fe80::9]:40000", &["? box.local A"]).is_some());
}

/// Names that look like ours and are not.
#[test]
fn odd_names_are_nobodys() {
    let mut world = World::serving(1);
    for question in [
        "? box A",
        "? box..local A",
        "? . A",
        "? . ANY",
        "? .box.local A",
        "? box.local.a A",
    ] {
        assert_eq!(world.hear(PEER, &query(&[question])), None, "{question}");
    }
    let long = format!("? {}.local A", ["x".repeat(60).as_str(); 4].join("."));
    assert_eq!(world.hear(PEER, &query(&[&long])), None);
    let deep = format!("? {}box.local A", "a.".repeat(100));
    assert_eq!(world.hear(PEER, &query(&[&deep])), None);
    assert!(world.sent.is_empty());
}

/// Our names with content that makes no sense.
#[test]
fn broken_content_is_passed_over() {
    let mut world = World::up(1);
    world.run(300);
    for kind in [1u16, 12, 16, 28, 33, 47] {
        for data in [
            &b""[..],
            b"\xc0",
            b"\xc0\xff",
            b"\x05ab",
            b"\0\0\0\0\0\0\xc0\x0c",
        ] {
            let mut bytes = response(&["= box.local 0 flush TXT a"]);
            bytes.truncate(bytes.len() - 4);
            let at = bytes.len();
            bytes.extend_from_slice(&(data.len() as u16).to_be_bytes());
            bytes.extend_from_slice(data);
            // The kind stands eight bytes before the length.
            bytes[at - 8..at - 6].copy_from_slice(&kind.to_be_bytes());
            world.hear(PEER, &bytes);
        }
    }
    world.run(5000);
    assert_eq!(world.host(), "box");
}

/// RFC 6762 section 6.1: "MUST NOT ignore an entire message just because that message contains one or more NSEC record(s) that
/// the Multicast DNS implementation cannot parse".
/// RFC 6762 section 6.1: "MUST NOT reject or ignore an NSEC record it receives just because it finds an unexpected value in the
/// 'Next Domain Name' field".
#[test]
fn a_broken_denial_leaves_the_others_alone() {
    let mut world = World::up(1);
    world.run(300);
    let mut bytes = response(&["= cat.local 120 flush NSEC cat.local A"]);
    // Its name leads nowhere, and its map is longer than it.
    let at = bytes.len() - 14;
    bytes[at..].fill(0xff);
    bytes[7] = 2;
    let rival = response(&["= box.local 120 flush A 192.0.2.77"]);
    bytes.extend_from_slice(&rival[12..]);
    world.hear(PEER, &bytes);
    assert_eq!(world.host(), "box-2");
}

/// Spoofed senders that all have more known answers to send.
#[test]
fn many_who_never_end_their_lists_keep_nobody_waiting() {
    let mut world = World::serving(1);
    let pointer = "= _nfs._tcp.local 4500 PTR a~box._nfs._tcp.local";
    for number in 0..5000u32 {
        let from = format!("192.0.2.{}:5353", 2 + number % 250);
        world.hear(&from, &truncated(&["? _nfs._tcp.local PTR"]));
        if number % 3 == 0 {
            world.hear(&from, &truncated(&[pointer]));
        }
        if number % 10 == 0 {
            world.run(10);
        }
    }
    // Five seconds: it was told about once a second.
    let told = world
        .all()
        .into_iter()
        .filter(|line| line == pointer)
        .count();
    assert!((3..=6).contains(&told), "{told}");
}

#[test]
fn a_flood_is_answered_once_a_second() {
    let mut world = World::serving(1);
    for round in 0..10_000 {
        world.hear(
            "192.0.2.66:5353",
            &query(&["? box.local A", "? _nfs._tcp.local PTR"]),
        );
        if round % 10 == 0 {
            world.run(10);
        }
        // Another one is answered all the same.
        if round % 100 == 0 {
            assert!(world.reply("192.0.2.7:41000", &["? box.local A"]).is_some());
        }
    }
    assert!(world.sent.len() < 25, "{}", world.sent.len());
}

#[test]
fn as_many_questions_as_a_message_holds() {
    let mut world = World::serving(1);
    let mut lines = vec!["? box.local A"; 300];
    lines.extend(vec!["? _nfs._tcp.local PTR"; 200]);
    world.hear(PEER, &query(&lines));
    world.run(2000);
    assert_eq!(world.sent.len(), 1);
    // To him alone: what fits.
    let reply = world.hear(LEGACY, &query(&lines[270..310])).unwrap();
    assert!(reply.len() <= 1452);
    // His questions alone are more than a message.
    assert_eq!(world.hear(LEGACY, &query(&lines)), None);
}

/// Seeded: messages of ours and of others, damaged, at any time. Nothing panics, and names stay in use.
#[test]
fn damaged_messages_do_no_harm() {
    use crate::engine::trial::random::{Random, for_seeds};
    let good = [
        query(&["? box.local ANY QU", "! box.local 120 A 192.0.2.77"]),
        query(&[
            "? _nfs._tcp.local PTR",
            "= _nfs._tcp.local 4500 PTR a~box._nfs._tcp.local",
        ]),
        truncated(&["? a~box._nfs._tcp.local SRV", "? box.local AAAA"]),
        response(&[
            "= box.local 120 flush A 192.0.2.77",
            "+ box.local 120 flush NSEC box.local A",
        ]),
        response(&["= a~box._nfs._tcp.local 120 flush SRV 1 cat.local"]),
        message(0x0100, 9, &["? 1.2.0.192.in-addr.arpa PTR"]),
    ];
    for_seeds(100, |seed| {
        let mut random = Random::new(seed);
        let mut world = World::up(seed as u8 | 1);
        world.serve("a box", 2049, &["path=/srv"]);
        for _ in 0..300 {
            let mut bytes = random.pick(&good).clone();
            for _ in 0..random.below(4) {
                let at = random.below(bytes.len());
                bytes[at] = random.number() as u8;
            }
            if random.below(8) == 0 {
                bytes.truncate(random.below(bytes.len()));
            }
            let from = *random.pick(&[PEER, LEGACY, "[fe80::9]:5353", "192.0.2.1:5353"]);
            let cast = *random.pick(&[Cast::Multicast, Cast::Unicast, Cast::Unknown]);
            world.hear_on(0, from, cast, &bytes);
            world.run(random.below(400) as u64);
            world.sent.clear();
        }
        world.run(120_000);
        let name = format!("? {}.local A", world.host());
        assert!(!world.answers(&[&name]).is_empty());
    });
}
