//! The duplicate request cache: a client that lost its connection sends a request again, and gets the same reply.
//!
//! It holds replies to requests that are not idempotent. A request is known by the client's address, its xid, its procedure and
//! a checksum of its arguments. Addresses are hashed onto rings, so that a client pushes out only replies of its own ring. It lies
//! in memory that may outlive the server, which may be killed between any two stores: a reply with a wrong checksum is none.
//! Before a name is made or taken away, whether it is there is kept until there is a reply, and before attributes are changed under a
//! guard, whether that holds. If that call comes again and it is otherwise, an earlier server did it.

use crate::config::{DRC_BYTES, DRC_PEER_COUNT, DRC_REPLY_BYTES, DRC_REPLY_COUNT};
use crate::mem::Ends as _;
use crate::wire::rpc::Call;
use crate::wire::{Reader, Writer};
use core::net::Ipv6Addr;

/// Bytes of a key: xid, procedure, checksum of the arguments, address.
const KEY_BYTES: usize = 28;
/// Bytes of a checksum.
const SEAL_BYTES: usize = 4;
/// Bytes of a slot: checksum, key, number of the server, length of the reply, reply. Of a call that is begun, the checksum is the
/// key's own, or one more if the name was there.
const SLOT_BYTES: usize = SEAL_BYTES + KEY_BYTES + 4 + 4 + DRC_REPLY_BYTES;
const _: () = assert!(DRC_PEER_COUNT * size_of::<Ring>() == DRC_BYTES);
const _: () =
    assert!(256usize.is_multiple_of(DRC_REPLY_COUNT) && DRC_REPLY_BYTES.is_multiple_of(4));

/// The place of the last reply, and the slots of the last replies to the addresses that share a ring.
type Ring = [u8; 1 + SLOT_BYTES * DRC_REPLY_COUNT];

