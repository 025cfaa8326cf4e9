//! What others do meanwhile, what the client asks that waits, and how long it should wait at most.

use std::time::Duration;

use clap::ValueEnum;

use super::disk::Kind;
use crate::measure::bench::frame;
use crate::measure::bench::table::{Aim, Subject, Unit, What};

/// How long a sync takes where it is slow.
pub const SYNC: Duration = Duration::from_millis(10);

/// Longest waits in milliseconds.
const P99_STABLE: (What, Aim) = (What::P99, Aim::at_most(3.0));
const P99_COMMIT: (What, Aim) = (What::P99, Aim::at_most(20.0));
const P99_COLD: (What, Aim) = (What::P99, Aim::at_most(5.0).worst());
const P99_REMOVED: (What, Aim) = (What::P99, Aim::at_most(5.0));
/// Rounds of READs from a slow disk: each takes seconds.
const COLD_ROUND_MAX: u32 = 3;
/// Thousands of stable WRITEs in a second.
const RATE: (What, Aim) = (What::Rate, Aim::at_least(0.9));
const RATE_EXT4: (What, Aim) = (What::Rate, Aim::at_least(5.0));

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
    /// A file of 4 GiB that the server has open is removed
    Removed,
    /// A file that is not cached is read from a disk of 1 MiB/s, 1 MiB each, four READs in flight
    Cold,
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
    /// GETATTR beside READs from a slow disk, or the reason why there is no such disk
    Cold(Kind, Option<String>),
    /// Without a server: what this machine makes anybody wait
    Echo,
}

impl Line {
    /// All lines of one kind of work. `is_quick` leaves out READ; `missing` is the reason why disks cannot be slow.
    pub fn of(work: Work, is_quick: bool, missing: Option<&str>) -> Vec<Self> {
        let questions = [Question::GetAttr, Question::Read];
        let questions = &questions[..if is_quick { 1 } else { 2 }];
        let asked = questions.iter().map(|it| Self::Asked(*it, work));
        match work {
            Work::Cold => {
                let reason = |kind: Kind| missing.map(str::to_owned).or_else(|| kind.missing());
                let lines = Kind::ALL.map(|kind| Self::Cold(kind, reason(kind)));
                lines.into()
            }
            Work::Stable | Work::StableExt4 => vec![Self::Stable(work)],
            Work::Nobody => [Self::Echo].into_iter().chain(asked).collect(),
            _ => asked.collect(),
        }
    }
}

impl frame::Workload for Line {
    fn subject(&self) -> Subject {
        let (question, work) = match self {
            Self::Asked(Question::GetAttr, work) => ("GETATTR", work),
            Self::Asked(Question::Read, work) => ("READ 4 KiB", work),
            Self::Stable(work) => ("16 stable WRITEs", work),
            Self::Cold(kind, missing) => {
                let (fs, kib) = (kind.fs, kind.readahead_kib);
                let title = format!("GETATTR, cold READs, {fs}, readahead {kib} KiB");
                let subject = Subject {
                    has_warm_up: false,
                    round_max: COLD_ROUND_MAX,
                    skipped: missing.clone(),
                    ..Subject::new(title, Unit::Wait)
                };
                return subject.aim(P99_COLD.0, P99_COLD.1);
            }
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
            Work::Removed => ("4 GiB removed", Unit::Wait, Some(P99_REMOVED)),
            Work::Cold => ("cold READs", Unit::Wait, Some(P99_COLD)),
            Work::Stable => ("slow sync", Unit::Request, Some(RATE)),
            Work::StableExt4 => ("ext4", Unit::Request, Some(RATE_EXT4)),
        };
        let mut subject = Subject::new(format!("{question}, {beside}"), unit);
        subject.aims.extend(aim);
        subject
    }
}
