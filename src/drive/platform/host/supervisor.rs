//! Supervisor: forks a process per loop, restarts those that end, and kills those that no longer answer it.
//!
//! A stalled disk or a crash in one child does not delay the others. The supervisor itself serves no sockets and no files.

use crate::config::CHILD_COUNT_MAX;
use crate::drive::health::Beats;
use crate::event::{self, Fatal, Level, Line, NO_PROCESS, STOPPING, Sink};
use crate::stats;
use crate::sys;
use crate::sys::linux::process::{self, Signal, SignalRequest};
use crate::sys::linux::shared::share_counters;
use crate::text::{Text, text};
use crate::time::{Duration, Instant};
use core::sync::atomic::{AtomicU32, Ordering};

/// Pause (ms) before the first restart; each further pause doubles, up to [`PAUSE_MAX_MS`], unless the child did its work.
const PAUSE_MIN_MS: u32 = 100;
/// Longest pause (ms) before a restart.
const PAUSE_MAX_MS: u32 = 30_000;
/// Interval of asking children whether they still run their loop.
const ASK: Duration = Duration::from_ms(if cfg!(test) { 20 } else { 10_000 });
/// A child that did not answer for this time is killed. The message names the time.
const SILENCE: Duration = Duration::from_ms(if cfg!(test) { 60 } else { 30_000 });
/// If a child's first run fails within this time, it could not start and has reported why: the supervisor stops all children and
/// fails.
const BEGINNING: Duration = Duration::from_secs(1);
/// Interval of reaping children if the host has no signalfd.
const LOOK: Duration = Duration::from_secs(1);
/// Interval of reaping children while they stop.
const LOOK_WHEN_STOPPING: Duration = Duration::from_ms(10);
/// Pause before the next attempt to make a process after the host refused one.
const RETRY: Duration = Duration::SECOND;
/// Time allowed for children to stop before they are killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A loop in a process of its own.
pub struct Child {
    name: &'static str,
    process: Option<process::Child>,
    /// Status of a process that has ended and is not restarted yet.
    status: Option<i32>,
    /// Time of the last start.
    since: Instant,
    restart_at: Instant,
    /// The pause before the present run; 0 before the first.
    pause_ms: u32,
    /// Number of answers and turns of the loop since its last start, which the child counts. `None`: no memory can be shared.
    turns: Option<&'static AtomicU32>,
    /// The number at `answered_at`.
    turns_seen: u32,
    /// Time of the last look that found a new number.
    answered_at: Instant,
    /// True once a run has ended in any way but a failure to start. Later failures restart the child.
    has_begun: bool,
}

impl Child {
    /// A child that is not started yet. `name` appears in messages.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            process: None,
            status: None,
            since: Instant::from_ms(0),
            restart_at: Instant::from_ms(0),
            pause_ms: 0,
            turns: None,
            turns_seen: 0,
            answered_at: Instant::from_ms(0),
            has_begun: false,
        }
    }

    /// Forks a process that calls `run`. Returns false if the host makes no process.
    fn start(&mut self, now: Instant, run: &dyn Fn() -> Result<(), Fatal>) -> bool {
        self.since = now;
        self.answered_at = now;
        self.restart_at = Instant::NEVER;
        if let Some(turns) = self.turns {
            turns.store(0, Ordering::Relaxed);
        }
        match process::fork() {
            Ok(None) => {
                process::count_turns_in(self.turns);
                sys::exit(Fatal::status(run()))
            }
            Ok(child) => self.process = child,
            Err(_) => self.restart_at = now.after(RETRY),
        }
        self.process.is_some()
    }

    /// Sends the child a signal, if its process still runs.
    fn signal(&mut self, signal: Signal) {
        if let Some(process) = self.process {
            self.set_status(process::send_signal(process, signal));
        }
    }

    /// Records the status of the child's process if that has ended.
    fn set_status(&mut self, status: Option<i32>) {
        if status.is_some() {
            (self.process, self.status) = (None, status);
        }
    }

    fn turn_count(&self) -> u32 {
        let turns = self.turns.map(|turns| turns.load(Ordering::Relaxed));
        turns.unwrap_or(0)
    }

    /// Kills a child that did not answer for [`SILENCE`], and asks the others.
    fn ask(&mut self, now: Instant, sink: &mut dyn Sink) {
        if self.process.is_none() || self.turns.is_none() {
            return;
        }
        let turn_count = self.turn_count();
        if core::mem::replace(&mut self.turns_seen, turn_count) != turn_count {
            self.answered_at = now;
        }
        let mut signal = Signal::Ask;
        if now.since(self.answered_at) >= SILENCE {
            let mut line = Line::default();
            line.text(self.name)
                .say(text!(" has not answered for 30 s; killing it"));
            event::report_name(sink, Level::Warn, line.bytes(), b"", Text::NOTHING);
            self.answered_at = now;
            signal = Signal::Kill;
        }
        self.signal(signal);
    }

    /// Returns true if the first process of the child failed at its start.
    fn is_failed_start(&self) -> bool {
        !self.has_begun && self.status == Some(1) && sys::now().since(self.since) < BEGINNING
    }

    /// If the child's process has ended, reports its status and schedules its restart.
    fn restart_later(&mut self, sink: &mut dyn Sink) {
        let Some(status) = self.status.take() else {
            return;
        };
        let now = sys::now();
        self.has_begun = true;
        self.ended(now, now.since(self.since));
        let mut line = Line::default();
        line.text(self.name);
        if status >= 0 {
            line.say(text!(" exited with status "))
                .number(status.unsigned_abs());
        } else {
            line.say(text!(" was killed"));
        }
        line.say(text!("; restarting"));
        event::report_name(sink, Level::Warn, line.bytes(), b"", Text::NOTHING);
    }

    /// Schedules the restart of a child whose process ran for `lived`. A run that answered a client, or was longer than the pause
    /// before it, is followed by the shortest pause.
    fn ended(&mut self, now: Instant, lived: Duration) {
        let has_worked = self.turn_count() > 0 || lived >= Duration::from_ms(self.pause_ms);
        self.pause_ms = if has_worked {
            PAUSE_MIN_MS
        } else {
            (self.pause_ms * 2).min(PAUSE_MAX_MS)
        };
        self.restart_at = now.after(Duration::from_ms(self.pause_ms));
    }
}

