//! Bytes that threads store: behind much that is not on the disk yet, a host makes whoever writes wait for the disk, also where
//! nothing is to be durable.
//!
//! They go from the peer's pipe to one of the job's own, and a thread moves them into the file. What it cannot is stored
//! here, so that what comes of it is told as of any other.

use super::super::{Bytes, FsError, FsResult, Pin};
use super::Host;
use super::jobs::Job;
use crate::config::{THREAD_STORE_COUNT, UNSYNCED_BYTES_MAX, WORKER_COUNT};
use crate::sys;
use crate::sys::linux::fs::{self, File};
use crate::sys::linux::threads::Work;
use rustix::fd::AsRawFd as _;

/// The end of a pipe to read from, and the other.
type Pipe = (File, File);

/// How far a job is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// A thread has it, or will.
    Given,
    /// As `Given`, but nobody asks for it.
    Forgotten,
    /// A thread has stored as much as it could.
    Ended,
    /// All is stored, or this is why not.
    Stored(FsResult<()>),
}

/// What is stored by a job.
#[derive(Debug)]
struct Store {
    number: u32,
    file: Pin,
    /// Where what is in the pipe goes.
    offset: u64,
    /// Bytes that are in the pipe.
    len: u32,
    pipe: Pipe,
    phase: Phase,
}

/// Jobs that store, and pipes for the next.
#[derive(Debug, Default)]
pub(super) struct Stores {
    stores: heapless::Vec<Store, THREAD_STORE_COUNT>,
    /// Empty ones.
    pipes: heapless::Vec<Pipe, WORKER_COUNT>,
    /// How many there ever were.
    count: u32,
}

impl Host {
    /// See [`Handles::store_by_thread`](super::Handles::store_by_thread).
    #[cold]
    pub(super) fn begin_store(&mut self, pin: &Pin, offset: u64, bytes: Bytes<'_>) -> Option<u32> {
        let (entry, top) = self.entry_and_top(pin.node)?;
        let is_behind = top.has_disk && entry.unsynced_bytes.get() >= UNSYNCED_BYTES_MAX;
        let stores = &self.dirty.stores.stores;
        // Behind the last offset that there is, a pipe tells another error than a buffer.
        let ends = offset.saturating_add(bytes.len() as u64) <= i64::MAX as u64;
        if !is_behind || !ends || self.dirty.workers.is_none() || stores.is_full() {
            return None;
        }
        let own = fs::dup::<FsError>(self.begin_write(pin).ok()?.file.as_raw_fd());
        let file = File::of(own.ok()?);
        let pipe = self.dirty.stores.pipes.pop();
        let pipe = pipe.or_else(|| fs::pipe().ok())?;
        let (to, len) = (pipe.1.as_raw_fd(), bytes.len());
        let moved = match bytes {
            Bytes::Here(bytes) => rustix::io::write(&pipe.1, bytes),
            Bytes::Piped(from, len) => fs::splice(from, None, to, None, len),
        };
        let moved = moved.unwrap_or(0);
        let mut store = Store {
            number: self.dirty.stores.count,
            file: pin.lend(),
            offset,
            len: moved as u32,
            pipe,
            phase: Phase::Given,
        };
        let work = Work::Store {
            pipe: store.pipe.0.as_raw_fd(),
            offset,
            len: moved as u32,
            user: self.acting.switches().then_some(pin.user),
        };
        let job = Job::Store(store.number);
        let workers = self.dirty.workers.as_mut()?;
        let own = file.leak();
        if moved < len || !workers.take(work, own, job, sys::now()) {
            fs::close(own);
            // Here, then.
            let stored = self.store_rest(&mut store);
            let rest = offset.saturating_add(moved as u64);
            let rest = match bytes {
                Bytes::Here(bytes) => {
                    self.write_all(pin, rest, bytes.get(moved..).unwrap_or_default())
                }
                Bytes::Piped(from, len) => self.write_pipe(pin, rest, from, len - moved),
            };
            store.phase = Phase::Stored(stored.and(rest));
            if let Some(workers) = &self.dirty.workers {
                workers.tell();
            }
        } else {
            self.count_unsynced(pin, len);
        }
        let stores = &mut self.dirty.stores;
        stores.count = stores.count.wrapping_add(1);
        let _ = stores.stores.push(store);
        Some(stores.count.wrapping_sub(1))
    }

    /// Stores what is left in a pipe.
    fn store_rest(&mut self, store: &mut Store) -> FsResult<()> {
        let len = core::mem::take(&mut store.len) as usize;
        self.write_pipe(&store.file, store.offset, store.pipe.0.as_raw_fd(), len)
    }

    /// Whether what a job stores is stored. `waits`: until it is.
    pub(super) fn stored(&mut self, job: u32, waits: bool) -> FsResult<bool> {
        loop {
            let stores = &mut self.dirty.stores.stores;
            let Some(place) = stores.iter().position(|store| store.number == job) else {
                return Ok(true);
            };
            match stores.get(place).map(|store| store.phase) {
                Some(Phase::Stored(result)) => return result.map(|()| true),
                Some(Phase::Ended) => {
                    let mut store = stores.swap_remove(place);
                    // What was made durable meanwhile did not have all of it.
                    let changed = self.begin_write(&store.file).map(drop);
                    let stored = self.store_rest(&mut store);
                    store.phase = Phase::Stored(changed.and(stored));
                    let _ = self.dirty.stores.stores.push(store);
                }
                _ if !waits => return Ok(false),
                _ => {
                    if let Some(workers) = &self.dirty.workers {
                        workers.wait();
                    }
                    self.collect();
                    if let Some(workers) = &self.dirty.workers {
                        // What was told is taken: others who wait look once more.
                        workers.tell();
                    }
                }
            }
        }
    }

    /// So many bytes more are written to a file and not durable.
    pub(super) fn count_unsynced(&self, pin: &Pin, len: usize) {
        if let Some(entry) = self.table.get(pin.node) {
            let bytes = &entry.unsynced_bytes;
            bytes.set(bytes.get().saturating_add(len as u32));
        }
    }
}

impl Stores {
    /// A thread has stored so many bytes of a job: all, unless something went wrong.
    pub(super) fn ended(&mut self, number: u32, stored: u32) {
        let mut stores = self.stores.iter_mut();
        let Some(store) = stores.find(|store| store.number == number) else {
            return;
        };
        store.offset += u64::from(stored);
        store.len -= stored.min(store.len);
        if store.phase == Phase::Forgotten {
            self.forget(number);
        } else {
            store.phase = Phase::Ended;
        }
    }

    /// Nobody asks for a job any more, which perhaps a thread still has.
    pub(super) fn forget(&mut self, number: u32) {
        let mut stores = self.stores.iter_mut();
        let Some(place) = stores.position(|store| store.number == number) else {
            return;
        };
        if let Some(store) = self.stores.get_mut(place)
            && store.phase == Phase::Given
        {
            store.phase = Phase::Forgotten;
            return;
        }
        let store = self.stores.swap_remove(place);
        if store.len == 0 {
            let _ = self.pipes.push(store.pipe);
        }
    }

    /// Lets go of pipes that wait for the next job.
    pub(super) fn release_idle(&mut self) {
        self.pipes.clear();
    }
}

impl Bytes<'_> {
    const fn len(self) -> usize {
        match self {
            Self::Here(bytes) => bytes.len(),
            Self::Piped(_, len) => len,
        }
    }
}
