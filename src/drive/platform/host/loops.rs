//! Memory and locks shared by loops that serve the same files, each in its own process.

#![forbid(unsafe_code)]

use crate::config::{CONNECTION_COUNT_MAX, NAME_RESULTS_BYTES, REMOVED_WORDS, SHARED_BYTES};
use crate::engine::rpc::connections::{Connections, word_count};
use crate::engine::rpc::lock::ServerLock;
use crate::event::Line;
use crate::mem::{self, Twin};
use crate::sys::linux::shared::{Lock, Shared, share};
use crate::sys::linux::sockets::{open_at, reserve};
use crate::sys::{self, Errno};
use core::net::{SocketAddr, SocketAddrV6};
use core::sync::atomic::{AtomicU32, Ordering};

/// Limit of loops that serve the same files.
pub const LOOP_COUNT_MAX: u32 = 4;

/// State that the supervisor creates before it forks the loops.
pub struct SharedState {
    /// Number of loops.
    pub loop_count: u32,
    /// Index of this loop.
    pub number: u32,
    shared: &'static Shared,
    /// The open connections of all loops, and the state of [`Joined::results`] of each.
    words: &'static [AtomicU32],
    /// The files that clients of all loops have removed.
    removals: &'static [AtomicU32],
    bytes: &'static mut [u8],
    /// First bytes of the write verifiers.
    entropy: [u8; 16],
}

/// State of one loop after [`SharedState::join`].
pub struct Joined {
    /// The lock between the loops, if there are several.
    pub lock: Option<&'static dyn ServerLock>,
    /// The open connections of all loops.
    pub connections: Connections,
    /// Words of the files that clients of all loops have removed.
    pub removals: &'static [AtomicU32],
    /// Counter of the changes of exports that any loop has found.
    pub export_changes: &'static AtomicU32,
    /// 1 once the programs are registered with the host's rpcbind.
    pub registered: &'static AtomicU32,
    /// Memory shared by the loops, [`SHARED_BYTES`] long.
    pub memory: &'static mut [u8],
    /// The last results of look-ups of host names, of this loop alone.
    pub results: Option<&'static mut Twin>,
    /// True if an earlier process with this index used the memory.
    pub was_used: bool,
    /// First bytes of the write verifiers.
    pub entropy: [u8; 16],
}

/// A loop's handle on the shared lock.
struct Member {
    lock: Lock,
    shared: &'static Shared,
}

impl SharedState {
    /// Creates the state of `loop_count` loops. `None`: the shared memory cannot be mapped.
    pub fn new(loop_count: u32) -> Option<Self> {
        let count = LOOP_COUNT_MAX as usize;
        let word_count = word_count(count, CONNECTION_COUNT_MAX) + count;
        let len = SHARED_BYTES + loop_count.max(1) as usize * NAME_RESULTS_BYTES;
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
        let (count, number) = (LOOP_COUNT_MAX as usize, self.number as usize);
        let (words, states) = self.words.split_at(self.words.len() - count);
        let (memory, results) = self.bytes.split_at_mut(SHARED_BYTES);
        let connections = Connections::new(words, count, number);
        let (results, _) = results.as_chunks_mut::<NAME_RESULTS_BYTES>();
        let results = states.get(number).zip(results.get_mut(number));
        let mut joined = None;
        if self.loop_count > 1 {
            let lock = Lock::of(shared, connections.life())?;
            joined = Some(&*mem::leak(Member { lock, shared }) as &dyn ServerLock);
        }
        Ok(Joined {
            lock: joined,
            connections,
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

impl ServerLock for Member {
    fn acquire(&self) {
        self.lock.acquire();
    }

    fn release(&self) {
        self.lock.release();
    }

    fn loss_count(&self) -> &AtomicU32 {
        &self.shared.count
    }
}
