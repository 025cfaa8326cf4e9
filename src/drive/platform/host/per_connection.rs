//! A process per connection: a crash affects one connection only, and each process has its own sandbox.

use crate::config::{ACCEPT_PAUSE, PROCESS_COUNT_MAX};
use crate::sys;
use crate::sys::linux::fs::File;
use crate::sys::linux::stdio::Stdio;
use crate::sys::linux::{process, sockets};
use rustix::fd::AsRawFd as _;

/// Listening addresses: IP address and port, or a socket file.
pub use sockets::{Address, Reach};

/// Listens at `at`. A port 0 is replaced by the port that the kernel chose. A socket file without a listener is replaced.
///
/// # Errors
/// Those of bind(2) and listen(2).
pub fn listen(at: &mut Address) -> Result<File, sys::Errno> {
    sockets::listen(at)
}

/// Accepts connections until the process ends. Each gets a process with the connection as standard input and output, which calls
/// `serve`; `serve` does not return.
pub fn run(listener: &File, serve: &mut dyn FnMut()) -> ! {
    process::stop_when_asked();
    let mut count = 0;
    loop {
        // At [`PROCESS_COUNT_MAX`] processes, wait until one ends; new connections wait in the listener's queue.
        while process::reap_any(count == PROCESS_COUNT_MAX).is_some() {
            count -= 1;
        }
        let child = sockets::accept_any(listener).and_then(|connection| {
            let child = process::fork()?;
            if child.is_none() {
                Stdio::Input.replace(connection.as_raw_fd())?;
                Stdio::Output.replace(connection.as_raw_fd())?;
                serve();
            }
            Ok(child)
        });
        match child {
            Ok(Some(_)) => count += 1,
            Ok(None) => sys::exit(1),
            // The peer hung up (ECONNABORTED), or EMFILE, or fork failed.
            Err(_) => _ = sys::linux::sleep(&mut [], Some(ACCEPT_PAUSE)),
        }
    }
}
