//! What any benchmark comes to: ours beside a peer's, round by round, as lines of a table and bars of a chart.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use plotters::prelude::*;
use serde::Serialize;

use super::measure::{Cost, Spread};
use crate::build::workspace_root;

/// What a workload counts, and in which measure.
#[derive(Clone, Copy)]
pub enum Unit {
    /// CPU in seconds per GiB; rate in MB/s.
    Byte,
    /// CPU in µs; rate in thousands per second.
    Request,
    /// CPU in µs; rate in thousands per second.
    Entry,
    /// CPU in ms; no rate, but how long one takes in ms.
    Start,
}

/// A workload's name, measure and aims.
pub struct Subject {
    /// For tables.
    pub title: String,
    /// What is counted.
    pub unit: Unit,
    /// What its figures should reach.
    pub aims: Vec<(What, Aim)>,
}

/// Every figure of ours and of one peer.
#[derive(Serialize)]
pub struct Table {
    machine: String,
    rounds: u32,
    ours: &'static str,
    peer: &'static str,
    figures: Vec<Figure>,
}

/// One line of the table.
#[derive(Serialize)]
struct Figure {
    workload: String,
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
pub enum What {
    /// The server's CPU
    ServerCpu,
    /// How much there is in a second
    Rate,
    /// How long one takes
    Wall,
    /// The load generator's CPU
    GeneratorCpu,
}

/// What the median of a figure should be.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Aim {
    /// At most this.
    AtMost(f64),
    /// At least this many times the peer's.
    TimesPeer(f64),
    /// At most this many times the peer's.
    AtMostTimesPeer(f64),
}

impl Subject {
    /// One whose server should take at most so much CPU for a unit.
    pub fn new(title: &str, unit: Unit, cpu_aim: Option<f64>) -> Self {
        let aim = cpu_aim.map(|limit| (What::ServerCpu, Aim::AtMost(limit)));
        Self {
            title: title.into(),
            unit,
            aims: aim.into_iter().collect(),
        }
    }
}

impl Table {
    /// An empty one, of ours and its peer by their names.
    pub fn new([ours, peer]: [&'static str; 2], rounds: u32) -> Result<Self> {
        Ok(Self {
            machine: machine()?,
            rounds,
            ours,
            peer,
            figures: Vec::new(),
        })
    }

    /// Brings the costs of ours and the peer's, round by round, to figures.
    pub fn add(&mut self, subject: &Subject, costs: &[Vec<Cost>; 2]) -> Result<()> {
        let pace = match subject.unit {
            Unit::Start => What::Wall,
            Unit::Byte | Unit::Request | Unit::Entry => What::Rate,
        };
        for what in [What::ServerCpu, pace, What::GeneratorCpu] {
            let figure = Figure::new(subject, what, costs).context("nothing was measured")?;
            self.figures.push(figure);
        }
        Ok(())
    }

    /// The table, on stdout, with `setting` above it.
    pub fn print(&self, setting: &[&str]) {
        println!("{}", self.machine);
        println!("{} rounds; {}", self.rounds, setting.join("\n"));
        println!(
            "median (min–max); ratio = {} / {}, less is better but for rates\n",
            self.ours, self.peer
        );
        let row = |cells: [&str; 7]| {
            let [workload, what, ours, peer, ratio, aim, reached] = cells;
            println!(
                "{workload:<30} {what:<20} {ours:<24} {peer:<24} {ratio:<20} {aim:<9} {reached}"
            );
        };
        row([
            "workload", "figure", self.ours, self.peer, "ratio", "aim", "reached",
        ]);
        for figure in &self.figures {
            let title = if figure.what == What::ServerCpu {
                &figure.workload
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
                figure.reached.map_or("", verdict),
            ]);
        }
    }

    /// The ratios of the servers' CPU, as a chart; nothing when there was no peer.
    pub fn write_svg(&self, path: &Path) -> Result<()> {
        let bars: Vec<(&str, Spread)> = self
            .figures
            .iter()
            .filter(|figure| figure.what == What::ServerCpu)
            .filter_map(|figure| Some((&*figure.workload, figure.ratio?)))
            .collect();
        if bars.is_empty() {
            return Ok(());
        }
        make_parent(path)?;
        let caption = format!("Server CPU, {} / {} (less is better)", self.ours, self.peer);
        draw(&bars, &caption, path).map_err(|e| anyhow!("cannot draw {}: {e}", path.display()))?;
        println!("{}", path.display());
        Ok(())
    }
}

