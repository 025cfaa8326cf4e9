//! The duplicate request cache: a client that lost its connection sends a request again, and gets the same reply.
//!
//! The key of a request that is not idempotent: the client's address, its xid, procedure, UID and GID, and a checksum of its
//! arguments and groups. Programs of one host may use equal xids, so a call with the same key is a retransmission only if it comes
//! from the same port, or by a newer connection when the one that got the reply is closed. Address and xid choose a set of slots; in
//! a full set a new call evicts the oldest reply of the peer that holds the most. A server may be killed between any two stores: the
//! next one ignores a reply with a wrong checksum. Before a name is made or removed, the cache records if it exists, and before a
//! guarded change, if the guard holds: if a retransmission finds the opposite, the killed server did the change.

use super::connections::{Connection, Connections};
use super::share;
use crate::config::{DRC_AGE_SECS, DRC_BYTES, DRC_REPLY_BYTES, DRC_SET_COUNT, DRC_WAY_COUNT};
use crate::mem::Ends as _;
use crate::time::Instant;
use crate::vfs::{Caller, Peer};
use crate::wire::rpc::Call;
use crate::wire::{Reader, Writer};
use core::net::Ipv6Addr;

/// Size of a word (bytes): a checksum, a stamp, a number.
const WORD_BYTES: usize = 4;
/// Size (bytes) of the part of a key that a reply shows, too: address, xid, procedure.
const CALL_BYTES: usize = 24;
/// Size of a key (bytes): also UID, GID and the checksum.
const KEY_BYTES: usize = CALL_BYTES + 3 * WORD_BYTES;
/// Size of an owner (bytes): port, connection, number of the newest connection.
const OWNER_BYTES: usize = 4 * WORD_BYTES;
/// Size of a slot (bytes): checksum, owner, key, stamp, time in seconds, length of the reply, reply. The checksum covers what
/// follows the owner. Until a call is answered, it covers only the key, and is one higher if the name existed, or the guard held,
/// before the call.
const SLOT_BYTES: usize = WORD_BYTES + OWNER_BYTES + KEY_BYTES + 3 * WORD_BYTES + DRC_REPLY_BYTES;
const _: () = assert!(DRC_SET_COUNT * size_of::<Set>() == DRC_BYTES);
const _: () = assert!(DRC_REPLY_BYTES.is_multiple_of(4));

type Slot = [u8; SLOT_BYTES];
/// The last stamp given to a slot, then the slots. Each store into the set writes the next stamp, so the lowest stamp is the oldest
/// reply.
type Set = [u8; WORD_BYTES + SLOT_BYTES * DRC_WAY_COUNT];

/// The identity of a request.
#[derive(Clone, Debug)]
pub(super) struct Key {
    bytes: [u8; KEY_BYTES],
    /// Number of the set. Modulo the number of sets, it is the index of the set.
    set: u32,
    /// Arrival time of the call (seconds).
    time: u32,
    /// The client's port.
    port: u16,
    /// The connection by which the call came.
    connection: Connection,
}

/// FxHash of 32-bit words. XDR is made of such words, so up to three bytes after the last whole one are ignored.
#[inline(never)]
fn hash(seed: u32, bytes: &[u8]) -> u32 {
    let words = bytes.as_chunks().0.iter();
    words.fold(seed, |hash: u32, word| {
        (hash.rotate_left(5) ^ u32::from_ne_bytes(*word)).wrapping_mul(0x9e37_79b9)
    })
}

impl Key {
    /// A placeholder: the key of no call.
    const NONE: Self = Self {
        bytes: [0; KEY_BYTES],
        set: 0,
        time: 0,
        port: 0,
        connection: Connection::NONE,
    };

    /// Sets this to the key of a call with these arguments, which came from `peer` by `connection` at `now`.
    pub(super) fn set(
        &mut self,
        (peer, connection): (&Peer, Connection),
        now: Instant,
        call: &Call<'_>,
        args: &[u8],
    ) {
        (self.time, self.connection) = (now.secs(), connection);
        let (mut user, mut groups) = ([Caller::NOBODY; 2], &[][..]);
        if let Some(credential) = &call.credential {
            (user, groups) = ([credential.uid, credential.gid], credential.group_bytes());
        }
        let [uid, gid] = user;
        let sum = hash(hash(1, args), groups);
        self.set_words(peer, &[call.xid, call.procedure, uid, gid, sum]);
    }

