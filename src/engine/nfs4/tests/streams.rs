//! COMPOUNDs that are longer than the input buffer: what arrives is carried out, and the rest is read from the stream.

use super::super::super::testing::calls::Call;
use super::{Bench, ROOT, Results, Server, Tree, bench, bitmap, getattr, lookup, op, opaque, with};
use super::{create_session, exchange_id, replies};
use crate::config::WRITE_BYTES_MAX;
use crate::time::Instant;
use crate::wire::nfs4::Status;
use cases::nfs4::Op;

const HELLO: &[u8] = b"hello world";
/// Limits of a session: 64 operations.
const FORE: [u32; 6] = [0, 1 << 21, 1 << 20, 1000, 64, 64];

fn request(ops: &[Op]) -> Call {
    let call = Call::new(100_003, 4, 1).opaque(b"");
    call.words(&[1, ops.len() as u32]).words(&ops.concat())
}

/// A request of slot 0 of the first session, whose reply is kept if `keep` is 1.
fn of_session(sequence: u32, keep: u32, ops: &[Op]) -> Call {
    let head = with(op::SEQUENCE, &[5, 6, 32, 16, sequence, 0, 0, keep]);
    request(&[&[head], ops].concat())
}

/// A server with a session of a client that has reclaimed.
fn begun() -> Bench {
    let mut bench = bench();
    let begin = [
        request(&[exchange_id("owner", 1, 0)]),
        request(&[create_session([5, 16], 1, &FORE)]),
        of_session(1, 0, &[with(op::RECLAIM_COMPLETE, &[0])]),
    ];
    for call in begin {
        assert_eq!(bench.reply(&call)[24..28], [0; 4]);
    }
    bench
}

fn way(name: &str) -> Vec<Op> {
    vec![vec![ROOT], lookup("export"), lookup(name)]
}

/// An anonymous WRITE.
fn write(offset: usize, stable: u32, data: &[u8]) -> Op {
    let head = [op::WRITE, 0, 0, 0, 0, 0, offset as u32, stable];
    [&head[..], &opaque(data)].concat()
}

fn data(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 % 251) as u8).collect()
}

