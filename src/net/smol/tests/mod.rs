//! Tests of the stack over a simulated cable, in virtual time; the peer is unmodified smoltcp.

mod addresses;
mod cable;
mod datagrams;
mod faults;
mod messages;
mod mtu;
mod neighbors;
mod peer;
mod script;
mod segments;

use super::{Ip, Settings, Smol};
use crate::net::{Datagrams as _, Ready, Token};
use crate::time::Instant;
use cable::{End, PerMille, cable};
use peer::Peer;

/// MAC addresses of the stack and its peer.
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const ADDRESS: [u8; 4] = [192, 0, 2, 1];
const PEER_ADDRESS: [u8; 4] = [192, 0, 2, 2];

/// A stack and its peer, connected by a cable.
struct Bench {
    now: Instant,
    stack: Smol,
    peer: Peer,
    end: End,
}

impl Bench {
    fn new(seed: u64, faults: PerMille, ip: Ip) -> Self {
        let now = Instant::from_ms(1000);
        let [own, end] = cable(seed, faults);
        end.set_now(now);
        let settings = Settings {
            mac: MAC,
            ip,
            gateway: None,
            name: b"box",
            seed: [seed as u8; 16],
            is_for_host: false,
        };
        Self {
            now,
            stack: Smol::new(own.leak(), &settings, now),
            peer: Peer::new(end.clone(), now),
            end,
        }
    }

    fn with_address(seed: u64, faults: PerMille) -> Self {
        Self::new(seed, faults, Ip::Static(ADDRESS.into(), 24))
    }

    /// Runs the stack once; returns the tokens of ready sockets.
    fn turn(&mut self) -> heapless::Vec<Token, 64> {
        let mut ready = Ready::default();
        self.stack.wait(self.now, self.now, &mut ready);
        self.peer.run(self.now);
        ready.tokens
    }

    /// Advances time to the next event, at most to `until`.
    fn sleep(&mut self, until: Instant) {
        let stack = self.stack.poll_at(self.now);
        let next = stack
            .min(self.peer.poll_at(self.now))
            .min(self.end.next_at());
        // Work that is due at once runs in the next turn, 1 ms later; a link that refused frames is tried again then.
        let soon = self.now.after(crate::time::Duration::from_ms(1));
        let is_soon = self.stack.port.is_blocked();
        self.now = if is_soon { soon } else { next.max(soon) }.min(until);
        self.end.set_now(self.now);
    }
}
