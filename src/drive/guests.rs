//! A process for each connection: what happens in one leaves the others alone, and each can be locked in by itself.

use crate::config::{ACCEPT_PAUSE, GUEST_COUNT_MAX};
use crate::event::{Events, STOPPING};
use crate::sys::files::File;
use crate::sys::stdio::Stdio;
use crate::sys::{Errno, process, sockets};

/// Takes connections until this process is asked to stop: `serve` runs in a process of its own with the connection as its
/// standard input and output, and returns the status to exit with.
pub fn run(listener: File, events: &mut Events, serve: &mut dyn FnMut() -> i32) {
    let signals = process::signals(true);
    let (mut count, mut pause) = (0, None);
    loop {
        // Whoever finds no place waits to be accepted.
        let open = (count < GUEST_COUNT_MAX && pause.is_none()).then_some(&listener);
        // Where signals cannot be read, who has ended is looked for now and then.
        let timeout = pause.or((signals.is_none() && count > 0).then_some(ACCEPT_PAUSE));
        if process::wait_for_guest(signals.as_ref(), open, timeout) {
            return events.tell(STOPPING, b"", "");
        }
        while process::reap_any().is_some() {
            count -= 1;
        }
        pause = None;
        if open.is_none() {
            continue;
        }
        match sockets::accept(&listener).map(|(connection, _)| connection) {
            Ok(connection) => match process::fork() {
                Ok(None) => {
                    let replaced = Stdio::replace(&connection);
                    drop((connection, listener, signals));
                    process::exit(if replaced.is_ok() { serve() } else { 1 })
                }
                Ok(Some(_)) => count += 1,
                Err(_) => pause = Some(ACCEPT_PAUSE),
            },
            // It hung up, or it was a signal that came.
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {}
            Err(_) => pause = Some(ACCEPT_PAUSE),
        }
    }
}
