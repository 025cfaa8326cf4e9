//! The sftp-server under clients that none of us wrote: OpenSSH's, sshfs, rclone, lftp, paramiko, through sshd and dropbear.
//!
//! The many small things go to a server that OpenSSH's client starts itself; what a daemon has a part in goes through both.
//! STOWAWAY_SFTP=/usr/lib/openssh/sftp-server shows what the server does that we stand in for.

mod batch;
mod copies;
mod exact;
mod jail;
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
use xtask::machines::sshd::{Daemon, Kind, USER_ID};
use xtask::setup::{self, Package};

/// OpenSSH's server.
const REFERENCE: &str = "/usr/lib/openssh/sftp-server";
/// A client that has not ended by then hangs.
const CLIENT_SECS_MAX: &str = "120";

/// A server that the client starts itself: the file, the directory that it begins in, and the client's.
struct Direct {
    directory: TempDir,
    user: Option<u32>,
}

impl Direct {
    /// Empty directories, which belong to `user`, who starts both programs.
    fn new(arch: Arch, user: Option<u32>) -> Result<Self> {
        setup::need(&[Package::OPENSSH_CLIENT])?;
        let directory = public_dir()?;
        let direct = Self { directory, user };
        // By this name it knows its role, and here every user reaches it.
        server(arch, &direct.server())?;
        for place in [direct.here(), direct.there()] {
            fs::create_dir(&place)?;
            chown(&place, user, user)?;
        }
        Ok(direct)
    }

    /// Runs `test` as root and as an ordinary user, and for the other processor once more.
    fn each(test: impl Fn(&Self) -> Result<()>) -> Result<()> {
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

    /// Where the client is.
    fn here(&self) -> PathBuf {
        self.directory.path().join("here")
    }

    /// Where the server begins.
    fn there(&self) -> PathBuf {
        self.directory.path().join("there")
    }

    /// A command that the user starts.
    fn program(&self, name: &str) -> Command {
        let mut command = program(name, &self.here());
        if let Some(id) = self.user {
            command.uid(id).gid(id);
        }
        command
    }

    /// The command that starts the server where it begins.
    fn command(&self) -> String {
        format!("{} -d {}", self.server().display(), self.there().display())
    }

    /// Gives a file to who starts the programs.
    fn give(&self, path: &Path) -> Result<()> {
        lchown(path, self.user, self.user)
            .with_context(|| format!("cannot give {} away", path.display()))
    }

    /// Runs commands of sftp, of which none may fail; what they print, without themselves.
    fn batch(&self, commands: &str) -> Result<String> {
        self.batch_by(&self.command(), &[], commands)
    }

    /// The same, with options of the server.
    fn batch_as(&self, options: &str, commands: &str) -> Result<String> {
        self.batch_by(&format!("{} {options}", self.command()), &[], commands)
    }

    /// The same, with a command that starts the server and options of the client.
    fn batch_by(&self, server: &str, options: &[&str], commands: &str) -> Result<String> {
        let batch = batch_file(self.directory.path(), commands)?;
        let mut sftp = self.program("sftp");
        printed(sftp.args(options).args(["-D", server, "-b"]).arg(batch))
    }

    /// Runs one command of sftp that must fail; the error is to say `why`.
    fn refuses(&self, command: &str, why: &str) -> Result<()> {
        let Err(error) = self.batch(command) else {
            anyhow::bail!("{command} went through");
        };
        let said = format!("{error:#}");
        ensure!(
            said.trim_end().ends_with(why),
            "{command} was refused, but without '{why}': {said}"
        );
        Ok(())
    }
}

/// A daemon with the file that it starts, and an empty directory for the client.
struct Remote {
    daemon: Daemon,
    here: TempDir,
    _file: TempDir,
}

impl Remote {
    fn new(kind: Kind, arch: Arch) -> Result<Self> {
        let file = public_dir()?;
        Ok(Self {
            daemon: Daemon::start(kind, &server(arch, &file.path().join("sftp-server"))?)?,
            here: public_dir()?,
            _file: file,
        })
    }

