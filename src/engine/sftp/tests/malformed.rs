//! Malformed packets and random bytes.

use super::*;
use crate::config::{PACKET_BYTES_MAX, PACKET_WHOLE_BYTES_MAX};
use cases::mutate::mutate;
use cases::random::{Random, for_seeds};
use cases::sftp::{Opened, Request};

/// Sends these bytes to a session after INIT, and closes it. Fails if a file is still pinned then.
fn send_and_close(input: &[u8], piece: usize) -> (World, crate::engine::sftp::testing::Talk) {
    let mut world = World::connected();
    let talk = world.talk(input, || piece);
    world.hang_up();
    (world, talk)
}

/// A request of every type, which succeed in this order.
fn every(world: &mut World) -> Vec<Packet> {
    let opened = Opened::new(|request| world.exchange(request, usize::MAX)).unwrap();
    let known =
        |request: &&Request<'_>| !matches!(request, Request::Other(..) | Request::Extended(..));
    let requests = opened.requests();
    let known = requests.iter().filter(known);
    known.map(|request| Packet(request.message(2))).collect()
}

#[test]
fn truncated_request_is_a_bad_message() {
    let mut world = World::of_table(Permits::default());
    for packet in every(&mut world) {
        // Type and id (5 bytes) are always present.
        for len in 5..packet.0.len() {
            let part = Packet(packet.0[..len].to_vec());
            world.expect_status(part, BadMessage);
        }
        // The first string: a path, a handle or the name of an extension.
        let len = u32::from_be_bytes(packet.0[5..9].try_into().unwrap());
        for wrong in [
            packet.0.len() as u32 - 8,
            len | 1 << 24,
            len | 1 << 31,
            u32::MAX,
        ] {
            let mut beyond = packet.clone();
            beyond.0[5..9].copy_from_slice(&wrong.to_be_bytes());
            world.expect_status(beyond, BadMessage);
        }
        let id = u32::from_be_bytes(packet.0[1..5].try_into().unwrap());
        let reply = world.ask(packet.clone());
        let failed = reply.kind == kind::STATUS && reply.body[..4] != [0; 4];
        assert!(reply.id == id && !failed, "{packet:?}: {reply:?}");
    }
    world.hang_up();
}

#[test]
fn bytes_after_a_request_are_ignored() {
    let mut world = World::of_table(Permits::default());
    for packet in every(&mut world) {
        let reply = world.ask(packet.clone().raw(&[0xff; 500]));
        let failed = reply.kind == kind::STATUS && reply.body[..4] != [0; 4];
        assert!(!failed, "{packet:?}: {reply:?}");
    }
}

#[test]
fn invalid_packet_length_closes_the_connection() {
    const LENGTH: &str = "a packet is empty, or longer than any request";
    for (head, why) in [
        (&b"\0\0\0\0"[..], LENGTH),
        (b"\0\x04\0\x01\x05", LENGTH),
        (b"\xff\xff\xff\xff", LENGTH),
        (b"\x80\0\0\0\x06\0\0\0\x01", LENGTH),
        (b"\x01\0\0\0\xc8\0\0\0\x01", LENGTH),
        (b"\x7f\xff\xff\xff\x05\0\0\0\x01", LENGTH),
        (b"\0\0\0\x01\x05", "a packet has no request id"),
        (b"\0\0\0\x04\x05\0\0\0", "a packet has no request id"),
        (b"\0\0\0\x04\x01\0\0\0", "a packet has no request id"),
    ] {
        let input = [&about(kind::STAT, b"hello").bytes()[..], head].concat();
        for piece in [1, usize::MAX] {
            let (_, talk) = send_and_close(&input, piece);
            assert_eq!(talk.closed, Some(why));
            assert_eq!(talk.replies().len(), 1, "what came before is answered");
        }
    }
    // A packet that is one byte shorter is accepted.
    let longest = Packet::new(77, 1).raw(&vec![0; PACKET_BYTES_MAX as usize - 5]);
    let (_, talk) = send_and_close(&longest.bytes(), usize::MAX);
    assert_eq!((talk.closed, statuses(&talk.output)), (None, vec![8]));
}

#[test]
fn session_without_init_is_closed() {
    for packet in [
        about(kind::STAT, b"hello"),
        Packet::new(255, 1),
        Packet::extended(b"x", 1),
    ] {
        let mut world = World::new(
            Tree::writable(),
            Permits::default(),
            Level::default(),
            Memory::leaked(),
        );
        let talk = world.talk(&stream(&[packet, Packet::init()]), || usize::MAX);
        assert_eq!(talk.closed, Some("the session did not start with INIT"));
        assert!(talk.output.is_empty());
    }
}

