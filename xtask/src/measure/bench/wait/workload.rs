//! The workloads: what other clients do while one client's waits are measured, and the limits of these waits.

use clap::ValueEnum;

use super::disk::FileSystem;
use crate::measure::bench::frame;
use crate::measure::bench::table::{P99, RATE, Reference, Subject, Unit};

/// The load from other clients while one client's waits are measured, or a load whose own rate is measured.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Work {
    /// No load from other clients
    Nobody,
    /// A client writes and commits a large file on ext4
    Commit,
    /// A client removes a file of 4 GiB that the server has open
    Removed,
    /// A client reads an uncached file from a disk of 1 MiB/s, with four READs of 1 MiB in flight
    Cold,
    /// No waits: rate of stable WRITEs on ext4, 16 in flight
    Stable,
}

/// A line of the table.
pub enum Line {
    /// A workload that needs no slow disk
    Plain(Work),
    /// Waits while another client reads from a slow disk. The string is the reason why that disk cannot be made
    Cold(FileSystem, Option<String>),
    /// The floor without a server: waits that this machine itself causes
    Echo,
}

impl Line {
    /// All lines with this work. `missing` is the reason why reads cannot be throttled.
    pub fn of(work: Work, missing: Option<&str>) -> Vec<Self> {
        match work {
            Work::Cold => {
                let reason =
                    |kind: FileSystem| missing.map(str::to_owned).or_else(|| kind.missing());
                let lines = FileSystem::ALL.map(|kind| Self::Cold(kind, reason(kind)));
                lines.into()
            }
            Work::Nobody => vec![Self::Echo, Self::Plain(work)],
            _ => vec![Self::Plain(work)],
        }
    }
}

impl frame::Workload for Line {
    fn subject(&self) -> Subject {
        let wait = |title: &str| Subject::new(title, Unit::Wait);
        let limit_ms = |title, limit| wait(title).gate(P99, limit, Reference::Unit);
        match self {
            Self::Plain(Work::Commit) => limit_ms("WRITE + COMMIT, ext4", 20.0),
            Self::Plain(Work::Removed) => limit_ms("4 GiB removed", 5.0),
            Self::Plain(Work::Stable) => {
                let subject = Subject::new("16 stable WRITEs, ext4", Unit::Request);
                subject.gate(RATE, 5.0, Reference::Unit)
            }
            Self::Plain(_) => wait("no other client"),
            Self::Cold(kind, missing) => {
                let (fs, kib) = (kind.fs, kind.readahead_kib);
                let title = format!("cold READs, {fs}, readahead {kib} KiB");
                let subject = Subject {
                    // Each round takes seconds.
                    rounds: 1..=3,
                    skipped: missing.clone(),
                    ..Subject::new(title, Unit::Wait)
                };
                subject.gate(P99, 5.0, Reference::Worst)
            }
            Self::Echo => wait("4 bytes sent back over loopback"),
        }
    }
}