/// What tells requests apart.
#[derive(Clone, Debug)]
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
    const NONE: Self = Self {
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

/// The cache. Servers that share it take turns.
#[derive(Debug)]
pub(super) struct DuplicateRequestCache {
    rings: &'static mut [Ring],
    /// The server that this is.
    pub(super) server: u32,
    /// What was found since this was last asked is of another server, which may not have made it durable.
    pub(super) is_of_other: bool,
    /// Another server will have what lies there.
    is_kept: bool,
    /// The call in hand.
    pub(super) key: Key,
    /// Its slot.
    place: usize,
    /// An earlier server was killed when it had that call in hand: whether the name was there, or the guard held.
    begun: Option<bool>,
}

impl DuplicateRequestCache {
    /// A cache of what an earlier one left in `memory`: [`DRC_BYTES`], or fewer for fewer rings. Zeros are an empty one.
    pub(super) const fn new(memory: &'static mut [u8], is_kept: bool, server: u32) -> Self {
        Self {
            rings: memory.as_chunks_mut().0,
            server,
            is_of_other: false,
            is_kept,
            key: Key::NONE,
            place: 0,
            begun: None,
        }
    }

    /// What is left of it when the call in hand was begun and not answered.
    #[cfg(test)]
    pub(super) fn left_begun(&self, was_there: bool) -> &'static mut [u8] {
        let mut left = Self::new(self.rings.as_flattened().to_vec().leak(), true, 1);
        left.key = self.key.clone();
        left.lookup();
        left.begin(was_there);
        left.rings.as_flattened_mut()
    }

    /// Removes all replies.
    pub(super) fn clear(&mut self) {
        self.rings.as_flattened_mut().fill(0);
    }

    /// The reply to an earlier transmission of the call in hand. If there is none, there is a slot for it from now on.
    pub(super) fn lookup(&mut self) -> Option<&[u8]> {
        self.begun = None;
        let ring = self.key.ring.checked_rem(self.rings.len())?;
        let [last, slots @ ..] = self.rings.get_mut(ring)?;
        let slots = slots.as_chunks::<SLOT_BYTES>().0;
        let found = slots
            .iter()
            .position(|slot| slot.tail(SEAL_BYTES).starts_with(&self.key.bytes));
        let Some(place) = found else {
            *last = last.wrapping_add(1);
            self.place = usize::from(*last) % DRC_REPLY_COUNT;
            return None;
        };
        self.place = place;
        let slot = slots.get(place)?;
        let mut reader = Reader::new(slot);
        let seal = reader.u32();
        match seal.wrapping_sub(hash(&self.key.bytes)) {
            was_there @ 0..=1 => self.begun = Some(was_there != 0),
            _ if seal == hash(slot.tail(SEAL_BYTES)) => {
                reader.take(KEY_BYTES);
                self.is_of_other |= reader.u32() != self.server;
                return Some(reader.opaque(DRC_REPLY_BYTES as u32));
            }
            _ => {}
        }
        None
    }

    /// Whether an earlier server carried out the call in hand, which makes a name, takes it away, or changes what its guard
    /// was. If not, it is begun.
    pub(super) fn is_done(&mut self, is_there: impl FnOnce() -> bool) -> bool {
        self.is_kept && {
            let is_there = is_there();
            let is_done = self.begun == Some(!is_there);
            if !is_done {
                self.begin(is_there);
            }
            self.is_of_other |= is_done;
            is_done
        }
    }

    /// Keeps that the call in hand is begun.
    fn begin(&mut self, is_there: bool) {
        self.put(b"", KEY_BYTES, is_there.into());
    }

    /// Keeps the reply to the call in hand, unless it is longer than [`DRC_REPLY_BYTES`].
    pub(super) fn insert(&mut self, reply: &[u8]) {
        self.put(reply, SLOT_BYTES - SEAL_BYTES, 0);
    }

    /// Fills the slot of the call in hand. The checksum of so many bytes, and `more`, is stored last: until then, a call that was begun
    /// still is.
    #[inline(never)]
    fn put(&mut self, reply: &[u8], sealed_len: usize, more: u32) {
        let Some(ring) = self.key.ring.checked_rem(self.rings.len()) else {
            return;
        };
        if let Some([_, slots @ ..]) = self.rings.get_mut(ring)
            && let Some(slot) = slots.as_chunks_mut::<SLOT_BYTES>().0.get_mut(self.place)
            && reply.len() <= DRC_REPLY_BYTES
        {
            let (seal, rest) = slot.split_at_mut(SEAL_BYTES);
            let mut writer = Writer::new(rest);
            writer.put(&self.key.bytes);
            writer.u32(self.server);
            writer.opaque(reply);
            Writer::new(seal).u32(hash(rest.head(sealed_len)).wrapping_add(more));
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
        DuplicateRequestCache::new(vec![0; DRC_BYTES].leak(), true, 0)
    }

    fn insert(drc: &mut DuplicateRequestCache, key: Key, reply: &[u8]) {
        drc.key = key;
        drc.lookup();
        drc.insert(reply);
    }

    fn lookup(drc: &mut DuplicateRequestCache, key: Key) -> Option<&[u8]> {
        drc.key = key;
        drc.lookup()
    }

    #[test]
    fn the_same_request_gets_the_same_bytes_and_another_none() {
        let mut drc = drc();
        assert_eq!(lookup(&mut drc, key(0, 0, b"")), None);
        insert(&mut drc, key(1, 7, b"args"), b"reply");
        let kept = lookup(&mut drc, key(1, 7, b"args"));
        assert_eq!(kept, Some(&b"reply"[..]));
        for other in [key(1, 8, b"args"), key(1, 7, b"argt"), key(2, 7, b"args")] {
            assert_eq!(lookup(&mut drc, other), None);
        }
        insert(&mut drc, key(1, 9, b""), &[1; DRC_REPLY_BYTES + 1]);
        assert_eq!(lookup(&mut drc, key(1, 9, b"")), None);
        insert(&mut drc, key(1, 9, b""), &[1; DRC_REPLY_BYTES]);
        let kept = lookup(&mut drc, key(1, 9, b""));
        assert_eq!(kept, Some(&[1; DRC_REPLY_BYTES][..]));
    }

    #[test]
    fn a_flood_pushes_out_only_what_is_in_its_own_ring() {
        let mut drc = drc();
        let mut peers = (2..).filter(|peer| key(*peer, 0, b"").ring != key(1, 0, b"").ring);
        let other = peers.next().unwrap();
        insert(&mut drc, key(1, 7, b"args"), b"reply");
        for xid in 0..10_000 {
            insert(&mut drc, key(other, xid, b"args"), b"flood");
        }
        assert!(lookup(&mut drc, key(1, 7, b"args")).is_some());
        assert!(lookup(&mut drc, key(other, 9_999, b"args")).is_some());
        let pushed_out = 9_999 - DRC_REPLY_COUNT as u32;
        assert_eq!(lookup(&mut drc, key(other, pushed_out, b"args")), None);
    }

    /// Killed after any of its stores, in whichever order the compiler made them, a server leaves a whole reply or none.
    #[test]
    fn what_was_not_written_to_its_end_is_no_reply() {
        let of = |ring: &[u8]| DuplicateRequestCache::new(ring.to_vec().leak(), true, 0);
        let mut drc = of(&[0; size_of::<Ring>()]);
        // The place of the first is the second.
        for xid in 1..=DRC_REPLY_COUNT as u32 {
            insert(&mut drc, key(1, xid, b"args"), &[xid as u8; 240]);
        }
        let (old, new) = (|| key(1, 1, b"args"), || key(1, 1000, b"args"));
        drc.key = new();
        assert_eq!(drc.lookup(), None);
        let before = drc.rings[0];
        drc.insert(&[200; 260]);
        let after = drc.rings[0];
        let (from, to) = (1 + SLOT_BYTES, 1 + 2 * SLOT_BYTES);
        assert!(before[..from] == after[..from] && before[to..] == after[to..]);
        let mut found = [0; 2];
        for stored in from..=to {
            for [first, last] in [[&after, &before], [&before, &after]] {
                let mut torn = of(&[&first[..stored], &last[stored..]].concat());
                for xid in (2..=DRC_REPLY_COUNT as u32).rev() {
                    let kept = lookup(&mut torn, key(1, xid, b"args"));
                    assert_eq!(kept, Some(&[xid as u8; 240][..]));
                }
                let kept = lookup(&mut torn, new());
                assert!(kept.is_none_or(|kept| kept == [200; 260]), "{stored}");
                found[0] += usize::from(kept.is_some());
                // The next server goes on, whatever was left to it.
                torn.insert(&[201; 260]);
                assert_eq!(lookup(&mut torn, new()), Some(&[201; 260][..]));
                let mut torn = of(&[&first[..stored], &last[stored..]].concat());
                let kept = lookup(&mut torn, old());
                assert!(kept.is_none_or(|kept| kept == [1; 240]), "{stored}");
                found[1] += usize::from(kept.is_some());
            }
        }
        assert!(found.iter().all(|found| (1..SLOT_BYTES).contains(found)));
    }

    /// Killed while it writes the reply, a server leaves that or that the call was begun. The checksum is one store, the last.
    #[test]
    fn a_call_stays_begun_until_its_whole_reply_is_there() {
        let mut drc = DuplicateRequestCache::new(vec![0; size_of::<Ring>()].leak(), true, 0);
        insert(&mut drc, key(1, 6, b"args"), &[200; 260]);
        drc.key = key(1, 7, b"args");
        assert!(drc.lookup().is_none() && !drc.is_done(|| true));
        let begun = drc.rings[0];
        drc.insert(&[201; 260]);
        let answered = drc.rings[0];
        let differs = |at: &usize| begun[*at] != answered[*at];
        let seal = (0..size_of::<Ring>()).find(differs).unwrap();
        for stored in seal + SEAL_BYTES..=seal + SLOT_BYTES {
            let mut torn = begun;
            torn[seal + SEAL_BYTES..stored].copy_from_slice(&answered[seal + SEAL_BYTES..stored]);
            let mut drc = DuplicateRequestCache::new(torn.to_vec().leak(), true, 0);
            assert!(lookup(&mut drc, key(1, 7, b"args")).is_none());
            assert!(drc.is_done(|| false), "{stored}");
            drc.insert(b"reply");
            assert_eq!(drc.lookup(), Some(&b"reply"[..]));
        }
    }

    #[test]
    fn the_next_server_knows_the_replies_and_which_are_the_oldest() {
        let mut drc = drc();
        for xid in 0..100 {
            insert(&mut drc, key(1, xid, b"args"), b"reply");
        }
        let left = drc.rings.as_flattened().to_vec();
        let mut next = DuplicateRequestCache::new(left.leak(), true, 0);
        insert(&mut next, key(1, 100, b"args"), b"reply");
        let oldest = 101 - DRC_REPLY_COUNT as u32;
        for xid in (oldest - 1..=100).rev() {
            let kept = lookup(&mut next, key(1, xid, b"args")).is_some();
            assert_eq!(kept, xid >= oldest, "{xid}");
        }
    }

    /// What was begun is known until it is answered, and is nothing to another call.
    #[test]
    fn what_was_begun_is_done_if_the_name_says_so() {
        for was_there in [false, true] {
            let mut drc = drc();
            drc.key = key(1, 7, b"args");
            assert!(drc.lookup().is_none() && !drc.is_done(|| was_there));
            for _ in 0..2 {
                let left = drc.rings.as_flattened().to_vec();
                drc = DuplicateRequestCache::new(left.leak(), true, 0);
                insert(&mut drc, key(1, 8, b"args"), b"another");
                drc.key = key(1, 9, b"args");
                assert!(drc.lookup().is_none() && !drc.is_done(|| !was_there));
                drc.key = key(1, 7, b"args");
                assert!(drc.lookup().is_none() && !drc.is_done(|| was_there));
                assert!(drc.lookup().is_none() && drc.is_done(|| !was_there));
            }
            drc.insert(b"reply");
            assert_eq!(drc.lookup(), Some(&b"reply"[..]));
        }
        let mut alone = DuplicateRequestCache::new(vec![0; DRC_BYTES].leak(), false, 0);
        assert!(alone.lookup().is_none() && !alone.is_done(|| unreachable!("nobody follows")));
    }
}
