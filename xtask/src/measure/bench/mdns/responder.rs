//! Starts stowaway's responder or avahi-daemon, and waits for its first probe or announcement.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::link::{HOST, Link, Workspace};
use crate::clients::dns::{Message, TYPE};
use crate::machines::server::Process;

/// Longest time until the first announcement.
const START_MAX: Duration = Duration::from_secs(20);

/// A responder to start: stowaway or avahi-daemon.
pub struct Program {
    /// Name in tables.
    pub name: &'static str,
    pub path: PathBuf,
}

impl Program {
    /// Returns true for files of stowaway.
    pub fn is_ours(&self) -> bool {
        self.name != super::PEER
    }

    fn command(&self, workspace: &Workspace) -> Command {
        let mut command = Command::new(&self.path);
        if self.is_ours() {
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
            .stdout(Stdio::null());
        command
    }
}

/// The first message that a start is measured to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Until {
    Probe,
    Announcement,
}

/// A running responder. It is killed on drop, so that no goodbye packet of it reaches the next run.
pub struct Running(Process);

impl Running {
    /// Starts a responder. Also returns the time from exec to its first message of this kind on the link.
    pub fn start(
        program: &Program,
        workspace: &Workspace,
        link: &Link,
        until: Until,
    ) -> Result<(Self, Duration)> {
        let listener = link.mdns_querier()?;
        let start = Instant::now();
        let start_program = || Process::start(&mut program.command(workspace));
        let running = Self(link.responder.run(start_program)?);
        let host = format!("{HOST}.local");
        let is_expected = |message: &Message| match until {
            Until::Probe => {
                let mut asked = message.questions.iter().map(|it| it.qname.to_string());
                !message.is_response && asked.any(|name| name == host)
            }
            Until::Announcement => message.is_response && message.find(&host, TYPE::A).is_some(),
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
        self.0.pid()
    }
}