/// For the last column.
pub const fn verdict(reached: bool) -> &'static str {
    if reached { "yes" } else { "no" }
}

/// Where a result goes: as `given`, or under its name to the others.
pub fn place(given: &Option<PathBuf>, name: &str) -> PathBuf {
    given
        .clone()
        .unwrap_or_else(|| workspace_root().join("target/bench").join(name))
}

/// Everything, as JSON.
pub fn write_json(report: &impl Serialize, path: &Path) -> Result<()> {
    make_parent(path)?;
    fs::write(path, serde_json::to_string_pretty(report)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    println!("{}", path.display());
    Ok(())
}

impl Figure {
    fn new(subject: &Subject, what: What, [ours, peer]: &[Vec<Cost>; 2]) -> Option<Self> {
        let value = |cost: &Cost| what.of(cost, subject.unit);
        let ratio = match what {
            // Who serves must not matter to it.
            What::GeneratorCpu => None,
            What::ServerCpu | What::Rate | What::Wall => Spread::of(
                ours.iter()
                    .zip(peer)
                    .map(|(ours, peer)| value(ours) / value(peer)),
            ),
        };
        let ours = Spread::of(ours.iter().map(value))?;
        let mut aims = subject.aims.iter();
        let aim = aims.find(|(of, _)| *of == what).map(|(_, aim)| *aim);
        let reached = match aim {
            Some(Aim::AtMost(limit)) => Some(ours.median <= limit),
            Some(Aim::TimesPeer(factor)) => ratio.map(|ratio| ratio.median >= factor),
            Some(Aim::AtMostTimesPeer(factor)) => ratio.map(|ratio| ratio.median <= factor),
            None => None,
        };
        let peer = Spread::of(peer.iter().map(value));
        Some(Self {
            workload: subject.title.clone(),
            what,
            unit: what.unit(subject.unit),
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
            Self::Wall => "wall",
            Self::GeneratorCpu => "generator CPU",
        }
    }

    /// The measure's name.
    pub const fn unit(self, unit: Unit) -> &'static str {
        match (self, unit) {
            (Self::Rate, Unit::Byte) => "MB/s",
            (Self::Rate, Unit::Request | Unit::Entry | Unit::Start) => "1,000/s",
            (_, Unit::Byte) => "s/GiB",
            (_, Unit::Request | Unit::Entry) => "µs",
            (_, Unit::Start) => "ms",
        }
    }

    /// One turn's figure in that measure.
    pub fn of(self, cost: &Cost, unit: Unit) -> f64 {
        let amount = cost.amount as f64;
        let seconds = match (self, unit) {
            (Self::ServerCpu, _) => cost.server,
            (Self::GeneratorCpu, _) => cost.own,
            (Self::Wall, _) => cost.wall,
            (Self::Rate, Unit::Byte) => return amount / 1e6 / cost.wall,
            (Self::Rate, Unit::Request | Unit::Entry | Unit::Start) => {
                return amount / 1e3 / cost.wall;
            }
        };
        match unit {
            Unit::Byte => seconds / (amount / f64::from(1 << 30)),
            Unit::Request | Unit::Entry => seconds * 1e6 / amount,
            Unit::Start => seconds * 1e3 / amount,
        }
    }
}

impl std::fmt::Display for Aim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtMost(limit) => write!(f, "≤ {limit}"),
            Self::TimesPeer(factor) => write!(f, "≥ {factor} ×"),
            Self::AtMostTimesPeer(factor) => write!(f, "≤ {factor} ×"),
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

fn draw(
    bars: &[(&str, Spread)],
    caption: &str,
    path: &Path,
) -> Result<(), Box<dyn std::error::Error>> {
    const BAR: RGBColor = RGBColor(0x2b, 0x6c, 0xb0);
    let longest = bars.iter().map(|(_, ratio)| ratio.max).fold(1.0, f64::max) * 1.1;
    let area = SVGBackend::new(path, (800, 120 + 40 * bars.len() as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(caption, ("sans-serif", 22))
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