    fn set_words(&mut self, peer: &Peer, words: &[u32; 5]) {
        let mut key = Writer::new(&mut self.bytes);
        key.put(&peer.address.octets());
        key.words(words);
        let [xid, ..] = words;
        self.set = hash(1, &peer.address.octets()).wrapping_add(*xid);
        self.port = peer.port;
    }

    /// Returns true if `slot` has this key, and the reply in it is not too old.
    fn is_of(&self, slot: &Slot) -> bool {
        from_key(slot).starts_with(&self.bytes) && !self.is_old(slot)
    }

    /// Returns true if a slot's call arrived too long before this one for a retransmission.
    fn is_old(&self, slot: &Slot) -> bool {
        let (_, time) = times(slot);
        self.time.saturating_sub(time) > DRC_AGE_SECS
    }
}

/// The client's last connection that got the reply in a slot.
struct Owner {
    port: u32,
    connection: Connection,
    /// Number of the newest connection at that time. A retransmission from another port comes by a newer one.
    newest: u32,
}

impl Owner {
    fn of(slot: &Slot) -> Self {
        let mut words = Reader::new(slot.tail(WORD_BYTES));
        let port = words.u32();
        Self {
            port,
            connection: Connection::from_words([words.u32(), words.u32()]),
            newest: words.u32(),
        }
    }

    /// Writes the owner of a call that has come now. The checksum of the slot does not cover it, so a server that is killed
    /// meanwhile leaves a valid reply; all its connections are closed.
    fn put(out: &mut [u8], key: &Key, connections: &Connections) {
        let [place, number] = key.connection.to_words();
        Writer::new(out).words(&[key.port.into(), place, number, connections.newest()]);
    }
}

/// The last stamp and the slots of set `number`, modulo the number of sets. `None`: the cache has no memory.
fn set(sets: &mut [Set], number: u32) -> Option<(&mut [u8; WORD_BYTES], &mut [Slot])> {
    let number = (number as usize).checked_rem(sets.len())?;
    let (stamp, slots) = sets.get_mut(number)?.split_first_chunk_mut()?;
    Some((stamp, slots.as_chunks_mut().0))
}

/// The bytes of a slot from its key on.
fn from_key(slot: &Slot) -> &[u8] {
    slot.tail(WORD_BYTES + OWNER_BYTES)
}

/// The stamp and the time of a slot.
fn times(slot: &Slot) -> (u32, u32) {
    let mut times = Reader::new(from_key(slot).tail(KEY_BYTES));
    (times.u32(), times.u32())
}

/// The reply in a slot, and the bytes that its checksum covers.
fn reply_in(slot: &Slot) -> (&[u8], &[u8]) {
    let bytes = from_key(slot);
    let mut reader = Reader::new(bytes.tail(KEY_BYTES + 2 * WORD_BYTES));
    let reply = reader.opaque(DRC_REPLY_BYTES as u32);
    (reply, bytes.head(bytes.len() - reader.rest().len()))
}

/// The peer in a key, as counted by [`share`]: an IPv4 address or an IPv6 /64 network. 0 if the slot is empty.
fn holder(key: &[u8]) -> u64 {
    let peer = key.first_chunk::<16>();
    peer.map_or(0, |peer| share(Ipv6Addr::from(*peer)))
}

/// Returns the index of the slot for a new call with this key. That is a slot that is empty or too old; if there is none, the oldest
/// slot of the peer that has the most slots, the new call included.
#[inline(never)]
fn choose(slots: &[Slot], key: &Key, last: u32) -> usize {
    let own = holder(&key.bytes);
    let mut holders = [0; DRC_WAY_COUNT];
    for (each, slot) in holders.iter_mut().zip(slots) {
        *each = holder(from_key(slot));
    }
    let (mut chosen, mut most) = (0, 0);
    for (place, (peer, slot)) in holders.iter().zip(slots).enumerate() {
        let mut count = u64::from(*peer == own);
        for other in &holders {
            count += u64::from(other == peer);
        }
        if *peer == 0 || key.is_old(slot) {
            count = u64::MAX;
        }
        let (stamp, _) = times(slot);
        let rank = count << 32 | u64::from(last.wrapping_sub(stamp));
        if rank >= most {
            (chosen, most) = (place, rank);
        }
    }
    chosen
}

