//! Memory and locks that a supervisor shares with its children. The memory's content survives a restart of a child.
//!
//! The lock of changes is a robust futex (futex(2), get_robust_list(2)): the kernel releases it when the owning process ends. The
//! lock of the tables is held for a few microseconds, and never over a call that may wait. The kernel does not know it: a
//! process that waits for it sees by the life words, which the kernel marks, if its owner has ended.

use super::memory::{READ_WRITE, SHARED, map};
use super::optional;
use super::{Errno, outcome};
use crate::config::{CHILD_COUNT_MAX, LOOP_COUNT_MAX};
use crate::mem;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use syscalls::{Sysno, raw_syscall};

/// Header of the shared memory.
#[derive(Debug)]
#[repr(C)]
pub struct Shared {
    /// Futex of the lock of changes: the owner's TID, and a flag for waiters.
    lock: AtomicU32,
    /// Futex of the lock of the tables: the owner's TID.
    tables: AtomicU32,
    /// The life word of each process that uses the locks: its TID, or a mark of the kernel.
    pub lives: [AtomicU32; LOOP_COUNT_MAX as usize],
    /// A counter that all processes can increment; the caller defines its meaning.
    pub count: AtomicU32,
    /// Bit mask of the process numbers that have used the memory.
    users: AtomicU32,
    /// Number of times that a process has found another directory at the path of an export, or none any more.
    pub export_changes: AtomicU32,
    /// 1 once a process has registered the programs with the host's rpcbind.
    pub registered: AtomicU32,
}

/// Shared memory: its header, words that every process may use at any time, and bytes of the owner of the lock.
pub type Parts = (&'static Shared, &'static [AtomicU32], &'static mut [u8]);

/// Maps shared memory: a header, `word_count` words and `len` bytes, all zero. `None` if mmap fails.
pub fn share(word_count: usize, len: usize) -> Option<Parts> {
    let words_len = word_count * size_of::<AtomicU32>();
    let at = map(size_of::<Shared>() + words_len + len, READ_WRITE, SHARED)?;
    // SAFETY: zeros are a valid header and valid words, which follow at their alignment. The mapping is never removed. Of the
    // processes that share the bytes, only the owner of the lock accesses them.
    Some(unsafe {
        let words = at.add(size_of::<Shared>());
        let bytes = words.add(words_len).cast();
        (
            &*at.cast(),
            core::slice::from_raw_parts(words.cast(), word_count),
            core::slice::from_raw_parts_mut(bytes, len),
        )
    })
}

/// Maps `COUNT` counters that a process shares with its children, all 0. `None` if mmap fails.
pub fn share_counters<const COUNT: usize>() -> Option<&'static [AtomicU32; COUNT]> {
    let at = map(size_of::<[u32; COUNT]>(), READ_WRITE, SHARED)?;
    // SAFETY: zeros are valid counters, and the mapping is never removed.
    Some(unsafe { &*at.cast() })
}

/// The heartbeats of all processes of a supervisor, and that of this process; null: there are none, or this is the supervisor.
static BEATS: AtomicPtr<[AtomicU32; CHILD_COUNT_MAX]> = AtomicPtr::new(core::ptr::null_mut());
static OWN_BEAT: AtomicPtr<AtomicU32> = AtomicPtr::new(core::ptr::null_mut());

/// Maps heartbeats that this process shares with `count` children, all of the value `first`; the words of others are 0.
pub fn share_beats(count: usize, first: u32) {
    if let Some(beats) = share_counters::<CHILD_COUNT_MAX>() {
        for beat in beats.iter().take(count) {
            beat.store(first, Ordering::Relaxed);
        }
        BEATS.store((&raw const *beats).cast_mut(), Ordering::Relaxed);
    }
}

/// Makes a heartbeat that of this process.
pub fn take_beat(number: usize) {
    // SAFETY: the pointer is null or was a static reference.
    let beats = unsafe { BEATS.load(Ordering::Relaxed).as_ref() };
    if let Some(own) = beats.and_then(|beats| beats.get(number)) {
        OWN_BEAT.store((&raw const *own).cast_mut(), Ordering::Relaxed);
    }
}

/// Returns the heartbeats of all processes and that of this one. `None`: there are none, or this is the supervisor.
pub fn beats() -> Option<(&'static [AtomicU32], &'static AtomicU32)> {
    // SAFETY: the pointers are null or were static references; words of a mapping are never removed.
    unsafe {
        let all = BEATS.load(Ordering::Relaxed).as_ref()?;
        Some((all, OWN_BEAT.load(Ordering::Relaxed).as_ref()?))
    }
}

