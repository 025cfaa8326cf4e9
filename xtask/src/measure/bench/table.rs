//! A workload's name, measure and aims, and the figures that its costs come to: ours beside a peer's, round by round.

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::measure::{Cost, Spread};

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
    /// No CPU and no rate, but how long requests waited in ms.
    Wait,
}

/// A workload's name, measure and aims.
pub struct Subject {
    /// For tables.
    pub title: String,
    /// What is counted.
    pub unit: Unit,
    /// What its figures should reach.
    pub aims: Vec<(What, Aim)>,
    /// What the kernel alone takes: nobody serves.
    pub is_floor: bool,
    /// It is left out of later rounds.
    pub round_max: u32,
}

impl Subject {
    /// One that is part of all rounds.
    pub fn new(title: impl Into<String>, unit: Unit) -> Self {
        Self {
            title: title.into(),
            unit,
            aims: Vec::new(),
            is_floor: false,
            round_max: u32::MAX,
        }
    }

    /// With one more aim.
    pub fn aim(mut self, what: What, aim: Aim) -> Self {
        self.aims.push((what, aim));
        self
    }

    /// The server should take at most so much CPU for a unit.
    pub fn cpu(self, limit: f64) -> Self {
        self.aim(What::ServerCpu, Aim::AtMost(limit))
    }

    /// Brings the costs of ours and the peer's, round by round, to figures.
    pub fn figures(&self, costs: &[Vec<Cost>; 2]) -> Result<[Figure; 3]> {
        let whats = match self.unit {
            Unit::Wait => [What::Median, What::P99, What::Longest],
            Unit::Start => [What::ServerCpu, What::Wall, What::GeneratorCpu],
            Unit::Byte | Unit::Request | Unit::Entry => {
                [What::ServerCpu, What::Rate, What::GeneratorCpu]
            }
        };
        let figure = |what| Figure::new(self, what, costs).context("nothing was measured");
        let [first, second, third] = whats.map(figure);
        Ok([first?, second?, third?])
    }
}

/// One line of a table.
#[derive(Serialize)]
pub struct Figure {
    pub workload: String,
    pub what: What,
    unit: &'static str,
    ours: Spread,
    peer: Option<Spread>,
    /// Ours through the peer's, round by round.
    pub ratio: Option<Spread>,
    aim: Option<Aim>,
    reached: Option<bool>,
}

impl Figure {
    /// What stands above [`Self::row`]s.
    pub fn head([ours, peer]: [&str; 2]) -> Vec<String> {
        let head = ["workload", "figure", ours, peer, "ratio", "aim", "reached"];
        head.map(str::to_owned).into()
    }

    /// For people.
    pub fn row(&self) -> Vec<String> {
        let spread = |it: Option<Spread>| it.map_or_else(|| "-".into(), |it| it.to_string());
        let title = Some(&self.workload).filter(|_| self.what.is_first());
        vec![
            title.cloned().unwrap_or_default(),
            format!("{} {}", self.what.title(), self.unit),
            self.ours.to_string(),
            spread(self.peer),
            spread(self.ratio),
            self.aim.map_or_else(String::new, |aim| aim.to_string()),
            self.reached.map_or("", verdict).into(),
        ]
    }

    /// The same of what nobody serves.
    pub fn floor_row(&self) -> Vec<String> {
        let mut row = self.row();
        row.truncate(3);
        row[1] = row[1].replace("server ", "");
        row
    }

    fn new(subject: &Subject, what: What, [ours, peer]: &[Vec<Cost>; 2]) -> Option<Self> {
        let value = |cost: &Cost| what.of(cost, subject.unit);
        let ratio = match what {
            // Who serves must not matter to it.
            What::GeneratorCpu => None,
            _ => Spread::of(
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
            Some(Aim::AtLeast(limit)) => Some(ours.median >= limit),
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

/// For the last column.
pub const fn verdict(reached: bool) -> &'static str {
    if reached { "yes" } else { "no" }
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
    /// What half of all requests waited at most
    Median,
    /// What 99 of 100 waited at most
    P99,
    /// What the one waited that waited longest
    Longest,
}

/// What the median of a figure should be.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Aim {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
    /// At least this many times the peer's.
    TimesPeer(f64),
    /// At most this many times the peer's.
    AtMostTimesPeer(f64),
}

impl What {
    const fn title(self) -> &'static str {
        match self {
            Self::ServerCpu => "server CPU",
            Self::Rate => "rate",
            Self::Wall => "wall",
            Self::GeneratorCpu => "generator CPU",
            Self::Median => "p50",
            Self::P99 => "p99",
            Self::Longest => "longest",
        }
    }

    /// The first row of a workload, which has its title.
    const fn is_first(self) -> bool {
        matches!(self, Self::ServerCpu | Self::Median)
    }

    /// The measure's name.
    const fn unit(self, unit: Unit) -> &'static str {
        match (self, unit) {
            (Self::Rate, Unit::Byte) => "MB/s",
            (Self::Rate, Unit::Request | Unit::Entry | Unit::Start | Unit::Wait) => "1,000/s",
            (_, Unit::Byte) => "s/GiB",
            (_, Unit::Request | Unit::Entry) => "µs",
            (_, Unit::Start | Unit::Wait) => "ms",
        }
    }

    /// One turn's figure in that measure.
    fn of(self, cost: &Cost, unit: Unit) -> f64 {
        let amount = cost.amount as f64;
        let seconds = match (self, unit) {
            (Self::ServerCpu, _) => cost.server,
            (Self::GeneratorCpu, _) => cost.own,
            (Self::Wall, _) => cost.wall,
            (Self::Median, _) => return cost.waits.median,
            (Self::P99, _) => return cost.waits.p99,
            (Self::Longest, _) => return cost.waits.longest,
            (Self::Rate, Unit::Byte) => return amount / 1e6 / cost.wall,
            (Self::Rate, Unit::Request | Unit::Entry | Unit::Start | Unit::Wait) => {
                return amount / 1e3 / cost.wall;
            }
        };
        match unit {
            Unit::Byte => seconds / (amount / f64::from(1 << 30)),
            Unit::Request | Unit::Entry => seconds * 1e6 / amount,
            Unit::Start | Unit::Wait => seconds * 1e3 / amount,
        }
    }
}

impl std::fmt::Display for Aim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtMost(limit) => write!(f, "≤ {limit}"),
            Self::AtLeast(limit) => write!(f, "≥ {limit}"),
            Self::TimesPeer(factor) => write!(f, "≥ {factor} ×"),
            Self::AtMostTimesPeer(factor) => write!(f, "≤ {factor} ×"),
        }
    }
}
