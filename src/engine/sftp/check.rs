//! Hashes of files, and of the blocks of files: what the extension check-file answers, computed in slices.
//!
//! draft-ietf-secsh-filexfer-extensions-00 section 3. The sums are those of well-kept crates, called where all of them are
//! alike and small: with whole blocks of 64 bytes. What is around these blocks is the same for three of them, and is here.

use crate::vfs::{FsError, FsResult};

/// Bytes of the smallest block that a client may ask for, by the draft.
const BLOCK_BYTES_MIN: u32 = 256;

/// How the hashes are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    /// FIPS 180-4.
    Sha256,
    /// FIPS 180-4. Not for secrets.
    Sha1,
    /// RFC 1321. Not for secrets.
    Md5,
    /// That of Ethernet and ZIP, in big-endian order. For accidents only.
    Crc32,
}

impl Algorithm {
    /// The first that is known in a client's list, which has commas between the names.
    pub fn choose(list: &[u8]) -> Option<Self> {
        todo!()
    }
    /// The name in requests and replies.
    pub const fn name(self) -> &'static [u8] {
        todo!()
    }
}

/// A computation that is not at its end.
pub struct Check {
    algorithm: Algorithm,
}

impl Check {
    /// Begins with `len` bytes from `offset` of a file of `size` bytes, 0: to its end; what is beyond it is left out. There is
    /// one hash for each `block_bytes`, 0: for all of it. `Invalid` if a client may not ask for that, or if the hashes do not
    /// fit `room` bytes.
    pub fn new(
        algorithm: Algorithm,
        offset: u64,
        len: u64,
        block_bytes: u32,
        size: u64,
        room: usize,
    ) -> FsResult<Self> {
        todo!()
    }
    /// How the hashes are made.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
    /// Where the next bytes are, and how many are left. None left: [`Check::finish`] is next.
    pub const fn wants(&self) -> (u64, u64) {
        todo!()
    }
    /// Takes the next bytes, not more than are left. The hashes of blocks that they end are put to their place in `hashes`,
    /// which is the same room at every call.
    pub fn step(&mut self, bytes: &[u8], hashes: &mut [u8]) {
        todo!()
    }
    /// The hash of what is begun: nothing is left, or the file has become shorter. How many bytes of `hashes` there are.
    pub fn finish(&mut self, hashes: &mut [u8]) -> usize {
        todo!()
    }
}
