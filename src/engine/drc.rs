//! The duplicate request cache: a client that lost its connection sends a request again, and gets the same reply.
//!
//! It holds replies to requests that are not idempotent. A request is known by the client's address, its xid, its procedure and
//! a checksum of its arguments. Addresses are hashed onto rings, so that a client pushes out only replies of its own ring. It is
//! in memory: after a restart it is empty.

use crate::config::{DRC_BYTES, DRC_PEER_COUNT, DRC_REPLY_BYTES, DRC_REPLY_COUNT};
use crate::wire::rpc::Call;
use crate::wire::{Reader, Writer};
use core::net::Ipv6Addr;

/// Bytes of a key: xid, procedure, checksum of the arguments, address.
const KEY_BYTES: usize = 28;
/// Bytes of a slot: key, length of the reply, reply.
const SLOT_BYTES: usize = KEY_BYTES + 4 + DRC_REPLY_BYTES;
const _: () = assert!(SLOT_BYTES * DRC_REPLY_COUNT * DRC_PEER_COUNT == DRC_BYTES);
const _: () =
    assert!(256usize.is_multiple_of(DRC_REPLY_COUNT) && DRC_REPLY_BYTES.is_multiple_of(4));

/// The last replies to the addresses that share a ring.
type Ring = [[u8; SLOT_BYTES]; DRC_REPLY_COUNT];

/// What tells requests apart.
pub(super) struct Key {
    bytes: [u8; KEY_BYTES],
    ring: usize,
}

/// FNV-1a.
#[inline(never)]
fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash: u32, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

impl Key {
    /// That of no call.
    pub(super) const NONE: Self = Self {
        bytes: [0; KEY_BYTES],
        ring: 0,
    };

    /// Becomes the key of a call with these arguments.
    pub(super) fn set(&mut self, peer: Ipv6Addr, call: &Call<'_>, args: &[u8]) {
        let mut key = Writer::new(&mut self.bytes);
        key.words(&[call.xid, call.procedure, hash(args)]);
        key.put(&peer.octets());
        self.ring = hash(&peer.octets()) as usize;
    }
}

/// The cache.
#[derive(Debug)]
pub(super) struct DuplicateRequestCache {
    rings: &'static mut [Ring],
    /// Where in each ring the next reply goes.
    next: [u8; DRC_PEER_COUNT],
}

impl DuplicateRequestCache {
    /// An empty cache; `memory` is [`DRC_BYTES`] zeros, or fewer for fewer rings.
    pub(super) const fn new(memory: &'static mut [u8]) -> Self {
        Self {
            rings: memory.as_chunks_mut().0.as_chunks_mut().0,
            next: [0; DRC_PEER_COUNT],
        }
    }

    /// Removes all replies.
    pub(super) fn clear(&mut self) {
        self.rings.as_flattened_mut().as_flattened_mut().fill(0);
    }

    /// The reply to an earlier transmission of the same request.
    pub(super) fn lookup(&self, key: &Key) -> Option<&[u8]> {
        let ring = key.ring.checked_rem(self.rings.len())?;
        let mut slots = self.rings.get(ring)?.iter();
        let mut slot = Reader::new(slots.find(|slot| slot.starts_with(&key.bytes))?);
        slot.take(KEY_BYTES);
        let reply = slot.opaque(DRC_REPLY_BYTES as u32);
        // An empty slot may look like a key, but is none.
        (!reply.is_empty()).then_some(reply)
    }

    /// Keeps a reply, unless it is longer than [`DRC_REPLY_BYTES`].
    #[inline(never)]
    pub(super) fn insert(&mut self, key: &Key, reply: &[u8]) {
        let ring = key.ring.checked_rem(self.rings.len()).unwrap_or(0);
        let (Some(ring), Some(next)) = (self.rings.get_mut(ring), self.next.get_mut(ring)) else {
            return;
        };
        let at = usize::from(*next) % DRC_REPLY_COUNT;
        if let Some(slot) = ring.get_mut(at)
            && reply.len() <= DRC_REPLY_BYTES
        {
            let mut slot = Writer::new(slot);
            slot.put(&key.bytes);
            slot.opaque(reply);
            *next = next.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(peer: u16, xid: u32, args: &[u8]) -> Key {
        let call = Call {
            xid,
            program: 100_003,
            version: 3,
            procedure: 12,
            credential: None,
        };
        let mut key = Key::NONE;
        let peer = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, peer);
        key.set(peer, &call, args);
        key
    }

    fn drc() -> DuplicateRequestCache {
        DuplicateRequestCache::new(vec![0; DRC_BYTES].leak())
    }

    #[test]
    fn the_same_request_gets_the_same_bytes_and_another_none() {
        let mut drc = drc();
        assert_eq!(drc.lookup(&key(0, 0, b"")), None);
        drc.insert(&key(1, 7, b"args"), b"reply");
        assert_eq!(drc.lookup(&key(1, 7, b"args")), Some(&b"reply"[..]));
        for other in [key(1, 8, b"args"), key(1, 7, b"argt"), key(2, 7, b"args")] {
            assert_eq!(drc.lookup(&other), None);
        }
        drc.insert(&key(1, 9, b""), &[1; DRC_REPLY_BYTES + 1]);
        assert_eq!(drc.lookup(&key(1, 9, b"")), None);
        drc.insert(&key(1, 9, b""), &[1; DRC_REPLY_BYTES]);
        assert_eq!(drc.lookup(&key(1, 9, b"")), Some(&[1; DRC_REPLY_BYTES][..]));
    }

    #[test]
    fn a_flood_pushes_out_only_what_is_in_its_own_ring() {
        let mut drc = drc();
        let mut peers = (2..).filter(|peer| key(*peer, 0, b"").ring != key(1, 0, b"").ring);
        let other = peers.next().unwrap();
        drc.insert(&key(1, 7, b"args"), b"reply");
        for xid in 0..10_000 {
            drc.insert(&key(other, xid, b"args"), b"flood");
        }
        assert!(drc.lookup(&key(1, 7, b"args")).is_some());
        assert!(drc.lookup(&key(other, 9_999, b"args")).is_some());
        assert_eq!(
            drc.lookup(&key(other, 9_999 - DRC_REPLY_COUNT as u32, b"args")),
            None
        );
    }
}
