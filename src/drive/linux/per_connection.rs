//! A process for each connection: what happens in one leaves the others alone, and each can be locked in by itself.

use crate::config::{ACCEPT_PAUSE, GUEST_COUNT_MAX};
use crate::sys;
use crate::sys::linux::fs::File;
use crate::sys::linux::stdio::Stdio;
use crate::sys::linux::{process, sockets};

/// Where connections are taken: an address and a port, or a socket file.
pub use sockets::{Address, Reach};

/// Listens at `at`, whose port is that which was free if it was 0; a socket file that nobody listens at any more is replaced.
///
/// # Errors
/// Those of bind(2) and listen(2).
pub fn listen(at: &mut Address) -> Result<File, sys::Errno> {
    sockets::listen(at)
}

/// Takes connections for as long as the process lives: `serve` runs in a process of its own with the connection as its
/// standard input and output, and ends it.
pub fn run(listener: &File, serve: &mut dyn FnMut()) -> ! {
    process::stop_when_asked();
    let mut count = 0;
    loop {
        // Whoever finds no place waits to be accepted.
        while process::reap_any(count == GUEST_COUNT_MAX).is_some() {
            count -= 1;
        }
        let guest = sockets::accept_any(listener).and_then(|connection| {
            let child = process::fork()?;
            if child.is_none() && Stdio::replace(&connection).is_ok() {
                serve();
            }
            Ok(child)
        });
        match guest {
            Ok(Some(_)) => count += 1,
            Ok(None) => sys::exit(1),
            // It hung up, or there are too few descriptors or processes.
            Err(_) => _ = sys::linux::sleep(&mut [], Some(ACCEPT_PAUSE)),
        }
    }
}
