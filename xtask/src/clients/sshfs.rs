//! sshfs, which mounts the tree of an sftp-server, and an sftp-server that sshfs reaches over TCP without SSH.

use crate::machines::wait_for;
use crate::setup;
use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const MOUNT_MAX: Duration = Duration::from_secs(10);

/// sshfs in the foreground. Drop unmounts the file system.
pub struct Sshfs {
    /// The mount point.
    pub mount_point: PathBuf,
    child: Child,
}

impl Sshfs {
    /// Runs `command` with `mount_point` as its last argument, and waits until a file system is mounted there.
    pub fn mount(mut command: Command, mount_point: &Path) -> Result<Self> {
        fs::create_dir_all(mount_point)?;
        let device = fs::metadata(mount_point)?.dev();
        command
            .arg(mount_point)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let child = command.stderr(Stdio::piped()).spawn()?;
        let mount_point = mount_point.to_owned();
        let mut sshfs = Self { mount_point, child };
        let mounted = wait_for(MOUNT_MAX, || {
            let ended = sshfs.child.try_wait()?.is_some();
            let mounted = fs::metadata(&sshfs.mount_point)?.dev() != device;
            Ok((ended || mounted).then_some(mounted))
        })?;
        if mounted != Some(true) {
            sshfs.stop()?;
            let mut output = String::new();
            if let Some(stderr) = &mut sshfs.child.stderr {
                stderr.read_to_string(&mut output)?;
            }
            bail!("sshfs did not mount; stderr: {output}");
        }
        Ok(sshfs)
    }

    /// The process id of the started command: sshfs, or a program such as `timeout` that runs it.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends the command by SIGTERM. `timeout` forwards the signal to sshfs.
    fn stop(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_none() {
            kill(Pid::from_raw(self.child.id().try_into()?), Signal::SIGTERM)?;
            self.child.wait()?;
        }
        Ok(())
    }
}

impl Drop for Sshfs {
    fn drop(&mut self) {
        // umount waits until written data has been sent. It fails if the file system is already unmounted.
        let _ = setup::run_captured(Command::new("umount").arg(&self.mount_point));
        let _ = wait_for(MOUNT_MAX, || Ok(self.child.try_wait()?));
        let _ = self.stop();
    }
}

/// An sftp-server that listens on TCP. Drop kills it.
pub struct Listening {
    child: Child,
    /// Port on 127.0.0.1.
    pub port: u16,
}

impl Listening {
    /// Starts the stowaway file `server`, with `directory` as its jail.
    pub fn start(server: &Path, directory: &Path) -> Result<Self> {
        let mut command = Command::new(server);
        command.args(["sftp-server", "--listen", "127.0.0.1:0", "--jail"]);
        let mut child = command.arg(directory).stderr(Stdio::piped()).spawn()?;
        let mut line = String::new();
        if let Some(stderr) = child.stderr.take() {
            BufReader::new(stderr).read_line(&mut line)?;
        }
        let mut listening = Self { child, port: 0 };
        // The server prints `… listening on 127.0.0.1:PORT: …`.
        listening.port = line
            .split_once("127.0.0.1:")
            .and_then(|(_, rest)| rest.split_once(':')?.0.parse().ok())
            .with_context(|| format!("no port in the first line of the server's stderr: {line}"))?;
        Ok(listening)
    }

    /// The process id of the listener; it forks a child per session.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
