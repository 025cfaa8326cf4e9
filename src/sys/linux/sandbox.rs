//! Sandbox of a process: rights that it gives up for good, so that a bug in this program opens and starts nothing else.
//!
//! Landlock makes the kernel refuse files outside some directories, seccomp refuses system calls that the process does not need, and
//! capabilities are dropped. Not every kernel has them. Without them, too, paths are kept inside a jail or an export, because they
//! are resolved relative to its descriptor. execve(2) does not end a sandbox: a process that needs more must be started again by its
//! supervisor.
//! Specification: Documentation/userspace-api/{landlock,seccomp_filter}.rst of Linux.

use super::daemon;
use super::fs::{self, File};
use super::fsuid;
use super::logger;
use super::optional;
use super::sockets::UNIX;
use super::{Errno, outcome};
use crate::config::{HAS_MULTICAST, HAS_NFS, HAS_SERVE, HAS_SFTP, HAS_STACK};
use core::ffi::CStr;
use rustix::fd::{AsRawFd as _, RawFd};
use rustix::fs::OFlags;
use syscalls::{Sysno, raw_syscall};

/// Sandbox mechanisms that are active.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sandbox {
    /// True if Landlock refuses other files.
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

/// A set of system calls: a bit above the numbers in the table of calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Calls(u32);

impl Calls {
    /// NFS, MOUNT and portmap, without their sockets.
    pub const NFS: Self = Self(1 << 9);
    /// SFTP sessions.
    pub const SFTP: Self = Self(1 << 10);
    /// Multicast DNS.
    pub const MULTICAST: Self = Self(1 << 11);
    /// The link of our own network stack: frames are sent, and the link is opened again after it was down.
    pub const LINK: Self = Self(1 << 12);
    /// connect and getsockname on a UDP socket, for the source address of a multicast group where the host does not list its IPv6
    /// addresses; connect on the socket for rpcbind.
    pub const CONNECT: Self = Self(1 << 13);
    /// Connections and their workers.
    pub const STREAMS: Self = Self(1 << 14);
    /// Lines for the system logger after it has started again.
    const LOGGER: Self = Self(1 << 15);
    /// Sockets of datagrams that know the own address and interface.
    pub const DATAGRAMS: Self = Self(1 << 16);
    /// All calls. No call has this bit, which is one of its number.
    pub const ALL: Self = Self(1);
}

/// Landlock's rights on files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum FileRights {
    /// Reading files and directories.
    Read = 1 << 2 | 1 << 3,
    /// Reading a file.
    ReadFile = 1 << 2,
    /// Reading and writing a device.
    Device = 1 << 1 | 1 << 2,
    /// Everything but execution.
    Change = ALL_RIGHTS as u16 & !1,
}

/// System calls, files and capabilities that a process needs from now on.
#[derive(Debug)]
pub struct Needs {
    calls: u32,
    /// The ruleset of Landlock. `None`: the process opens files anywhere, or the kernel has no Landlock.
    rules: Option<Ruleset>,
    /// The role in the message that says which mechanisms are active; empty: there is none.
    pub name: &'static str,
}

impl Needs {
    /// No calls, no files.
    pub fn none() -> Self {
        Self {
            rules: Ruleset::new(),
            ..Self::all_files()
        }
    }

    /// No calls, all files.
    pub const fn all_files() -> Self {
        Self {
            calls: 0,
            rules: None,
            name: "",
        }
    }

    /// Adds system calls.
    pub const fn add(&mut self, calls: Calls) {
        self.calls |= calls.0;
    }

    const fn has(&self, calls: Calls) -> bool {
        self.calls & calls.0 & COMPILED != 0
    }

    /// Makes the user learn which mechanisms are active for `role`, or for `serve` if it has several.
    pub const fn report_for(&mut self, role: &'static str) {
        self.name = if self.name.is_empty() { role } else { "serve" };
    }

    /// Adds all files.
    pub fn add_all_files(&mut self) {
        self.rules = None;
    }

    /// Adds the files below the directory `path`. If it cannot be opened, adds all files and returns false.
    pub fn add_directory(&mut self, path: &CStr, access: FileRights) -> bool {
        let dir = File::open::<Errno>(path, OFlags::PATH | OFlags::DIRECTORY, 0);
        match &dir {
            Ok(dir) => self.add_opened(dir.as_raw_fd(), access),
            Err(_) => self.add_all_files(),
        }
        dir.is_ok()
    }

