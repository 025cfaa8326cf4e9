//! Roles as processes: forks them, waits, and starts again what ended, after a pause that doubles.
//!
//! A stalled disk or a crash in one role leaves the others' timing alone. The supervisor opens no sockets and no files.

use crate::event::{Events, Line, RESTARTING, STOPPING};
use crate::sys;
use crate::sys::linux::process::{self, Child, Signal, Told};
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
    /// It ended once, and not because it could not begin.
    has_begun: bool,
    /// It looks at its files again when it is told to.
    looks_again: bool,
}

impl<'a> Role<'a> {
    /// A role: what it is called, what its process does and exits with, and whether it looks at files again on SIGHUP.
    pub const fn new(name: &'static str, run: &'a dyn Fn() -> i32, looks_again: bool) -> Self {
        Self {
            name,
            run,
            child: None,
            since: Instant::from_ms(0),
            restart_at: Instant::from_ms(0),
            pause_ms: PAUSE_MIN_MS,
            has_begun: false,
            looks_again,
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
        if lived >= HEALTHY {
            self.pause_ms = PAUSE_MIN_MS;
        }
        self.restart_at = now.after(Duration::from_ms(self.pause_ms));
        self.pause_ms = (self.pause_ms * 2).min(PAUSE_MAX_MS);
    }
}

/// Asks all processes to stop, and ends those that do not.
fn stop(roles: &mut [Role<'_>]) {
    tell(roles, Signal::Stop);
    let until = sys::now().after(STOP_PATIENCE);
    while roles.iter().any(|role| role.child.is_some()) && sys::now() < until {
        process::wait_for_signal(None, Some(LOOK_WHEN_STOPPING));
        while let Some((ended, _)) = process::reap_any(false) {
            for role in &mut *roles {
                role.child = role.child.filter(|child| *child != ended);
            }
        }
    }
    tell(roles, Signal::End);
}

/// Sends a signal to the processes that are meant.
fn tell(roles: &[Role<'_>], signal: Signal) {
    let is_meant = |role: &&Role<'_>| role.looks_again || !matches!(signal, Signal::LookAgain);
    let children = roles.iter().filter(is_meant).filter_map(|role| role.child);
    children.for_each(|child| process::tell(child, signal));
}

/// Runs `roles` until this process is asked to stop, or one of them cannot even begin; the status to exit with.
pub fn run(roles: &mut [Role<'_>], events: &mut Events) -> i32 {
    // Where there is no signalfd, a signal ends the supervisor as it always does, and the kernel ends its children with it.
    let signals = process::all_signals(roles.iter().any(|role| role.looks_again));
    loop {
        let now = sys::now();
        let mut until = match signals {
            Some(_) => Instant::NEVER,
            None => now.after(LOOK),
        };
        for role in &mut *roles {
            if role.restart_at <= now {
                role.start(now);
            }
            until = until.min(role.restart_at);
        }
        let timeout = (until < Instant::NEVER).then(|| until.since(now));
        match process::wait_for_signal(signals.as_ref(), timeout) {
            Told::Nothing => {}
            Told::LookAgain => tell(roles, Signal::LookAgain),
            Told::Stop => {
                events.tell(STOPPING, b"", Text::NOTHING);
                stop(roles);
                return 0;
            }
        }
        // Also of others, which are nobody's: the first process of a container inherits those of all its descendants.
        while let Some((ended, status)) = process::reap_any(false) {
            let is_it = |role: &&mut Role<'_>| role.child == Some(ended);
            let Some(role) = roles.iter_mut().find(is_it) else {
                continue;
            };
            role.child = None;
            let now = sys::now();
            let lived = now.since(role.since);
            if !role.has_begun && status == 1 && lived < BEGINNING {
                stop(roles);
                return status;
            }
            role.has_begun = true;
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
}
