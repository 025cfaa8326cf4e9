//! A disk of which everything is known: a small NBD server whose export lies in memory, and that logs writes and flushes.
//!
//! Fixed newstyle handshake, simple replies; READ, WRITE, FLUSH and DISC. FUA is not offered: the client sends a flush
//! instead, and the log knows one kind of promise only. Spoken by hand, because the crate `nbd` answers each request before
//! it reads the next: there is no telling what was in flight. <https://github.com/NetworkBlockDevice/nbd>, doc/proto.md.

pub mod log;
mod protocol;

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use log::{Event, Log, put};

/// A disk in memory behind a Unix socket. Dropping it closes the socket; who is connected goes on.
pub struct Disk {
    shared: Arc<Shared>,
    ends: Arc<AtomicBool>,
    directory: TempDir,
}

impl Disk {
    /// Serves `image` to one client after the other.
    pub fn serve(image: Vec<u8>) -> Result<Self> {
        let directory = tempfile::tempdir().context("cannot make a directory for a socket")?;
        let disk = Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    log: Log {
                        start: image.clone(),
                        events: Vec::new(),
                    },
                    content: image,
                }),
            }),
            ends: Arc::default(),
            directory,
        };
        let listener = UnixListener::bind(disk.socket()).context("cannot listen for NBD")?;
        let (shared, ends) = (disk.shared.clone(), disk.ends.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ends.load(Ordering::Relaxed) {
                    break;
                }
                // A client that goes away in the middle of something is nothing to report: QEMU was killed.
                let _ = stream
                    .map_err(anyhow::Error::from)
                    .and_then(|stream| protocol::converse(stream, &shared));
            }
        });
        Ok(disk)
    }

    /// Where it listens. The export has the empty name.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("nbd")
    }

    /// How much has happened so far. What a client of the disk was told before now happened before this position.
    pub fn position(&self) -> usize {
        self.shared.state().log.events.len()
    }

    /// Everything that has happened.
    pub fn log(&self) -> Log {
        self.shared.state().log.clone()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for a client; if it serves one it is not waiting.
        let _ = UnixStream::connect(self.socket());
    }
}

/// What the connections and the owner of a disk share.
struct Shared {
    state: Mutex<State>,
}

struct State {
    content: Vec<u8>,
    log: Log,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn len(&self) -> u64 {
        self.state().content.len() as u64
    }

    /// Whether these bytes lie on the disk.
    fn holds(&self, offset: u64, len: u32) -> bool {
        offset
            .checked_add(len.into())
            .is_some_and(|end| end <= self.len())
    }

    fn read(&self, offset: u64, len: u32) -> Vec<u8> {
        self.state().content[offset as usize..][..len as usize].to_vec()
    }

    /// Takes note of a write and does it; its position.
    fn write(&self, offset: u64, data: Vec<u8>) -> usize {
        let mut state = self.state();
        put(&mut state.content, offset, &data);
        state.add(Event::Write { offset, data })
    }

    /// Takes note of a flush; its position.
    fn flush(&self) -> usize {
        self.state().add(Event::Flush)
    }

    /// Takes note that a write or a flush is done.
    fn done(&self, position: usize) {
        self.state().add(Event::Done(position));
    }
}

impl State {
    fn add(&mut self, event: Event) -> usize {
        self.log.events.push(event);
        self.log.events.len() - 1
    }
}