/// Shares a count of turns with each child, if the host shares memory.
fn share_turns(children: &mut [Child]) {
    let counters = share_counters::<CHILD_COUNT_MAX>();
    for (child, turns) in children.iter_mut().zip(counters.into_iter().flatten()) {
        child.turns = Some(turns);
    }
}

/// Shares heartbeats with `count` children, before they start, for [`World::health`](crate::drive::World::health).
pub fn share_beats(count: usize) {
    let first = crate::drive::health::heartbeat(sys::now(), false);
    sys::linux::shared::share_beats(count, first);
}

/// Returns the heartbeats of all processes and that of this one. `None`: there are none, or this is the supervisor.
pub(in super::super) fn beats() -> Option<Beats> {
    sys::linux::shared::beats()
}

/// Shares memory in which each child counts, before they start.
pub fn share_sheets() {
    let count = stats::word_count(stats::CLIENT_COUNT_MAX) + stats::MACHINE_WORDS;
    sys::linux::shared::share_sheets(count);
}

/// Runs the child with this index, in its process.
fn run_child(place: usize, run: &dyn Fn(usize) -> Result<(), Fatal>) -> Result<(), Fatal> {
    sys::linux::shared::take_beat(place);
    sys::linux::shared::take_sheet(place);
    run(place)
}

/// Reports that the host makes no process for the child `name`.
fn report_refused(name: &str, sink: &mut dyn Sink) {
    let mut line = Line::default();
    line.text(name).say(text!(" cannot be started yet"));
    event::report_name(sink, Level::Warn, line.bytes(), b"", NO_PROCESS);
}

/// Sends SIGTERM to all children, and SIGKILL to those that do not end in time.
fn stop(children: &mut [Child]) {
    let until = sys::now().after(STOP_TIMEOUT);
    while children.iter().any(|child| child.process.is_some()) && sys::now() < until {
        signal_all(children, Signal::Stop);
        process::wait_for_signal(None, Some(LOOK_WHEN_STOPPING));
        reap(children);
    }
    signal_all(children, Signal::Kill);
}

/// Makes one child report the figures: each knows those of all.
fn ask_for_figures(children: &mut [Child]) {
    let mut running = children.iter_mut();
    if let Some(child) = running.find(|child| child.process.is_some()) {
        child.signal(Signal::Figures);
    }
}

/// Sends a signal to all children.
fn signal_all(children: &mut [Child], signal: Signal) {
    children.iter_mut().for_each(|child| child.signal(signal));
}

/// Records which children have ended. Also reaps orphans: PID 1 of a container inherits all orphaned descendants.
fn reap(children: &mut [Child]) {
    while let Some((ended, status)) = process::reap_any(false) {
        let is_it = |child: &&mut Child| child.process == Some(ended);
        if let Some(child) = children.iter_mut().find(is_it) {
            child.set_status(Some(status));
        }
    }
    for child in children {
        child.set_status(child.process.and_then(process::reap));
    }
}

