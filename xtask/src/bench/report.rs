//! What came out: a table for people, JSON for programs, a chart for both.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use plotters::prelude::*;
use serde::Serialize;

use super::IDLE_COUNT;
use super::floor::Floor;
use super::load::DEPTH;
use super::measure::{Cost, Spread};
use super::workload::{Unit, Workload};

/// Everything that was measured.
#[derive(Serialize)]
pub struct Report {
    machine: String,
    rounds: u32,
    depth: usize,
    idle_connections: usize,
    figures: Vec<Figure>,
    floors: Vec<FloorFigure>,
    memory: Vec<Memory>,
}

/// One line of the table.
#[derive(Serialize)]
struct Figure {
    workload: &'static str,
    what: What,
    unit: &'static str,
    ours: Spread,
    peer: Option<Spread>,
    /// Ours through the peer's, round by round.
    ratio: Option<Spread>,
    aim: Option<Aim>,
    reached: Option<bool>,
}

/// What a figure is about.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum What {
    ServerCpu,
    Rate,
    GeneratorCpu,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Aim {
    AtMost(f64),
    TimesPeer(f64),
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
        let mut figures = Vec::new();
        for (workload, costs) in results {
            for what in [What::ServerCpu, What::Rate, What::GeneratorCpu] {
                figures.push(Figure::new(*workload, what, costs).context("nothing was measured")?);
            }
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
            machine: machine()?,
            rounds,
            depth: DEPTH,
            idle_connections: IDLE_COUNT,
            figures,
            floors,
            memory,
        })
    }

    /// The table, on stdout.
    pub fn print(&self) {
        println!("{}", self.machine);
        println!(
            "{} rounds; depth {} (a directory is walked page by page); {} idle connections to each server",
            self.rounds, self.depth, self.idle_connections
        );
        println!("median (min–max); ratio = stowaway / nfs-ganesha");
        println!(
            "on a tmpfs, or on an ext4 in memory behind a loop device; dirsync: there the kernel makes names durable\n"
        );
        let row = |cells: [&str; 7]| {
            let [workload, what, ours, peer, ratio, aim, reached] = cells;
            println!(
                "{workload:<26} {what:<20} {ours:<24} {peer:<24} {ratio:<20} {aim:<9} {reached}"
            );
        };
        row([
            "workload",
            "figure",
            "stowaway",
            "nfs-ganesha",
            "ratio",
            "aim",
            "reached",
        ]);
        for figure in &self.figures {
            let title = if figure.what == What::ServerCpu {
                figure.workload
            } else {
                ""
            };
            let spread =
                |it: &Option<Spread>| it.as_ref().map_or_else(|| "-".into(), Spread::to_string);
            row([
                title,
                &format!("{} {}", figure.what.title(), figure.unit),
                &figure.ours.to_string(),
                &spread(&figure.peer),
                &spread(&figure.ratio),
                &figure.aim.map_or_else(String::new, |aim| aim.to_string()),
                figure
                    .reached
                    .map_or("", |reached| if reached { "yes" } else { "no" }),
            ]);
        }
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
        make_parent(path)?;
        fs::write(path, serde_json::to_string_pretty(self)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", path.display());
        Ok(())
    }

    /// The ratios of the servers' CPU, as a chart; nothing when there was no peer.
    pub fn write_svg(&self, path: &Path) -> Result<()> {
        let bars: Vec<(&str, Spread)> = self
            .figures
            .iter()
            .filter(|figure| figure.what == What::ServerCpu)
            .filter_map(|figure| Some((figure.workload, figure.ratio?)))
            .collect();
        if bars.is_empty() {
            return Ok(());
        }
        make_parent(path)?;
        draw(&bars, path).map_err(|e| anyhow!("cannot draw {}: {e}", path.display()))?;
        println!("{}", path.display());
        Ok(())
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

impl Figure {
    fn new(workload: Workload, what: What, [ours, peer]: &[Vec<Cost>; 2]) -> Option<Self> {
        let facts = workload.facts();
        let value = |cost: &Cost| what.of(cost, facts.unit);
        let ratio = match what {
            // Who serves must not matter to it.
            What::GeneratorCpu => None,
            What::ServerCpu | What::Rate => Spread::of(
                ours.iter()
                    .zip(peer)
                    .map(|(ours, peer)| value(ours) / value(peer)),
            ),
        };
        let ours = Spread::of(ours.iter().map(value))?;
        let aim = match what {
            What::ServerCpu => facts.cpu_aim.map(Aim::AtMost),
            What::Rate => facts.rate_aim.map(Aim::TimesPeer),
            What::GeneratorCpu => None,
        };
        let reached = match aim {
            Some(Aim::AtMost(limit)) => Some(ours.median <= limit),
            Some(Aim::TimesPeer(factor)) => ratio.map(|ratio| ratio.median >= factor),
            None => None,
        };
        let peer = Spread::of(peer.iter().map(value));
        Some(Self {
            workload: facts.title,
            what,
            unit: what.unit(facts.unit),
            ours,
            peer,
            ratio,
            aim,
            reached,
        })
    }
}

impl What {
    const fn title(self) -> &'static str {
        match self {
            Self::ServerCpu => "server CPU",
            Self::Rate => "rate",
            Self::GeneratorCpu => "generator CPU",
        }
    }

    const fn unit(self, unit: Unit) -> &'static str {
        match (self, unit) {
            (Self::Rate, Unit::Byte) => "MB/s",
            (Self::Rate, Unit::Request | Unit::Entry) => "1,000/s",
            (_, Unit::Byte) => "s/GiB",
            (_, Unit::Request | Unit::Entry) => "µs",
        }
    }

    fn of(self, cost: &Cost, unit: Unit) -> f64 {
        let amount = cost.amount as f64;
        let seconds = match self {
            Self::ServerCpu => cost.server,
            Self::GeneratorCpu => cost.own,
            Self::Rate => match unit {
                Unit::Byte => return amount / 1e6 / cost.wall,
                Unit::Request | Unit::Entry => return amount / 1e3 / cost.wall,
            },
        };
        match unit {
            Unit::Byte => seconds / (amount / f64::from(1 << 30)),
            Unit::Request | Unit::Entry => seconds * 1e6 / amount,
        }
    }
}

