//! Programs under strace, which counts system calls or disturbs one of them.
//!
//! strace counts the uses of a call in each thread, so the second use is the second one of each thread that makes two.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::Fault;
use crate::machines::wait_for;

/// Time limit for strace to write the end of the program, after the program has ended.
const TRACE_MAX: Duration = Duration::from_secs(2);

/// The use of a system call that is disturbed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disturbance {
    /// The name of the call.
    pub call: String,
    /// The number of the use in its thread; the first is 1.
    pub use_number: usize,
    pub fault: Fault,
}

/// Returns the words that start a program under strace, which writes to `trace`. Without a disturbance, all calls are written.
pub(super) fn wrapper(trace: &Path, disturbance: Option<&Disturbance>) -> Vec<String> {
    // -D: the program, not strace, is our child. -q keeps the lines about the end of a process.
    let mut words: Vec<String> = ["strace", "-D", "-f", "-q", "-s", "0"]
        .map(str::to_owned)
        .into();
    words.extend(["-o".into(), trace.display().to_string()]);
    if let Some(Disturbance {
        call,
        use_number,
        fault,
    }) = disturbance
    {
        let how = fault.injection();
        // --seccomp-bpf: other system calls are not stopped.
        words.push("--seccomp-bpf".into());
        words.extend(["-e".into(), format!("trace={call}")]);
        words.extend([
            "-e".into(),
            format!("inject={call}:{how}:when={use_number}"),
        ]);
    }
    words
}

/// The parsed output of strace.
#[derive(Debug, Default)]
pub struct Trace {
    /// For each call, the uses in the thread that makes most of them.
    pub uses: BTreeMap<String, usize>,
    /// True if strace disturbed a call.
    pub is_disturbed: bool,
    /// Lines about processes that a signal for a fault of the program ended, or that ended with the exit status of a panic.
    pub crashes: Vec<String>,
}

impl Trace {
    /// Waits until strace has written the ends of all processes and threads, and parses its output.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let read = || fs::read_to_string(path);
        let complete = wait_for(TRACE_MAX, || {
            Ok(read().ok().filter(|text| is_complete(text)))
        })?;
        let text = complete.map_or_else(read, Ok);
        Ok(Self::parse(&text.context("strace wrote nothing")?))
    }

    fn parse(text: &str) -> Self {
        /// Ends of a process that no fault of a system call excuses. Status 101 is that of a panic.
        const CRASHES: [&str; 8] = [
            "killed by SIGSEGV",
            "killed by SIGILL",
            "killed by SIGABRT",
            "killed by SIGTRAP",
            "killed by SIGBUS",
            "killed by SIGFPE",
            "killed by SIGSYS",
            "exited with 101 ",
        ];
        let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        let mut trace = Self::default();
        for line in text.lines() {
            // Lines are `1234  openat(AT_FDCWD, …) = 3`, `1234 <... read resumed> …` or `1234 +++ exited with 0 +++`.
            let Some((thread, event)) = line.split_once(char::is_whitespace) else {
                continue;
            };
            let event = event.trim_start();
            trace.is_disturbed |= event.contains("(INJECTED)");
            if event.starts_with("+++ ") && CRASHES.iter().any(|crash| event.contains(crash)) {
                trace.crashes.push(event.to_owned());
            }
            let Some((name, _)) = event.split_once('(') else {
                continue;
            };
            if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                *counts.entry((name, thread)).or_default() += 1;
            }
        }
        for ((name, _), count) in counts {
            let most = trace.uses.entry(name.to_owned()).or_default();
            *most = count.max(*most);
        }
        trace
    }
}

/// Returns true if the output has the ends of all processes and threads in it.
fn is_complete(text: &str) -> bool {
    let mut alive = BTreeSet::new();
    for line in text.lines() {
        let (thread, event) = line.split_once(char::is_whitespace).unwrap_or_default();
        if event.trim_start().starts_with("+++ ") {
            alive.remove(thread);
        } else {
            alive.insert(thread);
        }
    }
    alive.is_empty() && text.ends_with(" +++\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_are_counted_per_thread() {
        let trace = Trace::parse(
            "7 read(0, \"\"..., 4) = 4\n7 read(0, <unfinished ...>\n8 read(3, \"\"..., 4) = 4\n7 <... read resumed>) = 0\n8 --- SIGTERM {} ---\n8 +++ killed by SIGSEGV +++\n7 +++ exited with 0 +++\n",
        );
        assert_eq!(trace.uses, BTreeMap::from([("read".to_owned(), 2)]));
        assert_eq!(trace.crashes, ["+++ killed by SIGSEGV +++"]);
        assert!(!trace.is_disturbed);
    }

    #[test]
    fn injected_result_is_seen() {
        assert!(Trace::parse("7 fsync(3) = -1 EIO (Input/output error) (INJECTED)\n").is_disturbed);
    }
}
