//! Forged input: steers smoltcp 0.14 where it has no setting or call. Each item names the upstream change that would replace it.

use super::{Smol, packet};
use crate::time::{Duration, Instant};
use smoltcp::time;

/// Speed of smoltcp's clock, relative to real time.
///
/// smoltcp lacks a setting for its shortest retransmission timeout, which is one second (`RTTE_MIN_RTO`). On the faster clock it is
/// 67 ms (Linux: 200 ms), or longer if the measured round-trip time demands it; only SYN-ACKs wait a second. The fourth repetition
/// of a SYN-ACK is due after 1 + 2 + 4 + 8 of smoltcp's seconds, exactly one second of real time.
/// Upstream change: a setter for the shortest timeout in `tcp::Socket`.
const PACE: u64 = 15;

/// Converts a time to smoltcp's faster clock.
pub(super) fn paced(now: Instant) -> time::Instant {
    time::Instant::from_millis((now.since(Instant::default()).as_ms() * PACE) as i64)
}

/// Converts seconds to smoltcp's faster clock.
pub(super) const fn paced_secs(secs: u64) -> time::Duration {
    time::Duration::from_secs(secs * PACE)
}

/// Converts a time of smoltcp's faster clock; the result is not earlier.
pub(super) fn unpaced(now: Instant, due: time::Instant) -> Instant {
    let wait = (due - paced(now).min(due)).total_millis().div_ceil(PACE);
    now.after(Duration::from_ms(wait as u32))
}

impl Smol {
    /// Makes smoltcp retransmit the first segment that is not acknowledged: passes the ACK in a frame, which smoltcp has processed
    /// once, three more times.
    ///
    /// smoltcp lacks selective acknowledgments (RFC 6675) and a call to retransmit; it retransmits at the third duplicate ACK.
    /// Upstream change: `tcp::Socket::retransmit`, or loss detection as in `congestion`.
    pub(super) fn forge_duplicate_acks(&mut self, now: Instant, frame: &[u8]) {
        for _ in 0..3 {
            self.process(now, frame);
        }
    }

    /// Makes smoltcp answer the segment in a frame with a challenge ACK, whose rate it limits: turns the frame into acknowledgments of
    /// data that was not sent. `number` is a sequence number outside the connection's window.
    ///
    /// smoltcp lacks the checks of RFC 5961 for SYN and RST, and a call to send a challenge ACK. One of the two acknowledgment
    /// numbers here is of data that was not sent, as half of all numbers are.
    /// Upstream change: RFC 5961 sections 3.2 and 4.2 in `tcp::Socket`.
    pub(super) fn forge_challenge(&mut self, now: Instant, frame: &mut [u8], number: u32) {
        for acknowledged in [0, 1 << 31] {
            packet::make_ack(frame, number, acknowledged);
            self.process(now, frame);
        }
    }
}
