//! The verdict on a session.

use std::fmt;
use std::os::unix::process::ExitStatusExt as _;

use nix::libc;

use super::fault::{Disturbance, Fault};
use super::session::Notes;

/// The outcome of a session with a disturbed system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Every request succeeded.
    Served,
    /// A part of the service was missing: the port mapper, the announcement, or an address family.
    Reduced,
    /// Requests were answered with an error of the protocol; later requests succeeded.
    Reported,
    /// The connection was closed; a new one was served.
    Dropped,
    /// The program ended with a message and an exit status other than 0.
    Refused,
    /// The program ended with exit status 0 before it was asked to.
    Ended,
    /// The supervisor started a process again several times, each of which met the fault, and said so.
    Retried,
    /// A call that did nothing returned success, and a reply says so. No program can see that.
    Deceived,
    /// The call was not made as often as in the undisturbed session.
    Missed,
    /// The program crashed.
    Panic,
    /// A request was not answered although the program ran, or the program did not end.
    Hang,
    /// Later requests failed too, on new connections.
    Broken,
    /// The program used CPU time while it was idle.
    Spin,
    /// Acknowledged bytes are not in the file.
    Lost,
    /// A reply contradicts the file system, although the call returned an error.
    Wrong,
    /// The program ended with an exit status other than 0, without a message.
    Mute,
}

impl Outcome {
    /// Returns true for a fault of the program.
    pub fn is_failure(self) -> bool {
        self >= Self::Panic
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = format!("{self:?}");
        f.write_str(&if self.is_failure() {
            name.to_uppercase()
        } else {
            name.to_lowercase()
        })
    }
}

/// Signals for a fault of the program.
const CRASHES: [i32; 7] = [
    libc::SIGSEGV,
    libc::SIGILL,
    libc::SIGABRT,
    libc::SIGTRAP,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGSYS,
];

/// Judges a session. Returns the outcome, and the reason for it in a few words.
pub(super) fn judge(notes: &Notes, disturbance: Option<&Disturbance>) -> (Outcome, String) {
    let has_no_effect = disturbance.is_some_and(|it| it.fault == Fault::NoEffect);
    let lines = notes.end.as_ref().map(|end| end.lines.clone());
    let lines = lines.unwrap_or_default();
    let code = notes.end.as_ref().and_then(|end| end.code());
    let said = || format!("exit status {code:?}, {lines:?}");
    let first = |lists: &[(&Vec<String>, Outcome)]| {
        let mut lists = lists.iter().filter(|(list, _)| !list.is_empty());
        lists
            .next()
            .map(|(list, outcome)| (*outcome, list.join("; ")))
    };
    let has = |part| lines.iter().any(|line: &String| line.contains(part));
    let signal = notes.end.as_ref().and_then(|end| end.status.signal());
    // Status 101 is that of a panic. A supervisor kills a process only after 30 s, which no session lasts.
    let of_children = has(" was killed; restarting") || has(" with status 101; restarting");
    let is_crash = signal.is_some_and(|signal| CRASHES.contains(&signal)) || code == Some(101);
    if is_crash || of_children || has("internal error") {
        return (Outcome::Panic, format!("signal {signal:?}, {}", said()));
    }
    if disturbance.is_some() && !notes.trace.is_disturbed {
        return (Outcome::Missed, said());
    }
    let restarts = lines.iter().filter(|line| line.contains("; restarting"));
    if restarts.count() > 1 && notes.spun.is_empty() && notes.lost.is_empty() {
        return (Outcome::Retried, said());
    }
    let unended = match notes.end {
        None => vec!["the program did not end".to_owned()],
        Some(_) => Vec::new(),
    };
    if let Some(verdict) = first(&[
        (&notes.unanswered, Outcome::Hang),
        (&unended, Outcome::Hang),
        (&notes.broken, Outcome::Broken),
        (&notes.spun, Outcome::Spin),
        (&notes.lost, Outcome::Lost),
    ]) {
        return verdict;
    }
    // Retrying does not help: the kernel reports a failed write to the disk once.
    let is_sync = |it: &&Disturbance| ["fsync", "fdatasync"].contains(&it.call.as_str());
    let failed_sync = disturbance.filter(is_sync);
    let is_reported = code != Some(0) || notes.is_cut() || !notes.failed.is_empty();
    if failed_sync.is_some_and(|it| it.fault == Fault::Errno("EIO")) && !is_reported {
        return (Outcome::Lost, "no reply reports the failed sync".into());
    }
    let wrong = if has_no_effect {
        Outcome::Deceived
    } else {
        Outcome::Wrong
    };
    if let Some(verdict) = first(&[(&notes.wrong, wrong)]) {
        return verdict;
    }
    match code {
        Some(0) if notes.is_ended_early => (Outcome::Ended, notes.cut.join("; ")),
        Some(0) => first(&[
            (&notes.cut, Outcome::Dropped),
            (&notes.failed, Outcome::Reported),
            (&notes.reduced, Outcome::Reduced),
        ])
        .unwrap_or((Outcome::Served, String::new())),
        _ if lines.is_empty() => (Outcome::Mute, said()),
        _ => (Outcome::Refused, said()),
    }
}