/// Stores data at an offset of a model of a file.
fn put(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    file.resize(file.len().max(offset + bytes.len()), 0);
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

fn content(bench: &mut Bench, mut sequence: u32, path: &str, len: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < len {
        let read = super::read(0, all.len() as u32, 60_000);
        let ops = [&way(path)[..], &[read]].concat();
        let reply = bench.reply(&of_session(sequence, 0, &ops));
        sequence += 1;
        let results = Results::parse(&reply[24..]).unwrap();
        let [(count, _)] = results.reads[..] else {
            panic!("{results:?}");
        };
        let start = reply.len() - (count as usize).next_multiple_of(4);
        all.extend(&reply[start..][..count as usize]);
    }
    all
}

/// WRITEs of many lengths in one COMPOUND, of which the input buffer has the first part: at its end is each part of a WRITE once.
#[test]
fn long_compounds_are_carried_out_as_they_arrive() {
    let most = WRITE_BYTES_MAX as usize;
    for first in (7600..8000).step_by(12).chain([0, 1, 70_000, most]) {
        let (mut expect, mut ops) = (HELLO.to_vec(), way("hello"));
        let others = [5, 300, 301, 9000, 0, 302, 66_000, 3];
        let others = &others[..if first == most { 3 } else { 8 }];
        for (at, len) in [&[first], others].concat().into_iter().enumerate() {
            let (offset, bytes) = (3 + at * 100, data(len));
            ops.extend([write(offset, at as u32 % 3, &bytes), getattr(&[4])]);
            put(&mut expect, offset, &bytes);
        }
        let call = of_session(2, 0, &ops);
        let length = call.0.len();
        let cuts: [Vec<usize>; 3] = [
            vec![],
            vec![100, 5000, 8196],
            (1..8).map(|at| at * length / 8).collect(),
        ];
        for (cuts, piece, stops_after) in [
            (&cuts[0], usize::MAX, None),
            (&cuts[0], 1460, None),
            (&cuts[1], 4099, Some(9)),
            (&cuts[2], 999, Some(first as u32 % 60)),
        ] {
            let mut bench = begun();
            bench.tree.ram().capacity_bytes = 4 << 20;
            bench.tree.host.stops_after.set(stops_after);
            let talk = bench.send_pieces(&call.fragments(cuts), || piece);
            bench.tree.host.stops_after.set(None);
            let about = format!("{first} bytes, {cuts:?}, {piece}");
            assert_eq!((talk.closed, bench.tree.ram().pinned), (None, 0), "{about}");
            let reply = replies::records(&talk.output).unwrap()[0];
            let results = Results::parse(&reply[24..]).unwrap();
            assert_eq!(
                (results.status, results.done.len()),
                (0, ops.len() + 1),
                "{about}"
            );
            assert!(
                content(&mut bench, 3, "hello", expect.len()) == expect,
                "{about}"
            );
        }
    }
}

/// A WRITE that fails is answered before its data has arrived, and the data is skipped.
#[test]
fn data_of_a_refused_write_is_skipped() {
    let mut bench = begun();
    let state = [
        &[op::WRITE, 1, 9, 9, 9, 0, 0, 0][..],
        &opaque(&data(50_000)),
    ]
    .concat();
    let far = [
        &[op::WRITE, 0, 0, 0, 0, u32::MAX, 0, 0][..],
        &opaque(&data(50_000)),
    ]
    .concat();
    for (sequence, op, status) in [(2, state, 10_025), (4, far, 27)] {
        let ops = [&way("hello")[..], &[op, getattr(&[4])]].concat();
        let next = of_session(sequence + 1, 0, &ops[..3]).xid(8);
        let stream = [of_session(sequence, 0, &ops).record(), next.record()].concat();
        let talk = bench.send_pieces(&stream, || 3000);
        let answers = replies::records(&talk.output).unwrap();
        let results = Results::parse(&answers[0][24..]).unwrap();
        assert_eq!(results.done.last(), Some(&(op::WRITE, status)));
        assert_eq!(
            (talk.closed, answers[1][..4].to_vec()),
            (None, vec![0, 0, 0, 8])
        );
    }
    assert_eq!(content(&mut bench, 6, "hello", HELLO.len()), HELLO);
}

/// The connection is lost amid the data. The request is sent again by another one: the file that was created before is there once.
#[test]
fn request_that_is_cut_amid_its_data_is_repeated() {
    let create = |name: &str| {
        let head = with(op::OPEN, &[0, 3, 0, 9, 9]);
        // GUARDED4, without attributes.
        [
            &head[..],
            &opaque(b"owner"),
            &[1, 1, 0, 0, 0],
            &opaque(name.as_bytes()),
        ]
        .concat()
    };
    let current = [
        &[op::WRITE, 1, 0, 0, 0, 0, 0, 2][..],
        &opaque(&data(100_000)),
    ]
    .concat();
    let ops = [&way("dir")[..2], &[create("made"), current, getattr(&[4])]].concat();
    let call = of_session(2, 1, &ops);
    let record = call.record();
    for cut in [300, 9000, 50_000, record.len() - 4] {
        let mut bench = begun();
        bench.tree.ram().capacity_bytes = 4 << 20;
        for _ in 0..3 {
            let talk = bench.send_pieces(&record[..cut], || 2000);
            assert!(talk.output.is_empty());
            assert_eq!(bench.tree.ram().pinned, 0);
        }
        for _ in 0..2 {
            let talk = bench.send_pieces(&record, || 2000);
            let reply = replies::records(&talk.output).unwrap()[0];
            let results = Results::parse(&reply[24..]).unwrap();
            assert_eq!(
                (results.status, results.done.len()),
                (0, ops.len() + 1),
                "{cut}"
            );
        }
        assert_eq!(content(&mut bench, 3, "made", 100_000), data(100_000));
    }
}

/// Many peers send the first part of a WRITE and no more. Others write as before.
#[test]
fn stalled_writes_leave_places_to_others() {
    let mut server = Server::begun();
    server.tree = Tree::writable();
    let ops = [&way("hello")[..], &[write(0, 0, &data(20_000))]].concat();
    let mut stalled = Vec::new();
    for slot in 1..5 {
        let all = [&[server.sequence_op(1, slot, 0)], &ops[..]].concat();
        let mut output = vec![0; crate::config::REPLY_BYTES];
        server.follows = 10_000;
        let done = server.turn(1, &all, &mut output);
        match server.waiting.take() {
            Some(waiting) => stalled.push(waiting),
            None => assert_eq!(Results::parse(&done.unwrap()).unwrap().status, 10_008),
        }
    }
    assert_eq!(stalled.len(), 1, "of two places");
    server.follows = 0;
    // The client stays while its request is carried out, also when its lease has expired.
    server.now = Instant::from_ms(100_000);
    server.user = 1001;
    let taken = server.ask(&[exchange_id("owner", 2, 0)]);
    assert_eq!(Status(taken.status as u16), Status::DELAY);
    server.user = 1000;
    let small = [&way("hello")[..], &[write(0, 0, b"small")]].concat();
    assert_eq!(server.next(&small).status, 0);
    for waiting in stalled {
        server.nfs4.abandon(&waiting, &mut server.tree);
    }
    assert_eq!(server.tree.ram().pinned, 0);
}

/// A COMPOUND waits, another user's is carried out meanwhile: each object is made by its own user.
#[test]
fn compound_that_waits_goes_on_as_its_user() {
    let create = |name: &str| [&[op::CREATE, 2][..], &opaque(name.as_bytes()), &[0, 0]].concat();
    let open_top = [vec![ROOT], lookup("export")];
    let ops = [&open_top[..], &[create("made"), getattr(&[4, 36])]].concat();
    let mode = [&[op::SETATTR, 0, 0, 0, 0][..], &bitmap(&[33]), &[4, 0o777]].concat();
    let begun = |stops_after| {
        let mut server = Server::begun();
        server.tree = Tree::writable();
        server.user = 0;
        assert_eq!(
            server
                .next(&[&open_top[..], core::slice::from_ref(&mode)].concat())
                .status,
            0
        );
        server.tree.host.stops_after.set(stops_after);
        server.user = 1000;
        server
    };
    let expect = begun(None).next(&ops);
    assert_eq!(expect.status, 0, "{expect:?}");
    for stops_after in 0..30 {
        let mut server = begun(Some(stops_after));
        let all = [&[server.sequence_op(2, 0, 0)], &ops[..]].concat();
        let mut output = vec![0; crate::config::REPLY_BYTES];
        let results = match server.turn(1, &all, &mut output) {
            Ok(results) => results,
            Err(_) => {
                let waiting = server.waiting.take();
                let kept = output.clone();
                server.user = 2000;
                let other = [
                    &[server.sequence_op(1, 1, 0)],
                    &open_top[..],
                    &[getattr(&[4])],
                ]
                .concat();
                assert_eq!(server.ask(&other).status, 0);
                (server.user, server.waiting) = (1000, waiting);
                output = kept;
                server.turn(1, &all, &mut output).unwrap_or_default()
            }
        };
        assert_eq!(
            Results::parse(&results).unwrap(),
            expect,
            "stopped after {stops_after}"
        );
    }
}
