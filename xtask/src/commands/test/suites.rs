//! Parser of xtask/suites.toml: time budget, scheduling constraints and affecting paths of each suite, and the parts of the long
//! form.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::build::workspace_root;

/// Contents of xtask/suites.toml.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suites {
    /// Duration of [`calibrate`] on the reference machine, where the budgets were measured, in milliseconds.
    reference_ms: f64,
    suite: BTreeMap<String, Suite>,
    /// Parts of the long form, each at most nine minutes.
    pub full: BTreeMap<String, Part>,
    /// Path prefixes whose changes affect every suite.
    reach_all: Vec<String>,
}

/// A test suite, or a step of `cargo xtask test`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// Time budget (seconds) for all tests of the suite, run sequentially on the reference machine.
    pub seconds: f64,
    /// Average number of processors that one test of the suite keeps busy.
    #[serde(default = "one")]
    pub share: f64,
    /// True if all tests of the suite run in one process, because they share something expensive, such as a virtual machine.
    #[serde(default)]
    pub together: bool,
    /// True if no other job may run at the same time as a test of the suite; the head of the suite's source says why.
    #[serde(default)]
    pub alone: bool,
    /// True if the temporary files of the tests are on the machine's disk, not in memory.
    #[serde(default)]
    pub disk: bool,
    /// Path prefixes whose changes can make the suite fail.
    #[serde(default)]
    pub reach: Vec<String>,
}

/// A part of the long form.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Type of the tests in the part: `unit` (unit tests), `fuzz`, or the name of a suite.
    pub suite: String,
    /// Prefix of the tests' names, or the fuzz target; empty for all tests of the suite.
    #[serde(default)]
    pub test: String,
    /// Description for `--list`: the coverage that the part adds to the short form.
    pub adds: String,
}

fn one() -> f64 {
    1.0
}

impl Suites {
    /// Reads xtask/suites.toml.
    pub fn load() -> Result<Self> {
        let path = workspace_root().join("xtask/suites.toml");
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("cannot parse {}", path.display()))
    }

    /// The suite named `name`. If the file does not list it, a default with a budget of one minute.
    pub fn find(&self, name: &str) -> Suite {
        self.suite.get(name).cloned().unwrap_or(Suite {
            seconds: 60.0,
            share: 0.5,
            together: false,
            alone: false,
            disk: false,
            reach: Vec::new(),
        })
    }

    /// Names of all suites.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.suite.keys().map(String::as_str)
    }

    /// Suites that a change of `path` can make fail. None means all: `path` is in `reach_all`, or no suite lists it.
    pub fn affected_by(&self, path: &str) -> Option<Vec<&str>> {
        let has_prefix =
            |list: &[String]| list.iter().any(|prefix| path.starts_with(prefix.as_str()));
        if has_prefix(&self.reach_all) {
            return None;
        }
        let affected = self
            .suite
            .iter()
            .filter(|(_, suite)| has_prefix(&suite.reach));
        let names: Vec<&str> = affected.map(|(name, _)| name.as_str()).collect();
        (!names.is_empty()).then_some(names)
    }

    /// Returns the duration of a fixed computation on this machine divided by its duration on the reference machine.
    pub fn slowness(&self) -> f64 {
        calibrate().as_secs_f64() * 1000.0 / self.reference_ms
    }
}

/// Duration of a short fixed computation on this machine; the shortest of three runs.
fn calibrate() -> Duration {
    let block = [0x5a; 1 << 16];
    let measure = || {
        let start = Instant::now();
        let mut sum = Sha256::new();
        for _ in 0..256 {
            sum.update(block);
        }
        std::hint::black_box(sum.finalize());
        start.elapsed()
    };
    (0..3).map(|_| measure()).min().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_have_budgets_and_parts_have_suites() -> Result<()> {
        let suites = Suites::load()?;
        let main = fs::read_to_string(workspace_root().join("xtask/tests/main.rs"))?;
        let modules = main
            .lines()
            .filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
        for name in modules.chain(["guest", "isos"]) {
            assert!(suites.suite.contains_key(name), "{name} has no budget");
        }
        for (name, part) in &suites.full {
            let known = ["unit", "fuzz"].contains(&part.suite.as_str());
            assert!(known || suites.suite.contains_key(&part.suite), "{name}");
        }
        Ok(())
    }

    #[test]
    fn every_source_affects_a_suite_with_clients() -> Result<()> {
        let suites = Suites::load()?;
        let root = workspace_root();
        let tests = root.join("xtask/tests");
        for entry in walkdir::WalkDir::new(root.join("src")) {
            let entry = entry?;
            let path = entry.path().strip_prefix(&root)?.display().to_string();
            let Some(affected) = suites.affected_by(&path) else {
                continue;
            };
            let has_client = |name: &&str| {
                tests.join(name).exists() || tests.join(format!("{name}.rs")).exists()
            };
            // A suite that lists all of src in `reach` checks the form of the executable, not its behaviour, so such a suite does
            // not count. Sources in src/unpack need no other suite.
            let covers_all =
                |name: &str| suites.find(name).reach.iter().any(|prefix| prefix == "src");
            assert!(
                !entry.file_type().is_file()
                    || path.starts_with("src/unpack")
                    || affected
                        .iter()
                        .any(|name| has_client(name) && !covers_all(name)),
                "{path} affects only {affected:?}, but no suite that tests its behaviour"
            );
        }
        Ok(())
    }

    #[test]
    fn unlisted_path_affects_all_suites() -> Result<()> {
        let suites = Suites::load()?;
        assert_eq!(suites.affected_by("Cargo.lock"), None);
        assert_eq!(suites.affected_by("something/new.rs"), None);
        let affected = suites
            .affected_by("src/engine/mdns/zone.rs")
            .context("zone.rs affects all suites")?;
        assert!(
            affected.contains(&"mdns") && !affected.contains(&"sftp"),
            "{affected:?}"
        );
        Ok(())
    }
}