/// Runs `children` until this process gets a signal to stop, or a child cannot start. Each child process calls `run` with its
/// index. Events go to `sink`. If the host does not even make the first processes, calls `run_alone` instead, if given.
///
/// # Errors
/// The status to exit with.
pub fn run(
    children: &mut [Child],
    run: &dyn Fn(usize) -> Result<(), Fatal>,
    mut run_alone: Option<&dyn Fn() -> Result<(), Fatal>>,
    sink: &mut dyn Sink,
) -> Result<(), Fatal> {
    // Without signalfd, signals have their default action: they end the supervisor, and the kernel then ends its children.
    let signals = process::signals(true, true);
    // The children have no signalfd either, and cannot be asked.
    if signals.is_some() {
        share_turns(children);
    }
    let mut ask_at = sys::now().after(ASK);
    let mut is_refused = false;
    loop {
        let now = sys::now();
        if now >= ask_at {
            ask_at = now.after(ASK);
            children.iter_mut().for_each(|child| child.ask(now, sink));
        }
        let mut until = match signals {
            Some(_) => ask_at,
            None => now.after(LOOK),
        };
        let mut refused = None;
        for (place, child) in children.iter_mut().enumerate() {
            if child.restart_at <= now {
                match child.start(now, &|| run_child(place, run)) {
                    true => is_refused = false,
                    false => refused = Some(child.name),
                }
            }
            until = until.min(child.restart_at);
        }
        let first = run_alone.take();
        if let Some(name) = refused {
            if let Some(run_alone) = first {
                let what = text!("all roles run in one process").warn();
                event::report(sink, what, b"", NO_PROCESS);
                stop(children);
                drop(signals);
                return run_alone();
            }
            if !core::mem::replace(&mut is_refused, true) {
                report_refused(name, sink);
            }
        }
        match process::wait_for_signal(signals.as_ref(), Some(until.since(now))) {
            SignalRequest::Nothing => {}
            SignalRequest::Reload => {
                sink.reopen();
                signal_all(children, Signal::Reload);
            }
            SignalRequest::Figures => ask_for_figures(children),
            SignalRequest::Stop => {
                event::report(sink, STOPPING, b"", Text::NOTHING);
                stop(children);
                return Ok(());
            }
        }
        reap(children);
        for child in &mut *children {
            if child.is_failed_start() {
                stop(children);
                return Err(Fatal::Failed);
            }
            child.restart_later(sink);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Logged;
    use std::fs::{read_dir, read_to_string, write};
    use std::process::Command;
    use std::thread;

    /// Set in the process that has a PID namespace of its own.
    const INSIDE: &str = "STOWAWAY_INSIDE";

    /// Discards events.
    struct Silent;

    impl Logged for Silent {}

    impl Sink for Silent {
        fn write_line(&mut self, _: &[u8], _: event::Marks) {}
    }

    /// Returns the PID of the role that a supervisor in another thread has started.
    fn role() -> Option<u32> {
        let own = rustix::thread::gettid().as_raw_pid().to_string();
        let threads = read_dir("/proc/self/task").unwrap().flatten();
        let others = threads.filter(|thread| thread.file_name().to_str() != Some(&own));
        let lists = others.map(|thread| read_to_string(thread.path().join("children")));
        let list = lists.flatten().collect::<String>();
        list.split_whitespace().next()?.parse().ok()
    }

    /// Kills a process that may have ended.
    fn kill(pid: u32) {
        let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }

    /// Starts a process that blocks all signals and has the PID `wanted`. `None`: another process has it.
    fn start_with_pid(wanted: u32) -> Option<u32> {
        write("/proc/sys/kernel/ns_last_pid", (wanted - 1).to_string()).unwrap();
        let mut command = Command::new("env");
        let started = command.args(["--block-signal", "sleep", "1000"]).spawn();
        let pid = started.unwrap().id();
        if pid == wanted {
            return Some(pid);
        }
        kill(pid);
        None
    }

    /// Kills a role that never answers, and gives its PID to another process, which the supervisor must neither ask nor kill.
    /// STOWAWAY_FULL runs 200 rounds.
    #[test]
    fn reused_pid_of_silent_role_gets_nothing() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        if std::env::var_os(INSIDE).is_none() {
            let name = thread::current().name().unwrap().to_owned();
            let mut unshare = Command::new("unshare");
            unshare.args(["-pmf", "--mount-proc", "env", "--ignore-signal=CHLD"]);
            unshare
                .arg(std::env::current_exe().unwrap())
                .args(["--exact", &name]);
            assert!(unshare.env(INSIDE, "1").status().unwrap().success());
            return;
        }
        thread::spawn(|| {
            let sleep = |_| loop {
                // A role that has worked is restarted after the shortest pause.
                process::count_turn();
                let _ = sys::linux::sleep(&mut [], None);
            };
            run(&mut [Child::new("silent")], &sleep, None, &mut Silent)
        });
        let full = std::env::var_os("STOWAWAY_FULL").is_some();
        let mut rounds = if full { 200 } else { 3 };
        while rounds > 0 {
            let Some(role) = role() else {
                thread::yield_now();
                continue;
            };
            kill(role);
            while std::fs::exists(std::format!("/proc/{role}")).unwrap() {
                thread::yield_now();
            }
            let Some(other) = start_with_pid(role) else {
                continue;
            };
            thread::sleep(core::time::Duration::from_millis(150));
            let status = read_to_string(std::format!("/proc/{other}/status")).unwrap();
            let pending = status.lines().find(|line| line.starts_with("ShdPnd:"));
            assert_eq!(pending, Some("ShdPnd:\t0000000000000000"));
            kill(other);
            rounds -= 1;
        }
        std::process::exit(0);
    }
}
