//! A process per connection: a crash affects one connection only, and each process has its own sandbox.

use crate::config::{PROCESS_COUNT_MAX, SILENCE_SECS};
use crate::sys::address::ServerAddress;
use crate::sys::linux::fs::File;
use crate::sys::linux::poll::{PollFd, PollFlags};
use crate::sys::linux::process;
use crate::sys::linux::shared::share_counters;
use crate::sys::linux::sockets;
use crate::sys::linux::stdio::Stdio;
use crate::sys::{self, Errno};
use crate::time::Duration;
use core::sync::atomic::{AtomicU32, Ordering};
use rustix::fd::AsRawFd as _;

/// Interval of looking for sessions that have ended, for hosts that do not deliver SIGCHLD, and pause after an error.
const LOOK: Duration = Duration::SECOND;

/// Listens at `at`. A port 0 is replaced by the port that the kernel chose. A socket file without a listener is replaced.
///
/// # Errors
/// Those of bind(2) and listen(2).
pub fn listen(at: &mut ServerAddress) -> Result<File, Errno> {
    let mut bound = sockets::Address::of_server(at);
    let listener = sockets::listen(&mut bound)?;
    if let ServerAddress::Host(at) = at {
        at.set_port(bound.port());
    }
    Ok(listener)
}

/// Accepts connections until the process ends. Each gets a process with the connection as standard input and output, which calls
/// `serve`; `serve` does not return. Passes an error that is retried to `report`, once until a connection is served.
///
/// At [`PROCESS_COUNT_MAX`] processes, new connections wait in the listener's queue, and for them the session is killed that has
/// sent no reply for the longest time, if that is [`SILENCE_SECS`] or more.
pub fn run(listener: &File, serve: &mut dyn FnMut(), report: &mut dyn FnMut(Errno)) -> ! {
    process::stop_when_asked();
    // The PID of each session (0: a free place), and the time of its last reply, or of its start (seconds).
    let Some(sessions) = share_counters::<{ 2 * PROCESS_COUNT_MAX }>() else {
        sys::exit(1)
    };
    let sessions = sessions.as_chunks::<2>().0;
    let mut is_reported = false;
    let mut pause = |errno| {
        if errno != Errno::CONNABORTED && !core::mem::replace(&mut is_reported, true) {
            report(errno);
        }
        let _ = sys::linux::sleep(&mut [], Some(LOOK));
        reap(sessions);
    };
    loop {
        reap(sessions);
        let now = sys::now().secs();
        // A free place, and the session that is silent for the longest time.
        let (mut free, mut silent, mut silence) = (None, 0, 0);
        for [child, replied] in sessions {
            let age = now.wrapping_sub(replied.load(Ordering::Relaxed));
            match child.load(Ordering::Relaxed) {
                0 => free = Some((child, replied)),
                number if age >= silence => (silent, silence) = (number, age),
                _ => {}
            }
        }
        let mut watched = [PollFd::new(listener, PollFlags::IN)];
        let slept = sys::linux::sleep(&mut watched, (silent != 0).then_some(LOOK));
        // EINTR: a session has ended. Where the host refuses poll, accept waits.
        if slept == Err(Errno::INTR) || slept.is_ok() && watched[0].revents().is_empty() {
            continue;
        }
        let Some((child, replied)) = free else {
            if silence >= SILENCE_SECS {
                process::kill(silent);
            }
            pause(Errno::CONNABORTED);
            continue;
        };
        let connection = match sockets::accept_any(listener) {
            Ok(connection) => connection,
            Err(errno) => {
                pause(errno);
                continue;
            }
        };
        replied.store(now, Ordering::Relaxed);
        let made = loop {
            match process::fork() {
                Ok(made) => break made,
                Err(errno) => pause(errno),
            }
        };
        match made {
            Some(made) => child.store(made.number(), Ordering::Relaxed),
            None => {
                process::mark_replies_in(replied);
                let connection = connection.as_raw_fd();
                if Stdio::Input.replace(connection).is_ok()
                    && Stdio::Output.replace(connection).is_ok()
                {
                    serve();
                }
                sys::exit(1)
            }
        }
    }
}

/// Reaps the sessions that have ended. Also reaps orphans: PID 1 of a container inherits all orphaned descendants.
fn reap(sessions: &[[AtomicU32; 2]]) {
    while let Some((ended, _)) = process::reap_any(false) {
        for [child, _] in sessions {
            if child.load(Ordering::Relaxed) == ended.number() {
                child.store(0, Ordering::Relaxed);
            }
        }
    }
}
