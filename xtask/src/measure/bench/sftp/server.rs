//! A server process with a session, as sshd (a socketpair) or dropbear (pipes) starts it.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::session::Session;
use crate::machines::wait_for;
use crate::measure::bench::Killed;
use crate::measure::bench::ground::Ground;
use crate::measure::bench::load::Load;

/// What connects a server with the daemon that starts it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Socketpair,
    Pipes,
}

impl Transport {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Socketpair, Self::Pipes];

    /// For tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Socketpair => "socketpair",
            Self::Pipes => "pipes",
        }
    }
}

/// How a server is started.
#[derive(Clone)]
pub struct Program {
    /// Who it is, for tables.
    pub name: &'static str,
    /// Its file; the last name in this path is `sftp-server`.
    pub path: PathBuf,
}

impl Program {
    /// What is called `sftp-server` is one: our file knows its role by that name.
    pub fn new(name: &'static str, file: &Path, ground: &Ground) -> Result<Self> {
        let file = file
            .canonicalize()
            .with_context(|| format!("there is no {}", file.display()))?;
        let directory = ground.beside(name);
        std::fs::create_dir(&directory)?;
        let path = directory.join("sftp-server");
        symlink(file, &path)?;
        Ok(Self { name, path })
    }
}

/// A running one.
pub struct Server {
    pub load: Load<Session>,
    process: Killed,
}

impl Server {
    /// Starts it; the session has not begun.
    pub fn start(program: &Program, transport: Transport) -> Result<Self> {
        Self::spawn(Command::new(&program.path), transport)
            .with_context(|| format!("cannot start {}", program.path.display()))
    }

    /// Starts it under strace, which writes every call to `trace`, one line each.
    pub fn traced(program: &Program, arguments: &[OsString], trace: &Path) -> Result<Self> {
        let mut command = Command::new("strace");
        command
            .args(["-f", "-qq", "-o"])
            .arg(trace)
            .arg(&program.path)
            .args(arguments);
        Self::spawn(command, Transport::Socketpair).context("cannot start strace")
    }

    fn spawn(mut command: Command, transport: Transport) -> Result<Self> {
        let (to, from, stdin, stdout): (OwnedFd, OwnedFd, OwnedFd, OwnedFd) = match transport {
            Transport::Socketpair => {
                let (ours, theirs) = UnixStream::pair()?;
                let (again, also) = (ours.try_clone()?, theirs.try_clone()?);
                (ours.into(), again.into(), theirs.into(), also.into())
            }
            Transport::Pipes => {
                let (stdin, to) = std::io::pipe()?;
                let (from, stdout) = std::io::pipe()?;
                (to.into(), from.into(), stdin.into(), stdout.into())
            }
        };
        command
            // From cargo: a peer's linker would look for every library there first, which no daemon has it do.
            .env_remove("LD_LIBRARY_PATH")
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::from(stdout));
        let process = Killed(command.spawn()?);
        let load = Load::new(Session, File::from(to), File::from(from))?;
        Ok(Self { load, process })
    }

    /// Its process; with strace, that of strace.
    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// Ends the session as a daemon does whose client is gone. The server must end well.
    pub fn end(self) -> Result<()> {
        const WAIT_MAX: Duration = Duration::from_secs(10);
        let Self { load, mut process } = self;
        drop(load);
        let status = wait_for(WAIT_MAX, || Ok(process.0.try_wait()?))?;
        let status = status.context("the server does not end with its session")?;
        ensure!(status.success(), "the server ended with {status}");
        Ok(())
    }
}
