//! A program that is run repeatedly, in a bounded number of processes, without a shell.

#![forbid(unsafe_code)]

use crate::sys::Errno;
use crate::sys::linux::fs::File;
use crate::sys::linux::process::{self, Child};
use core::ffi::CStr;
use rustix::fs::{Access, OFlags};

/// The shell of a host.
pub const SHELL: &CStr = c"/bin/sh";
/// Limit of its arguments.
pub const SHELL_WORD_COUNT_MAX: usize = process::ARGUMENT_COUNT_MAX - 1;

/// The name by which this process was started.
pub fn program_name() -> &'static CStr {
    crate::sys::linux::program_name()
}

/// Replaces this process by the shell with the arguments `words`. Returns only if execve fails, with its error.
pub fn become_shell(words: &[&CStr]) -> Errno {
    // No variable begins with "=": the shell gets all.
    process::become_program(SHELL, words, b"", b"=")
}

/// Result of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RunResult {
    /// Exit status 0.
    Well,
    /// Another exit status, or killed by a signal.
    Badly,
    /// execve failed.
    NotRun,
}

/// Limit of processes that run at a time.
pub const PROCESS_COUNT_MAX: usize = 64;

/// A program and its running processes.
#[derive(Debug)]
pub struct Program {
    path: &'static CStr,
    /// Each process with the key that it was started for.
    children: heapless::Vec<(Child, usize), PROCESS_COUNT_MAX>,
}

impl Program {
    /// The program at `path`. `None`: not an executable file, or access(2) denies execution.
    pub fn new(path: &'static CStr) -> Option<Self> {
        let is_dir = File::open::<Errno>(path, OFlags::PATH | OFlags::DIRECTORY, 0).is_ok();
        let may_run = !is_dir && rustix::fs::access(path, Access::EXEC_OK).is_ok();
        may_run.then_some(Self {
            path,
            children: heapless::Vec::new(),
        })
    }

    /// The program's path.
    pub const fn path(&self) -> &'static CStr {
        self.path
    }

    /// Returns the number of running processes.
    pub fn count(&self) -> usize {
        self.children.len()
    }

    /// Returns true if a process that was started for `key` is running.
    pub fn is_running(&self, key: usize) -> bool {
        self.children.iter().any(|(_, of)| *of == key)
    }

    /// Starts the program for `key`, without arguments. Its environment is `more` (NUL-terminated strings), then this process's
    /// environment except the strings that begin with `but`. Returns false if fork failed. The caller starts at most
    /// [`PROCESS_COUNT_MAX`] processes at a time.
    pub fn start(&mut self, key: usize, more: &[u8], but: &[u8]) -> bool {
        let child = process::start(self.path, more, but);
        child.is_ok_and(|child| self.children.push((child, key)).is_ok())
    }

    /// Returns the result of a process that has ended, once for each; `None` while all others run.
    pub fn ended(&mut self) -> Option<RunResult> {
        loop {
            let (ended, status) = process::reap_any(false)?;
            let index = self.children.iter().position(|(child, _)| *child == ended);
            // Children that another program left to this process are reaped, too.
            let Some(index) = index else {
                continue;
            };
            self.children.swap_remove(index);
            return Some(match status {
                0 => RunResult::Well,
                process::CANNOT_RUN => RunResult::NotRun,
                _ => RunResult::Badly,
            });
        }
    }
}
