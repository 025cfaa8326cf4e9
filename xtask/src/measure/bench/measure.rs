//! What a turn costs: time on the wall, the server's CPU and our own; and what several turns come to.

use std::ops::AddAssign;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::time::ClockId;
use nix::unistd::Pid;
use serde::Serialize;

use crate::machines::server::{open_files, proc_field};
use crate::machines::wait_for;

/// One turn of a workload on one server.
#[derive(Clone, Copy, Default)]
pub struct Cost {
    /// Requests, bytes or entries.
    pub amount: u64,
    /// Seconds on the wall.
    pub wall: f64,
    /// Seconds of the server's CPU, in user mode and in the kernel, all its threads.
    pub server: f64,
    /// Seconds of the load generator's CPU.
    pub own: f64,
    /// How long requests waited, where that is measured.
    pub waits: Waits,
}

impl Cost {
    /// Runs `work`, which returns its amount, against a server of these processes.
    pub fn of(pids: &[u32], work: impl FnOnce() -> Result<u64>) -> Result<Self> {
        let used = || {
            pids.iter()
                .map(|pid| settled(*pid))
                .sum::<Result<Duration>>()
        };
        let start = used()?;
        let cost = Self::alone(work)?;
        pids.iter().try_for_each(|pid| wait_for_removed(*pid))?;
        let server = (used()? - start).as_secs_f64();
        Ok(Self { server, ..cost })
    }

    /// Runs `work`, which returns its amount, without a server: its own CPU stands for the server's.
    pub fn alone(work: impl FnOnce() -> Result<u64>) -> Result<Self> {
        let own_start = read(ClockId::CLOCK_PROCESS_CPUTIME_ID)?;
        let start = Instant::now();
        let amount = work()?;
        let wall = start.elapsed().as_secs_f64();
        let own = (read(ClockId::CLOCK_PROCESS_CPUTIME_ID)? - own_start).as_secs_f64();
        Ok(Self {
            amount,
            wall,
            server: own,
            own,
            waits: Waits::default(),
        })
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.amount += other.amount;
        self.wall += other.wall;
        self.server += other.server;
        self.own += other.own;
    }
}

/// Brings a system's clock of CPU time to a duration.
pub fn read(clock: ClockId) -> Result<Duration> {
    Ok(clock.now().context("cannot read a CPU clock")?.into())
}

/// Waits until the server holds no file any more that was removed: letting go of them is a part of what REMOVE costs.
fn wait_for_removed(pid: u32) -> Result<()> {
    const WAIT_MAX: Duration = Duration::from_secs(5);
    let is_removed = |path: &PathBuf| path.as_os_str().as_encoded_bytes().ends_with(b" (deleted)");
    let none = || Ok((!open_files(pid)?.iter().any(is_removed)).then_some(()));
    wait_for(WAIT_MAX, none).map(drop)
}

/// The CPU time that the process `pid` has used once it sleeps: after the last reply a server still has a little to do.
pub fn settled(pid: u32) -> Result<Duration> {
    const TRY_MAX: u32 = 50;
    // Exact to the nanosecond while the process sleeps, and threads that ended are counted too.
    let clock =
        ClockId::pid_cpu_clock_id(Pid::from_raw(pid.try_into()?)).context("the server is gone")?;
    let mut before = read(clock)?;
    for _ in 0..TRY_MAX {
        sleep(Duration::from_millis(2));
        let now = read(clock)?;
        if now == before {
            break;
        }
        before = now;
    }
    Ok(before)
}

/// How long many requests of a turn waited, in milliseconds.
#[derive(Clone, Copy, Default)]
pub struct Waits {
    pub median: f64,
    /// 99 of 100 waited no longer.
    pub p99: f64,
    pub longest: f64,
}

impl Waits {
    /// Of one that asks again `pause` ms after it was answered. Those that it could not ask meanwhile count as well: what holds it up
    /// for a second holds up whatever comes in that second, and not one request among many.
    pub fn of(waits: &[f64], pause: f64) -> Option<Self> {
        let at_any_time = waits.iter().flat_map(|&wait| {
            let left = move |left: &f64| Some(left - pause).filter(|left| *left > 0.0);
            std::iter::successors(Some(wait), left)
        });
        let mut sorted: Vec<f64> = at_any_time.collect();
        sorted.sort_by(f64::total_cmp);
        let longest = *sorted.last()?;
        Some(Self {
            median: sorted[sorted.len() / 2],
            p99: sorted[sorted.len() * 99 / 100],
            longest,
        })
    }
}

/// The middle of several values, and how far they lie apart.
#[derive(Clone, Copy, Serialize)]
pub struct Spread {
    /// The middle one, or between the middle two.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// None when there are no values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let median = (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0;
        Some(Self { median, min, max })
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Three digits that mean something.
        let digits = match self.median {
            value if value >= 100.0 => 0,
            value if value >= 10.0 => 1,
            value if value >= 1.0 => 2,
            _ => 3,
        };
        write!(
            f,
            "{:.digits$} ({:.digits$}–{:.digits$})",
            self.median, self.min, self.max
        )
    }
}

/// What a process holds, in KiB.
#[derive(Clone, Copy, Serialize)]
pub struct Memory {
    pub resident: u64,
    /// The part of it that is no file's.
    anonymous: u64,
    /// Each page divided by how many processes have it.
    proportional: u64,
}

impl Memory {
    /// That of the process `pid`.
    pub fn of(pid: u32) -> Result<Self> {
        let field = |name| proc_field(pid, "smaps_rollup", name);
        Ok(Self {
            resident: field("Rss")?,
            anonymous: field("Anonymous")?,
            proportional: field("Pss")?,
        })
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            resident,
            anonymous,
            proportional,
        } = self;
        write!(f, "{resident} ({anonymous}, {proportional})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_up_for_long_weighs_as_much() {
        // A second without answers among nine with them.
        let waits: Vec<f64> = [[0.5; 4500].as_slice(), &[1000.0], &[0.5; 4500]].concat();
        let waits = Waits::of(&waits, 1.0).unwrap();
        assert_eq!((waits.median, waits.longest), (0.5, 1000.0));
        assert!((890.0..910.0).contains(&waits.p99), "{}", waits.p99);
        assert!(Waits::of(&[], 1.0).is_none());
    }
}
