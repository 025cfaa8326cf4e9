//! Records of a session: the results of its requests, the acknowledged bytes, and the end of the program.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::fault::{Disturbance, Injector, Trace};
use crate::clients::nfs::nfsstat3;
use crate::clients::sftp::{ServerExit, Status};
use crate::machines::server::public_dir;

/// The directories of one session, one that is served and a private one, and what decides the program's calls.
pub(super) struct Dirs {
    pub(super) served: TempDir,
    pub(super) private: TempDir,
    injector: Injector,
}

impl Dirs {
    pub(super) fn new(disturbance: Option<&Disturbance>) -> Result<Self> {
        let private = public_dir()?;
        Ok(Self {
            served: public_dir()?,
            injector: Injector::new(private.path(), disturbance)?,
            private,
        })
    }

    /// Creates a file in the served directory.
    pub(super) fn fill(&self, name: &str, data: &[u8]) -> Result<()> {
        fs::write(self.path(name), data).with_context(|| format!("cannot create {name}"))
    }

    /// The path of a name in the served directory.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.served.path().join(name)
    }

    /// Words that precede the program's.
    pub(super) fn wrapper(&self) -> Result<Vec<String>> {
        self.injector.wrapper()
    }

    pub(super) fn trace(&self) -> Trace {
        self.injector.trace()
    }
}

/// A request that changes names: its name, how it is sent, the files that then exist, and those that do not.
pub(super) type Change<'a, C> = (
    &'a str,
    &'a dyn Fn(&mut C) -> Result<()>,
    &'a [&'a str],
    &'a [&'a str],
);

/// Records of a session.
#[derive(Debug, Default)]
pub struct Notes {
    /// Requests that were answered with an error of the protocol.
    pub failed: Vec<String>,
    /// Parts of the service that were missing.
    pub reduced: Vec<String>,
    /// Connections that the program closed, or that were useless for another reason.
    pub cut: Vec<String>,
    /// Replies that contradict an earlier reply or the file system.
    pub wrong: Vec<String>,
    /// Reasons why a new connection was useless.
    pub broken: Vec<String>,
    /// Requests that were not answered in time, by a program that still ran.
    pub unanswered: Vec<String>,
    /// Acknowledged bytes that are not in the file.
    pub lost: Vec<String>,
    /// CPU time that an idle program used.
    pub spun: Vec<String>,
    /// True if the program ended before the session asked it to.
    pub is_ended_early: bool,
    /// The end of the program. None: it did not end when asked.
    pub end: Option<ServerExit>,
    pub trace: Trace,
    /// Files with bytes that a reply acknowledged as stable.
    acknowledged: Vec<(String, Vec<u8>)>,
}

impl Notes {
    /// Sends a request. Returns None if it failed, or if the connection is no longer usable.
    pub(super) fn step<T>(&mut self, name: &str, send: impl FnOnce() -> Result<T>) -> Option<T> {
        if self.is_cut() {
            return None;
        }
        match send() {
            Ok(value) => return Some(value),
            Err(why) if is_status(&why) => self.failed.push(format!("{name}: {why:#}")),
            Err(why) if is_timeout(&why) => self.unanswered.push(format!("{name}: {why:#}")),
            Err(why) => self.cut.push(format!("{name}: {why:#}")),
        }
        None
    }

    /// Sends a request, and records a contradiction unless its result `is_right`. Returns true if it succeeded.
    pub(super) fn verify<T>(
        &mut self,
        name: &str,
        send: impl FnOnce() -> Result<T>,
        is_right: impl FnOnce(T) -> bool,
    ) -> bool {
        let value = self.step(name, send);
        let succeeded = value.is_some();
        self.check(name, value.is_none_or(is_right));
        succeeded
    }

    /// Sends requests that change names.
    pub(super) fn change<C>(&mut self, client: &mut C, dirs: &Dirs, changes: &[Change<'_, C>]) {
        let exists = |name: &&str| dirs.path(name).symlink_metadata().is_ok();
        for &(name, send, made, removed) in changes {
            let is_right = |()| made.iter().all(exists) && !removed.iter().any(exists);
            self.verify(name, || send(client), is_right);
        }
    }

    /// Returns true if the connection is no longer usable.
    pub(super) fn is_cut(&self) -> bool {
        !self.cut.is_empty() || !self.unanswered.is_empty()
    }

    /// Records a contradiction unless `is_right`.
    pub(super) fn check(&mut self, what: &str, is_right: bool) {
        if !is_right {
            self.wrong.push(what.to_owned());
        }
    }

    /// Records that a reply acknowledged these bytes at the beginning of a file as stable.
    pub(super) fn acknowledge(&mut self, name: &str, data: &[u8]) {
        self.acknowledged.push((name.to_owned(), data.to_owned()));
    }

    /// Records which of the acknowledged bytes are not in their files.
    pub(super) fn find_losses(&mut self, directory: &Path) {
        for (name, data) in &self.acknowledged {
            let path = directory.join(name);
            let found = fs::read(&path).unwrap_or_default();
            if !found.starts_with(data) {
                let same = found.iter().zip(data).take_while(|(a, b)| a == b).count();
                self.lost.push(format!(
                    "{name}: {} bytes were acknowledged; the file has {}, of which {same} are right",
                    data.len(),
                    found.len()
                ));
            }
        }
    }
}

/// Returns true for an error of the protocol, as opposed to one of the connection.
fn is_status(why: &anyhow::Error) -> bool {
    why.downcast_ref::<Status>().is_some()
        || why.downcast_ref::<nfsstat3>().is_some()
        || format!("{why:#}").contains("SystemError")
}

/// Returns true if the client waited in vain.
pub(super) fn is_timeout(why: &anyhow::Error) -> bool {
    let kinds = [ErrorKind::WouldBlock, ErrorKind::TimedOut];
    let of_socket = why
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| kinds.contains(&cause.kind()));
    let text = format!("{why:#}");
    of_socket
        || ["sent nothing for", "accepted no data", "did not end within"]
            .iter()
            .any(|part| text.contains(part))
}
