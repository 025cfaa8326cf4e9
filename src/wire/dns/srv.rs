//! Selects one of several SRV records. RFC 2782.

/// Priority and weight.
pub type Rank = (u16, u16);

/// Selects one of `ranks` by its index: one of the lowest priority, with a probability proportional to its weight. `random` seeds
/// the choice.
pub fn choose(ranks: &mut dyn FnMut() -> Option<Rank>, random: u32) -> Option<usize> {
    let (mut chosen, mut priority, mut sum) = (None, u16::MAX, 0u32);
    let (mut at, mut random) = (0usize, random);
    while let Some((next, weight)) = ranks() {
        if chosen.is_none() || next < priority {
            (chosen, priority, sum) = (None, next, 0);
        }
        if next == priority {
            // Each candidate replaces the previous choice with a probability of its weight divided by the sum of all weights up to
            // its own. A weight of 0 counts as 1/64.
            let weight = u32::from(weight) * 64 + 1;
            sum = sum.saturating_add(weight);
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let share = (u64::from(random) * u64::from(sum)) >> 32;
            if chosen.is_none() || share < weight.into() {
                chosen = Some(at);
            }
        }
        at += 1;
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(ranks: &[Rank], random: u32) -> Option<usize> {
        let mut ranks = ranks.iter().copied();
        choose(&mut || ranks.next(), random)
    }

    fn shares(ranks: &[Rank]) -> Vec<u32> {
        let mut shares = vec![0; ranks.len()];
        for round in 0..10_000u32 {
            shares[chosen(ranks, round.wrapping_mul(0x9e37_79b9)).unwrap()] += 1;
        }
        shares
    }

    /// RFC 6763 section 5: "lower-numbered priority servers should be used in preference to higher-numbered priority
    /// servers"
    #[test]
    fn lowest_priority_is_preferred() {
        assert_eq!(chosen(&[], 1), None);
        assert_eq!(shares(&[(9, 9), (3, 0), (4, 100)]), [0, 10_000, 0]);
    }

    /// RFC 6763 section 5: "servers with equal priority should be selected randomly in proportion to their relative weights"
    #[test]
    fn equal_priorities_are_shared_by_weight() {
        for (share, expect) in shares(&[(0, 10), (1, 500), (0, 30), (0, 60)])
            .iter()
            .zip([1000, 0, 3000, 6000])
        {
            assert!(share.abs_diff(expect) < 200, "{share} of {expect}");
        }
        for share in shares(&[(0, 0), (0, 0)]) {
            assert!(share.abs_diff(5000) < 200, "{share}");
        }
    }
}