/// The cache. Server processes that share its memory access it in turn.
#[derive(Debug)]
pub(super) struct DuplicateRequestCache {
    sets: &'static mut [Set],
    /// The open connections of all servers that use this memory.
    pub(super) connections: Connections,
    /// True if, since the caller last reset this, another server's reply was found. That server may not have made its change
    /// durable.
    pub(super) is_of_other: bool,
    /// True if other servers use this memory now, or a restarted one will.
    is_kept: bool,
    /// The key of the call in hand.
    pub(super) key: Key,
    /// Index, in its set, of the slot for the call in hand.
    place: usize,
    /// `Some` if an earlier server was killed while it carried out the call in hand: true if the name existed before, or the guard
    /// held.
    begun: Option<bool>,
}

impl DuplicateRequestCache {
    /// Opens the cache in `memory`, which may hold an earlier server's replies; all zeros are an empty cache. Its size is
    /// [`DRC_BYTES`], or less for fewer sets.
    pub(super) const fn new(
        memory: &'static mut [u8],
        is_kept: bool,
        connections: Connections,
    ) -> Self {
        Self {
            sets: memory.as_chunks_mut().0,
            connections,
            is_of_other: false,
            is_kept,
            key: Key::NONE,
            place: 0,
            begun: None,
        }
    }

