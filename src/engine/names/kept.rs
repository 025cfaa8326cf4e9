//! The results of look-ups as bytes, which outlive the server. Each is the key of a host name or 0, the time of the answer (seconds of
//! the monotonic clock), an address, and the names of a client.

use super::Resolver;
use crate::config::{NAME_KEEP, NAMED_PEER_BYTES};
use crate::time::{Duration, Instant};
use crate::vfs::{Known, Tree};
use crate::wire::{Reader, Writer};

impl Resolver {
    /// Writes the results that the tree has. Returns their length. What does not fit is left out.
    pub fn save(tree: &Tree, out: &mut [u8]) -> usize {
        let mut out = Writer::new(out);
        tree.list_known(&mut |known| {
            let start = out.position();
            out.u64(known.key);
            out.u32(known.since.secs());
            out.put(&known.address.octets());
            out.opaque(known.names);
            if out.written().is_none() {
                out.truncate(start);
            }
        });
        out.position()
    }

    /// Reads the results of an earlier server into the tree, after [`Self::restart`]. Those older than 15 minutes are ignored.
    pub fn restore(saved: &[u8], now: Instant, tree: &mut Tree) {
        let mut saved = Reader::new(saved);
        while !saved.rest().is_empty() {
            let key = saved.u64();
            let since = Instant::default().after(Duration::from_secs(saved.u32()));
            let address = saved.take(size_of::<u128>()).try_into();
            let names = saved.opaque(NAMED_PEER_BYTES as u32);
            if let Ok(address) = address.map(u128::from_be_bytes)
                && saved.check().is_ok()
                && since <= now
                && now.since(since) < NAME_KEEP
            {
                let address = address.into();
                tree.add_known(&Known {
                    key,
                    since,
                    address,
                    names,
                });
            }
        }
    }
}