#[test]
fn any_init_gets_version_3() {
    let mut world = World::connected();
    let handle = world.open_handle(open_file(b"hello", open::READ));
    for version in [0, 1, 3, 4, 6, u32::MAX] {
        for extensions in [&b""[..], b"\0\0\0\x07newline\0\0\0\x01\n", &[0xff; 200_000]] {
            let init = Packet(vec![kind::INIT]).u32(version).raw(extensions);
            let input = stream(&[init, about(kind::STAT, b"hello")]);
            let replies = world.talk(&input, || usize::MAX).replies();
            assert_eq!((replies[0].kind, replies[0].id), (kind::VERSION, 3));
            assert_eq!((replies.len(), replies[1].kind), (2, kind::ATTRS));
        }
    }
    assert_eq!(
        world.ask(read(&handle, 0, 5)).kind,
        kind::DATA,
        "INIT closes no handle"
    );
}

#[test]
fn oversized_request_is_refused_and_skipped() {
    let path = vec![b'x'; PACKET_WHOLE_BYTES_MAX as usize - 9];
    for piece in [1000, usize::MAX] {
        let fits = about(kind::STAT, &path);
        assert_eq!(fits.0.len(), PACKET_WHOLE_BYTES_MAX as usize);
        let beyond = about(kind::STAT, b"hello").raw(&path);
        let longest = Packet::extended(b"limits@openssh.com", 1).raw(&[0; 250_000]);
        let packets = [fits, beyond, longest, about(kind::STAT, b"hello")];
        let (_, talk) = send_and_close(&stream(&packets), piece);
        let all = talk.replies();
        assert_eq!((talk.closed, all.len()), (None, 4));
        for reply in &all[..3] {
            assert_eq!(
                (reply.kind, &reply.body[..4]),
                (kind::STATUS, &[0, 0, 0, 5][..])
            );
        }
        assert_eq!(all[3].kind, kind::ATTRS);
    }
}

#[test]
fn excess_attribute_count_is_a_bad_message() {
    let mut world = World::connected();
    let endless = b"\x80\0\0\0\xff\xff\xff\xff";
    let handle = world.open_handle(open_file(b"hello", open::READ | open::WRITE));
    for packet in [
        about(kind::FSETSTAT, &handle),
        about(kind::SETSTAT, b"hello"),
        about(kind::MKDIR, b"new"),
        about(kind::OPEN, b"hello").u32(open::READ),
        openssh("lsetstat", &[b"hello"]),
    ] {
        world.expect_status(packet.clone().raw(endless), BadMessage);
        let pairs = packet.clone().raw(endless).raw(&[0; 39_000]);
        world.expect_status(pairs, BadMessage);
        world.does_or_opens(packet.raw(b"\x80\0\0\0\0\0\0\x02").raw(&[0; 16]));
    }
}

#[test]
fn request_ids_may_repeat() {
    let mut world = World::connected();
    let packets = vec![about(kind::STAT, b"hello"); 300];
    let talk = world.talk(&stream(&packets), || usize::MAX);
    let all = talk.replies();
    assert_eq!(all.len(), 300);
    assert!(all.iter().all(|reply| *reply == all[0]));
}

impl World {
    #[track_caller]
    fn does_or_opens(&mut self, packet: Packet) {
        let reply = self.ask(packet);
        assert!(
            reply.kind == kind::HANDLE || reply.body[..4] == [0; 4],
            "{reply:?}"
        );
    }
}

#[test]
fn random_bytes_are_answered_or_close_connection() {
    for_seeds(300, |seed| {
        let mut random = Random::new(seed);
        let mut world = World::of_table(Permits::default());
        let packets = every(&mut world);
        let input: Vec<_> = (0..30)
            .flat_map(|_| {
                let mut bytes = random.pick(&packets).bytes();
                let other = random.pick(&packets).bytes();
                for _ in 0..random.below(4) {
                    mutate(&mut random, &mut bytes, &other, 1);
                }
                bytes
            })
            .collect();
        let talk = world.talk(&input, || random.below(3000) >> random.below(10));
        for reply in talk.replies() {
            // The request is unknown here, but the reply must be valid for some type.
            assert!(
                reply.kind == kind::VERSION || reply.parse().is_ok(),
                "{reply:?}"
            );
        }
        world.hang_up();
        world.tree.ram().check();
    });
}

#[test]
fn random_pieces_give_equal_replies() {
    for_seeds(100, |seed| {
        let mut random = Random::new(seed);
        let mut whole = World::of_table(Permits::default());
        let mut packets = every(&mut whole);
        // Copies and checks run in the background and are answered when they end, so the order of their replies varies.
        packets.retain(|packet| {
            !packet
                .0
                .windows(5)
                .any(|part| part == b"check" || part == b"copy-")
        });
        let script: Vec<_> = (0..40).map(|_| random.pick(&packets).clone()).collect();
        let input = stream(&script);
        let expect = whole.talk(&input, || usize::MAX).output;
        let mut pieces = World::of_table(Permits::default());
        every(&mut pieces);
        let talk = pieces.talk(&input, || random.below(2000) >> random.below(10));
        assert!(talk.output == expect);
        whole.hang_up();
        pieces.hang_up();
        assert!(whole.tree.ram().is_like(&pieces.tree.ram()));
    });
}