impl std::fmt::Display for Aim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtMost(limit) => write!(f, "≤ {limit}"),
            Self::TimesPeer(factor) => write!(f, "≥ {factor} ×"),
        }
    }
}

/// The kernel and the processors: figures mean nothing without them.
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

fn make_parent(path: &Path) -> Result<()> {
    let parent = path.parent().context("not a file name")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))
}

fn draw(bars: &[(&str, Spread)], path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    const BAR: RGBColor = RGBColor(0x2b, 0x6c, 0xb0);
    let longest = bars.iter().map(|(_, ratio)| ratio.max).fold(1.0, f64::max) * 1.1;
    let area = SVGBackend::new(path, (800, 120 + 40 * bars.len() as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(
            "Server CPU, stowaway / nfs-ganesha (less is better)",
            ("sans-serif", 22),
        )
        .margin(12)
        .x_label_area_size(32)
        .y_label_area_size(190)
        .build_cartesian_2d(0.0..longest, (0..bars.len()).into_segmented())?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(bars.len())
        .label_style(("sans-serif", 16))
        .y_label_formatter(&|at| match at {
            // One label more than there are bars is asked for.
            SegmentValue::CenterOf(row) => bars
                .iter()
                .rev()
                .nth(*row)
                .map_or_else(String::new, |(title, _)| (*title).into()),
            _ => String::new(),
        })
        .draw()?;
    // Rows count from below, and the first bar belongs on top.
    for (row, (_, ratio)) in bars.iter().rev().enumerate() {
        let middle = SegmentValue::CenterOf(row);
        let mut bar = Rectangle::new(
            [
                (0.0, SegmentValue::Exact(row)),
                (ratio.median, SegmentValue::Exact(row + 1)),
            ],
            BAR.filled(),
        );
        bar.set_margin(8, 8, 0, 0);
        chart.plotting_area().draw(&bar)?;
        chart.plotting_area().draw(&PathElement::new(
            [(ratio.min, middle.clone()), (ratio.max, middle.clone())],
            BLACK.stroke_width(2),
        ))?;
        let label = EmptyElement::at((ratio.max, middle))
            + Text::new(format!("{:.2}", ratio.median), (6, -6), ("sans-serif", 16));
        chart.plotting_area().draw(&label)?;
    }
    let even = [
        (1.0, SegmentValue::Exact(0)),
        (1.0, SegmentValue::Exact(bars.len())),
    ];
    chart
        .plotting_area()
        .draw(&PathElement::new(even, RED.stroke_width(1)))?;
    area.present()?;
    Ok(())
}
