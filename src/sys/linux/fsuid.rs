//! The UID and groups of file system calls (setfsuid(2)), and the umask.

use super::{Errno, outcome};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use rustix::fs::Mode;
use syscalls::{Sysno, raw_syscall};

/// The calls with 32-bit ids: on 32-bit x86 and ARM, those without "32" in the name take 16 bits.
#[cfg(not(any(target_arch = "x86", target_arch = "arm")))]
const CALLS: [Sysno; 3] = [Sysno::setfsuid, Sysno::setfsgid, Sysno::setgroups];
#[cfg(any(target_arch = "x86", target_arch = "arm"))]
const CALLS: [Sysno; 3] = [Sysno::setfsuid32, Sysno::setfsgid32, Sysno::setgroups32];

/// An invalid UID, to query the current one: setfsuid(2) then returns it and changes nothing.
const NOBODY: u32 = u32::MAX;

/// The settings now in effect in the process. Trees may need different settings, so they are cached here: a system call is made
/// only for a change.
struct Effective {
    user: AtomicU32,
    /// Number of the group setting in effect; 0: the initial one.
    groups: AtomicU32,
    /// Number of the setting that [`restore`] has made.
    own_groups: AtomicU32,
    umask: AtomicU32,
    /// Initial umask of the process.
    first_umask: AtomicU32,
}

/// Marks a setting that is not known yet.
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

/// Calls `with` with the settings of the loop's thread. Workers set their own UID by [`set_thread_user`], which is not cached. In
/// tests each thread has its own settings, as in the kernel.
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

/// Sets the UID of file system calls. Returns false if the kernel refuses; the current UID is then unknown, and the next call sets
/// it in any case.
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

/// Sets the UID of file system calls of this thread only, without caching it; for worker threads. Returns false if the kernel
/// refuses.
pub fn set_thread_user(user: u32) -> bool {
    let [call, ..] = CALLS;
    // SAFETY: the calls take no pointers. setfsuid(2) returns no errors, so a second call reads the UID back.
    unsafe {
        raw_syscall!(call, user);
        raw_syscall!(call, NOBODY) as u32 == user
    }
}

/// Sets the GID and supplementary groups of file system calls; returns the number of this setting for [`has_groups`]. `None` if the
/// kernel refuses.
pub fn set_groups(group: u32, groups: &[u32]) -> Option<u32> {
    let [_, group_call, groups_call] = CALLS;
    effective(|now| {
        let setting = now.groups.load(Relaxed).wrapping_add(1);
        now.groups.store(setting, Relaxed);
        // SAFETY: the kernel reads `groups.len()` numbers.
        let is_set = unsafe {
            raw_syscall!(group_call, group);
            outcome(raw_syscall!(groups_call, groups.len(), groups.as_ptr())).is_ok()
                && raw_syscall!(group_call, NOBODY) as u32 == group
        };
        is_set.then_some(setting)
    })
}

/// Returns true if that group setting is still in effect.
pub fn has_groups(setting: u32) -> bool {
    effective(|now| now.groups.load(Relaxed) == setting)
}

/// Returns true if this process can act as other users; it then acts as UID 0 and GID 0 without supplementary groups.
pub fn can_switch() -> bool {
    let can = set_user(1) && set_user(0);
    let Some(own) = set_groups(0, &[]).filter(|_| can) else {
        return false;
    };
    effective(|now| now.own_groups.store(own, Relaxed));
    true
}

/// Restores UID 0 and GID 0, undoing [`set_user`] and [`set_groups`].
pub fn restore() {
    // A process that is root may always set UID 0.
    let _ = set_user(0);
    let own = effective(|now| now.own_groups.load(Relaxed));
    if !has_groups(own)
        && let Some(own) = set_groups(0, &[])
    {
        effective(|now| now.own_groups.store(own, Relaxed));
    }
}

