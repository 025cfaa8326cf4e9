//! All cases of a role: counted, played on several workers, and printed as a Markdown table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::PoisonError;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::judge::judge;
use super::known;
use super::{Disturbance, Fault, Outcome, Place, Role};
use crate::machines::at_once;
use crate::machines::server::binary;
use crate::{build::Arch, setup};

/// The use of a call that is disturbed.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Use {
    First,
    Second,
    Last,
}

impl Use {
    pub const ALL: [Self; 3] = [Self::First, Self::Second, Self::Last];

    /// The number of the use among `count`. None if it is that of another variant.
    fn number(self, count: usize) -> Option<usize> {
        match self {
            Self::First => Some(1),
            Self::Second => (count >= 2).then_some(2),
            Self::Last => (count >= 3).then_some(count),
        }
    }
}

/// The cases to play.
#[derive(Clone, Debug)]
pub struct Choice {
    pub uses: Vec<Use>,
    pub faults: Vec<Fault>,
    /// Only this call. None: all.
    pub call: Option<String>,
    /// Number of sessions that run at the same time.
    pub workers: usize,
}

/// A case and its outcome.
#[derive(Clone, Debug)]
pub struct Played {
    pub disturbance: Disturbance,
    pub which: Use,
    pub outcome: Outcome,
    /// The reason for the outcome.
    pub reason: String,
    /// The reason why a failure is expected.
    pub expected: Option<&'static str>,
}

/// All outcomes of a role.
pub struct Table {
    role: Role,
    /// The calls of the undisturbed session, and their number in the thread that makes most of them.
    uses: BTreeMap<String, usize>,
    pub played: Vec<Played>,
}

impl Table {
    /// Plays the chosen cases of a role.
    pub fn of(role: Role, choice: &Choice) -> Result<Self> {
        setup::install_packages(&["iproute2", "strace"])?;
        binary(Arch::X86_64)?;
        let place = Place::new(role)?;
        let notes = place.ours.run(|| role.play(&place, None))?;
        let (outcome, reason) = judge(&notes, None);
        ensure!(
            outcome == Outcome::Served,
            "the undisturbed session of {} is {outcome}: {reason} {notes:?}",
            role.name()
        );
        let uses = notes.trace.uses;
        let queue = Mutex::new(cases(&uses, choice).into_iter());
        let played = Mutex::new(Vec::new());
        let work = |place: Place| {
            place.ours.run(|| {
                loop {
                    let next = lock(&queue).next();
                    let Some((which, disturbance)) = next else {
                        return Ok(());
                    };
                    let result = play(role, &place, which, disturbance)?;
                    lock(&played).push(result);
                }
            })
        };
        at_once((0..choice.workers).map(|_| || work(Place::new(role)?)))?;
        let mut played = played.into_inner().unwrap_or_else(PoisonError::into_inner);
        played.sort_by_key(|it: &Played| {
            let Disturbance { call, fault, .. } = &it.disturbance;
            (call.clone(), *fault, it.which)
        });
        Ok(Self { role, uses, played })
    }

    /// The failures that are not expected, one a line.
    pub fn failures(&self) -> Vec<String> {
        let failures = self.played.iter();
        let failures = failures.filter(|it| it.outcome.is_failure() && it.expected.is_none());
        failures.map(|it| self.describe(it)).collect()
    }

    /// A case and its outcome, in one line.
    fn describe(&self, it: &Played) -> String {
        let Disturbance {
            call,
            use_number,
            fault,
        } = &it.disturbance;
        let (role, outcome, reason) = (self.role.name(), it.outcome, &it.reason);
        let reason: String = reason.chars().take(300).collect();
        let expected = it
            .expected
            .map_or(String::new(), |why| format!(" (expected: {why})"));
        format!("{role}: {call}, use {use_number}, {fault}: {outcome}{expected}: {reason}")
    }

    /// Known defects of the role that occurred in no case. Of interest after all cases were played.
    pub fn corrected(&self) -> Vec<String> {
        let occurred = |reason: &str| self.played.iter().any(|it| it.expected == Some(reason));
        let defects = known::defects(self.role).filter(|it| !occurred(&it.reason));
        defects
            .map(|it| {
                format!(
                    "{}: {it} did not occur: delete the entry in known.toml?",
                    self.role.name()
                )
            })
            .collect()
    }

