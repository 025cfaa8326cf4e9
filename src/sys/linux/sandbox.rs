//! Sandbox of a process: rights that it gives up for good, so that a bug in this program opens nothing outside the jail.
//!
//! Landlock makes the kernel refuse files outside the jail, seccomp refuses system calls that file service does not need. Not every
//! kernel has them. Without them, too, paths are kept inside the jail, because they are resolved relative to its descriptor.
//! Specification: Documentation/userspace-api/{landlock,seccomp_filter}.rst of Linux.

use super::fs::File;
use super::optional;
use super::{Errno, outcome};
use rustix::fd::{AsRawFd as _, RawFd};
use rustix::fs::OFlags;
use syscalls::{Sysno, raw_syscall};

/// Sandbox mechanisms that are active.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sandbox {
    /// True if Landlock refuses files outside the jail.
    pub landlock: bool,
    /// True if seccomp refuses system calls that are not needed.
    pub seccomp: bool,
}

/// Clears PR_SET_DUMPABLE: other processes of the same user cannot trace this one, and no core is dumped.
pub fn set_undumpable() {
    const SET_DUMPABLE: usize = 4;
    prctl(SET_DUMPABLE, 0, 0);
}

/// Disables transparent huge pages: if they are set to "always", one touched byte of the arena would take 2 MiB. The error on
/// kernels before 3.15 is ignored.
pub(super) fn disable_huge_pages() {
    const DISABLE_HUGE_PAGES: usize = 41;
    prctl(DISABLE_HUGE_PAGES, 1, 0);
}

/// Carrier of the sessions of a sandboxed process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Carrier {
    /// Standard input and output.
    Stdio,
    /// Our own network stack. The process may still send frames, and reopen its link after the link was down.
    OwnStack,
}

/// Restricts the process for good to the directory `jail`, as far as the kernel supports it. Open descriptors stay usable.
pub fn restrict_to(jail: RawFd, carrier: Carrier) -> Sandbox {
    const SET_NO_NEW_PRIVILEGES: usize = 38;
    let mut numbers = &NEEDED_NUMBERS[..];
    if carrier == Carrier::Stdio {
        numbers = &numbers[LINK_CALL_COUNT..];
        // The current directory becomes the jail, so a relative path that is used by mistake stays inside. Not with our own stack,
        // because the socket file of its link may have a relative path.
        // SAFETY: the call takes no pointers.
        unsafe { raw_syscall!(Sysno::fchdir, jail) };
    }
    prctl(SET_NO_NEW_PRIVILEGES, 1, 0);
    Sandbox {
        landlock: landlock(jail, carrier),
        seccomp: seccomp(numbers, ALLOW, REFUSE),
    }
}

/// Returns true if PR_SET_NO_NEW_PRIVS is in effect for this process.
#[cfg(feature = "probe")]
pub(super) fn has_no_privileges() -> bool {
    const GET_NO_NEW_PRIVILEGES: usize = 39;
    // SAFETY: the call takes no pointers.
    outcome(unsafe { raw_syscall!(Sysno::prctl, GET_NO_NEW_PRIVILEGES, 0, 0, 0, 0) }) == Ok(1)
}

fn prctl(what: usize, first: usize, second: usize) -> bool {
    // SAFETY: only PR_SET_SECCOMP takes an address here, and its caller passes the right structure.
    outcome(unsafe { raw_syscall!(Sysno::prctl, what, first, second, 0, 0) }).is_ok()
}

/// Accesses that the ruleset handles; later ABI versions have added fields.
#[doc(alias = "landlock_ruleset_attr")]
#[repr(C)]
struct RulesetAttr {
    /// File access rights.
    files: u64,
    /// bind and connect of TCP sockets.
    sockets: u64,
    /// Scope: connections to abstract sockets of other processes, signals to them.
    others: u64,
}

#[doc(alias = "landlock_path_beneath_attr")]
#[repr(C)]
struct PathBeneathAttr {
    rights: u64,
    dir: i32,
}

