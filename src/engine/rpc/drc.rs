//! The duplicate request cache: a client that lost its connection sends a request again, and gets the same reply.
//!
//! The key of a request that is not idempotent: the client's address, its xid, procedure, UID and GID, and a checksum of arguments
//! and groups. Programs of one host may use equal xids, so a call with the same key is a retransmission only if it comes from the
//! same port, or by a newer connection when the one that got the reply is closed. A client that acknowledges all its replies and ends
//! the connection sends no call again: they are removed. Address and xid choose a set of slots; in a full set a new call evicts the
//! oldest reply of the peer that holds the most. A reply of a killed server with a wrong checksum is ignored. The cache records if a
//! name to make or remove exists, or a guard holds: if a retransmission finds the opposite, a killed server did the change.

use super::connections::{Connection, Connections};
use crate::config::{DRC_AGE_SECS, DRC_REPLY_BYTES, DRC_WAY_COUNT};
use crate::log;
use crate::mem::{Ends as _, fx_words as hash, store_last};
use crate::time::Instant;
use crate::vfs::{Caller, Peer, share};
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
const _: () = assert!(DRC_REPLY_BYTES.is_multiple_of(4));

type Slot = [u8; SLOT_BYTES];
/// The last stamp given to a slot, then the slots. Each store into the set writes the next stamp, so the lowest stamp is the oldest
/// reply.
pub(super) type Set = [u8; WORD_BYTES + SLOT_BYTES * DRC_WAY_COUNT];

/// The identity of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in super::super) struct Key {
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

impl Key {
    /// The key of a call with these arguments, which came from `peer` by `connection` at `now`.
    pub(in super::super) fn new(
        (peer, connection): (&Peer, Connection),
        now: Instant,
        call: &Call<'_>,
        args: &[u8],
    ) -> Self {
        let (mut user, mut groups) = ([Caller::NOBODY; 2], &[][..]);
        if let Some(credential) = &call.credential {
            (user, groups) = ([credential.uid, credential.gid], credential.group_bytes());
        }
        let [uid, gid] = user;
        let sum = hash(hash(1, args), groups);
        let mut key = Self::of_words(peer, &[call.xid, call.procedure, uid, gid, sum]);
        (key.time, key.connection) = (now.secs(), connection);
        key
    }

    fn of_words(peer: &Peer, words: &[u32; 5]) -> Self {
        let [xid, ..] = words;
        let mut key = Self {
            bytes: [0; KEY_BYTES],
            set: hash(1, &peer.address.octets()).wrapping_add(*xid),
            time: 0,
            port: peer.port,
            connection: Connection::NONE,
        };
        let mut bytes = Writer::new(&mut key.bytes);
        bytes.put(&peer.address.octets());
        bytes.words(words);
        key
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
#[inline(never)] // −50 bytes: one caller, whose frame stays small.
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

/// The answer to a look-up.
#[derive(PartialEq, Eq, Debug)]
pub(in super::super) enum Lookup<'a> {
    /// The call is a retransmission.
    Reply {
        /// The results that the call got.
        results: &'a [u8],
        /// True if another server carried out the call: it may not have made the change durable.
        is_of_other: bool,
    },
    /// The call is to be carried out.
    New(NewCall),
}

/// A call without a reply in the cache.
#[derive(PartialEq, Eq, Debug)]
pub(in super::super) struct NewCall {
    key: Key,
    /// Index, in its set, of the slot for the call.
    place: usize,
    /// `Some` if an earlier server was killed while it carried out the call: true if the name existed before, or the guard held.
    begun: Option<bool>,
}

/// The cache. Server processes that share its memory access it in turn, with the lock of the tables.
#[derive(Debug)]
pub(in super::super) struct DuplicateRequestCache {
    sets: &'static mut [Set],
    /// The open connections of all servers that use this memory.
    pub(in super::super) connections: Connections,
    /// True if other servers use this memory now, or a restarted one will.
    is_kept: bool,
}

impl DuplicateRequestCache {
    /// Opens the cache in these sets, which may hold an earlier server's replies; all zeros are an empty cache.
    pub(in super::super) const fn new(
        sets: &'static mut [Set],
        is_kept: bool,
        connections: Connections,
    ) -> Self {
        Self {
            sets,
            connections,
            is_kept,
        }
    }

    /// A copy of the memory, as left by a server that was killed after it carried out an answered call and before it stored the
    /// results.
    #[cfg(test)]
    pub(in super::super) fn left_begun(
        &self,
        peer: &Peer,
        packet: &[u8],
        was_there: bool,
    ) -> &'static mut [u8] {
        let memory = self.sets.to_vec().leak();
        let mut left = Self::new(memory, true, self.connections);
        let (mut call, mut args) = (Call::default(), Reader::new(packet));
        call.parse(&mut args).unwrap();
        let from = (peer, Connection::NONE);
        let key = Key::new(from, Instant::default(), &call, args.rest());
        let place = left.place_of(&key).unwrap();
        let begun = None;
        left.put(&NewCall { key, place, begun }, b"", Some(was_there));
        left.sets.as_flattened_mut()
    }

    /// Returns true if other servers use this memory, now or after a restart. Only `serve` arranges that.
    pub(in super::super) const fn is_kept(&self) -> bool {
        crate::config::HAS_SERVE && self.is_kept
    }

