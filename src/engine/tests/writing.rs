//! WRITE and COMMIT: however the data arrives, it is stored in the file, and on disk when the reply says so.

use super::calls::{Call, CallId, stable};
use super::replies::Body;
use super::{Bench, VERIFIER, before, content, replies, words};
use crate::config::{FRAGMENT_COUNT, REQUEST_BYTES, WRITE_BYTES_MAX};
use crate::event;
use crate::text::Text;
use crate::vfs::FsError;
use crate::wire::nfs3::{self, Procedure};
use cases::random::{Random, for_seeds};

const OK: u32 = 0;
const IO: u32 = 5;
const NO_SPACE: u32 = 28;

/// Data without repeating pieces.
fn data(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + (at >> 7)) as u8).collect()
}

/// Contents of "hello" after a write.
fn written(offset: usize, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"hello world".to_vec();
    if !data.is_empty() {
        bytes.resize(bytes.len().max(offset + data.len()), 0);
        bytes[offset..][..data.len()].copy_from_slice(data);
    }
    bytes
}

#[test]
fn write_reply_has_wcc_count_stable_and_verifier() {
    let mut bench = Bench::writable();
    let hello = bench.handle("hello");
    for (how, said) in [
        (stable::UNSTABLE, stable::UNSTABLE),
        (stable::DATA_SYNC, stable::FILE_SYNC),
        (stable::FILE_SYNC, stable::FILE_SYNC),
    ] {
        for (offset, data) in [(0, &b"J"[..]), (9, b"lds"), (20, b""), (4093, b"far")] {
            let call = Call::write(&hello, offset, how, data);
            let was = bench.attributes(&hello);
            let reply = bench.reply(&call);
            let now = bench.attributes(&hello);
            let golden = [
                &[OK, 1][..],
                &before(was),
                &[1],
                &now,
                &[data.len() as u32, said],
                &words(&VERIFIER),
            ];
            assert_eq!(words(&reply[24..]), golden.concat());
            assert_eq!(bench.tree.ram().is_durable(), said != stable::UNSTABLE);
        }
    }
    let mut expect = b"Jello worlds".to_vec();
    expect.resize(4093, 0);
    expect.extend(b"far");
    assert_eq!(content(&mut bench, "hello"), expect);
}

#[test]
fn stable_or_committed_data_survives_power_loss() {
    for (how, commits, kept) in [
        (stable::UNSTABLE, false, false),
        (stable::UNSTABLE, true, true),
        (stable::DATA_SYNC, false, true),
        (stable::FILE_SYNC, false, true),
    ] {
        for len in [5, 50_000] {
            let mut bench = Bench::writable();
            let hello = bench.handle("hello");
            let data = data(len);
            let body = bench.ask(&Call::write(&hello, 3, how, &data)).unwrap();
            assert_eq!(body.status, OK);
            if commits {
                let body = bench.ask_around(&Call::commit(&hello), &[&hello]);
                assert_eq!((body.status, &body.words[..]), (OK, &words(&VERIFIER)[..]));
            }
            bench.tree.ram().lose_power();
            let expect = if kept {
                written(3, &data)
            } else {
                b"hello world".to_vec()
            };
            assert!(
                content(&mut bench, "hello") == expect,
                "{how}, {commits}, {len}"
            );
        }
    }
}

/// Compares two replies, except for the file's times, which change with each stored piece. `got` may omit the attributes from
/// before the WRITE.
fn check_same(got: &[u8], whole: &[u8], call: &Call, about: &str) {
    let asked = CallId::of(&call.0).unwrap();
    let read = |reply| replies::parse(reply, asked).unwrap().unwrap();
    let (mut got, mut whole) = (read(got), read(whole));
    for (got, whole) in got.before.iter_mut().zip(&whole.before) {
        *got = got.or(*whole);
    }
    for body in [&mut got, &mut whole] {
        let attributes = body.attributes[0].as_mut().unwrap();
        attributes[17..].fill(0);
    }
    assert_eq!(got, whole, "{about}");
}

