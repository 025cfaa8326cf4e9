//! xtask/suites.toml: what each suite takes, what it cannot share, what it is reached by, and the parts of the long form.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::build::workspace_root;

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suites {
    /// What [`calibrate`] takes where the budgets were measured.
    reference_ms: f64,
    suite: BTreeMap<String, Suite>,
    /// Parts of the long form, each at most nine minutes.
    pub full: BTreeMap<String, Part>,
    /// What every suite is reached by.
    reach_all: Vec<String>,
}

/// A suite of tests, or a step that counts as one.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// What all its tests may take, one after the other, where the budgets were measured.
    pub seconds: f64,
    /// Processors that one of its tests keeps busy.
    #[serde(default = "one")]
    pub share: f64,
    /// Its tests share what is expensive to make: one process and one network for all of them.
    #[serde(default)]
    pub together: bool,
    /// Nothing may run beside it; its first line says why.
    #[serde(default)]
    pub alone: bool,
    /// Beginnings of the paths whose change can make it fail.
    #[serde(default)]
    pub reach: Vec<String>,
}

/// A part of the long form.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// `unit`, `fuzz`, or a suite.
    pub suite: String,
    /// The test, the beginning of the names of several, or what is fed; empty for all of the suite.
    #[serde(default)]
    pub test: String,
    /// What it adds to the short form.
    pub adds: String,
}

fn one() -> f64 {
    1.0
}

impl Suites {
    /// Reads the file.
    pub fn load() -> Result<Self> {
        let path = workspace_root().join("xtask/suites.toml");
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is not as it must be", path.display()))
    }

    /// The suite of this name; one that the file does not know has a minute.
    pub fn of(&self, name: &str) -> Suite {
        self.suite.get(name).cloned().unwrap_or(Suite {
            seconds: 60.0,
            share: 0.5,
            together: false,
            alone: false,
            reach: Vec::new(),
        })
    }

    /// Names of all suites.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.suite.keys().map(String::as_str)
    }

    /// Whether what changed in `path` can make the suite fail; None where no suite says that it is reached by it.
    pub fn reaches(&self, path: &str) -> Option<Vec<&str>> {
        let begins = |list: &[String]| list.iter().any(|start| path.starts_with(start.as_str()));
        if begins(&self.reach_all) {
            return None;
        }
        let reached = self.suite.iter().filter(|(_, suite)| begins(&suite.reach));
        let names: Vec<&str> = reached.map(|(name, _)| name.as_str()).collect();
        (!names.is_empty()).then_some(names)
    }

    /// How much slower this machine is than the one that the budgets were measured on.
    pub fn slowness(&self) -> f64 {
        calibrate().as_secs_f64() * 1000.0 / self.reference_ms
    }
}

/// What a short fixed computation takes here: the best of three.
fn calibrate() -> Duration {
    let block = [0x5a; 1 << 16];
    let once = || {
        let start = Instant::now();
        let mut sum = Sha256::new();
        for _ in 0..256 {
            sum.update(block);
        }
        std::hint::black_box(sum.finalize());
        start.elapsed()
    };
    (0..3).map(|_| once()).min().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_has_a_budget_and_every_part_a_suite() -> Result<()> {
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
    fn every_source_reaches_a_suite_against_the_built_file() -> Result<()> {
        let suites = Suites::load()?;
        let root = workspace_root();
        let tests = root.join("xtask/tests");
        for entry in walkdir::WalkDir::new(root.join("src")) {
            let entry = entry?;
            let path = entry.path().strip_prefix(&root)?.display().to_string();
            let Some(reached) = suites.reaches(&path) else {
                continue;
            };
            let has_client = |name: &&str| {
                tests.join(name).exists() || tests.join(format!("{name}.rs")).exists()
            };
            // Those that are reached by all of src look at the file's form, not at what it does; so does the one of what unpacks it.
            let whole = |name: &str| suites.of(name).reach.iter().any(|start| start == "src");
            assert!(
                !entry.file_type().is_file()
                    || path.starts_with("src/unpack")
                    || reached.iter().any(|name| has_client(name) && !whole(name)),
                "{path} reaches {reached:?} alone"
            );
        }
        Ok(())
    }

    #[test]
    fn a_change_reaches_what_names_it_and_a_strange_one_reaches_all() -> Result<()> {
        let suites = Suites::load()?;
        assert_eq!(suites.reaches("Cargo.lock"), None);
        assert_eq!(suites.reaches("something/new.rs"), None);
        let reached = suites.reaches("src/engine/mdns/zone.rs").context("all")?;
        assert!(
            reached.contains(&"mdns") && !reached.contains(&"sftp"),
            "{reached:?}"
        );
        Ok(())
    }
}
