//! The health of a server: the heartbeats of its processes, and connections that wait for a disk.
//!
//! Under a supervisor each loop writes a word that all processes share, also while it is idle. A loop that blocks, or whose
//! process has ended, writes none.

use crate::engine::service::Health;
use crate::sys;
use crate::time::{Duration, Instant};
use core::sync::atomic::{AtomicU32, Ordering};

/// A connection that waits for a job for longer shows that a disk hangs.
pub(super) const STALL: Duration = Duration::from_secs(5);
/// Interval of heartbeats.
const INTERVAL: Duration = Duration::from_secs(2);
/// Age of a heartbeat (whole seconds) beyond which its process hangs or has ended.
const AGE_SECS_MAX: u32 = 5;

/// Bits of a heartbeat below the time in seconds. A word without `USED` is no process's.
const USED: u32 = 1;
const STALLED: u32 = 2;
const TIME_SHIFT: u32 = 2;

/// Returns the heartbeat of a loop of which no connection, or one, is stalled.
pub(super) const fn heartbeat(now: Instant, is_stalled: bool) -> u32 {
    let stalled = if is_stalled { STALLED } else { 0 };
    now.secs() << TIME_SHIFT | stalled | USED
}

/// The heartbeats that processes share, and that of this process.
pub(super) type Beats = (&'static [AtomicU32], &'static AtomicU32);

/// The heartbeat of a loop.
#[derive(Debug)]
pub(super) struct Pulse {
    /// `None`: the loop is alone, and writes none.
    beats: Option<Beats>,
    /// Time of the next look at the tasks. Never, unless a task or another process asks for the health.
    at: Instant,
    /// True if a connection was stalled at the last look.
    is_stalled: bool,
    /// The health at the last look.
    health: Health,
    /// The wall clock minus the monotonic one (ms) at the last look.
    wall_ms: u64,
}

impl Pulse {
    pub(super) const NONE: Self = Self {
        beats: None,
        at: Instant::NEVER,
        is_stalled: false,
        health: Health::Fine,
        wall_ms: 0,
    };

    /// A pulse that writes heartbeats.
    pub(super) const fn of(beats: Beats) -> Self {
        Self {
            beats: Some(beats),
            at: Instant::from_ms(0),
            ..Self::NONE
        }
    }

    /// Time at which the loop has to wake up. A loop that is alone looks when it is awake: only a request asks for its health.
    pub(super) fn poll_at(&self) -> Instant {
        self.beats.map_or(Instant::NEVER, |_| self.at)
    }

    /// Returns true if the loop has to look at its tasks.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.at <= now
    }

    /// Records the look, writes the heartbeat, and reads the wall clock.
    pub(super) fn beat(&mut self, now: Instant, is_stalled: bool) {
        (self.at, self.is_stalled) = (now.after(INTERVAL), is_stalled);
        if let Some((_, own)) = self.beats {
            own.store(heartbeat(now, is_stalled), Ordering::Relaxed);
        }
        let (secs, nanos) = sys::wall_clock();
        let wall_ms = secs.max(0) as u64 * 1000 + u64::from(nanos / 1_000_000);
        self.wall_ms = wall_ms.wrapping_sub(now.since(Instant::default()).as_ms());
        self.health = self.find_health(now);
    }

    /// Lets the loop look for stalled connections and at the wall clock.
    pub(super) const fn watch(&mut self) {
        if self.beats.is_none() {
            self.at = Instant::from_ms(0);
        }
    }

    /// See [`World::is_health_watched`](super::World::is_health_watched).
    pub(super) fn is_watched(&self) -> bool {
        self.at != Instant::NEVER
    }

    /// See [`World::health`](super::World::health).
    pub(super) const fn health(&self) -> Health {
        self.health
    }

    /// See [`World::wall`](super::World::wall).
    pub(super) const fn wall(&self, now: Instant) -> Duration {
        let now = now.since(Instant::from_ms(0));
        Duration::from_long_ms(self.wall_ms.wrapping_add(now.as_ms()))
    }

    fn find_health(&self, now: Instant) -> Health {
        let own = self.is_stalled.then_some(Health::Disk);
        let all = self.beats.map_or(&[][..], |(all, _)| all).iter();
        let others = all.filter_map(|word| health_of(word.load(Ordering::Relaxed), now));
        own.into_iter()
            .chain(others)
            .max_by_key(|health| *health as u8)
            .unwrap_or_default()
    }
}

/// The health that a heartbeat shows.
const fn health_of(word: u32, now: Instant) -> Option<Health> {
    // Seconds, and one more: a heartbeat of another process may be a little later than `now`.
    let age = now.secs().wrapping_add(1).wrapping_sub(word >> TIME_SHIFT) & u32::MAX >> TIME_SHIFT;
    if word & USED == 0 {
        None
    } else if age > AGE_SECS_MAX + 1 {
        Some(Health::Role)
    } else if word & STALLED != 0 {
        Some(Health::Disk)
    } else {
        None
    }
}
