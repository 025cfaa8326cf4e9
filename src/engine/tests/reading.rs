//! READ of the largest file and of a file that shrinks, and the orders that send data.

use super::calls::{Call, CallId};
use super::tree::ENDLESS_BYTES;
use super::{Bench, replies};
use crate::config::READ_BYTES_MAX;
use crate::engine::service::{Moved, Next};
use crate::engine::testing::driver::Engine as _;

/// Reads from the sparse file, and compares data and end-of-file flag with the file.
#[track_caller]
fn check(offset: u64, count: u32, expect: u64) {
    let mut bench = Bench::default();
    let handle = bench.handle("endless");
    let byte = |at| if at >= ENDLESS_BYTES - 5000 { b'e' } else { 0 };
    let body = bench.ask(&Call::read(&handle, offset, count)).unwrap();
    let end = offset.saturating_add(expect) >= ENDLESS_BYTES;
    assert_eq!(body.status, 0);
    assert_eq!(body.words, [expect as u32, end.into()]);
    let data = (0..expect).map(|at| byte(offset + at));
    assert!(body.bytes.iter().copied().eq(data), "the data is another");
    assert_eq!(bench.tree.ram().pinned, 0);
}

#[test]
fn largest_file_is_read_to_its_last_byte() {
    check(0x7fff_ffff_ffff_f000, 4096, 4095);
    check(ENDLESS_BYTES - 1, u32::MAX, 1);
    check(ENDLESS_BYTES, 1, 0);
    check(u64::MAX, u32::MAX, 0);
    check(1 << 40, u32::MAX, READ_BYTES_MAX.into());
}

#[test]
fn record_mark_of_transfer_includes_padding() {
    let mut bench = Bench::default();
    let handle = bench.handle("big");
    for (count, pad) in [(65_537, 3), (65_538, 2), (65_539, 1), (65_540, 0)] {
        let call = Call::read(&handle, 5, count);
        let mut session = bench.session();
        let progress = bench.with(&mut session).advance(&call.record());
        assert_eq!(progress.used, call.record().len());
        let Next::Move(transfer) = progress.next else {
            panic!("no transfer for {count} bytes");
        };
        assert_eq!((transfer.offset, transfer.len), (5, count.into()));
        assert_eq!(bench.tree.ram().pinned, 1);
        // Length of the reply before its data: RPC header, status, attributes, then count, eof and data length.
        let head = 24 + 4 + 88 + 12;
        assert_eq!(progress.produced, 4 + head as usize);
        let mark = u32::from_be_bytes(bench.buffer[..4].try_into().unwrap());
        assert_eq!(mark, 1 << 31 | (head + count + pad));
        let result = Ok(());
        let progress = bench.with(&mut session).moved(Moved { transfer, result });
        assert_eq!(bench.tree.ram().pinned, 0);
        assert_eq!(progress.next, Next::Input);
        assert_eq!(bench.buffer[..progress.produced], vec![0; pad as usize]);
    }
}

#[test]
fn replies_keep_their_order_around_an_order() {
    let mut bench = Bench::default();
    let [small, large] = ["hello", "big"].map(|path| bench.handle(path));
    let calls = [
        Call::read(&small, 0, 5).xid(1),
        Call::read(&large, 0, 100_001).xid(2),
        Call::read(&small, 6, 5).xid(3),
    ];
    let stream = calls.each_ref().map(Call::record).concat();
    let talk = bench.send(&stream);
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
    let mut bench = Bench::default();
    let hello = bench.handle("hello");
    for (cut, data) in [(4, &b"hell"[..]), (0, b"")] {
        bench.tree.host.shrunk_len.set(Some(cut));
        let body = bench.ask(&Call::read(&hello, 0, 11)).unwrap();
        assert_eq!((body.status, &body.bytes[..]), (0, data));
        assert_eq!(body.words, [cut as u32, 1]);
    }
}
