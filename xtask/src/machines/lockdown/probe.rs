//! Issues each call that a profile refuses, and compares the result with the profile.

use super::profile::{INVALID, Profile};
use anyhow::{Result, ensure};
use nix::libc::ENOSYS;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use syscalls::{Sysno, raw};

/// Numbers after the last call that we know, which a kernel may have by now.
const UNKNOWN_COUNT: i32 = 50;
/// uretprobe and uprobe, which only the kernel's own code may use: they bypass seccomp, and others get SIGILL.
const UPROBES: [i32; 2] = [335, 336];

impl Profile {
    /// Confines this process and issues every call that must fail. Returns how many there are; the error lists all wrong results.
    pub fn verify(&self) -> Result<usize> {
        self.confine()?;
        let mut count = 0;
        let mut wrong = Vec::new();
        let mut expect = |call: i32, arguments, errno: i32| {
            count += 1;
            let result = issue(call, arguments);
            if result != -(errno as isize) {
                let name = Sysno::new(call as usize).map_or("call", |call| call.name());
                wrong.push(format!("{name} ({call}): {result}, not {}", -errno));
            }
        };
        for case in &self.cases {
            expect(case.call.id(), case.sample, case.errno);
        }
        // An `[[answer]]` for any arguments precedes `above` and `[allow]`.
        let is_answered = |call| {
            let mut cases = self.cases.iter();
            cases.any(|case| case.call.id() == call && case.arguments.is_empty())
        };
        for call in 0..=Sysno::last().id() + UNKNOWN_COUNT {
            if !self.has(call) && !is_answered(call) && !UPROBES.contains(&call) {
                expect(call, [INVALID; 6], ENOSYS);
            }
        }
        ensure!(wrong.is_empty(), "wrong results: {}", wrong.join("; "));
        // A filter that refuses everything must not pass.
        let (family, kind) = (AddressFamily::Inet, SockType::Datagram);
        socket(family, kind, SockFlag::empty(), None)?;
        Ok(count)
    }
}

/// Issues a system call, and returns the kernel's result (negative: an errno).
#[allow(unsafe_code)]
fn issue(call: i32, arguments: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the filter answers the call. Otherwise the arguments are invalid for calls that use memory, and the process has
    // nothing to lose: it exists to issue these calls.
    unsafe { raw::syscall6(call as usize, a, b, c, d, e, f) }.cast_signed()
}