    /// All cases and their outcomes, one a line.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.played.iter().map(|it| self.describe(it))
    }

    /// The table as Markdown: a row for each call, a column for each fault. A cell has one outcome if it is the same for all uses.
    pub fn markdown(&self, faults: &[Fault]) -> Result<String> {
        let mut text = String::new();
        write!(text, "| {} | uses |", self.role.name())?;
        for fault in faults {
            write!(text, " {fault} |")?;
        }
        writeln!(text, "\n|---|--:|{}", "---|".repeat(faults.len()))?;
        for (call, count) in &self.uses {
            let of_call: Vec<_> = self.played.iter().collect();
            let of_call = of_call.iter().filter(|it| it.disturbance.call == *call);
            if of_call.clone().next().is_none() {
                continue;
            }
            write!(text, "| {call} | {count} |")?;
            for fault in faults {
                let cell = of_call.clone().filter(|it| it.disturbance.fault == *fault);
                let mut outcomes: Vec<String> = cell.map(|it| it.outcome.to_string()).collect();
                if outcomes.iter().all(|outcome| *outcome == outcomes[0]) {
                    outcomes.truncate(1);
                }
                write!(text, " {} |", outcomes.join(", "))?;
            }
            writeln!(text)?;
        }
        Ok(text)
    }

    /// The number of cases with each outcome.
    pub fn summary(&self) -> String {
        let mut counts: BTreeMap<Outcome, usize> = BTreeMap::new();
        for it in &self.played {
            *counts.entry(it.outcome).or_default() += 1;
        }
        let counts: Vec<_> = counts
            .iter()
            .map(|(outcome, count)| format!("{count} {outcome}"))
            .collect();
        format!(
            "{}: {} cases: {}",
            self.role.name(),
            self.played.len(),
            counts.join(", ")
        )
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The cases for these numbers of uses.
fn cases(uses: &BTreeMap<String, usize>, choice: &Choice) -> Vec<(Use, Disturbance)> {
    let mut cases = Vec::new();
    for (call, &count) in uses {
        let is_chosen = choice.call.as_ref().is_none_or(|chosen| chosen == call);
        let faults = choice.faults.iter().filter(|_| is_chosen);
        for &fault in faults.filter(|fault| known::is_case(call, **fault)) {
            for &which in &choice.uses {
                if let Some(use_number) = which.number(count) {
                    let call = call.clone();
                    cases.push((
                        which,
                        Disturbance {
                            call,
                            use_number,
                            fault,
                        },
                    ));
                }
            }
        }
    }
    cases
}

/// Plays one case. A use that was missed is looked for again, and an unexpected failure must occur twice.
fn play(role: Role, place: &Place, which: Use, mut disturbance: Disturbance) -> Result<Played> {
    const ATTEMPT_MAX: usize = 4;
    let mut verdicts: Vec<(Outcome, String)> = Vec::new();
    let mut expected = None;
    for _ in 0..ATTEMPT_MAX {
        let notes = role
            .play(place, Some(&disturbance))
            .with_context(|| format!("{}: {disturbance:?}", role.name()))?;
        let (outcome, reason) = judge(&notes, Some(&disturbance));
        expected = known::find(role, which, &disturbance, outcome).map(|it| &*it.reason);
        let is_again = verdicts.iter().any(|(before, _)| *before == outcome);
        verdicts.push((outcome, reason));
        if outcome == Outcome::Missed {
            // The number of uses differs from session to session, but the first one is always 1.
            let count = notes.trace.uses.get(&disturbance.call);
            if let (Use::Last, Some(&count)) = (which, count) {
                disturbance.use_number = count;
            }
        } else if !outcome.is_failure() || expected.is_some() || is_again {
            break;
        }
    }
    let (outcome, reason) = verdicts.pop().context("no attempt")?;
    Ok(Played {
        disturbance,
        which,
        outcome,
        reason,
        expected,
    })
}
