//! A program under test: its start, its CPU time, and its end.

use std::fs;
use std::ops::{Deref, DerefMut};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::session::Notes;
use crate::clients::sftp::ServerExit;
use crate::machines::server::{Lines, Process};
use crate::machines::wait_for;

/// Time limit for a program to end after SIGTERM.
const END_MAX: Duration = Duration::from_secs(4);
/// Time limit for stderr and stdout to be closed after the program ended.
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// A running program in its own process group. Drop kills the group.
pub(super) struct Program {
    process: Process,
    stdout: Arc<Lines>,
}

impl Program {
    /// Starts a program. Its stdin is an empty file of its own: a call that opens a file and returns 0 without effect makes the program
    /// change the mode and owner of its stdin, which must not be /dev/null of this machine.
    pub(super) fn start(words: &[String]) -> Result<Self> {
        let (program, arguments) = words.split_first().context("no program")?;
        let mut process = Process::start(
            Command::new(program)
                .args(arguments)
                .process_group(0)
                .stdin(tempfile::tempfile()?)
                .stdout(Stdio::piped()),
        )?;
        let stdout = Lines::of(process.child.stdout.take().context("no stdout")?);
        Ok(Self { process, stdout })
    }

    /// The lines written to stdout. Complete once the program has ended.
    pub(super) fn output(&self) -> Vec<String> {
        self.stdout.wait_for_eof(CLOSE_MAX);
        self.stdout.lines()
    }

    /// Ends the program by SIGTERM, and records how it ended.
    pub(super) fn stop(&mut self, notes: &mut Notes) -> Result<()> {
        notes.is_ended_early = !self.is_alive()?;
        if !notes.is_ended_early {
            self.signal(Signal::SIGTERM)?;
        }
        self.wait(notes, END_MAX)
    }

    /// Waits for the end, and records it, and the CPU time if it is large.
    pub(super) fn wait(&mut self, notes: &mut Notes, time_max: Duration) -> Result<()> {
        /// Most CPU time of a program that does little.
        const CPU_MAX: Duration = Duration::from_millis(500);
        let mut used = 0;
        let status = wait_for(time_max, || {
            used = cpu_time(self.pid()).max(used);
            Ok(self.child.try_wait()?)
        })?;
        let used = Duration::from_nanos(used);
        if used > CPU_MAX {
            notes.spun.push(format!("{used:?} of CPU time"));
        }
        if let Some(status) = status {
            self.stderr.wait_for_eof(CLOSE_MAX);
            notes.end = Some(ServerExit {
                status,
                lines: self.lines(),
            });
        }
        Ok(())
    }

    fn group(&self) -> Result<Pid> {
        Ok(Pid::from_raw(self.pid().try_into()?))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Each fails only if all processes have ended.
        let _ = self.group().map(|group| killpg(group, Signal::SIGKILL));
        let _ = self.child.wait();
    }
}

impl Deref for Program {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Program {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// Returns the CPU time (nanoseconds) of all threads of a process and of its living children. 0 if the process has ended.
fn cpu_time(pid: u32) -> u64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return 0;
    };
    let mut sum = 0;
    for thread in threads.flatten() {
        let read = |name| fs::read_to_string(thread.path().join(name)).unwrap_or_default();
        let schedstat = read("schedstat");
        let own = schedstat.split(' ').next().and_then(|ns| ns.parse().ok());
        sum += own.unwrap_or(0);
        let children = read("children");
        let children = children.split_whitespace().filter_map(|id| id.parse().ok());
        sum += children.map(cpu_time).sum::<u64>();
    }
    sum
}

/// Watches an idle process. Returns a description if it uses more than half of a processor.
pub(super) fn watch_idle(pid: u32) -> Option<String> {
    const SETTLE: Duration = Duration::from_millis(20);
    let use_of = |window| {
        sleep(SETTLE);
        let before = cpu_time(pid);
        sleep(window);
        let used = Duration::from_nanos(cpu_time(pid).saturating_sub(before));
        (used > window / 2).then(|| format!("{used:?} of CPU time in {window:?}"))
    };
    // The second window is for a process that was still busy with its last request in the first one.
    use_of(Duration::from_millis(80)).and_then(|_| use_of(Duration::from_millis(500)))
}
