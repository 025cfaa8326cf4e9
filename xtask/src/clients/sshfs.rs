//! sshfs, which mounts what an sftp-server shows, and a server that it reaches without SSH.

use crate::setup;
use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const MOUNT_MAX: Duration = Duration::from_secs(10);

/// sshfs in the foreground. Dropped, it is unmounted.
pub struct Sshfs {
    /// Where it is mounted.
    pub at: PathBuf,
    child: Child,
}

impl Sshfs {
    /// Starts the command with the place as its last word, and waits until something is mounted there.
    pub fn mount(mut command: Command, at: &Path) -> Result<Self> {
        fs::create_dir_all(at)?;
        let device = fs::metadata(at)?.dev();
        command.arg(at).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(Stdio::piped()).spawn()?;
        let at = at.to_owned();
        let mut sshfs = Self { at, child };
        let start = Instant::now();
        while fs::metadata(&sshfs.at)?.dev() == device {
            let ended = sshfs.child.try_wait()?.is_some();
            if ended || start.elapsed() > MOUNT_MAX {
                sshfs.end()?;
                let mut said = String::new();
                if let Some(stderr) = &mut sshfs.child.stderr {
                    stderr.read_to_string(&mut said)?;
                }
                bail!("sshfs did not mount; it said: {said}");
            }
            sleep(Duration::from_millis(5));
        }
        Ok(sshfs)
    }

    /// The process that was started: sshfs, or who watches its time.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, which reaches sshfs through who watches its time.
    fn end(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_none() {
            kill(Pid::from_raw(self.child.id().try_into()?), Signal::SIGTERM)?;
            self.child.wait()?;
        }
        Ok(())
    }
}

impl Drop for Sshfs {
    fn drop(&mut self) {
        // What was written is sent first. If nothing is mounted any more, there is nothing to unmount.
        let _ = setup::quietly(Command::new("umount").arg(&self.at));
        let start = Instant::now();
        while start.elapsed() < MOUNT_MAX && matches!(self.child.try_wait(), Ok(None)) {
            sleep(Duration::from_millis(5));
        }
        let _ = self.end();
    }
}

/// An sftp-server that listens by itself. Dropped, it ends.
pub struct Listening {
    child: Child,
    /// Where, on 127.0.0.1.
    pub port: u16,
}

impl Listening {
    /// Starts `server`, which shows only this directory.
    pub fn start(server: &Path, directory: &Path) -> Result<Self> {
        let mut command = Command::new(server);
        command.args(["sftp-server", "--listen", "127.0.0.1:0", "--jail"]);
        let mut child = command.arg(directory).stderr(Stdio::piped()).spawn()?;
        let mut line = String::new();
        if let Some(stderr) = child.stderr.take() {
            BufReader::new(stderr).read_line(&mut line)?;
        }
        let mut listening = Self { child, port: 0 };
        // `… listening on 127.0.0.1:PORT: …`
        listening.port = line
            .split_once("127.0.0.1:")
            .and_then(|(_, rest)| rest.split_once(':')?.0.parse().ok())
            .with_context(|| format!("where does it listen? It said: {line}"))?;
        Ok(listening)
    }

    /// The process that listens; each of its children serves one session.
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
