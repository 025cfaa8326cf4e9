//! Record marks, RPC headers and rejected calls: everything before a procedure reads its arguments.

use super::calls::{Call, CallId, all_calls};
use super::{Bench, replies};
use crate::config::{RECORD_BYTES_MAX, REQUEST_BYTES, WRITE_BYTES_MAX};
use crate::engine::programs::ProgramSet;
use crate::engine::service::Next;
use crate::engine::testing::driver::Engine as _;
use crate::wire::nfs3::{self, Procedure};
use crate::wire::rpc::Reject;
use crate::wire::{mount, portmap};
use cases::headers;
use cases::replies::outcome;

#[test]
fn unknown_portmap_version_or_procedure_is_refused() {
    let mut bench = Bench::default();
    for (program, version, procedure, why) in [
        (portmap::PROGRAM, 1, 3, Reject::Version(2, 4)),
        (portmap::PROGRAM, 5, 3, Reject::Version(2, 4)),
        (portmap::PROGRAM, 2, 6, Reject::Procedure),
    ] {
        let answer = bench.ask(&Call::new(program, version, procedure));
        assert_eq!(answer, Err(why), "{program}.{version}.{procedure}");
    }
}

#[test]
fn socket_of_one_program_refuses_others() {
    let mut bench = Bench::default();
    let nfs = ProgramSet::NFS;
    for (program, version, refused) in [
        (nfs3::PROGRAM, 3, false),
        (mount::PROGRAM, 3, true),
        (portmap::PROGRAM, 2, true),
    ] {
        let call = Call::new(program, version, 0);
        let talk = bench.talk(
            &mut bench.programs.open(0, nfs),
            None,
            &call.record(),
            || 100,
        );
        let reply = replies::records(&talk.output).unwrap()[0];
        let answer = replies::parse(reply, CallId::of(&call.0).unwrap()).unwrap();
        assert_eq!(answer == Err(Reject::Program), refused);
    }
}

#[test]
fn calls_that_are_not_served_are_reported() {
    let mut bench = Bench::default();
    for version in [2, 4] {
        let refused = bench.ask(&Call::new(nfs3::PROGRAM, version, 0));
        assert_eq!(refused, Err(Reject::Version(3, 3)));
    }
    let gss = [7, 0, 2, nfs3::PROGRAM, 3, 0, 6, 0, 0, 0];
    bench.reply(&Call(Vec::new()).words(&gss));
    let expect = [
        "asks for RPC program 100003 version 2: not served",
        "asks for NFS version 4, which is not served: mount with vers=3 (macOS: never vers=4)",
        "cannot be authenticated: its RPC authentication is neither sys nor none; mount with sec=sys",
    ];
    assert_eq!(
        bench.sink.lines(),
        expect.map(|line| format!("stowaway: 192.0.2.7 {line}"))
    );
}

/// A NULL call with these words after the xid.
fn raw(words: &[u32]) -> Call {
    Call(Vec::new()).word(7).words(words)
}

#[test]
fn rpc_headers_have_the_outcomes_of_the_rfc() {
    let mut bench = Bench::default();
    for case in headers::cases() {
        let reply = bench.reply(&Call(case.message.clone()));
        let (_, outcome) = outcome(&reply).unwrap();
        assert_eq!(outcome, case.outcome, "{:02x?}", case.message);
    }
    // Shorter than a header.
    let call = raw(&[0, 3]);
    assert_eq!(bench.ask(&call), Err(Reject::RpcVersion));
}

#[test]
fn received_reply_is_skipped() {
    let mut bench = Bench::default();
    let stream = [
        raw(&[1, 0, 0, 0, 0]).record(),
        Call::nfs(Procedure::Null).record(),
    ]
    .concat();
    let talk = bench.send(&stream);
    assert_eq!((talk.closed, talk.consumed), (None, stream.len()));
    assert_eq!(replies::records(&talk.output).unwrap().len(), 1);
}

