//! The report of a bench: tables on standard output and a JSON file.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::{Map, Value};

use super::table::Figure;

/// The results of a bench, as written to the JSON file.
#[derive(Serialize)]
pub struct Report {
    machine: String,
    pub rounds: u32,
    /// Names of the sides. The first one is compared with all others.
    pub sides: Vec<&'static str>,
    pub figures: Vec<Figure>,
    /// Workloads that were not measured, and why.
    pub skipped: Vec<[String; 2]>,
    /// Data of the tables added by [`Report::section`], by their keys in the JSON file.
    #[serde(flatten)]
    more: Map<String, Value>,
    /// Title and rows of each table added by [`Report::section`].
    #[serde(skip)]
    sections: Vec<(String, Vec<Vec<String>>)>,
}

impl Report {
    /// A report without figures.
    pub fn new(sides: Vec<&'static str>, rounds: u32) -> Result<Self> {
        Ok(Self {
            machine: machine()?,
            rounds,
            sides,
            figures: Vec::new(),
            skipped: Vec::new(),
            more: Map::new(),
            sections: Vec::new(),
        })
    }

    /// Adds a table unless it has no rows. `name` is the key of `data` in the JSON file.
    pub fn section(
        &mut self,
        name: &str,
        title: &str,
        data: &impl Serialize,
        rows: Vec<Vec<String>>,
    ) -> Result<()> {
        if !rows.is_empty() {
            self.more.insert(name.into(), serde_json::to_value(data)?);
            self.sections.push((title.into(), rows));
        }
        Ok(())
    }

    /// Prints the tables, with `setting` above them.
    pub fn print(&self, setting: &[&str]) {
        println!("{}", self.machine);
        println!("{} rounds; {}", self.rounds, setting.join("\n"));
        if self.figures.is_empty() {
            println!("median (min–max)\n");
        } else {
            println!(
                "median (min–max); ratio = {} / other, less is better except for rates\n",
                self.sides[0]
            );
            let mut rows = vec![Figure::head(&self.sides)];
            rows.extend(self.figures.iter().flat_map(Figure::rows));
            println!("{}", aligned(&rows));
        }
        for [workload, reason] in &self.skipped {
            println!("SKIPPED: {workload}: {reason}\n");
        }
        for (title, rows) in &self.sections {
            println!("{title}:\n\n{}", aligned(rows));
        }
    }

    /// Writes the whole report as JSON and prints the path.
    pub fn write_json(&self, path: &Path) -> Result<()> {
        let parent = path.parent().context("not a file name")?;
        fs::create_dir_all(parent)
            .with_context(|| format!("cannot create {}", parent.display()))?;
        fs::write(path, serde_json::to_string_pretty(self)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", path.display());
        Ok(())
    }
}

/// Formats rows in columns, each as wide as its widest cell.
fn aligned(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell: &String| cell.chars().count()).max()
    };
    let widths: Vec<_> = (0..count)
        .map(|column| width(column).unwrap_or_default())
        .collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let line: String = cells
            .map(|(cell, width)| format!("{cell:<width$}  "))
            .collect();
        format!("{}\n", line.trim_end())
    };
    rows.iter().map(line).collect()
}

/// Returns the kernel version and the number and model of the processors, because figures depend on all three.
fn machine() -> Result<String> {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")
        .context("cannot read the kernel's version")?;
    let cpus = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("?", |(_, name)| name);
    let count = std::thread::available_parallelism()?;
    Ok(format!("Linux {}, {count} × {model}", kernel.trim()))
}
