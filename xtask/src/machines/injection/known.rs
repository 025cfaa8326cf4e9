//! Cases that are not played, and failures that are expected: known.toml.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use serde::Deserialize;

use super::{Disturbance, Fault, Outcome, Role, Use};

/// The content of known.toml.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    /// Calls that are never disturbed, each with the reason.
    untouched: BTreeMap<String, String>,
    /// Calls for which [`Fault::NoEffect`] is no case, each with the reason.
    effective: BTreeMap<String, String>,
    unavoidable: Vec<Expected>,
    defect: Vec<Expected>,
}

static KNOWN: LazyLock<Known> =
    LazyLock::new(|| toml::from_str(include_str!("known.toml")).expect("known.toml is valid"));

/// A failure that is expected.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expected {
    /// Roles in which the failure occurs. Empty: all.
    #[serde(default)]
    roles: Vec<String>,
    call: String,
    /// Faults that cause the failure. Empty: all.
    #[serde(default)]
    faults: Vec<String>,
    /// Uses whose disturbance causes the failure. Empty: all.
    #[serde(default)]
    uses: Vec<Use>,
    outcome: String,
    /// The reason why no program can do better, or the defect.
    pub(super) reason: String,
}

impl Expected {
    fn is_of(&self, role: Role) -> bool {
        is_in(&self.roles, &role.name())
    }
}

/// Returns true if `list` is empty or has the name.
fn is_in(list: &[String], name: &str) -> bool {
    list.is_empty() || list.iter().any(|known| known == name)
}

/// Returns true if a call with this fault is a case.
pub(super) fn is_case(call: &str, fault: Fault) -> bool {
    let is_effective = fault == Fault::NoEffect && KNOWN.effective.contains_key(call);
    !is_effective && !KNOWN.untouched.contains_key(call)
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} ({})", self.outcome, self.call, self.reason)
    }
}

/// Returns the entry for an expected failure.
pub(super) fn find(
    role: Role,
    which: Use,
    disturbance: &Disturbance,
    outcome: Outcome,
) -> Option<&'static Expected> {
    let fault = disturbance.fault.to_string();
    KNOWN.unavoidable.iter().chain(&KNOWN.defect).find(|it| {
        it.outcome == outcome.to_string()
            && it.call == disturbance.call
            && it.is_of(role)
            && (it.uses.is_empty() || it.uses.contains(&which))
            && is_in(&it.faults, &fault)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum as _;

    #[test]
    fn names_in_the_list_are_known() {
        let faults = Fault::ALL.map(|fault| fault.to_string());
        for it in KNOWN.unavoidable.iter().chain(&KNOWN.defect) {
            for role in &it.roles {
                assert!(Role::from_str(role, false).is_ok(), "{it}: {role}");
            }
            assert!(it.faults.iter().all(|fault| faults.contains(fault)), "{it}");
            // The outcomes that are failures are in capitals.
            let outcomes = "PANIC HANG BROKEN SPIN LOST WRONG MUTE";
            assert!(outcomes.split(' ').any(|it_is| it_is == it.outcome), "{it}");
        }
    }
}
