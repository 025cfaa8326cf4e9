//! Memory and locks shared by loops that serve the same files, each in its own process.

#![forbid(unsafe_code)]

use crate::config::{LOOP_COUNT_MAX, NAME_RESULTS_BYTES, REMOVED_WORDS};
use crate::event::Line;
use crate::mem::{self, Twin};
use crate::sys::linux::shared::{Lock, Shared, share};
use crate::sys::linux::sockets::{open_at, reserve};
use crate::sys::{self, Errno};
use core::net::{SocketAddr, SocketAddrV6};
use core::sync::atomic::{AtomicU32, Ordering};

/// The size of the memory that the loops share, by the tables of the service that they run.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Number of words that each loop may access at any time.
    pub word_count: usize,
    /// Size of the memory that a loop accesses with a lock (bytes).
    pub byte_count: usize,
}

/// State that the supervisor creates before it forks the loops.
pub struct SharedState {
    /// Number of loops.
    pub loop_count: u32,
    /// Index of this loop.
    pub number: u32,
    shared: &'static Shared,
    layout: Layout,
    /// The service's words, and the state of [`Joined::results`] of each loop.
    words: &'static [AtomicU32],
    /// The files that clients of all loops have removed.
    removals: &'static [AtomicU32],
    bytes: &'static mut [u8],
    /// First bytes of the write verifiers.
    entropy: [u8; 16],
}

/// State of one loop after [`SharedState::join`].
pub struct Joined {
    /// The index of this loop.
    pub number: usize,
    /// The locks between the loops, if there are several.
    pub lock: Option<&'static Member>,
    /// The service's words.
    pub words: &'static [AtomicU32],
    /// The life word of each loop, which the kernel marks when the loop ends.
    pub lives: &'static [AtomicU32],
    /// Words of the files that clients of all loops have removed.
    pub removals: &'static [AtomicU32],
    /// Counter of the changes of exports that any loop has found.
    pub export_changes: &'static AtomicU32,
    /// 1 once the programs are registered with the host's rpcbind.
    pub registered: &'static AtomicU32,
    /// The service's bytes.
    pub memory: &'static mut [u8],
    /// The last results of look-ups of host names, of this loop alone.
    pub results: Option<&'static mut Twin>,
    /// True if an earlier process with this index used the memory.
    pub was_used: bool,
    /// First bytes of the write verifiers.
    pub entropy: [u8; 16],
}

/// A loop's access to the locks.
pub struct Member(Lock);

impl SharedState {
    /// Creates the state of `loop_count` loops. `None`: the shared memory cannot be mapped.
    pub fn new(loop_count: u32, layout: Layout) -> Option<Self> {
        let word_count = layout.word_count + LOOP_COUNT_MAX as usize;
        let len = layout.byte_count + loop_count.max(1) as usize * NAME_RESULTS_BYTES;
        let (shared, words, bytes) = share(word_count + REMOVED_WORDS, len)?;
        let (words, removals) = words.split_at_checked(word_count)?;
        // Falls back to one loop if the host lacks robust futexes (a killed loop would keep the lock) or SO_REUSEPORT.
        let is_possible = loop_count > 1 && Lock::of(shared, None).is_ok() && can_share_ports();
        let mut entropy = [0; 16];
        sys::entropy(&mut entropy);
        Some(Self {
            loop_count: if is_possible { loop_count } else { 1 },
            number: 0,
            shared,
            layout,
            words,
            removals,
            bytes,
            entropy,
        })
    }

    /// Returns true if a loop has registered the programs with the host's rpcbind.
    pub fn is_registered(&self) -> bool {
        self.shared.registered.load(Ordering::Relaxed) != 0
    }

    /// Joins the loop with index `number` to the shared state.
    ///
    /// # Errors
    /// The host has no robust futexes.
    pub fn join(self) -> Result<Joined, Errno> {
        let shared = self.shared;
        let number = self.number as usize;
        let (words, states) = self.words.split_at(self.layout.word_count);
        let (memory, results) = self.bytes.split_at_mut(self.layout.byte_count);
        let (results, _) = results.as_chunks_mut::<NAME_RESULTS_BYTES>();
        let results = states.get(number).zip(results.get_mut(number));
        let lock = match self.loop_count > 1 {
            true => Some(&*mem::leak(Member(Lock::of(shared, Some(number))?))),
            false => None,
        };
        Ok(Joined {
            number,
            lock,
            words,
            lives: &shared.lives,
            removals: self.removals,
            export_changes: &shared.export_changes,
            registered: &shared.registered,
            memory,
            results: results.map(|(state, memory)| mem::leak(Twin::new(state, memory))),
            was_used: shared.was_used_by(self.number),
            entropy: self.entropy,
        })
    }
}

/// Returns true if several sockets can listen at one port (SO_REUSEPORT, Linux 3.9).
fn can_share_ports() -> bool {
    let any = SocketAddr::from(([0; 4], 0));
    !matches!(open_at(any, true, true), Err(Errno::NOPROTOOPT))
}

/// Returns true if another program listens at `at`, or another supervisor is about to. Called before the loops start. The
/// reservation lasts until this process and its children end.
pub fn is_taken(at: SocketAddrV6, bound: SocketAddr) -> bool {
    let mut name = Line::default();
    name.text("stowaway ").socket(&at);
    let reserved = reserve(name.bytes()).map(core::mem::forget);
    // A host without Unix sockets cannot reserve: EAFNOSUPPORT.
    reserved == Err(Errno::ADDRINUSE)
        || matches!(open_at(bound, true, false), Err(Errno::ADDRINUSE))
}

/// Returns true if another program listens at this address.
pub fn is_in_use(at: SocketAddr) -> bool {
    matches!(open_at(at, true, false), Err(Errno::ADDRINUSE))
}

impl Member {
    /// Acquires the lock of changes. The kernel releases it when this process ends.
    pub fn acquire(&self) {
        self.0.acquire();
    }

    /// Releases the lock of changes.
    pub fn release(&self) {
        self.0.release();
    }

    /// Acquires the lock of the tables, which is never held over a call that may wait.
    pub fn acquire_tables(&self) {
        self.0.acquire_tables();
    }

    /// Releases the lock of the tables.
    pub fn release_tables(&self) {
        self.0.release_tables();
    }

    /// A counter of all loops; the service defines its meaning.
    pub fn count(&self) -> &AtomicU32 {
        &self.0.shared.count
    }
}
