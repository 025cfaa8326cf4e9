//! Congestion control (RFC 5681) of a connection, which smoltcp does not know: the stack lowers the windows of received segments to
//! the congestion window, and repeats an ACK that shows a loss until smoltcp retransmits the lost segment.
//!
//! smoltcp's own Reno ends its recovery at the first partial acknowledgment, so several losses in one round trip halve the window
//! several times; and smoltcp ignores selective acknowledgments (RFC 2018).

use super::packet::Segment;
use crate::time::{Duration, Instant};

/// Data in a segment on Ethernet (bytes); larger than the peer's if its MSS is smaller.
const MSS: u32 = 1460;
/// Window of a new connection and after a lull (RFC 6928).
const INITIAL: u32 = 10 * MSS;
/// Smallest window: enough duplicate ACKs follow a loss for a fast retransmission.
const MIN: u32 = 4 * MSS;
/// Largest window; larger than every send buffer.
const MAX: u32 = 1 << 20;
/// Number of bytes received after a missing segment from which on it counts as lost and not late (RFC 6675 section 4: DupThresh).
const LATER_MIN: u32 = 2 * MSS + 1;
/// Time after a loss in which a missing segment counts as lost once any later byte was received: while segments are lost, the
/// window may be too small for [`LATER_MIN`].
const LOSSY_TIME: Duration = Duration::SECOND;
/// Time without an acknowledgment of new data after which a connection starts again with the initial window.
const LULL: Duration = Duration::SECOND;

/// State of a connection's congestion control.
#[derive(Debug)]
pub(super) struct Congestion {
    /// Limit of bytes in flight.
    window: u32,
    /// Limit up to which the window grows by all acknowledged bytes, not by one segment per round trip.
    threshold: u32,
    /// Acknowledged sequence number.
    acked: u32,
    /// Time of the last acknowledgment of new data.
    acked_at: Instant,
    /// Sequence number of the segment that was lost last.
    lost: u32,
    /// Time of that loss.
    lost_at: Option<Instant>,
    /// Sequence number from which on a loss reduces the window again.
    recovered: u32,
    /// Last received window field, and number of ACKs in a row that repeat acknowledgment and window.
    field: u16,
    duplicate_count: u32,
    /// Window scale of the peer, in bits.
    scale: u8,
}

impl Congestion {
    /// The state of a new connection, whose peer has sent this window scale.
    pub(super) const fn new(scale: u8, now: Instant) -> Self {
        Self {
            window: INITIAL,
            threshold: MAX,
            acked: 0,
            acked_at: now,
            lost: 0,
            lost_at: None,
            recovered: 0,
            field: 0,
            duplicate_count: 0,
            scale,
        }
    }

    /// Handles the acknowledgment that ends the handshake.
    pub(super) const fn begin(&mut self, acked: u32) {
        (self.acked, self.recovered) = (acked, acked);
    }

    /// Handles a received segment while `queued` bytes are unsent or not acknowledged. Returns the limit for its window field, and
    /// true if it shows a new loss.
    pub(super) fn receive(&mut self, now: Instant, segment: &Segment, queued: u32) -> (u16, bool) {
        let advance = segment.acked.wrapping_sub(self.acked);
        let is_same = (segment.acked, segment.field) == (self.acked, self.field);
        self.field = segment.field;
        if advance.wrapping_sub(1) < i32::MAX as u32 {
            self.advance(now, advance, queued);
            self.duplicate_count = 0;
        } else if is_same && segment.is_empty && queued > 0 {
            self.duplicate_count = self.duplicate_count.saturating_add(1);
        }
        // Without selective acknowledgments, each duplicate shows that one more segment has arrived.
        let later = match segment.later_bytes {
            0 => self.duplicate_count.saturating_mul(MSS),
            later => later,
        };
        let is_lossy = self.lost_at.is_some_and(|at| now.since(at) < LOSSY_TIME);
        let is_known = is_lossy && self.lost == self.acked;
        let is_late = later < LATER_MIN && !(is_lossy && segment.later_bytes > 0);
        let is_lost = segment.is_empty && !is_known && !is_late;
        if is_lost {
            self.lose(now, queued);
        }
        // Bytes that have arrived are no longer in flight.
        let limit = self.window.saturating_add(later) >> self.scale;
        (limit.clamp(1, u32::from(u16::MAX)) as u16, is_lost)
    }

    fn advance(&mut self, now: Instant, advance: u32, queued: u32) {
        if now.since(self.acked_at) >= LULL {
            self.window = self.window.min(INITIAL);
        }
        self.acked = self.acked.wrapping_add(advance);
        self.acked_at = now;
        // The window grows only if it limits the connection, and not before the data in flight at the loss is acknowledged.
        if queued >= self.window && !self.is_recovering() {
            self.window += match self.window < self.threshold {
                true => advance.min(MSS * 2),
                false => advance.min(self.window) * MSS / self.window,
            };
            self.window = self.window.min(MAX);
        }
    }

    /// Halves the window, at most once per round trip.
    fn lose(&mut self, now: Instant, queued: u32) {
        if !self.is_recovering() {
            self.recovered = self.acked.wrapping_add(queued.min(self.window));
            self.window = (self.window / 2).max(MIN);
            self.threshold = self.window;
        }
        (self.lost, self.lost_at) = (self.acked, Some(now));
    }

    /// Returns true if data that was in flight at the last loss is not acknowledged yet.
    const fn is_recovering(&self) -> bool {
        (self.recovered.wrapping_sub(self.acked) as i32) > 0
    }
}