/// The words in which all processes of a supervisor count, the number of words of each, and the number of this process. Null: there
/// are none.
static SHEETS: AtomicPtr<AtomicU64> = AtomicPtr::new(core::ptr::null_mut());
static SHEET_WORDS: AtomicUsize = AtomicUsize::new(0);
static OWN_SHEET: AtomicUsize = AtomicUsize::new(0);

/// Maps `word_count` words for each child, all 0 and untouched until first used.
pub fn share_sheets(word_count: usize) {
    let len = CHILD_COUNT_MAX * word_count * size_of::<AtomicU64>();
    if let Some(at) = map(len, READ_WRITE, SHARED) {
        SHEETS.store(at.cast(), Ordering::Relaxed);
        SHEET_WORDS.store(word_count, Ordering::Relaxed);
    }
}

/// Makes a part of these words that of this process.
pub fn take_sheet(number: usize) {
    OWN_SHEET.store(number, Ordering::Relaxed);
}

/// Returns the words of all processes, the number of words of each, and the number of this process. `None`: the process has no
/// supervisor.
pub fn sheets() -> Option<(&'static [AtomicU64], usize, usize)> {
    let (at, count) = (
        SHEETS.load(Ordering::Relaxed),
        SHEET_WORDS.load(Ordering::Relaxed),
    );
    if at.is_null() {
        return None;
    }
    // SAFETY: a mapping of that many words, zeros at first, which is never removed.
    let all = unsafe { core::slice::from_raw_parts(at, CHILD_COUNT_MAX * count) };
    Some((all, count, OWN_SHEET.load(Ordering::Relaxed)))
}

impl Shared {
    /// Records that process `number` uses the memory; returns true if a process with that number did before.
    pub fn was_used_by(&self, number: u32) -> bool {
        let user = 1 << number;
        self.users.fetch_or(user, Ordering::Relaxed) & user != 0
    }
}

/// A process's access to the locks.
#[derive(Debug)]
pub struct Lock {
    /// The memory with the locks.
    pub shared: &'static Shared,
    /// The process's own TID.
    own: u32,
}

/// FUTEX_WAITERS: other threads wait.
const WAITERS: u32 = 1 << 31;
/// FUTEX_TID_MASK: TID of the owner.
const OWNER: u32 = (1 << 30) - 1;
const FUTEX_WAIT: usize = 0;
const FUTEX_WAKE: usize = 1;
/// Time (ns) after which the owner of the lock of the tables is looked at again.
const TABLES_WAIT_NS: usize = 100_000;

/// `struct robust_list`: a link to the next entry, or from the last one to the head.
#[repr(C)]
struct RobustEntry {
    next: *const Self,
}

/// `struct robust_list_head`. The list has at most one entry, for the process's life word; `pending` always names the lock. The
/// kernel adds `offset` to both addresses.
#[repr(C)]
struct RobustList {
    first: RobustEntry,
    offset: usize,
    pending: usize,
}

impl Lock {
    /// Returns the locks of `shared`, and registers the lock of changes so that the kernel releases it when this process ends. The
    /// kernel then also sets FUTEX_OWNER_DIED in the life word of process `number`, before it closes the process's files. `None`: the
    /// process uses the lock of changes only.
    ///
    /// # Errors
    /// ENOSYS: the kernel has no robust futexes.
    pub fn of(shared: &'static Shared, number: Option<usize>) -> Result<Self, Errno> {
        let life = number.and_then(|number| shared.lives.get(number));
        let process = rustix::process::getpid();
        let own = process.as_raw_nonzero().get() as u32;
        let list = mem::leak(RobustList {
            first: RobustEntry {
                next: core::ptr::null(),
            },
            offset: 0,
            pending: 0,
        });
        let end = &raw const list.first;
        list.first.next = end;
        if let Some(life) = life {
            life.store(own, Ordering::Relaxed);
            let entry = &raw const *mem::leak(RobustEntry { next: end });
            list.first.next = entry;
            list.offset = life.as_ptr().addr().wrapping_sub(entry.addr());
        }
        list.pending = shared.lock.as_ptr().addr().wrapping_sub(list.offset);
        let len = size_of::<RobustList>();
        // SAFETY: the kernel reads the list when the thread ends, and writes to words of mappings that are never removed; list and
        // entry are never freed.
        outcome(unsafe { raw_syscall!(optional::ROBUST_LIST, &raw const *list, len) })?;
        // A process with this TID may have been killed while it owned the lock of the tables.
        let tables = &shared.tables;
        let _ = tables.compare_exchange(own, 0, Ordering::Relaxed, Ordering::Relaxed);
        Ok(Self { shared, own })
    }

