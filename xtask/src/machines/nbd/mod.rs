//! An NBD server whose export is in memory and that logs every write and flush, to test power cuts. It can stall, to test waits.
//!
//! Fixed newstyle handshake and simple replies; READ, WRITE, FLUSH and DISC. FUA is not offered, so the client sends a FLUSH
//! instead and the log needs one kind of barrier only. The crate `nbd` is not used: it replies to each request before it reads the
//! next, so no requests would be in flight together. <https://github.com/NetworkBlockDevice/nbd>, doc/proto.md.

pub mod log;
mod protocol;

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use log::{Event, Log, overwrite};

/// A disk in memory, served on a Unix socket. Drop closes the listening socket; a connected client is still served.
pub struct Disk {
    shared: Arc<Shared>,
    stop: Arc<AtomicBool>,
    directory: TempDir,
}

impl Disk {
    /// Serves `image` to one client at a time.
    pub fn serve(image: Vec<u8>) -> Result<Self> {
        let directory =
            tempfile::tempdir().context("cannot create a directory for the NBD socket")?;
        let disk = Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    log: Log {
                        start: image.clone(),
                        events: Vec::new(),
                    },
                    content: image,
                }),
                is_stalled: AtomicBool::new(false),
            }),
            stop: Arc::default(),
            directory,
        };
        let listener = UnixListener::bind(disk.socket()).context("cannot listen for NBD")?;
        let (shared, stop) = (disk.shared.clone(), disk.stop.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                // A connection that breaks off is not an error: tests kill QEMU.
                let _ = stream
                    .map_err(anyhow::Error::from)
                    .and_then(|stream| protocol::converse(stream, &shared));
            }
        });
        Ok(disk)
    }

    /// Path of the Unix socket. The name of the export is empty.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("nbd")
    }

    /// Withholds all replies until [`Self::resume`], as a disk that is out of reach does.
    pub fn stall(&self) {
        self.shared.is_stalled.store(true, Ordering::Relaxed);
    }

    /// Sends the withheld replies.
    pub fn resume(&self) {
        self.shared.is_stalled.store(false, Ordering::Relaxed);
    }

    /// The current length of the log. Every reply that a client received before this call is for an event before this position.
    pub fn position(&self) -> usize {
        self.shared.state().log.events.len()
    }

    /// A copy of the log.
    pub fn log(&self) -> Log {
        self.shared.state().log.clone()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Makes accept(2) return, after which the thread checks `stop`. While the thread serves a client, this connection is
        // queued.
        let _ = UnixStream::connect(self.socket());
    }
}

/// The state shared by the connection thread and the owner of the disk.
struct Shared {
    state: Mutex<State>,
    /// True while replies are withheld.
    is_stalled: AtomicBool,
}

struct State {
    content: Vec<u8>,
    log: Log,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while_stalled(&self) {
        while self.is_stalled.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(5));
        }
    }

    fn len(&self) -> u64 {
        self.state().content.len() as u64
    }

    /// Returns true if the range is within the disk.
    fn contains(&self, offset: u64, len: u32) -> bool {
        offset
            .checked_add(len.into())
            .is_some_and(|end| end <= self.len())
    }

    fn read(&self, offset: u64, len: u32) -> Vec<u8> {
        self.state().content[offset as usize..][..len as usize].to_vec()
    }

    /// Logs and carries out a write. Returns its position in the log.
    fn write(&self, offset: u64, data: Vec<u8>) -> usize {
        let mut state = self.state();
        overwrite(&mut state.content, offset, &data);
        state.add(Event::Write { offset, data })
    }

    /// Logs a flush. Returns its position in the log.
    fn flush(&self) -> usize {
        self.state().add(Event::Flush)
    }

    /// Logs that the write or flush at `position` is done.
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
