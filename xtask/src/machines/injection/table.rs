//! All cases of a role: counted, played on several workers, and printed.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;

use anyhow::{Context as _, Result, ensure};

use super::judge::judge;
use super::known;
use super::{Disturbance, Fault, Outcome, Place, Role, Use};
use crate::machines::at_once;
use crate::machines::server::binary;
use crate::{build::Arch, setup};

/// A case and its outcome.
struct Played {
    disturbance: Disturbance,
    outcome: Outcome,
    /// The reason for the outcome.
    reason: String,
    /// The reason why a failure is expected.
    expected: Option<&'static str>,
}

/// Plays the cases of a role with these uses and faults, and prints their outcomes, one a line. Returns the unexpected failures.
pub fn play_all(role: Role, uses: &[Use], faults: &[Fault]) -> Result<Vec<String>> {
    setup::install_packages(&["iproute2"])?;
    binary(Arch::X86_64)?;
    let place = role.place()?;
    let notes = place.ours.run(|| role.play(&place, None))?;
    let (outcome, reason) = judge(&notes, None);
    let role_name = role.name();
    ensure!(
        outcome == Outcome::Served,
        "the undisturbed session of {role_name} is {outcome}: {reason} {notes:?}"
    );
    let queue = Mutex::new(cases(&notes.trace.uses, uses, faults).into_iter());
    let failures = Mutex::new(Vec::new());
    let work = |place: Place| {
        place.ours.run(|| {
            loop {
                let next = lock(&queue).next();
                let Some((which, disturbance)) = next else {
                    return Ok(());
                };
                let it = play(role, &place, which, disturbance)?;
                let Disturbance {
                    call,
                    use_number,
                    fault,
                } = &it.disturbance;
                let reason: String = it.reason.chars().take(300).collect();
                let expected = it.expected.map(|why| format!(" (expected: {why})"));
                let (outcome, expected) = (it.outcome, expected.unwrap_or_default());
                let line = format!(
                    "{role_name}: {call}, use {use_number}, {fault}: {outcome}{expected}: {reason}"
                );
                println!("{line}");
                if it.outcome.is_failure() && it.expected.is_none() {
                    lock(&failures).push(line);
                }
            }
        })
    };
    at_once((0..role.worker_count()).map(|_| || work(role.place()?)))?;
    Ok(failures
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The cases for these numbers of uses.
fn cases(
    counts: &BTreeMap<String, usize>,
    uses: &[Use],
    faults: &[Fault],
) -> Vec<(Use, Disturbance)> {
    let mut cases = Vec::new();
    for (call, &count) in counts {
        for &fault in faults.iter().filter(|fault| known::is_case(call, **fault)) {
            for &which in uses {
                if let Some(use_number) = which.number(count) {
                    let call = call.clone();
                    let disturbance = Disturbance {
                        call,
                        use_number,
                        fault,
                    };
                    cases.push((which, disturbance));
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
        outcome,
        reason,
        expected,
    })
}