/// Calls with 32-bit ids that set and read the real, effective and saved ids, and the call that counts groups.
#[cfg(not(any(target_arch = "x86", target_arch = "arm")))]
const OWN_CALLS: [Sysno; 5] = [
    Sysno::setresgid,
    Sysno::setresuid,
    Sysno::getresgid,
    Sysno::getresuid,
    Sysno::getgroups,
];
#[cfg(any(target_arch = "x86", target_arch = "arm"))]
const OWN_CALLS: [Sysno; 5] = [
    Sysno::setresgid32,
    Sysno::setresuid32,
    Sysno::getresgid32,
    Sysno::getresuid32,
    Sysno::getgroups32,
];

/// Makes this process, which must have one thread, a process of `user` and `group` without supplementary groups, for good.
///
/// # Errors
/// Those of setgroups(2), setresgid(2) and setresuid(2). EPERM: the ids read back are other ones, or root can come back. The process
/// may then have some of the new ids.
pub fn become_user(user: u32, group: u32) -> Result<(), Errno> {
    let [.., groups_call] = CALLS;
    let [set_group, set_user, get_group, get_user, get_groups] = OWN_CALLS;
    // SAFETY: the kernel reads no group and no address.
    unsafe {
        outcome(raw_syscall!(groups_call, 0, 0))?;
        outcome(raw_syscall!(set_group, group, group, group))?;
        outcome(raw_syscall!(set_user, user, user, user))?;
    }
    if user != 0 {
        keep_capabilities(0);
    }
    let [mut users, mut groups] = [[NOBODY; 3]; 2];
    let has = |call, [first, second, third]: &mut [u32; 3], id| {
        // SAFETY: the kernel writes three numbers.
        let read = outcome(unsafe {
            raw_syscall!(call, &raw mut *first, &raw mut *second, &raw mut *third)
        });
        read.is_ok() && [*first, *second, *third] == [id; 3]
    };
    // SAFETY: the kernel counts the groups and writes nothing.
    let group_count = outcome(unsafe { raw_syscall!(get_groups, 0, 0) });
    // SAFETY: no argument is an address.
    let returns = user != 0 && outcome(unsafe { raw_syscall!(set_user, 0, 0, 0) }).is_ok();
    let is_user = has(get_user, &mut users, user) && has(get_group, &mut groups, group);
    if !is_user || group_count != Ok(0) || returns {
        return Err(Errno::PERM);
    }
    // The kernel has cleared the signal at the parent's end.
    super::process::follow_supervisor();
    super::became(user, group);
    // From now on there is nothing to restore.
    effective(|now| {
        now.user.store(0, Relaxed);
        now.own_groups.store(now.groups.load(Relaxed), Relaxed);
    });
    Ok(())
}

/// Sets the umask.
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

/// Restores the initial umask.
pub fn restore_umask() {
    let first = effective(|now| now.first_umask.load(Relaxed));
    if first != UNKNOWN {
        set_umask(first);
    }
}

/// Drops all capabilities but `kept`, a set of the capabilities 0 to 31.
pub fn keep_capabilities(kept: u32) {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    // The effective, permitted and inheritable sets of capabilities 0 to 31, then those of the higher capabilities.
    let mut sets = [0u32; 6];
    // SAFETY: the kernel reads two numbers and writes six.
    let result = unsafe { raw_syscall!(Sysno::capget, header.as_ptr(), sets.as_mut_ptr()) };
    // Nothing can be dropped if no capability is permitted, or if capget has no effect.
    let [_, permitted, ..] = sets;
    if outcome(result).is_ok() && permitted != 0 {
        let (low, high) = sets.split_at_mut(3);
        low.iter_mut().for_each(|set| *set &= kept);
        high.fill(0);
        // SAFETY: the kernel only reads the header and the sets.
        unsafe { raw_syscall!(Sysno::capset, header.as_ptr(), sets.as_ptr()) };
    }
}
