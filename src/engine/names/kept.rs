//! The last results of look-ups as bytes, which outlive the server. For each address and its names: the time of the answer (seconds of
//! the monotonic clock), the address, the names. Each name of a client ends with NUL; the name of a host in exports has none.

use super::{PeerAsk, Resolver};
use crate::config::{NAME_KEEP, NAMED_PEER_BYTES};
use crate::time::{Duration, Instant};
use crate::vfs::Tree;
use crate::wire::{Reader, Writer};
use core::net::Ipv6Addr;

/// Writes one result. What does not fit is left out.
fn put(out: &mut Writer<'_>, since: Instant, address: &Ipv6Addr, names: &[u8]) {
    let start = out.position();
    out.u32(since.secs());
    out.put(&address.octets());
    out.opaque(names);
    if out.written().is_none() {
        out.truncate(start);
    }
}

impl Resolver {
    /// Writes the last results. Returns their length.
    pub fn save(&self, tree: &mut Tree, out: &mut [u8]) -> usize {
        let mut out = Writer::new(out);
        for (number, ask) in self.names.iter().enumerate() {
            for address in tree.known_addresses(number) {
                if let Some(host) = tree.host_name(number) {
                    put(&mut out, ask.since, address, host.name);
                }
            }
        }
        for (known, peer) in tree.named_peers().iter().zip(self.peers.iter()) {
            let names = known.all_names();
            if known.address == peer.address && !names.is_empty() {
                put(&mut out, peer.ask.since, &known.address, names);
            }
        }
        out.position()
    }

    /// Reads the results of an earlier server, after [`Self::restart`]. Those that are older than 15 minutes are ignored.
    pub fn restore(&mut self, saved: &[u8], now: Instant, tree: &mut Tree) {
        let mut saved = Reader::new(saved);
        let mut number = 0;
        while !saved.rest().is_empty() {
            let since = Instant::default().after(Duration::from_secs(saved.u32()));
            let address = saved.take(size_of::<Ipv6Addr>()).try_into();
            let address = Ipv6Addr::from(address.unwrap_or([0; 16]));
            let names = saved.opaque(NAMED_PEER_BYTES as u32);
            if saved.check().is_err() || since > now || now.since(since) >= NAME_KEEP {
                continue;
            }
            if names.ends_with(b"\0") {
                let mut peer = PeerAsk::new(address, now);
                peer.ask.since = since;
                if tree.restore_peer(address, names) == Some(self.peers.len()) {
                    self.peers.push(peer);
                }
                continue;
            }
            // Results are in the order of the host names, mostly those of now.
            for _ in 0..self.names.len() {
                if let Some(host) = tree.host_name(number)
                    && host.name == names
                {
                    if let Some(ask) = self.names.get_mut(number) {
                        ask.since = since;
                    }
                    if let Some(host) = tree.addresses(number) {
                        host.add(address);
                    }
                    break;
                }
                number = (number + 1) % self.names.len();
            }
        }
    }
}
