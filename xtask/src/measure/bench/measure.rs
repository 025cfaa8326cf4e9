//! Measures a turn: wall time, CPU time of the server and of the load generator; computes statistics of waits and of rounds.

use std::fs;
use std::ops::AddAssign;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::ClockId;
use nix::unistd::Pid;
use serde::Serialize;

use crate::machines::server::{children, open_files};
use crate::machines::wait_for;

/// Time between a reply and the next request of a client whose waits are measured.
const PAUSE: Duration = Duration::from_millis(1);

/// Cost of one turn: a workload run once on one server.
#[derive(Clone, Copy, Default)]
pub struct Cost {
    /// Number of requests, bytes, entries or starts.
    pub amount: u64,
    /// Wall time in seconds.
    pub wall: f64,
    /// CPU time of all the server's threads in seconds, user and system.
    pub server: f64,
    /// CPU time of the load generator in seconds.
    pub generator: f64,
    /// Waits of requests; zero in benches that do not measure them.
    pub waits: Waits,
}

impl Cost {
    /// Runs `work` against a server whose processes are `pids`, and returns the cost. `work` returns [`Self::amount`]. The server has a
    /// CPU, and the load generator another: if the scheduler chose, small calls would have two modes, whose costs differ by a factor.
    pub fn measure(pids: &[u32], work: impl FnOnce() -> Result<u64>) -> Result<Self> {
        let used = || {
            pids.iter()
                .map(|pid| read_stable_cpu(*pid))
                .sum::<Result<Duration>>()
        };
        pin(pids)?;
        let start = used()?;
        let cost = Self::alone(work)?;
        pids.iter().try_for_each(|pid| wait_for_removed(*pid))?;
        let server = (used()? - start).as_secs_f64();
        Ok(Self { server, ..cost })
    }

    /// As [`Self::measure`], without the CPU time of a server.
    pub fn alone(work: impl FnOnce() -> Result<u64>) -> Result<Self> {
        let generator_start = read_clock(ClockId::CLOCK_PROCESS_CPUTIME_ID)?;
        let start = Instant::now();
        let amount = work()?;
        let wall = start.elapsed().as_secs_f64();
        let generator = read_clock(ClockId::CLOCK_PROCESS_CPUTIME_ID)? - generator_start;
        Ok(Self {
            amount,
            wall,
            generator: generator.as_secs_f64(),
            ..Self::default()
        })
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.amount += other.amount;
        self.wall += other.wall;
        self.server += other.server;
        self.generator += other.generator;
    }
}

/// Moves the threads of a server and of its children to the first CPU, and those of this process to the last one.
fn pin(pids: &[u32]) -> Result<()> {
    static ALLOWED: LazyLock<Vec<usize>> = LazyLock::new(|| {
        let set = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
        let is_allowed = |cpu: &usize| set.is_set(*cpu).unwrap_or_default();
        (0..CpuSet::count()).filter(is_allowed).collect()
    });
    let [first, .., last] = ALLOWED[..] else {
        return Ok(());
    };
    for pid in pids {
        pin_threads(*pid, first)?;
        for child in children(*pid)? {
            pin_threads(child, first)?;
        }
    }
    pin_threads(std::process::id(), last)
}

fn pin_threads(pid: u32, cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter();
    for thread in threads.flatten() {
        let name = thread?.file_name();
        let number = name.to_str().and_then(|name| name.parse().ok());
        match sched_setaffinity(Pid::from_raw(number.context("not a thread")?), &set) {
            // The thread has ended meanwhile.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(error).context("cannot choose a thread's CPU"),
        }
    }
    Ok(())
}

/// Reads a CPU clock.
pub fn read_clock(clock: ClockId) -> Result<Duration> {
    Ok(clock.now().context("cannot read a CPU clock")?.into())
}

