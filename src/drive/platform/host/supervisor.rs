//! Supervisor: forks a process per loop and restarts those that end, after a pause that doubles each time.
//!
//! A stalled disk or a crash in one child does not delay the others. The supervisor itself serves no sockets and no files.

use crate::event::{self, Fatal, Line, RESTARTING, STOPPING, Sink};
use crate::sys;
use crate::sys::linux::process::{self, Signal, SignalRequest};
use crate::text::{Text, text};
use crate::time::{Duration, Instant};

/// Pause (ms) before the first restart; each further pause doubles, up to [`PAUSE_MAX_MS`].
const PAUSE_MIN_MS: u32 = 100;
/// Longest pause (ms) before a restart.
const PAUSE_MAX_MS: u32 = 30_000;
/// A child that ran for this time is healthy: its next restart waits [`PAUSE_MIN_MS`].
const HEALTHY: Duration = Duration::from_secs(60);
/// If a child's first run fails within this time, it could not start and has reported why: the supervisor stops all children and
/// fails.
const BEGINNING: Duration = Duration::from_secs(1);
/// Interval of reaping children if the host has no signalfd.
const LOOK: Duration = Duration::from_secs(1);
/// Interval of reaping children while they stop.
const LOOK_WHEN_STOPPING: Duration = Duration::from_ms(10);
/// Time allowed for children to stop before they are killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A loop in a process of its own.
pub struct Child {
    name: &'static str,
    process: Option<process::Child>,
    /// Time of the last start.
    since: Instant,
    restart_at: Instant,
    pause_ms: u32,
    /// True once a run has ended in any way but a failure to start. Later failures restart the child.
    has_begun: bool,
}

impl Child {
    /// A child that is not started yet. `name` appears in messages.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            process: None,
            since: Instant::from_ms(0),
            restart_at: Instant::from_ms(0),
            pause_ms: PAUSE_MIN_MS,
            has_begun: false,
        }
    }

    /// Forks a process that calls `run`.
    fn start(&mut self, now: Instant, run: &dyn Fn() -> Result<(), Fatal>) {
        self.since = now;
        self.restart_at = Instant::NEVER;
        match process::fork() {
            Ok(None) => sys::exit(Fatal::status(run())),
            Ok(child) => self.process = child,
            Err(_) => self.restart_at = now.after(Duration::from_ms(PAUSE_MAX_MS)),
        }
    }

    /// Schedules the restart of a child whose process ran for `lived`.
    fn ended(&mut self, now: Instant, lived: Duration) {
        if lived >= HEALTHY {
            self.pause_ms = PAUSE_MIN_MS;
        }
        self.restart_at = now.after(Duration::from_ms(self.pause_ms));
        self.pause_ms = (self.pause_ms * 2).min(PAUSE_MAX_MS);
    }
}

/// Sends SIGTERM to all children, and SIGKILL to those that do not end in time.
fn stop(children: &mut [Child]) {
    signal_all(children, Signal::Stop);
    let until = sys::now().after(STOP_TIMEOUT);
    while children.iter().any(|child| child.process.is_some()) && sys::now() < until {
        process::wait_for_signal(None, Some(LOOK_WHEN_STOPPING));
        while let Some((ended, _)) = process::reap_any(false) {
            for child in &mut *children {
                child.process = child.process.filter(|child| *child != ended);
            }
        }
    }
    signal_all(children, Signal::Kill);
}

/// Sends a signal to all children.
fn signal_all(children: &[Child], signal: Signal) {
    let children = children.iter().filter_map(|child| child.process);
    children.for_each(|child| process::send_signal(child, signal));
}

/// Runs `children` until this process gets a signal to stop, or a child cannot start. Each child process calls `run` with its
/// index. Events go to `sink`.
///
/// # Errors
/// The status to exit with.
pub fn run(
    children: &mut [Child],
    run: &dyn Fn(usize) -> Result<(), Fatal>,
    sink: &mut dyn Sink,
) -> Result<(), Fatal> {
    // Without signalfd, signals have their default action: they end the supervisor, and the kernel then ends its children.
    let signals = process::signals(true, true);
    loop {
        let now = sys::now();
        let mut until = match signals {
            Some(_) => Instant::NEVER,
            None => now.after(LOOK),
        };
        for (place, child) in children.iter_mut().enumerate() {
            if child.restart_at <= now {
                child.start(now, &|| run(place));
            }
            until = until.min(child.restart_at);
        }
        let timeout = (until < Instant::NEVER).then(|| until.since(now));
        match process::wait_for_signal(signals.as_ref(), timeout) {
            SignalRequest::Nothing => {}
            SignalRequest::Reload => signal_all(children, Signal::Reload),
            SignalRequest::Stop => {
                event::report(sink, STOPPING, b"", Text::NOTHING);
                stop(children);
                return Ok(());
            }
        }
        // Also reaps orphans: PID 1 of a container inherits all orphaned descendants.
        while let Some((ended, status)) = process::reap_any(false) {
            let is_it = |child: &&mut Child| child.process == Some(ended);
            let Some(child) = children.iter_mut().find(is_it) else {
                continue;
            };
            child.process = None;
            let now = sys::now();
            let lived = now.since(child.since);
            if !child.has_begun && status == 1 && lived < BEGINNING {
                stop(children);
                return Err(Fatal::Failed);
            }
            child.has_begun = true;
            child.ended(now, lived);
            let mut how = Line::default();
            how.text(child.name);
            if status >= 0 {
                how.say(text!(" ended with status "))
                    .number(status.unsigned_abs());
            } else {
                how.say(text!(" was killed"));
            }
            event::report(sink, RESTARTING, how.bytes(), Text::NOTHING);
        }
    }
}
