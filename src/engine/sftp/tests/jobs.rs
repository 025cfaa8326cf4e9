//! copy-data and check-file, which run in the background while other requests are answered.

use super::*;
use crate::config::{JOB_COUNT_MAX, REPLY_BYTES};
use crate::engine::testing::tree::BIG_BYTES;

fn copy(from: &[u8], offset: u64, len: u64, to: &[u8], at: u64) -> Packet {
    let packet = Packet::extended(b"copy-data", 20).string(from);
    packet.u64(offset).u64(len).string(to).u64(at)
}

fn check(name: &[u8], target: &[u8], list: &[u8], offset: u64, len: u64, block: u32) -> Packet {
    let packet = Packet::extended(name, 21).string(target).string(list);
    packet.u64(offset).u64(len).u32(block)
}

/// A check-file-name request for a whole file.
fn check_name(path: &[u8], list: &[u8]) -> Packet {
    check(b"check-file-name", path, list, 0, 0, 0)
}

/// The first `count` strings of an EXTENDED_REPLY, and the rest in hexadecimal.
fn hashes(reply: &Reply, count: usize) -> (Vec<&[u8]>, String) {
    assert_eq!(reply.kind, kind::EXTENDED_REPLY, "{reply:?}");
    let mut body = Reader::new(&reply.body);
    let names = (0..count).map(|_| body.string()).collect();
    let hex = body.rest().iter().map(|byte| format!("{byte:02x}"));
    (names, hex.collect())
}

impl World {
    /// Handles of the file "big" for reading, and of a new file.
    fn pair(&mut self) -> [Vec<u8>; 2] {
        let flags = open::READ | open::WRITE | open::CREATE;
        [
            self.open_handle(open_file(b"big", open::READ)),
            self.open_handle(open_file(b"new", flags)),
        ]
    }
}

#[cfg(bare)]
#[test]
fn requests_waiting_for_disk_are_answered_alike() {
    let mut world = World::connected();
    let handle = world.open_handle(open_file(b"hello", open::READ));
    for ask in [
        || check_name(b"hello", b"sha256"),
        || open_file(b"missing", open::READ),
    ] {
        let expect = world.ask(ask());
        world.tree.host.waits_left.set(3);
        assert_eq!(world.ask(ask()), expect);
    }
    for ask in [
        check(b"check-file-handle", &handle, b"md5", 0, 0, 0),
        super::read(&handle, 6, 100),
    ] {
        let expect = world.ask(ask.clone());
        world.tree.host.waits_left.set(3);
        assert_eq!(world.ask(ask), expect);
        assert_eq!(world.tree.host.waits_left.get(), 0);
    }
}

#[test]
fn check_file_hashes_parts_and_blocks() {
    let mut world = World::connected();
    let part = check(b"check-file-name", b"hello", b"md5", 6, 5, 0);
    assert_eq!(
        hashes(&world.ask(part), 1).1,
        "7d793037a0760186574b0282f2f435e7"
    );
    let blocks = world.ask(check(b"check-file-name", b"big", b"crc32", 0, 0, 65_536));
    let all = hashes(&blocks, 1).1;
    assert_eq!(all.len(), 4 * 8);
    for (at, hash) in all.as_bytes().chunks(8).enumerate() {
        let offset = at as u64 * 65_536;
        let len = 65_536.min(BIG_BYTES as u64 - offset);
        let alone = world.ask(check(b"check-file-name", b"big", b"crc32", offset, len, 0));
        assert_eq!(hashes(&alone, 1).1.as_bytes(), hash);
    }
    // The reply cannot hold this number of hashes.
    let packet = check(b"check-file-name", b"endless", b"md5", 0, 0, 256);
    world.expect_status(packet, BadMessage);
}

#[test]
fn long_job_does_not_delay_other_requests() {
    let mut world = World::connected();
    let handle = world.open_handle(open_file(b"endless", open::READ));
    let long = REPLY_BYTES as u64 * 50;
    let packets = [
        check(b"check-file-handle", &handle, b"crc32", 0, long, 0),
        about(kind::STAT, b"hello"),
        // CLOSE makes the handle invalid at once, but the job keeps the file open.
        close(&handle),
        read(&handle, 0, 1),
        about(kind::LSTAT, b"hello"),
    ];
    let talk = world.talk(&stream(&packets), || usize::MAX);
    let kinds: Vec<_> = talk
        .replies()
        .iter()
        .map(|reply| (reply.kind, reply.id))
        .collect();
    assert_eq!(
        kinds,
        [
            (kind::ATTRS, 1),
            (kind::STATUS, 4),
            (kind::STATUS, 8),
            (kind::ATTRS, 1),
            (kind::EXTENDED_REPLY, 21)
        ]
    );
    assert!((50..60).contains(&talk.idle), "{} slices", talk.idle);
    assert_eq!(world.tree.ram().pinned, 0);
}

#[test]
fn excess_jobs_wait_and_are_answered() {
    let mut world = World::connected();
    let count = JOB_COUNT_MAX + 5;
    let packets: Vec<_> = (0..count)
        .map(|_| check_name(b"big", b"crc32"))
        .chain([about(kind::STAT, b"hello")])
        .collect();
    let expect = world.ask(packets[0].clone());
    for piece in [10, usize::MAX] {
        let talk = world.talk(&stream(&packets), || piece);
        let all = talk.replies();
        assert_eq!(all.len(), count + 1);
        assert_eq!(all.iter().filter(|reply| **reply == expect).count(), count);
    }
    assert_eq!(world.tree.ram().pinned, 0);
}

#[test]
fn shrinking_file_ends_check_file() {
    let mut world = World::connected();
    world.tree.host.shrunk_len.set(Some(5));
    let short = world.ask(check_name(b"hello", b"md5"));
    world.tree.host.shrunk_len.set(None);
    let expect = world.ask(check(b"check-file-name", b"hello", b"md5", 0, 5, 0));
    assert_eq!(short, expect);
}

#[test]
fn closed_connection_ends_its_jobs() {
    let mut world = World::connected();
    let [from, to] = world.pair();
    let packets = [
        copy(&from, 0, 0, &to, 0),
        check_name(b"big", b"md5"),
        Packet::new(kind::READ, 1),
    ];
    let mut input = stream(&packets);
    // A packet length above the maximum makes the server close the connection.
    input.extend([0xff; 4]);
    let talk = world.talk(&input, || usize::MAX);
    assert!(talk.closed.is_some());
    world.hang_up();
}
