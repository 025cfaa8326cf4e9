//! An sftp-server that was started: over what, its ends of the wire, what it said, what it costs, and its end.
//!
//! The environment variable STOWAWAY_SFTP names another server with OpenSSH's command line, to see what that one does.

use crate::build::Arch;
use crate::machines::server::{
    Said, binary, cpu_ticks, emulation, fd_count, public_dir, runnable, status_field,
};
use anyhow::{Context, Result, bail};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, Shutdown, SockFlag, SockType, shutdown, socketpair};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::Pid;
use std::io::pipe;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a server may take to end when it should.
const END_MAX: Duration = Duration::from_secs(10);

/// What the server's stdin and stdout are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wire {
    /// Two pipes, as dropbear gives them.
    #[default]
    Pipes,
    /// One socket for both, as sshd gives it.
    SocketPair,
    /// A terminal for both, in raw mode.
    Pty,
}

impl Wire {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pipes, Self::SocketPair, Self::Pty];
}

/// Which file is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// The built one, with the role as its first word.
    Stowaway(Arch),
    /// Another sftp-server, by its path.
    Other(PathBuf),
}

/// What to start and how; `..Default::default()` is the built file, over pipes, without arguments.
#[derive(Clone, Debug)]
pub struct SftpOptions {
    pub program: Program,
    pub wire: Wire,
    /// What follows the role.
    pub arguments: Vec<String>,
    /// Where it starts; None is where we are.
    pub directory: Option<PathBuf>,
    /// All of its environment; None is ours.
    pub environment: Option<Vec<(String, String)>>,
    /// Start as this user and group, a copy of the file.
    pub user: Option<u32>,
    /// A command that ends by exec-ing its arguments, e.g. `strace -o FILE`.
    pub through: Vec<String>,
}

impl Default for SftpOptions {
    fn default() -> Self {
        Self {
            program: match std::env::var_os("STOWAWAY_SFTP") {
                Some(path) => Program::Other(path.into()),
                None => Program::Stowaway(Arch::X86_64),
            },
            wire: Wire::Pipes,
            arguments: Vec::new(),
            directory: None,
            environment: None,
            user: None,
            through: Vec::new(),
        }
    }
}

impl SftpOptions {
    /// Starts in `directory`, which relative paths begin at.
    pub fn at(directory: &Path) -> Self {
        Self {
            directory: Some(directory.into()),
            ..Self::default()
        }
    }

    /// More arguments.
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&a| a.into()));
        self
    }

    /// Only what `directory` holds, shown as `/`.
    pub fn jailed(directory: &Path) -> Self {
        Self::default().with(&["--jail", &directory.display().to_string()])
    }

    /// In `directory`, or with a jail around it.
    pub fn serving(directory: &Path, jailed: bool) -> Self {
        if jailed {
            Self::jailed(directory)
        } else {
            Self::at(directory)
        }
    }

    /// Over another wire.
    pub fn over(self, wire: Wire) -> Self {
        Self { wire, ..self }
    }

    /// Ours as another processor runs it, unless another server stands in for it.
    pub fn by(mut self, arch: Arch) -> Self {
        if let Program::Stowaway(of) = &mut self.program {
            *of = arch;
        }
        self
    }

    /// By way of a line of shell that ends by exec-ing `"$@"`.
    pub fn after(self, script: &str) -> Self {
        Self {
            through: ["sh", "-c", script, "sh"].map(String::from).into(),
            ..self
        }
    }

    fn command(&self, private: Option<&Path>) -> Result<Command> {
        let (mut file, role, arch) = match &self.program {
            Program::Stowaway(arch) => (runnable(*arch)?, Some("sftp-server"), *arch),
            Program::Other(path) => (path.clone(), None, Arch::X86_64),
        };
        if let Some(private) = private {
            if role.is_some() {
                file = binary(arch)?;
            }
            // Another user may not reach the directory that the project lies in.
            file = emulation::copy(&file, &private.join("stowaway"), arch)?;
        }
        let mut words = self.through.clone();
        words.push(file.display().to_string());
        words.extend(role.map(str::to_owned));
        words.extend(self.arguments.iter().cloned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stderr(Stdio::piped());
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        if let Some(environment) = &self.environment {
            command.env_clear().envs(environment.iter().cloned());
        }
        if let Some(id) = self.user {
            command.uid(id).gid(id);
        }
        Ok(command)
    }
}

/// Our ends of the wire. Both are nonblocking.
pub(super) struct Ends {
    /// Where requests go; None when we have said all.
    pub(super) input: Option<OwnedFd>,
    /// Where answers come from; None when we hear no more.
    pub(super) output: Option<OwnedFd>,
    wire: Wire,
}

