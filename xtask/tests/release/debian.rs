//! A Debian whose systemd runs in a container.

use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use xtask::clients::nfs::{Client, How, Set};
use xtask::machines::debian;
use xtask::machines::server::Namespace;
use xtask::machines::wait_for;
use xtask::setup;

use crate::image::podman::Podman;
use crate::recipes::ensure_exported;

/// Time limit for systemd to start, and for a changed list of exports to be served.
const PATIENCE: Duration = Duration::from_secs(60);
/// The container's name.
const NAME: &str = "debian";
/// Directories that also change without the package: dpkg's record of the purge, times of systemd's timers, formatted man pages.
const CHANGING: [&str; 10] = [
    "/dev",
    "/proc",
    "/root",
    "/run",
    "/sys",
    "/tmp",
    "/var/cache/man",
    "/var/lib/dpkg",
    "/var/lib/systemd/timers",
    "/var/log",
];

/// A running Debian.
pub struct Debian<'a> {
    podman: Podman,
    pub root: &'a Path,
}

impl<'a> Debian<'a> {
    /// Copies the system into `scratch`; returns the root directory of the copy.
    pub fn copy(scratch: &Path) -> Result<PathBuf> {
        let root = scratch.join("system");
        let mut copy = Command::new("cp");
        setup::run_captured(copy.arg("-a").arg(debian::system()?).arg(&root))?;
        Ok(root)
    }

    /// Boots the system in `root`, and waits until its systemd is up.
    pub fn boot(root: &'a Path) -> Result<Self> {
        let podman = Podman::new(Some(Namespace::new()?))?;
        let place = root.display().to_string();
        let system = ["--privileged", "--systemd=always", "--rootfs", &place];
        podman.run(&[&["-d", "--name", NAME], &system[..], &["/sbin/init"]].concat())?;
        let debian = Self { podman, root };
        debian.wait_for_state("is-system-running", &["running", "degraded"])?;
        Ok(debian)
    }

    pub fn run(&self, words: &[&str]) -> Result<String> {
        self.podman.podman(&[&["exec", NAME], words].concat())
    }

    pub fn shell(&self, line: &str) -> Result<String> {
        self.run(&["sh", "-c", line])
    }

    /// Path, type, mode, owner and size of each file outside of `CHANGING`; directories without their size.
    pub fn files(&self) -> Result<BTreeSet<String>> {
        let changing = CHANGING.join(" -o -path ");
        let listed = self.shell(&format!(
            "find / -xdev \\( -path {changing} \\) -prune \\
             -o -type d -printf '%p %y %m %U:%G\\n' -o -printf '%p %y %m %U:%G %s\\n'"
        ))?;
        Ok(listed.lines().map(str::to_owned).collect())
    }

    /// Waits until `systemctl WORDS` prints one of `states`; the exit status does not count.
    pub fn wait_for_state(&self, words: &str, states: &[&str]) -> Result<()> {
        let mut state = String::new();
        let found = wait_for(PATIENCE, || {
            state = self.shell(&format!("systemctl {words} 2>&1 || true"))?;
            Ok(states.contains(&state.trim()).then_some(()))
        });
        found?.with_context(|| format!("systemctl {words}: {state}"))
    }

    /// Adds a line to the exports of the unit.
    pub fn add_export(&self, line: &str) -> Result<()> {
        let path = self.root.join("etc/stowaway/exports");
        let mut exports = OpenOptions::new().append(true).open(path)?;
        Ok(writeln!(exports, "{line}")?)
    }

    /// Waits until a client can mount `export` and finds `name` there.
    pub fn wait_for_export(&self, export: &str, name: &str) -> Result<()> {
        let mut last = Ok(());
        let found = wait_for(PATIENCE, || {
            last = self.podman.inside(|| ensure_exported(export, name));
            Ok(last.is_ok().then_some(()))
        })?;
        found.map_or(last, Ok).with_context(|| {
            let log = self.run(&["journalctl", "-u", "stowaway", "--no-pager"]);
            format!("{export} is not served:\n{}", log.unwrap_or_default())
        })
    }

    /// Checks that journald has the level of a refused mount, and that the unit starts a server again that was killed.
    pub fn ensure_operable(&self, export: &str, name: &str) -> Result<()> {
        let refused = self.podman.inside(|| {
            let mut client = Client::connect((Ipv4Addr::LOCALHOST, 2049).into())?;
            Ok(client.mount("/srv/secret").is_err())
        })?;
        ensure!(refused, "/srv/secret can be mounted");
        let warned = wait_for(PATIENCE, || {
            let lines = self.shell("journalctl -u stowaway -p warning --no-pager")?;
            Ok(lines.contains("/srv/secret").then_some(()))
        });
        warned?.context("journalctl -p warning has no line of the refused mount")?;
        self.run(&["systemctl", "kill", "--signal=KILL", "stowaway"])?;
        self.wait_for_export(export, name)?;
        self.wait_for_state("is-active stowaway", &["active"])
    }

    /// Checks that a client can make a file in `export`.
    pub fn ensure_writable(&self, export: &str) -> Result<()> {
        self.wait_for_export(export, ".")?;
        self.podman.inside(|| {
            let mut client = Client::connect((Ipv4Addr::LOCALHOST, 2049).into())?;
            let root = client.mount(export)?;
            let how = How::Guarded(Set::mode(0o640));
            client.create(&root, "new", how).map(drop)
        })
    }
}
