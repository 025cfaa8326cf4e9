//! The memory that outlives a server: `serve` shares it among its servers and with their successors.
//!
//! Its tables have a fixed size and place. A header names the layout, so that another version of the program, which replaces the
//! servers, begins with empty tables instead of reading others.

use super::drc::Set;
use super::lock::ServerLock;
use crate::config::{
    CREATE_VERIFIER_BYTES, CREATE_VERIFIER_COUNT, CREATED_BYTES, DRC_SET_COUNT, SHARED_BYTES,
    SHARED_HEADER_BYTES,
};
use crate::wire::{Reader, Writer};
use core::mem::offset_of;

/// A file, by file system and inode number, the verifier of the exclusive CREATE that made it, and the checksum of both.
#[doc(alias = "createverf3")]
pub(in super::super) type CreateVerifier = [u8; CREATE_VERIFIER_BYTES];

/// The regions, in their order. Later clients, sessions, slots, opens and locks of NFS 4.1.
#[repr(C)]
struct Layout {
    header: [u8; SHARED_HEADER_BYTES],
    created: [CreateVerifier; CREATE_VERIFIER_COUNT],
    created_count: [u8; 4],
    /// Fewer with minimum memory.
    replies: [Set; DRC_SET_COUNT],
}

const _: () = assert!(size_of::<Layout>() == SHARED_BYTES);
const _: () = assert!(offset_of!(Layout, created) == SHARED_HEADER_BYTES);
const _: () = assert!(offset_of!(Layout, replies) == SHARED_HEADER_BYTES + CREATED_BYTES);

/// The number of the layout. A change of a region's content counts it up; sizes and places belong to the checksum.
const VERSION: u32 = 1;
/// The checksum of the header.
const CHECKSUM: u32 = {
    let sum = mix(VERSION, size_of::<CreateVerifier>());
    mix(mix(sum, size_of::<Set>()), offset_of!(Layout, replies))
};

const fn mix(sum: u32, size: usize) -> u32 {
    (sum ^ size as u32).wrapping_mul(0x9e37_79b9)
}

/// The regions of one server.
pub(in super::super) struct Regions {
    /// The CREATE verifiers, and a byte that counts them.
    pub(in super::super) created: &'static mut [u8],
    /// The replies.
    pub(in super::super) replies: &'static mut [Set],
}

impl Regions {
    /// Opens the regions in `memory` of [`SHARED_BYTES`], or less for fewer replies: zeros, or those of an earlier server. Regions of
    /// another layout are zeroed. `lock` is that of the servers that share them.
    pub(in super::super) fn open(
        memory: &'static mut [u8],
        lock: Option<&'static dyn ServerLock>,
    ) -> Self {
        if let Some(lock) = lock {
            lock.acquire_tables();
        }
        let (header, rest) = memory.split_at_mut(SHARED_HEADER_BYTES.min(memory.len()));
        let own = (VERSION as u64) << 32 | CHECKSUM as u64;
        let found = Reader::new(header).u64();
        if found != own {
            if found != 0 {
                rest.fill(0);
            }
            // Last: a server that is killed meanwhile leaves no valid header.
            let mut header = Writer::new(header);
            header.u64(own);
        }
        if let Some(lock) = lock {
            lock.release_tables();
        }
        let (created, replies) = rest.split_at_mut(CREATED_BYTES.min(rest.len()));
        Self {
            created,
            replies: replies.as_chunks_mut().0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server's memory as the next one finds it, with one bit of the header changed, or without a change.
    #[test]
    fn regions_of_another_layout_are_zeroed() {
        for bit in 0..=8 * SHARED_HEADER_BYTES {
            let first = Regions::open(vec![0; SHARED_BYTES].leak(), None);
            first.created.fill(7);
            first.replies.as_flattened_mut().fill(7);
            let mut left = [&[0; 8], &*first.created, first.replies.as_flattened()].concat();
            Writer::new(&mut left).words(&[VERSION, CHECKSUM]);
            if let Some(byte) = left.get_mut(bit / 8).filter(|_| bit < 64) {
                *byte ^= 1 << (bit % 8);
            }
            let next = Regions::open(left.leak(), None);
            let kept = if bit == 64 { 7 } else { 0 };
            let mut bytes = next.created.iter().chain(next.replies.as_flattened());
            assert!(bytes.all(|byte| *byte == kept), "{bit}");
        }
    }
}
