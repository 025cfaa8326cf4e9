//! The two responders: how each is started, and until when one waits for it.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use super::link::{Ground, HOST, Link};
use super::workload::Workload;
use crate::clients::dns::{Message, TYPE};
use crate::measure::bench::Killed;
use crate::measure::size::peers;

/// Until the first announcement.
const START_MAX: Duration = Duration::from_secs(20);

/// What a program is made of.
#[derive(Serialize)]
pub struct File {
    responder: &'static str,
    bytes: u64,
    bytes_with_libraries: u64,
    libraries: usize,
}

impl File {
    /// For people.
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

/// Who is measured.
#[derive(Clone)]
pub struct Program {
    /// For tables.
    pub name: &'static str,
    path: PathBuf,
    is_ours: bool,
}

impl Program {
    /// Ours, from this file.
    pub fn ours(name: &'static str, path: PathBuf) -> Self {
        Self {
            name,
            path,
            is_ours: true,
        }
    }

    /// Debian's avahi.
    pub fn avahi() -> Self {
        let found = which::which("avahi-daemon");
        Self {
            name: super::PEER,
            path: found.unwrap_or_else(|_| "/usr/sbin/avahi-daemon".into()),
            is_ours: false,
        }
    }

    /// Whether it does what that measures.
    pub fn takes(&self, workload: Workload) -> bool {
        self.is_ours || !workload.is_for_members()
    }

    /// What its file weighs, with all that it needs.
    pub fn weigh(&self) -> Result<File> {
        let weight = peers::weigh(&self.path, std::iter::empty())?;
        Ok(File {
            responder: self.name,
            bytes: weight.file,
            bytes_with_libraries: weight.all,
            libraries: weight.libraries,
        })
    }

    fn command(&self, ground: &Ground) -> Command {
        let mut command = Command::new(&self.path);
        if self.is_ours {
            command
                .args(["mdns", "--name", HOST, "--services"])
                .arg(ground.services());
        } else {
            command
                .args([
                    "--no-drop-root",
                    "--no-chroot",
                    "--no-rlimits",
                    "--no-proc-title",
                ])
                .arg("--file")
                .arg(ground.avahi_config());
        }
        command
            .current_dir(ground.path())
            // From cargo: its linker would look for every library there first.
            .env_remove("LD_LIBRARY_PATH")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }
}

/// One that runs, and is killed when it is dropped: nothing is said then that the next would have to be told from.
pub struct Running {
    pub program: Program,
    process: Killed,
}

impl Running {
    /// Starts it; and how long it took from the exec until the first message of that kind was on the link.
    pub fn start(
        program: &Program,
        ground: &Ground,
        link: &Link,
        until: Workload,
    ) -> Result<(Self, Duration)> {
        let listener = link.member()?;
        let start = Instant::now();
        let child = link.responder.run(|| {
            let mut command = program.command(ground);
            command
                .spawn()
                .with_context(|| format!("cannot start {}", program.path.display()))
        })?;
        let running = Self {
            program: program.clone(),
            process: Killed(child),
        };
        let host = format!("{HOST}.local");
        let is_it = |message: &Message| match until {
            Workload::Probe => {
                let mut asked = message.questions.iter().map(|it| it.qname.to_string());
                !message.is_response && asked.any(|name| name == host)
            }
            _ => message.is_response && message.find(&host, TYPE::A).is_some(),
        };
        match listener.wait_for(START_MAX, is_it)? {
            Some(_) => Ok((running, start.elapsed())),
            None => bail!("{} says nothing for {START_MAX:?}", program.name),
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }
}
