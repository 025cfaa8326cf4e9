//! The rows of a bench's table: a workload's title, unit and aims, and its figures for each side, computed from its costs.

use serde::Serialize;

use super::BEFORE;
use super::measure::{Cost, Spread};

/// Largest ratio of our CPU to that of the `--against` file, unless the workload has a limit of its own.
const BEFORE_MAX: f64 = 1.03;

/// Unit of a workload's amount; decides the units of its figures.
#[derive(Clone, Copy)]
pub enum Unit {
    /// CPU in seconds per GiB; rate in MB/s.
    Byte,
    /// CPU in µs; rate in thousands per second.
    Request,
    /// CPU in µs; rate in thousands per second.
    Entry,
    /// CPU and wall time of one start in ms; no rate.
    Start,
    /// Waits of requests in ms; no CPU and no rate.
    Wait,
    /// A whole transfer: its time in ms, CPU in seconds per GiB, and the longest time without a byte in ms.
    Transfer,
}

/// A workload's title, unit and aims.
pub struct Subject {
    /// Title in tables.
    pub title: String,
    /// Unit of the workload's amount.
    pub unit: Unit,
    /// Aims for the workload's figures.
    pub aims: Vec<(Metric, Aim)>,
    /// True if the workload measures the kernel without stowaway or the peer, as a lower bound for servers.
    pub is_floor: bool,
    /// Last round in which the workload runs.
    pub round_max: u32,
    /// True if the workload also runs in round 0, which fills caches and does not count.
    pub has_warm_up: bool,
    /// Largest ratio of our CPU to that of the `--against` file. None: no limit.
    pub before_max: Option<f64>,
    /// Reason why the workload is not measured.
    pub skipped: Option<String>,
}

impl Subject {
    /// A subject without aims, measured in all rounds.
    pub fn new(title: impl Into<String>, unit: Unit) -> Self {
        Self {
            title: title.into(),
            unit,
            aims: Vec::new(),
            is_floor: false,
            round_max: u32::MAX,
            has_warm_up: true,
            before_max: Some(BEFORE_MAX),
            skipped: None,
        }
    }

    /// Adds an aim for a figure.
    pub fn aim(mut self, what: Metric, aim: Aim) -> Self {
        self.aims.push((what, aim));
        self
    }

    /// Adds an aim for the server's CPU.
    pub fn cpu(self, aim: Aim) -> Self {
        self.aim(Metric::ServerCpu, aim)
    }

    /// The figures that a workload of this unit has.
    pub fn metrics(&self) -> [Metric; 3] {
        match self.unit {
            Unit::Wait => [Metric::Median, Metric::P99, Metric::Longest],
            Unit::Transfer => [Metric::ServerCpu, Metric::TransferTime, Metric::Longest],
            Unit::Start => [Metric::ServerCpu, Metric::Wall, Metric::GeneratorCpu],
            Unit::Byte | Unit::Request | Unit::Entry => {
                [Metric::ServerCpu, Metric::Rate, Metric::GeneratorCpu]
            }
        }
    }
}

/// The costs of one workload, for each side and round.
pub struct Measured {
    pub subject: Subject,
    /// Costs by side, then by round. The first side is ours.
    pub costs: Vec<Vec<Cost>>,
}

impl Measured {
    /// Returns the values of the figure `what` of one side, round by round.
    fn values(&self, what: Metric, side: usize) -> impl Iterator<Item = f64> {
        let costs = self.costs.get(side).into_iter().flatten();
        costs.map(move |cost| what.value_of(cost, self.subject.unit))
    }

    /// Returns the median and range of the ratios of our values to those of `other`, round by round.
    fn ratio(&self, what: Metric, other: impl Iterator<Item = f64>) -> Option<Spread> {
        let ours = self.values(what, 0);
        Spread::of(ours.zip(other).map(|(ours, other)| ours / other))
    }
}

/// One line of a table.
#[derive(Serialize)]
pub struct Figure {
    pub workload: String,
    pub what: Metric,
    unit: &'static str,
    ours: Spread,
    pub others: Vec<OtherSide>,
    gates: Vec<Gate>,
}

