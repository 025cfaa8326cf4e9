//! Instants and durations of the monotonic clock, in milliseconds. Code gets the time as an argument `now`.

/// Milliseconds of the monotonic clock, counted from the host's start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Instant(u64);

impl Instant {
    /// Later than any other instant: no deadline.
    pub const NEVER: Self = Self(u64::MAX);

    /// The instant `ms` milliseconds after the clock's zero.
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// The instant that is `by` later. Does not overflow in the host's lifetime.
    pub const fn after(self, by: Duration) -> Self {
        Self(self.0 + by.0)
    }

    /// Time since `earlier`; zero if `earlier` is in the future.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration(self.0.saturating_sub(earlier.0))
    }

    /// Whole seconds since the clock's zero, to save space in tables.
    pub const fn secs(self) -> u32 {
        (self.0 / Duration::SECOND.0) as u32
    }
}

/// A span of time in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Duration(u64);

impl Duration {
    /// One second.
    pub const SECOND: Self = Self(1000);

    /// `secs` seconds.
    pub const fn from_secs(secs: u32) -> Self {
        Self(secs as u64 * Self::SECOND.0)
    }

    /// `ms` milliseconds, however many.
    pub const fn from_long_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// `ms` milliseconds.
    pub const fn from_ms(ms: u32) -> Self {
        Self(ms as u64)
    }

    /// The span in milliseconds.
    pub const fn as_ms(self) -> u64 {
        self.0
    }
}
