//! podman with a storage of its own, so that nothing of the machine's containers is touched. Needs root.

use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use xtask::machines::server::{Namespace, public_dir};
use xtask::machines::wait_for;
use xtask::setup::{self, Package};

/// How long a container may take to say something.
const SAY_MAX: Duration = Duration::from_secs(20);

/// Images and containers that go when this is dropped. All containers share one network.
pub struct Podman {
    directory: TempDir,
    network: Option<Namespace>,
}

impl Podman {
    /// With an empty storage. Containers have the network of `network`, or the host's.
    pub fn new(network: Option<Namespace>) -> Result<Self> {
        setup::need(&[Package::PODMAN, Package::RUNC])?;
        Ok(Self {
            directory: public_dir()?,
            network,
        })
    }

    fn command(&self, words: &[&str]) -> Command {
        // Of the namespaces only the network's: `ip netns exec` would hide the control groups, too.
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

    /// A program of the host's on the containers' network.
    pub fn command_inside(&self, program: &str) -> Command {
        match &self.network {
            Some(network) => network.command(program),
            None => Command::new(program),
        }
    }

    /// Runs `work` where the containers' addresses are.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        match &self.network {
            Some(network) => network.run(work),
            None => work(),
        }
    }

    /// Runs a podman command; what it printed.
    pub fn podman(&self, words: &[&str]) -> Result<String> {
        setup::quietly(&mut self.command(words))
    }

    /// Takes an image out of a layout, `more` being options; its name from then on.
    pub fn pull(&self, layout: &Path, tag: &str, more: &[&str]) -> Result<String> {
        // podman calls an image after the path that it was given, and names are in lower case.
        let (Some(parent), Some(name)) = (layout.parent(), layout.file_name()) else {
            bail!("{} is no place for a layout", layout.display());
        };
        let source = format!("oci:{}:{tag}", name.display());
        let mut pull = self.command(&[&["pull", "--quiet"], more, &[&source]].concat());
        let name = setup::quietly(pull.current_dir(parent))?;
        Ok(name.trim().to_owned())
    }

    /// Takes the images of an archive.
    pub fn load(&self, archive: &Path) -> Result<String> {
        self.podman(&["load", "--input", &archive.display().to_string()])
    }

    /// `podman run` on our network; what it printed.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        // Limits that a machine may set, as others may be refused where we run in a container ourselves.
        let limits = [
            "--ulimit",
            "nofile=1024:1024",
            "--ulimit",
            "nproc=1024:1024",
        ];
        self.podman(&[&["run", "--network", "host"], &limits[..], words].concat())
    }

    /// A value of `podman inspect` of a container or an image.
    pub fn inspect(&self, name: &str, format: &str) -> Result<String> {
        let printed = self.podman(&["inspect", "--format", format, name])?;
        Ok(printed.trim().to_owned())
    }

    /// Waits until a container has said a line with `part` for the `count`th time.
    pub fn wait_for_line(&self, name: &str, part: &str, count: usize) -> Result<()> {
        let mut said = String::new();
        let found = wait_for(SAY_MAX, || {
            let output = self.command(&["logs", name]).output();
            let output = output.context("cannot start podman")?;
            said = String::from_utf8_lossy(&output.stderr).into_owned();
            let lines = said.lines().filter(|line| line.contains(part));
            Ok((lines.count() >= count).then_some(()))
        })?;
        found.with_context(|| {
            format!("no line with '{part}' within {SAY_MAX:?}; the container said:\n{said}")
        })
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // What is left goes with the directory, as far as it can.
        let _ = self.podman(&["rm", "--all", "--force", "--time", "0"]);
    }
}