/// Another side and its value of the figure.
#[derive(Serialize)]
pub struct OtherSide {
    side: &'static str,
    value: Option<Spread>,
    /// Ratio of our value to this side's, computed round by round.
    pub ratio: Option<Spread>,
}

/// An aim, the value that was compared with it, and the verdict.
#[derive(Serialize)]
pub struct Gate {
    aim: Aim,
    value: f64,
    reached: bool,
    goal_reached: Option<bool>,
}

impl Figure {
    /// Returns the header row of the table.
    pub fn head(sides: &[&'static str]) -> Vec<String> {
        let mut head = vec!["workload".into(), "figure".into(), sides[0].into()];
        for side in &sides[1..] {
            head.extend([(*side).into(), "ratio".into()]);
        }
        head.extend(["gate", "measured", "verdict"].map(Into::into));
        head
    }

    /// Returns the figure's row with its first gate, and one more row for each further gate.
    pub fn rows(&self) -> Vec<Vec<String>> {
        let spread = |it: Option<Spread>| it.map_or_else(|| "-".into(), |it| it.to_string());
        let title = Some(&self.workload).filter(|_| self.what.is_first());
        let mut row = vec![
            title.cloned().unwrap_or_default(),
            format!("{} {}", self.what.title(), self.unit),
            self.ours.to_string(),
        ];
        for other in &self.others {
            row.extend([spread(other.value), spread(other.ratio)]);
        }
        let blank = vec![String::new(); row.len()];
        let mut rows = vec![row];
        for (index, gate) in self.gates.iter().enumerate() {
            if index > 0 {
                rows.push(blank.clone());
            }
            rows[index].extend(gate.cells());
        }
        rows
    }

    /// Returns the row of a floor: title, figure and value, without other sides and gates.
    pub fn floor_row(&self) -> Vec<String> {
        let mut row = self.rows().swap_remove(0);
        row.truncate(3);
        row[1] = row[1].replace("server ", "");
        row
    }

    /// Computes the figure `what` of the workload `all[index]`. Gates may refer to other lines of `all`. Returns None if nothing
    /// was measured.
    pub fn new(
        all: &[Measured],
        index: usize,
        what: Metric,
        sides: &[&'static str],
    ) -> Option<Self> {
        let measured = &all[index];
        let subject = &measured.subject;
        let ours = Spread::of(measured.values(what, 0))?;
        let mut others = Vec::new();
        for (number, side) in sides.iter().enumerate().skip(1) {
            let ratio = measured.ratio(what, measured.values(what, number));
            others.push(OtherSide {
                side,
                value: Spread::of(measured.values(what, number)),
                // The generator's CPU does not depend on the server.
                ratio: ratio.filter(|_| what != Metric::GeneratorCpu),
            });
        }
        let gate = |aim: Aim| {
            let ratio_to = |wanted: &dyn Fn(&str) -> bool| {
                let other = others.iter().find(|other| wanted(other.side))?;
                Some(other.ratio?.median)
            };
            let value = match aim.of {
                Reference::Unit if aim.is_worst => ours.max,
                Reference::Unit => ours.median,
                Reference::Peer => ratio_to(&|side| side != BEFORE)?,
                Reference::Before => ratio_to(&|side| side == BEFORE)?,
                Reference::Line(title) => {
                    let line = all.iter().find(|it| it.subject.title == title)?;
                    measured.ratio(what, line.values(what, 0))?.median
                }
            };
            let reaches = |limit| match aim.bound {
                Bound::AtMost => value <= limit,
                Bound::AtLeast => value >= limit,
            };
            Some(Gate {
                aim,
                value,
                reached: reaches(aim.limit),
                goal_reached: aim.goal.map(reaches),
            })
        };
        let listed = subject.aims.iter().filter(|(figure, _)| *figure == what);
        let before = subject.before_max.filter(|_| what == Metric::ServerCpu);
        let before = before.map(|limit| Aim::at_most(limit).relative_to(Reference::Before));
        let aims = listed.map(|(_, aim)| *aim).chain(before);
        Some(Self {
            workload: subject.title.clone(),
            what,
            unit: what.unit(subject.unit),
            ours,
            gates: aims.filter_map(gate).collect(),
            others,
        })
    }
}

impl Gate {
    /// Returns the cells of the gate: aim, measured value, verdict.
    fn cells(&self) -> [String; 3] {
        let goal = match self.goal_reached {
            Some(true) => ", aim too",
            Some(false) => ", aim missed",
            None => "",
        };
        let verdict = if self.reached { "reached" } else { "MISSED" };
        let goal = if self.reached { goal } else { "" };
        [
            self.aim.to_string(),
            format!("{:.2}", self.value),
            format!("{verdict}{goal}"),
        ]
    }
}

/// Verdict on an aim, in words.
pub const fn verdict(reached: bool) -> &'static str {
    if reached { "yes" } else { "no" }
}

/// A kind of figure.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The server's CPU
    ServerCpu,
    /// Bytes, requests or entries per second
    Rate,
    /// Wall time of one start
    Wall,
    /// Wall time of a transfer
    TransferTime,
    /// The load generator's CPU
    GeneratorCpu,
    /// Median wait of a request
    Median,
    /// 99th percentile of the waits
    P99,
    /// Longest wait
    Longest,
}

