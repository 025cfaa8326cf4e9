//! Issues each call that a profile refuses, and compares the result with the profile.

use super::i686;
use super::profile::{Case, INVALID, Profile};
use anyhow::{Result, ensure};
use nix::errno::Errno;
use nix::libc::{
    AF_INET, EINVAL, MAP_32BIT, MAP_ANONYMOUS, MAP_FAILED, MAP_PRIVATE, PROT_READ, PROT_WRITE,
    SOCK_DGRAM, mmap,
};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::arch::asm;
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
                expect(call, [INVALID; 6], self.above_errno);
            }
        }
        if self.has_i686() {
            count += self.verify_i686(&mut wrong)?;
        }
        ensure!(wrong.is_empty(), "wrong results: {}", wrong.join("; "));
        // A filter that refuses everything must not pass.
        let (family, kind) = (AddressFamily::Inet, SockType::Datagram);
        socket(family, kind, SockFlag::empty(), None)?;
        Ok(count)
    }
}

impl Profile {
    /// As [`Self::verify`], for the calls of i686, which this process is free to issue. Returns how many there are.
    fn verify_i686(&self, wrong: &mut Vec<String>) -> Result<usize> {
        const X: u32 = u32::MAX;
        let mut count = 0;
        let memory = LowMemory::new()?;
        let mut expect = |call: u32, arguments, errno: i32| {
            count += 1;
            let result = memory.issue(call, arguments);
            if result != -errno {
                let name = i686::name(call);
                wrong.push(format!(
                    "i686: {name} ({call}) {arguments:x?}: {result}, not {}",
                    -errno
                ));
            }
        };
        let mut answered = Vec::new();
        for case in &self.cases {
            let Case { sample, errno, .. } = case;
            let sample = sample.map(|argument| argument as u32);
            for (call, conditions) in i686::refused(case) {
                let is_socketcall = call == i686::SOCKETCALL;
                let arguments = match conditions.first() {
                    Some(number) if is_socketcall => [number.value, X, X, X, X, X],
                    _ => sample,
                };
                if self.has_i686_call(call)? {
                    expect(call, arguments, *errno);
                }
                if case.arguments.is_empty() && !is_socketcall {
                    answered.push(call);
                }
            }
            if let Some(number) = i686::supervised(case) {
                let address = memory.put(sample);
                let arguments = [number.cast_unsigned(), address, X, X, X, X];
                expect(i686::SOCKETCALL, arguments, *errno);
            }
        }
        for number in self.missing_socket_calls() {
            let is_answered = self
                .cases
                .iter()
                .any(|case| i686::socket_call(number) == Some(case.call));
            if !is_answered {
                expect(
                    i686::SOCKETCALL,
                    [number.cast_unsigned(), X, X, X, X, X],
                    EINVAL,
                );
            }
        }
        for call in 0..=i686::last() + UNKNOWN_COUNT.cast_unsigned() {
            if !self.has_i686_call(call)? && !answered.contains(&call) {
                expect(call, [X; 6], self.above_errno);
            }
        }
        // A supervisor that refuses everything must not pass.
        let address = memory.put([AF_INET, SOCK_DGRAM, 0, 0, 0, 0].map(i32::cast_unsigned));
        let socket = memory.issue(i686::SOCKETCALL, [1, address, X, X, X, X]);
        ensure!(socket >= 0, "socketcall: {socket}");
        Ok(count)
    }
}

/// A page whose address has 32 bits, for arguments of i686's calls.
struct LowMemory(*mut [u32; 6]);

impl LowMemory {
    #[allow(unsafe_code)]
    fn new() -> Result<Self> {
        let access = PROT_READ | PROT_WRITE;
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT;
        // SAFETY: a new mapping changes no other memory. The process keeps it until its end.
        let page = unsafe { mmap(std::ptr::null_mut(), 4096, access, flags, -1, 0) };
        ensure!(page != MAP_FAILED, "mmap: {}", Errno::last());
        Ok(Self(page.cast()))
    }

    /// Stores words, and returns their address.
    #[allow(unsafe_code)]
    fn put(&self, words: [u32; 6]) -> u32 {
        // SAFETY: the page is mapped and writable, and only this function and the kernel use it.
        unsafe { self.0.write_volatile(words) };
        self.0 as usize as u32
    }

    /// Issues a system call of i686, and returns the kernel's result (negative: an errno).
    #[allow(unsafe_code)]
    fn issue(&self, call: u32, [a, b, c, d, e, f]: [u32; 6]) -> i32 {
        let registers = [call, a, b, c, d, e, f];
        let result: u64;
        // SAFETY: as in `issue` below. The kernel preserves all registers but rax and r8 to r11; LLVM reserves rbx and rbp, which
        // are restored.
        unsafe {
            asm!(
                "push rbx",
                "push rbp",
                "mov eax, [r15]",
                "mov ebx, [r15 + 4]",
                "mov ecx, [r15 + 8]",
                "mov edx, [r15 + 12]",
                "mov esi, [r15 + 16]",
                "mov edi, [r15 + 20]",
                "mov ebp, [r15 + 24]",
                "int 0x80",
                "pop rbp",
                "pop rbx",
                in("r15") registers.as_ptr(),
                out("rax") result,
                out("rcx") _,
                out("rdx") _,
                out("rsi") _,
                out("rdi") _,
                out("r8") _,
                out("r9") _,
                out("r10") _,
                out("r11") _,
            );
        }
        result as i32
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
