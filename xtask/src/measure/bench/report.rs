//! What came out for NFS: a table for people, JSON for programs, a chart for both.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::IDLE_COUNT;
use super::floor::Floor;
use super::load::DEPTH;
use super::measure::{Cost, Spread};
use super::table::{self, Table, What};
use super::workload::Workload;

/// Everything that was measured.
#[derive(Serialize)]
pub struct Report {
    depth: usize,
    idle_connections: usize,
    #[serde(flatten)]
    table: Table,
    floors: Vec<FloorFigure>,
    memory: Vec<Memory>,
}

/// What the kernel alone takes.
#[derive(Serialize)]
struct FloorFigure {
    title: &'static str,
    cpu_unit: &'static str,
    cpu: Spread,
    rate_unit: &'static str,
    rate: Spread,
}

/// What a server holds at the end.
#[derive(Serialize)]
struct Memory {
    server: &'static str,
    rss_kib: u64,
}

impl Report {
    /// Brings the costs of ours, the peer's and the kernel's, round by round, to figures.
    pub fn new(
        results: &[(Workload, [Vec<Cost>; 2])],
        floors: &[(Floor, Vec<Cost>)],
        rounds: u32,
        memory: Vec<(&'static str, u64)>,
    ) -> Result<Self> {
        let mut table = Table::new(["stowaway", "nfs-ganesha"], rounds)?;
        for (workload, costs) in results {
            table.add(&workload.facts().subject, costs)?;
        }
        let floors = floors
            .iter()
            .map(|(floor, costs)| FloorFigure::new(floor, costs).context("no floor was measured"))
            .collect::<Result<_>>()?;
        let memory = memory
            .into_iter()
            .map(|(server, rss_kib)| Memory { server, rss_kib })
            .collect();
        Ok(Self {
            depth: DEPTH,
            idle_connections: IDLE_COUNT,
            table,
            floors,
            memory,
        })
    }

    /// The table, on stdout.
    pub fn print(&self) {
        self.table.print(&[
            &format!(
                "depth {} (a directory is walked page by page); {} idle connections to each server",
                self.depth, self.idle_connections
            ),
            "on a tmpfs, or on an ext4 in memory behind a loop device; dirsync: there the kernel makes names durable",
        ]);
        if !self.floors.is_empty() {
            println!("\nthe kernel alone, without a server:\n");
        }
        for it in &self.floors {
            println!(
                "{:<26} CPU {} {:<20} {} {}",
                it.title,
                it.cpu_unit,
                it.cpu.to_string(),
                it.rate,
                it.rate_unit,
            );
        }
        println!();
        for memory in &self.memory {
            println!(
                "resident memory at the end: {} {} KiB",
                memory.server, memory.rss_kib
            );
        }
    }

    /// Everything, as JSON.
    pub fn write_json(&self, path: &Path) -> Result<()> {
        table::write_json(self, path)
    }

    /// The chart.
    pub fn write_svg(&self, path: &Path) -> Result<()> {
        self.table.write_svg(path)
    }
}

impl FloorFigure {
    fn new(floor: &Floor, costs: &[Cost]) -> Option<Self> {
        let spread = |what: What| Spread::of(costs.iter().map(|cost| what.of(cost, floor.unit())));
        Some(Self {
            title: floor.title,
            cpu_unit: What::ServerCpu.unit(floor.unit()),
            cpu: spread(What::ServerCpu)?,
            rate_unit: What::Rate.unit(floor.unit()),
            rate: spread(What::Rate)?,
        })
    }
}