/// Sends a WRITE to "hello" as the bytes `record`, then another call, in pieces. Checks both replies and the contents.
fn check_stream(
    bench: &mut Bench,
    call: &Call,
    record: &[u8],
    piece: impl FnMut() -> usize,
    expect: (&[u8], &[u8]),
    about: &str,
) {
    let (whole, bytes) = expect;
    let null = Call::nfs(Procedure::Null).xid(8).record();
    let pristine = bench.tree.ram().clone();
    let talk = bench.send_pieces(&[record, &null].concat(), piece);
    assert_eq!(
        (talk.closed, talk.consumed),
        (None, record.len() + null.len()),
        "{about}"
    );
    let answers = replies::records(&talk.output).unwrap();
    assert_eq!(answers.len(), 2, "{about}");
    check_same(answers[0], whole, call, about);
    assert_eq!(answers[1][..4], 8u32.to_be_bytes());
    assert!(content(bench, "hello") == bytes, "{about}");
    assert_eq!(bench.tree.ram().pinned, 0, "{about}");
    *bench.tree.ram() = pristine;
}

/// Creates a bench and a WRITE of `len` bytes to "hello". Returns both, the WRITE's reply, and the contents that the file then had.
/// The WRITE is undone.
fn a_write(len: usize, how: u32) -> (Bench, Call, Vec<u8>, Vec<u8>) {
    let mut bench = Bench::writable();
    let hello = bench.handle("hello");
    let data = data(len);
    let call = Call::write(&hello, 5, how, &data);
    let pristine = bench.tree.ram().clone();
    let whole = bench.reply(&call);
    *bench.tree.ram() = pristine;
    (bench, call, whole, written(5, &data))
}

/// Each place where a request of this length can be cut; in its data every 61st.
fn cuts_of(len: usize) -> impl Iterator<Item = usize> {
    (0..len).filter(move |cut| *cut < 300 || cut + 20 > len || cut % 61 == 0)
}

#[test]
fn write_in_two_parts_is_one_write() {
    for (len, how) in [
        (13, stable::FILE_SYNC),
        (8190, stable::UNSTABLE),
        (8803, stable::FILE_SYNC),
    ] {
        let (mut bench, call, whole, bytes) = a_write(len, how);
        for record in [
            call.record(),
            call.fragments(&[30, 110, 111, call.0.len() - 3]),
        ] {
            for cut in cuts_of(record.len()) {
                let mut pieces = [cut].into_iter();
                let piece = || pieces.next().unwrap_or(usize::MAX);
                let about = format!("{len} bytes cut at {cut}");
                check_stream(&mut bench, &call, &record, piece, (&whole, &bytes), &about);
            }
        }
    }
}

#[test]
fn write_in_two_fragments_is_one_write() {
    for (len, how) in [(14, stable::FILE_SYNC), (8803, stable::UNSTABLE)] {
        let (mut bench, call, whole, bytes) = a_write(len, how);
        for cut in cuts_of(call.0.len()) {
            for piece in [usize::MAX, 1000] {
                let about = format!("{len} bytes in fragments at {cut}, {piece} at a time");
                let record = call.fragments(&[cut]);
                let expect = (&whole[..], &bytes[..]);
                check_stream(&mut bench, &call, &record, || piece, expect, &about);
            }
        }
    }
}

#[test]
fn write_in_random_fragments_is_one_write() {
    for_seeds(200, |seed| {
        let mut random = Random::new(seed);
        let largest = *random.pick(&[20, 5000, 20_000, 200_000]);
        let how = *random.pick(&[stable::UNSTABLE, stable::FILE_SYNC]);
        let (mut bench, call, whole, bytes) = a_write(random.below(largest), how);
        let count = random.below(FRAGMENT_COUNT as usize);
        let mut cuts: Vec<usize> = (0..count).map(|_| random.below(call.0.len())).collect();
        cuts.sort();
        let record = call.fragments(&cuts);
        let largest = *random.pick(&[9, 300, 5000, 100_000]);
        let piece = || 1 + random.below(largest);
        check_stream(
            &mut bench,
            &call,
            &record,
            piece,
            (&whole, &bytes),
            &format!("{cuts:?}"),
        );
    });
}

