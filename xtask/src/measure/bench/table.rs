//! The rows of a bench's table: a workload's title, unit and gates, and its figures for each side, computed from its costs.

use std::ops::RangeInclusive;

use serde::Serialize;

use super::BEFORE;
use super::measure::{Cost, Spread};

/// Names of figures that gates refer to.
pub const CPU: &str = "server CPU";
pub const RATE: &str = "rate";
pub const WALL: &str = "wall";
pub const P99: &str = "p99";
const GENERATOR: &str = "generator CPU";

/// The verdict on a gate that was missed.
const MISSED: &str = "MISSED";

/// Gate of every workload: largest ratio of our CPU to that of the `--against` file.
const BEFORE_MAX: Gate = Gate {
    what: CPU,
    limit: 1.03,
    of: Reference::Before,
};

/// Unit of a workload's amount; decides its figures.
#[derive(Clone, Copy)]
pub enum Unit {
    /// CPU in seconds per GiB; rate in MB/s.
    Byte,
    /// A request or an entry: CPU in µs; rate in thousands per second.
    Request,
    /// CPU and wall time of one start in ms.
    Start,
    /// Waits of requests in ms.
    Wait,
}

impl Unit {
    /// The figures of a turn: name, unit, value.
    fn figures(self, cost: &Cost) -> [(&'static str, &'static str, f64); 3] {
        let amount = cost.amount as f64;
        let (unit, per_second) = match self {
            Self::Byte => ("s/GiB", f64::from(1 << 30)),
            Self::Request => ("µs", 1e6),
            Self::Start | Self::Wait => ("ms", 1e3),
        };
        let each = |name, seconds: f64| (name, unit, seconds * per_second / amount);
        let second = match self {
            Self::Byte => (RATE, "MB/s", amount / 1e6 / cost.wall),
            Self::Request => (RATE, "1,000/s", amount / 1e3 / cost.wall),
            Self::Start => each(WALL, cost.wall),
            Self::Wait => {
                let waits = &cost.waits;
                return [
                    ("p50", unit, waits.median),
                    (P99, unit, waits.p99),
                    ("longest", unit, waits.longest),
                ];
            }
        };
        [
            each(CPU, cost.server),
            second,
            each(GENERATOR, cost.generator),
        ]
    }
}

/// A workload's title, unit and gates.
pub struct Subject {
    /// Title in tables.
    pub title: String,
    /// Unit of the workload's amount.
    pub unit: Unit,
    /// Limits for its figures.
    pub gates: Vec<Gate>,
    /// Rounds in which the workload runs. Round 0 fills caches and does not count.
    pub rounds: RangeInclusive<u32>,
    /// Reason why the workload is not measured.
    pub skipped: Option<String>,
}

impl Subject {
    /// A subject without gates, measured in all rounds.
    pub fn new(title: impl Into<String>, unit: Unit) -> Self {
        Self {
            title: title.into(),
            unit,
            gates: vec![BEFORE_MAX],
            rounds: 0..=u32::MAX,
            skipped: None,
        }
    }

    /// Adds a limit for the figure `what`.
    pub fn gate(mut self, what: &'static str, limit: f64, of: Reference) -> Self {
        self.gates.push(Gate { what, limit, of });
        self
    }

    /// Adds a limit for the server's CPU time, as a multiple of the peer's.
    pub fn cpu(self, limit: f64) -> Self {
        self.gate(CPU, limit, Reference::Peer)
    }
}

/// A limit for the median of a figure, or for the median of its ratio to another figure: the largest value; of rates, the smallest.
pub struct Gate {
    what: &'static str,
    limit: f64,
    of: Reference,
}

/// The figure to which a limit is relative.
#[derive(Clone, Copy)]
pub enum Reference {
    /// No figure: the limit is in the figure's unit
    Unit,
    /// No figure; the limit is for the largest value of all rounds, for faults that do not occur in every round
    Worst,
    /// The peer's figure
    Peer,
    /// The figure of the `--against` file
    Before,
    /// Our figure in the line with this title
    Line(&'static str),
}

/// The costs of one workload, for each side and round.
pub struct Measured {
    pub subject: Subject,
    /// Costs by side, then by round. The first side is ours.
    pub costs: Vec<Vec<Cost>>,
}

impl Measured {
    /// Returns the values of a figure of one side, round by round.
    fn values(&self, index: usize, side: usize) -> impl Iterator<Item = f64> {
        let costs = self.costs.get(side).into_iter().flatten();
        costs.map(move |cost| self.subject.unit.figures(cost)[index].2)
    }

