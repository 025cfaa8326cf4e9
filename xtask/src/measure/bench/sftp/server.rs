//! A server process with one session, started as by sshd (over a socketpair) or by dropbear (over pipes).

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::session::Session;
use crate::machines::server::Process;
use crate::measure::bench::load::Load;
use crate::measure::bench::workspace::Workspace;

/// Connection between a server and the SSH daemon that starts it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Socketpair,
    Pipes,
}

impl Transport {
    /// All transports.
    pub const ALL: [Self; 2] = [Self::Socketpair, Self::Pipes];

    /// Name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Socketpair => "socketpair",
            Self::Pipes => "pipes",
        }
    }
}

/// A server's program.
#[derive(Clone)]
pub struct Program {
    /// Name in tables.
    pub name: &'static str,
    /// Path of the program, or of a link to it, with the file name `sftp-server`.
    pub path: PathBuf,
}

impl Program {
    /// Makes a link named `sftp-server` to `file`, because stowaway is an SFTP server if started by that name.
    pub fn new(name: &'static str, file: &Path, workspace: &Workspace) -> Result<Self> {
        let file = file
            .canonicalize()
            .with_context(|| format!("cannot find {}", file.display()))?;
        let directory = workspace.scratch_path(name);
        std::fs::create_dir(&directory)?;
        let path = directory.join("sftp-server");
        symlink(file, &path)?;
        Ok(Self { name, path })
    }
}

/// A running server.
pub struct Server {
    pub load: Load<Session>,
    process: Process,
}

impl Server {
    /// Starts a server. INIT is not yet sent.
    pub fn start(program: &Program, transport: Transport) -> Result<Self> {
        let (to, from, stdin, stdout): (OwnedFd, OwnedFd, OwnedFd, OwnedFd) = match transport {
            Transport::Socketpair => {
                let (ours, theirs) = UnixStream::pair()?;
                let (from, stdout) = (ours.try_clone()?, theirs.try_clone()?);
                (ours.into(), from.into(), theirs.into(), stdout.into())
            }
            Transport::Pipes => {
                let (stdin, to) = std::io::pipe()?;
                let (from, stdout) = std::io::pipe()?;
                (to.into(), from.into(), stdin.into(), stdout.into())
            }
        };
        let process = Process::start(
            Command::new(&program.path)
                // cargo sets this. The dynamic linker would search these directories first, which would slow the start.
                .env_remove("LD_LIBRARY_PATH")
                .stdin(stdin)
                .stdout(stdout),
        )?;
        let load = Load::new(Session, File::from(to), File::from(from))?;
        Ok(Self { load, process })
    }

    /// Process id of the server.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Ends the session by closing the connection, as a daemon does if its client has left. The server must exit with status 0.
    pub fn stop(self) -> Result<()> {
        const WAIT_MAX: Duration = Duration::from_secs(10);
        let Self { load, mut process } = self;
        drop(load);
        let status = process.wait(WAIT_MAX)?;
        ensure!(status.success(), "the server ended with {status}");
        Ok(())
    }
}