#[test]
fn largest_write_succeeds_and_larger_one_fails() {
    let most = WRITE_BYTES_MAX as usize;
    let (mut bench, call, whole, bytes) = a_write(most, stable::FILE_SYNC);
    bench.tree.ram().capacity_bytes = 4 << 20;
    let pristine = bench.tree.ram().clone();
    let whole_again = bench.reply(&call);
    *bench.tree.ram() = pristine;
    assert_ne!(
        whole, whole_again,
        "the first WRITE must have failed for lack of space"
    );
    let cuts: Vec<usize> = (1..16).map(|at| at * 65_536).collect();
    for record in [call.record(), call.fragments(&cuts)] {
        for piece in [usize::MAX, REQUEST_BYTES, 1460] {
            let expect = (&whole_again[..], &bytes[..]);
            check_stream(&mut bench, &call, &record, || piece, expect, "the largest");
        }
    }
    let hello = bench.handle("hello");
    let more = Call::write(&hello, 0, stable::UNSTABLE, &data(most + 1));
    assert_eq!(bench.ask(&more).unwrap().status, 22);
    assert_eq!(content(&mut bench, "hello"), b"hello world");
}

#[test]
fn write_offset_may_reach_the_largest_file() {
    let mut bench = Bench::writable();
    let hello = bench.handle("hello");
    let last = i64::MAX as u64;
    for (offset, bytes, status) in [
        ((1 << 32) - 2, &b"four"[..], OK),
        (last - 4, b"last", OK),
        (last - 3, b"last", 27),
        (last, b"", OK),
        (last, b"x", 27),
        (1 << 63, b"x", 27),
        (u64::MAX, b"x", 27),
        (u64::MAX, b"", 27),
    ] {
        for how in [stable::UNSTABLE, stable::FILE_SYNC] {
            let call = Call::write(&hello, offset, how, bytes);
            let body = bench.ask_around(&call, &[&hello]);
            assert_eq!(body.status, status, "{offset:#x}");
            if status == OK && !bytes.is_empty() {
                let read = bench.ask(&Call::read(&hello, offset, 10)).unwrap();
                assert_eq!((&read.bytes[..], read.words[1]), (bytes, 1));
            }
        }
    }
    assert_eq!(bench.attributes(&hello)[5..7], [0x7fff_ffff, u32::MAX]);
}

/// Sends a WRITE of 20,000 bytes to "hello" as the bytes `record`. The reply must say that `expect` bytes were stored, and the file
/// must hold them. Returns why the connection was closed, if it was.
fn check_shorter(record: &[u8], expect: u32) -> Option<&'static str> {
    let (mut bench, call, ..) = a_write(20_000, stable::FILE_SYNC);
    let talk = bench.send(record);
    let answers = replies::records(&talk.output).unwrap();
    let reply = replies::parse(answers[0], CallId::of(&call.0).unwrap());
    let body = reply.unwrap().unwrap();
    assert_eq!((answers.len(), body.status), (1, OK));
    assert_eq!(body.words[..2], [expect, stable::FILE_SYNC]);
    let stored = &data(20_000)[..expect as usize];
    assert_eq!(content(&mut bench, "hello"), written(5, stored));
    assert_eq!(bench.tree.ram().pinned, 0);
    talk.closed
}

#[test]
fn write_in_short_record_stores_less() {
    let (_, call, ..) = a_write(20_000, stable::FILE_SYNC);
    // The record is 4 bytes too short. It has two fragments, so the server does not know the total length at the start.
    let cut = Call(call.0[..call.0.len() - 4].to_vec());
    assert_eq!(check_shorter(&cut.fragments(&[10_000]), 19_996), None);
    // After a hundred fragments with one byte of data in all, the connection is closed.
    let head = call.0.len() - 20_000;
    let record = call.fragments(&[&[head + 15_000][..], &[head + 15_001; 100]].concat());
    assert!(check_shorter(&record, 15_001).is_some());
}

#[test]
fn write_accepts_the_fragment_sizes_of_clients() {
    // Fragment sizes of YANFS, of TI-RPC and of xdrrec. The last size is the smallest that is allowed.
    for (len, fragment) in [
        (32 << 10, 1456),
        (700_000, 1456),
        (700_000, 64 << 10),
        (700_000, 4000),
        (100_000, 256),
    ] {
        let (mut bench, call, whole, bytes) = a_write(len, stable::FILE_SYNC);
        let cuts: Vec<usize> = (fragment..call.0.len()).step_by(fragment).collect();
        for piece in [usize::MAX, 1460] {
            let (record, expect) = (call.fragments(&cuts), (&whole[..], &bytes[..]));
            check_stream(&mut bench, &call, &record, || piece, expect, "a client's");
        }
    }
}

