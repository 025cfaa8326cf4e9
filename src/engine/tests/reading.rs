//! READ at the limits: end of file, 64-bit offsets, and the largest reply that is copied into the buffer.

use super::calls::{Call, CallId};
use super::tree::{BIG_BYTES, ENDLESS_BYTES, big_byte};
use super::{World, replies};
use crate::config::{READ_BYTES_MAX, READ_INLINE_BYTES};
use crate::engine::{Order, State};

/// Reads, and compares data and end-of-file flag with the file.
#[track_caller]
fn check(path: &str, size: u64, byte: fn(u64) -> u8, offset: u64, count: u32, expect: u64) {
    let mut world = World::default();
    let handle = world.handle(path);
    let body = world.ask(&Call::read(&handle, offset, count)).unwrap();
    let end = offset.saturating_add(expect) >= size;
    assert_eq!(body.status, 0);
    assert_eq!(body.words, [expect as u32, end.into()]);
    let data = (0..expect).map(|at| byte(offset + at));
    assert!(body.bytes.iter().copied().eq(data), "the data is another");
    assert_eq!(world.tree.ram().pinned, 0);
}

fn hello(offset: u64, count: u32, expect: u64) {
    check(
        "hello",
        11,
        |at| b"hello world"[at as usize],
        offset,
        count,
        expect,
    );
}

fn big(offset: u64, count: u32, expect: u64) {
    check(
        "big",
        BIG_BYTES as u64,
        |at| big_byte(at as usize),
        offset,
        count,
        expect,
    );
}

fn endless(offset: u64, count: u32, expect: u64) {
    let byte = |at| if at >= ENDLESS_BYTES - 5000 { b'e' } else { 0 };
    check("endless", ENDLESS_BYTES, byte, offset, count, expect);
}

#[test]
fn read_ends_at_end_of_file() {
    for (offset, count, expect) in [
        (0, 0, 0),
        (0, 1, 1),
        (0, 10, 10),
        (0, 11, 11),
        (0, 12, 11),
        (3, 8, 8),
        (10, 100, 1),
        (11, 0, 0),
        (11, 1, 0),
        (12, 1, 0),
        (0, u32::MAX, 11),
    ] {
        hello(offset, count, expect);
    }
}

#[test]
fn offset_beyond_end_reads_nothing() {
    for offset in [
        1 << 32,
        0x7fff_ffff_ffff_f000,
        i64::MAX as u64,
        1 << 63,
        u64::MAX,
    ] {
        for count in [0, 1, 4096, u32::MAX] {
            hello(offset, count, 0);
        }
    }
}

#[test]
fn largest_file_is_read_to_its_last_byte() {
    endless(0x7fff_ffff_ffff_f000, 4096, 4095);
    endless(ENDLESS_BYTES - 1, u32::MAX, 1);
    endless(ENDLESS_BYTES, 1, 0);
    endless(u64::MAX, u32::MAX, 0);
    endless(1 << 40, u32::MAX, READ_BYTES_MAX.into());
}

#[test]
fn inline_and_ordered_reads_have_equal_replies() {
    let inline = READ_INLINE_BYTES;
    for count in [
        inline - 1,
        inline,
        inline + 1,
        inline + 2,
        inline + 3,
        inline + 4,
    ] {
        big(1, count, count.into());
    }
    big(0, u32::MAX, BIG_BYTES as u64);
    big(0, BIG_BYTES as u32, BIG_BYTES as u64);
    big(BIG_BYTES as u64 - 70_001, 100_000, 70_001);
    big(BIG_BYTES as u64 - 9, 100_000, 9);
}

#[test]
fn record_mark_of_order_includes_padding() {
    let mut world = World::default();
    let handle = world.handle("big");
    for (count, pad) in [(65_537, 3), (65_538, 2), (65_539, 1), (65_540, 0)] {
        let call = Call::read(&handle, 5, count);
        let mut session = World::session();
        let mut progress = world.advance(&mut session, &call.record());
        assert_eq!(progress.consumed, call.record().len());
        let order = progress.take_order().expect("an order");
        let Order::Send { offset, len, .. } = &order else {
            panic!("another order for {count} bytes");
        };
        assert_eq!((*offset, *len), (5, count));
        assert_eq!(world.tree.ram().pinned, 1);
        // Length of the reply before its data: RPC header, status, attributes, then count, eof and data length.
        let head = 24 + 4 + 88 + 12;
        assert_eq!(progress.produced, 4 + head as usize);
        let mark = u32::from_be_bytes(world.buffer[..4].try_into().unwrap());
        assert_eq!(mark, 1 << 31 | (head + count + pad));
        let progress = world.done(&mut session, order, Ok(()));
        assert_eq!(world.tree.ram().pinned, 0);
        assert_eq!(progress.state, State::NeedInput);
        assert_eq!(world.buffer[..progress.produced], vec![0; pad as usize]);
    }
}

#[test]
fn replies_keep_their_order_around_an_order() {
    let mut world = World::default();
    let [small, large] = ["hello", "big"].map(|path| world.handle(path));
    let calls = [
        Call::read(&small, 0, 5).xid(1),
        Call::read(&large, 0, 100_001).xid(2),
        Call::read(&small, 6, 5).xid(3),
    ];
    let stream = calls.each_ref().map(Call::record).concat();
    let talk = world.send(&stream);
    let answers = replies::records(&talk.output).unwrap();
    let bytes: Vec<Vec<u8>> = answers
        .iter()
        .zip(&calls)
        .map(|(answer, call)| {
            let asked = CallId::of(&call.0).unwrap();
            replies::parse(answer, asked).unwrap().unwrap().bytes
        })
        .collect();
    assert_eq!(bytes[0], b"hello");
    assert_eq!(bytes[1].len(), 100_001);
    assert_eq!(bytes[2], b"world");
}

#[test]
fn shrunken_file_is_read_to_its_new_end() {
    let mut world = World::default();
    let hello = world.handle("hello");
    for (cut, data) in [(4, &b"hell"[..]), (0, b"")] {
        world.tree.host.shrunk_len.set(Some(cut));
        let body = world.ask(&Call::read(&hello, 0, 11)).unwrap();
        assert_eq!((body.status, &body.bytes[..]), (0, data));
        assert_eq!(body.words, [cut as u32, 1]);
    }
}