impl Ends {
    /// Ours, and the server's stdin and stdout.
    fn new(wire: Wire) -> Result<(Self, OwnedFd, OwnedFd)> {
        let (input, output, stdin, stdout): (OwnedFd, OwnedFd, OwnedFd, OwnedFd) = match wire {
            Wire::Pipes => {
                let (stdin, input) = pipe()?;
                let (output, stdout) = pipe()?;
                (input.into(), output.into(), stdin.into(), stdout.into())
            }
            Wire::SocketPair => {
                let (ours, theirs) = socketpair(
                    AddressFamily::Unix,
                    SockType::Stream,
                    None,
                    SockFlag::SOCK_CLOEXEC,
                )?;
                (ours.try_clone()?, ours, theirs.try_clone()?, theirs)
            }
            Wire::Pty => {
                let pty = openpty(None, None).context("cannot make a terminal")?;
                let mut mode = tcgetattr(&pty.slave)?;
                cfmakeraw(&mut mode);
                tcsetattr(&pty.slave, SetArg::TCSANOW, &mode)?;
                // openpty leaves them open for every child.
                let master = pty.master.try_clone()?;
                let slave = pty.slave.try_clone()?;
                (master.try_clone()?, master, slave.try_clone()?, slave)
            }
        };
        for end in [&input, &output] {
            fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        let ends = Self {
            input: Some(input),
            output: Some(output),
            wire,
        };
        Ok((ends, stdin, stdout))
    }

    /// Says that nothing more comes. A terminal can only be hung up.
    pub(super) fn close_input(&mut self) {
        let Some(input) = self.input.take() else {
            return;
        };
        match self.wire {
            // The other end may be gone already.
            Wire::SocketPair => drop(shutdown(input.as_raw_fd(), Shutdown::Write)),
            Wire::Pty => self.output = None,
            Wire::Pipes => {}
        }
    }
}

/// A running server without its wire. Dropping it kills it.
pub struct Process {
    child: Child,
    said: Arc<Said>,
    /// Where the copy for another user lies.
    _private: Option<TempDir>,
}

impl Process {
    pub(super) fn start(options: &SftpOptions) -> Result<(Self, Ends)> {
        let private = options.user.map(|_| public_dir()).transpose()?;
        let (ends, stdin, stdout) = Ends::new(options.wire)?;
        let mut command = options.command(private.as_ref().map(TempDir::path))?;
        command.stdin(stdin).stdout(stdout);
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let said = Arc::new(Said::default());
        said.clone()
            .read(child.stderr.take().context("the server has no stderr")?);
        let process = Self {
            child,
            said,
            _private: private,
        };
        Ok((process, ends))
    }

    /// The process id, which stays the same through `SftpOptions::through` if that command execs.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to stderr so far, a line each.
    pub fn lines(&self) -> Vec<String> {
        self.said.so_far()
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.pid().try_into()?), signal)
            .with_context(|| format!("cannot send {signal} to the server"))
    }

    /// Resident memory (VmRSS) in KiB.
    pub fn rss_kib(&self) -> Result<u64> {
        status_field(self.pid(), "VmRSS")
    }

    /// Resident memory that is no file's (RssAnon) in KiB.
    pub fn anonymous_kib(&self) -> Result<u64> {
        status_field(self.pid(), "RssAnon")
    }

    /// Open descriptors.
    pub fn fd_count(&self) -> Result<usize> {
        fd_count(self.pid())
    }

    /// CPU time in user and kernel mode so far, in clock ticks (10 ms on Linux).
    pub fn cpu_ticks(&self) -> Result<u64> {
        cpu_ticks(self.pid())
    }

    /// Waits for its end, ten seconds at most, and for its last words.
    pub fn wait(&mut self) -> Result<Ended> {
        let end = Instant::now() + END_MAX;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() > end {
                bail!(
                    "the server did not end within {END_MAX:?}; it said:\n{}",
                    self.lines().join("\n")
                );
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        self.said.to_the_end(END_MAX);
        Ok(Ended {
            status,
            lines: self.lines(),
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it has been waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a server ended.
#[derive(Clone, Debug)]
pub struct Ended {
    pub status: ExitStatus,
    /// All that it wrote to stderr.
    pub lines: Vec<String>,
}

impl Ended {
    /// The exit code; None when a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Ended because nobody is at the other end: without a word, by itself or by the signal for it.
    pub fn is_for_want_of_a_client(&self, wire: Wire) -> bool {
        /// Of a packet that is none, as OpenSSH's.
        const MALFORMED: i32 = 11;
        let signals = [Signal::SIGHUP, Signal::SIGPIPE].map(|signal| Some(signal as i32));
        // The kernel drops what is buffered when a terminal's other end closes, and may still deliver what came behind it: then
        // the session goes on in the middle of a packet.
        let is_cut = wire == Wire::Pty && self.code() == Some(MALFORMED);
        let is_quiet = self.code() == Some(0) || signals.contains(&self.status.signal());
        is_cut || (self.lines.is_empty() && is_quiet)
    }
}