/// Restricts file access to the directory `jail` and its descendants, and to /dev/net/tun if our own stack may have to reopen a TAP
/// interface. Returns false if the kernel lacks Landlock (or has ABI version 1 only).
fn landlock(jail: RawFd, carrier: Carrier) -> bool {
    const ASK_VERSION: usize = 1;
    const PATH_BENEATH: usize = 1;
    // Execute, create character and block devices, ioctl on devices: clients never need them.
    const NOT_NEEDED: u64 = 1 | 1 << 6 | 1 << 11 | 1 << 15;
    // Write, read, ioctl.
    const USE_DEVICE: u64 = 1 << 1 | 1 << 2 | 1 << 15;
    // SAFETY: with this flag the call takes integers only.
    let version = unsafe { raw_syscall!(optional::LANDLOCK, 0, 0, ASK_VERSION) };
    // For ABI versions 2 to 6: number of file rights, and size of the structure. Version 1 is not used, because it refuses every
    // rename between directories.
    const VERSIONS: [(u8, u8); 5] = [(14, 8), (15, 8), (15, 16), (16, 16), (16, 24)];
    let known = outcome(version)
        .ok()
        .and_then(|version| version.checked_sub(2));
    let Some((right_count, size)) = known.and_then(|known| VERSIONS.get(known.min(4))) else {
        return false;
    };
    let watched = RulesetAttr {
        files: (1 << *right_count) - 1,
        sockets: 3,
        others: 3,
    };
    // SAFETY: the kernel reads `size` bytes of the structure.
    let rules = unsafe {
        raw_syscall!(
            optional::LANDLOCK,
            &raw const watched,
            usize::from(*size),
            0
        )
    };
    let Ok(rules) = File::opened(rules) else {
        return false;
    };
    let rules = rules.as_raw_fd();
    let add = |rights: u64, file: RawFd| {
        let beneath = PathBeneathAttr {
            rights: watched.files & rights,
            dir: file,
        };
        // SAFETY: the kernel reads the structure.
        let added = unsafe {
            raw_syscall!(
                Sysno::landlock_add_rule,
                rules,
                PATH_BENEATH,
                &raw const beneath,
                0
            )
        };
        outcome(added).is_ok()
    };
    if carrier == Carrier::OwnStack
        && let Ok(tun) = File::open::<Errno>(c"/dev/net/tun", OFlags::PATH, 0)
    {
        add(USE_DEVICE, tun.as_raw_fd());
    }
    // SAFETY: the call takes no pointers.
    add(!NOT_NEEDED, jail)
        && outcome(unsafe { raw_syscall!(Sysno::landlock_restrict_self, rules, 0) }).is_ok()
}

/// Actions of a seccomp filter: SECCOMP_RET_ALLOW.
const ALLOW: u32 = 0x7fff_0000;
/// SECCOMP_RET_ERRNO with ENOSYS, as if the kernel lacked the call.
const REFUSE: u32 = 0x0005_0000 | 38;

/// Number of calls at the start of [`NEEDED`] that only the link of our own stack needs.
const LINK_CALL_COUNT: usize = if cfg!(target_arch = "x86") { 3 } else { 8 };
const _: () = assert!(NEEDED[LINK_CALL_COUNT] as u16 == Sysno::read as u16);

/// System calls that links and file service need, the most frequent first: older kernels run the filter from the start for each
/// call.
const NEEDED: &[Sysno] = &[
    Sysno::recvmmsg,
    #[cfg(not(target_arch = "x86"))]
    Sysno::sendto,
    #[cfg(not(target_arch = "x86"))]
    Sysno::recvfrom,
    #[cfg(not(target_arch = "x86"))]
    Sysno::socket,
    #[cfg(not(target_arch = "x86"))]
    Sysno::setsockopt,
    #[cfg(not(target_arch = "x86"))]
    Sysno::bind,
    #[cfg(not(target_arch = "x86"))]
    Sysno::connect,
    #[cfg(target_arch = "x86")]
    Sysno::socketcall,
    Sysno::ioctl,
    Sysno::read,
    Sysno::write,
    Sysno::pread64,
    Sysno::pwrite64,
    Sysno::openat2,
    Sysno::close,
    Sysno::openat,
    Sysno::getdents64,
    Sysno::lseek,
    Sysno::readlinkat,
    Sysno::ppoll,
    Sysno::fsync,
    Sysno::ftruncate,
    Sysno::fchmod,
    Sysno::fchmodat,
    Sysno::fchownat,
    Sysno::utimensat,
    Sysno::mkdirat,
    Sysno::symlinkat,
    Sysno::linkat,
    Sysno::unlinkat,
    Sysno::renameat,
    Sysno::renameat2,
    Sysno::fstatfs,
    Sysno::clock_gettime,
    Sysno::fcntl,
    Sysno::rt_sigreturn,
    Sysno::restart_syscall,
    Sysno::exit,
    Sysno::exit_group,
    // Names of these calls on other architectures, and variants for 64-bit values.
    #[cfg(target_arch = "x86_64")]
    Sysno::newfstatat,
    #[cfg(target_arch = "aarch64")]
    Sysno::fstatat,
    #[cfg(target_pointer_width = "32")]
    Sysno::statx,
    #[cfg(target_pointer_width = "32")]
    Sysno::fstatat64,
    #[cfg(target_pointer_width = "32")]
    Sysno::_llseek,
    #[cfg(target_pointer_width = "32")]
    Sysno::ftruncate64,
    #[cfg(target_pointer_width = "32")]
    Sysno::fstatfs64,
    #[cfg(target_pointer_width = "32")]
    Sysno::utimensat_time64,
    #[cfg(not(target_arch = "aarch64"))]
    Sysno::poll,
    #[cfg(target_pointer_width = "32")]
    Sysno::clock_gettime64,
];

