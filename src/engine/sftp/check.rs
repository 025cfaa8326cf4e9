//! The extension check-file: hashes of files and of their blocks, computed in slices.
//!
//! draft-ietf-secsh-filexfer-extensions-00 section 3. SHA-256 and CRC-32 come from crates, SHA-1 and MD5 from `rounds`. To save
//! code, only the block function of SHA-256 is called, with whole chunks of 64 bytes. This module does the buffering and padding
//! for all hashes but CRC-32, which needs neither.

use super::rounds;
use crate::mem::{Ends as _, index_of, nth, parts};
use crate::vfs::{FsError, FsResult};
use crate::wire::Writer;
use crc::{CRC_32_ISO_HDLC, Crc, NoTable};

/// Smallest block that a client may request (bytes).
const BLOCK_BYTES_MIN: u32 = 256;
/// Block size (bytes) that results in one hash for the whole range, because no file is that long.
const ALL: u64 = u64::MAX;
/// Size of the chunks that the hash functions consume (bytes).
const CHUNK_BYTES: usize = 64;

/// A hash function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    /// FIPS 180-4.
    Sha256,
    /// FIPS 180-4; not secure, detects accidents only.
    Sha1,
    /// RFC 1321; not secure, detects accidents only.
    Md5,
    /// CRC-32 of Ethernet and ZIP, as a big-endian word; not secure, detects accidents only.
    Crc32,
}

/// The names in requests and replies, in the order of [`Algorithm`].
const NAMES: &[u8] = b"sha256 sha1 md5 crc32";
/// Lengths of the hashes (32-bit words).
static WORD_COUNTS: [u8; 4] = [8, 5, 4, 1];

impl Algorithm {
    const ALL: [Self; 4] = [Self::Sha256, Self::Sha1, Self::Md5, Self::Crc32];

    /// The first supported name in a client's comma-separated list.
    pub fn choose(list: &[u8]) -> Option<Self> {
        let index = parts(list, b',').find_map(|name| index_of(NAMES, name))?;
        Self::ALL.get(index).copied()
    }

    /// The name in requests and replies.
    pub fn name(self) -> &'static [u8] {
        nth(NAMES, b' ', self as usize)
    }

    /// Length of a hash (32-bit words).
    fn word_count(self) -> usize {
        let count = WORD_COUNTS.get(self as usize);
        count.copied().unwrap_or_default().into()
    }

    /// The initial state. MD5's is the first four words of SHA-1's.
    const fn start(self) -> &'static [u32; 8] {
        match self {
            Self::Sha256 => &[
                0x6a09_e667,
                0xbb67_ae85,
                0x3c6e_f372,
                0xa54f_f53a,
                0x510e_527f,
                0x9b05_688c,
                0x1f83_d9ab,
                0x5be0_cd19,
            ],
            Self::Sha1 | Self::Md5 => &[
                0x6745_2301,
                0xefcd_ab89,
                0x98ba_dcfe,
                0x1032_5476,
                0xc3d2_e1f0,
                0,
                0,
                0,
            ],
            Self::Crc32 => &[0; 8],
        }
    }
}

/// A check in progress.
#[derive(Debug)]
pub struct Check {
    sum: Sum,
    /// Block size (bytes), or [`ALL`].
    block_bytes: u64,
    /// Length of the hashes written (bytes).
    produced: usize,
}

impl Check {
    /// A check that has not begun.
    pub const IDLE: Self = Self {
        sum: Sum {
            algorithm: Algorithm::Sha256,
            words: [0; 8],
            len: 0,
            chunk: [0; CHUNK_BYTES],
        },
        block_bytes: 0,
        produced: 0,
    };

    /// Begins a check of `len` bytes from `offset` of a file of `size` bytes. The range is cut at the end of the file; a `len` of 0
    /// means up to the end. Computes one hash for each `block_bytes`, or a single one if that is 0. Returns the number of bytes to
    /// pass to `step`. Fails with `Invalid` if `offset` is beyond the end, if a block has 1 to 255 bytes, or if the hashes do not
    /// fit into `buffer` bytes.
    pub fn start(
        &mut self,
        algorithm: Algorithm,
        (offset, len, block_bytes): (u64, u64, u32),
        size: u64,
        buffer: usize,
    ) -> FsResult<u64> {
        let rest = size.checked_sub(offset).ok_or(FsError::Invalid)?;
        let left = if len == 0 { rest } else { len.min(rest) };
        let mut count = 1;
        self.block_bytes = ALL;
        if block_bytes > 0 {
            self.block_bytes = block_bytes.max(BLOCK_BYTES_MIN).into();
            count = left.div_ceil(self.block_bytes);
        }
        let hashes_bytes = count.saturating_mul(algorithm.word_count() as u64 * 4);
        if self.block_bytes < ALL && block_bytes < BLOCK_BYTES_MIN || hashes_bytes > buffer as u64 {
            return Err(FsError::Invalid);
        }
        self.sum.algorithm = algorithm;
        self.sum.reset();
        self.produced = 0;
        Ok(left)
    }

