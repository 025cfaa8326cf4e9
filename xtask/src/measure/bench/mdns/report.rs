//! What came out for mDNS: the table, what the responders hold in memory, and what their files weigh.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::workload::DEPTH;
use crate::measure::bench::measure::{Cost, Spread};
use crate::measure::bench::table::{self, Table, Unit, What, verdict};

/// Resident memory should stay below this, in KiB.
const RSS_AIM_KIB: u64 = 512;

/// Everything that was measured.
#[derive(Serialize)]
pub struct Report {
    #[serde(flatten)]
    pub table: Table,
    pub floor: Floor,
    pub memory: Vec<Holding>,
    pub files: Vec<File>,
    pub notes: Vec<String>,
}

/// What the kernel alone takes for one question and what is sent back.
#[derive(Serialize)]
pub struct Floor {
    cpu_us: Spread,
    rate_thousands: Spread,
}

/// What a responder holds, before the first question and after the last.
#[derive(Serialize)]
pub struct Holding {
    pub responder: &'static str,
    pub at_rest: Memory,
    pub at_end: Memory,
}

/// What a process holds, in KiB.
#[derive(Clone, Copy, Serialize)]
pub struct Memory {
    resident: u64,
    /// Each page divided by how many processes have it.
    proportional: u64,
}

/// What a program is made of.
#[derive(Serialize)]
pub struct File {
    pub responder: &'static str,
    pub bytes: u64,
    pub bytes_with_libraries: u64,
    pub libraries: usize,
}

impl Floor {
    /// Of several turns.
    pub fn of(costs: &[Cost]) -> Option<Self> {
        let spread = |what: What| Spread::of(costs.iter().map(|cost| what.of(cost, Unit::Request)));
        Some(Self {
            cpu_us: spread(What::ServerCpu)?,
            rate_thousands: spread(What::Rate)?,
        })
    }
}

impl Memory {
    /// That of the process `pid`.
    pub fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
            number
                .and_then(|number| number.parse().ok())
                .with_context(|| format!("{path} has no {name}"))
        };
        Ok(Self {
            resident: field("Rss:")?,
            proportional: field("Pss:")?,
        })
    }
}

impl Report {
    /// Everything, on stdout.
    pub fn print(&self) {
        self.table.print(&[
            &format!("batches of {DEPTH} questions; each is answered to the one who asks alone,"),
            "for what goes to all may be said once a second only (RFC 6762 section 6);",
            "avahi-daemon without its rate limit and without D-Bus",
        ]);
        for note in &self.notes {
            println!("{note}");
        }
        println!(
            "\nof a question and its answer, the kernel alone takes CPU µs {}, rate 1,000/s {}",
            self.floor.cpu_us, self.floor.rate_thousands
        );
        println!("\nmemory in KiB, resident (proportional); the aim is less than {RSS_AIM_KIB}:\n");
        for it in &self.memory {
            let show = |Memory {
                            resident,
                            proportional,
                        }| format!("{resident} ({proportional})");
            println!(
                "{:<16} at rest {:<14} at the end {:<14} reached: {}",
                it.responder,
                show(it.at_rest),
                show(it.at_end),
                verdict(it.at_end.resident < RSS_AIM_KIB)
            );
        }
        println!("\nbytes:\n");
        for it in &self.files {
            println!(
                "{:<16} its file {:<10} with {} libraries {}",
                it.responder, it.bytes, it.libraries, it.bytes_with_libraries
            );
        }
    }

    /// Everything, as JSON.
    pub fn write_json(&self, path: &Path) -> Result<()> {
        table::write_json(self, path)
    }
}