#[test]
fn packet_that_is_no_message_closes_connection() {
    let mut bench = Bench::default();
    for packet in [&[][..], &[0; 3], &[0, 0, 0, 7], &[0, 0, 0, 7, 0, 0, 0, 2]] {
        let talk = bench.send(&Call(packet.to_vec()).record());
        assert!(
            talk.closed.is_some() && talk.output.is_empty(),
            "{packet:?}"
        );
    }
}

#[test]
fn request_may_have_sixteen_fragments() {
    let mut bench = Bench::default();
    for (name, call) in all_calls(&mut bench) {
        let whole = bench.reply(&call);
        for count in 1..=17 {
            // Cut the record at equal distances; then all cuts before the first byte; then all before the last byte. The last two
            // produce empty fragments.
            let even = (1..count).map(|at| call.0.len() * at / count).collect();
            for cuts in [even, vec![0; count - 1], vec![call.0.len() - 1; count - 1]] {
                let talk = bench.send(&call.fragments(&cuts));
                if count == 17 {
                    assert!(talk.closed.is_some(), "{name} in {count}");
                } else {
                    assert_eq!(talk.closed, None, "{name} in {count}");
                    assert_eq!(talk.output[4..], whole, "{name} in {count}");
                }
            }
        }
    }
}

#[test]
fn request_in_two_parts_is_answered_once() {
    let mut bench = Bench::default();
    for (name, call) in all_calls(&mut bench) {
        for record in [call.record(), call.fragments(&[3, 8, 8, 21])] {
            let whole = bench.send(&record).output;
            for cut in 0..=record.len() {
                let mut pieces = [cut, record.len()].into_iter();
                let talk = bench.talk(&mut bench.session(), None, &record, || {
                    pieces.next().unwrap()
                });
                assert_eq!(talk.output, whole, "{name} cut at {cut}");
            }
        }
    }
}

#[test]
fn partial_request_is_not_answered() {
    let mut bench = Bench::default();
    for (name, call) in all_calls(&mut bench) {
        for record in [call.record(), call.fragments(&[0, 5, 21])] {
            for end in 0..record.len() {
                let talk = bench.send(&record[..end]);
                let quiet = talk.closed.is_none() && talk.output.is_empty();
                assert!(quiet && talk.consumed == 0, "{name} cut to {end}");
            }
        }
    }
}

#[test]
fn oversized_record_closes_the_connection() {
    let mut bench = Bench::default();
    let last = 1 << 31;
    for mark in [
        0x7fff_ffff_u32,
        u32::MAX,
        last | (RECORD_BYTES_MAX + 1),
        RECORD_BYTES_MAX + 1,
    ] {
        let talk = bench.send(&mark.to_be_bytes());
        assert!(talk.closed.is_some() && talk.output.is_empty(), "{mark:#x}");
    }
    // The second fragment's mark exceeds the limit; its data has not arrived.
    let split = [
        &8u32.to_be_bytes()[..],
        &[0; 8],
        &RECORD_BYTES_MAX.to_be_bytes(),
    ]
    .concat();
    assert!(bench.send(&split).closed.is_some());
    // A record of 17 empty fragments, none of them the last: the connection must be closed.
    assert!(bench.send(&[0; 17 * 4]).closed.is_some());
}

#[test]
fn refused_write_of_1_mib_keeps_the_stream() {
    let mut bench = Bench::default();
    let file = bench.handle("hello");
    let data = vec![b'w'; WRITE_BYTES_MAX as usize];
    let write = Call::of(Procedure::Write, &file)
        .long(0)
        .words(&[WRITE_BYTES_MAX, 2])
        .opaque(&data);
    let null = Call::nfs(Procedure::Null).xid(8).record();
    let cuts: Vec<usize> = (1..16).map(|at| at * 65_536).collect();
    for record in [
        write.record(),
        write.fragments(&cuts),
        write.fragments(&[100, 50_000]),
    ] {
        let stream = [&record[..], &null].concat();
        for piece in [REQUEST_BYTES, 1460, 4099] {
            let talk = bench.talk(&mut bench.session(), None, &stream, || piece);
            assert_eq!((talk.closed, talk.consumed), (None, stream.len()));
            let answers = replies::records(&talk.output).unwrap();
            assert_eq!(answers.len(), 2);
            let refused = replies::parse(answers[0], CallId::of(&write.0).unwrap());
            assert_eq!(refused.unwrap().unwrap().status, 30);
            assert_eq!(answers[1][..4], 8u32.to_be_bytes());
        }
    }
}

