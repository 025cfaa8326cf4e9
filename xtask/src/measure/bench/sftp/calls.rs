//! Counts the system calls of one request with strace. Time is not measured in these sessions, because strace slows the server.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use super::server::{Program, Server};
use super::session::{DEPTH, Session};
use super::workload::{self, Objects};
use crate::measure::bench::load::Load;
use crate::measure::bench::table::verdict;
use crate::measure::bench::workspace::{Export, Scale, Workspace};

/// Average number of system calls per request, by name.
type Calls = BTreeMap<String, f64>;

/// The request whose system calls are counted, or the start of a server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Count {
    ReadAlone,
    Read,
    Write,
    StatAlone,
    Stat,
    StatJailed,
    OpenClose,
    Readdir,
    Start,
    StartJailed,
}

/// A line of the table.
#[derive(Serialize)]
pub struct Line {
    title: &'static str,
    ours: Calls,
    /// The peer's calls; None for `--jail`, which the peer does not have.
    peer: Option<Calls>,
    /// Aim: largest number of stowaway's system calls.
    aim: Option<f64>,
}

impl Line {
    /// Rows of the table: title and aim, then the calls of each side.
    pub fn rows(&self) -> Vec<Vec<String>> {
        let sum: f64 = self.ours.values().sum();
        let aim = self.aim.map_or_else(String::new, |aim| {
            format!("aim ≤ {aim}: {}", verdict(sum <= aim))
        });
        let row = |name: &str, calls| vec![format!("  {name}"), listed(calls)];
        let mut rows = vec![
            vec![self.title.to_owned(), aim],
            row("stowaway", &self.ours),
        ];
        rows.extend(self.peer.iter().map(|calls| row(super::PEER, calls)));
        rows
    }
}

/// Formats the number of all calls, then the number of each by name, most frequent first.
fn listed(calls: &Calls) -> String {
    let mut parts: Vec<_> = calls.iter().filter(|(_, count)| **count >= 0.005).collect();
    parts.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let parts: Vec<_> = parts
        .iter()
        .map(|(name, count)| format!("{name} {}", number(**count)))
        .collect();
    format!("{}: {}", number(calls.values().sum()), parts.join(", "))
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 {
        value.to_string()
    } else {
        format!("{value:.2}")
    }
}

impl Count {
    /// All variants, in the order of the table.
    pub const ALL: [Self; 10] = [
        Self::ReadAlone,
        Self::Read,
        Self::Write,
        Self::StatAlone,
        Self::Stat,
        Self::StatJailed,
        Self::OpenClose,
        Self::Readdir,
        Self::Start,
        Self::StartJailed,
    ];

    /// Returns the title and the aim: the largest number of system calls.
    fn facts(self) -> (&'static str, Option<f64>) {
        match self {
            Self::ReadAlone => ("READ 32 KiB, one by one", Some(3.0)),
            Self::Read => ("READ 32 KiB", None),
            Self::Write => ("WRITE 32 KiB", None),
            Self::StatAlone => ("STAT, one by one", None),
            Self::Stat => ("STAT", Some(2.0)),
            Self::StatJailed => ("STAT, --jail", Some(4.0)),
            Self::OpenClose => ("OPEN + CLOSE", None),
            Self::Readdir => ("READDIR, an entry", None),
            Self::Start => ("exec to VERSION", Some(12.0)),
            Self::StartJailed => ("exec to VERSION, --jail", None),
        }
    }

    /// Counts the calls of stowaway and, if it can run the request, of the peer.
    pub fn line(self, sides: &[Program], workspace: &Workspace, scale: &Scale) -> Result<Line> {
        let (title, aim) = self.facts();
        let mut calls = sides
            .iter()
            .take(if self.is_jailed() { 1 } else { 2 })
            .map(|program| {
                self.of(program, workspace, scale).with_context(|| {
                    format!("cannot count the calls of {title} on {}", program.name)
                })
            });
        Ok(Line {
            title,
            ours: calls.next().context("no server to trace")??,
            peer: calls.next().transpose()?,
            aim,
        })
    }

    fn is_jailed(self) -> bool {
        matches!(self, Self::StatJailed | Self::StartJailed)
    }

