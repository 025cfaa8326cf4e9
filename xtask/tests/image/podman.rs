//! podman with separate storage, so that the host's containers are not affected. Needs root.

use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use xtask::machines::server::{Namespace, public_dir};
use xtask::machines::wait_for;
use xtask::setup;

/// Time limit for a container's log line.
const SAY_MAX: Duration = Duration::from_secs(20);

/// podman's images and containers of one test. Drop removes them. All containers share one network.
pub struct Podman {
    directory: TempDir,
    network: Option<Namespace>,
}

impl Podman {
    /// Creates empty storage. Containers use the network namespace `network`, or the host's network.
    pub fn new(network: Option<Namespace>) -> Result<Self> {
        setup::install_packages(&["podman", "runc"])?;
        Ok(Self {
            directory: public_dir()?,
            network,
        })
    }

    fn command(&self, words: &[&str]) -> Command {
        // nsenter enters only the network namespace; `ip netns exec` would also remount /sys and hide the control groups.
        let mut command = match &self.network {
            Some(network) => {
                let mut enter = Command::new("nsenter");
                enter.arg(format!("--net={}", network.path())).arg("podman");
                enter
            }
            None => Command::new("podman"),
        };
        for (option, part) in [
            ("--root", "root"),
            ("--runroot", "run"),
            ("--tmpdir", "tmp"),
        ] {
            command.arg(option).arg(self.directory.path().join(part));
        }
        command
            .args(["--storage-driver", "vfs", "--runtime", "runc"])
            .args(["--cgroup-manager", "cgroupfs", "--events-backend", "file"])
            .args(words);
        command
    }

    /// A command that runs a program of the host in the containers' network.
    pub fn command_inside(&self, program: &str) -> Command {
        match &self.network {
            Some(network) => network.command(program),
            None => Command::new(program),
        }
    }

    /// Runs `work` on a thread in the containers' network.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        match &self.network {
            Some(network) => network.run(work),
            None => work(),
        }
    }

    /// Runs a podman command and returns its output.
    pub fn podman(&self, words: &[&str]) -> Result<String> {
        setup::run_captured(&mut self.command(words))
    }

    /// Pulls an image from a layout, with more options for `podman pull`. Returns the image's name.
    pub fn pull(&self, layout: &Path, tag: &str, more: &[&str]) -> Result<String> {
        // podman derives the image's name from the path, and the name must be in lower case. So the path is relative.
        let (Some(parent), Some(name)) = (layout.parent(), layout.file_name()) else {
            bail!("{} has no parent directory", layout.display());
        };
        let source = format!("oci:{}:{tag}", name.display());
        let mut pull = self.command(&[&["pull", "--quiet"], more, &[&source]].concat());
        let name = setup::run_captured(pull.current_dir(parent))?;
        Ok(name.trim().to_owned())
    }

    /// Loads the images of an archive. Returns podman's output.
    pub fn load(&self, archive: &Path) -> Result<String> {
        self.podman(&["load", "--input", &archive.display().to_string()])
    }

    /// Runs a container in the shared network (`podman run`). Returns its output.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        // If the test itself runs in a container, podman's default limits may exceed that container's limits.
        let limits = [
            "--ulimit",
            "nofile=1024:1024",
            "--ulimit",
            "nproc=1024:1024",
        ];
        self.podman(&[&["run", "--network", "host"], &limits[..], words].concat())
    }

    /// A value of `podman inspect` for a container or an image.
    pub fn inspect(&self, name: &str, format: &str) -> Result<String> {
        let printed = self.podman(&["inspect", "--format", format, name])?;
        Ok(printed.trim().to_owned())
    }

    /// Waits until a container's log has `count` lines that contain `part`.
    pub fn wait_for_line(&self, name: &str, part: &str, count: usize) -> Result<()> {
        let mut log = String::new();
        let found = wait_for(SAY_MAX, || {
            let output = self.command(&["logs", name]).output();
            let output = output.context("cannot start podman")?;
            log = String::from_utf8_lossy(&output.stderr).into_owned();
            let lines = log.lines().filter(|line| line.contains(part));
            Ok((lines.count() >= count).then_some(()))
        })?;
        found.with_context(|| {
            format!("no line with '{part}' within {SAY_MAX:?}; log of the container:\n{log}")
        })
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // An error is ignored, because the remaining files are removed with the directory.
        let _ = self.podman(&["rm", "--all", "--force", "--time", "0"]);
    }
}
