//! A program of the host that is run again and again, once at a time and never by a shell.

#![forbid(unsafe_code)]

use crate::sys::Errno;
use crate::sys::linux::fs::File;
use crate::sys::linux::process::{self, Child};
use core::ffi::CStr;
use rustix::fs::{Access, OFlags};

/// How a program has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// With status 0.
    Well,
    /// With another status, or by a signal.
    Badly,
    /// It could not be run at all.
    NotRun,
}

/// A program, and whether it runs.
#[derive(Debug)]
pub struct Program {
    path: &'static CStr,
    child: Option<Child>,
}

impl Program {
    /// The program at `path`; `None`: there is none that this user may run.
    pub fn new(path: &'static CStr) -> Option<Self> {
        let is_dir = File::open::<Errno>(path, OFlags::PATH | OFlags::DIRECTORY, 0).is_ok();
        let may_run = !is_dir && rustix::fs::access(path, Access::EXEC_OK).is_ok();
        may_run.then_some(Self { path, child: None })
    }

    /// Its path.
    pub const fn path(&self) -> &'static CStr {
        self.path
    }

    /// Whether it runs.
    pub const fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Runs it without arguments. Its environment is that of this process and `more`, strings with a NUL behind each, which count
    /// instead of those of the process that begin with `but`. False: the host has no process left.
    pub fn start(&mut self, more: &[u8], but: &[u8]) -> bool {
        self.child = process::start(self.path, more, but).ok();
        self.child.is_some()
    }

    /// How it has ended, once, if it was running.
    pub fn ended(&mut self) -> Option<Ended> {
        let status = process::reap(self.child?)?;
        self.child = None;
        Some(match status {
            0 => Ended::Well,
            process::CANNOT_RUN => Ended::NotRun,
            _ => Ended::Badly,
        })
    }
}
