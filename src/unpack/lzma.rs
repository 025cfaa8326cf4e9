//! Decodes raw LZMA, as the LZMA SDK's lzma-specification.txt writes it, with an end marker and without a header or the
//! first byte, which is always zero.
//!
//! What is damaged is decoded into something else and then found to be wrong: a bit read behind the end, or out of a place
//! that there is not, is zero. So nothing has to be asked on the way, and whatever comes, the end is reached: each turn
//! fills a byte of the output or is the last one.

/// Chances of one state of the coder for each place in a word of 16 bytes.
const PLACES: usize = 16;
const STATES: usize = 12;

// Where the chances of each kind of bit begin.
const IS_MATCH: usize = 0;
const IS_REPEAT: usize = IS_MATCH + STATES * PLACES;
/// Three of these in a row: which of the four last distances it is.
const REPEATS: usize = IS_REPEAT + STATES;
const IS_LONG: usize = REPEATS + 3 * STATES;
const SLOTS: usize = IS_LONG + STATES * PLACES;
const MIDDLE: usize = SLOTS + 4 * 64;
const ALIGN: usize = MIDDLE + 128;
const LENGTH: usize = ALIGN + 16;
const REPEAT_LENGTH: usize = LENGTH + LENGTHS;
const LITERALS: usize = REPEAT_LENGTH + LENGTHS;

// Within a length: two choices, the short ones, the middle ones, the long ones.
const SHORT: usize = 2;
const MEDIUM: usize = SHORT + PLACES * 8;
const LONG: usize = MEDIUM + PLACES * 8;
const LENGTHS: usize = LONG + 256;

/// Chances that a decoder keeps, for contexts of up to four bits.
pub(crate) const CHANCES: usize = LITERALS + (0x300 << 4);

/// Decodes `packed` into `out` and gives the length; `None` when it is damaged. Before the code are three bytes that the
/// encoder was told too: how many bits of the byte before, of a literal's place, and of any place make a difference.
pub(crate) fn decode(packed: &[u8], chances: &mut [u16; CHANCES], out: &mut [u8]) -> Option<usize> {
    let (&[before_bits, literal_bits, place_bits], code) = packed.split_first_chunk()?;
    chances.fill(1 << 10);
    let mut coder = Coder {
        input: code.iter(),
        range: u32::MAX,
        code: 0,
        chances,
    };
    for _ in 0..4 {
        coder.shift();
    }
    let mask = |bits: u8| (1 << (bits & 7)) - 1;
    let before_bits = u32::from(before_bits & 7);
    let mut state = 0;
    let mut last = [0_u32; 4];
    let mut at = 0_usize;
    loop {
        let place = at & mask(place_bits) & (PLACES - 1);
        let back = |out: &[u8], distance: u32| {
            let from = at.checked_sub(distance as usize + 1)?;
            out.get(from).copied()
        };
        if coder.bit(IS_MATCH + state * PLACES + place) == 0 {
            let previous = usize::from(back(out, 0).unwrap_or(0));
            let context =
                ((at & mask(literal_bits)) << before_bits) + ((previous << before_bits) >> 8);
            // Behind a match, the byte that would have followed in it says what to expect, up to the first other bit.
            let mut expected = match state {
                7.. => usize::from(back(out, last[0]).unwrap_or(0)),
                _ => 0,
            };
            let mut expecting = if state < 7 { 0 } else { 0x100 };
            let mut symbol = 1;
            while symbol < 0x100 {
                expected <<= 1;
                let next = expected & expecting;
                let bit = coder.bit(LITERALS + 0x300 * context + expecting + next + symbol);
                symbol = symbol << 1 | bit;
                expecting = if bit == 0 { expecting ^ next } else { next };
            }
            *out.get_mut(at)? = symbol as u8;
            at += 1;
            state = match state {
                0..4 => 0,
                4..10 => state - 3,
                _ => state - 6,
            };
            continue;
        }
        let mut len;
        let was_literal = state < 7;
        if coder.bit(IS_REPEAT + state) == 0 {
            len = coder.length(LENGTH, place);
            last = [coder.distance(len), last[0], last[1], last[2]];
            if last[0] == u32::MAX {
                // The end marker. Of a whole stream nothing is left, neither bytes nor a number.
                coder.normalise();
                let is_whole = coder.code == 0 && coder.input.as_slice().is_empty();
                return is_whole.then_some(at);
            }
            state = if was_literal { 7 } else { 10 };
        } else {
            let mut which = 0;
            while which < 3 && coder.bit(REPEATS + which * STATES + state) == 1 {
                which += 1;
            }
            if which == 0 && coder.bit(IS_LONG + state * PLACES + place) == 0 {
                *out.get_mut(at)? = back(out, last[0])?;
                at += 1;
                state = if was_literal { 9 } else { 11 };
                continue;
            }
            // It becomes the first of the four.
            for place in (0..which).rev() {
                last.swap(place, place + 1);
            }
            len = coder.length(REPEAT_LENGTH, place);
            state = if was_literal { 8 } else { 11 };
        }
        let mut from = at.checked_sub(last[0] as usize + 1)?;
        len += 2;
        while len > 0 {
            *out.get_mut(at)? = *out.get(from)?;
            at += 1;
            from += 1;
            len -= 1;
        }
    }
}