    /// Adds the file at `path`, for reading, unless it is missing. A file that replaces it later is not added.
    pub fn add_file(&mut self, path: &CStr) {
        if let Ok(file) = File::open::<Errno>(path, OFlags::PATH, 0) {
            self.add_opened(file.as_raw_fd(), FileRights::ReadFile);
        }
    }

    /// Adds the files below an open directory.
    pub fn add_opened(&mut self, dir: RawFd, access: FileRights) {
        let rules = self.rules.take();
        self.rules = rules.filter(|rules| rules.allow(dir, access));
    }

    /// Restricts the process for good to these needs, as far as the kernel supports it. Open descriptors stay usable. Called before
    /// the first worker starts: the restriction is per thread.
    pub fn confine(mut self) -> Sandbox {
        const SET_NO_NEW_PRIVILEGES: usize = 38;
        let mut sandbox = Sandbox {
            landlock: false,
            seccomp: false,
        };
        if self.has(Calls::ALL) {
            return sandbox;
        }
        if self.has(Calls::LINK)
            && let Some(rules) = &self.rules
            && let Ok(tun) = File::open::<Errno>(c"/dev/net/tun", OFlags::PATH, 0)
        {
            rules.allow(tun.as_raw_fd(), FileRights::Device);
        }
        if HAS_SERVE
            && let Some(rules) = &self.rules
            && let Some(log) = daemon::open_directory()
        {
            rules.allow(log.as_raw_fd(), FileRights::Change);
        }
        if logger::is_local() {
            self.add(Calls::LOGGER);
        }
        // SFTP opens files by path.
        if !self.has(Calls::SFTP) {
            fs::hold_current_directory();
        }
        self.drop_capabilities();
        prctl(SET_NO_NEW_PRIVILEGES, 1, 0);
        sandbox.landlock = self.rules.take().is_some_and(|rules| rules.enforce());
        let needed = (&NEEDED_NUMBERS[..], &NEEDED_SETS[..]);
        sandbox.seccomp = seccomp(self.calls, needed, &const { last(ALLOW, REFUSE) });
        sandbox
    }

    /// Drops all capabilities but those with which root serves files of other users and opens a link. NFS keeps no
    /// CAP_SYS_RESOURCE, by which root exceeds quotas and uses reserved blocks.
    fn drop_capabilities(&self) {
        /// CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID, CAP_SETGID, CAP_SETUID, CAP_MKNOD.
        const ACT: u32 = 0b1_1111 | 1 << 6 | 1 << 7 | 1 << 27;
        const READ: u32 = 1 << 2;
        const NET_ADMIN_AND_RAW: u32 = 3 << 12;
        const SYS_RESOURCE: u32 = 1 << 24;
        let mut kept = if self.has(Calls::NFS) {
            ACT
        } else if self.has(Calls::SFTP) {
            ACT | SYS_RESOURCE
        } else {
            READ
        };
        if self.has(Calls::LINK) {
            kept |= NET_ADMIN_AND_RAW;
        }
        fsuid::keep_capabilities(kept);
    }
}

/// Returns true if PR_SET_NO_NEW_PRIVS is in effect for this process.
pub(super) fn has_no_privileges() -> bool {
    const GET_NO_NEW_PRIVILEGES: usize = 39;
    // SAFETY: the call takes no pointers.
    outcome(unsafe { raw_syscall!(Sysno::prctl, GET_NO_NEW_PRIVILEGES, 0, 0, 0, 0) }) == Ok(1)
}

fn prctl(what: usize, first: usize, second: usize) -> bool {
    // SAFETY: only PR_SET_SECCOMP takes an address here, and its caller passes the right structure.
    outcome(unsafe { raw_syscall!(Sysno::prctl, what, first, second, 0, 0) }).is_ok()
}

#[doc(alias = "landlock_path_beneath_attr")]
#[repr(C)]
struct PathBeneathAttr {
    rights: u64,
    dir: i32,
}

/// A ruleset of Landlock: it refuses all files but those of its rules. It handles the rights of ABI version 2; those of later
/// versions concern calls that the seccomp filter refuses.
#[derive(Debug)]
struct Ruleset(File);

/// The 14 file access rights of ABI version 2.
const ALL_RIGHTS: u64 = (1 << 14) - 1;