    /// Acquires the lock of changes, waiting for other owners.
    pub fn acquire(&self) {
        let mut own = self.own;
        loop {
            let lock = &self.shared.lock;
            let seen = lock.load(Ordering::Relaxed);
            let is_free = seen & OWNER == 0;
            let next = match is_free {
                true => own | seen & WAITERS,
                false => seen | WAITERS,
            };
            let stored = lock.compare_exchange(seen, next, Ordering::Acquire, Ordering::Relaxed);
            if stored.is_ok() {
                if is_free {
                    return;
                }
                futex(lock, FUTEX_WAIT, next, None);
                // Keeps the flag, because other processes may be waiting too.
                own |= WAITERS;
            }
        }
    }

    /// Releases the lock of changes.
    pub fn release(&self) {
        let lock = &self.shared.lock;
        if lock.swap(0, Ordering::Release) & WAITERS != 0 {
            futex(lock, FUTEX_WAKE, 1, None);
        }
    }

    /// Acquires the lock of the tables: from its owner if that has ended. An owner never waits, so it is asked again soon.
    pub fn acquire_tables(&self) {
        let lock = &self.shared.tables;
        let mut owner = 0;
        while let Err(seen) =
            lock.compare_exchange(owner, self.own, Ordering::Acquire, Ordering::Relaxed)
        {
            owner = match self.lives(seen) {
                true => {
                    futex(lock, FUTEX_WAIT, seen, Some(&[0, TABLES_WAIT_NS]));
                    0
                }
                false => seen,
            };
        }
    }

    /// Releases the lock of the tables.
    pub fn release_tables(&self) {
        self.shared.tables.store(0, Ordering::Release);
    }

    /// Returns true if the process with this TID uses the locks, and has not ended.
    fn lives(&self, tid: u32) -> bool {
        let mut lives = self.shared.lives.iter();
        lives.any(|life| life.load(Ordering::Acquire) & !WAITERS == tid)
    }
}

fn futex(lock: &AtomicU32, what: usize, value: u32, timeout: Option<&[usize; 2]>) {
    let timeout = timeout.map_or(core::ptr::null(), core::ptr::from_ref);
    // SAFETY: the kernel only reads the words.
    unsafe { raw_syscall!(Sysno::futex, lock.as_ptr(), what, value, timeout) };
}

#[cfg(test)]
mod tests {
    use super::super::process;
    use super::*;

    /// Processes increment a non-atomic number; each is killed while it owns both locks.
    #[test]
    fn locks_exclude_others_and_exit_releases_them() {
        const PROCESSES: usize = LOOP_COUNT_MAX as usize;
        const TIMES: u32 = 2000;
        const OWNER_DIED: u32 = 1 << 30;
        let (shared, _, bytes) = share(0, 8).unwrap();
        let add = |bytes: &mut [u8]| {
            let number = u32::from_ne_bytes(bytes.try_into().unwrap());
            bytes.copy_from_slice(&(number + 1).to_ne_bytes());
        };
        let (changes, tables) = bytes.split_at_mut(4);
        let mut add_both = |lock: &Lock| {
            lock.acquire();
            add(changes);
            lock.acquire_tables();
            add(tables);
        };
        for number in 0..PROCESSES {
            if process::fork().unwrap().is_none() {
                let lock = Lock::of(shared, Some(number)).unwrap();
                assert_eq!(shared.lives[number].load(Ordering::Relaxed), lock.own);
                for _ in 0..TIMES {
                    add_both(&lock);
                    lock.release();
                    lock.release_tables();
                }
                add_both(&lock);
                process::exit(0);
            }
        }
        let lock = Lock::of(shared, None).unwrap();
        let wanted = (PROCESSES as u32 * (TIMES + 1)).to_ne_bytes();
        let end = std::time::Instant::now() + core::time::Duration::from_secs(60);
        loop {
            assert!(std::time::Instant::now() < end);
            lock.acquire();
            lock.acquire_tables();
            let is_done = bytes == [wanted, wanted].concat();
            lock.release_tables();
            lock.release();
            let has_ended = |life: &AtomicU32| life.load(Ordering::Relaxed) == OWNER_DIED;
            if is_done && shared.lives.iter().all(has_ended) {
                break;
            }
            std::thread::yield_now();
        }
    }
}
