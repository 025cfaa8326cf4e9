//! One process per role: forks them, waits, and starts again what ended, after a pause that doubles.
//!
//! A stalled disk or a crash in one role leaves the others' timing alone. The supervisor opens no sockets and no files.

use crate::event::{Event, Events};
use crate::sys;
use crate::sys::process::{self, Fork};
use crate::time::{Duration, Instant};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, Signal, WaitOptions};

/// Milliseconds before the first restart; each further one waits twice as long.
const PAUSE_MIN_MS: u32 = 100;
/// Milliseconds before a restart at most.
const PAUSE_MAX_MS: u32 = 30_000;
/// A role that ran so long is healthy: its next restart is like a first one.
const HEALTHY: Duration = Duration::from_secs(60);
/// How long roles may take to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// Roles at most.
const ROLE_COUNT_MAX: usize = 4;

/// Something that runs in a process of its own.
pub struct Role<'a> {
    /// What it is called in events.
    pub name: &'static str,
    /// Runs it; the status it exits with.
    pub run: &'a dyn Fn() -> i32,
}

struct Running<'a> {
    role: &'a Role<'a>,
    child: Option<Pid>,
    since: Instant,
    /// Starts so far.
    starts: u32,
    pause_ms: u32,
    restart_at: Option<Instant>,
}

/// Runs all roles until the process is asked to stop, or one cannot even begin; the status to exit with.
pub fn run(roles: &[Role<'_>], events: &mut Events) -> i32 {
    // Where there is no signalfd, signals end the supervisor as they always do, and the kernel ends its children with it.
    let signals = process::signals(true);
    let mut running = heapless::Vec::<Running<'_>, ROLE_COUNT_MAX>::new();
    for role in roles {
        let _ = running.push(Running {
            role,
            child: None,
            since: Instant::default(),
            starts: 0,
            pause_ms: PAUSE_MIN_MS,
            restart_at: Some(Instant::default()),
        });
    }
    loop {
        let now = sys::now();
        for role in &mut running {
            if role.restart_at.is_some_and(|at| at <= now) {
                role.start(now);
            }
        }
        let next = running.iter().filter_map(|role| role.restart_at).min();
        // Without signals to read, a look every second finds children that ended.
        let longest = if signals.is_some() {
            None
        } else {
            Some(Duration::SECOND)
        };
        let timeout = next
            .map(|next| next.since(now))
            .into_iter()
            .chain(longest)
            .min();
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: (timeout.as_ms_up() / 1000) as i64,
            tv_nsec: (timeout.as_ms_up() % 1000 * 1_000_000) as _,
        });
        let mut watched = heapless::Vec::<PollFd<'_>, 1>::new();
        watched.extend(
            signals
                .iter()
                .map(|signals| PollFd::new(signals, PollFlags::IN)),
        );
        let woken = rustix::event::poll(&mut watched, timeout.as_ref());
        if woken.is_ok_and(|count| count > 0)
            && signals.as_ref().is_some_and(process::asked_to_stop)
        {
            events.tell(sys::now(), Event::Stopping);
            stop(&running);
            return 0;
        }
        while let Ok(Some((child, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let now = sys::now();
            let status = status
                .exit_status()
                .or_else(|| Some(128 + status.terminating_signal()?))
                .unwrap_or(1);
            let Some(role) = running.iter_mut().find(|role| role.child == Some(child)) else {
                continue;
            };
            role.child = None;
            let lived = now.since(role.since);
            if status == 1 && role.starts == 1 && lived < Duration::SECOND {
                // It said why; trying again would only say it again.
                stop(&running);
                return status;
            }
            if lived >= HEALTHY {
                role.pause_ms = PAUSE_MIN_MS;
            }
            events.tell(
                now,
                Event::Restarting(role.role.name, status, role.pause_ms),
            );
            role.restart_at = Some(now.after(Duration::from_ms(role.pause_ms)));
            role.pause_ms = (role.pause_ms * 2).min(PAUSE_MAX_MS);
        }
    }
}

impl Running<'_> {
    fn start(&mut self, now: Instant) {
        self.restart_at = None;
        self.since = now;
        self.starts = self.starts.saturating_add(1);
        match process::fork() {
            Ok(Fork::Child) => process::exit((self.role.run)()),
            Ok(Fork::Parent(child)) => self.child = Some(child),
            Err(_) => self.restart_at = Some(now.after(Duration::from_ms(PAUSE_MAX_MS))),
        }
    }
}

/// Asks all roles to stop and waits for them, though not for ever.
fn stop(running: &[Running<'_>]) {
    let tell = |signal| {
        for child in running.iter().filter_map(|role| role.child) {
            let _ = rustix::process::kill_process(child, signal);
        }
    };
    tell(Signal::TERM);
    let until = sys::now().after(STOP_PATIENCE);
    let pause = Timespec {
        tv_sec: 0,
        tv_nsec: 10_000_000,
    };
    while sys::now() < until {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) => drop(rustix::event::poll(&mut [], Some(&pause))),
            Err(_) => return, // No child is left.
        }
    }
    tell(Signal::KILL);
}
