//! sftp-server with other projects' clients: OpenSSH's sftp and scp, sshfs, rclone, lftp and paramiko, through sshd and dropbear.
//!
//! Most tests use a server that OpenSSH's client starts directly; tests that concern the daemon run with both daemons.
//! STOWAWAY_SFTP=/usr/lib/openssh/sftp-server runs all of them with OpenSSH's server, to compare.

mod batch;
mod copies;
mod exact;
mod jail;
mod listen;
mod listing;

mod local_time;
mod log_lines;
mod mounted;
mod paramiko;
mod programs;
mod same;
mod shell;

use anyhow::{Context, Result, ensure};
use cases::random::Random;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{chown, lchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use xtask::build::Arch;
use xtask::machines::server::{binary, emulation, public_dir, root_for, users};
use xtask::machines::sshd::{Daemon, Implementation, USER_ID};
use xtask::setup;

/// Path of OpenSSH's server.
const REFERENCE: &str = "/usr/lib/openssh/sftp-server";
/// Timeout (seconds) after which a client counts as hung.
const CLIENT_SECS_MAX: &str = "120";

/// A server that the client starts directly, with directories for the server and for the client, and the user of both.
struct Direct {
    directory: TempDir,
    user: Option<u32>,
}

impl Direct {
    /// Creates empty directories that belong to `user`; both programs run with this UID.
    fn new(arch: Arch, user: Option<u32>) -> Result<Self> {
        setup::install_packages(&["openssh-client"])?;
        let directory = public_dir()?;
        let direct = Self { directory, user };
        // The role follows from the file's name; in this directory, every user may execute the file.
        server(arch, &direct.server())?;
        for place in [direct.client_dir(), direct.server_dir()] {
            fs::create_dir(&place)?;
            chown(&place, user, user)?;
        }
        Ok(direct)
    }

    /// Runs `test` as root and as an ordinary user, and once for each other processor architecture.
    fn for_each_user(test: impl Fn(&Self) -> Result<()>) -> Result<()> {
        let mut worlds: Vec<_> = users().into_iter().map(|it| (Arch::X86_64, it)).collect();
        for arch in [Arch::I686, Arch::Aarch64, Arch::Armv7] {
            worlds.extend(users().last().map(|user| (arch, *user)));
        }
        for (arch, user) in worlds {
            test(&Self::new(arch, user)?)
                .with_context(|| format!("as {arch:?} and user {user:?}"))?;
        }
        Ok(())
    }

    fn server(&self) -> PathBuf {
        self.directory.path().join("sftp-server")
    }

    /// The client's directory.
    fn client_dir(&self) -> PathBuf {
        self.directory.path().join("here")
    }

    /// The server's directory.
    fn server_dir(&self) -> PathBuf {
        self.directory.path().join("there")
    }

    /// A command for a client program, run as `user`.
    fn program(&self, name: &str) -> Command {
        let mut command = program(name, &self.client_dir());
        if let Some(id) = self.user {
            command.uid(id).gid(id);
        }
        command
    }

    /// The command line that starts the server in its directory.
    fn command(&self) -> String {
        format!(
            "{} -d {}",
            self.server().display(),
            self.server_dir().display()
        )
    }

    /// Changes the owner of a file to `user`.
    fn set_owner(&self, path: &Path) -> Result<()> {
        lchown(path, self.user, self.user)
            .with_context(|| format!("cannot change the owner of {}", path.display()))
    }

    /// Runs commands of sftp that must all succeed; returns their output without the echoed commands.
    fn batch(&self, commands: &str) -> Result<String> {
        self.batch_by(&self.command(), &[], commands)
    }

    /// Like `batch`, with options of the server.
    fn batch_as(&self, options: &str, commands: &str) -> Result<String> {
        self.batch_by(&format!("{} {options}", self.command()), &[], commands)
    }

    /// Like `batch`, with another command for the server and with options of the client.
    fn batch_by(&self, server: &str, options: &[&str], commands: &str) -> Result<String> {
        let batch = batch_file(self.directory.path(), commands)?;
        let mut sftp = self.program("sftp");
        printed(sftp.args(options).args(["-D", server, "-b"]).arg(batch))
    }

    /// Runs a command of sftp that must fail with an error that ends with `why`.
    fn ensure_refused(&self, command: &str, why: &str) -> Result<()> {
        let Err(error) = self.batch(command) else {
            anyhow::bail!("{command} succeeded");
        };
        let message = format!("{error:#}");
        ensure!(
            message.trim_end().ends_with(why),
            "{command} was refused, but not with '{why}': {message}"
        );
        Ok(())
    }
}

/// A daemon that starts a copy of the server, and an empty directory for the client.
struct Remote {
    daemon: Daemon,
    client_dir: TempDir,
    _file: TempDir,
}

impl Remote {
    fn new(kind: Implementation, arch: Arch) -> Result<Self> {
        let file = public_dir()?;
        Ok(Self {
            daemon: Daemon::start(kind, &server(arch, &file.path().join("sftp-server"))?)?,
            client_dir: public_dir()?,
            _file: file,
        })
    }

    /// Runs `test` with both daemons, and for each other processor architecture with one of them.
    fn for_each_daemon(test: impl Fn(&Self) -> Result<()>) -> Result<()> {
        if !root_for("daemons") {
            return Ok(());
        }
        for (kind, arch) in [
            (Implementation::OpenSsh, Arch::X86_64),
            (Implementation::Dropbear, Arch::X86_64),
            (Implementation::Dropbear, Arch::I686),
            (Implementation::OpenSsh, Arch::Aarch64),
            (Implementation::Dropbear, Arch::Armv7),
        ] {
            Self::new(kind, arch)?
                .run(&test)
                .with_context(|| format!("through {kind:?} as {arch:?}"))?;
        }
        Ok(())
    }

    /// Runs `test`, and checks that the daemon has no session left.
    fn run(&self, test: impl Fn(&Self) -> Result<()>) -> Result<()> {
        test(self)
            .and_then(|()| self.daemon.wait_until_idle())
            .with_context(|| format!("the daemon said:\n{}", self.daemon.log()))
    }

    /// The client's directory.
    fn client_dir(&self) -> &Path {
        self.client_dir.path()
    }

    /// The server's directory: the user's home.
    fn server_dir(&self) -> PathBuf {
        self.daemon.home()
    }

    /// A command for one of OpenSSH's programs; any host name reaches the daemon.
    fn openssh(&self, name: &str) -> Command {
        let mut command = program(name, self.client_dir());
        command.arg("-F").arg(self.daemon.config());
        command
    }

    /// Runs commands of sftp that must all succeed; returns their output without the echoed commands.
    fn batch(&self, commands: &str) -> Result<String> {
        let mut sftp = self.openssh("sftp");
        sftp.arg("-b").arg(batch_file(self.client_dir(), commands)?);
        printed(sftp.arg("x"))
    }

    /// Creates a file in the user's home that belongs to the user.
    fn create_remote(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.server_dir().join(name);
        fs::write(&path, content)?;
        chown(path, Some(USER_ID), Some(USER_ID))?;
        Ok(())
    }
}

/// Copies the server under test to `path`.
fn server(arch: Arch, path: &Path) -> Result<PathBuf> {
    match std::env::var_os("STOWAWAY_SFTP") {
        Some(other) => emulation::copy(other.as_ref(), path, Arch::X86_64),
        None => emulation::copy(&binary(arch)?, path, arch),
    }
}

/// A command for a client that runs in `directory`, with a timeout, English messages and UTC.
fn program(name: &str, directory: &Path) -> Command {
    let mut command = Command::new("timeout");
    command
        .args(["--kill-after=5", CLIENT_SECS_MAX, name])
        .current_dir(directory)
        .env("HOME", directory)
        .env("LC_ALL", "C")
        .env("TZ", "UTC");
    command
}

/// Writes a batch file for sftp.
fn batch_file(directory: &Path, commands: &str) -> Result<PathBuf> {
    let path = directory.join("batch");
    fs::write(&path, commands).context("cannot write the commands")?;
    Ok(path)
}

/// Output of a batch without the echoed commands.
fn printed(sftp: &mut Command) -> Result<String> {
    let output = setup::run_captured(sftp)?;
    let lines = output.lines().filter(|line| !line.starts_with("sftp> "));
    Ok(lines.map(|line| format!("{line}\n")).collect())
}

/// Writes a file of `len` random bytes from `seed`.
fn create_file(path: &Path, seed: u64, len: usize) -> Result<()> {
    fs::write(path, Random::new(seed).bytes(len))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Checks that two files have the same bytes.
fn ensure_same(one: &Path, other: &Path) -> Result<()> {
    let open =
        |path: &Path| File::open(path).with_context(|| format!("cannot open {}", path.display()));
    let (mut a, mut b) = (open(one)?, open(other)?);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let mut offset = 0;
    loop {
        for (file, bytes) in [(&mut a, &mut first), (&mut b, &mut second)] {
            bytes.clear();
            file.take(1 << 20).read_to_end(bytes)?;
        }
        ensure!(
            first == second,
            "{} and {} differ in the MiB at {offset}; they have {} and {} bytes",
            one.display(),
            other.display(),
            fs::metadata(one)?.len(),
            fs::metadata(other)?.len(),
        );
        if first.is_empty() {
            return Ok(());
        }
        offset += first.len();
    }
}
