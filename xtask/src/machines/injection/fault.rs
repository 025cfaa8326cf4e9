//! Programs whose system calls are suspended, counted, and of which one is disturbed.
//!
//! Uses of a call are counted in each thread, so the second use is the second one of each thread that makes two.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fmt;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::{self, seccomp_notif};
use serde::Deserialize;
use syscalls::Sysno;

use crate::machines::lockdown::filter;
use crate::machines::lockdown::listener::Listener;
use crate::machines::workshop;

/// The result of a disturbed system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The call fails with this errno.
    Errno(&'static str),
    /// The call does nothing and returns 0.
    NoEffect,
}

impl Fault {
    pub const ALL: [Self; 7] = [
        Self::Errno("EPERM"),
        Self::Errno("ENOSYS"),
        Self::Errno("EINTR"),
        Self::Errno("EAGAIN"),
        Self::Errno("ENOMEM"),
        Self::Errno("EIO"),
        Self::NoEffect,
    ];

    /// The errno; 0: the call does nothing.
    fn errno(self) -> i32 {
        match self {
            Self::NoEffect => 0,
            Self::Errno("EPERM") => libc::EPERM,
            Self::Errno("EINTR") => libc::EINTR,
            Self::Errno("EAGAIN") => libc::EAGAIN,
            Self::Errno("ENOMEM") => libc::ENOMEM,
            Self::Errno("EIO") => libc::EIO,
            Self::Errno(_) => libc::ENOSYS,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Errno(name) => f.write_str(name),
            Self::NoEffect => f.write_str("no effect"),
        }
    }
}

/// The uses of a call that are disturbed.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Use {
    First,
    Second,
    Last,
}

impl Use {
    pub const ALL: [Self; 3] = [Self::First, Self::Second, Self::Last];

    /// The number of the use among `count`. None if it is that of another variant.
    pub(super) fn number(self, count: usize) -> Option<usize> {
        match self {
            Self::First => Some(1),
            Self::Second => (count >= 2).then_some(2),
            Self::Last => (count >= 3).then_some(count),
        }
    }
}

/// The use of a system call that is disturbed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disturbance {
    /// The name of the call.
    pub call: String,
    /// The number of the use in its thread; the first is 1.
    pub use_number: usize,
    pub fault: Fault,
}

/// The calls of a program and its children.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// For each call, the uses in the thread that makes most of them. With a disturbance, that of its call only.
    pub uses: BTreeMap<String, usize>,
    /// True if a call was disturbed.
    pub is_disturbed: bool,
    /// The uses in each thread, by its id.
    threads: HashMap<(u32, &'static str), usize>,
    /// True once the program was started.
    has_begun: bool,
}

impl Trace {
    /// Counts a call. Returns its errno if it is disturbed.
    fn add(&mut self, call: &seccomp_notif, disturbance: Option<&Disturbance>) -> Option<i32> {
        self.has_begun |= i64::from(call.data.nr) == libc::SYS_execve;
        let name = Sysno::new(call.data.nr as usize)
            .filter(|_| self.has_begun)?
            .name();
        let count = self.threads.entry((call.pid, name)).or_default();
        *count += 1;
        let most = self.uses.entry(name.to_owned()).or_default();
        *most = (*most).max(*count);
        let is_it = |it: &&Disturbance| it.call == name && it.use_number == *count;
        let errno = disturbance.filter(is_it).map(|it| it.fault.errno());
        self.is_disturbed |= errno.is_some();
        errno
    }
}

/// Decides the calls of one program.
pub(super) struct Injector {
    socket: PathBuf,
    call: Option<String>,
    trace: Arc<Mutex<Trace>>,
}

impl Injector {
    /// Waits for a program on a socket in `directory`.
    pub(super) fn new(directory: &Path, disturbance: Option<&Disturbance>) -> Result<Self> {
        let socket = directory.join("calls");
        let listener = UnixListener::bind(&socket).context("cannot listen for calls")?;
        let trace = Arc::new(Mutex::new(Trace::default()));
        let injector = Self {
            socket,
            call: disturbance.map(|it| it.call.clone()),
            trace: trace.clone(),
        };
        let disturbance = disturbance.cloned();
        std::thread::spawn(move || -> Result<()> {
            let (stream, _) = listener.accept()?;
            Listener::receive(&stream)?.serve(|call| {
                let mut trace = trace.lock().unwrap_or_else(PoisonError::into_inner);
                trace.add(call, disturbance.as_ref())
            })
        });
        Ok(injector)
    }

    /// Words that precede the program's.
    pub(super) fn wrapper(&self) -> Result<Vec<String>> {
        let socket = self.socket.display().to_string();
        let mut words = vec![workshop()?.display().to_string(), "suspend".into(), socket];
        if let Some(call) = &self.call {
            words.extend(["--call".into(), call.clone()]);
        }
        words.push("--".into());
        Ok(words)
    }

    /// The calls until now.
    pub(super) fn trace(&self) -> Trace {
        self.trace
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// A command whose calls the holder of a socket decides.
#[derive(clap::Args)]
pub struct Suspended {
    socket: PathBuf,
    /// Only this call
    #[arg(long)]
    call: Option<String>,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

impl Suspended {
    /// Replaces this process by the command.
    pub fn exec(self) -> Result<()> {
        /// A descriptor that no program uses.
        const SENDER: i32 = 1000;
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]);
        let stream = UnixStream::connect(&self.socket).context("nobody decides calls")?;
        let stream = UnixStream::from(duplicate(&stream, SENDER)?);
        let number = self
            .call
            .map(|name| name.parse::<Sysno>().ok().context("no such call"));
        let number = number.transpose()?.map(|call| call as u32);
        let program = filter::suspend_uses(number, SENDER.cast_unsigned());
        // A signal does not interrupt a suspended call, which would be counted twice.
        let flags = libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
        Listener::install(program, flags)?.send(&stream)?;
        Err(command.exec()).context("cannot start the program")
    }
}

/// Duplicates a socket to the descriptor `number`.
#[allow(unsafe_code)]
fn duplicate(stream: &UnixStream, number: i32) -> Result<OwnedFd> {
    let descriptor = fcntl(stream, FcntlArg::F_DUPFD_CLOEXEC(number))?;
    anyhow::ensure!(descriptor == number, "descriptor {number} is in use");
    // SAFETY: the kernel has just opened the descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