    /// A copy of the memory, as left by a server that was killed after it began the call in hand.
    #[cfg(test)]
    pub(super) fn left_begun(&self, was_there: bool) -> &'static mut [u8] {
        let memory = self.sets.as_flattened().to_vec().leak();
        let mut left = Self::new(memory, true, self.connections);
        left.key = self.key.clone();
        left.lookup();
        left.put(b"", Some(was_there));
        left.sets.as_flattened_mut()
    }

    /// Returns true if other servers use this memory, now or after a restart. Only `serve` arranges that.
    const fn is_kept(&self) -> bool {
        crate::config::HAS_SERVE && self.is_kept
    }

    /// Returns the reply to an earlier transmission of the call in hand.
    pub(super) fn lookup(&mut self) -> Option<&[u8]> {
        let is_kept = self.is_kept();
        self.begun = None;
        let (key, connections) = (&self.key, &self.connections);
        let (last, slots) = set(self.sets, key.set)?;
        let is_same_port = |slot: &Slot| Owner::of(slot).port == u32::from(key.port);
        let is_reconnected = |slot: &Slot| {
            let owner = Owner::of(slot);
            key.connection.is_after(owner.newest) && !connections.is_open(owner.connection)
        };
        let mut all = slots.iter();
        let found = all
            .position(|slot| key.is_of(slot) && is_same_port(slot))
            .or_else(|| {
                let mut all = slots.iter();
                all.position(|slot| key.is_of(slot) && is_reconnected(slot))
            });
        let Some(place) = found else {
            self.place = choose(slots, key, u32::from_be_bytes(*last));
            return None;
        };
        self.place = place;
        let slot = slots.get_mut(place)?;
        let is_own = connections.is_own(Owner::of(slot).connection);
        Owner::put(slot.tail_mut(WORD_BYTES), key, connections);
        let (reply, sealed) = reply_in(slot);
        let seal = Reader::new(slot).u32();
        if is_kept && seal != hash(1, sealed) {
            let was_there = seal.wrapping_sub(hash(1, &key.bytes));
            self.begun = (was_there <= 1).then_some(was_there != 0);
            return None;
        }
        self.is_of_other |= is_kept && !is_own;
        Some(reply)
    }

    /// Returns true if an earlier server carried out the call in hand. `is_there` returns true if the name exists, or the guard
    /// holds, now. If the call was not carried out, stores the result of `is_there` in the call's slot, for the next server.
    pub(super) fn is_done(&mut self, is_there: impl FnOnce() -> bool) -> bool {
        self.is_kept() && {
            let is_there = is_there();
            let is_done = self.begun == Some(!is_there);
            if !is_done {
                self.put(b"", Some(is_there));
            }
            self.is_of_other |= is_done;
            is_done
        }
    }

    /// Stores the reply to the call in hand, unless it is longer than [`DRC_REPLY_BYTES`].
    pub(super) fn insert(&mut self, reply: &[u8]) {
        self.put(reply, None);
    }

    /// Replaces the cached reply `old` to a call of `peer` with this procedure. Clobbers the key of the call in hand.
    #[inline(never)]
    #[cold]
    pub(super) fn replace(&mut self, peer: &Peer, procedure: u32, old: &[u8], new: &[u8]) {
        let xid = Reader::new(old).u32();
        self.key.set_words(peer, &[xid, procedure, 0, 0, 0]);
        for place in 0..DRC_WAY_COUNT {
            if let Some((_, slots)) = set(self.sets, self.key.set)
                && let Some(slot) = slots.get(place)
                && let Some(key) = from_key(slot).first_chunk()
                && key.starts_with(self.key.bytes.head(CALL_BYTES))
                && reply_in(slot).0 == old
            {
                let owner = Owner::of(slot);
                if owner.port == u32::from(peer.port) {
                    (_, self.key.time) = times(slot);
                    self.key.connection = owner.connection;
                    (self.key.bytes, self.place) = (*key, place);
                    return self.insert(new);
                }
            }
        }
    }

    /// Fills the slot of the call in hand with its reply, or records that the call is begun. The checksum is stored last, so that a
    /// server killed in between leaves a begun call marked as begun.
    #[inline(never)]
    fn put(&mut self, reply: &[u8], begun: Option<bool>) {
        let is_kept = self.is_kept();
        if let Some((last, slots)) = set(self.sets, self.key.set)
            && let Some(slot) = slots.get_mut(self.place)
            && reply.len() <= DRC_REPLY_BYTES
        {
            let stamp = u32::from_be_bytes(*last).wrapping_add(1);
            *last = stamp.to_be_bytes();
            let (seal, rest) = slot.split_at_mut(WORD_BYTES);
            let (owner, rest) = rest.split_at_mut(OWNER_BYTES);
            Owner::put(owner, &self.key, &self.connections);
            let mut writer = Writer::new(rest);
            writer.put(&self.key.bytes);
            writer.words(&[stamp, self.key.time]);
            writer.opaque(reply);
            if is_kept {
                let len = writer.position();
                let sum = match begun {
                    Some(was_there) => hash(1, &self.key.bytes).wrapping_add(was_there.into()),
                    None => hash(1, rest.head(len)),
                };
                Writer::new(seal).u32(sum);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::connections;
    use core::net::Ipv4Addr;

    fn client(peer: u16) -> Peer {
        let [high, low] = peer.to_be_bytes();
        Peer {
            address: Ipv4Addr::new(198, 18, high, low).to_ipv6_mapped(),
            port: 700,
        }
    }

    fn key(peer: u16, xid: u32, args: &[u8]) -> Key {
        let call = Call {
            xid,
            program: 100_003,
            version: 3,
            procedure: 12,
            credential: None,
        };
        let mut key = Key::NONE;
        let from = (&client(peer), Connection::NONE);
        key.set(from, Instant::from_ms(0), &call, args);
        key
    }

    fn drc() -> DuplicateRequestCache {
        kept(vec![0; DRC_BYTES])
    }

    /// A cache under `serve`, in memory that an earlier server left.
    fn kept(memory: Vec<u8>) -> DuplicateRequestCache {
        DuplicateRequestCache::new(memory.leak(), true, connections())
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
    fn only_the_same_request_gets_the_reply() {
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

    /// Xids, at least `first`, whose calls from `peer` all fall into set 0.
    fn xids(peer: u16, first: u32) -> impl Iterator<Item = u32> {
        let sets = DRC_SET_COUNT as u32;
        let start = first + (sets - key(peer, first, b"").set % sets) % sets;
        (start..).step_by(DRC_SET_COUNT)
    }

    fn is_held(drc: &mut DuplicateRequestCache, peer: u16, xid: u32) -> bool {
        lookup(drc, key(peer, xid, b"args")).is_some()
    }

    /// A lookup that finds nothing must not evict a reply that a later lookup needs.
    #[test]
    fn replays_in_any_order_find_every_reply() {
        for stride in [1, 2, 3, 4, 8, 64] {
            let mut drc = drc();
            let xids = (0..500).map(|call| (u32::MAX - 700).wrapping_add(call * stride));
            let mut xids: Vec<_> = xids.collect();
            for xid in &xids {
                insert(&mut drc, key(1, *xid, b"args"), &xid.to_be_bytes());
            }
            xids.sort_unstable_by_key(|xid| xid.wrapping_mul(0x9e37_79b9));
            let left = drc.sets.as_flattened().to_vec();
            let mut next = kept(left);
            // Look up calls that were never carried out.
            for missed in 0..500 {
                let xid = u32::MAX - 701 - missed;
                assert_eq!(lookup(&mut next, key(1, xid, b"args")), None);
            }
            for xid in xids {
                let kept = lookup(&mut next, key(1, xid, b"args"));
                assert_eq!(kept, Some(&xid.to_be_bytes()[..]), "{xid} by {stride}");
            }
        }
    }

    #[test]
    fn full_cache_evicts_a_peers_oldest_replies() {
        let mut drc = drc();
        let all = (DRC_SET_COUNT * DRC_WAY_COUNT) as u32;
        for xid in 0..2 * all {
            insert(&mut drc, key(1, xid, b"args"), b"reply");
        }
        for xid in (0..2 * all).rev() {
            assert_eq!(is_held(&mut drc, 1, xid), xid >= all, "{xid}");
        }
    }

    #[test]
    fn peer_within_its_share_keeps_its_replies() {
        for others in [1, 3, 7] {
            let share = DRC_WAY_COUNT / (1 + usize::from(others));
            let mut drc = drc();
            // The calls of all peers fall into one set. The first peer uses no more slots than its share.
            let own: Vec<_> = xids(1, 7).take(share).collect();
            for xid in &own {
                insert(&mut drc, key(1, *xid, b"args"), b"reply");
            }
            let mut sent: Vec<_> = (0..others).map(|peer| xids(2 + peer, 1000)).collect();
            for round in 0..10_000_u32 {
                let other = (round.wrapping_mul(0x9e37_79b9) >> 16) as u16 % others;
                let xid = sent[usize::from(other)].next().unwrap();
                assert!(!is_held(&mut drc, 2 + other, xid));
                drc.insert(b"flood");
                assert!(is_held(&mut drc, 2 + other, xid));
            }
            for xid in &own {
                assert!(is_held(&mut drc, 1, *xid), "{others} others");
            }
        }
    }

    /// A reply older than `DRC_AGE_SECS` stays until another peer needs its slot. That peer may then hold more than its share.
    #[test]
    fn idle_peers_lose_their_shares() {
        let mut drc = drc();
        let busy = DRC_WAY_COUNT as u16;
        let call = |peer, xid, time| Key {
            time,
            ..key(peer, xid, b"args")
        };
        // Peer `busy` makes seven calls, each other peer one. Peer 0 makes another (`late`) just before these replies exceed the
        // age limit.
        let calls = |peer| xids(peer, 7).take(if peer == busy { 7 } else { 1 });
        for peer in 0..busy {
            calls(peer).for_each(|xid| insert(&mut drc, call(peer, xid, 9), b"old"));
        }
        let end = 9 + DRC_AGE_SECS;
        let late = xids(0, 1000).next().unwrap();
        insert(&mut drc, call(0, late, end), b"late");
        for xid in calls(busy) {
            insert(&mut drc, call(busy, xid, end + 1), b"reply");
        }
        for xid in calls(busy) {
            assert!(is_held(&mut drc, busy, xid), "{xid}");
        }
        assert!(is_held(&mut drc, 0, late));
    }

    /// An IPv6 host may use any number of addresses of its network; together they count as one peer.
    #[test]
    fn addresses_of_one_ipv6_network_have_one_share() {
        let mut drc = drc();
        let call = |network: u16, host: u32, xid| {
            let mut key = Key::NONE;
            let mut peer = Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, 0).to_bits();
            peer |= u128::from(host);
            let call = Call {
                xid,
                ..Call::default()
            };
            let peer = Peer {
                address: Ipv6Addr::from_bits(peer),
                port: 700,
            };
            let from = (&peer, Connection::NONE);
            key.set(from, Instant::from_ms(0), &call, b"args");
            key
        };
        for xid in 0..200 {
            insert(&mut drc, call(1, 1, xid), b"reply");
        }
        for host in 0..20_000 {
            insert(&mut drc, call(2, host, host / 7), b"flood");
        }
        for xid in 0..200 {
            assert!(lookup(&mut drc, call(1, 1, xid)).is_some(), "{xid}");
        }
    }

    /// If a server is killed while it stores a reply, the next server finds the whole reply or none, in whichever order the
    /// compiler emitted the stores.
    #[test]
    fn torn_reply_is_ignored() {
        let of = |set: &[u8]| kept(set.to_vec());
        let mut drc = of(&[0; size_of::<Set>()]);
        for xid in 1..=DRC_WAY_COUNT as u32 {
            insert(&mut drc, key(1, xid, b"args"), &[xid as u8; 240]);
        }
        let (old, new) = (|| key(1, 1, b"args"), || key(1, 1000, b"args"));
        drc.key = new();
        assert_eq!(drc.lookup(), None);
        let before = drc.sets[0];
        drc.insert(&[200; 260]);
        let after = drc.sets[0];
        let place = drc.place;
        let from = WORD_BYTES + place * SLOT_BYTES;
        let to = from + SLOT_BYTES;
        let rest = WORD_BYTES..from;
        assert!(before[rest.clone()] == after[rest] && before[to..] == after[to..]);
        let mut found = [0; 2];
        for stored in from..=to {
            for [first, last] in [[&after, &before], [&before, &after]] {
                let mut torn = of(&[&first[..stored], &last[stored..]].concat());
                for xid in (2..=DRC_WAY_COUNT as u32).rev() {
                    let kept = lookup(&mut torn, key(1, xid, b"args"));
                    assert_eq!(kept, Some(&[xid as u8; 240][..]));
                }
                let kept = lookup(&mut torn, new());
                assert!(kept.is_none_or(|kept| kept == [200; 260]), "{stored}");
                found[0] += usize::from(kept.is_some());
                // The next server can store a reply in the torn slot.
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

    /// If a server is killed while it stores a reply, the next server finds the call still recorded as begun. The reply counts only
    /// once its checksum is stored, which a single instruction does last.
    #[test]
    fn call_stays_begun_until_its_reply_is_complete() {
        let mut drc = kept(vec![0; size_of::<Set>()]);
        insert(&mut drc, key(1, 6, b"args"), &[200; 260]);
        drc.key = key(1, 7, b"args");
        assert!(drc.lookup().is_none() && !drc.is_done(|| true));
        let begun = drc.sets[0];
        drc.insert(&[201; 260]);
        let answered = drc.sets[0];
        let seal = WORD_BYTES + drc.place * SLOT_BYTES;
        for stored in seal + WORD_BYTES..=seal + SLOT_BYTES {
            let mut torn = begun;
            torn[seal + WORD_BYTES..stored].copy_from_slice(&answered[seal + WORD_BYTES..stored]);
            let mut drc = kept(torn.to_vec());
            assert!(lookup(&mut drc, key(1, 7, b"args")).is_none());
            assert!(drc.is_done(|| false), "{stored}");
            drc.insert(b"reply");
            assert_eq!(drc.lookup(), Some(&b"reply"[..]));
        }
    }

    #[test]
    fn replace_needs_the_same_peer_procedure_and_reply() {
        let mut drc = drc();
        let reply = |xid: u8, text: &[u8]| [&[0, 0, 0, xid], text].concat();
        let other_port = Key {
            port: 701,
            ..key(1, 7, b"arg1")
        };
        let stored = [
            (key(1, 7, b"arg2"), reply(7, b"done")),
            (key(1, 7, b"arg3"), reply(7, b"earlier")),
            (other_port, reply(7, b"done")),
            (key(1, 8, b"arg2"), reply(8, b"done")),
            (key(2, 7, b"arg2"), reply(7, b"done")),
        ];
        for (key, reply) in &stored {
            insert(&mut drc, key.clone(), reply);
        }
        let failed = |xid| reply(xid, b"failed");
        for (peer, procedure, xid, old) in [
            (1, 12, 7, "done"),
            (1, 13, 8, "done"),
            (1, 12, 9, "done"),
            (1, 12, 8, "undone"),
            (3, 12, 7, "done"),
        ] {
            drc.replace(
                &client(peer),
                procedure,
                &reply(xid, old.as_bytes()),
                &failed(xid),
            );
        }
        let mut drc = kept(drc.sets.as_flattened().to_vec());
        for (number, (key, reply)) in stored.into_iter().enumerate() {
            let expected = if number == 0 { failed(7) } else { reply };
            assert_eq!(lookup(&mut drc, key), Some(&expected[..]), "{number}");
        }
        let mut none = DuplicateRequestCache::new(&mut [], true, connections());
        none.replace(&client(1), 12, &reply(7, b"done"), &failed(7));
    }

    /// A call with the key of an answered one comes from a port, by a connection, at a time, while the connection of the answered
    /// one is open or closed.
    #[test]
    fn only_a_retransmission_gets_the_reply() {
        const OWN: usize = 0;
        const OLDER: usize = 1;
        const NEWER: usize = 2;
        for (port, slot, secs, is_closed, expect) in [
            (700, OWN, 50, false, true),
            (700, OLDER, 50 + DRC_AGE_SECS, false, true),
            (700, OWN, 51 + DRC_AGE_SECS, false, false),
            (701, OLDER, 51, false, false),
            (701, NEWER, 51, false, false),
            (701, OLDER, 51, true, false),
            (701, NEWER, 51, true, true),
            (701, NEWER, 51 + DRC_AGE_SECS, true, false),
        ] {
            let all = connections();
            let mut opened = vec![all.open(OWN), all.open(OLDER)];
            let mut drc = DuplicateRequestCache::new(vec![0; DRC_BYTES].leak(), true, all);
            let call = |port, connection, time| Key {
                port,
                connection,
                time,
                ..key(1, 7, b"args")
            };
            insert(&mut drc, call(700, opened[OWN], 50), b"reply");
            opened.push(all.open(NEWER));
            if is_closed {
                all.close(opened[OWN]);
            }
            let context = format!("{port} {slot} {secs} {is_closed}");
            let found = lookup(&mut drc, call(port, opened[slot], secs)).is_some();
            assert_eq!(found, expect, "{context}");
            // From now on, the connection that got the reply last must be closed.
            let next = call(702, all.open(3), secs);
            let found = lookup(&mut drc, next).is_some();
            assert_eq!(found, is_closed && slot == OLDER, "{context}");
        }
    }

    #[test]
    fn user_and_groups_belong_to_the_key() {
        let credential = |uid: u32, gid: u32, groups: &[u32]| {
            let words = [&[0, 0, uid, gid, groups.len() as u32], groups].concat();
            let body: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            let head = [7, 0, 2, 100_003, 3, 12, 1, body.len() as u32];
            let head = head.iter().flat_map(|word: &u32| word.to_be_bytes());
            head.chain(body).chain([0; 8]).collect::<Vec<u8>>()
        };
        let mut seen = drc();
        for (uid, gid, groups) in [
            (0, 0, &[][..]),
            (1, 0, &[]),
            (0, 1, &[]),
            (0, 0, &[0]),
            (0, 0, &[1, 2]),
            (0, 0, &[2, 1]),
        ] {
            let packet = credential(uid, gid, groups);
            let mut call = Call::default();
            call.parse(&mut Reader::new(&packet)).unwrap();
            let mut key = Key::NONE;
            let from = (&client(1), Connection::NONE);
            key.set(from, Instant::from_ms(0), &call, b"args");
            assert_eq!(lookup(&mut seen, key), None, "{uid} {gid} {groups:?}");
            seen.insert(b"reply");
        }
    }

    /// The record of a begun call stays until the call is answered, and does not affect calls with another key.
    #[test]
    fn begun_call_is_done_if_the_name_changed() {
        for was_there in [false, true] {
            let mut drc = drc();
            drc.key = key(1, 7, b"args");
            assert!(drc.lookup().is_none() && !drc.is_done(|| was_there));
            for _ in 0..2 {
                let left = drc.sets.as_flattened().to_vec();
                drc = kept(left);
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
        let mut alone = DuplicateRequestCache::new(vec![0; DRC_BYTES].leak(), false, connections());
        alone.key = key(1, 7, b"args");
        assert!(alone.lookup().is_none() && !alone.is_done(|| unreachable!("nobody follows")));
    }
}
