//! What nobody should be able to tell in advance.

use super::world::World;
use crate::engine::mdns::Random;
use std::collections::HashSet;

/// CVE-2024-52615, CVE-2024-52616: ports and numbers of questions that could be guessed let others answer in time. The port and
/// the number 0 are the standard's here; what is chance is when something is said, which numbers names get, and which list a
/// name is in.
#[test]
fn every_bit_of_entropy_counts_and_nothing_follows_from_what_was_before() {
    let first = |entropy: [u8; 16]| {
        let mut random = Random::new(&entropy);
        [(); 4].map(|()| random.ms(0, u32::MAX))
    };
    let mut seen = HashSet::from([first([7; 16])]);
    // Both halves are mixed, and the lowest bit of the mixture is always set.
    for bit in 1..64 {
        let mut entropy = [7; 16];
        entropy[bit / 8] ^= 1 << (bit % 8);
        assert!(seen.insert(first(entropy)), "{bit}");
    }
    // A host without entropy speaks all the same, and in no order.
    for entropy in [[0; 16], [1; 16], [0xff; 16]] {
        let mut random = Random::new(&entropy);
        let numbers: Vec<u32> = (0..4096).map(|_| random.ms(100, 64)).collect();
        for place in 100..164 {
            let count = numbers.iter().filter(|number| **number == place).count();
            // 64 on average.
            assert!((20..120).contains(&count), "{place}: {count}");
        }
        let ups = numbers.windows(2).filter(|pair| pair[0] < pair[1]).count();
        assert!((1800..2300).contains(&ups), "{ups}");
        // The same distance is not found again and again, as it would be if they were counted.
        let steps = numbers.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]));
        assert!(steps.collect::<HashSet<_>>().len() > 100);
    }
}

/// The same of what is seen of it: when hosts that were switched on together speak.
#[test]
fn hosts_that_wake_up_together_speak_at_different_times() {
    let times = (0..100).map(|number| {
        let mut world = World::up(2 * number + 1);
        world.run(400);
        world.sent[0].at
    });
    let times: HashSet<u64> = times.collect();
    assert!(times.len() > 60, "{}", times.len());
    assert!(times.iter().all(|at| *at < 250));
}
