//! A running program: the lines of its stderr, its resource use, and its end.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{children, cpu_ticks, fd_count, status_field};

/// The time within which the children of a killed process end.
const CHILDREN_MAX: Duration = Duration::from_secs(2);

/// A running program whose stderr is read. Drop kills it.
pub struct Process {
    pub(crate) child: Child,
    pub(crate) stderr: Arc<Lines>,
}

impl Process {
    /// Starts a program.
    pub fn start(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let stderr = Lines::of(child.stderr.take().context("the program has no stderr")?);
        Ok(Self { child, stderr })
    }

    /// The process id. Stays valid if the program is a wrapper that execs another one.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the lines that the program has written to stderr.
    pub fn lines(&self) -> Vec<String> {
        self.stderr.lines()
    }

    /// Waits for a line that contains `part`. The error shows the lines received.
    pub fn wait_for_line(&self, part: &str, time_max: Duration) -> Result<String> {
        self.stderr
            .wait(time_max, |lines| {
                lines.iter().find(|line| line.contains(part)).cloned()
            })
            .with_context(|| {
                format!(
                    "no line with '{part}' within {time_max:?}; stderr:\n{}",
                    self.lines().join("\n")
                )
            })
    }

    /// Resident memory (VmRSS) in KiB.
    pub fn rss_kib(&self) -> Result<u64> {
        status_field(self.pid(), "VmRSS")
    }

    /// Resident anonymous memory (RssAnon) in KiB.
    pub fn anonymous_kib(&self) -> Result<u64> {
        status_field(self.pid(), "RssAnon")
    }

    /// Number of open descriptors.
    pub fn fd_count(&self) -> Result<usize> {
        fd_count(self.pid())
    }

    /// CPU time in user and kernel mode, in clock ticks (10 ms on Linux).
    pub fn cpu_ticks(&self) -> Result<u64> {
        cpu_ticks(self.pid())
    }

    /// Returns the number of context switches since the start. A program that does not wake up adds none.
    pub fn wakeups(&self) -> Result<u64> {
        Ok(status_field(self.pid(), "voluntary_ctxt_switches")?
            + status_field(self.pid(), "nonvoluntary_ctxt_switches")?)
    }

    /// The process ids of its child processes, in ascending order.
    pub fn children(&self) -> Result<Vec<u32>> {
        children(self.pid())
    }

    /// Returns true while the process runs.
    pub fn is_alive(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.pid().try_into()?), signal)
            .with_context(|| format!("cannot send {signal} to the program"))
    }

    /// Waits for the end. The error after `time_max` shows the lines received.
    pub(crate) fn wait(&mut self, time_max: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + time_max;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(
                Instant::now() < end,
                "the program did not end within {time_max:?}; stderr:\n{}",
                self.lines().join("\n")
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let children = self.children().unwrap_or_default();
        // kill and wait fail only if the process has already been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Its children end by PR_SET_PDEATHSIG shortly after it, and answer requests until then.
        let end = Instant::now() + CHILDREN_MAX;
        // A zombie has no VmRSS.
        let is_running = |pid: &u32| status_field(*pid, "VmRSS").is_ok();
        while children.iter().any(is_running) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Returns a line of a log without its time and level.
pub fn message(line: &str) -> &str {
    let mut parts = line.splitn(3, ' ');
    let (time, level) = (parts.next().unwrap_or_default(), parts.next());
    let is_level = level.is_some_and(|level| ["error", "warn", "info", "debug"].contains(&level));
    let is_time = time.get(10..11) == Some("T") && time.starts_with(|c: char| c.is_ascii_digit());
    match parts.next() {
        Some(message) if is_time && is_level => message,
        _ => line,
    }
}

/// The lines of a pipe, without times and levels. A thread reads the pipe. The bool is true once the thread has reached end of file.
#[derive(Default)]
pub(crate) struct Lines {
    lines: Mutex<(Vec<String>, bool)>,
    more: Condvar,
}

impl Lines {
    /// Starts the thread that reads `pipe`.
    pub(crate) fn of(pipe: impl Read + Send + 'static) -> Arc<Self> {
        let lines = Arc::new(Self::default());
        let reading = Arc::clone(&lines);
        std::thread::spawn(move || {
            let mut reader = BufReader::new(pipe);
            let mut raw = Vec::new();
            while reader.read_until(b'\n', &mut raw).is_ok_and(|n| n > 0) {
                let line = String::from_utf8_lossy(&raw);
                let line = message(line.trim_end_matches('\n')).to_owned();
                reading.locked().0.push(line);
                reading.more.notify_all();
                raw.clear();
            }
            reading.locked().1 = true;
            reading.more.notify_all();
        });
        lines
    }

    fn locked(&self) -> MutexGuard<'_, (Vec<String>, bool)> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.locked().0.clone()
    }

    /// Waits until the pipe is closed, or until `time_max` has passed.
    pub(crate) fn wait_for_eof(&self, time_max: Duration) {
        self.wait(time_max, |_| None::<()>);
    }

    /// Waits until `found` returns a value for the lines. Returns None if the pipe is closed or `time_max` has passed.
    pub(super) fn wait<T>(
        &self,
        time_max: Duration,
        found: impl Fn(&[String]) -> Option<T>,
    ) -> Option<T> {
        let end = Instant::now() + time_max;
        let mut lines = self.locked();
        loop {
            if let Some(value) = found(&lines.0) {
                return Some(value);
            }
            let left = end.saturating_duration_since(Instant::now());
            if lines.1 || left.is_zero() {
                return None;
            }
            let waited = self.more.wait_timeout(lines, left);
            lines = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
