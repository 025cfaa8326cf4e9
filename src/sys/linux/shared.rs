//! Memory and a lock that a supervisor shares with the processes that it forks. What one of them wrote is there for the next.
//!
//! The lock is a robust futex (futex(2), get_robust_list(2)): the kernel opens it when a process ends that has it.

use super::memory::{READ_WRITE, SHARED, map};
use super::{Errno, outcome};
use crate::mem;
use core::sync::atomic::{AtomicU32, Ordering};
use syscalls::{Sysno, raw_syscall};

/// What lies before the bytes.
#[derive(Debug)]
#[repr(C)]
pub struct Shared {
    /// The thread that has the lock, and whether others wait for it.
    lock: AtomicU32,
    /// A number of the users'.
    pub count: AtomicU32,
    /// Processes that have used it: a bit for each of their numbers.
    users: AtomicU32,
}

/// `len` zero bytes, and what their users share beside them. `None`: the limits of the process, or the host, do not let it.
pub fn share(len: usize) -> Option<(&'static Shared, &'static mut [u8])> {
    let at = map(size_of::<Shared>() + len, READ_WRITE, SHARED)?;
    // SAFETY: zeros are a value of it, and the mapping is never taken away. Of the processes that know the bytes behind it, one at a
    // time uses them: the one that has the lock.
    Some(unsafe {
        let bytes = at.add(size_of::<Shared>()).cast();
        (&*at.cast(), core::slice::from_raw_parts_mut(bytes, len))
    })
}

impl Shared {
    /// Whether a process of this number has used it before.
    pub fn was_used_by(&self, number: u32) -> bool {
        let user = 1 << number;
        self.users.fetch_or(user, Ordering::Relaxed) & user != 0
    }
}

/// The lock as one process has it.
#[derive(Debug)]
pub struct Lock {
    lock: &'static AtomicU32,
    /// Its thread.
    own: u32,
}

/// Others wait.
const WAITERS: u32 = 1 << 31;
/// The number of the thread that has it.
const OWNER: u32 = (1 << 30) - 1;
const FUTEX_WAIT: usize = 0;
const FUTEX_WAKE: usize = 1;

/// `struct robust_list_head`: there is one lock, so the list is empty, and that lock is always the one that may just be taken.
#[repr(C)]
struct RobustList {
    next: *const Self,
    offset: isize,
    pending: *const AtomicU32,
}

impl Lock {
    /// The lock of what is shared, which opens when this process ends.
    ///
    /// # Errors
    /// The host has none that does.
    pub fn of(shared: &'static Shared) -> Result<Self, Errno> {
        let list = mem::leak(RobustList {
            next: core::ptr::null(),
            offset: 0,
            pending: &raw const shared.lock,
        });
        list.next = list;
        let len = size_of::<RobustList>();
        // SAFETY: the kernel reads the list when the thread ends; it lasts as long as the process.
        outcome(unsafe { raw_syscall!(Sysno::set_robust_list, &raw const *list, len) })?;
        let process = rustix::process::getpid();
        Ok(Self {
            lock: &shared.lock,
            own: process.as_raw_nonzero().get() as u32,
        })
    }

    /// The number of the process that has it so.
    pub const fn owner(&self) -> u32 {
        self.own
    }

    /// Waits until no other process has it, and takes it.
    pub fn take(&self) {
        let mut own = self.own;
        loop {
            let seen = self.lock.load(Ordering::Relaxed);
            let is_free = seen & OWNER == 0;
            let next = match is_free {
                true => own | seen & WAITERS,
                false => seen | WAITERS,
            };
            let stored =
                self.lock
                    .compare_exchange(seen, next, Ordering::Acquire, Ordering::Relaxed);
            if stored.is_ok() {
                if is_free {
                    return;
                }
                self.futex(FUTEX_WAIT, next);
                // Others may have waited beside this one.
                own |= WAITERS;
            }
        }
    }

    /// Gives it back.
    pub fn give(&self) {
        if self.lock.swap(0, Ordering::Release) & WAITERS != 0 {
            self.futex(FUTEX_WAKE, 1);
        }
    }

    fn futex(&self, what: usize, value: u32) {
        let lock = self.lock.as_ptr();
        // SAFETY: the kernel reads the number; no timeout.
        unsafe { raw_syscall!(Sysno::futex, lock, what, value, 0) };
    }
}

#[cfg(test)]
mod tests {
    use super::super::process;
    use super::*;

    /// Processes that add to a number that is no atomic one; each is killed when it has the lock.
    #[test]
    fn one_at_a_time_has_the_lock_and_it_opens_when_a_process_ends() {
        const PROCESSES: usize = 4;
        const TIMES: u32 = 2000;
        let (shared, bytes) = share(4).unwrap();
        let add = |bytes: &mut [u8]| {
            let number = u32::from_ne_bytes(bytes.try_into().unwrap());
            bytes.copy_from_slice(&(number + 1).to_ne_bytes());
        };
        for _ in 0..PROCESSES {
            if process::fork().unwrap().is_none() {
                let lock = Lock::of(shared).unwrap();
                for _ in 0..TIMES {
                    lock.take();
                    add(bytes);
                    lock.give();
                }
                lock.take();
                add(bytes);
                process::exit(0);
            }
        }
        let lock = Lock::of(shared).unwrap();
        let wanted = PROCESSES as u32 * (TIMES + 1);
        let end = std::time::Instant::now() + core::time::Duration::from_secs(60);
        loop {
            assert!(std::time::Instant::now() < end);
            lock.take();
            let number = u32::from_ne_bytes(bytes.try_into().unwrap());
            lock.give();
            if number == wanted {
                break;
            }
            std::thread::yield_now();
        }
    }
}
