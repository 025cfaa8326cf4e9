//! The start of an sftp-server, the connection's ends, and the server's end.
//!
//! The environment variable STOWAWAY_SFTP names another server with OpenSSH's command line, to compare behaviour.

use super::TIME_MAX;
use crate::build::Arch;
use crate::machines::server::{Process, binary, emulation, public_dir, runnable};
use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::openpty;
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, Shutdown, SockFlag, SockType, shutdown, socketpair};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use std::io::pipe;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use tempfile::TempDir;

/// The type of the server's stdin and stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wire {
    /// Two pipes, one for each direction, as dropbear creates.
    #[default]
    Pipes,
    /// One socket for stdin and stdout, as sshd creates.
    SocketPair,
    /// One pseudoterminal in raw mode for stdin and stdout.
    Pty,
    /// A connection to a server that listens at a Unix socket.
    Listener,
}

impl Wire {
    /// The types of stdin and stdout.
    pub const ALL: [Self; 3] = [Self::Pipes, Self::SocketPair, Self::Pty];
}

/// The program to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// The built file, with its role as the first argument.
    Stowaway(Arch),
    /// Another sftp-server, by its path.
    Other(PathBuf),
}

/// Start options of an SFTP server. By default the built file is started over pipes, without arguments.
#[derive(Clone, Debug)]
pub struct SftpOptions {
    pub program: Program,
    pub wire: Wire,
    /// Arguments after the role.
    pub arguments: Vec<String>,
    /// The working directory; None: that of this process.
    pub directory: Option<PathBuf>,
    /// The whole environment; None: that of this process.
    pub environment: Option<Vec<(String, String)>>,
    /// UID and GID to start the server with; it then runs a copy of the file. None: the user of this process.
    pub user: Option<u32>,
    /// A command that precedes the server's and execs it, e.g. `strace -o FILE`.
    pub wrapper: Vec<String>,
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
            wrapper: Vec::new(),
        }
    }
}

impl SftpOptions {
    /// Options with `directory` as the working directory, at which relative paths start.
    pub fn in_directory(directory: &Path) -> Self {
        Self {
            directory: Some(directory.into()),
            ..Self::default()
        }
    }