#[test]
fn refused_write_with_excess_fragments_closes_connection() {
    let mut bench = Bench::default();
    let file = bench.handle("hello");
    let write = Call::of(Procedure::Write, &file)
        .long(0)
        .words(&[20_000, 2])
        .opaque(&[b'w'; 20_000]);
    let cuts: Vec<usize> = (0..100).map(|at| 10_000 + at).collect();
    let talk = bench.send(&write.fragments(&cuts));
    assert!(talk.closed.is_some());
    assert_eq!(replies::records(&talk.output).unwrap().len(), 1);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mut bench = Bench::default();
    let calls = all_calls(&mut bench);
    let calls: Vec<Call> = (0..64)
        .map(|xid| calls[xid * 7 % calls.len()].1.clone().xid(xid as u32))
        .collect();
    let stream: Vec<u8> = calls.iter().flat_map(Call::record).collect();
    for piece in [usize::MAX, 1000, 7] {
        let talk = bench.talk(&mut bench.session(), None, &stream, || piece);
        assert_eq!((talk.closed, talk.consumed), (None, stream.len()));
        let answers = replies::records(&talk.output).unwrap();
        assert_eq!(answers.len(), calls.len());
        for (answer, call) in answers.iter().zip(&calls) {
            replies::parse(answer, CallId::of(&call.0).unwrap())
                .unwrap()
                .unwrap();
        }
    }
    // The whole input is there, so the engine stops only when the output is full: the large pages, READs and orders fill it.
    let mut session = bench.session();
    let input = &stream[..stream.len().min(REQUEST_BYTES)];
    let progress = bench.with(&mut session).advance(input);
    assert!(progress.produced > 0 && progress.used < stream.len());
    let transfer = match progress.next {
        Next::Move(transfer) => Some(transfer),
        next => {
            assert_eq!(next, Next::Output);
            None
        }
    };
    bench.hang_up(session, transfer);
}

#[test]
fn reply_does_not_depend_on_output_room() {
    let mut bench = Bench::default();
    let [big, link, many] = ["big", "long link", "many"].map(|path| bench.handle(path));
    let mut calls: Vec<Call> = all_calls(&mut bench)
        .into_iter()
        .map(|(_, call)| call)
        .collect();
    let page = |procedure| Call::of(procedure, &many).long(0).long(0);
    calls.extend([
        Call::of(Procedure::ReadLink, &link),
        page(Procedure::ReadDir).word(u32::MAX),
        page(Procedure::ReadDirPlus).words(&[u32::MAX, u32::MAX]),
    ]);
    for call in calls {
        let alone = bench.reply(&call);
        // The first reply leaves different amounts of space in the output: from too little for most replies to enough for all but
        // the longest.
        for before in (57_000..=65_536).step_by(251) {
            let records = [Call::read(&big, 0, before).record(), call.record()];
            let talk = bench.send(&records.concat());
            let answers = replies::records(&talk.output).unwrap();
            assert_eq!(answers[1..], [&alone[..]], "{call:?} after {before} bytes");
        }
        let twice = [call.record(), call.record()];
        let talk =
            bench.send(&[&Call::read(&big, 0, 65_536).record()[..], &twice.concat()].concat());
        let answers = replies::records(&talk.output).unwrap();
        assert_eq!(answers[1..], [&alone[..], &alone[..]], "{call:?} twice");
    }
}
