//! The replies to what must not be done twice: a client that lost its connection asks again, and gets the same bytes.
//!
//! A request is known by who asks, its xid, its procedure and a checksum of its arguments. Each peer has a ring of its own, or
//! shares one, so that it can push out only its own replies. After a restart there are none.

use crate::config::{REPLAY_BYTES, REPLAY_COUNT, REPLAY_PEER_COUNT, REPLAY_REPLY_BYTES};
use crate::wire::rpc::Call;
use crate::wire::{Reader, Writer};
use core::net::Ipv6Addr;

/// Bytes of what a reply is known by: xid, procedure, checksum; the peer's address.
const KEY_BYTES: usize = 28;
/// What a reply is known by, its length, and the reply.
const SLOT_BYTES: usize = KEY_BYTES + 4 + REPLAY_REPLY_BYTES;
const _: () = assert!(SLOT_BYTES * REPLAY_COUNT * REPLAY_PEER_COUNT == REPLAY_BYTES);
const _: () =
    assert!(256usize.is_multiple_of(REPLAY_COUNT) && REPLAY_REPLY_BYTES.is_multiple_of(4));

/// The last replies to one peer.
type Ring = [[u8; SLOT_BYTES]; REPLAY_COUNT];

/// What a request is known by.
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
    /// The key of a call with these arguments.
    pub(super) fn new(peer: Ipv6Addr, call: &Call<'_>, args: &[u8]) -> Self {
        let mut bytes = [0; KEY_BYTES];
        let mut key = Writer::new(&mut bytes);
        key.words(&[call.xid, call.procedure, hash(args)]);
        key.put(&peer.octets());
        let ring = hash(&peer.octets()) as usize % REPLAY_PEER_COUNT;
        Self { bytes, ring }
    }
}

/// The replies.
#[derive(Debug)]
pub(super) struct Replay {
    rings: &'static mut [Ring],
    /// Where in each ring the next reply goes.
    next: [u8; REPLAY_PEER_COUNT],
}

impl Replay {
    /// No replies yet; `memory` is [`REPLAY_BYTES`] zeros.
    pub(super) const fn new(memory: &'static mut [u8]) -> Self {
        Self {
            rings: memory.as_chunks_mut().0.as_chunks_mut().0,
            next: [0; REPLAY_PEER_COUNT],
        }
    }

    /// Forgets all replies.
    pub(super) fn clear(&mut self) {
        self.rings.as_flattened_mut().as_flattened_mut().fill(0);
    }

    /// The reply that was given to the same request.
    pub(super) fn find(&self, key: &Key) -> Option<&[u8]> {
        let mut slots = self.rings.get(key.ring)?.iter();
        let mut slot = Reader::new(slots.find(|slot| slot.starts_with(&key.bytes))?);
        slot.take(KEY_BYTES);
        let reply = slot.opaque(REPLAY_REPLY_BYTES as u32);
        // An empty slot may look like a key, but is none.
        (!reply.is_empty()).then_some(reply)
    }

    /// Keeps a reply, unless it is too long.
    #[inline(never)]
    pub(super) fn keep(&mut self, key: &Key, reply: &[u8]) {
        let (Some(ring), Some(next)) = (self.rings.get_mut(key.ring), self.next.get_mut(key.ring))
        else {
            return;
        };
        let at = usize::from(*next) % REPLAY_COUNT;
        if let Some(slot) = ring.get_mut(at)
            && reply.len() <= REPLAY_REPLY_BYTES
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
        Key::new(
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, peer),
            &call,
            args,
        )
    }

    fn replay() -> Replay {
        Replay::new(vec![0; REPLAY_BYTES].leak())
    }

    #[test]
    fn the_same_request_gets_the_same_bytes_and_another_none() {
        let mut replay = replay();
        assert_eq!(replay.find(&key(0, 0, b"")), None);
        replay.keep(&key(1, 7, b"args"), b"reply");
        assert_eq!(replay.find(&key(1, 7, b"args")), Some(&b"reply"[..]));
        for other in [key(1, 8, b"args"), key(1, 7, b"argt"), key(2, 7, b"args")] {
            assert_eq!(replay.find(&other), None);
        }
        replay.keep(&key(1, 9, b""), &[1; REPLAY_REPLY_BYTES + 1]);
        assert_eq!(replay.find(&key(1, 9, b"")), None);
        replay.keep(&key(1, 9, b""), &[1; REPLAY_REPLY_BYTES]);
        assert_eq!(
            replay.find(&key(1, 9, b"")),
            Some(&[1; REPLAY_REPLY_BYTES][..])
        );
    }

    #[test]
    fn a_flood_pushes_out_only_what_is_in_its_own_ring() {
        let mut replay = replay();
        let mut peers = (2..).filter(|peer| key(*peer, 0, b"").ring != key(1, 0, b"").ring);
        let other = peers.next().unwrap();
        replay.keep(&key(1, 7, b"args"), b"reply");
        for xid in 0..10_000 {
            replay.keep(&key(other, xid, b"args"), b"flood");
        }
        assert!(replay.find(&key(1, 7, b"args")).is_some());
        assert!(replay.find(&key(other, 9_999, b"args")).is_some());
        assert_eq!(
            replay.find(&key(other, 9_999 - REPLAY_COUNT as u32, b"args")),
            None
        );
    }
}
