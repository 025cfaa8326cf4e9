//! Planted system calls: a running process makes a call that its program does not contain, in place of one that it is about to make,
//! as code that an attacker has injected into a request handler would. The process goes on as if nothing had happened.
//!
//! By ptrace(2), of x86_64 programs. All functions must run in one thread.

use std::io::{IoSlice, IoSliceMut};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::errno::Errno;
use nix::libc::{self, user_regs_struct};
use nix::sys::ptrace::{self, Options};
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

const AT_FDCWD: u64 = -100_i64 as u64;
/// Bytes below the stack pointer that a function may use without moving it (System V ABI).
const RED_ZONE: u64 = 128;
const TIME_MAX: Duration = Duration::from_secs(20);

/// A call to plant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted<'a> {
    /// open(path, O_RDONLY).
    Open(&'a str),
    /// openat(AT_FDCWD, path, O_RDONLY).
    OpenAt(&'a str),
    /// openat(descriptor, path, O_RDONLY).
    OpenBelow(i32, &'a str),
    /// connect(descriptor, 127.0.0.1:1).
    Connect(i32),
    /// execve(path).
    Run(&'a str),
    /// clone without CLONE_THREAD: a process. The kernel answers EINVAL, because the flags contradict each other.
    Fork,
}

impl Planted<'_> {
    /// Number, arguments and the bytes to which an argument points. The address of the bytes is `at`.
    fn encode(self, at: u64) -> (i64, [u64; 3], Vec<u8>) {
        let text = |path: &str| [path.as_bytes(), b"\0"].concat();
        match self {
            Self::Open(path) => (libc::SYS_open, [at, 0, 0], text(path)),
            Self::OpenAt(path) => (libc::SYS_openat, [AT_FDCWD, at, 0], text(path)),
            Self::OpenBelow(file, path) => (libc::SYS_openat, [file as u64, at, 0], text(path)),
            Self::Connect(socket) => {
                let address = [2, 0, 0, 1, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
                (libc::SYS_connect, [socket as u64, at, 16], address.into())
            }
            Self::Run(path) => (libc::SYS_execve, [at, 0, 0], text(path)),
            Self::Fork => (
                libc::SYS_clone,
                [libc::CLONE_SIGHAND as u64, 0, 0],
                Vec::new(),
            ),
        }
    }
}

/// A traced process.
#[derive(Debug)]
pub struct Traced(Pid);

impl Traced {
    /// Attaches to the process.
    pub fn attach(pid: u32) -> Result<Self> {
        let pid = Pid::from_raw(pid.try_into()?);
        ptrace::seize(pid, Options::PTRACE_O_TRACESYSGOOD).context("cannot attach")?;
        ptrace::interrupt(pid)?;
        waitpid(pid, None)?;
        Ok(Self(pid))
    }

    /// Lets the process run to its next stop at a system call.
    fn next_stop(&self) -> Result<()> {
        let start = Instant::now();
        let mut signal = None;
        loop {
            ptrace::syscall(self.0, signal.take())?;
            let status = loop {
                match waitpid(self.0, Some(WaitPidFlag::WNOHANG))? {
                    WaitStatus::StillAlive => {
                        ensure!(start.elapsed() < TIME_MAX, "no system call in {TIME_MAX:?}");
                        sleep(Duration::from_millis(1));
                    }
                    status => break status,
                }
            };
            match status {
                WaitStatus::PtraceSyscall(_) => return Ok(()),
                WaitStatus::Stopped(_, stop) => signal = Some(stop),
                WaitStatus::PtraceEvent(..) => {}
                status => bail!("the process ended: {status:?}"),
            }
        }
    }

    /// Waits until the process makes one of `calls`, makes it issue the planted call instead, and returns that call's result.
    /// Afterwards the process makes its own call.
    pub fn plant(&self, calls: &[i64], planted: Planted<'_>) -> Result<Result<i64, Errno>> {
        let own = loop {
            self.next_stop()?;
            let registers = ptrace::getregs(self.0)?;
            // At the start of a call, rax has -ENOSYS.
            let begins = registers.rax as i64 == -i64::from(libc::ENOSYS);
            if begins && calls.contains(&(registers.orig_rax as i64)) {
                break registers;
            }
        };
        let at = (own.rsp - RED_ZONE - 512) & !15;
        let (number, [first, second, third], bytes) = planted.encode(at);
        let mut before = vec![0; bytes.len()];
        let there = [RemoteIoVec {
            base: at.try_into()?,
            len: bytes.len(),
        }];
        process_vm_readv(self.0, &mut [IoSliceMut::new(&mut before)], &there)?;
        process_vm_writev(self.0, &[IoSlice::new(&bytes)], &there)?;
        ptrace::setregs(
            self.0,
            user_regs_struct {
                orig_rax: number as u64,
                rdi: first,
                rsi: second,
                rdx: third,
                r10: 0,
                ..own
            },
        )?;
        self.next_stop()?;
        let result = ptrace::getregs(self.0)?.rax as i64;
        process_vm_writev(self.0, &[IoSlice::new(&before)], &there)?;
        // Back to the instruction `syscall`, with the process's own call.
        ptrace::setregs(
            self.0,
            user_regs_struct {
                rax: own.orig_rax,
                orig_rax: u64::MAX,
                rip: own.rip - 2,
                ..own
            },
        )?;
        Ok(match i32::try_from(result) {
            Ok(errno @ -4095..=-1) => Err(Errno::from_raw(-errno)),
            _ => Ok(result),
        })
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // Fails if the process has ended.
        let _ = ptrace::detach(self.0, None);
    }
}