/// A limit for the median of a figure, or for the median of its ratio to another figure.
#[derive(Clone, Copy, Serialize)]
pub struct Aim {
    bound: Bound,
    /// Limit that decides whether the gate is reached.
    limit: f64,
    /// A stricter limit, which is only reported.
    goal: Option<f64>,
    of: Reference,
    /// True if the largest value of all rounds is compared instead of the median. Used only with [`Reference::Unit`].
    is_worst: bool,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Bound {
    AtMost,
    AtLeast,
}

/// The figure to which a limit is relative.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reference {
    /// No figure: the limit is absolute
    Unit,
    /// The peer's figure
    Peer,
    /// The figure of the `--against` file
    Before,
    /// Our figure in the line with this title
    Line(&'static str),
}

impl Aim {
    /// Upper limit, in the figure's unit.
    pub const fn at_most(limit: f64) -> Self {
        Self::new(Bound::AtMost, limit)
    }

    /// Lower limit, in the figure's unit.
    pub const fn at_least(limit: f64) -> Self {
        Self::new(Bound::AtLeast, limit)
    }

    /// Makes the limit a multiple of another figure.
    pub const fn relative_to(self, of: Reference) -> Self {
        Self { of, ..self }
    }

    /// Adds a stricter limit to aim for.
    pub const fn goal(self, goal: f64) -> Self {
        Self {
            goal: Some(goal),
            ..self
        }
    }

    const fn new(bound: Bound, limit: f64) -> Self {
        Self {
            bound,
            limit,
            goal: None,
            of: Reference::Unit,
            is_worst: false,
        }
    }

    /// Compares the largest value of all rounds instead of the median, for faults that do not occur in every round.
    pub const fn worst(self) -> Self {
        Self {
            is_worst: true,
            ..self
        }
    }
}

impl Metric {
    const fn title(self) -> &'static str {
        match self {
            Self::ServerCpu => "server CPU",
            Self::Rate => "rate",
            Self::Wall => "wall",
            Self::TransferTime => "time",
            Self::GeneratorCpu => "generator CPU",
            Self::Median => "p50",
            Self::P99 => "p99",
            Self::Longest => "longest",
        }
    }

    /// Returns true for the first figure of a workload, whose row shows the workload's title.
    const fn is_first(self) -> bool {
        matches!(self, Self::ServerCpu | Self::Median)
    }