    /// Returns the index of the slot that holds a call with this key of the same client.
    fn place_of(&mut self, key: &Key) -> Option<usize> {
        let connections = &self.connections;
        let (_, slots) = set(self.sets, key.set)?;
        let is_same_port = |slot: &Slot| Owner::of(slot).port == u32::from(key.port);
        let is_reconnected = |slot: &Slot| {
            let owner = Owner::of(slot);
            key.connection.is_after(owner.newest) && !connections.is_open(owner.connection)
        };
        let mut all = slots.iter();
        all.position(|slot| key.is_of(slot) && is_same_port(slot))
            .or_else(|| {
                let mut all = slots.iter();
                all.position(|slot| key.is_of(slot) && is_reconnected(slot))
            })
    }

    /// Looks up the reply to an earlier transmission of the call with this key.
    pub(in super::super) fn lookup(&mut self, key: Key) -> Lookup<'_> {
        let is_kept = self.is_kept();
        let found = self.place_of(&key);
        let connections = &self.connections;
        let mut call = NewCall {
            key,
            place: 0,
            begun: None,
        };
        let Some((last, slots)) = set(self.sets, call.key.set) else {
            return Lookup::New(call);
        };
        call.place = found.unwrap_or_else(|| choose(slots, &call.key, u32::from_be_bytes(*last)));
        let Some(slot) = slots.get_mut(call.place).filter(|_| found.is_some()) else {
            return Lookup::New(call);
        };
        log::debug!("call {=[u8]:x} has been answered before", call.key.bytes);
        let is_own = connections.is_own(Owner::of(slot).connection);
        Owner::put(slot.tail_mut(WORD_BYTES), &call.key, connections);
        let (results, sealed) = reply_in(slot);
        let seal = Reader::new(slot).u32();
        if is_kept && seal != hash(1, sealed) {
            let was_there = seal.wrapping_sub(hash(1, &call.key.bytes));
            call.begun = (was_there <= 1).then_some(was_there != 0);
            return Lookup::New(call);
        }
        Lookup::Reply {
            results,
            is_of_other: is_kept && !is_own,
        }
    }

    /// Returns true if an earlier server carried out the call. `is_there` returns true if the name exists, or the guard holds, now.
    /// If the call was not carried out, stores the result of `is_there` in the call's slot, for the next server.
    pub(in super::super) fn is_done(
        &mut self,
        call: &NewCall,
        is_there: impl FnOnce() -> bool,
    ) -> bool {
        self.is_kept() && {
            let is_there = is_there();
            let is_done = call.begun == Some(!is_there);
            if !is_done {
                self.put(call, b"", Some(is_there));
            }
            is_done
        }
    }

    /// Stores the results of a call, unless they are longer than [`DRC_REPLY_BYTES`].
    pub(in super::super) fn insert(&mut self, call: &NewCall, results: &[u8]) {
        self.put(call, results, None);
    }

    /// Replaces the cached results `old` of the call of `peer` with this xid and procedure.
    #[inline(never)] // −40 bytes: one caller, whose frame stays small.
    #[cold]
    pub(in super::super) fn replace(
        &mut self,
        peer: &Peer,
        call: [u32; 2],
        old: &[u8],
        new: &[u8],
    ) {
        let [xid, procedure] = call;
        let mut key = Key::of_words(peer, &[xid, procedure, 0, 0, 0]);
        for place in 0..DRC_WAY_COUNT {
            if let Some((_, slots)) = set(self.sets, key.set)
                && let Some(slot) = slots.get(place)
                && let Some(bytes) = from_key(slot).first_chunk()
                && bytes.starts_with(key.bytes.head(CALL_BYTES))
                && reply_in(slot).0 == old
            {
                let owner = Owner::of(slot);
                if owner.port == u32::from(peer.port) {
                    (_, key.time) = times(slot);
                    (key.bytes, key.connection) = (*bytes, owner.connection);
                    let begun = None;
                    return self.insert(&NewCall { key, place, begun }, new);
                }
            }
        }
    }

    /// Removes the replies that `connection` got last. Its client has received them, so an equal call is a new one.
    pub(in super::super) fn forget(&mut self, connection: Connection) {
        for set in &mut *self.sets {
            let slots: &mut [Slot] = set.tail_mut(WORD_BYTES).as_chunks_mut().0;
            for slot in slots {
                if Owner::of(slot).connection == connection {
                    // A slot without an address is empty.
                    let key = slot.tail_mut(WORD_BYTES + OWNER_BYTES);
                    key.head_mut(size_of::<Ipv6Addr>()).fill(0);
                }
            }
        }
    }

    /// Fills a call's slot with its results, or records that the call is begun. The checksum is stored last, so that a server
    /// killed in between leaves a begun call marked as begun.
    fn put(&mut self, call: &NewCall, results: &[u8], begun: Option<bool>) {
        let is_kept = self.is_kept();
        let key = &call.key;
        if let Some((last, slots)) = set(self.sets, key.set)
            && let Some(slot) = slots.get_mut(call.place)
            && results.len() <= DRC_REPLY_BYTES
        {
            let stamp = u32::from_be_bytes(*last).wrapping_add(1);
            *last = stamp.to_be_bytes();
            let (seal, rest) = slot.split_at_mut(WORD_BYTES);
            let (owner, rest) = rest.split_at_mut(OWNER_BYTES);
            Owner::put(owner, key, &self.connections);
            let mut writer = Writer::new(rest);
            writer.put(&key.bytes);
            writer.words(&[stamp, key.time]);
            writer.opaque(results);
            if is_kept {
                let len = writer.position();
                let sum = match begun {
                    Some(was_there) => hash(1, &key.bytes).wrapping_add(was_there.into()),
                    None => hash(1, rest.head(len)),
                };
                if let Some(seal) = seal.first_chunk_mut() {
                    store_last(seal, sum);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