impl Ruleset {
    /// A ruleset without rules. `None` if the kernel lacks Landlock (or has ABI version 1 only, which refuses every rename between
    /// directories).
    #[doc(alias = "landlock_ruleset_attr")]
    fn new() -> Option<Self> {
        let rights = ALL_RIGHTS;
        let size = size_of_val(&rights);
        // SAFETY: the kernel reads `size` bytes. Version 1 does not know the last right: EINVAL.
        let rules = unsafe { raw_syscall!(optional::LANDLOCK, &raw const rights, size, 0) };
        File::opened(rules).ok().map(Self)
    }

    /// Allows accesses to a file, or to the files below a directory. Returns false if that failed.
    fn allow(&self, file: RawFd, access: FileRights) -> bool {
        const PATH_BENEATH: usize = 1;
        let beneath = PathBeneathAttr {
            rights: access as u64,
            dir: file,
        };
        let (rules, at) = (self.0.as_raw_fd(), &raw const beneath);
        // SAFETY: the kernel reads the structure.
        let added = unsafe { raw_syscall!(Sysno::landlock_add_rule, rules, PATH_BENEATH, at, 0) };
        outcome(added).is_ok()
    }

    /// Refuses all other files from now on. Returns false if that failed.
    fn enforce(&self) -> bool {
        let rules = self.0.as_raw_fd();
        // SAFETY: the call takes no pointers.
        outcome(unsafe { raw_syscall!(Sysno::landlock_restrict_self, rules, 0) }).is_ok()
    }
}

/// Actions of a seccomp filter: SECCOMP_RET_ALLOW.
const ALLOW: u32 = 0x7fff_0000;
/// SECCOMP_RET_ERRNO with ENOSYS, as if the kernel lacked the call.
const REFUSE: u32 = 0x0005_0000 | 38;

/// Sets of calls that appear often in [`NEEDED`].
const EACH: u32 = FILES | MULTICAST;
const FILES: u32 = NFS | SFTP;
const NET: u32 = STREAMS | DATAGRAMS | MULTICAST | LINK;
const NFS: u32 = Calls::NFS.0;
const SFTP: u32 = Calls::SFTP.0;
const MULTICAST: u32 = Calls::MULTICAST.0;
const LINK: u32 = Calls::LINK.0;
const CONNECT: u32 = Calls::CONNECT.0;
const STREAMS: u32 = Calls::STREAMS.0;
const LOGGER: u32 = Calls::LOGGER.0;
const DATAGRAMS: u32 = Calls::DATAGRAMS.0;

