//! Loops as processes: forks them, waits, and starts again those that ended, after a pause that doubles.
//!
//! A stalled disk or a crash in one child leaves the others' timing alone. The supervisor opens no sockets and no files.

use crate::event::{self, Fatal, Line, RESTARTING, STOPPING, Sink};
use crate::sys;
use crate::sys::linux::process::{self, Signal, Told};
use crate::text::{Text, text};
use crate::time::{Duration, Instant};

/// Milliseconds before the first restart; each further one waits twice as long, up to [`PAUSE_MAX_MS`].
const PAUSE_MIN_MS: u32 = 100;
/// Milliseconds before any restart, at most.
const PAUSE_MAX_MS: u32 = 30_000;
/// A child that ran so long is healthy: its next restart is like a first one.
const HEALTHY: Duration = Duration::from_secs(60);
/// A child that fails within this could not start: it said why, and would only say it again.
const BEGINNING: Duration = Duration::from_secs(1);
/// How often children are reaped where signals cannot be read.
const LOOK: Duration = Duration::from_secs(1);
/// How often when it should have stopped.
const LOOK_WHEN_STOPPING: Duration = Duration::from_ms(10);
/// How long a child may take to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A loop in a process of its own.
pub struct Child {
    name: &'static str,
    process: Option<process::Child>,
    /// When it was started last.
    since: Instant,
    restart_at: Instant,
    pause_ms: u32,
    /// It ended once, and not because it could not begin.
    has_begun: bool,
    /// It looks at its files again when it is told to.
    reloads: bool,
}

impl Child {
    /// A process that was not started yet: what it is called, and whether it looks at files again on SIGHUP.
    pub const fn new(name: &'static str, reloads: bool) -> Self {
        Self {
            name,
            process: None,
            since: Instant::from_ms(0),
            restart_at: Instant::from_ms(0),
            pause_ms: PAUSE_MIN_MS,
            has_begun: false,
            reloads,
        }
    }

    /// Starts a process that does `run`.
    fn start(&mut self, now: Instant, run: &dyn Fn() -> Result<(), Fatal>) {
        self.since = now;
        self.restart_at = Instant::NEVER;
        match process::fork() {
            Ok(None) => sys::exit(Fatal::status(run())),
            Ok(child) => self.process = child,
            Err(_) => self.restart_at = now.after(Duration::from_ms(PAUSE_MAX_MS)),
        }
    }

    /// Plans the restart of a child whose process ended after `lived`.
    fn ended(&mut self, now: Instant, lived: Duration) {
        if lived >= HEALTHY {
            self.pause_ms = PAUSE_MIN_MS;
        }
        self.restart_at = now.after(Duration::from_ms(self.pause_ms));
        self.pause_ms = (self.pause_ms * 2).min(PAUSE_MAX_MS);
    }
}

/// Asks all processes to stop, and ends those that do not.
fn stop(children: &mut [Child]) {
    tell(children, Signal::Stop);
    let until = sys::now().after(STOP_TIMEOUT);
    while children.iter().any(|child| child.process.is_some()) && sys::now() < until {
        process::wait_for_signal(None, Some(LOOK_WHEN_STOPPING));
        while let Some((ended, _)) = process::reap_any(false) {
            for child in &mut *children {
                child.process = child.process.filter(|child| *child != ended);
            }
        }
    }
    tell(children, Signal::End);
}

/// Sends a signal to the processes that are meant.
fn tell(children: &[Child], signal: Signal) {
    let is_meant = |child: &&Child| child.reloads || !matches!(signal, Signal::LookAgain);
    let children = children
        .iter()
        .filter(is_meant)
        .filter_map(|child| child.process);
    children.for_each(|child| process::tell(child, signal));
}

/// Runs `children` until this process is asked to stop, or one of them cannot even begin. The process of each does `run` with its
/// place among them. What becomes of them is told to `sink`.
///
/// # Errors
/// The status to exit with.
pub fn run(
    children: &mut [Child],
    run: &dyn Fn(usize) -> Result<(), Fatal>,
    sink: &mut dyn Sink,
) -> Result<(), Fatal> {
    // Where there is no signalfd, a signal ends the supervisor as it always does, and the kernel ends its children with it.
    let signals = process::signals(children.iter().any(|child| child.reloads), true);
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
            Told::Nothing => {}
            Told::LookAgain => tell(children, Signal::LookAgain),
            Told::Stop => {
                event::tell(sink, STOPPING, b"", Text::NOTHING);
                stop(children);
                return Ok(());
            }
        }
        // Also of others, which are nobody's: the first process of a container inherits those of all its descendants.
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
            event::tell(sink, RESTARTING, how.bytes(), Text::NOTHING);
        }
    }
}
