//! The workloads: what other clients do, which request the measured client sends, and the aims for its waits.

use std::time::Duration;

use clap::ValueEnum;

use super::disk::FileSystem;
use crate::measure::bench::frame;
use crate::measure::bench::table::{Aim, Metric, Subject, Unit};

/// Duration of a sync on the server with slow syncs.
pub const SYNC: Duration = Duration::from_millis(10);

/// Aims for waits, in milliseconds.
const P99_STABLE: (Metric, Aim) = (Metric::P99, Aim::at_most(3.0));
const P99_COMMIT: (Metric, Aim) = (Metric::P99, Aim::at_most(20.0));
const P99_COLD: (Metric, Aim) = (Metric::P99, Aim::at_most(5.0).worst());
const P99_REMOVED: (Metric, Aim) = (Metric::P99, Aim::at_most(5.0));
/// Last round with READs from a slow disk, each of which takes seconds.
const COLD_ROUND_MAX: u32 = 3;
/// Aims for stable WRITEs, in thousands per second.
const RATE: (Metric, Aim) = (Metric::Rate, Aim::at_least(0.9));
const RATE_EXT4: (Metric, Aim) = (Metric::Rate, Aim::at_least(5.0));

/// The load from other clients while one client's waits are measured, or a load whose own rate is measured.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Work {
    /// No load from other clients
    Nobody,
    /// One client sends stable WRITEs; a sync takes 10 ms
    Writer,
    /// Four clients send stable WRITEs; a sync takes 10 ms
    Writers,
    /// A client writes and commits a large file on ext4
    Commit,
    /// A client removes a file of 4 GiB that the server has open
    Removed,
    /// A client reads an uncached file from a disk of 1 MiB/s, with four READs of 1 MiB in flight
    Cold,
    /// No waits: rate of stable WRITEs, 16 in flight; a sync takes 10 ms
    Stable,
    /// Rate of stable WRITEs on ext4, 16 in flight
    StableExt4,
}

impl Work {
    /// Returns true if the workload runs on the server with slow syncs.
    pub fn has_slow_sync(self) -> bool {
        matches!(self, Self::Writer | Self::Writers | Self::Stable)
    }
}

/// The request that the measured client sends.
#[derive(Clone, Copy)]
pub enum Question {
    GetAttr,
    Read,
}

/// A line of the table.
pub enum Line {
    /// Waits for a request while other clients work
    Asked(Question, Work),
    /// Rate of stable WRITEs, 16 in flight
    Stable(Work),
    /// Waits for GETATTR while another client reads from a slow disk. The string is the reason why that disk cannot be made
    Cold(FileSystem, Option<String>),
    /// The floor without a server: waits that this machine itself causes
    Echo,
}

impl Line {
    /// All lines with this work. `is_quick` leaves out READ. `missing` is the reason why reads cannot be throttled.
    pub fn of(work: Work, is_quick: bool, missing: Option<&str>) -> Vec<Self> {
        let questions = [Question::GetAttr, Question::Read];
        let questions = &questions[..if is_quick { 1 } else { 2 }];
        let asked = questions.iter().map(|it| Self::Asked(*it, work));
        match work {
            Work::Cold => {
                let reason =
                    |kind: FileSystem| missing.map(str::to_owned).or_else(|| kind.missing());
                let lines = FileSystem::ALL.map(|kind| Self::Cold(kind, reason(kind)));
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
            Work::Nobody => ("no other client", Unit::Wait, None),
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
