//! Mutated requests: nothing panics, and every reply is well formed.
//!
//! `STOWAWAY_FULL=1` runs twenty times as many; `STOWAWAY_SEED=n` repeats one run.

use super::Bench;
use super::calls::{Call, all_calls, large_calls};
use crate::config::{EVENT_COUNT_PER_MINUTE, REQUEST_BYTES};
use crate::vfs::FsError;
use cases::mutate::mutate;
use cases::random::{Random, for_seeds};

/// Number of event kinds that concern a peer.
const EVENT_KIND_COUNT: usize = 8;

/// Returns up to three requests in a row, whole or in fragments. Mutates bytes of the calls, bytes of the stream with its record
/// marks, or nothing.
fn stream(random: &mut Random, calls: &[(String, Call)]) -> Vec<u8> {
    let mut stream = Vec::new();
    for _ in 0..1 + random.below(3) {
        let mut call = random.pick(calls).1.clone();
        for _ in 0..random.below(4) {
            let other = random.pick(calls);
            mutate(random, &mut call.0, &other.1.0, 4);
        }
        let mut cuts: Vec<usize> = (0..random.below(20).saturating_sub(12))
            .map(|_| random.below(call.0.len()))
            .collect();
        cuts.sort();
        stream.extend(call.fragments(&cuts));
    }
    if random.below(4) == 0 {
        let other = random.pick(calls).1.record();
        mutate(random, &mut stream, &other, 4);
    }
    stream
}

#[test]
fn mutated_requests_get_well_formed_replies() {
    let full = std::env::var_os("STOWAWAY_FULL").is_some_and(|value| value == "1");
    let mut bench = Bench::with_reply_cache();
    let pristine = bench.tree.ram().clone();
    let calls = all_calls(&mut bench);
    let mut more = calls.clone();
    more.extend(large_calls(&mut bench));
    let mut answered = 0;
    let mut closed = 0;
    for_seeds(if full { 2_000_000 } else { 25_000 }, |seed| {
        let mut random = Random::new(seed);
        // Large calls take long if they arrive in small pieces, so only every 20th seed includes them.
        let calls = if seed % 20 == 0 { &more } else { &calls };
        let stream = stream(&mut random, calls);
        let largest = *random.pick(&[REQUEST_BYTES, 200, 9]);
        if seed % 200 == 0 {
            bench.tree.ram().check();
            *bench.tree.ram() = pristine.clone();
        }
        if random.below(50) == 0 {
            let error = *random.pick(&[FsError::Io, FsError::NoSpace]);
            bench.tree.ram().write_fails = Some(error);
            bench.tree.ram().sync_fails = Some(error);
        }
        let talk = bench.send_any_bytes(&stream, || 1 + random.below(largest));
        answered += usize::from(!talk.output.is_empty());
        closed += usize::from(talk.closed.is_some());
    });
    let one_seed = std::env::var_os("STOWAWAY_SEED").is_some();
    assert!(one_seed || (answered > 12_500 && closed > 250));
    let lines = bench.sink.lines();
    assert!(lines.len() <= EVENT_COUNT_PER_MINUTE as usize * EVENT_KIND_COUNT);
    assert!(
        lines
            .iter()
            .all(|line| line.bytes().all(|byte| matches!(byte, b' '..=b'~')))
    );
}
