//! Requests with something wrong in them, as many as time allows: nothing panics, and every answer is a proper one.
//!
//! `STOWAWAY_FULL=1` runs twenty times as many; `STOWAWAY_SEED=n` repeats the one that failed.

use super::World;
use super::calls::{Call, every, large};
use super::random::{Random, for_seeds};
use crate::config::{EVENT_COUNT_PER_MINUTE, REQUEST_BYTES};
use crate::vfs::FsError;

/// Words that lie at an edge of something.
const EDGES: &[u32] = &[
    0,
    1,
    2,
    3,
    4,
    5,
    16,
    17,
    63,
    64,
    65,
    255,
    256,
    400,
    401,
    1024,
    1025,
    8192,
    65_536,
    65_537,
    1 << 20,
    (1 << 20) + 1,
    100_000,
    100_003,
    100_005,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
];
/// Kinds of events that are about a peer.
const EVENT_KIND_COUNT: usize = 5;

fn mutate(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8]) {
    let at = random.below(bytes.len());
    let end = (at + random.below(40)).min(bytes.len());
    match random.below(9) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.number() as u8,
        // Words stand at multiples of four, so their edges do too.
        2..=4 => {
            let word = at / 4 * 4;
            if let Some(word) = bytes.get_mut(word..word + 4) {
                word.copy_from_slice(&random.pick(EDGES).to_be_bytes());
            }
        }
        5 => bytes.truncate(at),
        6 => drop(bytes.drain(at..end)),
        7 => {
            let again = bytes[at..end].to_vec();
            bytes.splice(at..at, again);
        }
        _ => {
            let from = random.below(other.len());
            let to = (from + random.below(60)).min(other.len());
            bytes.splice(at..end, other[from..to].iter().copied());
        }
    }
    if bytes.is_empty() {
        bytes.push(0);
    }
}

/// Some requests, in fragments or not, with something wrong in the calls, in the marks, or in neither.
fn stream(random: &mut Random, calls: &[(String, Call)]) -> Vec<u8> {
    let mut stream = Vec::new();
    for _ in 0..1 + random.below(3) {
        let mut call = random.pick(calls).1.clone();
        for _ in 0..random.below(4) {
            let other = random.pick(calls);
            mutate(random, &mut call.0, &other.1.0);
        }
        let mut cuts: Vec<usize> = (0..random.below(20).saturating_sub(12))
            .map(|_| random.below(call.0.len()))
            .collect();
        cuts.sort();
        stream.extend(call.fragments(&cuts));
    }
    if random.below(4) == 0 {
        let other = random.pick(calls).1.record();
        mutate(random, &mut stream, &other);
    }
    stream
}

#[test]
fn no_mutation_panics_or_gets_an_improper_answer() {
    let full = std::env::var_os("STOWAWAY_FULL").is_some_and(|value| value == "1");
    let mut world = World::remembering();
    let pristine = world.tree.ram.clone();
    let calls = every(&mut world);
    let mut more = calls.clone();
    more.extend(large(&mut world));
    let mut answered = 0;
    let mut closed = 0;
    for_seeds(if full { 2_000_000 } else { 100_000 }, |seed| {
        let mut random = Random::new(seed);
        // What is large takes long, piece by piece.
        let calls = if seed % 20 == 0 { &more } else { &calls };
        let stream = stream(&mut random, calls);
        let largest = *random.pick(&[REQUEST_BYTES, 200, 9]);
        if seed % 200 == 0 {
            world.tree.ram.check();
            world.tree.ram = pristine.clone();
        }
        if random.below(50) == 0 {
            let error = *random.pick(&[FsError::Io, FsError::NoSpace]);
            world.tree.ram.write_fails = Some(error);
            world.tree.ram.sync_fails = Some(error);
        }
        let talk = world.send_anything(&stream, || 1 + random.below(largest));
        answered += usize::from(!talk.output.is_empty());
        closed += usize::from(talk.closed.is_some());
    });
    let one_seed = std::env::var_os("STOWAWAY_SEED").is_some();
    assert!(one_seed || (answered > 50_000 && closed > 1_000));
    let lines = world.sink.lines();
    assert!(lines.len() <= EVENT_COUNT_PER_MINUTE as usize * EVENT_KIND_COUNT);
    assert!(
        lines
            .iter()
            .all(|line| line.bytes().all(|byte| matches!(byte, b' '..=b'~')))
    );
}