/// Waits at most five seconds until the server has closed all removed files, because the close is part of the cost of REMOVE.
fn wait_for_removed(pid: u32) -> Result<()> {
    const WAIT_MAX: Duration = Duration::from_secs(5);
    let is_removed = |path: &PathBuf| path.as_os_str().as_encoded_bytes().ends_with(b" (deleted)");
    let all_closed = || Ok((!open_files(pid)?.iter().any(is_removed)).then_some(()));
    wait_for(WAIT_MAX, all_closed).map(drop)
}

/// Returns the CPU time of a process once it no longer changes, because a server still works for a moment after its last reply.
/// Stops waiting after 50 readings.
pub fn read_stable_cpu(pid: u32) -> Result<Duration> {
    const TRY_MAX: u32 = 50;
    // This clock has nanoseconds, and includes threads that have ended.
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid.try_into()?))
        .with_context(|| format!("the server, process {pid}, has ended"))?;
    let mut before = read_clock(clock)?;
    for _ in 0..TRY_MAX {
        sleep(Duration::from_millis(2));
        let now = read_clock(clock)?;
        if now == before {
            break;
        }
        before = now;
    }
    Ok(before)
}

/// Calls `ask` repeatedly until `work` has returned, and returns the waits. `ask` sends a request and returns the time until the
/// reply.
pub fn waits(
    mut ask: impl FnMut() -> Result<Duration> + Send,
    work: impl FnOnce() -> Result<()>,
) -> Result<Cost> {
    let done = AtomicBool::new(false);
    let waits = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut waits = Vec::new();
            while !done.load(Ordering::Relaxed) {
                waits.push(ask()?.as_secs_f64() * 1e3);
                sleep(PAUSE);
            }
            anyhow::Ok(waits)
        });
        let worked = work();
        done.store(true, Ordering::Relaxed);
        let waits = asking.join();
        worked.and(waits.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    let waits = Waits::of(&waits, PAUSE.as_secs_f64() * 1e3).context("no request was sent")?;
    Ok(Cost {
        waits,
        ..Cost::default()
    })
}

/// Statistics of the waits of a turn's requests, in milliseconds.
#[derive(Clone, Copy, Default)]
pub struct Waits {
    pub median: f64,
    /// 99th percentile.
    pub p99: f64,
    pub longest: f64,
}

impl Waits {
    /// Statistics for a client that sends its next request `pause` ms after each reply. A stall of one second delays every request
    /// of that second, not only one. So the requests that the client could not send during a wait, one every `pause` ms, also
    /// count, each with the rest of that wait. Returns None if `waits` is empty.
    pub fn of(waits: &[f64], pause: f64) -> Option<Self> {
        let with_delayed = waits.iter().flat_map(|&wait| {
            let next = move |wait: &f64| Some(wait - pause).filter(|wait| *wait > 0.0);
            std::iter::successors(Some(wait), next)
        });
        let mut sorted: Vec<f64> = with_delayed.collect();
        sorted.sort_by(f64::total_cmp);
        let longest = *sorted.last()?;
        Some(Self {
            median: sorted[sorted.len() / 2],
            p99: sorted[sorted.len() * 99 / 100],
            longest,
        })
    }
}

/// Median and range of several values.
#[derive(Clone, Copy, Serialize)]
pub struct Spread {
    /// Middle value; of an even number of values, the mean of the middle two.
    pub median: f64,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
}

impl Spread {
    /// Returns None if `values` is empty.
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
        // Three significant digits; three decimals below 1.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_stall_counts_by_its_duration() {
        // A stall of one second delays 1,000 requests; 9,000 others are answered at once.
        let waits: Vec<f64> = [[0.5; 4500].as_slice(), &[1000.0], &[0.5; 4500]].concat();
        let waits = Waits::of(&waits, 1.0).unwrap();
        assert_eq!((waits.median, waits.longest), (0.5, 1000.0));
        assert!((890.0..910.0).contains(&waits.p99), "{}", waits.p99);
        assert!(Waits::of(&[], 1.0).is_none());
    }
}
