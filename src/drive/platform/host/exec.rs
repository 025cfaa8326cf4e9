//! A program that is run repeatedly, one process at a time, without a shell.

#![forbid(unsafe_code)]

use crate::sys::Errno;
use crate::sys::linux::fs::File;
use crate::sys::linux::process::{self, Child};
use core::ffi::CStr;
use rustix::fs::{Access, OFlags};

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

/// A program and its process, if one is running.
#[derive(Debug)]
pub struct Program {
    path: &'static CStr,
    child: Option<Child>,
}

impl Program {
    /// The program at `path`. `None`: not an executable file, or access(2) denies execution.
    pub fn new(path: &'static CStr) -> Option<Self> {
        let is_dir = File::open::<Errno>(path, OFlags::PATH | OFlags::DIRECTORY, 0).is_ok();
        let may_run = !is_dir && rustix::fs::access(path, Access::EXEC_OK).is_ok();
        may_run.then_some(Self { path, child: None })
    }

    /// The program's path.
    pub const fn path(&self) -> &'static CStr {
        self.path
    }

    /// Returns true if the program is running.
    pub const fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Starts the program without arguments. Its environment is `more` (NUL-terminated strings), then this process's environment
    /// except the strings that begin with `but`. Returns false if fork failed.
    pub fn start(&mut self, more: &[u8], but: &[u8]) -> bool {
        self.child = process::start(self.path, more, but).ok();
        self.child.is_some()
    }

    /// Returns the result once after each run; `None` while the program runs or was not started.
    pub fn ended(&mut self) -> Option<RunResult> {
        let status = process::reap(self.child?)?;
        self.child = None;
        Some(match status {
            0 => RunResult::Well,
            process::CANNOT_RUN => RunResult::NotRun,
            _ => RunResult::Badly,
        })
    }
}