    /// Hashes the next bytes of the range. Whenever a block is complete, appends its hash to `hashes`, which must be the same
    /// buffer in each call.
    pub fn step(&mut self, bytes: &[u8], hashes: &mut [u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let buffer = self.block_bytes - self.sum.len;
            let here = buffer.min(rest.len() as u64) as usize;
            self.sum.update(rest.head(here));
            if self.sum.len == self.block_bytes {
                self.put(hashes);
            }
            rest = rest.tail(here);
        }
    }

    /// Ends the last block, at the end of the range or because the file has become shorter. Returns the length of the hashes
    /// (bytes).
    pub fn finish(&mut self, hashes: &mut [u8]) -> usize {
        if self.block_bytes == ALL || self.sum.len > 0 {
            self.put(hashes);
        }
        self.produced
    }

    /// Appends the block's hash to `hashes` and begins the next block.
    fn put(&mut self, hashes: &mut [u8]) {
        let algorithm = self.sum.algorithm;
        self.sum.finish();
        let buffer = hashes.tail_mut(self.produced);
        let mut buffer = Writer::new(buffer);
        for word in self.sum.words.iter().take(algorithm.word_count()) {
            buffer.u32(match algorithm {
                Algorithm::Md5 => word.swap_bytes(),
                _ => *word,
            });
        }
        self.produced = self.produced.saturating_add(buffer.position());
        self.sum.reset();
    }
}

/// The state of one hash.
#[derive(Debug)]
struct Sum {
    algorithm: Algorithm,
    words: [u32; 8],
    /// Number of bytes hashed.
    len: u64,
    /// The incomplete chunk.
    chunk: [u8; CHUNK_BYTES],
}

impl Sum {
    const fn reset(&mut self) {
        self.words = *self.algorithm.start();
        self.len = 0;
    }

    fn update(&mut self, bytes: &[u8]) {
        let begun = self.len as usize % CHUNK_BYTES;
        self.len += bytes.len() as u64;
        if self.algorithm == Algorithm::Crc32 {
            return self.add(bytes);
        }
        let mut rest = bytes;
        if begun > 0 {
            let buffer = self.chunk.tail_mut(begun);
            let here = buffer.len().min(rest.len());
            let full = here == buffer.len();
            copy(buffer, rest.head(here));
            if !full {
                return;
            }
            mix(self.algorithm, &mut self.words, &[self.chunk]);
            rest = rest.tail(here);
        }
        let (chunks, rest) = rest.as_chunks();
        mix(self.algorithm, &mut self.words, chunks);
        copy(&mut self.chunk, rest);
    }

    /// Adds bytes to a CRC-32.
    fn add(&mut self, bytes: &[u8]) {
        // Bit by bit: a lookup table would need 1 KiB, and the disk is slower anyway.
        let crc = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);
        let [word, ..] = &mut self.words;
        // `word` is a finished CRC: undo its final XOR and reflection, because the crate expects a value from before both.
        let mut digest = crc.digest_with_initial((!*word).reverse_bits());
        digest.update(bytes);
        *word = digest.finalize();
    }

    /// Adds the padding and the length; the state then is the hash.
    fn finish(&mut self) {
        const PADDING: [u8; CHUNK_BYTES] = {
            let mut padding = [0; CHUNK_BYTES];
            padding[0] = 0x80;
            padding
        };
        let bits = self.len * 8;
        let bits = match self.algorithm {
            Algorithm::Crc32 => return,
            Algorithm::Md5 => bits.to_le_bytes(),
            _ => bits.to_be_bytes(),
        };
        // Padding of 1 to 64 bytes, so that the eight bytes of the length end a chunk.
        let padding = 55_usize.wrapping_sub(self.len as usize) % CHUNK_BYTES;
        self.update(PADDING.head(padding + 1));
        self.update(&bits);
    }
}

