//! Loops that serve the same files, each in a process of its own: what they have in common.

#![forbid(unsafe_code)]

use crate::config::KEPT_BYTES;
use crate::engine::turns::Turns;
use crate::mem;
use crate::sys::linux::shared::{Lock, Shared, share};
use crate::sys::linux::sockets::open_at;
use crate::sys::{self, Errno};
use core::net::SocketAddr;
use core::sync::atomic::AtomicU32;

/// Loops that serve the same files, at most.
pub const LOOP_COUNT_MAX: u32 = 4;

/// What a supervisor makes before it forks them.
pub struct Kept {
    /// How many they are.
    pub loop_count: u32,
    /// The number of this one, from 0.
    pub number: u32,
    shared: &'static Shared,
    bytes: &'static mut [u8],
    /// What their write verifiers begin with.
    entropy: [u8; 16],
}

/// What a loop has of it.
pub struct Joined {
    /// Their turns, if there are several.
    pub turns: Option<&'static dyn Turns>,
    /// [`KEPT_BYTES`] that they have in common.
    pub memory: &'static mut [u8],
    /// A loop of this number had it before.
    pub was_used: bool,
    /// What their write verifiers begin with.
    pub entropy: [u8; 16],
}

/// One of several loops.
struct Member {
    lock: Lock,
    shared: &'static Shared,
}

impl Kept {
    /// Of so many loops. `None`: the limits of the process, or the host, do not let it.
    pub fn new(loop_count: u32) -> Option<Self> {
        let (shared, bytes) = share(KEPT_BYTES)?;
        // Where a loop that is killed would keep the others from their turns, or they cannot have a port in common, there is one.
        let is_possible = loop_count > 1 && Lock::of(shared).is_ok() && can_share_ports();
        let mut entropy = [0; 16];
        sys::entropy(&mut entropy);
        Some(Self {
            loop_count: if is_possible { loop_count } else { 1 },
            number: 0,
            shared,
            bytes,
            entropy,
        })
    }

    /// What the loop of this number has of it.
    ///
    /// # Errors
    /// The host has no lock that opens when a process ends.
    pub fn join(self) -> Result<Joined, Errno> {
        let shared = self.shared;
        let mut turns = None;
        if self.loop_count > 1 {
            let lock = Lock::of(shared)?;
            turns = Some(&*mem::leak(Member { lock, shared }) as &dyn Turns);
        }
        Ok(Joined {
            turns,
            memory: self.bytes,
            was_used: shared.was_used_by(self.number),
            entropy: self.entropy,
        })
    }
}

/// Whether the host lets several sockets listen at one port (SO_REUSEPORT, Linux 3.9).
fn can_share_ports() -> bool {
    let any = SocketAddr::from(([0; 4], 0));
    !matches!(open_at(any, true, true), Err(Errno::NOPROTOOPT))
}

/// Whether a port is taken by others than loops beside this one: before these have begun.
pub fn is_taken(at: SocketAddr) -> bool {
    matches!(open_at(at, true, false), Err(Errno::ADDRINUSE))
}

impl Turns for Member {
    fn begin(&self) {
        self.lock.take();
    }

    fn end(&self) {
        self.lock.give();
    }

    fn number(&self) -> u32 {
        self.lock.owner()
    }

    fn breaks(&self) -> &AtomicU32 {
        &self.shared.count
    }
}
