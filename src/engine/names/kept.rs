//! The results of look-ups as bytes, which outlive the server: a checksum, the time when the host started (seconds since 1970), the
//! length of the rest. Then the results, each of the key of a host name or 0, the time of the answer (seconds of the monotonic
//! clock), an address, and the names of a client.

use super::Resolver;
use crate::config::{NAME_KEEP, NAMED_PEER_BYTES};
use crate::mem::{Ends as _, FNV_START, fnv1a};
use crate::time::{Duration, Instant};
use crate::vfs::{Known, Tree};
use crate::wire::{Reader, Writer};

/// Length of the part before the results.
const HEAD_BYTES: usize = 20;
const KEEP_SECS: i64 = NAME_KEEP.as_ms() as i64 / 1000;

impl Resolver {
    /// Writes the results that the tree has. Returns the length. What does not fit is left out. `started`: the time when the host
    /// started.
    pub fn save(started: i64, tree: &Tree, out: &mut [u8]) -> usize {
        let mut body = Writer::new(out.tail_mut(HEAD_BYTES));
        tree.list_known(&mut |known| {
            let start = body.position();
            body.u64(known.key);
            body.u32(known.since.secs());
            body.put(&known.address.octets());
            body.opaque(known.names);
            if body.written().is_none() {
                body.truncate(start);
            }
        });
        let len = body.position();
        let sum = fnv1a(FNV_START ^ started as u64, body.since(0));
        let mut head = Writer::new(out);
        head.u64(sum);
        head.u64(started as u64);
        head.u32(len as u32);
        HEAD_BYTES + len
    }

    /// Reads the results of an earlier server into the tree, after [`Self::restart`]; none if a write was broken off. Those older than
    /// 15 minutes are ignored.
    pub fn restore(saved: &[u8], now: Instant, started: i64, tree: &mut Tree) {
        let mut saved = Reader::new(saved);
        let (sum, other) = (saved.u64(), saved.u64());
        let mut saved = Reader::new(saved.opaque(u32::MAX));
        if sum != fnv1a(FNV_START ^ other, saved.rest()) {
            return;
        }
        let shift = (other as i64).wrapping_sub(started);
        while !saved.rest().is_empty() {
            let key = saved.u64();
            let since = i64::from(saved.u32()).wrapping_add(shift);
            let address = saved.take(size_of::<u128>()).try_into();
            let names = saved.opaque(NAMED_PEER_BYTES as u32);
            let age = i64::from(now.secs()).wrapping_sub(since);
            if let Ok(address) = address.map(u128::from_be_bytes)
                && (0..KEEP_SECS).contains(&age)
            {
                // A host that was off has started later than that.
                let since = Duration::from_secs(since.max(1) as u32);
                tree.add_known(&Known {
                    key,
                    since: Instant::default().after(since),
                    address: address.into(),
                    names,
                });
            }
        }
    }
}
