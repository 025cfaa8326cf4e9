//! The system calls of our programs, as strace saw them: for each role those before and those after a process installs its filter.

use super::calls::{Calls, Names};
use anyhow::{Context as _, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Names that strace prints for other calls: parts of socketcall on i686, and numbers that strace does not know.
const OTHER_NAMES: [(&str, &str); 4] = [
    ("recv", "recvfrom"),
    ("send", "sendto"),
    ("syscall_0x1c3", "cachestat"),
    ("syscall_0x1c4", "fchmodat2"),
];

/// The calls of one role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// Before each process installs its filter. Some processes install none.
    pub start: Names,
    /// After it.
    pub serving: Names,
    /// Only in programs of i686.
    pub narrow: Names,
}

impl Trace {
    /// Removes from each list what a later one of `narrow`, `start` and `serving` has.
    fn separate(&mut self) {
        self.start.retain(|name| !self.serving.contains(name));
        let (start, serving) = (&self.start, &self.serving);
        self.narrow
            .retain(|name| !start.contains(name) && !serving.contains(name));
    }
}

/// Words that precede a command to log its calls, and those of its children, in a new file in `directory`.
pub fn wrapper(directory: &Path) -> Vec<String> {
    let script = "log=$1; shift; exec strace -f -qq -o \"$log/$$\" \"$@\"";
    let directory = directory.display().to_string();
    ["sh", "-c", script, "sh", &directory]
        .map(String::from)
        .into()
}

/// Reads all logs in `directory`. Programs of other projects are left out.
pub fn read(directory: &Path, calls: &Calls) -> Result<BTreeMap<String, Trace>> {
    let mut traces: BTreeMap<String, Trace> = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let text = fs::read(&path);
        let text = text.with_context(|| format!("cannot read {}", path.display()))?;
        for (role, trace) in parse(&String::from_utf8_lossy(&text), calls) {
            let sum = traces.entry(role).or_default();
            sum.start.extend(trace.start);
            sum.serving.extend(trace.serving);
            sum.narrow.extend(trace.narrow);
        }
    }
    for trace in traces.values_mut() {
        trace.separate();
    }
    Ok(traces)
}

/// A process or thread of the log.
#[derive(Clone, Default)]
struct Process {
    /// The role. None: another program.
    role: Option<String>,
    /// True once the process, or one that made it, has installed a filter.
    is_confined: bool,
    /// True if the program is that of i686.
    is_narrow: bool,
    /// The program that an interrupted execve is to start.
    starting: Option<Box<Self>>,
}

fn parse(text: &str, calls: &Calls) -> BTreeMap<String, Trace> {
    let known: BTreeSet<&str> = calls.roles.keys().map(String::as_str).collect();
    // Known before the first line is read, because the calls of a child may precede the result of clone.
    let parents: BTreeMap<&str, &str> = text.lines().filter_map(clone_in).collect();
    let mut processes: BTreeMap<&str, Process> = BTreeMap::new();
    let mut traces: BTreeMap<String, Trace> = BTreeMap::new();
    // Lines are `1234  openat(AT_FDCWD, …) = 3`, and `1234  <... openat resumed> …) = 3` after an interruption.
    for line in text.lines() {
        let Some((pid, call)) = line.split_once(char::is_whitespace) else {
            continue;
        };
        let call = call.trim_start();
        let result = call.rsplit_once(" = ").map(|(_, result)| result);
        if !processes.contains_key(pid) {
            let parent = parents.get(pid).and_then(|parent| processes.get(parent));
            let process = parent.cloned().unwrap_or_default();
            processes.insert(pid, process);
        }
        if call.starts_with("<... execve resumed>") {
            let process = processes.entry(pid).or_default();
            let starting = process.starting.take();
            if let Some(started) = starting.filter(|_| result == Some("0")) {
                *process = *started;
            }
            continue;
        }
        let Some((name, arguments)) = call.split_once('(') else {
            continue;
        };
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            continue;
        }
        let is_unfinished = call.ends_with("<unfinished ...>");
        if name == "execve" && result != Some("0") && !is_unfinished {
            continue;
        }
        if name == "execve" {
            let role = role_of(arguments, &known).map(str::to_owned);
            let started = Process {
                role,
                is_narrow: arguments.contains("/i686/stowaway"),
                ..Process::default()
            };
            if is_unfinished {
                processes.entry(pid).or_default().starting = Some(started.into());
                continue;
            }
            processes.insert(pid, started);
        }
        let process = processes.entry(pid).or_default();
        let Some(role) = &process.role else {
            continue;
        };
        let trace = traces.entry(role.clone()).or_default();
        let other = OTHER_NAMES.iter().find(|(other, _)| *other == name);
        let mut name = other.map_or(name, |(_, name)| *name);
        // ARM64's name of access, but x86 has both calls.
        if name != "faccessat" {
            name = calls.base(name);
        }
        let names = match process {
            Process {
                is_narrow: true, ..
            } => &mut trace.narrow,
            Process {
                is_confined: true, ..
            } => &mut trace.serving,
            _ => &mut trace.start,
        };
        names.insert(name.to_owned());
        process.is_confined |= arguments.starts_with("PR_SET_SECCOMP");
    }
    traces
}

