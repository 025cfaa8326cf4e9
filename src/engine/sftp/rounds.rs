//! The rounds of SHA-1 (FIPS 180-4, section 6.1.2) and of MD5 (RFC 1321, section 3.4), as loops.
//!
//! Unrolled, as in their crates, they are 6.6 KB, nearly a fifth of a binary that only serves SFTP; these loops are an eighth of
//! that. Neither hash is secure any more, so the processor's instructions for them are not used. The tests compare both with the
//! crates.

/// The integer part of 2^32 * abs(sin(i)), for i from 1 to 64.
const SINES: [u32; 64] = [
    0xd76a_a478,
    0xe8c7_b756,
    0x2420_70db,
    0xc1bd_ceee,
    0xf57c_0faf,
    0x4787_c62a,
    0xa830_4613,
    0xfd46_9501,
    0x6980_98d8,
    0x8b44_f7af,
    0xffff_5bb1,
    0x895c_d7be,
    0x6b90_1122,
    0xfd98_7193,
    0xa679_438e,
    0x49b4_0821,
    0xf61e_2562,
    0xc040_b340,
    0x265e_5a51,
    0xe9b6_c7aa,
    0xd62f_105d,
    0x0244_1453,
    0xd8a1_e681,
    0xe7d3_fbc8,
    0x21e1_cde6,
    0xc337_07d6,
    0xf4d5_0d87,
    0x455a_14ed,
    0xa9e3_e905,
    0xfcef_a3f8,
    0x676f_02d9,
    0x8d2a_4c8a,
    0xfffa_3942,
    0x8771_f681,
    0x6d9d_6122,
    0xfde5_380c,
    0xa4be_ea44,
    0x4bde_cfa9,
    0xf6bb_4b60,
    0xbebf_bc70,
    0x289b_7ec6,
    0xeaa1_27fa,
    0xd4ef_3085,
    0x0488_1d05,
    0xd9d4_d039,
    0xe6db_99e5,
    0x1fa2_7cf8,
    0xc4ac_5665,
    0xf429_2244,
    0x432a_ff97,
    0xab94_23a7,
    0xfc93_a039,
    0x655b_59c3,
    0x8f0c_cc92,
    0xffef_f47d,
    0x8584_5dd1,
    0x6fa8_7e4f,
    0xfe2c_e6e0,
    0xa301_4314,
    0x4e08_11a1,
    0xf753_7e82,
    0xbd3a_f235,
    0x2ad7_d2bb,
    0xeb86_d391,
];
/// Rotation (bits) of MD5's steps: a row for each 16 steps, repeated every four.
const TURNS: [[u8; 4]; 4] = [
    [7, 12, 17, 22],
    [5, 9, 14, 20],
    [4, 11, 16, 23],
    [6, 10, 15, 21],
];

/// SHA-1's rounds over a chunk. The caller adds the previous state. Uses the first five words.
pub(super) fn sha1(words: &mut [u32; 8], chunk: &[u8; 64]) {
    let mut ring = [0; 16];
    for (place, bytes) in ring.iter_mut().zip(chunk.as_chunks().0) {
        *place = u32::from_be_bytes(*bytes);
    }
    for step in 0..80_usize {
        let at = |ahead: usize| ring.get((step + ahead) % 16).copied().unwrap_or_default();
        let mut next = at(0);
        if step >= 16 {
            next = (at(13) ^ at(8) ^ at(2) ^ next).rotate_left(1);
        }
        if let Some(place) = ring.get_mut(step % 16) {
            *place = next;
        }
        let [a, b, c, d, e, ..] = *words;
        let (mixed, constant) = match step {
            0..20 => (d ^ (b & (c ^ d)), 0x5a82_7999),
            20..40 => (b ^ c ^ d, 0x6ed9_eba1),
            40..60 => ((b & c) | (d & (b | c)), 0x8f1b_bcdc),
            _ => (b ^ c ^ d, 0xca62_c1d6_u32),
        };
        let sum = a.rotate_left(5).wrapping_add(e).wrapping_add(mixed);
        let sum = sum.wrapping_add(constant).wrapping_add(next);
        [words[0], words[1], words[2], words[3], words[4]] = [sum, a, b.rotate_left(30), c, d];
    }
}

/// MD5's rounds over a chunk. The caller adds the previous state. Uses the first four words.
pub(super) fn md5(words: &mut [u32; 8], chunk: &[u8; 64]) {
    for (step, sine) in SINES.iter().enumerate() {
        let [a, b, c, d, ..] = *words;
        let (mixed, at) = match step {
            0..16 => (d ^ (b & (c ^ d)), step),
            16..32 => (c ^ (d & (b ^ c)), step * 5 + 1),
            32..48 => (b ^ c ^ d, step * 3 + 5),
            _ => (c ^ (b | !d), step * 7),
        };
        let bytes = chunk.as_chunks().0.get(at % 16);
        let taken = u32::from_le_bytes(bytes.copied().unwrap_or_default());
        let sum = a
            .wrapping_add(mixed)
            .wrapping_add(*sine)
            .wrapping_add(taken);
        let turns = TURNS.as_flattened().get((step >> 2 & 12) | step & 3);
        let turned = sum.rotate_left(turns.copied().unwrap_or_default().into());
        [words[0], words[1], words[2], words[3]] = [d, b.wrapping_add(turned), b, c];
    }
}
