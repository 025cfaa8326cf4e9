//! A process for each connection: a crash of one leaves the others alone, and each has a sandbox of its own.

use crate::config::{ACCEPT_PAUSE, PROCESS_COUNT_MAX};
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
        // Beyond the limit, connections wait to be accepted.
        while process::reap_any(count == PROCESS_COUNT_MAX).is_some() {
            count -= 1;
        }
        let child = sockets::accept_any(listener).and_then(|connection| {
            let child = process::fork()?;
            if child.is_none() && Stdio::replace(&connection).is_ok() {
                serve();
            }
            Ok(child)
        });
        match child {
            Ok(Some(_)) => count += 1,
            Ok(None) => sys::exit(1),
            // It hung up, or there are too few descriptors or processes.
            Err(_) => _ = sys::linux::sleep(&mut [], Some(ACCEPT_PAUSE)),
        }
    }
}