/// Adds whole chunks to the state.
fn mix(algorithm: Algorithm, words: &mut [u32; 8], chunks: &[[u8; CHUNK_BYTES]]) {
    let rounds = match algorithm {
        Algorithm::Sha256 => return sha2::block_api::compress256(words, chunks),
        Algorithm::Sha1 => rounds::sha1,
        _ => rounds::md5,
    };
    for chunk in chunks {
        let before = *words;
        rounds(words, chunk);
        for (word, before) in words.iter_mut().zip(before) {
            *word = word.wrapping_add(before);
        }
    }
}

/// Copies to the start of a buffer that is large enough.
fn copy(buffer: &mut [u8], bytes: &[u8]) {
    if let Some(buffer) = buffer.get_mut(..bytes.len()) {
        buffer.copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Returns the hashes of a range of `bytes` in hexadecimal, computed in slices of `slice` bytes.
    fn answer(
        algorithm: Algorithm,
        bytes: &[u8],
        (offset, len, block_bytes): (u64, u64, u32),
        slice: usize,
    ) -> FsResult<String> {
        let mut hashes = [0; 4096];
        let size = bytes.len() as u64;
        let mut check = Check::IDLE;
        let left = check.start(algorithm, (offset, len, block_bytes), size, hashes.len())?;
        let wanted = &bytes[offset as usize..][..left as usize];
        for part in wanted.chunks(slice) {
            check.step(part, &mut hashes);
        }
        let len = check.finish(&mut hashes);
        Ok(hex(&hashes[..len]))
    }

    fn whole(algorithm: Algorithm, bytes: &[u8], slice: usize) -> String {
        answer(algorithm, bytes, (0, 0, 0), slice).unwrap()
    }

    /// Hashes of the empty string, "abc", the 56-byte example of FIPS 180 that needs two chunks, and a MiB of "a".
    const KNOWN: [(Algorithm, [&str; 4]); 4] = [
        (
            Algorithm::Sha256,
            [
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
                "9bc1b2a288b26af7257a36277ae3816a7d4f16e89c1e7e77d0a5c48bad62b360",
            ],
        ),
        (
            Algorithm::Sha1,
            [
                "da39a3ee5e6b4b0d3255bfef95601890afd80709",
                "a9993e364706816aba3e25717850c26c9cd0d89d",
                "84983e441c3bd26ebaae4aa1f95129e5e54670f1",
                "454027d64e3b855735552d42230eea1cbd645fa0",
            ],
        ),
        (
            Algorithm::Md5,
            [
                "d41d8cd98f00b204e9800998ecf8427e",
                "900150983cd24fb0d6963f7d28e17f72",
                "8215ef0796a20bcaaae116d3876c664a",
                "7202826a7791073fe2787f0c94603278",
            ],
        ),
        (
            Algorithm::Crc32,
            ["00000000", "352441c2", "171a3f5f", "d7cd5672"],
        ),
    ];

    #[test]
    fn hashes_match_published_test_vectors() {
        let messages = [
            b"".to_vec(),
            b"abc".to_vec(),
            b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq".to_vec(),
            vec![b'a'; 1 << 20],
        ];
        for (algorithm, hashes) in KNOWN {
            for (message, hash) in messages.iter().zip(hashes) {
                for slice in [100_000, 1 << 20] {
                    assert_eq!(whole(algorithm, message, slice), hash);
                }
            }
        }
    }

    #[test]
    fn hashes_of_any_length_match_other_crates() {
        use ::sha2::Digest as _;
        let bytes: Vec<u8> = (0..300u32).map(|at| ((at * at) >> 3) as u8).collect();
        for len in 0..bytes.len() {
            let bytes = &bytes[..len];
            for slice in [1, 7, 63, 64, 65, 300] {
                for (algorithm, hash) in [
                    (Algorithm::Sha256, hex(&::sha2::Sha256::digest(bytes))),
                    (Algorithm::Sha1, hex(&::sha1::Sha1::digest(bytes))),
                    (Algorithm::Md5, hex(&::md5::Md5::digest(bytes))),
                    (
                        Algorithm::Crc32,
                        format!("{:08x}", Crc::<u32>::new(&CRC_32_ISO_HDLC).checksum(bytes)),
                    ),
                ] {
                    assert_eq!(whole(algorithm, bytes, slice), hash, "{len} {slice}");
                }
            }
        }
    }

    #[test]
    fn each_block_and_the_remainder_are_hashed() {
        let bytes: Vec<u8> = (0..=255).cycle().take(700).collect();
        for algorithm in Algorithm::ALL {
            for slice in [1, 255, 256, 257, 700] {
                for (range, parts) in [
                    ((0, 0, 256), &[(0, 256), (256, 512), (512, 700)][..]),
                    ((0, 512, 256), &[(0, 256), (256, 512)]),
                    ((188, 0, 256), &[(188, 444), (444, 700)]),
                    ((1, 5000, 300), &[(1, 301), (301, 601), (601, 700)]),
                    ((100, 50, 256), &[(100, 150)]),
                    ((100, 50, 0), &[(100, 150)]),
                    ((699, 0, u32::MAX), &[(699, 700)]),
                    ((700, 0, 256), &[]),
                    ((700, 9, 0), &[(0, 0)]),
                    ((0, u64::MAX, 0), &[(0, 700)]),
                ] {
                    let expect: String = parts
                        .iter()
                        .map(|part| whole(algorithm, &bytes[part.0..part.1], 700))
                        .collect();
                    assert_eq!(answer(algorithm, &bytes, range, slice), Ok(expect));
                }
            }
        }
    }

    #[test]
    fn shrunken_file_shortens_the_last_block() {
        for (block_bytes, taken, parts) in [
            (256, 300, &[(0, 256), (256, 300)][..]),
            (256, 256, &[(0, 256)]),
            (256, 0, &[]),
            (0, 300, &[(0, 300)]),
            (0, 0, &[(0, 0)]),
        ] {
            let bytes = [7; 300];
            let mut hashes = [0; 100];
            let mut check = Check::IDLE;
            let begun = check.start(Algorithm::Md5, (5, 1000, block_bytes), 2000, 100);
            assert_eq!(begun, Ok(1000));
            check.step(&bytes[..taken], &mut hashes);
            let len = check.finish(&mut hashes);
            let expect: String = parts
                .iter()
                .map(|part| whole(Algorithm::Md5, &bytes[part.0..part.1], 300))
                .collect();
            assert_eq!(hex(&hashes[..len]), expect);
        }
    }

    #[test]
    fn bad_range_block_size_or_buffer_is_invalid() {
        let begin = |range, buffer| {
            let begun = { Check::IDLE }.start(Algorithm::Sha256, range, 10_000, buffer);
            begun.map(|_| ())
        };
        for (range, buffer, expect) in [
            ((0, 0, 1), 9999, Err(FsError::Invalid)),
            ((0, 0, 255), 9999, Err(FsError::Invalid)),
            ((0, 0, 256), 9999, Ok(())),
            ((10_001, 0, 0), 32, Err(FsError::Invalid)),
            ((u64::MAX, u64::MAX, 0), 32, Err(FsError::Invalid)),
            ((10_000, 0, 0), 32, Ok(())),
            ((0, 0, 0), 31, Err(FsError::Invalid)),
            ((0, 0, 256), 40 * 32, Ok(())),
            ((0, 0, 256), 40 * 32 - 1, Err(FsError::Invalid)),
            ((0, 9984, 256), 39 * 32, Ok(())),
            ((0, 9985, 256), 39 * 32, Err(FsError::Invalid)),
        ] {
            assert_eq!(begin(range, buffer), expect, "{range:?} {buffer}");
        }
        let huge = { Check::IDLE }.start(Algorithm::Crc32, (0, 0, 256), u64::MAX, usize::MAX >> 10);
        assert_eq!(huge, Err(FsError::Invalid));
    }

    #[test]
    fn first_known_algorithm_of_list_is_chosen() {
        for (list, expect) in [
            (&b"sha256"[..], Some(Algorithm::Sha256)),
            (b"md5,sha256", Some(Algorithm::Md5)),
            (b"sha512,sha384,sha1,crc32", Some(Algorithm::Sha1)),
            (b"crc32", Some(Algorithm::Crc32)),
            (b",,crc32,", Some(Algorithm::Crc32)),
            (b"", None),
            (b"sha25,sha2566,SHA256, md5", None),
        ] {
            assert_eq!(Algorithm::choose(list), expect);
        }
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::choose(algorithm.name()), Some(algorithm));
        }
    }
}