/// The system calls of each set, the most frequent first: older kernels run the filter from the start for each call. qemu/hosts
/// has the same calls for each role, from traces.
const NEEDED: &[(Sysno, u32)] = &[
    (Sysno::read, EACH),
    (Sysno::write, EACH),
    (Sysno::recvmmsg, LINK),
    #[cfg(not(target_arch = "x86"))]
    (Sysno::sendto, NET),
    #[cfg(not(target_arch = "x86"))]
    (Sysno::recvfrom, NET),
    #[cfg(not(target_arch = "x86"))]
    (Sysno::recvmsg, DATAGRAMS),
    #[cfg(not(target_arch = "x86"))]
    (Sysno::sendmsg, DATAGRAMS),
    #[cfg(target_arch = "x86")]
    (Sysno::socketcall, NET | LOGGER),
    (Sysno::epoll_pwait, NET),
    (Sysno::epoll_ctl, NET),
    (Sysno::ppoll, EACH),
    (Sysno::clock_gettime, EACH),
    #[cfg(target_pointer_width = "32")]
    (Sysno::clock_gettime64, EACH),
    (Sysno::preadv2, STREAMS),
    (Sysno::pread64, EACH),
    (Sysno::pwrite64, FILES),
    (Sysno::pwritev2, SFTP),
    (Sysno::cachestat, STREAMS),
    (Sysno::statx, FILES),
    #[cfg(target_arch = "x86_64")]
    (Sysno::newfstatat, EACH),
    #[cfg(target_arch = "aarch64")]
    (Sysno::fstatat, EACH),
    #[cfg(target_pointer_width = "32")]
    (Sysno::fstatat64, EACH),
    (Sysno::open_by_handle_at, NFS),
    (Sysno::name_to_handle_at, NFS),
    #[cfg(target_pointer_width = "64")]
    (Sysno::setfsuid, NFS),
    #[cfg(target_pointer_width = "64")]
    (Sysno::setfsgid, NFS),
    #[cfg(target_pointer_width = "64")]
    (Sysno::setgroups, NFS),
    #[cfg(target_pointer_width = "32")]
    (Sysno::setfsuid32, NFS),
    #[cfg(target_pointer_width = "32")]
    (Sysno::setfsgid32, NFS),
    #[cfg(target_pointer_width = "32")]
    (Sysno::setgroups32, NFS),
    (Sysno::prctl, NFS | MULTICAST),
    (Sysno::openat2, SFTP),
    (Sysno::close, EACH),
    (Sysno::openat, SFTP),
    (Sysno::getdents64, EACH),
    (Sysno::lseek, EACH),
    #[cfg(target_pointer_width = "32")]
    (Sysno::_llseek, EACH),
    (Sysno::readlinkat, FILES),
    (Sysno::fsync, FILES),
    (Sysno::ftruncate, FILES),
    #[cfg(target_pointer_width = "32")]
    (Sysno::ftruncate64, FILES),
    (Sysno::fchmod, FILES),
    (Sysno::fchmodat, FILES),
    (Sysno::fchownat, FILES),
    (Sysno::utimensat, FILES),
    #[cfg(target_pointer_width = "32")]
    (Sysno::utimensat_time64, FILES),
    #[cfg(not(target_arch = "aarch64"))]
    (Sysno::futimesat, FILES),
    (Sysno::mkdirat, FILES),
    (Sysno::symlinkat, FILES),
    (Sysno::linkat, FILES),
    (Sysno::unlinkat, EACH),
    (Sysno::renameat, EACH),
    (Sysno::renameat2, SFTP),
    (Sysno::mknodat, NFS),
    (Sysno::faccessat2, NFS),
    (Sysno::fstatfs, FILES),
    #[cfg(target_pointer_width = "32")]
    (Sysno::fstatfs64, FILES),
    (Sysno::syncfs, NFS),
    (Sysno::getcwd, SFTP),
    (Sysno::umask, FILES),
    (Sysno::splice, STREAMS),
    #[cfg(target_pointer_width = "64")]
    (Sysno::sendfile, STREAMS),
    #[cfg(target_pointer_width = "32")]
    (Sysno::sendfile64, STREAMS),
    #[cfg(target_arch = "aarch64")]
    (Sysno::pipe2, NET),
    #[cfg(not(target_arch = "aarch64"))]
    (Sysno::pipe, NET),
    #[cfg(not(target_arch = "x86"))]
    (Sysno::accept, STREAMS | MULTICAST),
    #[cfg(not(target_arch = "x86"))]
    (Sysno::getsockopt, STREAMS | MULTICAST),
    #[cfg(not(target_arch = "x86"))]
    (Sysno::shutdown, STREAMS),
    (Sysno::futex, STREAMS),
    (Sysno::clone, MULTICAST),
    (Sysno::wait4, MULTICAST),
    (Sysno::getpid, MULTICAST),
    (Sysno::getppid, MULTICAST),
    (Sysno::rt_sigprocmask, MULTICAST),
    (Sysno::rt_sigaction, MULTICAST),
    (Sysno::close_range, MULTICAST),
    (Sysno::inotify_add_watch, MULTICAST),
    (Sysno::fcntl, EACH),
    (Sysno::ioctl, NET),
    #[cfg(not(target_arch = "x86"))]
    (Sysno::socket, MULTICAST | LINK),
    #[cfg(not(target_arch = "x86"))]
    (Sysno::bind, MULTICAST | LINK),
    #[cfg(not(target_arch = "x86"))]
    (Sysno::setsockopt, MULTICAST | LINK),
    #[cfg(not(target_arch = "x86"))]
    (Sysno::getsockname, CONNECT),
    #[cfg(not(target_arch = "x86"))]
    (Sysno::connect, LINK | CONNECT | LOGGER),
    #[cfg(target_arch = "aarch64")]
    (Sysno::dup3, EACH),
    #[cfg(not(target_arch = "aarch64"))]
    (Sysno::dup2, EACH),
    #[cfg(not(target_arch = "aarch64"))]
    (Sysno::poll, EACH),
    (Sysno::nanosleep, EACH),
    (Sysno::rt_sigreturn, EACH),
    #[cfg(any(target_arch = "x86", target_arch = "arm"))]
    (Sysno::sigreturn, EACH),
    (Sysno::restart_syscall, EACH),
    // Threads of tests end by this call; those of the program never end.
    #[cfg(test)]
    (Sysno::exit, EACH),
    (Sysno::exit_group, EACH),
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

/// Sets of the roles in this executable.
const COMPILED: u32 = Calls::ALL.0
    | when(HAS_SFTP, SFTP)
    | when(HAS_NFS, NFS | STREAMS | DATAGRAMS | CONNECT)
    | when(HAS_MULTICAST, MULTICAST | CONNECT)
    | when(HAS_STACK, LINK)
    | when(HAS_SERVE || HAS_SFTP, LOGGER);

const fn when(is_compiled: bool, sets: u32) -> u32 {
    if is_compiled { sets } else { 0 }
}

/// Bits of the number in an [`Entry`].
const NUMBER_BITS: u16 = (1 << 9) - 1;

/// A call's number, and above it the index in a table of its sets: many calls have the same ones.
type Entry = u16;

/// [`NEEDED`] without the calls of absent roles.
static NEEDED_NUMBERS: [Entry; COUNTS.0] = {
    let mut numbers = [0; _];
    compiled(&mut numbers, &mut [0; NEEDED.len()]);
    numbers
};
/// The sets of these calls.
static NEEDED_SETS: [u32; COUNTS.1] = {
    let mut sets = [0; _];
    compiled(&mut [0; NEEDED.len()], &mut sets);
    sets
};
const COUNTS: (usize, usize) = compiled(&mut [0; NEEDED.len()], &mut [0; NEEDED.len()]);

/// Writes the calls of [`COMPILED`] to `numbers`, and their sets to `all_sets`, each once; returns their counts.
const fn compiled(numbers: &mut [Entry], all_sets: &mut [u32]) -> (usize, usize) {
    let (mut count, mut sets_count, mut at) = (0, 0, 0);
    while at < NEEDED.len() {
        let (call, sets) = NEEDED[at];
        let sets = sets & COMPILED;
        let mut index = 0;
        while index < sets_count && all_sets[index] != sets {
            index += 1;
        }
        if sets != 0 {
            if index == sets_count {
                all_sets[index] = sets;
                sets_count += 1;
            }
            let entry = index << 9 | call as usize;
            assert!(call as usize <= NUMBER_BITS as usize && entry <= u16::MAX as usize);
            numbers[count] = entry as Entry;
            count += 1;
        }
        at += 1;
    }
    (count, sets_count)
}

/// Instructions of a filter, at most.
const STEP_COUNT_MAX: usize = 112;
const _: () = assert!(NEEDED.len() + 3 + LAST_COUNT <= STEP_COUNT_MAX);

/// ioctl request that sets a terminal's attributes.
#[doc(alias = "TCSETS")]
const SET_SETTINGS: u32 = 0x5402;

/// Arguments of prctl(2): PR_SET_SECCOMP, SECCOMP_MODE_FILTER.
const SET_SECCOMP: usize = 22;
const MODE_FILTER: usize = 2;

/// A program for the filter.
#[doc(alias = "sock_fprog")]
#[repr(C)]
struct Program {
    len: u16,
    code: *const u64,
}

/// Encodes a BPF instruction: code, instructions to skip if true and if false, operand.
const fn step(what: u64, pass: usize, pass_else: usize, operand: u32) -> u64 {
    what | (pass as u64) << 16 | (pass_else as u64) << 24 | (operand as u64) << 32
}

/// BPF: loads a word of `struct seccomp_data`, returns an action, skips instructions if the word is equal or has one of the bits.
const LOAD: u64 = 0x20;
const RETURN: u64 = 0x06;
const IF_EQUAL: u64 = 0x15;
const IF_ANY_BIT: u64 = 0x45;
/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;
const SECOND_ARGUMENT: u32 = 24;
const CLONE_THREAD: u32 = 0x1_0000;

/// The instructions after those for the listed calls. A table, because the code that computes them is 100 bytes larger.
const fn last(listed: u32, otherwise: u32) -> [u64; LAST_COUNT] {
    [
        // socket is allowed for a logger that takes a stream, also where it is in none of the sets.
        step(IF_EQUAL, 0, 2, Sysno::socket as u32),
        step(LOAD, 0, 0, FIRST_ARGUMENT),
        step(IF_EQUAL, 10, 9, UNIX as u32),
        // clone is allowed for a thread, also where it is in none of the sets. Only roles that make child processes can fork.
        step(IF_EQUAL, 0, 2, Sysno::clone as u32),
        step(LOAD, 0, 0, FIRST_ARGUMENT),
        step(IF_ANY_BIT, 7, 6, CLONE_THREAD),
        // openat is allowed below a descriptor, also where it is in none of the sets.
        step(IF_EQUAL, 0, 2, Sysno::openat as u32),
        step(LOAD, 0, 0, FIRST_ARGUMENT),
        step(IF_EQUAL, 3, 4, fs::AT_FDCWD as u32),
        // TCSETS is allowed, because it restores a terminal at the end; all other ioctl requests are not.
        step(IF_EQUAL, 0, 2, Sysno::ioctl as u32),
        step(LOAD, 0, 0, SECOND_ARGUMENT),
        step(IF_EQUAL, 1, 0, SET_SETTINGS),
        step(RETURN, 0, 0, otherwise),
        step(RETURN, 0, 0, ALLOW),
        step(RETURN, 0, 0, listed),
    ]
}
const LAST_COUNT: usize = 15;

/// Installs a filter that has an instruction for each call of these sets, and ends with `last`.
fn seccomp(sets: u32, (numbers, all_sets): (&[Entry], &[u32]), last: &[u64; LAST_COUNT]) -> bool {
    let is_in = |one: &&Entry| {
        let own = all_sets.get(usize::from(**one >> 9));
        own.is_some_and(|own| own & sets != 0)
    };
    let count = numbers.iter().filter(is_in).count();
    let first = [
        step(LOAD, 0, 0, ARCH),
        // Wrong architecture: skip to the action for all other calls.
        step(IF_EQUAL, 0, count + LAST_COUNT - 2, ARCHITECTURE),
        step(LOAD, 0, 0, NUMBER),
    ];
    let mut code = [0; STEP_COUNT_MAX];
    let len = count + first.len();
    code[..first.len()].copy_from_slice(&first);
    for (at, number) in numbers.iter().filter(is_in).enumerate() {
        // Skip to the action for listed calls.
        let pass = count - at + LAST_COUNT - 2;
        code[first.len() + at] = step(IF_EQUAL, pass, 0, u32::from(*number & NUMBER_BITS));
    }
    code[len..len + LAST_COUNT].copy_from_slice(last);
    if !logger::needs_sockets() {
        // A family that does not exist.
        code[len + 2] |= 1 << 48;
    }
    let program = Program {
        len: (len + LAST_COUNT) as u16,
        code: code.as_ptr(),
    };
    prctl(SET_SECCOMP, MODE_FILTER, &raw const program as usize)
}

/// Makes system calls fail with ENOSYS in this thread.
#[cfg(test)]
pub fn refuse_calls(numbers: &[Sysno]) {
    const SET_NO_NEW_PRIVILEGES: usize = 38;
    assert!(prctl(SET_NO_NEW_PRIVILEGES, 1, 0));
    let numbers: Vec<Entry> = numbers.iter().map(|call| *call as Entry).collect();
    assert!(seccomp(NFS, (&numbers, &[NFS]), &last(REFUSE, ALLOW)));
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
            let mut needs = Needs::none();
            needs.add(Calls::SFTP);
            needs.add_opened(dir.as_raw_fd(), FileRights::Change);
            attempt(needs.confine())
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
    fn clone_makes_threads_but_no_processes() {
        let (sandbox, tried) = sandboxed(c"/", |sandbox| {
            // CLONE_SIGHAND without CLONE_VM, or CLONE_THREAD without CLONE_SIGHAND: EINVAL of the kernel itself.
            // SAFETY: the kernel makes nothing from these flags.
            let tried = [0x800, 0x1_0000]
                .map(|flags| outcome(unsafe { raw_syscall!(Sysno::clone, flags, 0, 0, 0, 0) }));
            (sandbox, tried)
        });
        assert!(sandbox.seccomp);
        assert_eq!(tried, [Err(Errno::NOSYS), Err(Errno::INVAL)]);
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