    /// Counts the calls per request of a traced `program`.
    fn of(self, program: &Program, workspace: &Workspace, scale: &Scale) -> Result<Calls> {
        let tree = workspace.path(Export::Tree);
        let (arguments, objects) = if self.is_jailed() {
            let arguments = vec!["--jail".into(), tree.into_os_string()];
            let root = Path::new("/");
            (arguments, Objects::below(root, root, scale, 0))
        } else {
            (Vec::new(), Objects::new(workspace, scale, 0))
        };
        let trace = workspace.scratch_path("trace");
        let session = |count| -> Result<String> {
            let mut server = Server::traced(program, &arguments, &trace)?;
            server.load.negotiate()?;
            self.ask(&mut server.load, &objects, scale, count)?;
            // strace writes its last line after the server has ended.
            server.stop()?;
            fs::read_to_string(&trace).context("strace wrote nothing")
        };
        if matches!(self, Self::Start | Self::StartJailed) {
            return until_version(&session(0)?);
        }
        // The second session has twice as many requests. The difference of the counts leaves out the start and end of a session.
        let (single, double) = (count_names(&session(1)?), count_names(&session(2)?));
        let count = match self {
            Self::Readdir => scale.crowd_count,
            _ => COUNT,
        };
        let per_request = |(name, calls): (String, u64)| {
            let before = single.get(&name).copied().unwrap_or(0);
            (name, (calls as f64 - before as f64) / count as f64)
        };
        Ok(double.into_iter().map(per_request).collect())
    }

    /// Sends `times` × [`COUNT`] requests, or reads the directory `times` times.
    fn ask(
        self,
        load: &mut Load<Session>,
        objects: &Objects,
        scale: &Scale,
        times: u64,
    ) -> Result<()> {
        let count = COUNT * times;
        match self {
            Self::ReadAlone => objects.read_some(load, count, 1),
            Self::Read => objects.read_some(load, count, DEPTH),
            Self::Write => objects.write_some(load, count),
            Self::StatAlone => workload::stat(load, objects, count, 1).map(drop),
            Self::Stat | Self::StatJailed => workload::stat(load, objects, count, DEPTH).map(drop),
            Self::OpenClose => workload::open_and_close(load, objects, count).map(drop),
            Self::Readdir => (0..times)
                .try_for_each(|_| workload::list(load, objects, scale.crowd_count).map(drop)),
            Self::Start | Self::StartJailed => Ok(()),
        }
    }
}

/// Number of requests in the first session; the second session has twice as many.
const COUNT: u64 = 512;

/// Number of calls in a trace, by name.
fn count_names(trace: &str) -> BTreeMap<String, u64> {
    let mut names = BTreeMap::new();
    for (name, _) in trace.lines().filter_map(call) {
        *names.entry(name.to_owned()).or_default() += 1;
    }
    names
}

/// The calls from the exec to the write that sends VERSION, including that write.
fn until_version(trace: &str) -> Result<Calls> {
    let mut calls = Calls::new();
    let mut lines = trace.lines().filter_map(call);
    lines
        .find(|(name, _)| *name == "execve")
        .context("the trace has no execve")?;
    for (name, arguments) in lines {
        *calls.entry(name.to_owned()).or_default() += 1.0;
        if name.starts_with("write") || name.starts_with("send") {
            let stdout = arguments.split(',').next();
            ensure!(
                stdout == Some("1"),
                "the server writes to another file before VERSION: {name}({arguments}"
            );
            return Ok(calls);
        }
    }
    anyhow::bail!("the trace has no write to standard output: VERSION was not sent")
}

/// Returns the name and the arguments of the call in a line such as `1234  openat(AT_FDCWD, …) = 3`. None: the line reports a
/// signal or an exit.
fn call(line: &str) -> Option<(&str, &str)> {
    let (_, call) = line.split_once(char::is_whitespace)?;
    let (name, arguments) = call.trim_start().split_once('(')?;
    name.chars()
        .all(|c| c.is_alphanumeric() || c == '_')
        .then_some((name, arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "\
12  execve(\"/bin/server\", [\"server\"], 0x7ffe) = 0
12  prctl(PR_SET_DUMPABLE, SUID_DUMP_DISABLE) = 0
12  read(0, \"\\0\\0\", 34048)        = 9
12  write(1, \"\\0\", 5)         = 5
12  read(0, \"\", 34048)        = 0
12  --- SIGTERM {si_signo=SIGTERM} ---
12  +++ exited with 0 +++
";

    #[test]
    fn signals_and_exits_are_not_counted_as_calls() {
        let names = count_names(TRACE);
        let counts: Vec<_> = names.iter().map(|(name, n)| (&**name, *n)).collect();
        assert_eq!(
            counts,
            [("execve", 1), ("prctl", 1), ("read", 2), ("write", 1)]
        );
    }

    #[test]
    fn start_counts_calls_up_to_version() -> Result<()> {
        let calls = until_version(TRACE)?;
        assert_eq!(calls.values().sum::<f64>(), 3.0);
        assert!(until_version(&TRACE.replace("write(1", "write(2")).is_err());
        assert!(until_version(TRACE.split_once("12  write").unwrap().0).is_err());
        Ok(())
    }
}
