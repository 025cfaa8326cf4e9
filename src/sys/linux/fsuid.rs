//! As whom this process touches files: user and groups of its file system calls, as setfsuid(2) has it, and its umask.

use super::outcome;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use rustix::fs::Mode;
use syscalls::{Sysno, raw_syscall};

/// The calls that take numbers of 32 bits. Those without a number are of another age where both are.
#[cfg(not(any(target_arch = "x86", target_arch = "arm")))]
const CALLS: [Sysno; 3] = [Sysno::setfsuid, Sysno::setfsgid, Sysno::setgroups];
#[cfg(any(target_arch = "x86", target_arch = "arm"))]
const CALLS: [Sysno; 3] = [Sysno::setfsuid32, Sysno::setfsgid32, Sysno::setgroups32];

/// No user: asks for the present one, and changes nothing.
const NOBODY: u32 = u32::MAX;

/// What calls on files are made with. A process has one of each, and perhaps several trees with wishes of their own: here they
/// are remembered, so that the kernel is told only what is new.
struct Effective {
    user: AtomicU32,
    /// Which of all settings of groups is in effect; 0: those that the process began with.
    groups: AtomicU32,
    /// The one that [`restore`] goes back to.
    own_groups: AtomicU32,
    umask: AtomicU32,
    /// That of the process when it began.
    first_umask: AtomicU32,
}

/// It is not known.
const UNKNOWN: u32 = u32::MAX;

impl Effective {
    #[expect(
        clippy::declare_interior_mutable_const,
        reason = "what a static begins with"
    )]
    const FIRST: Self = Self {
        user: AtomicU32::new(0),
        groups: AtomicU32::new(0),
        own_groups: AtomicU32::new(0),
        umask: AtomicU32::new(UNKNOWN),
        first_umask: AtomicU32::new(UNKNOWN),
    };
}

/// The process has one thread. Those of tests have each their own, as the kernel has it.
#[cfg(not(any(test, fuzzing)))]
fn effective<R>(with: impl FnOnce(&Effective) -> R) -> R {
    static EFFECTIVE: Effective = Effective::FIRST;
    with(&EFFECTIVE)
}

#[cfg(any(test, fuzzing))]
fn effective<R>(with: impl FnOnce(&Effective) -> R) -> R {
    std::thread_local! {
        static EFFECTIVE: Effective = const { Effective::FIRST };
    }
    EFFECTIVE.with(with)
}

/// Touches files as `user` from now on; false if the host does not let it. Then the present user is not known: the next call
/// asks for its user whichever that is.
#[inline(never)]
pub fn set_user(user: u32) -> bool {
    effective(|now| {
        if now.user.load(Relaxed) == user {
            return true;
        }
        let is_user = set_thread_user(user);
        super::process::follow_supervisor();
        now.user.store(if is_user { user } else { NOBODY }, Relaxed);
        is_user
    })
}

/// Has this thread alone touch files as `user`; false if the host does not let it. It is for threads of which nothing is remembered here.
pub fn set_thread_user(user: u32) -> bool {
    let [call, ..] = CALLS;
    // SAFETY: a number. The call returns no error, but the next one the present user.
    unsafe {
        raw_syscall!(call, user);
        raw_syscall!(call, NOBODY) as u32 == user
    }
}

/// Touches files as a member of `group` and of `groups`: what [`has_groups`] knows this setting by, or `None` if the host does
/// not let it.
#[inline(never)]
pub fn set_groups(group: u32, groups: &[u32]) -> Option<u32> {
    let [_, group_call, groups_call] = CALLS;
    effective(|now| {
        let setting = now.groups.load(Relaxed).wrapping_add(1);
        now.groups.store(setting, Relaxed);
        // SAFETY: a number; then the kernel reads so many numbers.
        let is_set = unsafe {
            raw_syscall!(group_call, group);
            outcome(raw_syscall!(groups_call, groups.len(), groups.as_ptr())).is_ok()
                && raw_syscall!(group_call, NOBODY) as u32 == group
        };
        is_set.then_some(setting)
    })
}

/// Whether the groups of that setting are still in effect.
pub fn has_groups(setting: u32) -> bool {
    effective(|now| now.groups.load(Relaxed) == setting)
}

/// Whether this process can touch files as others; it does so as root, and as a member of root's group alone, until it is told.
pub fn can_switch() -> bool {
    let can = set_user(1) && set_user(0);
    let Some(own) = set_groups(0, &[]).filter(|_| can) else {
        return false;
    };
    effective(|now| now.own_groups.store(own, Relaxed));
    true
}

/// Touches files as the process itself again, whatever [`set_user`] and [`set_groups`] made of it.
#[inline(never)]
pub fn restore() {
    // Root may always be root again.
    let _ = set_user(0);
    let own = effective(|now| now.own_groups.load(Relaxed));
    if !has_groups(own)
        && let Some(own) = set_groups(0, &[])
    {
        effective(|now| now.own_groups.store(own, Relaxed));
    }
}

/// What is made from now on has none of the bits of `mask` in its mode.
#[inline(never)]
pub fn set_umask(mask: u32) {
    effective(|now| {
        if now.umask.load(Relaxed) != mask {
            let before = rustix::process::umask(Mode::from_bits_retain(mask)).bits();
            if now.first_umask.load(Relaxed) == UNKNOWN {
                now.first_umask.store(before, Relaxed);
            }
            now.umask.store(mask, Relaxed);
        }
    });
}

/// The mask that the process began with is its own again.
pub fn restore_umask() {
    let first = effective(|now| now.first_umask.load(Relaxed));
    if first != UNKNOWN {
        set_umask(first);
    }
}

/// Gives up the privilege of filling a disk beyond its quotas and to its last block: clients have none.
pub fn obey_quotas() {
    const VERSION_3: u32 = 0x2008_0522;
    const SYS_RESOURCE: u32 = 1 << 24;
    let header = [VERSION_3, 0];
    // Effective, permitted, inheritable; of the lower 32 privileges, then of the upper.
    let mut sets = [0u32; 6];
    // SAFETY: the kernel reads two numbers and writes six.
    let told = unsafe { raw_syscall!(Sysno::capget, header.as_ptr(), sets.as_mut_ptr()) };
    if outcome(told).is_ok() {
        sets.iter_mut()
            .take(3)
            .for_each(|set| *set &= !SYS_RESOURCE);
        // SAFETY: the kernel reads both.
        unsafe { raw_syscall!(Sysno::capset, header.as_ptr(), sets.as_ptr()) };
    }
}
