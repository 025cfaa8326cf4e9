//! The replies to what must not be done twice: a client that lost its connection asks again, and gets the same bytes.
//!
//! A request is known by who asks, its xid, its procedure and a checksum of its arguments. Each peer has a ring of its own, or
//! shares one, so that it can push out only its own replies. After a restart there are none.

use crate::config::{REPLAY_BYTES, REPLAY_COUNT, REPLAY_PEER_COUNT, REPLAY_REPLY_BYTES};
use crate::wire::rpc::Call;
use core::net::Ipv6Addr;

/// Bytes of the arguments that count.
const CHECKED_BYTES: usize = 256;
/// Bytes of what a reply is known by, and of its length.
const HEAD_BYTES: usize = 32;
const SLOT_BYTES: usize = HEAD_BYTES + REPLAY_REPLY_BYTES;
const RING_BYTES: usize = REPLAY_COUNT * SLOT_BYTES;
const _: () = assert!(RING_BYTES * REPLAY_PEER_COUNT == REPLAY_BYTES);
const _: () = assert!(REPLAY_COUNT <= 256);

/// What a request is known by.
pub(super) struct Key {
    /// xid, procedure, checksum; the peer's address.
    bytes: [u8; 28],
    ring: usize,
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash: u32, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

impl Key {
    /// The key of a call with these arguments.
    pub(super) fn new(peer: Ipv6Addr, call: &Call<'_>, args: &[u8]) -> Self {
        let checked = args.get(..CHECKED_BYTES).unwrap_or(args);
        let mut bytes = [0; 28];
        let words = [call.xid, call.procedure, hash(checked)].map(u32::to_be_bytes);
        let peer = peer.octets();
        let parts = words.as_flattened().iter().chain(&peer);
        bytes
            .iter_mut()
            .zip(parts)
            .for_each(|(to, from)| *to = *from);
        let ring = hash(&peer) as usize % REPLAY_PEER_COUNT;
        Self { bytes, ring }
    }
}

/// The replies.
#[derive(Debug)]
pub(super) struct Replay {
    memory: &'static mut [u8],
    /// Where in each ring the next reply goes.
    next: [u8; REPLAY_PEER_COUNT],
}

impl Replay {
    /// No replies yet; `memory` is [`REPLAY_BYTES`] zeros.
    pub(super) const fn new(memory: &'static mut [u8]) -> Self {
        Self {
            memory,
            next: [0; REPLAY_PEER_COUNT],
        }
    }

    /// Forgets all replies.
    pub(super) fn clear(&mut self) {
        self.memory.fill(0);
    }

    /// The reply that was given to the same request.
    pub(super) fn find(&self, key: &Key) -> Option<&[u8]> {
        let mut ring = self
            .memory
            .chunks_exact(RING_BYTES)
            .nth(key.ring)?
            .chunks_exact(SLOT_BYTES);
        let slot = ring.find(|slot| slot.starts_with(&key.bytes))?;
        let (head, reply) = slot.split_first_chunk::<HEAD_BYTES>()?;
        let [.., high, low] = head;
        // An empty slot may look like a key, but is none.
        reply
            .get(..u16::from_be_bytes([*high, *low]).into())
            .filter(|reply| !reply.is_empty())
    }

    /// Keeps a reply, unless it is too long.
    pub(super) fn keep(&mut self, key: &Key, reply: &[u8]) {
        let Some(next) = self.next.get_mut(key.ring) else {
            return;
        };
        let at = usize::from(*next);
        let ring = self.memory.chunks_exact_mut(RING_BYTES).nth(key.ring);
        let slot = ring.and_then(|ring| ring.chunks_exact_mut(SLOT_BYTES).nth(at));
        let Some((head, room)) = slot.and_then(|slot| slot.split_first_chunk_mut::<HEAD_BYTES>())
        else {
            return;
        };
        if let Some(room) = room.get_mut(..reply.len()) {
            room.copy_from_slice(reply);
            let len = (reply.len() as u16).to_be_bytes();
            let parts = key.bytes.iter().chain(&[0, 0]).chain(&len);
            head.iter_mut()
                .zip(parts)
                .for_each(|(to, from)| *to = *from);
            *next = (at.wrapping_add(1) % REPLAY_COUNT) as u8;
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
