//! Decodes raw LZMA (LZMA SDK, lzma-specification.txt): with an end marker, without a header and without the first byte, which
//! is always zero.
//!
//! Damaged input is not checked at each step: a bit after the end of the input, or with an index outside the table, is 0, and the
//! final check of the coder's state finds the damage. The decoder always terminates: each step writes at least one byte of the
//! output or is the last one.

/// Number of position states, which are the values of the low four bits of the output position.
const PLACES: usize = 16;
const STATES: usize = 12;

// Index of the first probability of each kind of bit.
const IS_MATCH: usize = 0;
const IS_REPEAT: usize = IS_MATCH + STATES * PLACES;
/// Three tables of [`STATES`] each, which select one of the four last distances.
const REPEATS: usize = IS_REPEAT + STATES;
const IS_LONG: usize = REPEATS + 3 * STATES;
const SLOTS: usize = IS_LONG + STATES * PLACES;
const MIDDLE: usize = SLOTS + 4 * 64;
const ALIGN: usize = MIDDLE + 128;
const LENGTH: usize = ALIGN + 16;
const REPEAT_LENGTH: usize = LENGTH + LENGTHS;
const LITERALS: usize = REPEAT_LENGTH + LENGTHS;

// Indices within the table of a length: two choice bits, then the trees of the short, medium and long lengths.
const SHORT: usize = 2;
const MEDIUM: usize = SHORT + PLACES * 8;
const LONG: usize = MEDIUM + PLACES * 8;
const LENGTHS: usize = LONG + 256;

/// Number of probabilities, for up to four context bits (lc + lp).
pub(crate) const CHANCES: usize = LITERALS + (0x300 << 4);

/// Decodes `packed` into `out` and returns the length. `None`: damaged. The first three bytes of `packed` are the parameters lc
/// (bits of the previous byte), lp (bits of a literal's position) and pb (bits of any position).
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
    let mut len_out = 0_usize;
    loop {
        let place = len_out & mask(place_bits) & (PLACES - 1);
        let back = |out: &[u8], distance: u32| {
            let from = len_out.checked_sub(distance as usize + 1)?;
            out.get(from).copied()
        };
        if coder.bit(IS_MATCH + state * PLACES + place) == 0 {
            let previous = usize::from(back(out, 0).unwrap_or(0));
            let context =
                ((len_out & mask(literal_bits)) << before_bits) + ((previous << before_bits) >> 8);
            let expected = match state {
                7.. => Some(back(out, last[0]).unwrap_or(0)),
                _ => None,
            };
            *out.get_mut(len_out)? = coder.literal(LITERALS + 0x300 * context, expected);
            len_out += 1;
            state = after_literal(state);
            continue;
        }
        let len;
        let was_literal = state < 7;
        if coder.bit(IS_REPEAT + state) == 0 {
            len = coder.length(LENGTH, place);
            last = [coder.distance(len), last[0], last[1], last[2]];
            if last[0] == u32::MAX {
                // The end marker. An undamaged stream ends with the code 0 and without further bytes.
                coder.normalise();
                let is_whole = coder.code == 0 && coder.input.as_slice().is_empty();
                return is_whole.then_some(len_out);
            }
            state = if was_literal { 7 } else { 10 };
        } else {
            let mut which = 0;
            while which < 3 && coder.bit(REPEATS + which * STATES + state) == 1 {
                which += 1;
            }
            if which == 0 && coder.bit(IS_LONG + state * PLACES + place) == 0 {
                *out.get_mut(len_out)? = back(out, last[0])?;
                len_out += 1;
                state = if was_literal { 9 } else { 11 };
                continue;
            }
            // Moves the selected distance to the front.
            for place in (0..which).rev() {
                last.swap(place, place + 1);
            }
            len = coder.length(REPEAT_LENGTH, place);
            state = if was_literal { 8 } else { 11 };
        }
        len_out = copy_match(out, len_out, last[0], len + 2)?;
    }
}

/// Copies `len` bytes of the output, from `distance` + 1 bytes before its end `end`, to that end. The bytes may overlap. Returns the
/// new end; `None`: damaged.
fn copy_match(out: &mut [u8], mut end: usize, distance: u32, mut len: usize) -> Option<usize> {
    let mut from = end.checked_sub(distance as usize + 1)?;
    while len > 0 {
        *out.get_mut(end)? = *out.get(from)?;
        end += 1;
        from += 1;
        len -= 1;
    }
    Some(end)
}

/// Returns the state after a literal.
const fn after_literal(state: usize) -> usize {
    match state {
        0..4 => 0,
        4..10 => state - 3,
        _ => state - 6,
    }
}

/// The range coder.
struct Coder<'a> {
    input: core::slice::Iter<'a, u8>,
    range: u32,
    code: u32,
    /// Probabilities that a bit is 0, in units of 1/2,048.
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

    /// Decodes a bit with the probability at `index`, and adapts the probability.
    #[inline(never)]
    fn bit(&mut self, index: usize) -> usize {
        self.normalise();
        let Some(chance) = self.chances.get_mut(index) else {
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

    /// Decodes a number of `bits` bits, highest bit first, with the tree of probabilities at `base`.
    fn tree(&mut self, base: usize, bits: u32) -> usize {
        let mut node = 1;
        for _ in 0..bits {
            node = node << 1 | self.bit(base + node);
        }
        node - (1 << bits)
    }

    /// Decodes a number of `bits` bits, lowest bit first, with the tree of probabilities at `base`.
    fn reverse(&mut self, base: usize, bits: u32) -> u32 {
        let (mut node, mut number) = (1, 0);
        for shift in 0..bits {
            let bit = self.bit(base + node);
            node = node << 1 | bit;
            number |= (bit as u32) << shift;
        }
        number
    }

    /// Decodes a literal with the probabilities at `base`. After a match, `expected` is the byte that would have continued the
    /// match; it selects the probabilities, up to the first bit that differs.
    fn literal(&mut self, base: usize, expected: Option<u8>) -> u8 {
        let mut expecting = if expected.is_some() { 0x100 } else { 0 };
        let mut expected = usize::from(expected.unwrap_or(0));
        let mut symbol = 1;
        while symbol < 0x100 {
            expected <<= 1;
            let next = expected & expecting;
            let bit = self.bit(base + expecting + next + symbol);
            symbol = symbol << 1 | bit;
            expecting = if bit == 0 { expecting ^ next } else { next };
        }
        symbol as u8
    }

    /// Decodes the length of a match, minus 2.
    fn length(&mut self, base: usize, place: usize) -> usize {
        if self.bit(base) == 0 {
            self.tree(base + SHORT + place * 8, 3)
        } else if self.bit(base + 1) == 0 {
            8 + self.tree(base + MEDIUM + place * 8, 3)
        } else {
            16 + self.tree(base + LONG, 8)
        }
    }

    /// Decodes a distance, minus 1. All ones: the end marker.
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
        // Overflows only if the input is damaged.
        high.wrapping_add(direct << 4)
            .wrapping_add(self.reverse(ALIGN, 4))
    }
}