#[test]
fn write_with_excess_fragments_is_all_or_nothing() {
    for len in [40, 8000, 9000, 50_000] {
        for from in [0, 50, 130, 1000, 8000, 8200, 30_000] {
            for fragment in [1, 20, 200] {
                let (mut bench, call, whole, bytes) = a_write(len, stable::UNSTABLE);
                let cuts: Vec<usize> = (from..call.0.len()).step_by(fragment).collect();
                for piece in [usize::MAX, 1460, 33] {
                    let pristine = bench.tree.ram().clone();
                    let talk = bench.send_pieces(&call.fragments(&cuts), || piece);
                    if let Ok([reply]) = replies::records(&talk.output).as_deref() {
                        check_same(reply, &whole, &call, "whole");
                        assert!(content(&mut bench, "hello") == bytes);
                    } else {
                        assert!(talk.closed.is_some() && talk.output.is_empty());
                        assert_eq!(content(&mut bench, "hello"), b"hello world");
                    }
                    assert_eq!(bench.tree.ram().pinned, 0);
                    *bench.tree.ram() = pristine;
                }
            }
        }
    }
}

/// Makes a WRITE that fails with `status` after `prepare`, then another call on the same connection, which must succeed.
fn check_failure(len: usize, cuts: &[usize], status: u32, prepare: impl FnOnce(&mut Bench)) {
    let mut bench = Bench::writable();
    let hello = bench.handle("hello");
    let call = Call::write(&hello, 5, stable::FILE_SYNC, &data(len));
    prepare(&mut bench);
    let next = Call::of(Procedure::GetAttr, &hello).xid(8);
    let stream = [call.fragments(cuts), next.record()].concat();
    let talk = bench.send(&stream);
    assert_eq!(
        (talk.closed, talk.consumed),
        (None, stream.len()),
        "{len}, {cuts:?}"
    );
    let answers = replies::records(&talk.output).unwrap();
    let [failed, next] = [(answers[0], &call), (answers[1], &next)].map(|(reply, call)| {
        replies::parse(reply, CallId::of(&call.0).unwrap())
            .unwrap()
            .unwrap()
    });
    assert_eq!(failed.status, status, "{len}, {cuts:?}");
    // After a failed sync, the reply may have no attributes.
    let attributes = &failed.attributes;
    assert!(
        *attributes == next.attributes || attributes[..] == [None],
        "{len}, {cuts:?}"
    );
    assert_eq!(bench.tree.ram().pinned, 0);
    let (event, is_logged) = match status {
        IO => (event::DISK_FAILED, true),
        NO_SPACE => (event::DISK_FULL, true),
        _ => (Text::NOTHING.into(), bench.sink.lines().is_empty()),
    };
    let lines = bench.sink.lines();
    assert!(is_logged && lines.iter().all(|line| line.contains(event.text.known())));
}

#[test]
fn failed_write_keeps_the_stream() {
    for (len, cuts) in [
        (5, &[][..]),
        (5, &[100]),
        (20_000, &[]),
        (20_000, &[9_000]),
        (20_000, &[100, 200, 15_000]),
        (150_000, &[]),
        (150_000, &[140_000]),
    ] {
        for (error, status) in [
            (FsError::Io, IO),
            (FsError::Quota, 69),
            (FsError::TooLarge, 27),
        ] {
            // First, every write to the file fails; then only the sync fails.
            check_failure(len, cuts, status, |bench| {
                bench.tree.ram().write_fails = Some(error);
            });
            check_failure(len, cuts, status, |bench| {
                bench.tree.ram().sync_fails = Some(error);
            });
        }
    }
    // The disk has space for only part of the data.
    for len in [50_000, 150_000] {
        for cuts in [&[][..], &[9_000], &[45_000]] {
            check_failure(len, cuts, NO_SPACE, |bench| {
                bench.tree.ram().set_free_bytes(30_000);
            });
        }
    }
}

