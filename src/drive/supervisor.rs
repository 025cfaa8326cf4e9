//! Roles as processes: forks them, waits, and starts again what ended, after a pause that doubles.
//!
//! A stalled disk or a crash in one role leaves the others' timing alone. The supervisor opens no sockets and no files.

use crate::event::{Events, Line, RESTARTING, STOPPING};
use crate::sys;
use crate::sys::process::{self, Child};
use crate::text::{Text, text};
use crate::time::{Duration, Instant};

/// Milliseconds before the first restart; each further one waits twice as long …
const PAUSE_MIN_MS: u32 = 100;
/// … up to this.
const PAUSE_MAX_MS: u32 = 30_000;
/// A role that ran so long is healthy: its next restart is like a first one.
const HEALTHY: Duration = Duration::from_secs(60);
/// A role that fails within this has not begun: it said why, and would only say it again.
const BEGINNING: Duration = Duration::from_secs(1);
/// How often children are looked for where signals cannot be read.
const LOOK: Duration = Duration::from_secs(1);
/// How often when it should have stopped.
const LOOK_WHEN_STOPPING: Duration = Duration::from_ms(10);
/// How long a role may take to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// Something that runs in a process of its own.
pub struct Role<'a> {
    name: &'static str,
    run: &'a dyn Fn() -> i32,
    child: Option<Child>,
    /// When it was started last.
    since: Instant,
    restart_at: Instant,
    pause_ms: u32,
}

impl<'a> Role<'a> {
    /// A role: what it is called, and what its process does and exits with.
    pub const fn new(name: &'static str, run: &'a dyn Fn() -> i32) -> Self {
        Self {
            name,
            run,
            child: None,
            since: Instant::from_ms(0),
            restart_at: Instant::from_ms(0),
            pause_ms: PAUSE_MIN_MS,
        }
    }

    fn start(&mut self, now: Instant) {
        self.since = now;
        self.restart_at = Instant::NEVER;
        match process::fork() {
            Ok(None) => process::exit((self.run)()),
            Ok(child) => self.child = child,
            Err(_) => self.restart_at = now.after(Duration::from_ms(PAUSE_MAX_MS)),
        }
    }

    /// Plans the restart of a role whose process ended after `lived`.
    fn ended(&mut self, now: Instant, lived: Duration) {
        self.child = None;
        if lived >= HEALTHY {
            self.pause_ms = PAUSE_MIN_MS;
        }
        self.restart_at = now.after(Duration::from_ms(self.pause_ms));
        self.pause_ms = (self.pause_ms * 2).min(PAUSE_MAX_MS);
    }

    /// Asks the process to stop, and ends it if it does not.
    fn stop(&self) {
        let Some(child) = self.child else { return };
        process::stop(child, false);
        let until = sys::now().after(STOP_PATIENCE);
        while sys::now() < until {
            if process::reap(child).is_some() {
                return;
            }
            process::wait_for_stop(None, Some(LOOK_WHEN_STOPPING));
        }
        process::stop(child, true);
    }
}

/// Runs `role` until this process is asked to stop, or the role cannot even begin; the status to exit with.
pub fn run(role: &mut Role<'_>, events: &mut Events) -> i32 {
    // Where there is no signalfd, a signal ends the supervisor as it always does, and the kernel ends its child with it.
    let signals = process::signals(true);
    let mut begun = false;
    loop {
        let now = sys::now();
        if role.restart_at <= now {
            role.start(now);
        }
        let until = match signals {
            Some(_) => role.restart_at,
            None => role.restart_at.min(now.after(LOOK)),
        };
        let timeout = (until < Instant::NEVER).then(|| until.since(now));
        if process::wait_for_stop(signals.as_ref(), timeout) {
            events.tell(STOPPING, b"", Text::NOTHING);
            role.stop();
            return 0;
        }
        let Some(status) = role.child.and_then(process::reap) else {
            continue;
        };
        let now = sys::now();
        let lived = now.since(role.since);
        if !begun && status == 1 && lived < BEGINNING {
            return status;
        }
        begun = true;
        role.ended(now, lived);
        let mut how = Line::default();
        how.text(role.name);
        if status >= 0 {
            how.say(text!(" ended with status "))
                .number(status.unsigned_abs());
        } else {
            how.say(text!(" was killed"));
        }
        events.tell(RESTARTING, how.bytes(), Text::NOTHING);
    }
}