/// The range coder.
struct Coder<'a> {
    input: core::slice::Iter<'a, u8>,
    range: u32,
    code: u32,
    /// That a bit is zero, of 2,048.
    chances: &'a mut [u16; CHANCES],
}

impl Coder<'_> {
    fn shift(&mut self) {
        self.code = self.code << 8 | u32::from(self.input.next().copied().unwrap_or(0));
    }

    fn normalise(&mut self) {
        if self.range >> 24 == 0 {
            self.range <<= 8;
            self.shift();
        }
    }

    /// One bit with the chance at a place.
    #[inline(never)]
    fn bit(&mut self, at: usize) -> usize {
        self.normalise();
        let Some(chance) = self.chances.get_mut(at) else {
            return 0;
        };
        let bound = (self.range >> 11) * u32::from(*chance);
        if self.code < bound {
            self.range = bound;
            *chance += ((1 << 11) - *chance) >> 5;
            0
        } else {
            self.range -= bound;
            self.code -= bound;
            *chance -= *chance >> 5;
            1
        }
    }

    /// So many bits, the highest first, whose chances are a tree.
    fn tree(&mut self, base: usize, bits: u32) -> usize {
        let mut node = 1;
        for _ in 0..bits {
            node = node << 1 | self.bit(base + node);
        }
        node - (1 << bits)
    }

    /// So many bits, the lowest first.
    fn reverse(&mut self, base: usize, bits: u32) -> u32 {
        let (mut node, mut number) = (1, 0);
        for shift in 0..bits {
            let bit = self.bit(base + node);
            node = node << 1 | bit;
            number |= (bit as u32) << shift;
        }
        number
    }

    /// A length, less the two bytes that every match has.
    fn length(&mut self, base: usize, place: usize) -> usize {
        if self.bit(base) == 0 {
            self.tree(base + SHORT + place * 8, 3)
        } else if self.bit(base + 1) == 0 {
            8 + self.tree(base + MEDIUM + place * 8, 3)
        } else {
            16 + self.tree(base + LONG, 8)
        }
    }

    /// A distance, less one; all ones at the end.
    fn distance(&mut self, len: usize) -> u32 {
        let slot = self.tree(SLOTS + len.min(3) * 64, 6) as u32;
        if slot < 4 {
            return slot;
        }
        let bits = (slot >> 1) - 1;
        let high = (2 | slot & 1) << bits;
        if slot < 14 {
            return high + self.reverse(MIDDLE + (high - slot) as usize, bits);
        }
        let mut direct = 0;
        for _ in 4..bits {
            self.normalise();
            self.range >>= 1;
            direct <<= 1;
            if self.code >= self.range {
                self.code -= self.range;
                direct |= 1;
            }
        }
        // Above all numbers only where it is damaged.
        high.wrapping_add(direct << 4)
            .wrapping_add(self.reverse(ALIGN, 4))
    }
}
