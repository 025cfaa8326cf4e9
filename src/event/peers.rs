//! Messages about clients, which are rate-limited. A line starts with the client's address.

use super::{Event, Events, Line, hand_over};
use crate::config::EVENT_COUNT_PER_MINUTE;
use crate::text::{Text, text};
use crate::time::Instant;
use core::net::Ipv6Addr;

/// The counters of the rate limit.
pub(super) type Counters = [Counter; 64];

/// Events of one kind from one peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counter {
    kind: Text,
    peer: Ipv6Addr,
    /// Start of the count (seconds of the monotonic clock).
    since: u32,
    count: u32,
}

pub(super) const UNUSED: Counters = [Counter {
    kind: Text::NOTHING,
    peer: Ipv6Addr::UNSPECIFIED,
    since: 0,
    count: 0,
}; _];

impl Events {
    /// Reports an event of a client, at most [`EVENT_COUNT_PER_MINUTE`] of each kind a minute.
    #[inline(always)]
    pub fn report_for_peer(
        &mut self,
        now: Instant,
        peer: Ipv6Addr,
        event: impl Into<Event>,
        about: &[u8],
        why: Text,
    ) {
        self.report_event_for_peer(now, peer, event.into(), about, why);
    }

    fn report_event_for_peer(
        &mut self,
        now: Instant,
        peer: Ipv6Addr,
        event: Event,
        about: &[u8],
        why: Text,
    ) {
        let Some(withheld) = self.count(now.secs(), peer, event.text) else {
            return;
        };
        let mut line = Line::default();
        line.marks.set_level(event.level);
        let end = line.prefix().address(peer).len;
        line.marks.end_peer(end);
        line.byte(b' ').say(event.text).details(about, why);
        if withheld > 0 {
            line.say(text!(" (and "))
                .number(withheld)
                .say(text!(" like it before)"));
        }
        hand_over(self.sink, &mut line);
    }

    /// Returns true if a line about this event of a peer may be reported: at most [`EVENT_COUNT_PER_MINUTE`] of each kind a minute.
    pub fn admits(&mut self, now: Instant, peer: Ipv6Addr, kind: Text) -> bool {
        self.count(now.secs(), peer, kind).is_some()
    }

    /// Counts an event. `None`: over the limit. Otherwise the number of events suppressed in the minute before.
    fn count(&mut self, now: u32, peer: Ipv6Addr, kind: Text) -> Option<u32> {
        let is_it = |counter: &Counter| counter.kind == kind && counter.peer == peer;
        let counter = match self.counters.iter().position(is_it) {
            Some(at) => self.counters.get_mut(at)?,
            None => {
                // An unused counter is the oldest.
                let age = |counter: &&mut Counter| {
                    u64::from(counter.since) << 32 | u64::from(counter.count)
                };
                let oldest = self.counters.iter_mut().min_by_key(age)?;
                *oldest = Counter {
                    kind,
                    peer,
                    since: now,
                    count: 0,
                };
                oldest
            }
        };
        let mut withheld = 0;
        if now.wrapping_sub(counter.since) >= 60 {
            withheld = counter.count.saturating_sub(EVENT_COUNT_PER_MINUTE);
            (counter.since, counter.count) = (now, 0);
        }
        counter.count = counter.count.saturating_add(1);
        (counter.count <= EVENT_COUNT_PER_MINUTE).then_some(withheld)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Sink;
    use super::super::{DISK_FAILED, MOUNTED, STOPPING};
    use super::*;
    use crate::time::Duration;

    const PEER: Ipv6Addr = core::net::Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped();

    #[test]
    fn peer_log_lines_are_limited_per_minute() {
        let sink = Sink::default();
        let mut events = Events::new(Box::new(sink.clone()));
        let start = Instant::default();
        for _ in 0..35 {
            events.report_for_peer(start, PEER, MOUNTED, b"/a", Text::NOTHING);
        }
        assert_eq!(sink.lines().len(), 10);
        events.report_for_peer(start, PEER, DISK_FAILED, b"", STOPPING);
        assert_eq!(sink.lines().len(), 11);
        events.report_for_peer(
            start.after(Duration::from_secs(61)),
            PEER,
            MOUNTED,
            b"/a",
            Text::NOTHING,
        );
        assert_eq!(
            sink.lines()[11],
            "stowaway: 192.0.2.7 mounted /a (and 25 like it before)"
        );
    }

    #[test]
    fn full_counter_table_evicts_the_oldest_peer() {
        let sink = Sink::default();
        let mut events = Events::new(Box::new(sink.clone()));
        let at = |second| Instant::default().after(Duration::from_secs(second));
        let mut report = |second, peer: u16| {
            let peer = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, peer);
            events.report_for_peer(at(second), peer, MOUNTED, b"/a", Text::NOTHING);
            sink.lines().len()
        };
        (0..10).for_each(|_| _ = report(0, 0));
        assert_eq!(report(0, 0), 10);
        // Fills all counters: one for the first peer, and 63 for other peers.
        (1..64).for_each(|peer| _ = report(1, peer));
        assert_eq!(report(1, 0), 10 + 63);
        assert_eq!(report(2, 64), 10 + 64);
        assert_eq!(report(2, 0), 10 + 65);
    }
}
