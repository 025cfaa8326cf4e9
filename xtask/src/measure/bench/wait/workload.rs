//! What others do meanwhile, what the client asks that waits, and how long it should wait at most.

use std::time::Duration;

use clap::ValueEnum;

use crate::measure::bench::frame;
use crate::measure::bench::table::{Aim, Subject, Unit, What};

/// How long a sync takes where it is slow.
pub const SYNC: Duration = Duration::from_millis(10);

/// Milliseconds that requests should wait at most.
const P99_STABLE: (What, Aim) = (What::P99, Aim::AtMost(3.0));
const P99_COMMIT: (What, Aim) = (What::P99, Aim::AtMost(20.0));
const LONGEST_REMOVED: (What, Aim) = (What::Longest, Aim::AtMost(5.0));
/// Thousands of stable WRITEs in a second.
const RATE: (What, Aim) = (What::Rate, Aim::AtLeast(0.9));
const RATE_EXT4: (What, Aim) = (What::Rate, Aim::AtLeast(5.0));

/// What others do while somebody waits.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Work {
    /// Nothing
    Nobody,
    /// One writes stably, where a sync takes 10 ms
    Writer,
    /// Four do
    Writers,
    /// A large file is written and committed; ext4
    Commit,
    /// A file of 4 GiB that the server has open is removed; with --quick 1 GiB
    Removed,
    /// Nobody waits: 16 stable WRITEs in flight, where a sync takes 10 ms
    Stable,
    /// The same on ext4
    StableExt4,
}

impl Work {
    /// Whether it is for the server whose syncs are slow.
    pub fn has_slow_sync(self) -> bool {
        matches!(self, Self::Writer | Self::Writers | Self::Stable)
    }
}

/// What is asked while others work.
#[derive(Clone, Copy)]
pub enum Question {
    GetAttr,
    Read,
}

/// One line.
pub enum Line {
    /// What is asked while others work
    Asked(Question, Work),
    /// So many stable WRITEs at once, and nobody waits
    Stable(Work),
    /// Without a server: what this machine makes anybody wait
    Echo,
}

impl Line {
    /// All lines of one kind of work.
    pub fn of(work: Work) -> Vec<Self> {
        let asked = [Question::GetAttr, Question::Read].map(|it| Self::Asked(it, work));
        match work {
            Work::Stable | Work::StableExt4 => vec![Self::Stable(work)],
            Work::Nobody => [Self::Echo].into_iter().chain(asked).collect(),
            _ => asked.into(),
        }
    }
}

impl frame::Workload for Line {
    fn subject(&self) -> Subject {
        let (question, work) = match self {
            Self::Asked(Question::GetAttr, work) => ("GETATTR", work),
            Self::Asked(Question::Read, work) => ("READ 4 KiB", work),
            Self::Stable(work) => ("16 stable WRITEs", work),
            Self::Echo => {
                let subject = Subject::new("4 bytes sent back over loopback", Unit::Wait);
                return Subject {
                    is_floor: true,
                    ..subject
                };
            }
        };
        let (beside, unit, aim) = match work {
            Work::Nobody => ("nobody else", Unit::Wait, None),
            Work::Writer => ("1 stable writer, slow sync", Unit::Wait, Some(P99_STABLE)),
            Work::Writers => ("4 stable writers, slow sync", Unit::Wait, Some(P99_STABLE)),
            Work::Commit => ("WRITE + COMMIT, ext4", Unit::Wait, Some(P99_COMMIT)),
            Work::Removed => ("large file removed", Unit::Wait, Some(LONGEST_REMOVED)),
            Work::Stable => ("slow sync", Unit::Request, Some(RATE)),
            Work::StableExt4 => ("ext4", Unit::Request, Some(RATE_EXT4)),
        };
        let mut subject = Subject::new(format!("{question}, {beside}"), unit);
        subject.aims.extend(aim);
        subject
    }
}
