//! READ.

use super::*;
use crate::config::{PACKET_DATA_BYTES_MAX, REPLY_BYTES};
use crate::engine::testing::tree::{ENDLESS_BYTES, big_byte};
use crate::wire::sftp::HEAD_BYTES;

fn big(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(big_byte).collect()
}

#[test]
fn empty_read_succeeds_and_oversized_read_is_cut() {
    let mut world = World::connected();
    let handle = world.open_handle(open_file(b"endless", open::READ));
    for offset in [0, 1 << 40, i64::MAX as u64] {
        let reply = world.ask(read(&handle, offset, 0));
        assert_eq!((reply.kind, &reply.body[..]), (kind::DATA, &[0; 4][..]));
    }
    for len in [PACKET_DATA_BYTES_MAX, PACKET_DATA_BYTES_MAX + 1, u32::MAX] {
        let reply = world.ask(read(&handle, 5, len));
        assert_eq!(reply.body.len(), 4 + PACKET_DATA_BYTES_MAX as usize);
    }
    let reply = world.ask(read(&handle, ENDLESS_BYTES - 10, 10));
    assert_eq!(reply.body[4..], [b'e'; 10]);
    for offset in [ENDLESS_BYTES - 9, ENDLESS_BYTES, 1 << 63, u64::MAX] {
        world.expect_status(read(&handle, offset, 10), BadMessage);
    }
}

#[test]
fn shrunk_file_shortens_a_read_of_any_size() {
    let mut world = World::connected();
    let handle = world.open_handle(open_file(b"big", open::READ));
    world.tree.host.shrunk_len.set(Some(1000));
    for len in [30_000, 100_000] {
        let reply = world.ask(read(&handle, 900, len));
        assert!(reply.body[4..] == big(900, 100));
        world.expect_status(read(&handle, 1000, len), Eof);
    }
    world.hang_up();
}

#[test]
fn small_output_shortens_a_large_read() {
    let mut world = World::connected();
    world.limit_output(REPLY_BYTES);
    let handle = world.open_handle(open_file(b"big", open::READ));
    let packets = [read(&handle, 0, 10), read(&handle, 3, 200_000)];
    let talk = world.talk(&stream(&packets), || usize::MAX);
    let there = REPLY_BYTES - HEAD_BYTES - 4;
    let lens: Vec<_> = talk.replies().iter().map(|it| it.body.len() - 4).collect();
    assert_eq!(lens, [10, there]);
    assert!(talk.replies()[1].body[4..] == big(3, there));
}

#[test]
fn pipelined_reads_are_answered_in_order() {
    let mut world = World::connected();
    let handle = world.open_handle(open_file(b"big", open::READ));
    let sizes = [
        10, 65_536, 32_768, 65_000, 100_000, 1, 70_000, 32_768, 32_768,
    ];
    let packets: Vec<_> = sizes
        .iter()
        .enumerate()
        .map(|(at, len)| {
            Packet::new(kind::READ, at as u32)
                .string(&handle)
                .u64(at as u64 * 1000)
                .u32(*len)
        })
        .collect();
    let talk = world.talk(&stream(&packets), || usize::MAX);
    let all = talk.replies();
    assert_eq!(all.len(), sizes.len());
    for (at, (reply, len)) in all.iter().zip(sizes).enumerate() {
        assert_eq!((reply.kind, reply.id), (kind::DATA, at as u32));
        assert!(reply.body[4..] == big(at * 1000, len as usize), "{at}");
    }
}
