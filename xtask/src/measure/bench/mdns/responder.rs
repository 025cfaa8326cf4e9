//! Starts stowaway's responder or avahi-daemon, and waits for its first probe or announcement.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use super::link::{HOST, Link, Workspace};
use super::workload::Workload;
use crate::clients::dns::{Message, TYPE};
use crate::measure::bench::Killed;
use crate::measure::size::peers;

/// Longest time until the first announcement.
const START_MAX: Duration = Duration::from_secs(20);

/// Size of a responder, alone and with its libraries.
#[derive(Serialize)]
pub struct File {
    responder: &'static str,
    bytes: u64,
    bytes_with_libraries: u64,
    libraries: usize,
}

impl File {
    /// Row of the table of file sizes.
    pub fn row(&self) -> Vec<String> {
        vec![
            self.responder.into(),
            format!("its file {}", self.bytes),
            format!(
                "with {} libraries {}",
                self.libraries, self.bytes_with_libraries
            ),
        ]
    }
}

/// A responder to start.
#[derive(Clone)]
pub struct Program {
    /// Name in tables.
    pub name: &'static str,
    path: PathBuf,
    is_ours: bool,
}

impl Program {
    /// stowaway, from the file at `path`.
    pub fn ours(name: &'static str, path: PathBuf) -> Self {
        Self {
            name,
            path,
            is_ours: true,
        }
    }

    /// avahi-daemon, as installed.
    pub fn avahi() -> Self {
        let found = which::which("avahi-daemon");
        Self {
            name: super::PEER,
            path: found.unwrap_or_else(|_| "/usr/sbin/avahi-daemon".into()),
            is_ours: false,
        }
    }

    /// Returns true if the responder answers the queries of `workload` by unicast.
    pub fn supports(&self, workload: Workload) -> bool {
        self.is_ours || !workload.is_for_members()
    }

    /// Measures the program's file and its libraries.
    pub fn weigh(&self) -> Result<File> {
        let size = peers::measure(&self.path, std::iter::empty())?;
        Ok(File {
            responder: self.name,
            bytes: size.file,
            bytes_with_libraries: size.total_bytes,
            libraries: size.libraries,
        })
    }

    fn command(&self, workspace: &Workspace) -> Command {
        let mut command = Command::new(&self.path);
        if self.is_ours {
            command
                .args(["mdns", "--name", HOST, "--services"])
                .arg(workspace.services());
        } else {
            command
                .args([
                    "--no-drop-root",
                    "--no-chroot",
                    "--no-rlimits",
                    "--no-proc-title",
                ])
                .arg("--file")
                .arg(workspace.avahi_config());
        }
        command
            .current_dir(workspace.path())
            // cargo sets this. The dynamic linker would search these directories first, which would slow the start.
            .env_remove("LD_LIBRARY_PATH")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }
}

/// A running responder. It is killed on drop, so that no goodbye packet of it reaches the next run.
pub struct Running {
    pub program: Program,
    process: Killed,
}

impl Running {
    /// Starts a responder. Also returns the time from exec to its first message on the link: the first probe if `until` is
    /// [`Workload::Probe`], else the first announcement.
    pub fn start(
        program: &Program,
        workspace: &Workspace,
        link: &Link,
        until: Workload,
    ) -> Result<(Self, Duration)> {
        let listener = link.mdns_querier()?;
        let start = Instant::now();
        let child = link.responder.run(|| {
            let mut command = program.command(workspace);
            command
                .spawn()
                .with_context(|| format!("cannot start {}", program.path.display()))
        })?;
        let running = Self {
            program: program.clone(),
            process: Killed(child),
        };
        let host = format!("{HOST}.local");
        let is_expected = |message: &Message| match until {
            Workload::Probe => {
                let mut asked = message.questions.iter().map(|it| it.qname.to_string());
                !message.is_response && asked.any(|name| name == host)
            }
            _ => message.is_response && message.find(&host, TYPE::A).is_some(),
        };
        match listener.wait_for(START_MAX, is_expected)? {
            Some(_) => Ok((running, start.elapsed())),
            None => bail!(
                "{} did not probe or announce {host} within {START_MAX:?}",
                program.name
            ),
        }
    }

    /// The responder's process id.
    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }
}
