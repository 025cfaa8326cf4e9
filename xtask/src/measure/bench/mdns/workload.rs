//! What is measured: answers that are asked for many times, questions for others, and starts.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use super::link::{Ground, HOST, INSTANCE_COUNT, Link, TYPE};
use super::responder::{Program, Running};
use crate::clients::dns::{Asker, Message, TYPE, query};
use crate::measure::bench::frame;
use crate::measure::bench::measure::{self, Cost};
use crate::measure::bench::table::{Aim, Subject, Unit, What};

/// Questions that are under way at once: they are asked, then all answers are awaited.
pub const DEPTH: usize = 16;
/// Questions for others between two for us.
const STRANGE_COUNT: usize = 63;
/// What has not been answered by then never will be.
const ANSWER_MAX: Duration = Duration::from_millis(500);
/// Of so many that are answered, one may be lost.
const LOST_SHARE: u64 = 100;

/// One line of the table.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// The host's address, asked by strangers to multicast DNS
    Address,
    /// Its ten services of a type, likewise
    Services,
    /// The host's address, asked by who knows multicast DNS and wants the answer alone
    MemberAddress,
    /// Its services, likewise
    MemberServices,
    /// Questions for names that others may have
    Others,
    /// From exec to the first probe
    Probe,
    /// From exec to the first announcement
    Announced,
}

impl frame::Workload for Workload {
    fn subject(&self) -> Subject {
        let asked = |title| Subject::new(title, Unit::Request);
        let start = |title, limit_ms| {
            Subject::new(title, Unit::Start).aim(What::Wall, Aim::at_most(limit_ms))
        };
        match self {
            Self::Address => asked("A of the host").cpu(Aim::at_most(4.0)),
            Self::Services => asked("PTR of ten instances").cpu(Aim::at_most(15.0)),
            Self::MemberAddress => asked("A, QU from port 5353").cpu(Aim::at_most(4.0)),
            Self::MemberServices => asked("PTR of ten, QU from 5353").cpu(Aim::at_most(15.0)),
            Self::Others => asked("questions for others"),
            // At most 250 ms by chance, then three times 250.
            Self::Probe => start("exec to first probe", 250.0),
            Self::Announced => start("exec to announced", 1000.0),
        }
    }
}

impl Workload {
    /// It measures a start.
    pub fn is_start(self) -> bool {
        matches!(self, Self::Probe | Self::Announced)
    }

    /// Those ask who know multicast DNS.
    pub fn is_for_members(self) -> bool {
        matches!(self, Self::MemberAddress | Self::MemberServices)
    }

    /// Starts a responder, and ends it.
    pub fn start(self, program: &Program, ground: &Ground, link: &Link) -> Result<Cost> {
        let mut started = None;
        let cost = Cost::alone(|| {
            started = Some(Running::start(program, ground, link, self)?);
            Ok(1)
        })?;
        let (running, wall) = started.context("nothing was started")?;
        Ok(Cost {
            wall: wall.as_secs_f64(),
            server: measure::settled(running.pid())?.as_secs_f64(),
            ..cost
        })
    }

    /// Asks so many questions; how many were answered, or taken.
    pub fn run(self, link: &Link, count: usize) -> Result<u64> {
        let (host, kind) = (format!("{HOST}.local"), format!("{TYPE}.local"));
        let address = |asker: &Asker, id| asker.send(&query(id, &[(&host, TYPE::A)], true));
        let services = |asker: &Asker, id| asker.send(&query(id, &[(&kind, TYPE::PTR)], true));
        match self {
            Self::Address => answered(&link.stranger()?, count, 1, address),
            Self::Services => answered(&link.stranger()?, count, INSTANCE_COUNT, services),
            Self::MemberAddress => answered(&link.member()?, count, 1, address),
            Self::MemberServices => answered(&link.member()?, count, INSTANCE_COUNT, services),
            Self::Others => {
                let asker = link.stranger()?;
                let turn_count = count / (STRANGE_COUNT + 1);
                for turn in 0..turn_count {
                    for number in 0..STRANGE_COUNT {
                        let name = format!("other-{turn}-{number}.local");
                        asker.send(&query(1, &[(&name, TYPE::A)], false))?;
                    }
                    // When this one is answered, those before it were looked at.
                    answered(&asker, 1, 1, address)?;
                }
                Ok((turn_count * (STRANGE_COUNT + 1)) as u64)
            }
            Self::Probe | Self::Announced => anyhow::bail!("a start asks nothing"),
        }
    }
}

/// Asks in batches; each is answered by so many records at least.
fn answered(
    asker: &Asker,
    count: usize,
    records: usize,
    ask: impl Fn(&Asker, u16) -> Result<()>,
) -> Result<u64> {
    batches(asker, count, ask, |bytes| {
        let message = Message::parse(bytes)?;
        ensure!(
            message.is_response && message.records.len() >= records,
            "not what was asked for: {message:?}"
        );
        Ok(())
    })
}

/// Asks in batches; answers that do not come are few, and not counted. The first of a batch is looked at and stands for all:
/// reading costs more than answering.
pub fn batches(
    asker: &Asker,
    count: usize,
    ask: impl Fn(&Asker, u16) -> Result<()>,
    check: impl Fn(&[u8]) -> Result<()>,
) -> Result<u64> {
    let (mut buffer, mut count_got, mut lost) = (vec![0; 9000], 0, 0);
    for batch in 0..count.div_ceil(DEPTH) {
        let size = DEPTH.min(count - batch * DEPTH);
        for number in 0..size {
            ask(asker, (batch * DEPTH + number) as u16)?;
        }
        for left in (0..size).rev() {
            let Some(bytes) = asker.receive(&mut buffer, ANSWER_MAX)? else {
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
        "{lost} of {count} questions were not answered"
    );
    Ok(count_got)
}