/// AUDIT_ARCH value of the numbers in [`NEEDED`].
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "x86")]
const ARCHITECTURE: u32 = 0x4000_0003;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;
#[cfg(target_arch = "arm")]
const ARCHITECTURE: u32 = 0x4000_0028;

/// [`NEEDED`] as 16-bit numbers, which take half the space.
static NEEDED_NUMBERS: [u16; NEEDED.len()] = {
    let (mut numbers, mut at) = ([0; NEEDED.len()], 0);
    while at < NEEDED.len() {
        numbers[at] = NEEDED[at] as u16;
        at += 1;
    }
    numbers
};

/// Instructions of a filter, at most.
const STEP_COUNT_MAX: usize = 64;
const _: () = assert!(NEEDED.len() + 8 <= STEP_COUNT_MAX);

/// ioctl request that sets a terminal's attributes.
#[doc(alias = "TCSETS")]
const SET_SETTINGS: u32 = 0x5402;

/// Installs a filter: the action `listed` for these system calls, `otherwise` for all others.
fn seccomp(numbers: &[u16], listed: u32, otherwise: u32) -> bool {
    const SET_SECCOMP: usize = 22;
    const MODE_FILTER: usize = 2;
    const LOAD: u64 = 0x20;
    const RETURN: u64 = 0x06;
    const IF_EQUAL: u64 = 0x15;
    /// Offsets in `struct seccomp_data`.
    const NUMBER: u32 = 0;
    const ARCH: u32 = 4;
    const SECOND_ARGUMENT: u32 = 24;
    #[doc(alias = "sock_fprog")]
    #[repr(C)]
    struct Program {
        len: u16,
        code: *const u64,
    }
    // Encodes a BPF instruction: code, instructions to skip if true and if false, operand.
    let step = |what: u64, pass: usize, pass_else: usize, operand: u32| {
        what | (pass as u64) << 16 | (pass_else as u64) << 24 | u64::from(operand) << 32
    };
    let first = [
        step(LOAD, 0, 0, ARCH),
        // Wrong architecture: skip to `otherwise`.
        step(IF_EQUAL, 0, numbers.len() + 4, ARCHITECTURE),
        step(LOAD, 0, 0, NUMBER),
    ];
    let last = [
        // TCSETS is allowed, because it restores a terminal at the end; all other ioctl requests are not.
        step(IF_EQUAL, 0, 2, Sysno::ioctl as u32),
        step(LOAD, 0, 0, SECOND_ARGUMENT),
        step(IF_EQUAL, 1, 0, SET_SETTINGS),
        step(RETURN, 0, 0, otherwise),
        step(RETURN, 0, 0, listed),
    ];
    let mut code = [0; STEP_COUNT_MAX];
    let len = numbers.len() + first.len();
    code[..first.len()].copy_from_slice(&first);
    for (at, number) in numbers.iter().enumerate() {
        // Skip to `listed`.
        let pass = numbers.len() - at + 3;
        code[first.len() + at] = step(IF_EQUAL, pass, 0, u32::from(*number));
    }
    code[len..len + last.len()].copy_from_slice(&last);
    let program = Program {
        len: (len + last.len()) as u16,
        code: code.as_ptr(),
    };
    prctl(SET_SECCOMP, MODE_FILTER, &raw const program as usize)
}