    /// Name of the figure's unit.
    const fn unit(self, unit: Unit) -> &'static str {
        match (self, unit) {
            (Self::Rate, Unit::Byte | Unit::Transfer) => "MB/s",
            (Self::Rate, Unit::Request | Unit::Entry | Unit::Start | Unit::Wait) => "1,000/s",
            (Self::TransferTime | Self::Longest, _) => "ms",
            (_, Unit::Byte | Unit::Transfer) => "s/GiB",
            (_, Unit::Request | Unit::Entry) => "µs",
            (_, Unit::Start | Unit::Wait) => "ms",
        }
    }

    /// The figure of one turn, in the unit that [`Self::unit`] names.
    fn value_of(self, cost: &Cost, unit: Unit) -> f64 {
        let amount = cost.amount as f64;
        let seconds = match (self, unit) {
            (Self::ServerCpu, _) => cost.server,
            (Self::GeneratorCpu, _) => cost.generator,
            (Self::Wall, _) => cost.wall,
            (Self::Median, _) => return cost.waits.median,
            (Self::P99, _) => return cost.waits.p99,
            (Self::Longest, _) => return cost.waits.longest,
            (Self::TransferTime, _) => return cost.wall * 1e3,
            (Self::Rate, Unit::Byte | Unit::Transfer) => return amount / 1e6 / cost.wall,
            (Self::Rate, Unit::Request | Unit::Entry | Unit::Start | Unit::Wait) => {
                return amount / 1e3 / cost.wall;
            }
        };
        match unit {
            Unit::Byte | Unit::Transfer => seconds / (amount / f64::from(1 << 30)),
            Unit::Request | Unit::Entry => seconds * 1e6 / amount,
            Unit::Start | Unit::Wait => seconds * 1e3 / amount,
        }
    }
}

impl std::fmt::Display for Aim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bound = match self.bound {
            Bound::AtMost => "≤",
            Bound::AtLeast => "≥",
        };
        let worst = if self.is_worst { "worst " } else { "" };
        write!(f, "{worst}{bound} {}", self.limit)?;
        match self.of {
            Reference::Unit => {}
            Reference::Peer => write!(f, " × peer")?,
            Reference::Before => write!(f, " × {BEFORE}")?,
            Reference::Line(title) => write!(f, " × {title}")?,
        }
        self.goal.map_or(Ok(()), |goal| write!(f, " (aim {goal})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A workload of one request per round. `sides` has the CPU times (µs) by side, then by round.
    fn measured(title: &str, aims: &[Aim], sides: &[&[f64]]) -> Measured {
        let mut subject = Subject::new(title, Unit::Request);
        subject.aims = aims.iter().map(|aim| (Metric::ServerCpu, *aim)).collect();
        let cost = |server: &f64| Cost {
            amount: 1,
            wall: 1.0,
            server: server * 1e-6,
            ..Cost::default()
        };
        Measured {
            subject,
            costs: sides
                .iter()
                .map(|it| it.iter().map(cost).collect())
                .collect(),
        }
    }

    fn verdicts(all: &[Measured], sides: &[&'static str]) -> Vec<bool> {
        let figure = Figure::new(all, 0, Metric::ServerCpu, sides).unwrap();
        figure.gates.iter().map(|gate| gate.reached).collect()
    }

    #[test]
    fn line_gate_compares_rounds_of_two_lines() {
        let gate = |limit| Aim::at_most(limit).relative_to(Reference::Line("floor"));
        let sides: [&[f64]; 1] = [&[30.0, 10.0, 20.0]];
        let floor: [&[f64]; 1] = [&[10.0, 5.0, 10.0]];
        let lines = |limit| {
            [
                measured("asked", &[gate(limit)], &sides),
                measured("floor", &[], &floor),
            ]
        };
        assert_eq!(verdicts(&lines(2.0), &["stowaway"]), [true]);
        assert_eq!(verdicts(&lines(1.9), &["stowaway"]), [false]);
    }

    #[test]
    fn gate_without_its_line_is_left_out() {
        let aims = [Aim::at_most(2.0).relative_to(Reference::Line("absent"))];
        let lines = [measured("asked", &aims, &[&[1.0]])];
        assert!(verdicts(&lines, &["stowaway"]).is_empty());
    }

    #[test]
    fn earlier_file_gets_its_own_gate() {
        let aims = [Aim::at_most(0.9).relative_to(Reference::Peer)];
        let lines = [measured("asked", &aims, &[&[10.0], &[20.0], &[9.0]])];
        let sides = ["stowaway", "peer", BEFORE];
        assert_eq!(verdicts(&lines, &sides), [true, false]);
    }
}
