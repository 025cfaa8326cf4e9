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
        if queued == 0 {
            // Everything is acknowledged: corrects the state after a forged segment.
            self.acked = segment.acked;
        }
        let advance = segment.acked.wrapping_sub(self.acked);
        let is_same = (segment.acked, segment.field) == (self.acked, self.field);
        self.field = segment.field;
        // A segment can acknowledge the queued bytes and a FIN. One that acknowledges more is forged; smoltcp drops it.
        if advance.wrapping_sub(1) <= queued {
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
        // The bytes after a missing segment have arrived, so they are not in flight.
        let limit = self.window.saturating_add(later) >> self.scale;
        (limit.clamp(1, u32::from(u16::MAX)) as u16, is_lost)
    }

    /// Returns true if the byte with this sequence number is not acknowledged yet, while `queued` bytes are unsent or not
    /// acknowledged.
    pub(super) const fn is_in_flight(&self, number: u32, queued: u32) -> bool {
        number.wrapping_sub(self.acked) < queued
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

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_ms(5000);
    const SENT: u32 = 1 << 20;

    /// A connection that has sent a mebibyte and got no reply yet, at a sequence number that soon wraps.
    fn connection() -> (Congestion, u32) {
        let (mut congestion, start) = (Congestion::new(0, NOW), 0u32.wrapping_sub(1000));
        congestion.begin(start);
        (congestion, start)
    }

    fn ack(acked: u32, later_bytes: u32) -> Segment {
        Segment {
            acked,
            field: u16::MAX,
            is_empty: true,
            later_bytes,
        }
    }

    #[test]
    fn window_doubles_until_the_first_loss() {
        let (mut congestion, mut acked) = connection();
        for _ in 0..10 {
            acked = acked.wrapping_add(MSS);
            congestion.receive(NOW, &ack(acked, 0), SENT);
        }
        assert_eq!(congestion.window, 2 * INITIAL);
        let (limit, is_loss) = congestion.receive(NOW, &ack(acked, 3 * MSS), SENT);
        assert_eq!((u32::from(limit), is_loss), (INITIAL + 3 * MSS, true));
    }

    #[test]
    fn losses_of_one_round_trip_count_once() {
        let (mut congestion, start) = connection();
        let mut acked = start;
        for _ in 0..5 {
            let (_, is_loss) = congestion.receive(NOW, &ack(acked, 3 * MSS), SENT);
            let (_, is_repeated) = congestion.receive(NOW, &ack(acked, 4 * MSS), SENT);
            assert_eq!((is_loss, is_repeated), (true, false));
            acked = acked.wrapping_add(2 * MSS);
        }
        assert_eq!(congestion.window, INITIAL / 2);
        congestion.receive(NOW, &ack(start.wrapping_add(INITIAL), 3 * MSS), SENT);
        assert_eq!(congestion.window, MIN);
    }

    #[test]
    fn overtaken_segment_is_lost_only_among_losses() {
        let (mut congestion, start) = connection();
        let second = start.wrapping_add(MSS);
        let reported = |congestion: &mut Congestion, at, later| {
            congestion.receive(NOW, &ack(at, later), SENT).1
        };
        assert!(!reported(&mut congestion, start, MSS));
        assert!(!reported(&mut congestion, start, 2 * MSS));
        assert!(reported(&mut congestion, start, 3 * MSS));
        assert!(reported(&mut congestion, second, MSS));
    }

    #[test]
    fn third_duplicate_shows_a_loss_without_selective_acknowledgments() {
        let (mut congestion, start) = connection();
        congestion.receive(NOW, &ack(start, 0), SENT);
        let reports = [1, 2, 3, 4].map(|_| congestion.receive(NOW, &ack(start, 0), SENT).1);
        assert_eq!(reports, [false, false, true, false]);
        // Neither a window update nor a segment with data is a duplicate, and there is none while nothing is in flight.
        let (mut congestion, start) = connection();
        for field in 1..10 {
            let update = Segment {
                field,
                ..ack(start, 0)
            };
            let data = Segment {
                is_empty: false,
                ..ack(start, 0)
            };
            for segment in [update, data, data] {
                assert!(!congestion.receive(NOW, &segment, SENT).1);
            }
        }
        let (mut congestion, start) = connection();
        assert!((0..10).all(|_| !congestion.receive(NOW, &ack(start, 0), 0).1));
    }

    #[test]
    fn forged_acknowledgment_changes_nothing_for_long() {
        let (mut congestion, start) = connection();
        congestion.receive(NOW, &ack(start.wrapping_add(SENT + 2), 0), SENT);
        assert_eq!(congestion.acked, start);
        // While nothing is queued, the next segment of the peer corrects the state.
        congestion.receive(NOW, &ack(start.wrapping_add(1 << 30), 0), 0);
        congestion.receive(NOW, &ack(start, 0), 0);
        assert_eq!(congestion.acked, start);
    }

    #[test]
    fn window_grows_only_if_it_limits_the_connection() {
        let (mut congestion, start) = connection();
        for number in 1..100 {
            congestion.receive(NOW, &ack(start.wrapping_add(100 * number), 0), 100);
        }
        assert_eq!(congestion.window, INITIAL);
    }

    #[test]
    fn connection_starts_again_after_a_lull() {
        let (mut congestion, start) = connection();
        congestion.window = MAX;
        let later = NOW.after(LULL);
        congestion.receive(later, &ack(start.wrapping_add(1), 0), 1);
        assert_eq!(congestion.window, INITIAL);
    }

    /// A window of zero would start smoltcp's probes.
    #[test]
    fn limit_is_never_zero_and_fits_the_field() {
        let (mut congestion, start) = connection();
        congestion.scale = 14;
        congestion.window = MIN;
        assert_eq!(congestion.receive(NOW, &ack(start, 0), SENT).0, 1);
        congestion.scale = 0;
        congestion.window = MAX;
        assert_eq!(congestion.receive(NOW, &ack(start, 0), SENT).0, u16::MAX);
    }
}
