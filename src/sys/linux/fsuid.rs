//! As whom this process touches files: user and groups of its file system calls, as setfsuid(2) has it.

use super::outcome;
use syscalls::{Sysno, raw_syscall};

/// The calls that take numbers of 32 bits. Those without a number are of another age where both are.
#[cfg(not(any(target_arch = "x86", target_arch = "arm")))]
const CALLS: [Sysno; 3] = [Sysno::setfsuid, Sysno::setfsgid, Sysno::setgroups];
#[cfg(any(target_arch = "x86", target_arch = "arm"))]
const CALLS: [Sysno; 3] = [Sysno::setfsuid32, Sysno::setfsgid32, Sysno::setgroups32];

/// No user: asks who it is, and changes nothing.
const NOBODY: u32 = u32::MAX;

/// Touches files as `user` from now on; false if the host does not let it.
pub fn set_user(user: u32) -> bool {
    let [call, ..] = CALLS;
    // SAFETY: a number. The call tells of no error, but the next one tells who it is.
    let is_user = unsafe {
        raw_syscall!(call, user);
        raw_syscall!(call, NOBODY) as u32 == user
    };
    super::process::follow_supervisor();
    is_user
}

/// Touches files as a member of `group` and of `groups`; false if the host does not let it.
pub fn set_groups(group: u32, groups: &[u32]) -> bool {
    let [_, group_call, groups_call] = CALLS;
    // SAFETY: a number; then the kernel reads so many numbers.
    unsafe {
        raw_syscall!(group_call, group);
        outcome(raw_syscall!(groups_call, groups.len(), groups.as_ptr())).is_ok()
            && raw_syscall!(group_call, NOBODY) as u32 == group
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
