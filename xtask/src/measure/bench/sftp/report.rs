//! What came out for SFTP: the table, what the servers hold in memory, and the system calls.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use super::calls::{Calls, Line};
use super::load::DEPTH;
use crate::machines::server::status_field;
use crate::measure::bench::table::{self, Table, verdict};

/// Resident memory should stay below this, in KiB.
const RSS_AIM_KIB: u64 = 640;

/// Everything that was measured.
#[derive(Serialize)]
pub struct Report {
    #[serde(flatten)]
    pub table: Table,
    pub memory: Vec<Holding>,
    pub calls: Vec<Line>,
}

/// What a server holds, before the first request and after the last.
#[derive(Serialize)]
pub struct Holding {
    pub server: String,
    pub at_rest: Memory,
    pub at_end: Memory,
}

/// What a process holds, in KiB.
#[derive(Clone, Copy, Serialize)]
pub struct Memory {
    resident: u64,
    /// The part of it that is nobody else's and no file's.
    anonymous: u64,
}

impl Memory {
    /// That of the process `pid`.
    pub fn of(pid: u32) -> Result<Self> {
        Ok(Self {
            resident: status_field(pid, "VmRSS")?,
            anonymous: status_field(pid, "RssAnon")?,
        })
    }
}

impl Report {
    /// Everything, on stdout.
    pub fn print(&self) {
        self.table.print(&[
            &format!("depth {DEPTH} (a directory is walked page by page)"),
            "files are in the page cache, on a tmpfs",
        ]);
        println!("\nresident memory in KiB (anonymous); the aim is less than {RSS_AIM_KIB}:\n");
        for it in &self.memory {
            let Memory {
                resident,
                anonymous,
            } = it.at_rest;
            print!("{:<30} at rest {resident} ({anonymous})", it.server);
            let Memory {
                resident,
                anonymous,
            } = it.at_end;
            println!(", at the end {resident} ({anonymous})");
        }
        if !self.calls.is_empty() {
            println!("\nsystem calls for one:\n");
        }
        for line in &self.calls {
            let sum: f64 = line.ours.values().sum();
            let aim = line.aim.map_or_else(String::new, |aim| {
                format!("   aim ≤ {aim}: {}", verdict(sum <= aim))
            });
            println!("{}{aim}", line.title);
            println!("  {:<26} {}", "stowaway", listed(&line.ours));
            if let Some(peer) = &line.peer {
                println!("  {:<26} {}", super::PEER, listed(peer));
            }
        }
    }

    /// Everything, as JSON.
    pub fn write_json(&self, path: &Path) -> Result<()> {
        table::write_json(self, path)
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
