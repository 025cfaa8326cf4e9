//! Random delays and hashes must not be predictable.

use super::bench::Bench;
use crate::engine::mdns::Random;
use std::collections::HashSet;

/// CVE-2024-52615, CVE-2024-52616: predictable ports and query IDs let an attacker forge answers. Multicast DNS fixes the port and
/// the ID; here random numbers decide the delays, the numbers in changed names and the hash buckets of names.
#[test]
fn random_numbers_depend_on_entropy_and_are_uniform() {
    let first = |entropy: [u8; 16]| {
        let mut random = Random::new(&entropy);
        [(); 4].map(|()| random.ms(0, u32::MAX))
    };
    let mut seen = HashSet::from([first([7; 16])]);
    // Each bit of the seed changes the numbers. Bit 0 is omitted, because it is always set in the seed.
    for bit in 1..64 {
        let mut entropy = [7; 16];
        entropy[bit / 8] ^= 1 << (bit % 8);
        assert!(seen.insert(first(entropy)), "{bit}");
    }
    // Entropy whose bytes are all equal still gives uniform numbers.
    for entropy in [[0; 16], [1; 16], [0xff; 16]] {
        let mut random = Random::new(&entropy);
        let numbers: Vec<u32> = (0..4096).map(|_| random.ms(100, 64)).collect();
        for value in 100..164 {
            let count = numbers.iter().filter(|number| **number == value).count();
            // On average, each of the 64 values occurs 64 times.
            assert!((20..120).contains(&count), "{value}: {count}");
        }
        let rises = numbers.windows(2).filter(|pair| pair[0] < pair[1]).count();
        assert!((1800..2300).contains(&rises), "{rises}");
        // The differences of consecutive numbers vary; a counter would have only one.
        let steps = numbers.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]));
        assert!(steps.collect::<HashSet<_>>().len() > 100);
    }
}

/// RFC 6762 section 8.1: the first probe has a random delay of up to 250 milliseconds.
#[test]
fn hosts_started_together_probe_at_different_times() {
    let times = (0..100).map(|number| {
        let mut bench = Bench::up(2 * number + 1);
        bench.run(400);
        bench.sent[0].at
    });
    let times: HashSet<u64> = times.collect();
    assert!(times.len() > 60, "{}", times.len());
    assert!(times.iter().all(|at| *at < 250));
}
