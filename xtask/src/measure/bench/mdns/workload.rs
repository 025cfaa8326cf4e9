//! The workloads: queries for records of the responder, queries for names of other hosts, and starts.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use super::link::{HOST, INSTANCE_COUNT, Link, TYPE, Workspace};
use super::responder::{Program, Running, Until};
use crate::clients::dns::{Message, Querier, TYPE, query, unicast_query};
use crate::measure::bench::frame;
use crate::measure::bench::measure::{self, Cost};
use crate::measure::bench::table::{CPU, Reference, Subject, Unit, WALL};

/// Queries in a batch: all are sent, then their replies are awaited.
pub const DEPTH: usize = 16;
/// Queries for names of other hosts before each query for the responder's name.
const FOREIGN_COUNT: usize = 63;
/// Longest wait for a reply; after that the query counts as lost.
const ANSWER_MAX: Duration = Duration::from_millis(500);
/// Smallest number of answered queries for each lost one; with fewer, the bench fails.
const LOST_SHARE: u64 = 100;

/// A workload: a line of the table.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// One-shot queries for the host's address
    Address,
    /// One-shot queries for the host's ten services of a type
    Services,
    /// QU queries from port 5353 for the host's address
    MemberAddress,
    /// QU queries from port 5353 for the host's ten services
    MemberServices,
    /// Queries for names of other hosts, which are not answered
    Others,
    /// Time from exec to the first probe
    Probe,
    /// Time from exec to the first announcement
    Announced,
}

impl frame::Workload for Workload {
    fn subject(&self) -> Subject {
        let asked = |title| Subject::new(title, Unit::Request);
        let start = |title, limit_ms| {
            Subject::new(title, Unit::Start).gate(WALL, limit_ms, Reference::Unit)
        };
        match self {
            Self::Address => asked("A of the host").gate(CPU, 4.0, Reference::Unit),
            Self::Services => asked("PTR of ten instances").gate(CPU, 15.0, Reference::Unit),
            Self::MemberAddress => asked("A, QU from port 5353").gate(CPU, 4.0, Reference::Unit),
            Self::MemberServices => {
                asked("PTR of ten, QU from 5353").gate(CPU, 15.0, Reference::Unit)
            }
            Self::Others => asked("queries for other names"),
            // A random delay of up to 250 ms precedes the first of three probes, 250 ms apart (RFC 6762 section 8.1).
            Self::Probe => start("exec to first probe", 250.0),
            Self::Announced => start("exec to announced", 1000.0),
        }
    }
}

impl Workload {
    /// Returns true if the workload measures a start.
    pub fn is_start(self) -> bool {
        matches!(self, Self::Probe | Self::Announced)
    }

    /// Returns true if the queries come from port 5353.
    pub fn is_for_members(self) -> bool {
        matches!(self, Self::MemberAddress | Self::MemberServices)
    }

    /// Starts a responder, measures the start, and kills the responder.
    pub fn start(self, program: &Program, workspace: &Workspace, link: &Link) -> Result<Cost> {
        let until = match self {
            Self::Probe => Until::Probe,
            _ => Until::Announcement,
        };
        let mut started = None;
        let cost = Cost::alone(|| {
            started = Some(Running::start(program, workspace, link, until)?);
            Ok(1)
        })?;
        let (running, wall) = started.context("nothing was started")?;
        Ok(Cost {
            wall: wall.as_secs_f64(),
            server: measure::read_stable_cpu(running.pid())?.as_secs_f64(),
            ..cost
        })
    }

    /// Sends `count` queries. Returns the number of replies; for [`Workload::Others`], that of queries.
    pub fn run(self, link: &Link, count: usize) -> Result<u64> {
        let (host, kind) = (format!("{HOST}.local"), format!("{TYPE}.local"));
        let address = |querier: &Querier, id| querier.send(&unicast_query(id, &[(&host, TYPE::A)]));
        let services =
            |querier: &Querier, id| querier.send(&unicast_query(id, &[(&kind, TYPE::PTR)]));
        match self {
            Self::Address => answered(&link.one_shot_querier()?, count, 1, address),
            Self::Services => answered(&link.one_shot_querier()?, count, INSTANCE_COUNT, services),
            Self::MemberAddress => answered(&link.mdns_querier()?, count, 1, address),
            Self::MemberServices => {
                answered(&link.mdns_querier()?, count, INSTANCE_COUNT, services)
            }
            Self::Others => {
                let querier = link.one_shot_querier()?;
                let turn_count = count / (FOREIGN_COUNT + 1);
                for turn in 0..turn_count {
                    for number in 0..FOREIGN_COUNT {
                        let name = format!("other-{turn}-{number}.local");
                        querier.send(&query(1, &[(&name, TYPE::A)]))?;
                    }
                    // The responder's reply to this query shows that it has handled the queries before.
                    answered(&querier, 1, 1, address)?;
                }
                Ok((turn_count * (FOREIGN_COUNT + 1)) as u64)
            }
            Self::Probe | Self::Announced => anyhow::bail!("a start has no queries"),
        }
    }
}

/// Sends queries in batches, made by `ask`. Each reply must have at least `records` records.
fn answered(
    querier: &Querier,
    count: usize,
    records: usize,
    ask: impl Fn(&Querier, u16) -> Result<()>,
) -> Result<u64> {
    batches(querier, count, ask, |bytes| {
        let message = Message::parse(bytes)?;
        ensure!(
            message.is_response && message.records.len() >= records,
            "not a response with at least {records} records: {message:?}"
        );
        Ok(())
    })
}

/// Sends `count` queries in batches, made by `ask`, and returns the number of replies. Fails if too many are lost. `check` gets
/// only the first reply of each batch, because parsing a reply costs more than making it.
fn batches(
    querier: &Querier,
    count: usize,
    ask: impl Fn(&Querier, u16) -> Result<()>,
    check: impl Fn(&[u8]) -> Result<()>,
) -> Result<u64> {
    let (mut buffer, mut count_got, mut lost) = (vec![0; 9000], 0, 0);
    for batch in 0..count.div_ceil(DEPTH) {
        let size = DEPTH.min(count - batch * DEPTH);
        for number in 0..size {
            ask(querier, (batch * DEPTH + number) as u16)?;
        }
        for left in (0..size).rev() {
            let Some(bytes) = querier.receive(&mut buffer, ANSWER_MAX)? else {
                lost += left as u64 + 1;
                break;
            };
            if left + 1 == size {
                check(bytes)?;
            }
            count_got += 1;
        }
    }
    ensure!(
        lost <= count_got / LOST_SHARE,
        "{lost} of {count} queries were not answered"
    );
    Ok(count_got)
}