    /// Runs `test` through both daemons, and as the other processor through one of them.
    fn each(test: impl Fn(&Self) -> Result<()>) -> Result<()> {
        if !root_for("daemons") {
            return Ok(());
        }
        for (kind, arch) in [
            (Kind::OpenSsh, Arch::X86_64),
            (Kind::Dropbear, Arch::X86_64),
            (Kind::Dropbear, Arch::I686),
            (Kind::OpenSsh, Arch::Aarch64),
            (Kind::Dropbear, Arch::Armv7),
        ] {
            Self::new(kind, arch)?
                .passes(&test)
                .with_context(|| format!("through {kind:?} as {arch:?}"))?;
        }
        Ok(())
    }

    /// Runs `test`, after which no server may be left.
    fn passes(&self, test: impl Fn(&Self) -> Result<()>) -> Result<()> {
        test(self)
            .and_then(|()| self.daemon.wait_until_idle())
            .with_context(|| format!("the daemon said:\n{}", self.daemon.said()))
    }

    /// Where the client is.
    fn here(&self) -> &Path {
        self.here.path()
    }

    /// Where the server begins.
    fn there(&self) -> PathBuf {
        self.daemon.home()
    }

    /// One of OpenSSH's programs, which reaches the daemon under any name.
    fn openssh(&self, name: &str) -> Command {
        let mut command = program(name, self.here());
        command.arg("-F").arg(self.daemon.config());
        command
    }

    /// Runs commands of sftp, of which none may fail; what they print, without themselves.
    fn batch(&self, commands: &str) -> Result<String> {
        let mut sftp = self.openssh("sftp");
        sftp.arg("-b").arg(batch_file(self.here(), commands)?);
        printed(sftp.arg("x"))
    }

    /// Makes a file of the user's that the server finds in its home.
    fn give(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.there().join(name);
        fs::write(&path, content)?;
        chown(path, Some(USER_ID), Some(USER_ID))?;
        Ok(())
    }
}

/// The file under test, at a place of its own.
fn server(arch: Arch, at: &Path) -> Result<PathBuf> {
    match std::env::var_os("STOWAWAY_SFTP") {
        Some(path) => emulation::copy(path.as_ref(), at, Arch::X86_64),
        None => emulation::copy(&binary(arch)?, at, arch),
    }
}

/// A client that may not hang, speaks English, keeps its files in `directory` and runs there.
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

/// A file with commands of sftp.
fn batch_file(directory: &Path, commands: &str) -> Result<PathBuf> {
    let path = directory.join("batch");
    fs::write(&path, commands).context("cannot write the commands")?;
    Ok(path)
}

/// What a batch prints besides the commands.
fn printed(sftp: &mut Command) -> Result<String> {
    let said = setup::quietly(sftp)?;
    let lines = said.lines().filter(|line| !line.starts_with("sftp> "));
    Ok(lines.map(|line| format!("{line}\n")).collect())
}

/// Makes a file of `len` bytes that no other seed makes.
fn make(path: &Path, seed: u64, len: usize) -> Result<()> {
    fs::write(path, Random::new(seed).bytes(len))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The two files have the same bytes.
fn ensure_same(one: &Path, other: &Path) -> Result<()> {
    let open =
        |path: &Path| File::open(path).with_context(|| format!("cannot open {}", path.display()));
    let (mut a, mut b) = (open(one)?, open(other)?);
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let mut at = 0;
    loop {
        for (file, bytes) in [(&mut a, &mut left), (&mut b, &mut right)] {
            bytes.clear();
            file.take(1 << 20).read_to_end(bytes)?;
        }
        ensure!(
            left == right,
            "{} and {} differ in the MiB at {at}; they have {} and {} bytes",
            one.display(),
            other.display(),
            fs::metadata(one)?.len(),
            fs::metadata(other)?.len(),
        );
        if left.is_empty() {
            return Ok(());
        }
        at += left.len();
    }
}