/// Makes system calls fail with ENOSYS in this thread.
#[cfg(test)]
pub fn refuse_calls(numbers: &[Sysno]) {
    const SET_NO_NEW_PRIVILEGES: usize = 38;
    assert!(prctl(SET_NO_NEW_PRIVILEGES, 1, 0));
    let numbers: Vec<u16> = numbers.iter().map(|number| *number as u16).collect();
    assert!(seccomp(&numbers, REFUSE, ALLOW));
}

/// Gives this thread a current directory of its own and, with `from_proc` and as root, removes /proc from its view. Returns true if
/// /proc is still mounted.
#[cfg(test)]
pub fn unshare(from_proc: bool) -> bool {
    const OWN_DIRECTORY: usize = 0x200;
    const OWN_MOUNTS: usize = 0x2_0000;
    const PRIVATE_AND_BELOW: usize = 1 << 18 | 1 << 14;
    const DETACH: usize = 2;
    // SAFETY: no argument is an address.
    let take = |what| outcome(unsafe { raw_syscall!(Sysno::unshare, what) });
    assert_eq!(take(OWN_DIRECTORY), Ok(0));
    if !from_proc || !rustix::process::geteuid().is_root() {
        return true;
    }
    assert_eq!(take(OWN_MOUNTS), Ok(0));
    let (top, proc) = (c"/".as_ptr(), c"/proc".as_ptr());
    // SAFETY: the kernel reads paths.
    let (private, parted) = unsafe {
        let private = raw_syscall!(Sysno::mount, 0, top, 0, PRIVATE_AND_BELOW, 0);
        (private, raw_syscall!(Sysno::umount2, proc, DETACH))
    };
    assert_eq!((outcome(private), outcome(parted)), (Ok(0), Ok(0)));
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `attempt` in a thread that is restricted to a directory: the restriction is per thread.
    fn sandboxed<T: Send + 'static>(dir: &core::ffi::CStr, attempt: fn(Sandbox) -> T) -> T {
        let dir = File::open::<Errno>(dir, OFlags::PATH | OFlags::DIRECTORY, 0).unwrap();
        let attempt = std::thread::spawn(move || {
            // The other threads keep their current directory.
            unshare(false);
            attempt(restrict_to(dir.as_raw_fd(), Carrier::Stdio))
        });
        attempt.join().unwrap()
    }

    #[test]
    fn landlock_refuses_files_outside_the_jail() {
        let (sandbox, inside, outside) = sandboxed(c"/etc", |sandbox| {
            let open = |path| File::open(path, OFlags::RDONLY, 0).map(drop);
            (sandbox, open(c"/etc/passwd"), open(c"/usr"))
        });
        assert_eq!(inside, Ok(()));
        assert_eq!(outside.err(), sandbox.landlock.then_some(Errno::ACCESS));
    }

    #[test]
    fn seccomp_fails_unneeded_calls_with_enosys() {
        let (sandbox, tried) = sandboxed(c"/", |sandbox| {
            let calls = [
                Sysno::socket,
                Sysno::execve,
                Sysno::ptrace,
                Sysno::mount,
                Sysno::process_vm_readv,
                Sysno::clone,
                Sysno::unshare,
            ];
            // The arguments are neither valid addresses nor open descriptors.
            // SAFETY: the kernel cannot access memory at such addresses.
            let tried = calls.map(|call| outcome(unsafe { raw_syscall!(call, 8, 8, 8, 8, 8) }));
            (sandbox, tried)
        });
        assert!(sandbox.seccomp);
        assert_eq!(tried, [Err(Errno::NOSYS); 7]);
    }

    #[test]
    fn refused_call_fails_in_its_thread_only() {
        let clock = || {
            let mut time = [0u64; 2];
            // SAFETY: the kernel writes two words.
            outcome(unsafe { raw_syscall!(Sysno::clock_gettime, 0, time.as_mut_ptr()) })
        };
        let forgetful = std::thread::spawn(move || {
            refuse_calls(&[Sysno::clock_gettime]);
            clock()
        });
        assert_eq!(forgetful.join().unwrap(), Err(Errno::NOSYS));
        assert_eq!(clock(), Ok(0));
    }
}
