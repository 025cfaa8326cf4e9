//! The verdict on a session.

use std::fmt;

use super::session::Notes;
use super::{Disturbance, Fault};

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
        f.write_str(match self {
            Self::Served => "served",
            Self::Reduced => "reduced",
            Self::Reported => "reported",
            Self::Dropped => "dropped",
            Self::Refused => "refused",
            Self::Ended => "ended",
            Self::Retried => "retried",
            Self::Deceived => "deceived",
            Self::Missed => "–",
            Self::Panic => "PANIC",
            Self::Hang => "HANG",
            Self::Broken => "BROKEN",
            Self::Spin => "SPIN",
            Self::Lost => "LOST",
            Self::Wrong => "WRONG",
            Self::Mute => "MUTE",
        })
    }
}

/// Judges a session. Returns the outcome, and the reason for it in a few words.
pub(super) fn judge(notes: &Notes, disturbance: Option<&Disturbance>) -> (Outcome, String) {
    let has_no_effect = disturbance.is_some_and(|it| it.fault == Fault::NoEffect);
    let lines = notes.end.as_ref().map(|end| end.lines.clone());
    let lines = lines.unwrap_or_default();
    let code = notes.end.as_ref().and_then(|end| end.code());
    let said = || format!("exit status {code:?}, {lines:?}");
    let words = |all: &[String]| all.join("; ");
    let is_internal = lines.iter().any(|line| line.contains("internal error"));
    if is_internal || !notes.trace.crashes.is_empty() {
        return (
            Outcome::Panic,
            format!("{:?}, {}", notes.trace.crashes, said()),
        );
    }
    if disturbance.is_some() && !notes.trace.is_disturbed {
        return (Outcome::Missed, said());
    }
    let restarts = lines.iter().filter(|line| line.contains("; restarting"));
    if restarts.count() > 1 && notes.spun.is_empty() && notes.lost.is_empty() {
        return (Outcome::Retried, said());
    }
    if !notes.unanswered.is_empty() {
        return (Outcome::Hang, words(&notes.unanswered));
    }
    if notes.end.is_none() {
        return (Outcome::Hang, "the program did not end".into());
    }
    if !notes.broken.is_empty() {
        return (Outcome::Broken, words(&notes.broken));
    }
    if !notes.spun.is_empty() {
        return (Outcome::Spin, words(&notes.spun));
    }
    if !notes.lost.is_empty() {
        return (Outcome::Lost, words(&notes.lost));
    }
    // Retrying does not help: the kernel reports a failed write to the disk once.
    let is_sync = |it: &&Disturbance| ["fsync", "fdatasync"].contains(&it.call.as_str());
    let failed_sync = disturbance.filter(is_sync);
    let is_reported = code != Some(0) || notes.is_cut() || !notes.failed.is_empty();
    if failed_sync.is_some_and(|it| it.fault == Fault::Errno("EIO")) && !is_reported {
        return (Outcome::Lost, "no reply reports the failed sync".into());
    }
    if !notes.wrong.is_empty() {
        let outcome = if has_no_effect {
            Outcome::Deceived
        } else {
            Outcome::Wrong
        };
        return (outcome, words(&notes.wrong));
    }
    match code {
        Some(0) if notes.is_ended_early => return (Outcome::Ended, words(&notes.cut)),
        Some(0) => {}
        _ if lines.is_empty() => return (Outcome::Mute, said()),
        _ => return (Outcome::Refused, said()),
    }
    if !notes.cut.is_empty() {
        return (Outcome::Dropped, words(&notes.cut));
    }
    if !notes.failed.is_empty() {
        return (Outcome::Reported, words(&notes.failed));
    }
    if !notes.reduced.is_empty() {
        return (Outcome::Reduced, words(&notes.reduced));
    }
    (Outcome::Served, String::new())
}
