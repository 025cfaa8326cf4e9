//! System calls for one request, as strace sees them, in a short pass of their own: a traced server is a slow one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use super::server::{Program, Server};
use super::session::{DEPTH, Session};
use super::workload::{self, Objects};
use crate::measure::bench::ground::{Export, Ground, Scale};
use crate::measure::bench::load::Load;
use crate::measure::bench::table::verdict;

/// Calls with their names.
type Calls = BTreeMap<String, f64>;

/// What is counted.
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

/// One line of the table.
#[derive(Serialize)]
pub struct Line {
    title: &'static str,
    ours: Calls,
    /// None where only our server can be asked.
    peer: Option<Calls>,
    /// At most so many.
    aim: Option<f64>,
}

impl Line {
    /// For people: what each side calls, and what stands above it.
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

/// The sum, and what it is made of: the most frequent first.
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
    /// Every one.
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

    /// What it is for tables, and the aim.
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

    /// Counts it on our server and, where it can be asked, on the peer.
    pub fn line(self, sides: &[Program], ground: &Ground, scale: &Scale) -> Result<Line> {
        let (title, aim) = self.facts();
        let mut calls = sides
            .iter()
            .take(if self.is_jailed() { 1 } else { 2 })
            .map(|program| {
                self.of(program, ground, scale)
                    .with_context(|| format!("calls of {title} on {}", program.name))
            });
        Ok(Line {
            title,
            ours: calls.next().context("nobody to ask")??,
            peer: calls.next().transpose()?,
            aim,
        })
    }

    fn is_jailed(self) -> bool {
        matches!(self, Self::StatJailed | Self::StartJailed)
    }

    fn of(self, program: &Program, ground: &Ground, scale: &Scale) -> Result<Calls> {
        let tree = ground.path(Export::Tree);
        let (arguments, objects) = if self.is_jailed() {
            let arguments = vec!["--jail".into(), tree.into_os_string()];
            let root = Path::new("/");
            (arguments, Objects::below(root, root, scale, 0))
        } else {
            (Vec::new(), Objects::new(ground, scale, 0))
        };
        let trace = ground.beside("trace");
        let session = |count| -> Result<String> {
            let mut server = Server::traced(program, &arguments, &trace)?;
            server.load.begin()?;
            self.ask(&mut server.load, &objects, scale, count)?;
            // strace writes its last line when the server has ended.
            server.end()?;
            fs::read_to_string(&trace).context("strace wrote nothing")
        };
        if matches!(self, Self::Start | Self::StartJailed) {
            return until_version(&session(0)?);
        }
        // What two sessions differ in belongs to the requests; what begins and ends them does not.
        let (some, more) = (names(&session(1)?), names(&session(2)?));
        let count = match self {
            Self::Readdir => scale.crowd_count,
            _ => COUNT,
        };
        let per_request = |(name, calls): (String, u64)| {
            let before = some.get(&name).copied().unwrap_or(0);
            (name, (calls as f64 - before as f64) / count as f64)
        };
        Ok(more.into_iter().map(per_request).collect())
    }

    /// Asks `times` times what is counted.
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

/// Requests whose calls are counted; so many more make as many more calls.
const COUNT: u64 = 512;

/// How often each call is in a trace.
fn names(trace: &str) -> BTreeMap<String, u64> {
    let mut names = BTreeMap::new();
    for (name, _) in trace.lines().filter_map(call) {
        *names.entry(name.to_owned()).or_default() += 1;
    }
    names
}

/// The calls after the exec until VERSION leaves, that one included.
fn until_version(trace: &str) -> Result<Calls> {
    let mut calls = Calls::new();
    let mut lines = trace.lines().filter_map(call);
    lines
        .find(|(name, _)| *name == "execve")
        .context("strace saw no start")?;
    for (name, arguments) in lines {
        *calls.entry(name.to_owned()).or_default() += 1.0;
        if name.starts_with("write") || name.starts_with("send") {
            let stdout = arguments.split(',').next();
            ensure!(
                stdout == Some("1"),
                "before VERSION leaves: {name}({arguments}"
            );
            return Ok(calls);
        }
    }
    anyhow::bail!("VERSION did not leave")
}

/// The name and the arguments in `1234  openat(AT_FDCWD, …) = 3`. Signals and exits have no name of this form.
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
    fn calls_are_told_from_signals_and_ends() {
        let names = names(TRACE);
        let counts: Vec<_> = names.iter().map(|(name, n)| (&**name, *n)).collect();
        assert_eq!(
            counts,
            [("execve", 1), ("prctl", 1), ("read", 2), ("write", 1)]
        );
    }

    #[test]
    fn what_comes_before_version_is_counted_with_it() -> Result<()> {
        let calls = until_version(TRACE)?;
        assert_eq!(calls.values().sum::<f64>(), 3.0);
        assert!(until_version(&TRACE.replace("write(1", "write(2")).is_err());
        assert!(until_version(TRACE.split_once("12  write").unwrap().0).is_err());
        Ok(())
    }
}