    /// Appends arguments.
    pub fn with_arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&a| a.into()));
        self
    }

    /// Options with `--jail`: clients see `directory` as `/`.
    pub fn jailed(directory: &Path) -> Self {
        Self::default().with_arguments(&["--jail", &directory.display().to_string()])
    }

    /// Options to serve `directory`, either as a jail or as the working directory.
    pub fn serving(directory: &Path, jailed: bool) -> Self {
        if jailed {
            Self::jailed(directory)
        } else {
            Self::in_directory(directory)
        }
    }

    /// Sets the type of the server's stdin and stdout.
    pub fn with_wire(self, wire: Wire) -> Self {
        Self { wire, ..self }
    }

    /// Sets the architecture of stowaway. Does nothing if `program` is another server.
    pub fn with_arch(mut self, arch: Arch) -> Self {
        if let Program::Stowaway(program_arch) = &mut self.program {
            *program_arch = arch;
        }
        self
    }

    /// Options to start the server from a shell script, which must end with `exec "$@"`.
    pub fn through_shell(self, script: &str) -> Self {
        Self {
            wrapper: ["sh", "-c", script, "sh"].map(String::from).into(),
            ..self
        }
    }

    /// Starts the server. Also returns the directory that contains the copy of the executable for another user.
    pub(super) fn start(&self) -> Result<(Process, ClientEnds, Option<TempDir>)> {
        if self.wire == Wire::Listener {
            return self.listen();
        }
        let private = self.user.map(|_| public_dir()).transpose()?;
        let (ends, stdin, stdout) = ClientEnds::new(self.wire)?;
        let mut command = self.command(private.as_ref().map(TempDir::path))?;
        let process = Process::start(command.stdin(stdin).stdout(stdout))?;
        Ok((process, ends, private))
    }

    /// Starts a listening server and connects to it.
    fn listen(&self) -> Result<(Process, ClientEnds, Option<TempDir>)> {
        let directory = public_dir()?;
        let socket = directory.path().join("socket");
        let options = self.clone();
        let options = options.with_arguments(&["--listen", &socket.display().to_string()]);
        let process = Process::start(&mut options.command(None)?)?;
        process.wait_for_line("listening on", TIME_MAX)?;
        let ours = UnixStream::connect(&socket)?;
        ours.set_nonblocking(true)?;
        let ends = ClientEnds {
            input: Some(ours.try_clone()?.into()),
            output: Some(ours.into()),
            wire: self.wire,
        };
        Ok((process, ends, Some(directory)))
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
            // Another user may not be able to enter the project's directory, so the file is copied.
            file = emulation::copy(&file, &private.join("stowaway"), arch)?;
        }
        let mut words = self.wrapper.clone();
        words.push(file.display().to_string());
        words.extend(role.map(str::to_owned));
        words.extend(self.arguments.iter().cloned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
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

/// The client's ends of the connection. Both are nonblocking.
pub(super) struct ClientEnds {
    /// Carries requests; None after it was closed.
    pub(super) input: Option<OwnedFd>,
    /// Carries replies; None after it was closed.
    pub(super) output: Option<OwnedFd>,
    wire: Wire,
}

impl ClientEnds {
    /// Creates the client's ends and the server's stdin and stdout.
    fn new(wire: Wire) -> Result<(Self, OwnedFd, OwnedFd)> {
        let (input, output, stdin, stdout): (OwnedFd, OwnedFd, OwnedFd, OwnedFd) = match wire {
            Wire::Pipes => {
                let (stdin, input) = pipe()?;
                let (output, stdout) = pipe()?;
                (input.into(), output.into(), stdin.into(), stdout.into())
            }
            Wire::SocketPair | Wire::Listener => {
                let (ours, theirs) = socketpair(
                    AddressFamily::Unix,
                    SockType::Stream,
                    None,
                    SockFlag::SOCK_CLOEXEC,
                )?;
                (ours.try_clone()?, ours, theirs.try_clone()?, theirs)
            }
            Wire::Pty => {
                let pty = openpty(None, None).context("cannot create a pseudoterminal")?;
                let mut mode = tcgetattr(&pty.slave)?;
                cfmakeraw(&mut mode);
                tcsetattr(&pty.slave, SetArg::TCSANOW, &mode)?;
                // openpty does not set close-on-exec; on the cloned descriptors the flag is set.
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

    /// Closes the input. A terminal is hung up, which closes the output too.
    pub(super) fn close_input(&mut self) {
        let Some(input) = self.input.take() else {
            return;
        };
        match self.wire {
            // shutdown(2) fails if the server has already closed its end.
            Wire::SocketPair | Wire::Listener => drop(shutdown(input.as_raw_fd(), Shutdown::Write)),
            Wire::Pty => self.output = None,
            Wire::Pipes => {}
        }
    }
}

/// The end of a server: its exit status and its stderr.
#[derive(Clone, Debug)]
pub struct ServerExit {
    pub status: ExitStatus,
    /// All lines written to stderr.
    pub lines: Vec<String>,
}

impl ServerExit {
    /// The exit code; None if a signal ended the process.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Returns true if the server ended correctly after its client left: with an empty stderr, and with exit code 0 or by SIGHUP or
    /// SIGPIPE. After a hang-up of a terminal, exit code 11 is correct, too.
    pub fn is_client_gone(&self, wire: Wire) -> bool {
        /// Exit code after a malformed packet, as OpenSSH's.
        const MALFORMED: i32 = 11;
        let signals = [Signal::SIGHUP, Signal::SIGPIPE].map(|signal| Some(signal as i32));
        // When a terminal's other end closes, the kernel drops buffered data but may still deliver data sent later. The server then
        // reads from the middle of a packet and may find it malformed.
        let is_cut = wire == Wire::Pty && self.code() == Some(MALFORMED);
        let is_quiet = self.code() == Some(0) || signals.contains(&self.status.signal());
        is_cut || (self.lines.is_empty() && is_quiet)
    }
}