#[test]
fn failed_commit_changes_the_write_verifier() {
    let mut bench = Bench::writable();
    let [hello, big] = ["hello", "big"].map(|path| bench.handle(path));
    let write = |handle: &[u8]| Call::write(handle, 0, stable::UNSTABLE, b"data");
    let verifier = |body: &Body| body.words[body.words.len() - 2..].to_vec();
    let promised = bench.ask(&write(&hello)).unwrap();
    assert_eq!(verifier(&promised), words(&VERIFIER));
    bench.ask(&write(&big)).unwrap();
    for call in [
        Call::commit(&big),
        Call::write(&big, 0, stable::DATA_SYNC, b"data"),
        Call::write(&big, 0, stable::FILE_SYNC, &data(50_000)),
    ] {
        let before = bench.ask(&Call::commit(&hello)).unwrap();
        bench.tree.ram().sync_fails = Some(FsError::Io);
        let failed = bench.ask(&call).unwrap();
        assert_eq!((failed.status, &failed.words[..]), (IO, &[][..]));
        let after = bench.ask(&Call::commit(&hello)).unwrap();
        assert_ne!(verifier(&before), verifier(&after));
        let again = bench.ask(&write(&big)).unwrap();
        assert_eq!(verifier(&again), verifier(&after));
    }
}

#[test]
fn disconnected_writer_leaves_nothing_pinned() {
    let mut bench = Bench::writable();
    let hello = bench.handle("hello");
    let call = Call::write(&hello, 5, stable::FILE_SYNC, &data(20_000));
    for record in [call.record(), call.fragments(&[9_000, 9_001, 18_000])] {
        for end in (0..record.len()).step_by(7).chain(8_900..9_300) {
            for piece in [usize::MAX, 1_000] {
                let talk = bench.send_pieces(&record[..end.min(record.len() - 5)], || piece);
                assert!(talk.output.is_empty() && talk.closed.is_none());
                assert_eq!(bench.tree.ram().pinned, 0);
            }
        }
    }
}

#[test]
fn alternating_writers_get_correct_wcc_attributes() {
    let (mut reply_count, mut omitted_count) = (0, 0);
    for_seeds(500, |seed| {
        let mut bench = Bench::writable();
        let hello = bench.handle("hello");
        let mut random = Random::new(seed);
        let mut writers = [0, 1].map(|_| {
            let mut stream = Vec::new();
            for _ in 0..4 {
                let largest = *random.pick(&[10, 20_000]);
                let (offset, data) = (random.below(100_000), data(random.below(largest)));
                let call = Call::write(&hello, offset as u64, random.below(3) as u32, &data);
                stream.extend(call.fragments(&[random.below(call.0.len())]));
            }
            (bench.session(), stream, None)
        });
        while writers.iter().any(|(_, stream, _)| !stream.is_empty()) {
            let (session, stream, transfer) = &mut writers[random.below(2)];
            let piece = stream.len().min(1 + random.below(30_000));
            let turn = before(bench.attributes(&hello));
            let talk = bench.talk(session, transfer.take(), &stream[..piece], || usize::MAX);
            assert_eq!(talk.closed, None);
            stream.drain(..talk.consumed);
            *transfer = talk.transfer;
            for reply in replies::records(&talk.output).unwrap() {
                let asked = CallId {
                    xid: 7,
                    procedure: (nfs3::PROGRAM, 3, Procedure::Write as u32),
                };
                let body = replies::parse(reply, asked).unwrap().unwrap();
                assert_eq!(body.status, OK);
                // The other client may have written since this WRITE began. Attributes older than this round (`turn`) must not be
                // reported; the reply omits them instead.
                match body.before[0] {
                    Some(was) => assert!(was[4..] >= turn[4..], "{was:?} before {turn:?}"),
                    None => omitted_count += 1,
                }
                reply_count += 1;
            }
        }
        assert_eq!(bench.tree.ram().pinned, 0);
    });
    let one_seed = std::env::var_os("STOWAWAY_SEED").is_some();
    assert!(one_seed || omitted_count > 100 && reply_count > 2 * omitted_count);
}