/// The child and the parent, if the line has the result of clone.
fn clone_in(line: &str) -> Option<(&str, &str)> {
    let (parent, call) = line.split_once(char::is_whitespace)?;
    let call = call.trim_start();
    let is_clone = call.starts_with("clone") || call.starts_with("<... clone");
    let (_, child) = call.rsplit_once(" = ").filter(|_| is_clone)?;
    Some((child, parent))
}

/// The role that execve starts: its program's name or first argument.
fn role_of<'a>(arguments: &'a str, known: &BTreeSet<&str>) -> Option<&'a str> {
    let mut words = arguments.split('"').skip(1).step_by(2);
    let path = words.next()?;
    let named = words.next()?.rsplit('/').next()?;
    if known.contains(named) {
        return Some(named);
    }
    let role = words.next()?;
    let is_ours = path.contains("stowaway");
    (is_ours && known.contains(role)).then_some(role)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machines::lockdown::calls::RoleCalls;

    #[test]
    fn calls_of_children_belong_to_the_role() {
        let log = r#"
10    execve("/bin/sh", ["sh"], 0x7ffd /* 1 var */) = 0
10    brk(0) = 0x1
10    execve("/t/x86_64/stowaway", ["/t/x86_64/stowaway", "nfs", "-p"], 0x7ffd /* 1 var */) = 0
10    mmap2(0, 1) = 0x1000
10    socket(AF_INET, SOCK_STREAM, 0) = 3
10    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, {len=9, filter=0x1}) = 0
10    epoll_pwait(4, <unfinished ...>
10    <... epoll_pwait resumed>[]) = 1
10    clone(child_stack=0x1 <unfinished ...>
11    set_robust_list(0, 24) = 0
10    <... clone resumed>, flags=CLONE_VM) = 11
10    socket(AF_INET, SOCK_STREAM, 0) = 3
10    --- SIGTERM {si_signo=SIGTERM} ---
10    +++ exited with 0 +++
13    execve("/t/i686/stowaway", ["/t/i686/stowaway", "nfs"], 0x7ffd /* 1 var */) = 0
13    mmap2(0, 1) = 0x1000
13    poll([{fd=3}], 1, 0) = 0
12    execve("/t/x86_64/stowaway", ["/t/x86_64/stowaway", "nfs"], 0x7ffd /* 1 var */ <unfinished ...>
12    <... execve resumed>) = 0
12    futimesat(3, NULL, NULL) = 0
12    execve("/t/x86_64/stowaway", ["/t/x86_64/stowaway", "nfs"], 0x7ffd /* 1 var */ <unfinished ...>
12    <... execve resumed>) = -1 ENOENT (No such file or directory)
12    execve("/bin/ls", ["ls"], 0x7ffd /* 1 var */) = 0
12    statfs("/") = 0"#;
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let calls = Calls {
            roles: BTreeMap::from([("nfs".to_owned(), RoleCalls::default())]),
            variants: BTreeMap::from([("mmap".to_owned(), names(&["mmap2"]))]),
            ..Calls::default()
        };
        let expected = Trace {
            start: names(&["execve", "futimesat", "mmap", "prctl"]),
            serving: names(&["clone", "epoll_pwait", "set_robust_list", "socket"]),
            narrow: names(&["poll"]),
        };
        let traces = BTreeMap::from([("nfs".to_owned(), expected)]);
        let mut parsed = parse(log, &calls);
        parsed.values_mut().for_each(Trace::separate);
        assert_eq!(parsed, traces);
    }
}
