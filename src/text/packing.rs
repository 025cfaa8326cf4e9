//! Texts in a third of their bytes: each bit of a letter is guessed from the letters before it, as far as these were met before,
//! and only what the guess leaves open is written, by arithmetic coding. The compiler packs, the process unpacks.
//!
//! How often a bit was 0 or 1 is counted in the context of the letters before, of none of them up to three. A longer context
//! counts four times as much as the next shorter one. What was seen more lately counts more.

/// The table in which contexts are looked up has so many bits of places. With fewer of them, contexts that are forgotten too
/// early make the packed texts longer.
const PLACE_BITS: u32 = 15;
/// Spreads contexts over the table: of 1,500 factors the one that packs these texts best.
const SPREAD: u32 = 0x18a9_f89d;
/// Below this, the next byte is shifted in.
const RANGE_MIN: u32 = 1 << 24;

/// Of each place: how often 0 and 1 followed the context that was there last, and a part of its hash.
pub(super) type Seen = [[u8; 3]; 1 << PLACE_BITS];

/// What followed in this context; nothing, if another was there last.
#[expect(clippy::indexing_slicing, reason = "a number of so many bits")]
#[inline(never)]
const fn followed(seen: &mut Seen, context: u32) -> &mut [u8; 3] {
    let hash = context.wrapping_mul(SPREAD);
    let place = &mut seen[(hash >> (32 - PLACE_BITS)) as usize];
    let check = (hash >> (24 - PLACE_BITS)) as u8;
    if place[2] != check {
        *place = [0, 0, check];
    }
    place
}

/// Which part of `range` is for 0. The rest is for 1.
const fn split(seen: &mut Seen, letters: u32, range: u32) -> u32 {
    let (mut zero, mut all) = (0, 0);
    // With each step it loses the letter that is furthest away, and in the end the one under way.
    let mut context = letters;
    loop {
        let [zeros, ones, _] = *followed(seen, context);
        zero = zero * 4 + zeros as u32;
        all = all * 4 + zeros as u32 + ones as u32;
        context <<= 8;
        if context == 0 {
            // What never came may come. The last bit shows the compiler that this is not 0.
            return range / ((all + 2) | 1) * (zero + 1);
        }
    }
}

/// Counts the next bit where it was guessed; the letters with this bit.
#[expect(clippy::indexing_slicing, reason = "a bit")]
const fn learn(seen: &mut Seen, letters: u32, bit: bool) -> u32 {
    // With each step it loses the letter that is furthest away, and in the end the one under way.
    let mut context = letters;
    loop {
        let counts = followed(seen, context);
        let same = &mut counts[bit as usize];
        *same = same.wrapping_add(1);
        let other = &mut counts[!bit as usize];
        if *other > 1 {
            *other = *other / 2 + 1;
        }
        context <<= 8;
        if context == 0 {
            return letters + (letters & 0xff) + bit as u32;
        }
    }
}

/// The bits of a letter begin behind a marker, in the lowest byte. In the others are the letters before.
const LETTER_BEGIN: u32 = 1;
/// Where the marker is when all bits of a letter are known.
const LETTER_END: u8 = 1 << 7;

/// Unpacks letters into all of `room`; `seen` has nothing but zeros in it.
pub(super) fn unpack(packed: &[u8], room: &mut [u8], seen: &mut Seen) {
    // At first there is nothing, and three bytes are shifted in.
    let (mut range, mut code, mut at) = (1, 0, 0);
    let mut letters = 0;
    for place in room {
        letters = letters << 8 | LETTER_BEGIN;
        while letters as u8 & LETTER_END == 0 {
            while range < RANGE_MIN {
                range <<= 8;
                code <<= 8;
                if let Some(byte) = packed.get(at) {
                    code |= u32::from(*byte);
                }
                at += 1;
            }
            let split = split(seen, letters, range);
            let bit = code >= split;
            if bit {
                code -= split;
                range -= split;
            } else {
                range = split;
            }
            letters = learn(seen, letters, bit);
        }
        *place = letters as u8 & !LETTER_END;
    }
}

/// What texts are packed into, by the compiler.
#[derive(Clone, Copy)]
pub(super) struct Packed<const ROOM: usize> {
    pub(super) bytes: [u8; ROOM],
    pub(super) len: usize,
}

#[expect(clippy::indexing_slicing, reason = "done by the compiler")]
impl<const ROOM: usize> Packed<ROOM> {
    /// Packs letters of seven bits.
    pub(super) const fn new(letters: &[u8]) -> Self {
        let mut packed = Self {
            bytes: [0; ROOM],
            len: 0,
        };
        let mut seen = [[0; 3]; _];
        let mut before = 0;
        let (mut low, mut range) = (0_u64, RANGE_MIN);
        // What is shifted out first is always 0, and not there when it is unpacked.
        let mut first = true;
        let mut at = 0;
        while at < letters.len() {
            before = before << 8 | LETTER_BEGIN;
            let mut bits = 7;
            while bits > 0 {
                bits -= 1;
                let bit = letters[at] >> bits & 1 != 0;
                let split = split(&mut seen, before, range);
                if bit {
                    low += split as u64;
                    range -= split;
                } else {
                    range = split;
                }
                before = learn(&mut seen, before, bit);
                while range < RANGE_MIN {
                    low = packed.shift(low, first);
                    first = false;
                    range <<= 8;
                }
            }
            at += 1;
        }
        // One byte says enough of where in the range it is: zeros follow.
        low += RANGE_MIN as u64 - 1;
        packed.shift(low, first);
        packed
    }

    /// Writes the highest of four bytes, with what it carries to those before; what is left, shifted.
    const fn shift(&mut self, low: u64, first: bool) -> u64 {
        if low >> 32 != 0 {
            let mut at = self.len - 1;
            while self.bytes[at] == u8::MAX {
                self.bytes[at] = 0;
                at -= 1;
            }
            self.bytes[at] += 1;
        }
        if !first {
            self.bytes[self.len] = (low >> 24) as u8;
            self.len += 1;
        }
        low << 8 & 0xffff_ffff
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked() {
        let mut seed = 1_u32;
        let noise: Vec<u8> = (0..4000)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 25) as u8
            })
            .collect();
        let same = [127; 4000];
        let words = b"the same words, and the same words, and the same words again".repeat(20);
        for letters in [&b""[..], b"a", b"\0\x7f", &noise, &same, &words] {
            let packed = Packed::<8000>::new(letters);
            let mut unpacked = vec![0; letters.len()];
            unpack(&packed.bytes[..packed.len], &mut unpacked, &mut [[0; 3]; _]);
            assert_eq!(unpacked, letters);
        }
        assert!(Packed::<8000>::new(&words).len < 100);
    }
}