    /// Returns the median and range of the ratios of our values to those of `other`, round by round.
    fn ratio(&self, index: usize, other: impl Iterator<Item = f64>) -> Option<Spread> {
        let ours = self.values(index, 0);
        Spread::of(ours.zip(other).map(|(ours, other)| ours / other))
    }
}

/// One line of a table.
#[derive(Serialize)]
pub struct Figure {
    workload: String,
    what: &'static str,
    unit: &'static str,
    ours: Spread,
    others: Vec<Other>,
    /// The verdict on each gate.
    gates: Vec<String>,
}

/// Another side, its value of the figure, and the ratio of our value to it, computed round by round.
#[derive(Serialize)]
struct Other {
    side: &'static str,
    value: Option<Spread>,
    ratio: Option<Spread>,
}

impl Figure {
    /// Computes the figures of the workload `all[line]`, except those that are zero because the bench does not measure them. Gates
    /// may refer to other lines of `all`.
    pub fn of(all: &[Measured], line: usize, sides: &[&'static str]) -> Vec<Self> {
        let names = all[line].subject.unit.figures(&Cost::default());
        let figures = (0..names.len()).filter_map(|index| {
            let ours = Spread::of(all[line].values(index, 0)).filter(|it| it.max > 0.0)?;
            let (what, unit, _) = names[index];
            let mut figure = Self {
                workload: all[line].subject.title.clone(),
                what,
                unit,
                ours,
                others: Vec::new(),
                gates: Vec::new(),
            };
            for (number, side) in sides.iter().enumerate().skip(1) {
                let values = || all[line].values(index, number);
                figure.others.push(Other {
                    side,
                    value: Spread::of(values()),
                    ratio: all[line].ratio(index, values()),
                });
            }
            let gates = all[line].subject.gates.iter();
            let gates = gates.filter(|gate| gate.what == what);
            let verdicts = gates.filter_map(|gate| figure.judge(gate, all, line, index));
            figure.gates = verdicts.collect();
            Some(figure)
        });
        figures.collect()
    }

    /// Returns the verdict on a gate. None: the figure that the gate refers to was not measured.
    fn judge(&self, gate: &Gate, all: &[Measured], line: usize, index: usize) -> Option<String> {
        let ratio_to = |is_wanted: &dyn Fn(&str) -> bool| {
            let other = self.others.iter().find(|other| is_wanted(other.side))?;
            Some(other.ratio?.median)
        };
        let (value, of) = match gate.of {
            Reference::Unit => (self.ours.median, String::new()),
            Reference::Worst => (self.ours.max, " (worst)".to_owned()),
            Reference::Peer => (ratio_to(&|side| side != BEFORE)?, " × peer".to_owned()),
            Reference::Before => (ratio_to(&|side| side == BEFORE)?, format!(" × {BEFORE}")),
            Reference::Line(title) => {
                let other = all.iter().find(|it| it.subject.title == title)?;
                let ratio = all[line].ratio(index, other.values(index, 0))?;
                (ratio.median, format!(" × {title}"))
            }
        };
        let (is_reached, sign) = if self.what == RATE {
            (value >= gate.limit, '≥')
        } else {
            (value <= gate.limit, '≤')
        };
        let verdict = if is_reached { "reached" } else { MISSED };
        Some(format!("{value:.2} {sign} {}{of}: {verdict}", gate.limit))
    }

    /// The number of gates that were missed.
    pub fn missed(&self) -> usize {
        let gates = self.gates.iter();
        gates.filter(|verdict| verdict.ends_with(MISSED)).count()
    }

    /// Returns the header row of the table.
    pub fn head(sides: &[&'static str]) -> Vec<String> {
        let mut head = vec!["workload".into(), "figure".into(), sides[0].into()];
        for side in &sides[1..] {
            head.extend([(*side).into(), "ratio".into()]);
        }
        head.push("gates".into());
        head
    }

    /// Returns the figure's row.
    pub fn row(&self) -> Vec<String> {
        let spread = |it: Option<Spread>| it.map_or_else(|| "-".into(), |it| it.to_string());
        let mut row = vec![
            self.workload.clone(),
            format!("{} {}", self.what, self.unit),
            self.ours.to_string(),
        ];
        for other in &self.others {
            row.extend([spread(other.value), spread(other.ratio)]);
        }
        row.push(self.gates.join("; "));
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A workload of one request per round. `sides` has the CPU times (µs) by side, then by round.
    fn measured(title: &str, sides: &[[f64; 3]]) -> Measured {
        let cost = |server: f64| Cost {
            amount: 1,
            wall: 1.0,
            server: server * 1e-6,
            ..Cost::default()
        };
        let costs = sides.iter().map(|rounds| rounds.map(cost).to_vec());
        Measured {
            subject: Subject::new(title, Unit::Request),
            costs: costs.collect(),
        }
    }

    #[test]
    fn gates_compare_medians_of_rounds() {
        let sides = ["stowaway", BEFORE, "peer"];
        let ours = [[30.0, 10.0, 20.0], [29.0, 9.0, 19.0], [60.0, 10.0, 40.0]];
        // Each workload has the first gate.
        let expected = [
            "1.05 ≤ 1.03 × before: MISSED",
            "0.50 ≤ 0.5 × peer: reached",
            "2.00 ≤ 1.9 × floor: MISSED",
            "20.00 ≤ 20: reached",
            "30.00 ≤ 20 (worst): MISSED",
        ];
        let mut asked = measured("asked", &ours);
        asked.subject = asked
            .subject
            .cpu(0.5)
            .gate(CPU, 1.9, Reference::Line("floor"))
            .gate(CPU, 1.9, Reference::Line("absent"))
            .gate(CPU, 20.0, Reference::Unit)
            .gate(CPU, 20.0, Reference::Worst)
            .gate(RATE, 0.002, Reference::Unit);
        let lines = [asked, measured("floor", &[[10.0, 5.0, 10.0]])];
        let figures = Figure::of(&lines, 0, &sides);
        assert_eq!(figures.len(), 2, "the generator's CPU is not measured");
        assert_eq!(figures[0].gates, expected);
        assert_eq!(figures[1].gates, ["0.00 ≥ 0.002: MISSED"]);
        assert_eq!(figures[1].missed(), 1);
    }
}
